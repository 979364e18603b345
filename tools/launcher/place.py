"""Where the virtual environment lies: which folder may be it, what in it is ours, the room on
its disk, and the lock that one set-up at a time holds.
"""

import contextlib
import errno
import os
import shutil
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from tools.launcher.troubles import NEED_CUDA_GB, NEED_GB, Trouble, say

ROOT = Path(__file__).resolve().parents[2]  # the checkout
# Our own stamps: in a folder without one of them nothing is changed, and nothing is cleared.
UNFINISHED, MADE = "marble-unfinished", "marble-made"
# What `python -m venv`, pip and the launcher put into an environment: all that is ever cleared
CLEARED = ("bin", "include", "lib", "lib64", "etc", "share", "Scripts", "Include", "Lib") + (
    "pyvenv.cfg",
    "install.log",
    "marble-*",
)


def venv_dir() -> Path:
    """The folder of the virtual environment."""
    given = os.environ.get("MARBLE_VENV") or ROOT / ".venv"
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError:  # ~NAME of a user who isn't there
        raise Trouble(
            f"MARBLE_VENV names {given}, a home folder that isn't known. Write it out."
        ) from None


def check_place(venv: Path) -> None:
    """Refuse a place where no folder can be (at or below a file, or on a drive that isn't
    there) and one that holds what isn't ours.
    """
    places = (venv, *venv.parents)
    there = next((place for place in places if os.path.lexists(str(place))), None)
    if there is None:
        raise Trouble(
            f"The environment can't be in {venv}: there is no {venv.anchor} here. Set "
            "MARBLE_VENV to a folder on a disk that is here."
        )
    if not os.path.isdir(str(there)):
        raise Trouble(
            f"The environment can't be in {venv}: {there} is not a folder. Move that away, or "
            "set MARBLE_VENV to a folder that is empty or doesn't exist."
        )
    if venv.is_dir() and any(venv.iterdir()) and not is_own(venv):
        raise Trouble(
            f"{venv} holds something that this launcher didn't make, so it is left alone. "
            "Move it away, or set MARBLE_VENV to a folder that is empty or doesn't exist."
        )


def is_own(venv: Path) -> bool:
    """Whether the environment in this folder bears a stamp of this launcher."""
    return any(path.is_file() and not is_link(path) for path in venv.glob("marble-*"))


def is_link(path: Path) -> bool:
    """Whether this is a link, a junction of Windows among them."""
    return os.path.islink(str(path)) or bool(getattr(os.lstat(str(path)), "st_reparse_tag", 0))


def venv_python(venv: Path, windows: bool = os.name == "nt") -> Path:
    """The path of the environment's Python, which lies elsewhere on Windows."""
    return venv / "Scripts" / "python.exe" if windows else venv / "bin" / "python"


def clear(venv: Path) -> None:
    """Clear the remains of an environment that bears our stamp; never through a link."""
    if not venv.is_dir() or not any(venv.iterdir()):
        return
    check_place(venv)
    if is_link(venv):
        raise Trouble(
            f"The environment in {venv} is broken, and that folder is a link, which is never "
            f"cleared. Empty {venv.resolve()} yourself, or remove the link."
        )
    (venv / UNFINISHED).touch()  # stays, so that a clearing that is cut is gone on with
    for child in list(venv.iterdir()):
        if child.name == UNFINISHED or not any(fnmatch(child.name, name) for name in CLEARED):
            continue
        if child.is_dir() and not is_link(child):
            shutil.rmtree(str(child))
        else:
            child.unlink()


def free_gb(path: Path) -> float:
    """Gigabytes free on the disk that this path lies on or would lie on; 0 where there is no
    such disk.
    """
    there = next((place for place in (path, *path.parents) if place.exists()), None)
    return shutil.disk_usage(there).free / 1e9 if there else 0.0


def check_disk(venv: Path, cpu: bool) -> None:
    """Refuse an install that can't fit; warn of one that may not."""
    free = free_gb(venv)
    if (venv / "install.log").exists():
        return  # taken up again: part of it is there, so the space it still needs isn't known
    if free < NEED_GB:
        raise Trouble(
            f"Only {free:.1f} GB are free where {venv} would be, and the set-up needs "
            f"{NEED_GB:g} GB. Make room, or set MARBLE_VENV to a folder on another disk."
        )
    if sys.platform == "linux" and not cpu and free < NEED_CUDA_GB:
        say(
            f"{free:.1f} GB are free; torch with CUDA can need {NEED_CUDA_GB:g}. If it fails, "
            "make room or use --cpu."
        )


@contextlib.contextmanager
def lock(path: Path) -> Iterator[int]:
    """Hold the set-up's lock, waiting for another start; the system frees it when its holder
    ends, however it ends.
    """
    with open(path, "a+b") as file:
        said = False
        while not try_lock(file):
            if not said:
                say("Another start is setting up the environment; waiting for it.")
            said = True
            time.sleep(0.5)
        yield file.fileno()


def try_lock(file) -> bool:
    """Take the lock on an open file if it is free."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # some network folders know no locks: go on without one
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True
