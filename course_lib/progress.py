"""Work that takes long says how far it is."""

import sys
from collections.abc import Iterable

from tqdm import tqdm


def progress(parts: Iterable | None = None, **options) -> tqdm:
    """tqdm's bar on standard error, once work has taken a second. Where that is a file, a line
    every ten seconds instead, from the fifth on; in a notebook's kernel nothing.

    options: those of tqdm, "desc" for example.
    """
    screen = sys.stderr.isatty()
    pace = {"delay": 1} if screen else {"delay": 5, "mininterval": 10, "maxinterval": 60}
    quiet = not screen and "ipykernel" in sys.modules
    return tqdm(parts, leave=False, disable=quiet, file=sys.stderr, **pace, **options)
