"""Weights in eight bits at rest: each row of a matrix or a convolution as whole numbers from
-127 to 127, and one scale a row. Half of float16; what it costs is measured for each net.
"""

import torch
from torch import Tensor, nn

SCALE = ".scale"  # at the end of the name under which a tensor's scales are stored
MOST = 127


def rounded(value: Tensor) -> tuple[Tensor, Tensor]:
    """A float tensor [out, ...] of two axes or more to int8 of the same shape and scales
    float32 [out]: value is about int8 * scale, within half a scale.
    """
    rows = value.detach().float().flatten(1)
    # to 11 binary digits: then MOST * scale is exact, and stored again it is the same
    digits, power = torch.frexp(rows.abs().amax(dim=1) / MOST)
    scale = torch.ldexp((digits * 2048).round() / 2048, power)
    whole = rows / scale.clamp(min=1e-30)[:, None]  # a row of zeros stays one
    return whole.round().to(torch.int8).view_as(value), scale


def restored(whole: Tensor, scale: Tensor) -> Tensor:
    """What `rounded` was given, in float32, but for the rounding: int8 [out, ...], [out]."""
    return whole.float() * scale.view(-1, *[1] * (whole.ndim - 1))


def stored(key: str, value: Tensor) -> dict[str, Tensor]:
    """A module's tensor as a file holds it: in eight bits with its scales, where it has rows;
    a vector or a number in float16; what is no float as it is.
    """
    if not value.is_floating_point():
        return {key: value}
    if value.ndim < 2:
        return {key: value.half()}
    whole, scale = rounded(value)
    return {key: whole, key + SCALE: scale}


@torch.no_grad()
def round_weights(module: nn.Module):
    """Give a module, in place, the numbers that it would have after it was stored so."""
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(restored(*rounded(value)) if value.ndim > 1 else value.half())
