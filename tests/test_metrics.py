"""The Fréchet distance against scipy's matrix root and closed forms, and what the yardstick
does to images first.
"""

import numpy as np
import pytest
import torch

from course_lib import frechet_distance
from course_lib.data import to_float, to_uint8
from course_lib.metrics import Moments, fashion


def by_sqrtm(a: np.ndarray, b: np.ndarray) -> float:
    """The formula as other implementations have it, with scipy's general matrix root."""
    linalg = pytest.importorskip("scipy.linalg")
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    root = linalg.sqrtm(cov_a @ cov_b)
    return float(
        ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * np.real(root))
    )


def features(N: int, D: int, seed: int) -> torch.Tensor:
    """Correlated features of unlike scales: [N, D] float64."""
    generator = torch.Generator().manual_seed(seed)
    mix = (
        torch.randn(D, D, generator=generator, dtype=torch.float64)
        * torch.logspace(-1, 1, D).double()
    )
    return torch.randn(N, D, generator=generator, dtype=torch.float64) @ mix + torch.randn(
        D, generator=generator
    )


def with_moments(mean: torch.Tensor, cov: torch.Tensor, N: int = 400) -> torch.Tensor:
    """N points whose mean and covariance are exactly these."""
    x = torch.randn(N, len(mean), dtype=torch.float64)
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    values, vectors = torch.linalg.eigh(cov)
    return mean + x @ (vectors * values.clamp(min=0).sqrt()).T


@pytest.mark.parametrize(
    ("N", "M", "D"), [(500, 300, 8), (2000, 2000, 64), (40, 60, 1), (300, 200, 128)]
)
def test_against_scipy(N, M, D):
    a, b = features(N, D, 0), features(M, D, 1)
    assert frechet_distance(a, b) == pytest.approx(by_sqrtm(a.numpy(), b.numpy()), rel=1e-6)


def test_commuting_covariances_by_the_closed_form():
    """Equal axes: |mean_a - mean_b|^2 + sum (s_a - s_b)^2."""
    D = 6
    basis = torch.linalg.qr(torch.randn(D, D, dtype=torch.float64))[0]
    s_a, s_b = torch.rand(2, D, dtype=torch.float64) * 3
    mean_a, mean_b = torch.randn(2, D, dtype=torch.float64)
    a = with_moments(mean_a, basis * s_a**2 @ basis.T)
    b = with_moments(mean_b, basis * s_b**2 @ basis.T)
    expected = (mean_a - mean_b).square().sum() + (s_a - s_b).square().sum()
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-9)


def test_covariances_that_do_not_commute():
    """Two ellipses across each other: tr of the root of A^1/2 B A^1/2 is sqrt(tr(AB) + 2
    sqrt(det AB)) in 2-D.
    """
    A = torch.tensor([[4.0, 0.0], [0.0, 1.0]]).double()
    B = torch.tensor([[2.0, 1.2], [1.2, 1.0]]).double()
    cross = ((A @ B).trace() + 2 * torch.det(A @ B).sqrt()).sqrt()
    zero = torch.zeros(2).double()
    found = frechet_distance(with_moments(zero, A), with_moments(zero, B))
    assert found == pytest.approx((A.trace() + B.trace() - 2 * cross).item(), rel=1e-9)


def test_axioms():
    a, b = features(300, 5, 0), features(200, 5, 1)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, a + 2) == pytest.approx(4 * 5, rel=1e-9)
    assert frechet_distance(a[torch.randperm(300)], b) == pytest.approx(
        frechet_distance(a, b), rel=1e-9
    )
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(
        9 * frechet_distance(a, b), rel=1e-9
    )


def test_kinds_of_input_and_answer():
    a, b = features(50, 3, 0), features(60, 3, 1)
    found = frechet_distance(a, b)
    assert type(found) is float
    assert frechet_distance(a.numpy(), b.numpy()) == found
    assert frechet_distance(a.float(), b.float()) == pytest.approx(found, rel=1e-4)
    assert frechet_distance(a.clone().requires_grad_(), b) == found


