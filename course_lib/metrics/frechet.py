"""The distance between two crowds of pictures, seen through a network's features."""

import torch
from torch import Tensor


def _moments(features: Tensor, name: str) -> tuple[Tensor, Tensor]:
    features = torch.as_tensor(features).detach().cpu().double()  # on the CPU: Apple's GPU has no float64
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"{name} must be [N, D] with N of 2 or more, not {tuple(features.shape)}.")
    if not torch.isfinite(features).all():
        raise ValueError(f"{name} holds values that are not finite numbers: look at the images they were made from.")
    return features.mean(dim=0), torch.cov(features.T).reshape(features.shape[1], features.shape[1])


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix; rounding's tiny negative eigenvalues count as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """Squared Fréchet (Wasserstein-2) distance of the two Normals fitted to features [N, D] and [M, D].

    |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2) (Dowson & Landau 1982; Heusel et al. 2017), in
    float64. Covariances divide by N - 1. It is biased upwards at finite N: compare only equal N, and state the floor.
    """
    mean_a, cov_a = _moments(features_a, "features_a")
    mean_b, cov_b = _moments(features_b, "features_b")
    if mean_a.shape != mean_b.shape:
        raise ValueError(f"The two sides have {len(mean_a)} and {len(mean_b)} features: use one feature net for both.")
    root_a = _root(cov_a)
    # the eigenvalues of S_a S_b are those of this symmetric matrix, which eigh takes without complex numbers
    cross = torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp(min=0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(distance.item(), 0.0)
