"""The exercises of lesson 01: a causal mask and its test (causal.py), drawing pixel by pixel,
the bits that independence loses, how far one draw makes two pixels agree; and a gallery of
broken pixel models (pixel_bugs.py).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.causal import FIELD, MASK, causal_mask, moved_by
from course_lib.exercises.grader import Exercise
from course_lib.exercises.pixel_bugs import (
    BUGS,
    HUNG,
    Matching,
    gallery,
    neighbour,
    symptoms,
    told,
)
from course_lib.models.independent import entropy, total_correlation
from course_lib.models.pixelcnn import draw_levels

__all__ = [
    "AGREEMENT",
    "BUGS",
    "FIELD",
    "GALLERY",
    "LOST",
    "MASK",
    "PAINT",
    "agreement",
    "causal_mask",
    "gallery",
    "moved_by",
    "paint",
    "symptoms",
    "told",
]

# ---------------------------------------------------------------- 3: pixel by pixel


def paint(net: Callable, uniforms: Tensor) -> Tensor:
    """Pictures drawn one pixel after the other: uniforms [B, H, W] to [B, 1, H, W] in [-1, 1].

    net(x) gives every pixel's mixture, [B, 3 K, H, W].
    """
    B, H, W = uniforms.shape
    x = torch.zeros(B, 1, H, W)
    for row in range(H):
        for column in range(W):
            params = net(x)[:, :, row, column]
            x[:, 0, row, column] = draw_levels(params, uniforms[:, row, column]) / 127.5 - 1
    return x


def _toy_net(x: Tensor) -> Tensor:
    """A pixel from the one on its left and the two above, one of them on the right."""
    mean = 0.2 + 0.5 * neighbour(x, 0, 1) + 0.3 * neighbour(x, 1, 0)
    mean = mean - 0.6 * neighbour(x, 1, -1)
    return torch.cat([torch.zeros_like(mean), mean, torch.full_like(mean, -1.5)], dim=1)


def _ordered(order: Callable, refresh: Callable) -> Callable:
    """Painting in another order of places, with a call of the net where refresh says so."""

    def wrong(net, uniforms):
        B, H, W = uniforms.shape
        x, out = torch.zeros(B, 1, H, W), None
        for row, column in order(H, W):
            out = net(x) if out is None or refresh(row, column) else out
            level = draw_levels(out[:, :, row, column], uniforms[:, row, column])
            x[:, 0, row, column] = level / 127.5 - 1
        return x

    return wrong


def _rows(H: int, W: int) -> list[tuple[int, int]]:
    return [(row, column) for row in range(H) for column in range(W)]


def _columns(H: int, W: int) -> list[tuple[int, int]]:
    return [(row, column) for column in range(W) for row in range(H)]


def _raw_levels(net: Callable, uniforms: Tensor) -> Tensor:
    B, H, W = uniforms.shape
    x = torch.zeros(B, 1, H, W)
    for row, column in _rows(H, W):
        x[:, 0, row, column] = draw_levels(net(x)[:, :, row, column], uniforms[:, row, column])
    return x


def _one_uniform(net: Callable, uniforms: Tensor) -> Tensor:
    return paint(net, uniforms[:, :1, :1].expand_as(uniforms))


def _a_row_of(seed: int) -> Tensor:
    return torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(seed))


PAINT = Exercise(
    "paint",
    paint,
    [(_toy_net, _a_row_of(1)), (_toy_net, _a_row_of(2))],
    [
        (
            _ordered(_rows, lambda row, column: False),
            "The net was called once, on the empty picture: this is *all at once*. Call it "
            "anew for each pixel, on the picture as far as it is drawn.",
        ),
        (
            _ordered(_rows, lambda row, column: column == 0),
            "The net is called once a row, so no pixel sees its left neighbour: the call "
            "belongs inside the inner loop.",
        ),
        (
            _ordered(_columns, lambda row, column: True),
            "This goes column by column. The masks were made for rows from the top, each from "
            "left to right: the outer loop is over rows.",
        ),
        (
            _raw_levels,
            "draw_levels gives 0 .. 255, and the net reads -1 .. 1: divide by 127.5, take 1.",
        ),
        (
            _one_uniform,
            "Every pixel was drawn with the first one's uniform: take uniforms[:, row, "
            "column].",
        ),
        (
            lambda net, uniforms: paint(net, uniforms)[:, 0],
            "The pixels are right; pictures have an axis for the channel: [B, 1, H, W].",
        ),
    ],
    "Right. That is all of it: one call of the net for each pixel.",
    advice="one call for each pixel, in the order in which one reads",
)

# ---------------------------------------------------------------- 4: the lost bits


def _axes_but(joint: Tensor, i: int) -> list[int]:
    return [axis for axis in range(joint.ndim) if axis != i]


def _sum_of_entropies(joint: Tensor) -> Tensor:
    return sum(entropy(joint.sum(dim=_axes_but(joint, i))) for i in range(joint.ndim))


def _naive_log(joint: Tensor) -> Tensor:
    bits = -(joint * joint.log2()).sum()
    return _sum_of_entropies(joint) - bits


def _wrong_marginals(joint: Tensor) -> Tensor:
    """H of what is left when one variable is summed out, in place of its own."""
    parts = [entropy(joint.sum(dim=i).flatten()) for i in range(joint.ndim)]
    return sum(parts) - entropy(joint.flatten())


def _joint(*shape: int, seed: int) -> Tensor:
    table = torch.rand(shape, generator=torch.Generator().manual_seed(seed)).double().square()
    table.view(-1)[1] = 0  # a case that never happens
    return table / table.sum()


LOST = Exercise(
    "lost_bits",
    total_correlation,
    [
        (torch.tensor([[0.5, 0.1], [0.1, 0.3]], dtype=torch.float64),),
        (_joint(2, 3, 2, seed=3),),
        (_joint(3, 2, seed=2),),
    ],
    [
        (
            lambda joint: total_correlation(joint) * math.log(2),
            "These are nats, the natural logarithm's: divide by ln 2, or use log2.",
        ),
        (
            lambda joint: -total_correlation(joint),
            "The sign is turned: apart the pixels cost more, so the sum of their entropies "
            "comes first.",
        ),
        (
            _sum_of_entropies,
            "This is the sum of the pixels' own entropies, what is paid. Take off H(x), what "
            "would have been enough.",
        ),
        (
            lambda joint: entropy(joint.flatten()),
            "This is H(x), the entropy of the whole. What is lost is the sum of the pixels' "
            "own less this.",
        ),
        (
            lambda joint: total_correlation(joint) / joint.ndim,
            "This is the loss *per pixel*; here it is asked for all pixels together.",
        ),
        (
            _naive_log,
            "0 log 0 counts as 0, and the computer makes nan of it: torch.special.xlogy(p, p) "
            "is p ln p with 0 at 0.",
        ),
        (
            _wrong_marginals,
            "joint.sum(dim=i) takes variable i *out*. To get its own distribution, sum over "
            "all the other axes. (With two variables nobody notices.)",
        ),
    ],
    "Right. This many bits are thrown away by drawing each pixel for itself.",
    rtol=1e-6,
    advice="sum H(x_i) - H(x), with H(p) = -sum p log2 p",
)

# ---------------------------------------------------------------- 5: one draw in front


def agreement(rho: float) -> float:
    """P(two thresholded Normals of correlation rho are on the same side of 0), by Sheppard's
    formula.
    """
    return 0.5 + math.asin(rho) / math.pi


AGREEMENT = Exercise(
    "agreement",
    agreement,
    [(0.3,), (-0.6,), (0.95,)],
    [
        (
            lambda rho: math.acos(rho) / math.pi,
            "This is the share that *disagrees*: the two wedges between the lines.",
        ),
        (
            lambda rho: 0.25 + math.asin(rho) / (2 * math.pi),
            "This is one quadrant, both white. Both black is as likely: twice this.",
        ),
        (
            lambda rho: math.asin(rho) / math.pi,
            "At rho = 0 two fair coins agree half of the time: 1/2 is missing.",
        ),
        (
            lambda rho: 0.5 + math.asin(rho) / (2 * math.pi),
            "At rho = 1 they must always agree: arcsin(1) is pi / 2, so divide by pi.",
        ),
        (
            lambda rho: 0.5 + math.asin(rho),
            "An angle is no share: divide it by pi, half a turn.",
        ),
        (
            lambda rho: 0.5 + math.degrees(math.asin(rho)) / math.pi,
            "Degrees over radians: math.asin gives radians already.",
        ),
        (
            lambda rho: (1 + rho) / 2,
            "Right at -1, 0 and 1, and a straight line between. The angle between the two "
            "lines is arccos(rho), which is not straight.",
        ),
    ],
    "Right (Sheppard 1899).",
    known_errors=[
        (
            "must be Tensor",
            "rho is a plain number here: math.asin takes it, torch.asin does not.",
        )
    ],
    advice="the angle between the two lines over half a turn is the share that disagrees",
)

GALLERY = Matching("The gallery", HUNG)