def test_far_from_the_origin_no_digits_are_lost():
    a, b = features(200, 4, 0), features(200, 4, 1)
    assert frechet_distance(a + 1e4, b + 1e4) == pytest.approx(
        frechet_distance(a, b), rel=1e-6
    )


def test_fewer_images_than_dimensions():
    """Singular covariances are no special case, and give no NaN."""
    a, b = features(10, 32, 0), features(12, 32, 1)
    assert frechet_distance(a, b) == pytest.approx(by_sqrtm(a.numpy(), b.numpy()), rel=1e-3)
    ones = torch.ones(5, 3)
    assert frechet_distance(ones, 3 * ones) == pytest.approx(12)


def test_moments_of_parts_add_up_to_those_of_the_whole():
    """Far from the origin too, where sums of squares would have lost their digits."""
    x, y = features(301, 12, 0) + 1e5, features(200, 12, 1) + 1e5
    whole, parts = (
        Moments.of(x),
        sum((Moments.of(part) for part in x.split(40)), Moments.empty(12)),
    )
    assert (whole.n, parts.n) == (301, 301)
    for moments in (whole, parts):
        torch.testing.assert_close(moments.mean, x.mean(0), rtol=1e-12, atol=0)
        torch.testing.assert_close(moments.cov, torch.cov(x.T), rtol=1e-9, atol=1e-9)
    assert frechet_distance(parts, Moments.of(y)) == pytest.approx(
        frechet_distance(x, y), rel=1e-7
    )
    single = Moments.of(x[:1])
    assert single.n == 1
    assert single.scatter.abs().max() == 0


def test_the_mean_term_is_the_trace_over_N_and_M():
    """Of equal laws the mean term alone expects tr(Sigma) (1 / N + 1 / M).

    2,000 trials of D = 5: a trial's standard deviation is at most sqrt(2) times its mean, so 5
    errors are 16 %.
    """
    N, M, scales = 40, 25, torch.tensor([0.5, 1.0, 1.5, 2.0, 3.0], dtype=torch.float64)
    a, b = (scales * torch.randn(2000, n, 5, dtype=torch.float64) for n in (N, M))
    term = (a.mean(1) - b.mean(1)).square().sum(1).mean().item()
    expected = scales.square().sum().item() * (1 / N + 1 / M)
    assert term == pytest.approx(expected, rel=0.16)
    whole = sum(frechet_distance(x, y) for x, y in zip(a[:200], b[:200], strict=True)) / 200
    assert whole > expected  # the spread's own bias comes on top


def test_more_images_less_bias():
    reference, draws = features(4000, 16, 0), features(4000, 16, 0)[torch.randperm(4000)]
    found = [frechet_distance(draws[:n], reference) for n in (50, 500, 4000)]
    assert found[0] > 3 * found[1] > 9 * found[2]


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (
            torch.zeros(1, 3),
            torch.zeros(5, 3),
            r"features_a must be \[N, D\] with N of 2 or more, not \(1, 3\)",
        ),
        (
            Moments.of(torch.zeros(1, 3)),
            torch.zeros(5, 3),
            r"features_a must be .* not \(1, 3\)",
        ),
        (Moments.empty(3), torch.zeros(5, 3), r"features_a must be .* not \(0, 3\)"),
        (torch.zeros(5, 3), torch.zeros(0, 3), r"features_b must be .* not \(0, 3\)"),
        (torch.zeros(5, 3), torch.zeros(5), r"features_b must be \[N, D\]"),
        (torch.zeros(5, 3), torch.zeros(5, 4), "3 and 4 features: use one feature net"),
        (
            torch.zeros(5, 3),
            torch.full((5, 3), float("nan")),
            "features_b holds values that are not finite",
        ),
        (
            torch.full((5, 3), float("inf")),
            torch.zeros(5, 3),
            "features_a holds values that are not finite",
        ),
    ],
)
def test_errors(a, b, says):
    with pytest.raises(ValueError, match=says):
        frechet_distance(a, b)


