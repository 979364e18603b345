"""Files that are written whole or not at all, and read with a sentence for what is damaged."""

import contextlib
import errno
import glob
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from course_lib.errors import CourseError

MOST_JSON = 2**24  # bytes of a JSON file that is read: the course's own have a thousandth


class FileError(CourseError):
    """A file cannot be read, or cannot be written where it was asked for."""


def _first_line(error: BaseException) -> str:
    """What an error says, short enough for a sentence; its name where it says nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0].strip()[:120] or type(error).__name__


# ---- writing

_FULL = 2**16  # bytes: a disk with less left has no room


def _refusal(path: Path, error: BaseException) -> str:
    """Why a file was not written. torch tells of a full disk only that it stands at another
    place than it should: the disk itself is asked.
    """
    if not isinstance(error, OSError):
        with contextlib.suppress(OSError):
            if shutil.disk_usage(path.parent).free < _FULL:
                return os.strerror(errno.ENOSPC)
    return _first_line(error)


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.part")


def sweep(path: Path):
    """Remove what processes that were killed while writing left behind, once it is an hour
    old.
    """
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What a disk or its folder refuses becomes one sentence; its cause stays attached."""
    try:
        yield
    except CourseError:
        raise
    except Exception as error:
        # torch and safetensors have no OSError for a full disk
        foreign = type(error).__module__.partition(".")[0].startswith("safetensors")
        if not (foreign or isinstance(error, OSError | RuntimeError)):
            raise
        raise FileError(
            f"{path} cannot be written ({_refusal(path, error)}): make room or mend that, or "
            "name another place. What was there before is untouched."
        ) from error


def check_destination(path: str | Path, *, make: bool = False):
    """Refuse, before the work that goes into it, a file that could not be written: FileError.

    make: the folder is made where there is none; else its lack is an error.
    """
    path = Path(path)
    try:
        missing = not path.parent.is_dir()
        if missing and not make:
            raise FileError(
                f"There is no folder {path.parent} for {path.name}: make it first."
            )
        with writing(path):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            part = _part(path)
            part.touch()
            part.unlink()
    except CourseError:
        raise
    except ValueError as error:  # a name with a NUL in it
        raise FileError(f"{str(path)!r} is no name of a file: {error}.") from None


@contextlib.contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A name to write under, which takes the place of `path` once the block is through; its
    folder is made.

    A cut, a full disk or an error inside the block leaves the old file as it was; FileError
    says what the disk refused. What a killed process left behind is removed by a later one,
    after an hour.
    """
    path = Path(path)
    part = _part(path)
    try:
        with writing(path):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path)
            yield part
            with open(part, "rb+") as file:
                os.fsync(file.fileno())  # on the disk before the name points at them
            os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


# ---- reading


@contextlib.contextmanager
def reading(
    path: str | Path, what: str, mend: str, kind: type[CourseError] = FileError
) -> Iterator[None]:
    """Whatever a reader raises over a damaged or foreign file becomes one sentence of `kind`:
    "{path} {what} (...): {mend}." Readers fail in too many ways to name them all.
    """
    try:
        yield
    except CourseError:
        raise
    except Exception as error:
        raise kind(f"{path} {what} ({_first_line(error)}): {mend}.") from None


def read_json(path: str | Path, mend: str, kind: type[CourseError] = FileError) -> dict:
    """The JSON object in a file; an error of `kind` where it is missing, damaged, or JSON of
    another kind.
    """
    with reading(path, "cannot be read", mend, kind):
        size, text = os.stat(path).st_size, b""
        if size <= MOST_JSON:
            text = Path(path).read_bytes()
    with reading(path, "is damaged", mend, kind):
        found = json.loads(text.decode("utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no JSON object")
    return found
