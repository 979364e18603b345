"""How a net's answer is read, as plain data: what the card of its weights says of it."""

from collections.abc import Callable

from course_lib.diffusion.denoiser import Denoiser
from course_lib.diffusion.schedule import Schedule
from course_lib.errors import CourseError

SCHEDULES = ("linear", "scaled_linear", "cosine", "flow")  # what a card may name


def schedule_from(plain: dict) -> Schedule:
    """The schedule that plain data name, with its own keywords: {"name": "cosine", "T":
    1000}.
    """
    if not isinstance(plain, dict) or plain.get("name") not in SCHEDULES:
        name = plain.get("name") if isinstance(plain, dict) else plain
        raise CourseError(f"There is no schedule {name!r}; there are: {', '.join(SCHEDULES)}.")
    keywords = {key: value for key, value in plain.items() if key != "name"}
    try:
        return getattr(Schedule, plain["name"])(**keywords)
    except (TypeError, RuntimeError, OverflowError):  # no keyword, or no number, of one
        raise CourseError(f"A schedule is not made of {keywords}.") from None


def denoiser_from(net: Callable, reading: dict, **more) -> Denoiser:
    """A net with the schedule and the target that it was trained for: {"schedule": {...},
    "target": "v"}. more: as of `Denoiser`, for training.
    """
    return Denoiser(net, schedule_from(reading["schedule"]), reading["target"], **more)
