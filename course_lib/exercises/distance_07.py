"""Lesson 07's last exercise: the Fréchet distance in one dimension."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise

# ---------------------------------------------------------------- 4: Fréchet in one dimension


def frechet_1d(a: Tensor, b: Tensor) -> Tensor:
    """Squared Fréchet distance of the Normals fitted to numbers a [N] and b [M]."""
    return (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2


def number(function: Callable) -> Callable:
    """The same as a plain number, so that one is as good an answer as a tensor of one."""
    return lambda *case: function(*case).item()


def _apart(spread: Callable) -> Callable:
    return lambda a, b: (a.mean() - b.mean()) ** 2 + spread(a, b)


def _frechet_cases() -> list[tuple]:
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.randn(n, generator=generator, dtype=torch.float64) for n in (30, 50))
    return [(1 + 0.6 * a, 2.5 * b), (3 * b, 1.2 + 2 * a)]


FRECHET = Exercise(
    "frechet_1d",
    number(frechet_1d),
    _frechet_cases(),
    [
        (
            _apart(lambda a, b: (a.var() - b.var()) ** 2),
            "Standard deviations, not variances: a Normal is moved onto another by "
            "stretching, and the stretch is in standard deviations.",
        ),
        (
            _apart(lambda a, b: (a.var() - b.var()).abs()),
            "|s_a^2 - s_b^2| is not (s_a - s_b)^2: take the roots first.",
        ),
        (_apart(lambda a, b: a.var() + b.var()), "The term -2 s_a s_b is missing."),
        (
            _apart(lambda a, b: (a.std() - b.std()).abs()),
            "The difference of the spreads isn't squared.",
        ),
        (
            _apart(lambda a, b: (a.std(correction=0) - b.std(correction=0)) ** 2),
            "Nearly: here the variance is the unbiased one, divided by N - 1 (.std() as it "
            "comes, without correction=0), so that the library's number comes out.",
        ),
        (
            _apart(lambda a, b: a.var() + b.var() - 2 * a.var() * b.var()),
            "The last term is 2 s_a s_b, of the standard deviations: a root is missing.",
        ),
        (
            _apart(lambda a, b: a.var() + b.var() - a.std() * b.std()),
            "The 2 of -2 s_a s_b is missing.",
        ),
        (
            _apart(lambda a, b: (a.std() + b.std()) ** 2),
            "The spreads are added. What counts is how far apart they are.",
        ),
        (
            _apart(lambda a, b: -((a.std() - b.std()) ** 2)),
            "The two parts of a squared distance add up.",
        ),
        (
            lambda a, b: (a.std() - b.std()) ** 2,
            "The spreads only: the means are apart as well.",
        ),
        (
            lambda a, b: (a.mean() - b.mean()).abs() + (a.std() - b.std()) ** 2,
            "The difference of the means isn't squared.",
        ),
        (
            lambda a, b: (a.mean() - b.mean() + a.std() - b.std()) ** 2,
            "The differences are added and then squared: square each.",
        ),
        (lambda a, b: frechet_1d(a, b).sqrt(), "This is its root: FID is the *squared* one."),
        (
            lambda a, b: (a.mean() - b.mean()) ** 2,
            "The means only: two crowds of equal mean and unequal spread would be alike.",
        ),
    ],
    "Right: in one dimension, FID is this.",
    rtol=1e-6,
)
