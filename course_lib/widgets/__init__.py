"""Widgets for the lessons; each is imported when it is first asked for, so that the package
itself costs nothing.
"""

import importlib

_HOME_OF = {
    "Scrubber": "course_lib.widgets.scrubber",
    "Flipbook": "course_lib.widgets.flipbook",
    "Plane": "course_lib.widgets.plane",
    "PromptBox": "course_lib.widgets.prompt_box",
}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str):
    if name not in _HOME_OF:
        raise AttributeError(
            f"course_lib.widgets has no {name!r}; its public names are {', '.join(__all__)}."
        )
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__():
    return [*globals(), *__all__]
