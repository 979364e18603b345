"""Lesson 08's graders take a reader's own ways to write it, and its laws are those of the
library (what every lesson's graders do: test_grader.py).
"""

import math

import pytest
import torch
import torch.nn.functional as F
from contracts import AnswersContract, StubContract

from course_lib import Schedule, load_weights
from course_lib.diffusion import LatentCodec
from course_lib.exercises import lesson_08 as lesson
from course_lib.models.superres import repeat, shrink
from course_lib.recipes.emoji_superres import pictures

EXERCISES = (lesson.PROJECT, lesson.DRAW, lesson.PCA, lesson.SCALE)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
class TestExercises(StubContract):
    """Each of the lesson's."""


# ---------------------------------------------------------------- a reader's own ways


def test_project_by_hand():
    def by_loop(x, thumb):
        found = x.clone()
        for i in range(thumb.shape[2]):
            for j in range(thumb.shape[3]):
                square = found[:, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
                square += (thumb[:, :, i, j] - square.mean(dim=(2, 3)))[:, :, None, None]
        return found

    def by_interpolation(x, thumb):
        lacking = thumb - F.avg_pool2d(x, 4)
        return x + F.interpolate(lacking, scale_factor=4, mode="nearest")

    assert lesson.PROJECT(by_loop) and lesson.PROJECT(by_interpolation)
    assert lesson.PROJECT(lambda x, thumb: x - repeat(shrink(x)) + repeat(thumb))
    verdict = lesson.PROJECT(lambda x, thumb: x + thumb - shrink(x))
    assert "square of 4 x 4" in verdict.text


def test_both_errors_by_a_solver_or_by_the_precision():
    def by_solve(cov, A):
        left = cov - cov @ A.T @ torch.linalg.solve(A @ cov @ A.T, A @ cov)
        return torch.tensor([left.trace(), 2 * left.trace()])

    def by_precision(cov, A):  # of y = A x with hardly any noise
        left = torch.linalg.inv(torch.linalg.inv(cov) + 1e9 * A.T @ A)
        return torch.stack([left.diagonal().sum(), 2 * left.diagonal().sum()])

    assert lesson.DRAW(by_solve) and lesson.DRAW(by_precision)


def test_a_draw_has_twice_the_error_of_the_mean():
    """Measured on a Gaussian of six pixels and its two thumbnail pixels: 4 standard errors."""
    cov, A = lesson.DRAW.cases[0]
    n, generator = 40_000, torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(cov)

    def normal():
        return torch.randn(n, 6, generator=generator, dtype=torch.float64) @ root.T

    gain = cov @ A.T @ torch.linalg.inv(A @ cov @ A.T)
    x, other = normal(), normal()
    mean = x @ A.T @ gain.T
    drawn = other + (x - other) @ A.T @ gain.T  # Matheron's rule: a draw given A x
    torch.testing.assert_close(drawn @ A.T, x @ A.T)
    for answer, expected in zip((mean, drawn), lesson.mean_and_draw(cov, A), strict=True):
        error = (answer - x).square().sum(dim=1)
        assert abs(error.mean() - expected) < 4 * error.std() / n**0.5
    first, second = lesson.mean_and_draw(cov, A)
    assert second == 2 * first


def test_pca_by_svd_or_by_the_covariance():
    def by_svd(x, k):
        mean = x.mean(dim=0)
        _, _, Vt = torch.linalg.svd(x - mean, full_matrices=False)
        return mean + (x - mean) @ Vt[:k].T @ Vt[:k]

    def by_cov(x, k):
        _, V = torch.linalg.eigh(torch.cov(x.T))
        V, mean = V[:, -k:], x.mean(dim=0, keepdim=True)
        return (x - mean) @ V @ V.T + mean

    assert lesson.PCA(by_svd) and lesson.PCA(by_cov)


def test_pca_loses_the_dropped_eigenvalues_exactly():
    x, _ = lesson.PCA.cases[0]
    centred = x - x.mean(dim=0)
    values = torch.linalg.eigvalsh(centred.T @ centred / len(x))
    for k in range(1, 5):
        error = (lesson.come_back(x, k) - x).square().sum(dim=1).mean()
        torch.testing.assert_close(error, values[: len(values) - k].sum())


def test_log_snr_written_otherwise():
    assert lesson.SCALE(lambda a, s, spread: torch.log((spread * a) ** 2 / s**2))
    assert lesson.SCALE(
        lambda a, s, spread: 2 * (a.log() - s.log()) + torch.tensor(spread**2).log()
    )


def test_a_wrong_scale_shifts_the_log_snr_by_twice_its_logarithm():
    """By the library's own codec and schedule: power over power, measured."""
    schedule, s = Schedule.cosine(), 2.5
    z = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).double() * s
    as_it_is, right = (LatentCodec(torch.nn.Identity(), 0.0, std) for std in (1.0, s))
    for t in (100, 500, 900):
        power = [
            (schedule.alpha[t] * (z - codec.mean) / codec.std).square().mean()
            / schedule.sigma[t] ** 2
            for codec in (as_it_is, right)
        ]
        shift = power[0].log() - power[1].log()
        torch.testing.assert_close(shift, 2 * torch.tensor(s).log().double())
        found = lesson.log_snr(schedule.alpha[t], schedule.sigma[t], s)
        torch.testing.assert_close(found, power[0].log(), rtol=0, atol=0.02)


