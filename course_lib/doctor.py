"""What this machine offers the course: one line a thing, with the mend for what is wrong."""

import contextlib
import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LITTLE_MEMORY, LITTLE_DISK = 2e9, 1e9  # bytes: the largest lesson needs about as much
SET_UP = "run `python3 course.py lab`, which installs what is missing"


@dataclass(frozen=True)
class Line:
    """One thing that was looked at: what was found, whether it will do, and how to mend it if
    not.
    """

    name: str
    value: str
    ok: bool = True
    mend: str = ""  # what to do; empty where nothing is wrong
    essential: bool = True  # whether the course can't run without it

    def __str__(self) -> str:
        mark = "ok  " if self.ok else "MEND" if self.essential else "note"
        return f"{mark}  {self.name:<12}{self.value}" + (
            f"\n      -> {self.mend}" if self.mend and not self.ok else ""
        )


def report() -> list[Line]:
    """Look at everything; nothing is raised, nothing is written and nothing is fetched."""
    looks = [python, packages, torch_build, device, bf16, threads, memory, disk, data, weights]
    return [guarded(look) for look in looks]


def main() -> int:
    """Print the report; 1 if something that the course can't run without is wrong, else 0."""
    lines = report()
    for line in lines:
        print(line, flush=True)
    return int(any(line.essential and not line.ok for line in lines))


def guarded(look: Callable[[], Line]) -> Line:
    """A look's line, also where the look itself fails."""
    name = {"torch_build": "torch"}.get(look.__name__, look.__name__)
    try:
        return look()
    except ModuleNotFoundError as error:
        return Line(name, f"{error.name} is not installed", False, SET_UP)
    except Exception as error:
        return Line(
            name,
            f"{type(error).__name__}: {error}",
            False,
            "see the message; if it says nothing, " + SET_UP,
        )


def python() -> Line:
    """The version of Python and where it lies."""
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    return Line(
        "Python",
        f"{version} ({short(sys.executable)})",
        not old,
        "the course needs Python 3.11 or later",
    )


def short(text: str | Path) -> str:
    """A path, or a text with paths in it, without the checkout's and the home folder's own
    names.
    """
    text = str(text).replace(f"{ROOT}{os.sep}", "")
    with contextlib.suppress(RuntimeError):  # no home is known
        home = Path.home()
        if home != home.parent:  # who has none of his own has the root in a container
            text = text.replace(f"{home}{os.sep}", f"~{os.sep}")
    return text


def packages() -> Line:
    """Whether what is installed has the versions that requirements.txt names."""
    pins = re.findall(
        r"^([\w.-]+)==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M
    )
    missing, other = [], []
    for name, version in pins:
        try:
            found = importlib.metadata.version(name).split("+")[0]  # 2.13.0+cpu is a 2.13.0
            other += [f"{name} {found} for {version}"] if found != version else []
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Line("packages", f"missing: {', '.join(missing)}", False, SET_UP)
    value = (
        f"others than those tested: {', '.join(other)}"
        if other
        else f"all {len(pins)} at the tested versions"
    )
    own = "`python3 course.py lab` makes an environment of its own"
    mend = (
        f"`{short(sys.executable)} -m pip install -r requirements.txt` brings the tested ones"
        if launched()
        else own
    )
    return Line("packages", value, not other, mend, False)


def launched() -> bool:
    """Whether this is the environment that the launcher set up, and not a conda or a system
    Python.
    """
    return Path(sys.prefix, "marble-lab.stamp").exists()


def torch_build() -> Line:
    """The version of torch and what it was built for."""
    import torch

    built = (
        f"CUDA {torch.version.cuda}"
        if torch.version.cuda
        else "processors and Apple GPUs, without CUDA"
    )
    return Line("torch", f"{torch.__version__}, built for {built}")


def device() -> Line:
    """The device that the course will use."""
    import torch

    from course_lib.device import default_device, device_name

    found = default_device()
    if found.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        value = f"{device_name(found)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
        return Line(
            "device",
            value,
            free > LITTLE_MEMORY,
            "end what else uses the GPU (nvidia-smi lists it)",
            False,
        )
    unused = found.type == "cpu" and shutil.which("nvidia-smi") is not None
    mend = f"there is an NVIDIA GPU that torch can't use: {gpu_mend()}"
    return Line(
        "device",
        "the processor" if found.type == "cpu" else device_name(found),
        not unused,
        mend,
        False,
    )


