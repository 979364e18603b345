"""The only place that picks a device or a precision."""

import contextlib
import functools
import os
import platform
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.errors import CourseError

# a convolution in float32 is one: PyTorch lets CUDA round what goes into it to ten bits
torch.backends.cudnn.allow_tf32 = False

# what MARBLE_PRECISION may say
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def default_device() -> torch.device:
    """The best device here: cuda, then mps, then cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def device_name(device: torch.device | str | None = None) -> str:
    """What a person calls a device: "NVIDIA H200", "Apple's GPU (mps)", "x86_64"."""
    device = torch.device(device or default_device())
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple's GPU (mps)" if device.type == "mps" else platform.machine()


def _cpuinfo(key: str) -> list[str]:
    """The words of the first line of /proc/cpuinfo that begins with key; none elsewhere."""
    with contextlib.suppress(OSError):  # Linux alone has this file
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(key):
                return line.partition(":")[2].split()
    return []


def processor_name() -> str:
    """What its maker calls the processor, where the system says so; else its kind."""
    return " ".join(_cpuinfo("model name")) or platform.processor() or platform.machine()


def _cpu_flags() -> frozenset[str]:
    """What the processor says that it can do: "avx2", "avx512_bf16" and the like."""
    if flags := _cpuinfo("flags"):
        return frozenset(flags)
    asked = getattr(torch.cpu, "get_capabilities", dict)()  # younger than some torch we run on
    return frozenset(name for name, has in asked.items() if has is True)


@functools.cache
def _precision(kind: str) -> torch.dtype:
    """What a kind of device computes fast: asked of the hardware and never timed.

    A clock would choose by what else runs here, and so make other weights of the same run.
    """
    if kind == "cuda":  # older cards (T4, V100) only emulate it, slowly
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = (
            kind == "cpu"
            and torch.backends.mkldnn.is_available()
            and not _cpu_flags().isdisjoint({"avx512_bf16", "amx_bf16"})
        )
    return torch.bfloat16 if fast else torch.float32


def pinned_precision() -> torch.dtype | None:
    """What MARBLE_PRECISION says, "float32" or "bfloat16"; None where it is not set."""
    name = os.environ.get("MARBLE_PRECISION", "")
    if name and name not in PRECISIONS:
        raise CourseError(
            f"MARBLE_PRECISION is {' or '.join(PRECISIONS)}, not {name!r}: set it to one of "
            "them, or unset it."
        )
    return PRECISIONS.get(name)


def precision(device: torch.device | str | None = None) -> torch.dtype:
    """The dtype for autocast on `device`: bfloat16 where its hardware computes in it, else
    float32.

    The same in every process on one machine, however busy it is. MARBLE_PRECISION decides
    instead where it is set; CourseError where it is neither of the two.
    """
    pinned = pinned_precision()
    return pinned or _precision(torch.device(device or default_device()).type)


def precision_name(dtype: torch.dtype) -> str:
    """A precision as cards and checkpoints write it: "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def autocast(device: torch.device | str | None = None, dtype: torch.dtype | None = None):
    """A context in which networks compute in `dtype`, by default `precision(device)`, whatever
    the autocast around.
    """
    device = torch.device(device or default_device())
    dtype = dtype or precision(device)
    if dtype == torch.float32:
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, dtype=dtype)


def place(
    module: nn.Module, device: torch.device | str | None = None, *, compiled: bool = False
) -> nn.Module:
    """Move `module` to `device`, channels-last; where asked and on CUDA, compile it in place
    for a long run.

    Where the compiler is not to be had, the module runs uncompiled, and one line says so;
    where it gives up on a graph, that graph does.
    """
    device = torch.device(device or default_device())
    # channels-last: 5 to 20 % faster convolutions on the CPU, more on CUDA; only 4-D weights
    # change their layout
    module = module.to(device).to(memory_format=torch.channels_last)
    if compiled and device.type == "cuda":
        try:
            import triton  # noqa: F401  the compiler's back end; absent on Windows

            torch._dynamo.config.suppress_errors = (
                True  # a graph that fails to compile runs as it is
            )
            module.compile()
        except ImportError as error:
            print(
                f"torch.compile needs {error.name}, which is not here: training runs "
                "uncompiled.",
                file=sys.stderr,
            )
    return module


def to_device(batch, device: torch.device):
    """Every tensor of a tuple, list or dict on `device`; images (4-D) channels-last."""
    if isinstance(batch, Tensor):
        layout = torch.channels_last if batch.ndim == 4 else torch.preserve_format
        return batch.to(device, non_blocking=True, memory_format=layout)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        moved = [to_device(value, device) for value in batch]
        return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)
    return batch


def _accelerators() -> dict:
    """The GPUs' modules with a random state of their own, by name, where they are in use."""
    used = {}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        used["cuda"] = torch.cuda
    if torch.backends.mps.is_available():
        used["mps"] = torch.mps
    return used


def random_state() -> dict[str, Tensor]:
    """The states of PyTorch's global generators, which dropout draws from: the CPU's, and the
    GPU's that this process uses, where there is one.
    """
    states = {name: module.get_rng_state() for name, module in _accelerators().items()}
    return {"cpu": torch.get_rng_state(), **states}


def set_random_state(states: dict[str, Tensor]):
    """Take up what `random_state` gave; a GPU's is left out where there is no such GPU."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
