"""The grader of further/01 names the usual slips, takes right answers written otherwise, and
agrees with closed forms.
"""

import math

import pytest
import torch
from contracts import AnswersContract
from torch.distributions import Normal

from course_lib.exercises import further_01 as grade
from course_lib.exercises.lesson_01 import agreement

Z, WEIGHT = grade.normal_grid()


def by_torch(n, rho, z, weight):
    """With a distribution's cdf, and the symmetry of white and black."""
    white = Normal(0, math.sqrt(1 - rho)).cdf(math.sqrt(rho) * z)
    return 2 * (weight * white**n).sum()


def by_logs(n, rho, z, weight):
    """With logarithms, one pixel's noise standing on its own scale."""
    a = z * (1 / rho - 1) ** -0.5
    logs = torch.stack([torch.special.log_ndtr(a), torch.special.log_ndtr(-a)])
    return (n * logs).exp().sum(dim=0) @ weight


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9])
def test_two_pixels_agree_as_sheppard_says(rho):
    found = grade.all_agree(2, rho, Z, WEIGHT).item()
    assert found == pytest.approx(agreement(rho), abs=1e-9)


@pytest.mark.parametrize("n", [1, 3, 50, 784])
def test_at_a_half_it_is_a_rank(n):
    # all own noises below -z: the shared draw is the largest of n + 1 alike ones
    assert grade.all_agree(n, 0.5, Z, WEIGHT).item() == pytest.approx(2 / (n + 1), rel=1e-6)


SLIPS = {
    "The other is agreement too": lambda n, r, z, w: by_torch(n, r, z, w) / 2,
    "Right for two pixels": lambda n, r, z, w: torch.tensor(agreement(r) ** (n - 1)),
    "before the power": lambda n, r, z, w: torch.tensor(2.0 ** (1 - n)),
    "plain mean": lambda n, r, z, w: by_torch(n, r, z, torch.full_like(w, 1 / len(w))),
    "not 1: divide by it": lambda n, r, z, w: by_torch(n, r / (1 + r), z, w),
    "Upside down": lambda n, r, z, w: by_torch(n, 1 - r, z, w),
    "its root is rho ** 0.5": lambda n, r, z, w: (w * (torch.sqrt(r) * z)).sum(),
}


class TestAnswers(AnswersContract):
    """The usual slips, and right answers in other words."""

    exercise = grade.ALL_AGREE
    slips = [(slip, said) for said, slip in SLIPS.items()]
    right = [by_torch, by_logs, grade.all_agree]
