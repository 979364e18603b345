"""Precision and recall by nearest neighbours, and the nearest training images of a sample.

A crowd of n points stands for a region: a ball around each of them that reaches as far as its
k-th neighbour within the crowd. Precision asks how many made images lie in the region of the
real ones, recall how many real ones in that of the made. Both move with k and with both
crowds' sizes, so a figure is stated with all three.
"""

from typing import NamedTuple

import torch
from torch import Tensor

K = 3  # of Kynkäänniemi et al. 2019, who take 50,000 images a side
CHUNK = 256  # points whose distances to all others are held at once


class PrecisionRecall(NamedTuple):
    """Shares from 0 to 1."""

    precision: float  # of made images that look real
    recall: float  # of real images that might have been made


def _points(x: Tensor, name: str) -> Tensor:
    """x [N, ...] as float points [N, D], of the precision that it has, or float32."""
    x = torch.as_tensor(x).detach().flatten(1)
    if not len(x):
        raise ValueError(f"{name} are no points at all.")
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    dtype = torch.promote_types(a.dtype, b.dtype)
    a, b = a.to(dtype), b.to(dtype)
    # by differences: |a|^2 + |b|^2 - 2 a b would give a point and its own copy a distance
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def nearest(queries: Tensor, points: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """The k nearest of points [M, ...] to each of queries [N, ...], by Euclidean distance over
    all numbers: distances [N, k], in rising order, and their indices [N, k].
    """
    queries, points = _points(queries, "queries"), _points(points, "points")
    if not 1 <= k <= len(points):
        raise ValueError(f"k is a whole number from 1 to {len(points)}, not {k}.")
    parts = [_distances(q, points).topk(k, largest=False) for q in queries.split(CHUNK)]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def radii(points: Tensor, k: int = K) -> Tensor:
    """How far it is from each of points [N, ...] to its k-th nearest *other* one: [N]."""
    points = _points(points, "points")
    if not 1 <= k < len(points):
        raise ValueError(f"k is a whole number from 1 to {len(points) - 1}, not {k}.")
    found = []
    for start in range(0, len(points), CHUNK):
        d = _distances(points[start : start + CHUNK], points)
        rows = torch.arange(len(d), device=d.device)
        d[rows, start + rows] = torch.inf  # itself
        found.append(d.kthvalue(k, dim=1).values)
    return torch.cat(found)


def covered(queries: Tensor, points: Tensor, reach: Tensor) -> Tensor:
    """f of eq. 1 (Kynkäänniemi et al. 2019): whether each of queries [N, ...] lies within
    reach [M] of any of points [M, ...], bool [N].
    """
    queries, points = _points(queries, "queries"), _points(points, "points")
    return torch.cat([(_distances(q, points) <= reach).any(1) for q in queries.split(CHUNK)])


def precision_recall(real: Tensor, made: Tensor, k: int = K) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019, eq. 2) of features [N, D] of
    made images against [M, D] of real ones.

    The paper compares crowds of one size; with others, the larger one has the smaller balls.
    """
    inside = covered(made, real, radii(real, k)), covered(real, made, radii(made, k))
    return PrecisionRecall(*(each.double().mean().item() for each in inside))
