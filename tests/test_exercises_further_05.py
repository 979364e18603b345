"""The graders of further/05 name the usual slips, and take right answers written otherwise."""

import math

import pytest
import torch
from contracts import SlipsContract
from torch.distributions import Normal, kl_divergence

from course_lib import TARGETS
from course_lib.exercises import further_05 as grade


def by_torch(small, nu, gap):
    """The divergence as PyTorch has it."""
    return kl_divergence(Normal(gap, small.sqrt()), Normal(0 * gap, nu.sqrt()))


def by_solving(a, b, alpha, sigma):
    """The price, from a mistake of 1 in x0 put through x_t = alpha x0 + sigma eps."""
    eps = (0 - alpha * torch.ones_like(sigma)) / sigma
    return (a * torch.ones_like(sigma) + b * eps).square()


@pytest.mark.parametrize(
    ("exercise", "attempt"), [(grade.STEP_COST, by_torch), (grade.PRICE, by_solving)]
)
def test_right_answers_written_otherwise_pass(exercise, attempt):
    assert exercise(attempt), exercise(attempt)
    assert exercise(exercise.solution)


SLIPS = [
    (grade.STEP_COST, lambda s, n, g: by_torch(n, s, g), "other way round"),
    (
        grade.STEP_COST,
        lambda s, n, g: by_torch(s, n, 0 * g),
        "gap between the means is missing",
    ),
    (grade.STEP_COST, lambda s, n, g: by_torch(s, n, g) / math.log(2), "bits"),
    (grade.STEP_COST, lambda s, n, g: 2 * by_torch(s, n, g), "half is missing"),
    (grade.STEP_COST, lambda s, n, g: by_torch(s, n, g) + 0.5, "-1 is missing"),
    (grade.STEP_COST, lambda s, n, g: by_torch(s, n, g) + g**2 / n / 2, "half stands"),
    (grade.PRICE, lambda a, b, al, s: (a + b * al / s) ** 2, "sign"),
    (grade.PRICE, lambda a, b, al, s: (a - b * s / al) ** 2, "upside down"),
    (grade.PRICE, lambda a, b, al, s: a - b * al / s, "square it"),
    (grade.PRICE, lambda a, b, al, s: a**2 + (b * al / s) ** 2, "one and the same"),
]


class TestSlips(SlipsContract):
    """The usual slips of both exercises."""

    slips = SLIPS


@pytest.mark.parametrize("exercise", [grade.STEP_COST, grade.PRICE])
def test_each_wrong_turn_is_named(exercise):
    for wrong, hint in exercise.wrong_turns:
        assert exercise(wrong).text == hint


def test_the_price_of_the_four_targets():
    alpha, sigma = torch.tensor([0.6, 0.28]).double(), torch.tensor([0.8, 0.96]).double()
    snr = (alpha / sigma) ** 2
    known = {"eps": snr, "x0": 0 * snr + 1, "v": snr + 1, "flow": (snr.sqrt() + 1) ** 2}
    for name, price in known.items():
        a, b = TARGETS[name](alpha, sigma)
        assert torch.allclose(grade.PRICE.solution(a, b, alpha, sigma), price)
