"""A monotone curve whose shape a net chooses, with its inverse in closed form."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 1e-3  # width and height of a bin as a fraction of all, and slope at a knot
# softplus(SLOPE_ONE) + LEAST = 1: parameters of zero make the straight line
SLOPE_ONE = math.log(math.expm1(1 - LEAST))


def spline_parameters(bins: int) -> int:
    """How many numbers describe one curve: widths, heights, and the inner knots' slopes."""
    return 3 * bins - 1


def _knots(raw: Tensor, bound: float) -> Tensor:
    """Free numbers [..., K] to K + 1 rising places from -bound to bound."""
    parts = LEAST + (1 - LEAST * raw.shape[-1]) * raw.softmax(dim=-1)
    inner = 2 * bound * parts.cumsum(dim=-1)[..., :-1] - bound
    ends = torch.full_like(raw[..., :1], bound)
    return torch.cat([-ends, inner, ends], dim=-1)


def rational_quadratic(
    x: Tensor, parameters: Tensor, bound: float = 4.0, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Each number through its own rational-quadratic spline (Durkan et al. 2019, eqs. 4 to 8):
    x [...] and parameters [..., 3 K - 1] to y [...] and the log of each slope [...].

    Outside of [-bound, bound] the curve is the line y = x. inverse: from y back to x, and the
    slopes are the inverse curve's.
    """
    K = (parameters.shape[-1] + 1) // 3
    xs = _knots(parameters[..., :K], bound)
    ys = _knots(parameters[..., K : 2 * K], bound)
    slopes = F.softplus(parameters[..., 2 * K :] + SLOPE_ONE) + LEAST
    slopes = F.pad(slopes, (1, 1), value=1.0)  # [..., K + 1]: the lines outside go on

    inside = x.clamp(-bound, bound)
    own = ys if inverse else xs
    bin = (inside[..., None] >= own[..., 1:-1]).sum(dim=-1, keepdim=True)  # 0 .. K - 1

    def at(knots: Tensor, more: int = 0) -> Tensor:
        return knots.gather(-1, bin + more)[..., 0]

    x0, y0, d0, d1 = at(xs), at(ys), at(slopes), at(slopes, 1)
    width, height = at(xs, 1) - x0, at(ys, 1) - y0
    s = height / width
    bend = d0 + d1 - 2 * s
    if inverse:  # eq. 6: the root of a quadratic, in the form that loses no digits
        up = inside - y0
        a = height * (s - d0) + up * bend
        b = height * d0 - up * bend
        c = -s * up
        xi = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
    else:
        xi = (inside - x0) / width
    mixed = xi * (1 - xi)
    below = s + bend * mixed
    out = x0 + xi * width if inverse else y0 + height * (s * xi.square() + d0 * mixed) / below
    above = s.square() * (d1 * xi.square() + 2 * s * mixed + d0 * (1 - xi).square())
    log_slope = above.log() - 2 * below.log()  # eq. 5
    log_slope = -log_slope if inverse else log_slope
    outside = x.abs() >= bound
    return torch.where(outside, x, out), torch.where(outside, 0.0, log_slope)
