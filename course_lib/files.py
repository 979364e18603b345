"""Files that are written whole or not at all."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A name to write under, which takes the place of `path` once the block is through; its
    folder is made.

    A cut, a full disk or an error inside the block leaves the old file as it was. What a
    killed process left behind is removed by a later one, after an hour.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{path.name}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())  # the bytes are on the disk before the name points at them
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
