"""Lesson 01's last exercise: the bits that independence loses. Beside it, how far one draw in
front makes two pixels agree.
"""

import math

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise
from course_lib.models.independent import entropy, total_correlation

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


def _two_variables(joint: Tensor) -> Tensor:
    """Right where there are two."""
    parts = [entropy(joint.sum(dim=i).flatten()) for i in (0, 1)]
    return sum(parts) - entropy(joint.flatten())


def _half_in_nats(joint: Tensor) -> Tensor:
    return math.log(2) * _sum_of_entropies(joint) - entropy(joint.flatten())


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
        (
            _two_variables,
            "Right for two variables, and the table may have more: one axis each. Loop over "
            "range(joint.ndim).",
        ),
        (
            lambda joint: _sum_of_entropies(joint) + entropy(joint.flatten()),
            "H(x) is taken off, not added; mind the minus in H(p) = -sum p log2 p.",
        ),
        (
            lambda joint: total_correlation(joint) * math.log(2) ** 2,
            "From nats to bits one divides by ln 2; here it was multiplied.",
        ),
        (
            lambda joint: total_correlation(joint) * math.log10(2),
            "This is the logarithm to base 10; bits are to base 2.",
        ),
        (
            lambda joint: -(joint * joint.log2()).sum(),
            "This is H(x) alone, and 0 log 0, which counts as 0, made nan of it: "
            "torch.special.xlogy(p, p) is p ln p with 0 at 0.",
        ),
        (
            lambda joint: math.log2(joint.numel()) - entropy(joint.flatten()),
            "This compares with a law in which all cases are alike. Each pixel keeps its own "
            "distribution: joint summed over all other axes.",
        ),
        (
            _half_in_nats,
            "One part is in nats and the other in bits: divide both by ln 2.",
        ),
    ],
    "Right. This many bits are thrown away by drawing each pixel for itself.",
    rtol=1e-6,
    advice="sum H(x_i) - H(x), with H(p) = -sum p log2 p",
)

# ---------------------------------------------------------------- one draw in front


def agreement(rho: float) -> float:
    """P(two thresholded Normals of correlation rho are on the same side of 0), by Sheppard's
    formula.
    """
    return 0.5 + math.asin(rho) / math.pi
