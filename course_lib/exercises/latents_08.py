"""Lesson 08's last two exercises: PCA as an autoencoder, and the signal-to-noise ratio of
latents.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise


def _normal(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


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


def _standardised(x: Tensor, k: int) -> Tensor:
    return come_back(x / x.std(dim=0), k) * x.std(dim=0)


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
        *(
            (
                _through(rows),
                "The eigenvectors are the *columns* of what eigh returns; these are rows.",
            )
            for rows in (
                # of the rising order, as eigh gives them, the last and the first
                lambda V, k: V.flip(1)[-k:].T,
                lambda V, k: V.flip(1)[:k].T,
                lambda V, k: V[:k].T,
            )
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
        (
            _through(lambda V, k: V),
            "All directions are kept, and x comes back as it was: keep the last k columns.",
        ),
        (
            _through(lambda V, k: V[:, 1 : k + 1]),
            "The direction of the largest variance is left out: V[:, -k:] keeps the last k.",
        ),
        (
            _through(lambda V, k: V[:, :1]),
            "One direction alone, whatever k: V[:, -k:].",
        ),
        (
            _standardised,
            "The columns were brought to one spread first. That is PCA of other data: it "
            "keeps what varies most *as it is*.",
        ),
        (
            lambda x, k: x.mean(dim=0) + (x - x.mean(dim=0)) @ _projector(x, k),
            "x - mean goes through, but the directions are those of x with its mean: take it "
            "off before x.T @ x too.",
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
        (
            lambda alpha, sigma, spread: 20 * torch.log10(spread * alpha / sigma),
            "These are decibels; nats are asked for, torch.log.",
        ),
        (
            lambda alpha, sigma, spread: 2 * torch.log2(spread * alpha / sigma),
            "These are bits; nats are asked for, torch.log.",
        ),
        (
            lambda alpha, sigma, spread: -log_snr(alpha, sigma, spread),
            "Upside down: signal over noise.",
        ),
        (
            lambda alpha, sigma, spread: torch.log(spread * alpha / sigma).square(),
            "The log is squared, where the log *of the square* is meant: twice the log.",
        ),
        (
            lambda alpha, sigma, spread: 2 * torch.log(spread * alpha) - torch.log(sigma),
            "The noise's power is a square as well: 2 ln sigma is taken off.",
        ),
        (
            lambda alpha, sigma, spread: torch.log(alpha**2 / sigma**2) / spread,
            "The spread divides the logarithm; it multiplies the signal, inside of it.",
        ),
    ],
    "Right: a scale that is wrong by s moves the whole schedule by 2 ln s.",
    rtol=1e-6,
)
