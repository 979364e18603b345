"""The only place that picks a device or a precision."""

import contextlib
import functools
import sys
import time

import torch
from torch import Tensor, nn


def default_device() -> torch.device:
    """The best device here: cuda, then mps, then cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _seconds_for_conv(dtypes: tuple[torch.dtype, ...], rounds: int = 9) -> list[float]:
    """The least seconds of a small channels-last convolution on the CPU in each dtype."""
    x, weight = torch.randn(16, 64, 14, 14), torch.randn(64, 64, 3, 3)
    pairs = [
        [a.to(dtype, memory_format=torch.channels_last) for a in (x, weight)]
        for dtype in dtypes
    ]
    least = [float("inf")] * len(dtypes)
    for _ in range(
        rounds
    ):  # in turn, and the least of each: what else runs here slows single rounds, not all
        for i, pair in enumerate(pairs):
            start = time.perf_counter()
            torch.nn.functional.conv2d(*pair, padding=1)
            least[i] = min(least[i], time.perf_counter() - start)
    return least


@functools.cache
def _cpu_precision() -> torch.dtype:
    """bfloat16 where a probe of some milliseconds finds it a fifth faster than float32."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        full, half = _seconds_for_conv((torch.float32, torch.bfloat16))
    return torch.bfloat16 if full > 1.2 * half else torch.float32


@functools.cache
def _precision(kind: str) -> torch.dtype:
    if kind == "cuda":
        # older cards (T4, V100) only emulate it, slowly
        return (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float32
        )
    return _cpu_precision() if kind == "cpu" else torch.float32


def precision(device: torch.device | str | None = None) -> torch.dtype:
    """The dtype for autocast on `device`: bfloat16 where it is faster, else float32."""
    return _precision(torch.device(device or default_device()).type)


def autocast(device: torch.device | str | None = None, dtype: torch.dtype | None = None):
    """A context in which networks compute in `dtype`, by default `precision(device)`."""
    device = torch.device(device or default_device())
    dtype = dtype or precision(device)
    return (
        contextlib.nullcontext()
        if dtype == torch.float32
        else torch.autocast(device.type, dtype=dtype)
    )


def place(
    module: nn.Module, device: torch.device | str | None = None, *, compiled: bool = False
) -> nn.Module:
    """Move `module` to `device`, channels-last; where asked and on CUDA, compile it in place
    for a long run.

    Where the compiler is not to be had, or gives up on a graph, the module runs uncompiled,
    and one line says so.
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
        return type(batch)(to_device(value, device) for value in batch)
    return batch
