"""What a picture is wished to be: a tensor, or tensors in (nested) tuples, the batch first."""

from collections.abc import Callable

from course_lib.errors import CourseError


def map_cond(function: Callable, cond, *others):
    """function on each tensor of a condition: labels [B], or (tokens [B, L, D], (pooled [B,
    D], ...)), to a condition built alike.

    others, built like cond, hand each call their tensor of the same place. None, "no
    condition", stays None, also within a tuple. CourseError where one is built otherwise.
    """
    if cond is None:
        return None
    if not isinstance(cond, tuple | list):
        if any(isinstance(other, tuple | list) for other in others):
            raise _unlike()
        return function(cond, *others)
    if not all(
        isinstance(other, tuple | list) and len(other) == len(cond) for other in others
    ):
        raise _unlike()
    return tuple(map_cond(function, *parts) for parts in zip(cond, *others, strict=True))


def _unlike() -> CourseError:
    return CourseError(
        "The two conditions are not built alike: where one is a tuple of tensors, the other "
        "has to be a tuple of as many."
    )
