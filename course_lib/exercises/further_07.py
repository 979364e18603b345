"""The exercises of further/07: how far chance puts apart two means, and two covariances."""

import torch
from torch import Tensor

from course_lib.exercises.distance_07 import number
from course_lib.exercises.grader import Exercise

__all__ = ["BIAS", "SPREAD", "mean_bias", "spread_bias"]

# ---------------------------------------------------------------- 1: the means


def mean_bias(cov: Tensor, N: int, M: int) -> Tensor:
    """E|mean of N - mean of M|^2 of two crowds drawn from one law of covariance cov [D, D]."""
    return cov.trace() * (1 / N + 1 / M)


_COV = torch.tensor([[2.0, 0.7, 0.1], [0.7, 1.5, 0.2], [0.1, 0.2, 4.0]], dtype=torch.float64)

BIAS = Exercise(
    "mean_bias",
    number(mean_bias),
    [(_COV, 10, 40), (_COV[:2, :2], 7, 3)],
    [
        (
            lambda cov, N, M: cov.sum() * (1 / N + 1 / M),
            "The covariances beside the diagonal don't count: |x|^2 adds up the *variances*.",
        ),
        (lambda cov, N, M: cov.det() * (1 / N + 1 / M), "The trace, not the determinant."),
        (
            lambda cov, N, M: cov.trace() / (N + M),
            "1 / (N + M) is for one pooled mean. Two independent means: their variances add, "
            "1 / N + 1 / M.",
        ),
        (lambda cov, N, M: cov.trace() / N, "The other crowd's mean is random too: + 1 / M."),
        (
            lambda cov, N, M: cov.trace() * (1 / N - 1 / M),
            "Variances of independent things add, also in a difference.",
        ),
        (
            lambda cov, N, M: cov.trace() * (1 / N**2 + 1 / M**2),
            "A mean of N has the variance / N: the 1 / N is squared once, and N terms add up.",
        ),
        (
            lambda cov, N, M: cov.trace() * (1 / N**0.5 + 1 / M**0.5),
            "1 / sqrt(N) belongs to standard deviations; variances fall like 1 / N.",
        ),
        (
            lambda cov, N, M: cov.trace() / len(cov) * (1 / N + 1 / M),
            "A mean over the D directions; |x|^2 adds them up.",
        ),
        (
            lambda cov, N, M: cov.trace() / (N * M),
            "The two parts add, 1 / N + 1 / M; here they are multiplied.",
        ),
        (
            lambda cov, N, M: cov.trace() * (1 / (N - 1) + 1 / (M - 1)),
            "N - 1 belongs to an estimated variance. Here the covariance is known, and a mean "
            "of N has the variance / N.",
        ),
        (
            lambda cov, N, M: (cov.trace() * (1 / N + 1 / M)).sqrt(),
            "This is its root: |x|^2 is asked for.",
        ),
        (
            lambda cov, N, M: cov * (1 / N + 1 / M),
            "That is the covariance of the difference; |x|^2 is its trace.",
        ),
    ],
    "Right: the same law, and yet a distance above 0.",
    rtol=1e-6,
)

# ---------------------------------------------------------------- 2: the covariances


def _bent(
    *,
    twice: float = 1.0,
    half: float = 0.5,
    below=lambda row, column: row + column,
    numbers=lambda N, M: 1 / N + 1 / M,
    pairs=lambda table: table.sum(),
):
    """The covariances' part of the floor with any of its parts bent."""

    def bias(values: Tensor, N: int, M: int) -> Tensor:
        row, column = values[:, None], values[None, :]
        top = row * column + twice * torch.diag(values**2)
        return half * numbers(N, M) * pairs(top / below(row, column))

    return bias


def spread_bias(values: Tensor, N: int, M: int) -> Tensor:
    """What the covariances add to the squared Fréchet distance of two crowds drawn from one
    Normal law, to first order in 1 / N and 1 / M; values [D] are its covariance's eigenvalues,
    all above 0.
    """
    return _bent()(values, N, M)


_VALUES = torch.tensor([4.0, 1.5, 0.3], dtype=torch.float64)

SPREAD = Exercise(
    "spread_bias",
    number(spread_bias),
    [(_VALUES, 10, 40), (_VALUES[:2], 7, 3)],
    [
        (
            _bent(twice=0.0),
            "The diagonal counts twice: a variance has itself the variance 2 lambda^2 / N, a "
            "covariance of two directions lambda_i lambda_j / N.",
        ),
        (
            _bent(pairs=lambda table: table.diagonal().sum()),
            "Only i = j: this takes the directions one by one. Each *pair* of directions has "
            "a covariance that differs by chance.",
        ),
        (_bent(half=1.0), "A half is missing before the whole."),
        (
            _bent(below=lambda row, column: row * column),
            "Below stands the sum of the two eigenvalues, not their product.",
        ),
        (_bent(below=lambda row, column: 1.0), "Not divided by lambda_i + lambda_j."),
        (_bent(pairs=lambda table: table.mean()), "A mean over the pairs; they add up."),
        (
            _bent(pairs=lambda table: table.triu().sum()),
            "Each pair of directions stands twice in the sum, as ij and as ji.",
        ),
        (
            _bent(numbers=lambda N, M: 1 / N),
            "The other crowd's covariance is random too: + 1 / M.",
        ),
        (_bent(numbers=lambda N, M: 1 / (N + M)), "Two crowds add: 1 / N + 1 / M."),
        (
            _bent(numbers=lambda N, M: 1 / (N - 1) + 1 / (M - 1)),
            "1 / N, as in the formula: it is of first order, and N - 1 changes the second.",
        ),
        (
            lambda values, N, M: spread_bias(values, N, M) + values.sum() * (1 / N + 1 / M),
            "The means' part is in it already; here the covariances' alone is asked for.",
        ),
    ],
    "Right: with many features this is the larger part of the floor.",
    advice="values[:, None] and values[None, :] are lambda_i and lambda_j as a table",
)
