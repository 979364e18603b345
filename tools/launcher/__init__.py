"""The parts of the launcher, course.py. They run before anything is installed, so they import
the standard library, each other, and what else of the checkout needs no more.

troubles      what the reader is told
place         where the virtual environment lies
packages      what is asked for, what is there, and the stamps that say so
sources       where packages come from: pip's settings, and which sources answer
installer     pip's run, and what can go wrong with it
builds        torch with CUDA or without
environment   the set-up
lessons       the lessons, and which one a reader means
jupyter       JupyterLab's command line for ours
judged        what is wrong with the words of the other commands
handover      what is started in the environment
commands      lab, reset, test, doctor, sync, and what the library does
command_line  which of them is run

A part calls another through its module (`place.venv_dir()`), each name thus having one place
where a test can put something else.
"""
