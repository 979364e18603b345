"""What the reader is told: the troubles that can be mended, and a line said at once."""

from pathlib import Path

# Free on the disk before a set-up begins
NEED_GB = 2.5  # measured without CUDA, with the tests: 1.8 at its peak, 1.7 when done
NEED_CUDA_GB = 7.5  # with CUDA: 6.4 seen while pip still unpacked, 5.2 when done


class Trouble(Exception):
    """Something the reader can mend: one sentence on what is wrong, one on the mend."""


class NotThere(Trouble):
    """No source of packages that answers has what was asked for."""


def say(text: str) -> None:
    """A line for the reader, there at once."""
    print(text, flush=True)


def disk_full(venv: Path) -> Trouble:
    """The trouble with a disk that has no room left for the environment."""
    return Trouble(
        f"The disk is full: the environment in {venv} needs {NEED_GB:g} GB, {NEED_CUDA_GB:g} "
        "GB with CUDA. Make room, or set MARBLE_VENV to a folder on another disk; then run "
        "the same command again."
    )


def no_writing(place: Path | str) -> Trouble:
    """The trouble with a place that isn't the reader's to write."""
    return Trouble(
        f"{place} can't be written to. Change its owner or rights, or set MARBLE_VENV to a "
        "folder of your own."
    )