# ---------------------------------------------------------------- the gallery


@pytest.fixture(scope="module")
def hung():
    net = load_weights("emoji-autoencoder", device="cpu")
    return lesson.gallery(net, pictures(torch.arange(0, 10_000, 2_500)))


def test_the_figures_tell_the_bugs_apart(hung):
    """What each bug's sign says is so in the figures that its letter shows."""
    by_bug = {lesson.GALLERY.key[letter]: found for letter, (_, found) in hung.items()}
    right = by_bug.pop(1)
    assert set(by_bug) == set(range(2, 9))
    assert all(found["PSNR"] < right["PSNR"] - 0.3 for found in by_bug.values())
    assert by_bug[3]["largest"] <= 1.001 < min(right["largest"], by_bug[6]["largest"])
    assert by_bug[4]["PSNR"] > max(by_bug[bug]["PSNR"] for bug in (2, 3, 5, 6, 7, 8))
    assert by_bug[5]["brightness"] == max(found["brightness"] for found in by_bug.values())
    assert by_bug[6]["latent spread"] < 0.8 * right["latent spread"]
    assert abs(by_bug[7]["brightness"]) < 0.05
    for bug in (2, 7, 8):
        assert abs(by_bug[bug]["latent spread"] - right["latent spread"]) < 1e-3


def test_the_gallery_grades():
    key = lesson.GALLERY.key
    assert sorted(key.values()) == sorted(lesson.BUGS)
    assert lesson.GALLERY(key)
    assert lesson.GALLERY(dict.fromkeys(key, ...)).state == "awaits"
    assert lesson.GALLERY({}).state == "awaits"
    swapped = {**key, "A": key["B"], "B": key["A"]}
    verdict = lesson.GALLERY(swapped)
    assert verdict.state == "wrong" and "6 of 8 right" in verdict.text
    assert lesson.BUGS[key["B"]].sign in verdict.text
    for wrong in (9, "4", [4]):
        assert "no number of a line" in lesson.GALLERY({**key, "A": wrong}).text
    assert "dict" in lesson.GALLERY([1, 2]).text


# ---------------------------------------------------------------- a table of slips

PROJECT, DRAW, PCA, SCALE = EXERCISES


def errors(rule):
    """A reader's two errors from Cov[x | y], by a rule for the pair."""

    def both(cov, A):
        left = cov - cov @ A.T @ torch.linalg.inv(A @ cov @ A.T) @ A @ cov
        return torch.stack(rule(left, cov))

    return both


def through(choose=lambda V, k: V[:, -k:], spread=lambda x: 1.0):
    """A reader's PCA with other directions, or other units."""

    def pca(x, k):
        y = x / spread(x)
        mean = y.mean(dim=0)
        V = choose(torch.linalg.eigh(torch.cov(y.T))[1], k)
        return ((y - mean) @ V @ V.T + mean) * spread(x)

    return pca


def project_in_place(x, thumb):
    x += repeat(thumb - shrink(x))
    return x


def pca_in_place(x, k):
    mean = x.mean(dim=0)
    x -= mean
    V = torch.linalg.eigh(x.T @ x)[1][:, -k:]
    return x @ V @ V.T + mean


