"""A monotone curve whose shape a net chooses, with its inverse in closed form."""

import torch
from torch import Tensor

LEAST_WIDTH = 1e-3  # of a bin, as a fraction of all
# Of a bin's height: no piece of the curve is so flat that its inverse makes rounding show.
LEAST_HEIGHT = 2e-2


def spline_parameters(bins: int) -> int:
    """How many numbers describe one curve: widths, heights, and a slope at each knot."""
    return 3 * bins + 1


def _knots(raw: Tensor, least: float, bound: float) -> Tensor:
    """Free numbers [..., K] to K + 1 rising places from -bound to bound."""
    parts = least + (1 - least * raw.shape[-1]) * raw.softmax(dim=-1)
    inner = 2 * bound * parts.cumsum(dim=-1)[..., :-1] - bound
    ends = torch.full_like(raw[..., :1], bound)
    return torch.cat([-ends, inner, ends], dim=-1)


def _slopes(xs: Tensor, ys: Tensor, raw: Tensor) -> Tensor:
    """The slope at each of K + 1 knots: the harmonic mean of the bins on both sides, times 1 /
    e to e. So it is near the lesser of the two, and no curve between knots is much flatter
    than its bin.
    """
    s = ys.diff(dim=-1) / xs.diff(dim=-1)  # [..., K]
    left = torch.cat([s[..., :1], s], dim=-1)
    right = torch.cat([s, s[..., -1:]], dim=-1)
    return 2 * left * right / (left + right) * raw.tanh().exp()


def _curve(parameters: Tensor, bound: float) -> tuple[Tensor, Tensor, Tensor]:
    """Parameters [..., 3 K + 1] to the knots' places, heights and slopes, [..., K + 1]."""
    K = (parameters.shape[-1] - 1) // 3
    xs = _knots(parameters[..., :K], LEAST_WIDTH, bound)
    ys = _knots(parameters[..., K : 2 * K], LEAST_HEIGHT, bound)
    return xs, ys, _slopes(xs, ys, parameters[..., 2 * K :])


def rational_quadratic(
    x: Tensor, parameters: Tensor, bound: float = 4.0, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Each number through its own rational-quadratic spline (Durkan et al. 2019, eqs. 4 to 8):
    x [...] and parameters [..., 3 K + 1] to y [...] and the log of each slope [...].

    Outside of [-bound, bound] the curve goes on as a line with its last slope. Parameters of
    zero make y = x. inverse: from y back to x, and the slopes are the inverse curve's.
    """
    xs, ys, slopes = _curve(parameters, bound)
    inside = x.clamp(-bound, bound)
    own = ys if inverse else xs
    bin = (inside[..., None] >= own[..., 1:-1]).sum(dim=-1, keepdim=True)  # 0 .. K - 1

    def at(knots: Tensor, more: int = 0) -> Tensor:
        return knots.gather(-1, bin + more)[..., 0]

    x0, y0, d0, d1 = at(xs), at(ys), at(slopes), at(slopes, 1)
    width, height = at(xs, 1) - x0, at(ys, 1) - y0
    s = height / width
    bend = d0 + d1 - 2 * s
    if inverse:  # eqs. 6 to 8: the root of a quadratic, in the form that loses no digits
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
    log_slope = above.log() - 2 * below.log()  # eq. 5; at the ends, that of the lines beyond
    beyond, end = x - inside, log_slope.exp()
    out = out + (beyond / end if inverse else beyond * end)
    return out, -log_slope if inverse else log_slope