# ---- the yardstick


class PixelNet(torch.nn.Module):
    """Stands in for the classifier: its features are pixels."""

    def features(self, x):
        assert len(x) <= 7  # the batch size asked for
        return x.flatten(1)[:, :128]


@pytest.fixture
def pixel_net(monkeypatch):
    monkeypatch.setattr(fashion, "_feature_net", lambda device: PixelNet())


def test_features_see_what_a_saved_picture_would_show(pixel_net):
    images = 1.5 * torch.randn(20, 1, 28, 28)
    found = fashion.fashion_features(images, batch_size=7)
    assert found.shape == (20, 128)
    as_saved = to_float(to_uint8(images))
    torch.testing.assert_close(found, as_saved.flatten(1)[:, :128], rtol=0, atol=1e-6)
    torch.testing.assert_close(
        fashion.fashion_features(as_saved, batch_size=7), found, rtol=0, atol=1e-6
    )
    assert not found.requires_grad


def test_features_are_float32_whatever_the_autocast_around(monkeypatch):
    net = torch.nn.Linear(784, 9)
    net.features = lambda x: net(x.flatten(1))
    monkeypatch.setattr(fashion, "_feature_net", lambda device: net)
    images = torch.randn(5, 1, 28, 28)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = fashion.fashion_features(images)
    assert torch.equal(found, fashion.fashion_features(images))


@pytest.mark.parametrize("shape", [(20, 28, 28), (20, 3, 28, 28), (20, 1, 32, 32)])
def test_features_of_other_shapes(pixel_net, shape):
    with pytest.raises(ValueError, match=r"takes images \[N, 1, 28, 28\]"):
        fashion.fashion_features(torch.zeros(shape))


@pytest.fixture
def numbered(monkeypatch):
    """Images that carry their own number in place of Fashion-MNIST's, and features that read
    it: [N, 1].
    """
    splits = {"test": 10_000, "train": 55_000}
    monkeypatch.setattr(
        fashion, "fashion_mnist", lambda split: (np.arange(splits[split]), None)
    )
    monkeypatch.setattr(fashion, "to_float", torch.as_tensor)
    monkeypatch.setattr(fashion, "fashion_features", lambda images: images.double()[:, None])
    fashion.fashion_reference.cache_clear()
    fashion.fashion_floor.cache_clear()
    yield
    fashion.fashion_reference.cache_clear()
    fashion.fashion_floor.cache_clear()


def test_the_two_protocols(numbered):
    """Small: the first 2,048 test images; full: all 10,000."""
    for n, size in ((2, 2048), (64, 2048), (2048, 2048), (2049, 10_000), (10_000, 10_000)):
        assert fashion.fashion_reference(n).flatten().tolist() == list(range(size))


def test_the_floor_is_the_mean_of_draws_of_n_training_images(numbered, monkeypatch):
    drawn = []

    def distance(a, b):
        drawn.append((a, b))
        return float(len(drawn))

    monkeypatch.setattr(fashion, "frechet_distance", distance)
    for n in (2, 2048, 10_000):
        drawn.clear()
        assert fashion.fashion_floor(n) == 3.0  # of 1, 2, 3, 4 and 5
        assert [a.shape for a, _ in drawn] == [(n, 1)] * 5
        assert len(torch.cat([a for a, _ in drawn]).unique()) == 5 * n  # no image twice
        assert all(torch.equal(b, fashion.fashion_reference(n)) for _, b in drawn)
    first = torch.cat([a for a, _ in drawn])
    fashion.fashion_floor.cache_clear()
    drawn.clear()
    torch.manual_seed(99)
    fashion.fashion_floor(10_000)
    assert torch.equal(
        torch.cat([a for a, _ in drawn]), first
    )  # the same images on every machine
    with pytest.raises(
        ValueError, match="5 draws of 20000 images are not to be had from 55000"
    ):
        fashion.fashion_floor(20_000)
