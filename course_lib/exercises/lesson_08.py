"""The exercises of lesson 08: what a thumbnail fixes, the error of a mean and of a draw. PCA
as an autoencoder and the signal-to-noise ratio of latents stand in latents_08.py.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.gallery_08 import BUGS, GALLERY, broken_round, gallery, moments
from course_lib.exercises.grader import Exercise
from course_lib.exercises.latents_08 import PCA, SCALE, come_back, log_snr
from course_lib.models import superres

__all__ = [
    "BUGS",
    "DRAW",
    "GALLERY",
    "PCA",
    "PROJECT",
    "SCALE",
    "broken_round",
    "come_back",
    "gallery",
    "log_snr",
    "mean_and_draw",
    "moments",
    "project",
]


def _normal(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# ---------------------------------------------------------------- 1: onto the thumbnail


def project(x: Tensor, thumb: Tensor) -> Tensor:
    """The picture nearest to x [B, C, H, W] whose 4 x 4 squares have the means thumb [B, C, H
    / 4, W / 4].
    """
    return superres.project(x, thumb, 4)


def _lacking(x: Tensor, thumb: Tensor) -> Tensor:
    return thumb - superres.shrink(x)


PROJECT = Exercise(
    "project",
    project,
    [
        (_normal(2, 3, 8, 12, seed=0), _normal(2, 3, 2, 3, seed=1)),
        (_normal(1, 1, 16, 8, seed=2), _normal(1, 1, 4, 2, seed=3)),
    ],
    [
        (
            lambda x, thumb: x - superres.repeat(_lacking(x, thumb)),
            "The sign: each square is now twice as far from its mean. Add what the thumbnail "
            "lacks, thumb - shrink(x).",
        ),
        (
            lambda x, thumb: superres.repeat(thumb),
            "This shrinks to the thumbnail, and x has gone: it is the thumbnail in large "
            "pixels. Keep x, and add to each square what its mean lacks.",
        ),
        (
            lambda x, thumb: x + superres.repeat(thumb),
            "The thumbnail is added whole: take off what x has of it already, shrink(x).",
        ),
        (
            lambda x, thumb: x + superres.repeat(_lacking(x, thumb)) / 16,
            "Divided by 16: if 16 pixels each move by d, their mean moves by d, not by 16 d.",
        ),
        (
            lambda x, thumb: x + superres.enlarge(_lacking(x, thumb)),
            "The right difference, enlarged smoothly: its squares no longer have the means "
            "that it had. `repeat` keeps them.",
        ),
        (
            lambda x, thumb: x * superres.repeat(thumb / superres.shrink(x)),
            "This shrinks to the thumbnail, but by a factor: it is not the nearest such "
            "picture, and a square of mean 0 breaks it. Add instead.",
        ),
        (
            lambda x, thumb: x + _lacking(x, thumb).repeat(1, 1, 4, 4),
            "Tensor.repeat lays whole copies side by side. Each pixel is to become a square: "
            "`repeat` of this lesson, or repeat_interleave along both axes.",
        ),
        (
            lambda x, thumb: x - superres.repeat(superres.shrink(x)),
            "The old means are taken off; the thumbnail's are still to be put in their place.",
        ),
        (
            lambda x, thumb: x + 16 * superres.repeat(_lacking(x, thumb)),
            "Multiplied by 16: if 16 pixels each move by d, their mean moves by d.",
        ),
        (
            lambda x, thumb: project(x, thumb).clamp(-1, 1),
            "The answer is clamped: its squares no longer have the thumbnail's means.",
        ),
        (
            lambda x, thumb: x + superres.repeat(thumb) - superres.enlarge(superres.shrink(x)),
            "What is taken off is enlarged smoothly, what is added is not. `repeat` both.",
        ),
        (
            lambda x, thumb: x - x.mean() + superres.repeat(thumb),
            "One mean of all is taken off. Each square has its own: repeat(shrink(x)).",
        ),
        (
            lambda x, thumb: _lacking(x, thumb),
            "This is what is lacking, as a thumbnail. Enlarge it with `repeat`, and add x.",
        ),
    ],
    "Right: any picture can be made to fit a thumbnail, and this is the nearest that does.",
    rtol=1e-6,
    known_errors=[
        (
            "must match the size",
            "What is added has to have the size of x: each pixel of the thumbnail stands for "
            "a square of 4 x 4.",
        )
    ],
)

# ---------------------------------------------------------------- 2: the mean and the draw


def mean_and_draw(cov: Tensor, A: Tensor) -> Tensor:
    """Expected squared error, summed over the pixels, of the posterior's mean and of a draw
    from it, for x ~ N(0, cov) [D, D] of which y = A x is known, A [d, D]: [2].
    """
    left = _left(cov, A).trace()
    return torch.stack([left, 2 * left])


def _left(cov: Tensor, A: Tensor) -> Tensor:
    """Cov[x | A x]."""
    gain = cov @ A.T @ torch.linalg.inv(A @ cov @ A.T)
    return cov - gain @ A @ cov


def _errors(first: Callable, second: Callable) -> Callable:
    """A wrong turn from the two errors, each of (left, cov)."""
    return lambda cov, A: torch.stack([f(_left(cov, A), cov) for f in (first, second)])


def _trace(left: Tensor, cov: Tensor) -> Tensor:
    return left.trace()


def _draw_cases() -> list[tuple]:
    root, pair = _normal(6, 6, seed=4), torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    halves = torch.kron(torch.eye(2), torch.full((1, 3), 1 / 3))
    return [
        (root @ root.T / 6, halves.double()),
        (pair.double(), torch.full((1, 2), 0.5, dtype=torch.float64)),
    ]


DRAW = Exercise(
    "mean_and_draw",
    mean_and_draw,
    _draw_cases(),
    [
        (
            _errors(_trace, _trace),
            "The mean's error is right. The draw is as far from the posterior's mean as the "
            "truth is, and in a direction of its own: their variances add.",
        ),
        (
            _errors(_trace, lambda left, cov: left.trace() + cov.trace()),
            "The mean's error is right. The draw is from the posterior, so what it adds is "
            "Cov[x | y] once more, not the prior's cov.",
        ),
        (
            _errors(_trace, lambda left, cov: 2**0.5 * left.trace()),
            "The root of 2 belongs to distances; squared errors double.",
        ),
        (
            _errors(_trace, lambda left, cov: 4 * left.trace()),
            "Four times would be the error of mean + 2 (truth - mean): the two deviations "
            "are independent, so their squares add, 1 + 1.",
        ),
        (
            _errors(
                lambda left, cov: left.trace().sqrt(),
                lambda left, cov: (2 * left.trace()).sqrt(),
            ),
            "These are distances: the squared errors are asked for.",
        ),
        (
            _errors(
                lambda left, cov: left.trace() / len(cov),
                lambda left, cov: 2 * left.trace() / len(cov),
            ),
            "A mean over the pixels; the sum over them is asked for, a trace.",
        ),
        (
            _errors(lambda left, cov: cov.trace(), lambda left, cov: 2 * cov.trace()),
            "That is the error before y was seen. Take off what y tells: "
            "cov A^T (A cov A^T)^-1 A cov.",
        ),
        (
            _errors(lambda left, cov: left.sum(), lambda left, cov: 2 * left.sum()),
            "The sum of all entries mixes in covariances of different pixels; squared errors "
            "are on the diagonal: use the trace.",
        ),
        (
            lambda cov, A: mean_and_draw(cov, A).flip(0),
            "The two are in the wrong order: the mean's error first.",
        ),
        (
            _errors(
                lambda left, cov: (cov - left).trace(),
                lambda left, cov: 2 * (cov - left).trace(),
            ),
            "That is what y tells. The error is what is left: cov less this.",
        ),
        (
            _errors(lambda left, cov: left.det(), lambda left, cov: 2 * left.det()),
            "The determinant is a volume; squared errors of the pixels add up, a trace.",
        ),
        (
            _errors(_trace, lambda left, cov: 3 * left.trace()),
            "The mean's error is right. Truth and draw each lie once Cov[x | y] from the "
            "mean: 1 + 1, not 3.",
        ),
        (
            _errors(lambda left, cov: 0 * left.trace(), _trace),
            "The mean is no hit: it errs by Cov[x | y], and the draw by twice that.",
        ),
        (
            _errors(lambda left, cov: left.diagonal(), lambda left, cov: 2 * left.diagonal()),
            "Right for each pixel by itself: sum over the pixels, .trace().",
        ),
    ],
    "Right: a draw has twice the error of the mean, 3.01 dB, whatever the Gaussian.",
    rtol=1e-6,
)
