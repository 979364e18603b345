"""The Fréchet distance against scipy's matrix root and closed forms."""

import numpy as np
import pytest
import torch

from course_lib import frechet_distance
from course_lib.metrics import Moments


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


# ---- close crowds: differences of large numbers, and roots of rounding


def exactly(a: torch.Tensor, b: torch.Tensor) -> float:
    """The distance in 60 digits: |mean|^2 + tr A + tr B - 2 sum of the roots of eig(A B)."""
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):

        def moments(x):
            x = mpmath.matrix(x.tolist())
            N, D = x.rows, x.cols
            mean = mpmath.matrix([mpmath.fsum(x[:, j]) / N for j in range(D)])
            centred = mpmath.matrix(N, D)
            for i in range(N):
                for j in range(D):
                    centred[i, j] = x[i, j] - mean[j]
            return mean, centred.T * centred / (N - 1)

        def root(matrix):
            values, vectors = mpmath.eigsy(matrix)
            roots = [mpmath.sqrt(max(v, 0)) for v in values]
            return vectors * mpmath.diag(roots) * vectors.T

        (mean_a, A), (mean_b, B) = moments(a), moments(b)
        singular = mpmath.svd_r(root(A) * root(B), compute_uv=False)
        apart = mean_a - mean_b
        trace = sum(A[i, i] + B[i, i] for i in range(A.rows)) - 2 * mpmath.fsum(singular)
        return float((apart.T * apart)[0] + trace)


@pytest.mark.parametrize("change", [1e-2, 1e-4, 1e-6, 1e-8])
def test_two_points_of_which_one_has_moved_a_little(change):
    """4.5 times the square of the change, by hand: 1.5 from the mean and 3 from the spread."""
    a = torch.tensor([[0.0, 1, 2], [3, 4, 5]]).double()
    b = a + torch.tensor([[0.0, 0, 0], [1, -2, 1]]).double() * change
    moved = (b - a)[1, 0].item()  # what is left of the change next to 3
    for found in (frechet_distance(a, b), frechet_distance(b, a)):
        assert found == pytest.approx(4.5 * moved**2, rel=1e-5 if change > 1e-8 else 0.3)
    assert frechet_distance(a, a) < 1e-28


@pytest.mark.parametrize(
    ("N", "D", "least", "change"),
    [(40, 6, 0, 1e-3), (40, 6, 0, 1e-6), (40, 6, -6, 1e-5), (4, 6, 0, 1e-4), (5, 5, -3, 1e-6)],
    ids=str,
)
def test_close_crowds_against_sixty_digits(N, D, least, change):
    """Full and singular covariances, round and flat ones; what the old formula, a difference
    of traces, gave was off by 1e-8 or below 0.
    """
    draw = torch.Generator().manual_seed(5)
    scales = torch.logspace(least, 0, D).double()
    a = torch.randn(N, D, generator=draw, dtype=torch.float64) * scales
    b = a + change * torch.randn(N, D, generator=draw, dtype=torch.float64)
    exact = exactly(a, b)
    assert frechet_distance(a, b) == pytest.approx(exact, rel=1e-6)
    assert frechet_distance(Moments.of(a), Moments.of(b)) == frechet_distance(a, b)
    for part in (a, b):
        assert frechet_distance(part, part) == pytest.approx(0, abs=1e-24)


def test_far_crowds_against_sixty_digits():
    for N, M, D in ((30, 20, 5), (4, 3, 6), (2, 9, 4)):
        a, b = features(N, D, 0), features(M, D, 1)
        assert frechet_distance(a, b) == pytest.approx(exactly(a, b), rel=1e-12)


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
    nothing = Moments.empty(12) + Moments.empty(12)
    assert (nothing.n, nothing.mean.abs().max().item()) == (0, 0)
    assert torch.equal((nothing + Moments.of(x)).mean, whole.mean)
    assert torch.equal((Moments.of(x) + nothing).scatter, whole.scatter)
    with pytest.raises(ValueError, match="12 and 1 features do not add up"):
        whole + Moments.empty(1)
    with pytest.raises(ValueError, match="1 pictures have no covariance"):
        _ = Moments.of(x[:1]).cov
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