def gpu_mend() -> str:
    """How torch comes to use an NVIDIA GPU: by a driver for its CUDA, or by another build
    where it has none.
    """
    import torch

    if torch.version.cuda:
        return (
            f"install a driver for CUDA {torch.version.cuda} or later (nvidia-smi names "
            "what yours is for)"
        )
    if (
        launched() and sys.platform == "linux"
    ):  # elsewhere the launcher has no build with CUDA to give
        return (
            f"delete {short(sys.prefix)}, then run `python3 course.py lab` without --cpu, "
            "which fetches about 3 GB"
        )
    pip = f"`{short(sys.executable)} -m pip uninstall torch`"
    return f"{pip}, then install a build with CUDA as pytorch.org/get-started/locally says"


def bf16() -> Line:
    """Whether networks compute in bfloat16 on that device."""
    import torch

    from course_lib.device import default_device, precision

    chosen = precision(default_device())
    return Line(
        "bf16",
        "used: this device computes in it"
        if chosen == torch.bfloat16
        else "not used: networks compute in float32",
    )


def threads() -> Line:
    """The threads that torch computes with, of the cores that this process may use."""
    import torch

    cores = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )
    used = torch.get_num_threads()
    few = used < min(cores, 2) and default_is_cpu()
    why = (
        "unset OMP_NUM_THREADS"
        if "OMP_NUM_THREADS" in os.environ
        else "torch.set_num_threads raises it"
    )
    return Line(
        "threads", f"{used} for {cores} cores", not few, f"training will be slow: {why}", False
    )


def default_is_cpu() -> bool:
    """Whether the course computes on the processor here."""
    from course_lib.device import default_device

    return default_device().type == "cpu"


def memory() -> Line:
    """The memory that is free, within a container's limit where there is one."""
    import psutil

    seen = psutil.virtual_memory()
    limit, used = container_memory()
    total = min(seen.total, limit or seen.total)
    free = min(seen.available, total - used) if limit else seen.available
    return Line(
        "memory",
        f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free",
        free > LITTLE_MEMORY,
        "close programs",
        False,
    )


# a container's limit, what it uses, and that part of it which is files kept to be read again:
# cgroup v2, then v1
CGROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


def container_memory(group: Path = Path("/sys/fs/cgroup")) -> tuple[int | None, int]:
    """The bytes that a container may use and those in use, less what the system would give up;
    (None, 0): no limit.
    """
    for limit, used, stat, kept in CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
            most = int((group / limit).read_text())
            if most < 2**60:  # v1 writes no limit as the largest number that it has
                return most, max(
                    0, int((group / used).read_text()) - counted(group / stat, kept)
                )
    return None, 0


def counted(stat: Path, key: str) -> int:
    """A number from a control group's memory.stat; 0 where there is none."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return int(dict(line.split() for line in stat.read_text().splitlines())[key])
    return 0


def disk() -> Line:
    """The space that is free where the course and its unpacked data lie."""
    from course_lib.data.fashion import cache_folder

    places = {"course": ROOT, "cache": cache_folder() or Path(tempfile.gettempdir())}
    free = {name: shutil.disk_usage(existing(place)).free for name, place in places.items()}
    name = min(free, key=lambda key: free[key])
    mend = f"make room where {places[name]} lies"
    return Line(
        "disk", f"{free[name] / 1e9:.1f} GB free", free[name] > LITTLE_DISK, mend, False
    )


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists; the root where not even the drive
    does.
    """
    return path if path.exists() or path == path.parent else existing(path.parent)


def data() -> Line:
    """Whether the shipped images are whole, by SHA-256, and where they lie unpacked."""
    from course_lib.data.emoji import verify_emoji
    from course_lib.data.fashion import DataError, verify_data

    try:
        found = verify_data()
        verify_emoji()
    except DataError as error:
        return broken("data", error, "git checkout -- assets")
    return Line("data", f"{found.file.name} and emoji/ are whole; {short(found.cache)}")


def weights() -> Line:
    """Whether the shipped weights are whole, by the SHA-256 of the course's list."""
    from course_lib.weights import WeightsError, shipped, verify

    names = shipped()
    for name in names:
        try:
            verify(name)
        except WeightsError as error:
            return broken("weights", error, "git checkout -- weights")
    return Line("weights", f"all {len(names)} are whole: {', '.join(names)}")


def broken(name: str, error: Exception, mend: str) -> Line:
    """The line for an error that brings its own mend along, as its last words."""
    text = re.sub(r"\s+", " ", str(error))
    value, *own = re.split(r"mend:|Get (?:it|them) again:", text, maxsplit=1)
    return Line(name, value.strip(" ;.") + ".", False, "".join(own).strip() or mend)


if __name__ == "__main__":
    sys.exit(main())
