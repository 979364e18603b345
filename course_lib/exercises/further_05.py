"""The exercises of further/05: dropped texts, what a step of the bound costs, and the price of
a mistake in a target. The first stands in lesson_05.py.
"""

import math

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise
from course_lib.exercises.lesson_05 import DROP_LABELS

__all__ = ["DROP_LABELS", "PRICE", "STEP_COST"]


def _bent_cost(
    *,
    ratio=lambda small, nu: small / nu,
    mean=lambda small, nu, gap: gap**2 / nu,
    one: float = 1.0,
    half: float = 0.5,
    unit: float = 1.0,
):
    """The divergence of two Normals with any of its parts bent."""

    def cost(small: Tensor, nu: Tensor, gap: Tensor) -> Tensor:
        r = ratio(small, nu)
        return half * (r - one - r.log() + mean(small, nu, gap)) / unit

    return cost


_SMALL = torch.tensor([0.02, 0.3, 0.11, 0.5], dtype=torch.float64)
_NU = torch.tensor([0.025, 0.2, 0.37, 0.45], dtype=torch.float64)
_GAP = torch.tensor([0.07, -0.2, 0.6, -0.13], dtype=torch.float64)

STEP_COST = Exercise(
    name="step_cost",
    solution=_bent_cost(),
    cases=[(_SMALL, _NU, _GAP), (3 * _SMALL, _NU, 2 * _GAP)],
    wrong_turns=[
        (
            _bent_cost(
                ratio=lambda small, nu: nu / small,
                mean=lambda small, nu, gap: gap**2 / small,
            ),
            "This is the divergence the other way round, of the model's step from the true "
            "one. It isn't symmetric: q's variance stands on top, nu below.",
        ),
        (
            _bent_cost(ratio=lambda small, nu: nu / small),
            "The ratio is upside down: small / nu.",
        ),
        (
            _bent_cost(mean=lambda small, nu, gap: gap**2 / small),
            "The squared gap is divided by q's variance. It is the model's, nu, that says how "
            "much a miss of the mean costs.",
        ),
        (
            _bent_cost(mean=lambda small, nu, gap: gap.abs() / nu),
            "The gap between the means counts squared.",
        ),
        (
            _bent_cost(mean=lambda small, nu, gap: 2 * gap**2 / nu),
            "The half stands before the gap as well: gap ** 2 / (2 nu).",
        ),
        (
            _bent_cost(mean=lambda small, nu, gap: 0 * gap),
            "The gap between the means is missing.",
        ),
        (
            _bent_cost(one=0.0),
            "The -1 is missing: for equal Normals the divergence is 0.",
        ),
        (_bent_cost(half=1.0), "A half is missing before the whole."),
        (
            _bent_cost(
                ratio=lambda small, nu: (small / nu).sqrt(),
            ),
            "small and nu are variances already; their roots were taken.",
        ),
        (
            _bent_cost(unit=math.log(2)),
            "These are bits. The equation is in nats, with the natural logarithm.",
        ),
    ],
    praise="Right: 0 for equal Normals, and the one that says too narrow pays more.",
)


def _price(a: Tensor, b: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return (a - b * alpha / sigma) ** 2


_MIX = (
    torch.tensor([0.3, -0.6, 0.4], dtype=torch.float64),
    torch.tensor([1.0, 0.7, 0.2], dtype=torch.float64),
)
_LEVEL = (
    torch.tensor([0.9, 0.6, 0.25], dtype=torch.float64),
    torch.tensor([0.44, 0.8, 0.97], dtype=torch.float64),
)

PRICE = Exercise(
    name="price",
    solution=_price,
    cases=[(*_MIX, *_LEVEL), (_MIX[1], -_MIX[0], *_LEVEL)],
    wrong_turns=[
        (
            lambda a, b, alpha, sigma: (a + b * alpha / sigma) ** 2,
            "The sign: where x0 is too large, eps is too small, for x_t is given.",
        ),
        (
            lambda a, b, alpha, sigma: (a - b * sigma / alpha) ** 2,
            "The proportion is upside down: from x_t = alpha x0 + sigma eps, a mistake of 1 "
            "in x0 makes one of -alpha / sigma in eps.",
        ),
        (
            lambda a, b, alpha, sigma: a - b * alpha / sigma,
            "This is the factor on the mistake. The price is of a squared one: square it.",
        ),
        (
            lambda a, b, alpha, sigma: (a - b * alpha / sigma).abs(),
            "This is the factor on the mistake. The price is of a squared one: square it.",
        ),
        (
            lambda a, b, alpha, sigma: a**2 + (b * alpha / sigma) ** 2,
            "The two mistakes are one and the same, seen twice: add them with their signs, "
            "then square.",
        ),
        (
            lambda a, b, alpha, sigma: (a * alpha + b * sigma) ** 2,
            "This puts alpha and sigma on the target's parts, as if it were x_t.",
        ),
    ],
    praise="Right: SNR for eps, 1 for x0, and their sum for v.",
)
