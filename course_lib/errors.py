"""The one kind of error that a user can mend."""


class CourseError(ValueError):
    """What was wrong and how to mend it, in a sentence: the command line prints it alone.

    Every other exception keeps its trace, for it is a fault of the library and no user's.
    """
