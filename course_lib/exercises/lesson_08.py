"""The exercises of lesson 08: what a thumbnail fixes, the error of a mean and of a draw, PCA
as an autoencoder, the signal-to-noise ratio of latents.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.gallery_08 import BUGS, GALLERY, broken_round, gallery, moments
from course_lib.exercises.grader import Exercise
from course_lib.models import superres

__all__ = [
    "BUGS",
    "DRAW",
    "GALLERY",
    "PCA",
    "PROJECT",
    "SCALE",
    "broken_round",
    "gallery",
    "moments",
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
    ],
    "Right: a draw has twice the error of the mean, 3.01 dB, whatever the Gaussian.",
    rtol=1e-6,
)

# ---------------------------------------------------------------- 3: PCA comes back


def come_back(x: Tensor, k: int) -> Tensor:
    """x [N, D] through its k principal components and back: [N, D]."""
    mean = x.mean(dim=0)
    return mean + (x - mean) @ _projector(x - mean, k)


def _directions(centred: Tensor) -> Tensor:
    """Eigenvectors of the covariance in columns, the largest variance first."""
    return torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)


def _projector(centred: Tensor, k: int) -> Tensor:
    V = _directions(centred)[:, :k]
    return V @ V.T


def _through(choose: Callable) -> Callable:
    """PCA with other directions: choose(V [D, D], k) -> [D, k]."""

    def wrong(x, k):
        mean = x.mean(dim=0)
        V = choose(_directions(x - mean), k)
        return mean + (x - mean) @ V @ V.T

    return wrong


def _pca_cases() -> list[tuple]:
    stretch = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.2]).double()
    turned = torch.linalg.qr(_normal(5, 5, seed=5)).Q
    x = _normal(40, 5, seed=6) * stretch @ turned + torch.arange(5.0) / 2
    return [(x, 1), (x, 2), (x[:, :3] - 1, 2)]


PCA = Exercise(
    "come_back",
    come_back,
    _pca_cases(),
    [
        (
            _through(lambda V, k: V[:, -k:]),
            "torch.linalg.eigh gives the eigenvalues in rising order: you kept the k "
            "directions of the *least* variance. The last k columns are the ones.",
        ),
        (
            _through(lambda V, k: V[:k].T),
            "The eigenvectors are the *columns* of what eigh returns; these are rows.",
        ),
        (
            lambda x, k: x @ _projector(x, k),
            "x is not centred: the first direction is spent on the mean. Take the mean off "
            "first, and put it back at the end.",
        ),
        (
            lambda x, k: (x - x.mean(dim=0)) @ _projector(x - x.mean(dim=0), k),
            "The mean was taken off and not put back: what returns is centred on 0.",
        ),
        (
            lambda x, k: x @ _projector(x - x.mean(dim=0), k),
            "The directions are right, but x itself went through them, not x - mean.",
        ),
        (
            lambda x, k: (
                x.mean(dim=0) + (x - x.mean(dim=0)) @ _directions(x - x.mean(dim=0))[:, :k]
                if k == x.shape[1]
                else (x - x.mean(dim=0)) @ _directions(x - x.mean(dim=0))[:, :k]
            ),
            "This is the code, [N, k]: only the encoder. Decode it again with the transpose, "
            "code @ V.T, and put the mean back.",
        ),
        (
            lambda x, k: x.mean() + (x - x.mean()) @ _projector(x - x.mean(), k),
            "x.mean() is one number; each of the D columns has a mean of its own: "
            "x.mean(dim=0).",
        ),
    ],
    "Right: the encoder is V, the decoder its transpose, and no pair of linear maps does "
    "better.",
    rtol=1e-5,
)

# ---------------------------------------------------------------- 4: the latents' log-SNR


def log_snr(alpha: Tensor, sigma: Tensor, spread: float) -> Tensor:
    """Log of signal power over noise power of alpha z + sigma eps, in nats, where z has the
    standard deviation `spread`: [T].
    """
    return 2 * torch.log(spread * alpha / sigma)


def _snr(rule: Callable) -> Callable:
    """rule(log of alpha / sigma, spread as a tensor) as a wrong turn."""
    return lambda alpha, sigma, spread: rule(
        torch.log(alpha / sigma), torch.tensor(spread, dtype=alpha.dtype)
    )


def _snr_cases() -> list[tuple]:
    angle = torch.tensor([0.2, 0.7, 1.1, 1.4], dtype=torch.float64)
    return [(angle.cos(), angle.sin(), spread) for spread in (0.5, 2.4, 5.49)]


SCALE = Exercise(
    "log_snr",
    log_snr,
    _snr_cases(),
    [
        (
            _snr(lambda ratio, s: 2 * ratio + s.log()),
            "Power is amplitude squared: a spread of s multiplies the signal's power by s^2, "
            "so the logarithm moves by 2 ln s.",
        ),
        (
            _snr(lambda ratio, s: 2 * ratio),
            "The spread is missing: this is the log-SNR of latents of spread 1.",
        ),
        (
            _snr(lambda ratio, s: 2 * ratio - 2 * s.log()),
            "The sign: latents that are larger drown later in the same noise.",
        ),
        (
            _snr(lambda ratio, s: ratio + s.log()),
            "That is the log of the ratio of amplitudes; power is its square, so twice that.",
        ),
        (
            _snr(lambda ratio, s: 2 * (ratio + s.log()) / torch.log(torch.tensor(10.0))),
            "A logarithm to the base 10; nats are asked for, torch.log.",
        ),
        (
            lambda alpha, sigma, spread: (spread * alpha / sigma) ** 2,
            "That is the ratio of powers itself: its logarithm is asked for.",
        ),
        (
            _snr(lambda ratio, s: 2 * ratio + s.square()),
            "The spread is a factor of the signal, so its logarithm is what adds: 2 ln s.",
        ),
        (
            _snr(lambda ratio, s: 2 * s.log() * ratio),
            "The logarithm of a product is a sum: 2 ln s is added, not multiplied.",
        ),
    ],
    "Right: a scale that is wrong by s moves the whole schedule by 2 ln s.",
    rtol=1e-6,
)
