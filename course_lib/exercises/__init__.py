"""Graders for the rebuild exercises: they compare with a closed form, and know the usual wrong
turns. The graders of lesson NN stand in lesson_NN.py.
"""

from course_lib.exercises.grader import Exercise, Verdict

__all__ = ["Exercise", "Verdict"]
