"""The graders of further/07 name the usual slips, take right answers written otherwise, and
their closed forms hold for crowds that are drawn.
"""

import math

import pytest
import torch
from contracts import AnswersContract

from course_lib.exercises import further_07 as grade
from course_lib.exercises.further_07 import BIAS, SPREAD
from course_lib.metrics import frechet_distance


def drawn(cov, *numbers, repeats, seed=0):
    """Crowds [repeats, n, D] of a Normal law of covariance cov [D, D], one for each n."""
    generator = torch.Generator().manual_seed(seed)
    root, D = torch.linalg.cholesky(cov), len(cov)
    return [
        torch.randn(repeats, n, D, generator=generator, dtype=torch.float64) @ root.T
        for n in numbers
    ]


def test_bias_of_the_mean_term():
    cov = BIAS.cases[0][0]
    a, b = (crowd.mean(1) for crowd in drawn(cov, 10, 40, repeats=4000))
    found, expected = (a - b).square().sum(1), grade.mean_bias(cov, 10, 40).item()
    assert abs(found.mean().item() - expected) < 4 * found.std().item() / math.sqrt(4000)


def test_the_whole_floor_of_normal_crowds():
    cov = BIAS.cases[0][0]
    crowds = drawn(cov, 300, 500, repeats=400)
    found = torch.tensor([frechet_distance(a, b) for a, b in zip(*crowds, strict=True)])
    values = torch.linalg.eigvalsh(cov)
    expected = grade.mean_bias(cov, 300, 500) + grade.spread_bias(values, 300, 500)
    assert abs(found.mean() - expected) < 4 * found.std() / math.sqrt(400)
    assert grade.spread_bias(values, 300, 500) > 8 * found.std() / math.sqrt(400)


@pytest.mark.parametrize("D", [1, 2, 7])
def test_with_equal_eigenvalues_it_is_a_count(D):
    values = torch.full((D,), 3.0, dtype=torch.float64)
    expected = 3.0 * D * (D + 1) / 4 * (1 / 10 + 1 / 20)
    assert grade.spread_bias(values, 10, 20).item() == pytest.approx(expected)


def by_loops(values, N, M):
    """The sum written out, as a plain number."""
    total = sum(a * b / (a + b) for a in values.tolist() for b in values.tolist())
    return (total + values.sum().item() / 2) / 2 * (N + M) / (N * M)


RIGHT = [
    (BIAS, lambda cov, N, M: sum(cov[i, i] / N + cov[i, i] / M for i in range(len(cov)))),
    (BIAS, lambda cov, N, M: float(torch.linalg.eigvalsh(cov).sum() * (N + M) / (N * M))),
    (BIAS, lambda cov, N, M: torch.einsum("ii->", cov.float()) * (1 / N + 1 / M)),
    (SPREAD, by_loops),
    (SPREAD, lambda values, N, M: grade.spread_bias(values.float(), M, N)),
    (SPREAD, grade.spread_bias),
]


def summed(values, N, M, below=torch.add, diagonal=1.0, part=lambda table: table):
    """A reader's sum over pairs with one of its parts changed."""
    row, column = torch.meshgrid(values, values, indexing="ij")
    top = row * column + diagonal * torch.diag(values.square())
    return part(top / below(row, column)).sum() * (1 / N + 1 / M) / 2


TABLE = [
    (BIAS, lambda cov, N, M: cov.trace() * (1 / N**2 + 1 / M**2), "has the variance / N"),
    (BIAS, lambda cov, N, M: cov.trace() * (N**-0.5 + M**-0.5), "belongs to standard dev"),
    (BIAS, lambda cov, N, M: cov.diagonal().mean() * (1 / N + 1 / M), "A mean over the D"),
    (BIAS, lambda cov, N, M: cov.trace() / (N * M), "multiplied"),
    (BIAS, lambda cov, N, M: cov.trace() * (1 / (N - 1) + 1 / (M - 1)), "N - 1 belongs to"),
    (BIAS, lambda cov, N, M: (cov.trace() * (1 / N + 1 / M)) ** 0.5, "This is its root"),
    (BIAS, lambda cov, N, M: cov * (1 / N + 1 / M), "the covariance of the difference"),
    (SPREAD, lambda *case: summed(*case, diagonal=0.0), "The diagonal counts twice"),
    (SPREAD, lambda *case: 2 * summed(*case), "A half is missing"),
    (SPREAD, lambda *case: summed(*case, below=torch.mul), "not their product"),
    (SPREAD, lambda *case: summed(*case, part=torch.triu), "stands twice in the sum"),
    (SPREAD, lambda v, N, M: v.sum() * (1 / N + 1 / M) / 2, "Only i = j"),
    (SPREAD, lambda v, N, M: summed(v, N, M) / len(v) ** 2, "A mean over the pairs"),
    (SPREAD, lambda v, N, M: summed(v, N, math.inf), "The other crowd's covariance"),
]


class TestAnswers(AnswersContract):
    """The usual slips, and right answers in other words."""

    slips, right = TABLE, RIGHT


@pytest.mark.parametrize("exercise", [BIAS, SPREAD])
def test_each_wrong_turn_is_named(exercise):
    for wrong, hint in exercise.wrong_turns:
        assert exercise(wrong).text == hint
