"""What one call costs: operations, counted as they run, and seconds."""

import time
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def cost_of(call: Callable[[], object], times: int = 3) -> tuple[float, float]:
    """The multiplications and additions of matrix products and convolutions in one call, in
    billions, and the least of so many measured seconds. No gradients are taken. For calls
    that are done when they return, as on a processor: a GPU's work isn't waited for.
    """
    counter, seconds = FlopCounterMode(display=False), []
    # attention written out: the counter doesn't know every fused one
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        call()
    for _ in range(times):
        began = time.perf_counter()
        with torch.no_grad():
            call()
        seconds.append(time.perf_counter() - began)
    return counter.get_total_flops() / 1e9, min(seconds)
