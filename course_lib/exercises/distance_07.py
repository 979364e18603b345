"""Lesson 07's last two exercises: Fréchet distance in one dimension, and its bias."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise

# ---------------------------------------------------------------- 4: Fréchet in one dimension


def frechet_1d(a: Tensor, b: Tensor) -> Tensor:
    """Squared Fréchet distance of the Normals fitted to numbers a [N] and b [M]."""
    return (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2


def _number(function: Callable) -> Callable:
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
    _number(frechet_1d),
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

# ---------------------------------------------------------------- 5: its bias


def mean_bias(cov: Tensor, N: int, M: int) -> Tensor:
    """E|mean of N - mean of M|^2 of two crowds drawn from one law of covariance cov [D, D]."""
    return cov.trace() * (1 / N + 1 / M)


_COV = torch.tensor([[2.0, 0.7, 0.1], [0.7, 1.5, 0.2], [0.1, 0.2, 4.0]], dtype=torch.float64)

BIAS = Exercise(
    "mean_bias",
    _number(mean_bias),
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
