"""The distance between two crowds of pictures, seen through a network's features."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """All that the Fréchet distance needs to know of a crowd; those of two crowds add up to
    those of both together.
    """

    n: int  # pictures
    mean: Tensor  # [D], of their features; float64
    scatter: Tensor  # [D, D], the sum of (f - mean) (f - mean)^T over the pictures; float64

    @staticmethod
    def of(features: Tensor, name: str = "features") -> "Moments":
        """The moments of features [N, D]."""
        features = (
            torch.as_tensor(features).detach().cpu().double()
        )  # on the CPU: Apple's GPU has no float64
        if features.ndim != 2 or not len(features):
            raise ValueError(
                f"{name} must be [N, D] with N of 2 or more, not {tuple(features.shape)}."
            )
        if not torch.isfinite(features).all():
            raise ValueError(
                f"{name} holds values that are not finite numbers: look at the images they "
                "were made from."
            )
        mean = features.mean(dim=0)
        return Moments(len(features), mean, (features - mean).T @ (features - mean))

    @staticmethod
    def empty(D: int) -> "Moments":
        """Those of no picture yet, with D features."""
        return Moments(
            0, torch.zeros(D, dtype=torch.float64), torch.zeros(D, D, dtype=torch.float64)
        )

    def __add__(self, other: "Moments") -> "Moments":
        """(Chan, Golub & LeVeque 1979, eq. 2.1): no digits are lost where the mean is far from
        0.
        """
        n, apart = self.n + other.n, other.mean - self.mean
        between = torch.outer(apart, apart) * (self.n * other.n / n)
        return Moments(
            n, self.mean + apart * (other.n / n), self.scatter + other.scatter + between
        )

    @property
    def cov(self) -> Tensor:
        """The covariance [D, D], divided by n - 1."""
        return self.scatter / (self.n - 1)


def _moments(crowd: Tensor | Moments, name: str) -> Moments:
    moments = crowd if isinstance(crowd, Moments) else Moments.of(crowd, name)
    if moments.n < 2:
        raise ValueError(
            f"{name} must be [N, D] with N of 2 or more, not {(moments.n, len(moments.mean))}."
        )
    return moments


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix; rounding's tiny negative
    eigenvalues count as 0.
    """
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def frechet_distance(features_a: Tensor | Moments, features_b: Tensor | Moments) -> float:
    """Squared Fréchet (Wasserstein-2) distance of the two Normals fitted to features [N, D]
    and [M, D].

    |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2) (Dowson & Landau 1982; Heusel
    et al. 2017), in float64. Covariances divide by N - 1. It is biased upwards at finite N:
    compare only equal N, and state the floor. Either side may be given by its Moments, where a
    crowd is too large to be kept or grows batch by batch.
    """
    a, b = _moments(features_a, "features_a"), _moments(features_b, "features_b")
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"The two sides have {len(a.mean)} and {len(b.mean)} features: use one feature "
            "net for both."
        )
    root_a = _root(a.cov)
    # the eigenvalues of S_a S_b are those of this symmetric matrix, which eigh takes without
    # complex numbers
    cross = torch.linalg.eigvalsh(root_a @ b.cov @ root_a).clamp(min=0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.cov.trace() + b.cov.trace() - 2 * cross
    return max(distance.item(), 0.0)
