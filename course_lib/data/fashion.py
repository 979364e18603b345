"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017; MIT licence, Zalando SE), packed in assets/
with its licence.

The packed file is the xz of 60,000 training images, 10,000 test images and their labels, raw
bytes one after another. It is unpacked once into a cache folder of the user, never into the
checkout, which may be read-only.
"""

import contextlib
import hashlib
import lzma
import os
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

# of assets/fashion-mnist.xz
PACKED_SHA256 = "b23c760e1cf71c4fdd38be7a17e76f1340754689f0e5fdc1db610a8b07fd91f2"
# of the bytes unpacked from it
RAW_SHA256 = "2cbc59191665e1ba3f2494648f17edac5974f748ab89fb2ae05597d658161f54"
STREAMS = (
    6578240,
    6606788,
    6581160,
    6619864,
)  # bytes of each of the four xz streams, unpacked side by side

COUNT, SIDE = 70_000, 28
IMAGE_BYTES = COUNT * SIDE * SIDE
RAW_BYTES = IMAGE_BYTES + COUNT  # one byte a label
SPLITS = {
    "train": (0, 55_000),
    "valid": (55_000, 60_000),
    "test": (60_000, 70_000),
}  # rows of the packed file
CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)

PACKED_FILE = Path(__file__).resolve().parents[2] / "assets" / "fashion-mnist.xz"


class DataError(ValueError):
    """A data file is missing or not what its hash says; the message names the file, both
    hashes and the mend.
    """


class DataCheck(NamedTuple):
    """What verify_data found: the packed file, its SHA-256, and the state of the cache in a
    few words.
    """

    file: Path
    sha256: str
    cache: str


def fashion_mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 28, 28] and labels uint8 [N] of one split, read-only and memory-mapped.

    N is 55,000 for "train", 5,000 for "valid" and 10,000 for "test". The first call ever
    unpacks the data into cache_folder(); where that cannot be written, the arrays live in
    memory and a warning says so. Raises DataError for a missing or altered file, ValueError
    for another split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; the splits are {', '.join(SPLITS)}")
    start, stop = SPLITS[split]
    raw = _raw_bytes(PACKED_FILE, _stamp(PACKED_FILE), cache_file())
    images = raw[:IMAGE_BYTES].reshape(COUNT, SIDE, SIDE)  # [70000, 28, 28], a view
    return images[start:stop], raw[IMAGE_BYTES:][start:stop]


def verify_data() -> DataCheck:
    """Hash the packed file and, where there is one, the cached copy; nothing is written.
    Raises DataError.
    """
    _read_packed(PACKED_FILE)
    cache = cache_file()
    if cache is None:
        state = "no cache folder, the data is unpacked into memory"
    elif not os.path.exists(
        cache
    ):  # unlike Path.exists, False in a folder that may not be looked into
        state = f"not unpacked yet, goes to {cache}"
    elif _open_cache(cache) is None:
        state = f"{cache} is altered and will be rebuilt at the next load"
    else:
        state = f"{cache} is good"
    return DataCheck(PACKED_FILE, PACKED_SHA256, state)


def cache_folder() -> Path | None:
    """The folder for unpacked data: $MARBLE_CACHE, else `marble` in the system's cache folder;
    None without a home.
    """
    if own := os.environ.get("MARBLE_CACHE"):
        return Path(own).expanduser().absolute()
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


def cache_file() -> Path | None:
    """Where the unpacked bytes are kept; the name has their hash in it, so that other data
    never meets this file.
    """
    folder = cache_folder()
    return None if folder is None else folder / f"fashion-mnist-{RAW_SHA256[:16]}.bin"


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of the packed file: an altered one is read again in the same process."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1)
def _raw_bytes(packed: Path, stamp: tuple[int, int] | None, cache: Path | None) -> np.ndarray:
    """All unpacked bytes, uint8 [RAW_BYTES], hashed once a process: 55 MB take less time than
    importing torch.
    """
    data = _read_packed(packed)
    if cache is not None and (found := _open_cache(cache)) is not None:
        return found
    raw = _unpack(packed, data)
    reason = "no cache folder was found"
    if cache is not None:
        try:
            _write_cache(cache, raw)
            return np.memmap(cache, dtype=np.uint8, mode="r", shape=(RAW_BYTES,))
        except OSError as error:
            reason = f"{cache.parent} cannot be written ({error.strerror or error})"
    message = (
        f"Fashion-MNIST stays in memory and is unpacked again at each start: {reason}; "
        "MARBLE_CACHE names another"
    )
    warnings.warn(message + " folder.", stacklevel=3)
    return np.frombuffer(raw, dtype=np.uint8)


def _read_packed(path: Path) -> bytes:
    """The packed file's bytes, once their hash is right; DataError otherwise."""
    try:
        data = path.read_bytes()
    except OSError as error:
        found = (
            "no such file"
            if isinstance(error, FileNotFoundError)
            else error.strerror or str(error)
        )
        raise _data_error(path, found) from None
    digest = hashlib.sha256(data).hexdigest()
    if digest == PACKED_SHA256:
        return data
    if data.startswith(b"version https://git-lfs"):
        raise _data_error(
            path, f"SHA-256 {digest}: a Git LFS pointer, not the data", "`git lfs pull`, or "
        )
    raise _data_error(path, f"SHA-256 {digest} ({len(data):,} bytes)")


def _data_error(path: Path, found: str, first: str = "") -> DataError:
    return DataError(
        f"{path} is not the file that the course ships.\n"
        f"  expected: SHA-256 {PACKED_SHA256}\n"
        f"  found:    {found}\n"
        f"  mend:     {first}`git checkout -- assets/fashion-mnist.xz` in the course's "
        "folder, or clone it again"
    )


def _unpack(path: Path, data: bytes) -> bytes:
    """The raw bytes of a packed file whose hash was right; DataError where this Python's lzma
    disagrees.
    """
    ends = list(accumulate(STREAMS))
    try:
        with ThreadPoolExecutor(len(STREAMS)) as pool:  # lzma gives up the interpreter's lock
            raw = b"".join(
                pool.map(
                    lambda size, end: lzma.decompress(data[end - size : end]), STREAMS, ends
                )
            )
    except (lzma.LZMAError, EOFError) as error:
        raise _data_error(path, f"the right hash, but it does not unpack ({error})") from None
    digest = hashlib.sha256(raw).hexdigest()
    if digest != RAW_SHA256:
        raise _data_error(
            path, f"the right hash, but it unpacks to SHA-256 {digest} instead of {RAW_SHA256}"
        )
    return raw


def _open_cache(path: Path) -> np.ndarray | None:
    """The cached bytes, memory-mapped; None where there are none or they are not the right
    ones.
    """
    try:
        if path.stat().st_size != RAW_BYTES:
            return None
        raw = np.memmap(path, dtype=np.uint8, mode="r", shape=(RAW_BYTES,))
    except (OSError, ValueError):  # ValueError: cut short between the two calls
        return None
    return raw if hashlib.sha256(raw).hexdigest() == RAW_SHA256 else None


def _write_cache(path: Path, raw: bytes) -> None:
    """Write whole or not at all: each process fills a file of its own, and the last rename
    wins with equal bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        os.chmod(
            name, 0o644
        )  # mkstemp makes it for the owner alone, and a cache may be shared
        try:
            os.replace(name, path)
        except (
            PermissionError
        ):  # Windows: another process, as fast as this one, has the file mapped already
            if _open_cache(path) is None:
                raise
    finally:
        Path(name).unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove what processes that were killed while writing left behind, once it is an hour
    old.
    """
    for part in path.parent.glob(path.name + ".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink()
