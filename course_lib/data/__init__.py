"""The data sets, and the way from bytes at rest to batches of images in [-1, 1] and back.

Names are imported when they are first asked for, so that a data set is read without torch.
"""

import importlib

_HOMES = {
    "course_lib.data.assets": ["DataError", "cache_folder"],
    "course_lib.data.batches": ["Batches", "as_saved", "to_float", "to_uint8"],
    "course_lib.data.fashion": ["CLASSES", "fashion_batches", "fashion_mnist", "verify_data"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str):
    if name not in _HOME_OF:
        raise AttributeError(
            f"course_lib.data has no {name!r}; its public names are {', '.join(__all__)}."
        )
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__():
    return [*globals(), *__all__]
