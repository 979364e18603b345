"""The distance between two crowds of pictures, seen through a network's features."""

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.errors import CourseError


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
            raise CourseError(
                f"{name} must be [N, D] with N of 1 or more, not {tuple(features.shape)}."
            )
        if not torch.isfinite(features).all():
            raise CourseError(
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
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"{len(self.mean)} and {len(other.mean)} features do not add up.")
        if not self.n:
            return other
        n, apart = self.n + other.n, other.mean - self.mean
        between = torch.outer(apart, apart) * (self.n * other.n / n)
        return Moments(
            n, self.mean + apart * (other.n / n), self.scatter + other.scatter + between
        )

    @property
    def cov(self) -> Tensor:
        """The covariance [D, D], divided by n - 1; of two pictures or more."""
        if self.n < 2:
            raise ValueError(f"{self.n} pictures have no covariance: it takes 2 or more.")
        return self.scatter / (self.n - 1)


def _moments(crowd: Tensor | Moments, name: str) -> Moments:
    moments = crowd if isinstance(crowd, Moments) else Moments.of(crowd, name)
    if moments.n < 2:
        raise CourseError(
            f"{name} must be [N, D] with N of 2 or more, not {(moments.n, len(moments.mean))}."
        )
    return moments


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix [D, D].

    Eigenvalues that are no more than rounding's count as 0: the root of 1e-17 is 3e-9, and
    would be seen.
    """
    values, vectors = torch.linalg.eigh(matrix)
    least = len(values) * torch.finfo(values.dtype).eps * values[-1].clamp(min=0)
    return vectors * values.where(values > least, 0).sqrt() @ vectors.T


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
        raise CourseError(
            f"The two sides have {len(a.mean)} and {len(b.mean)} features: use one feature "
            "net for both."
        )
    # The trace of (S_a^1/2 S_b S_a^1/2)^1/2 is the sum of the singular values of the product
    # of the two roots, and the whole trace term the squared distance of the roots once b's is
    # turned as near to a's as it goes: no difference of large numbers, nor a root of rounding.
    root_a, root_b = _root(a.cov), _root(b.cov)
    U, _, Vh = torch.linalg.svd(root_b @ root_a)
    spread = (root_a - (U @ Vh).T @ root_b).square().sum()
    return ((a.mean - b.mean).square().sum() + spread).item()
