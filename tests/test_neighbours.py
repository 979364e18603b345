"""Precision and recall against loops, scikit-like trees and closed cases."""

import math

import pytest
import torch

from course_lib.metrics import nearest, precision_recall
from course_lib.metrics.neighbours import CHUNK, covered, radii


def cloud(n: int, d: int = 3, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_loops(real, made, k):
    """Equations 1 and 2 word by word."""

    def distance(a, b):
        return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))

    def share(queries, points):
        reach = [
            sorted(distance(p, q) for j, q in enumerate(points) if j != i)[k - 1]
            for i, p in enumerate(points)
        ]
        return sum(
            any(distance(q, p) <= r for p, r in zip(points, reach, strict=True))
            for q in queries
        ) / len(queries)

    real, made = real.tolist(), made.tolist()
    return share(made, real), share(real, made)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("n", "m"), [(40, 40), (25, 60)])
def test_against_the_equations_word_by_word(k, n, m):
    real, made = cloud(n), 0.8 * cloud(m, seed=1) + 0.5
    assert precision_recall(real, made, k) == pytest.approx(by_loops(real, made, k))


def test_against_a_tree():
    spatial = pytest.importorskip("scipy.spatial")
    real, made = cloud(700, 8), 0.9 * cloud(600, 8, seed=1)
    tree = spatial.cKDTree(real.numpy())
    reach = torch.from_numpy(tree.query(real.numpy(), k=4)[0][:, 3])  # itself comes first
    torch.testing.assert_close(radii(real, 3), reach)
    distances, indices = tree.query(made.numpy(), k=5)
    found = nearest(made, real, 5)
    torch.testing.assert_close(found[0], torch.from_numpy(distances))
    assert torch.equal(found[1], torch.from_numpy(indices))


def test_identical_crowds_and_copies():
    real = cloud(300, dtype=torch.float32)
    for made in (real, real[torch.randperm(300)], torch.cat([real, real])):
        assert precision_recall(real, made) == (1, 1)
    few = real[:10].repeat(30, 1)  # ten images, again and again
    found = precision_recall(real, few)
    assert found.precision == 1
    assert found.recall == 10 / 300  # balls of radius 0: nothing but the ten themselves


def test_crowds_apart():
    assert precision_recall(cloud(200), cloud(200, seed=1) + 100) == (0, 0)


def test_what_each_of_the_two_sees():
    """Half of the modes: all of it real, half of it found. Half astray: the other way round."""
    left, right = cloud(400), cloud(400, seed=1) + 100
    both = torch.cat([left, right])
    half = precision_recall(both, cloud(800, seed=2))
    assert half.precision > 0.95 and 0.45 < half.recall <= 0.5
    astray = precision_recall(left, torch.cat([cloud(400, seed=2), right]))
    assert 0.45 < astray.precision <= 0.5 and astray.recall > 0.95
    swapped = precision_recall(cloud(800, seed=2), both)
    assert (swapped.recall, swapped.precision) == half


def test_the_ball_is_closed_and_belongs_to_its_own_point():
    line = torch.tensor([[0.0], [1.0], [10.0]])
    assert radii(line, 1).tolist() == [1, 1, 9]
    inside = covered(torch.tensor([[2.0], [2.5], [1.0], [19.0], [19.5]]), line, radii(line, 1))
    assert inside.tolist() == [True, True, True, True, False]  # 2.5 is within 9 of 10


def test_a_chunk_changes_nothing():
    n = 2 * CHUNK + 7
    points = cloud(n, 4)
    whole = torch.cdist(points, points)
    whole.fill_diagonal_(torch.inf)
    torch.testing.assert_close(radii(points, 2), whole.topk(2, largest=False).values[:, 1])
    assert nearest(points, points)[1].flatten().tolist() == list(range(n))


def test_a_copy_far_from_the_origin_is_at_distance_0():
    """|a|^2 + |b|^2 - 2 a b in float32 would not say so."""
    images = 1000 + cloud(50, 784, dtype=torch.float32).reshape(50, 1, 28, 28)
    distances, indices = nearest(images, images)
    assert (distances == 0).all() and indices.flatten().tolist() == list(range(50))


@pytest.mark.parametrize("k", [0, 5, -1])
def test_a_k_that_cannot_be(k):
    with pytest.raises(ValueError, match="k is a whole number"):
        radii(cloud(5), k)
    if k != 5:
        with pytest.raises(ValueError, match="k is a whole number"):
            nearest(cloud(3), cloud(5), k)


def test_no_points():
    with pytest.raises(ValueError, match="no points"):
        precision_recall(cloud(0), cloud(5))
