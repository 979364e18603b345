"""An exercise of lesson 06: how fast the smallest game comes to rest."""

from collections.abc import Callable

import torch

from course_lib.exercises.grader import Exercise
from course_lib.toy_games import dirac_rates


def slowest_rate(gamma: float, slope: float) -> float:
    """The larger real part of the two eigenvalues -gamma / 2 +- sqrt(gamma^2/4 - slope^2)."""
    return dirac_rates(gamma, slope).real.max().item()


def _bent_rate(inside: Callable, half: float = 0.5, sign: int = 1) -> Callable:
    def bent(gamma: float, slope: float) -> float:
        return -half * gamma + sign * max(inside(gamma, slope), 0.0) ** 0.5

    return bent


def _inside(gamma: float, slope: float) -> float:
    return gamma**2 / 4 - slope**2


_COMPLEX = (
    "A power of a number below 0 is complex in Python: take max(..., 0) first, or the "
    ".real of the result."
)


def _is_complex(attempt: Callable) -> bool:
    """Whether a rate comes with an imaginary part, which a comparison of values drops."""
    return torch.is_complex(torch.as_tensor(attempt(0.4, 0.5)))


RATE = Exercise(
    "slowest_rate",
    slowest_rate,
    [(0.4, 0.5), (3.0, 0.5), (1.5, 0.7), (0.0, 0.5)],
    [
        (
            lambda gamma, slope: -gamma / 2,
            "Right while the players circle. Above gamma = 2 slope the root is real, and the "
            "slower of the two rates is nearer to 0.",
        ),
        (
            _bent_rate(_inside, sign=-1),
            "That is the faster of the two. What is left in the end is the slower: plus the "
            "root.",
        ),
        (
            lambda gamma, slope: -gamma / 2 + abs(_inside(gamma, slope)) ** 0.5,
            "Where gamma^2/4 is below slope^2 the root is imaginary: it turns, and neither "
            "shrinks nor grows. Only a real root counts.",
        ),
        (
            _bent_rate(lambda g, s: g**2 - s**2, half=1.0),
            "gamma counts twice here: that is R1 and R2 together. With R1 alone it is "
            "gamma / 2.",
        ),
        (
            _bent_rate(lambda g, s: g**2 - s**2),
            "In the root gamma is halved as well: gamma^2 / 4.",
        ),
        (
            _bent_rate(lambda g, s: g**2 / 4 - s),
            "In the root the slope is squared.",
        ),
        (
            _bent_rate(lambda g, s: g**2 / 4 - 4 * s**2),
            "slope^2 stands alone in the root; 4 slope^2 belongs to a root that is halved "
            "afterwards, with gamma^2 in it.",
        ),
        (
            _bent_rate(lambda g, s: g / 4 - s**2),
            "In the root gamma is squared.",
        ),
        (
            lambda gamma, slope: gamma / 2 + max(_inside(gamma, slope), 0.0) ** 0.5,
            "The sign of gamma / 2 is turned: a penalty damps, so the rate is below 0.",
        ),
        (
            lambda gamma, slope: (dirac_rates(gamma, slope)[0]).abs().item(),
            "That is the eigenvalue's size. What dies away is told by its real part alone.",
        ),
    ],
    "Right: damping is a formula, and more of it is not always faster.",
    rtol=1e-6,
    known_errors=[
        (
            "math domain error",
            "Where gamma^2/4 is below slope^2 the root is imaginary, and adds nothing to the "
            "real part: take max(..., 0) first.",
        ),
        ("complex", _COMPLEX),
    ],
    habits=[(_is_complex, _COMPLEX)],
    advice="-gamma / 2, plus the root of gamma^2/4 - slope^2 where that is above 0",
)
