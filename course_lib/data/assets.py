"""The packed files that come with the course: checked by hash, unpacked once, memory-mapped.

A packed file is xz: raw bytes one after another. They are unpacked into a cache folder of the
user, never into the checkout, which may be read-only. What the bytes mean is the business of
the data set that owns the `Asset`.
"""

import hashlib
import lzma
import os
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_lib.errors import CourseError
from course_lib.files import sweep

ASSETS = Path(__file__).resolve().parents[2] / "assets"


class DataError(CourseError):
    """A data file is missing or not what its hash says; the message names the file, both
    hashes and the mend.
    """


class DataCheck(NamedTuple):
    """What a check found: the packed file, its SHA-256, and the state of the cache in a few
    words.
    """

    file: Path
    sha256: str
    cache: str


@dataclass(frozen=True)
class Asset:
    """One packed file, assets/NAME.xz, and the hashes that it is held against."""

    name: str  # of the file, and of its copy in the cache
    title: str  # as a reader knows the data
    packed_sha256: str
    raw_sha256: str  # of the bytes unpacked from it
    raw_bytes: int
    streams: tuple[int, ...]  # bytes of each xz stream, unpacked side by side

    @property
    def file(self) -> Path:
        """The packed file."""
        return ASSETS / f"{self.name}.xz"

    def cache_file(self) -> Path | None:
        """Where the unpacked bytes are kept; the name has their hash in it, so that other data
        never meets this file. None where there is no cache folder.
        """
        folder = cache_folder()
        return None if folder is None else folder / f"{self.name}-{self.raw_sha256[:16]}.bin"

    def raw(self) -> np.ndarray:
        """All unpacked bytes, uint8 [raw_bytes], read-only and memory-mapped.

        The first call ever unpacks them into cache_folder(); where that cannot be written they
        live in memory, and a warning says so. Raises DataError for a missing or altered file.
        """
        return _raw_bytes(self, self.file, _stamp(self.file), self.cache_file())

    def verify(self) -> DataCheck:
        """Hash the packed file and, where there is one, the cached copy; nothing is written.
        Raises DataError.
        """
        _read_packed(self, self.file)
        cache = self.cache_file()
        if cache is None:
            state = "no cache folder, the data is unpacked into memory"
        # unlike Path.exists, False in a folder that may not be looked into
        elif not os.path.exists(cache):
            state = f"not unpacked yet, goes to {cache}"
        elif _open_cache(self, cache) is None:
            state = f"{cache} is altered and will be rebuilt at the next load"
        else:
            state = f"{cache} is good"
        return DataCheck(self.file, self.packed_sha256, state)


def cache_folder() -> Path | None:
    """The folder for unpacked data: $MARBLE_CACHE, else `marble` in the system's cache folder;
    None without a home. CourseError where $MARBLE_CACHE begins with the home of nobody.
    """
    if own := os.environ.get("MARBLE_CACHE"):
        try:
            return Path(own).expanduser().absolute()
        except RuntimeError:
            raise CourseError(
                f"MARBLE_CACHE names {own}, a home folder that isn't known. Write it out."
            ) from None
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:  # the XDG specification says that a relative path is to be ignored
            xdg = os.environ.get("XDG_CACHE_HOME", "")
            base = Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache"
    except RuntimeError:  # Path.home() found none
        return None
    return base / "marble"


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of the packed file: an altered one is read again in the same process."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _raw_bytes(
    asset: Asset, packed: Path, stamp: tuple[int, int] | None, cache: Path | None
) -> np.ndarray:
    """All unpacked bytes, hashed once a process: 55 MB take less time than importing torch."""
    data = _read_packed(asset, packed)
    if cache is not None and (found := _open_cache(asset, cache)) is not None:
        return found
    raw = _unpack(asset, packed, data)
    reason = "no cache folder was found"
    if cache is not None:
        try:
            _write_cache(asset, cache, raw)
            return np.memmap(cache, dtype=np.uint8, mode="r", shape=(asset.raw_bytes,))
        except OSError as error:
            reason = f"{cache.parent} cannot be written ({error.strerror or error})"
    message = (
        f"{asset.title} stays in memory and is unpacked again at each start: {reason}; "
        "MARBLE_CACHE names another folder."
    )
    warnings.warn(message, stacklevel=4)  # who asked the data set
    return np.frombuffer(raw, dtype=np.uint8)


def _read_packed(asset: Asset, path: Path) -> bytes:
    """The packed file's bytes, once their hash is right; DataError otherwise."""
    try:
        data = path.read_bytes()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        found = "no such file" if missing else error.strerror or str(error)
        raise _data_error(asset, path, found) from None
    digest = hashlib.sha256(data).hexdigest()
    if digest == asset.packed_sha256:
        return data
    if data.startswith(b"version https://git-lfs"):
        found = f"SHA-256 {digest}: a Git LFS pointer, not the data"
        raise _data_error(asset, path, found, "`git lfs pull`, or ")
    raise _data_error(asset, path, f"SHA-256 {digest} ({len(data):,} bytes)")


def _data_error(asset: Asset, path: Path, found: str, first: str = "") -> DataError:
    return DataError(
        f"{path} is not the file that the course ships.\n"
        f"  expected: SHA-256 {asset.packed_sha256}\n"
        f"  found:    {found}\n"
        f"  mend:     {first}`git checkout -- assets/{asset.name}.xz` in the course's "
        "folder, or clone it again"
    )


def _unpack(asset: Asset, path: Path, data: bytes) -> bytes:
    """The raw bytes of a packed file whose hash was right; DataError where this Python's lzma
    disagrees.
    """
    ends = list(accumulate(asset.streams))
    parts = [data[end - size : end] for size, end in zip(asset.streams, ends, strict=True)]
    try:
        with ThreadPoolExecutor(len(parts)) as pool:  # lzma gives up the interpreter's lock
            raw = b"".join(pool.map(lzma.decompress, parts))
    except (lzma.LZMAError, EOFError) as error:
        found = f"the right hash, but it does not unpack ({error})"
        raise _data_error(asset, path, found) from None
    digest = hashlib.sha256(raw).hexdigest()
    if digest != asset.raw_sha256:
        found = f"unpacks to SHA-256 {digest} instead of {asset.raw_sha256}"
        raise _data_error(asset, path, f"the right hash, but it {found}")
    return raw


def _open_cache(asset: Asset, path: Path) -> np.ndarray | None:
    """The cached bytes, memory-mapped; None where there are none or they are not the right
    ones.
    """
    try:
        if path.stat().st_size != asset.raw_bytes:
            return None
        raw = np.memmap(path, dtype=np.uint8, mode="r", shape=(asset.raw_bytes,))
    except (OSError, ValueError):  # ValueError: cut short between the two calls
        return None
    return raw if hashlib.sha256(raw).hexdigest() == asset.raw_sha256 else None


def _write_cache(asset: Asset, path: Path, raw: bytes) -> None:
    """Write whole or not at all: each process fills a file of its own, and the last rename
    wins with equal bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        # mkstemp makes it for the owner alone, and a cache may be shared
        os.chmod(name, 0o644)
        try:
            os.replace(name, path)
        # Windows: another process, as fast as this one, has the file mapped already
        except PermissionError:
            if _open_cache(asset, path) is None:
                raise
    finally:
        Path(name).unlink(missing_ok=True)
