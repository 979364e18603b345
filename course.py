#!/usr/bin/env python3
"""The course's launcher: sets up what is missing, then starts it. Needs nothing but Python
3.11 or later.

python3 course.py lab [NAME]      set up, check data and weights, open JupyterLab (NAME: a
                                  lesson, such as 04) on your own copy of it, in my/
python3 course.py reset NAME ...  lay the course's lesson in my/ anew; yours goes to my/before/
                                  (--all: every lesson)
python3 course.py test            set up, then run everything that CI runs
python3 course.py doctor          say what is there, what is wrong and how to mend it
python3 course.py sync            bring notebooks, their text twins and the code they show in
                                  step (--check, --execute)
python3 course.py html NAME       a lesson as one HTML file that moves by itself (NAME as for
                                  lab; --out FILE)
python3 course.py COMMAND ...     train, sample, evaluate, showdown, sd, verify: the
                                  library's own (COMMAND --help has their flags)

lab takes --no-browser, --port N and --host H; what it doesn't know goes to JupyterLab.
test takes --only NAME,NAME (tools/ci.py has the phases); the rest goes to pytest.
--cpu (lab, test): on Linux, take the build of torch without CUDA, 0.2 GB instead of 3. Later
starts remember it; for CUDA again, delete the virtual environment and start without --cpu.
MARBLE_VENV=FOLDER in the environment puts the virtual environment there instead of in .venv.
"""

# The syntax here stays readable to Python 3.8, so that an old Python gets a sentence and not a
# SyntaxError; the launcher's parts, in tools/launcher, are imported after that.
import signal

# Until `main` can catch it, Ctrl+C ends this without a trace.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import contextlib
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.realpath(__file__))
OLDEST = (3, 11)


def runs(python):
    """Whether this path is a Python that starts."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return bool(python) and subprocess.call([python, "-V"], timeout=60, **quiet) == 0
    except (OSError, subprocess.SubprocessError):
        return False


def unfit(version, root=ROOT):
    """The sentence for a Python that is too old, naming a newer one where the PATH has it, or
    for a course.py without the rest of the course; "" where neither is wrong.
    """
    if tuple(version[:2]) < OLDEST:
        newer = ("python3.13", "python3.12", "python3.11")
        found = [name for name in newer if runs(shutil.which(name))]
        mend = "Install a newer one from python.org."
        if found:
            mend = "Run it with {}, which is here.".format(found[0])
        return "This is Python {}, and the course needs 3.11 or later. {}".format(
            ".".join(map(str, version[:3])), mend
        )
    for part in (os.path.join("tools", "launcher"), "course_lib"):
        if not os.path.isdir(os.path.join(root, part)):
            return (
                "{} is gone, so this checkout isn't whole. `git checkout -- {}` brings it "
                "back.".format(os.path.join(root, part), part.split(os.sep)[0])
            )
    return ""


def main(arguments):
    """Run one command; return the exit code."""
    wrong = unfit(sys.version_info)
    if wrong:
        sys.stderr.write("\n" + wrong + "\n")
        return 1
    if sys.path[0] != ROOT:  # another package may be called `tools`
        sys.path.insert(0, ROOT)
    from tools.launcher import command_line

    return command_line.main(arguments, __doc__)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(main(sys.argv[1:]))
    sys.exit(130)