TABLE = [
    (PROJECT, project_in_place, "writes into its own argument, `x`"),
    (PROJECT, lambda x, t: x + 16 * repeat(t - shrink(x)), "Multiplied by 16"),
    (PROJECT, lambda x, t: (x + repeat(t - shrink(x))).clamp(-1, 1), "is clamped"),
    (PROJECT, lambda x, t: x - x.mean() + repeat(t), "One mean of all"),
    (PROJECT, lambda x, t: t - shrink(x), "as a thumbnail"),
    (PROJECT, lambda x, t: x + repeat(shrink(x) - t), "The sign"),
    (PROJECT, lambda x, t: x + t - shrink(x), "a square of 4 x 4"),
    (DRAW, errors(lambda e, c: [(c - e).trace(), 2 * (c - e).trace()]), "what y tells"),
    (DRAW, errors(lambda e, c: [e.det(), 2 * e.det()]), "a volume"),
    (DRAW, errors(lambda e, c: [e.trace(), 3 * e.trace()]), "not 3"),
    (DRAW, errors(lambda e, c: [0 * e.trace(), e.trace()]), "The mean is no hit"),
    (DRAW, errors(lambda e, c: [e.diagonal(), 2 * e.diagonal()]), "sum over the pixels"),
    (DRAW, lambda cov, A: (cov.trace(), 2 * cov.trace()), "torch.stack makes one"),
    (DRAW, lambda cov, A: cov @ A @ cov, "@ multiplies matrices"),
    (PCA, pca_in_place, "writes into its own argument, `x`"),
    (PCA, through(lambda V, k: V), "All directions are kept"),
    (PCA, through(lambda V, k: V[:, -k - 1 : -1]), "largest variance is left out"),
    (PCA, through(lambda V, k: V[:, -1:]), "One direction alone"),
    (PCA, through(lambda V, k: V[:, :k]), "rising order"),
    (PCA, through(lambda V, k: V[-k:].T), "are the *columns*"),
    (PCA, through(lambda V, k: V[:k].T), "are the *columns*"),
    (PCA, through(spread=lambda x: x.std(dim=0)), "brought to one spread"),
    (SCALE, lambda a, s, p: 20 * torch.log10(p * a / s), "decibels"),
    (SCALE, lambda a, s, p: 2 * torch.log2(p * a / s), "These are bits"),
    (SCALE, lambda a, s, p: 2 * torch.log(s / (p * a)), "Upside down"),
    (SCALE, lambda a, s, p: torch.log(p * a / s) ** 2, "The log is squared"),
    (SCALE, lambda a, s, p: 2 * torch.log(p * a) - torch.log(s), "2 ln sigma"),
    (SCALE, lambda a, s, p: torch.log(p) + torch.log(a / s), "Of a number x take"),
]

RIGHT = [
    (PROJECT, lambda x, t: x - repeat(shrink(x) - t)),
    (PROJECT, lambda x, t: project_in_place(x.clone(), t)),
    (
        PROJECT,
        lambda x, t: x.float() + torch.kron((t - shrink(x)).float(), torch.ones(1, 1, 4, 4)),
    ),
    (DRAW, errors(lambda e, c: [e.trace(), e.trace() + e.trace()])),
    (
        DRAW,
        lambda cov, A: errors(lambda e, c: [e.trace(), 2 * e.trace()])(cov.float(), A.float()),
    ),
    (DRAW, errors(lambda e, c: [torch.einsum("ii", e), torch.einsum("ii", e) * 2])),
    (PCA, through()),
    (PCA, lambda x, k: pca_in_place(x.clone(), k)),
    (PCA, lambda x, k: through()(x.float(), k)),
    (SCALE, lambda a, s, p: torch.log(p**2 * a**2 / s**2).float()),
    (
        SCALE,
        lambda a, s, p: torch.stack(
            [2 * torch.log(p * x / y) for x, y in zip(a, s, strict=True)]
        ),
    ),
    (SCALE, lambda a, s, p: 2 * (a.log() - s.log() + math.log(p))),
]


class TestAnswers(AnswersContract):
    """The usual slips, and right answers in other words."""

    slips, right = TABLE, RIGHT
