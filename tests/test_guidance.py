"""Guidance and clipping: their ends are exact, between and beyond them they are the straight
line.
"""

import pytest
import torch
from contracts import FULL, MEANS, STD, WEIGHTS

from course_lib import (
    Schedule,
    autoguided,
    clipped,
    final,
    gaussian_denoiser,
    guided,
    map_cond,
    mixture_denoiser,
    sample_ddim,
    sample_heun,
)
from course_lib.diffusion import classifier_guided, guided_in_parts
from course_lib.errors import CourseError

LABELS = torch.tensor([0, 1, 1])
NULL = -1  # the mixture's "all classes"


def counted(denoise):
    """The denoiser, and the list of the conditions that it is called with."""
    conds = []

    def noted(x_t, t, cond=None):
        conds.append(cond)
        return denoise(x_t, t, cond)

    return noted, conds


@pytest.fixture(params=FULL.values(), ids=FULL)
def denoise(request):
    return mixture_denoiser(request.param, MEANS, STD, WEIGHTS, LABELS)


@pytest.fixture
def x_t():
    return torch.randn(6, 2, dtype=torch.float64)


COND = torch.tensor([0, 1, 0, 1, 1, 0])


@pytest.mark.parametrize(
    "t",
    [1, 500, 1000, torch.tensor([1, 5, 50, 500, 900, 1000])],
    ids=["1", "500", "T", "each"],
)
def test_the_ends_are_exact(denoise, x_t, t):
    for scale, cond in (
        (0, torch.full_like(COND, NULL)),
        (1, COND),
        (0.0, torch.full_like(COND, NULL)),
        (1.0, COND),
    ):
        noted, conds = counted(denoise)
        found, expected = guided(noted, NULL, scale)(x_t, t, COND), denoise(x_t, t, cond)
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a, b)
        assert len(conds) == 1
        assert torch.equal(conds[0], cond)


@pytest.mark.parametrize("scale", [0.5, 2, 7.5, -1])
def test_other_scales_are_on_the_line(denoise, x_t, scale):
    noted, conds = counted(denoise)
    found = guided(noted, NULL, scale)(x_t, 400, COND)
    uncond, cond = denoise(x_t, 400, torch.full_like(COND, NULL)), denoise(x_t, 400, COND)
    for answer, u, c in zip(found, uncond, cond, strict=True):
        torch.testing.assert_close(answer, u + scale * (c - u), rtol=0, atol=1e-12)
    assert len(conds) == 2


def test_scale_2_is_the_extrapolation():
    """As far beyond the conditional answer as that is from the unconditional one."""

    def denoise(x_t, t, cond):
        return (cond == 3).double()[:, None] * x_t, (cond == 10).double()[:, None] * x_t

    x_t = torch.ones(2, 1).double()
    x0, eps = guided(denoise, 10, 2)(x_t, 5, torch.tensor([3, 3]))
    assert x0.tolist() == [[2], [2]]  # 0 without the class, 1 with it
    assert eps.tolist() == [[-1], [-1]]  # 1 without, 0 with


def test_the_answers_still_make_up_x_t(x_t):
    schedule = Schedule.cosine()
    denoise = guided(mixture_denoiser(schedule, MEANS, STD, WEIGHTS, LABELS), NULL, 3.0)
    for t in (1, 300, 999):
        x0, eps = denoise(x_t, t, COND)
        torch.testing.assert_close(schedule.add_noise(x0, t, eps), x_t, rtol=0, atol=1e-11)


def test_a_whole_run_at_the_ends(denoise, x_t):
    schedule = Schedule.linear()
    for scale, cond in ((0, torch.full_like(COND, NULL)), (1, COND)):
        found = final(
            sample_ddim(guided(denoise, NULL, scale), schedule, x_t, schedule.times(10), COND)
        )
        assert torch.equal(
            found, final(sample_ddim(denoise, schedule, x_t, schedule.times(10), cond))
        )


@pytest.mark.parametrize(("scale", "calls"), [(0, 10), (1, 10), (3, 20)])
def test_calls_of_a_run(denoise, x_t, scale, calls):
    schedule = Schedule.cosine()
    noted, conds = counted(denoise)
    final(sample_ddim(guided(noted, NULL, scale), schedule, x_t, schedule.times(10), COND))
    assert len(conds) == calls
    noted, conds = counted(denoise)
    final(sample_heun(guided(noted, NULL, scale), schedule, x_t, schedule.times(10), COND))
    assert len(conds) == calls // 10 * 19


def test_gaussians_of_equal_spread_are_guided_to_a_gaussian():
    """From N(m_u, s^2) to N(m_c, s^2) guidance samples exactly N(m_u + w (m_c - m_u), s^2)."""
    schedule, s, w = Schedule.cosine(), 0.5, 2.5

    def denoise(x_t, t, cond):
        return gaussian_denoiser(
            schedule, torch.where(cond == 1, 1.0, -0.25).double()[:, None], s
        )(x_t, t)

    x, cond = torch.randn(50, 1, dtype=torch.float64), torch.ones(50, dtype=torch.int64)
    found = final(sample_ddim(guided(denoise, 0, w), schedule, x, schedule.times(100), cond))
    expected = final(
        sample_ddim(
            gaussian_denoiser(schedule, -0.25 + w * 1.25, s), schedule, x, schedule.times(100)
        )
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("scale", [0, 1, 0.5, 2.5])
def test_autoguidance_is_on_the_line_and_exact_at_its_ends(denoise, x_t, scale):
    """Scale 0 is the weaker model and 1 the better one, each by itself; elsewhere both are
    called once.
    """
    weak = mixture_denoiser(FULL["cosine"], MEANS, 2 * STD, WEIGHTS, LABELS)
    (noted, conds), (weak_noted, weak_conds) = counted(denoise), counted(weak)
    found = autoguided(noted, weak_noted, scale)(x_t, 400, COND)
    for answer, w, d in zip(found, weak(x_t, 400, COND), denoise(x_t, 400, COND), strict=True):
        torch.testing.assert_close(answer, w + scale * (d - w), rtol=0, atol=1e-12)
        if scale in (0, 1):
            assert torch.equal(answer, d if scale else w)
    assert (len(conds), len(weak_conds)) == {0: (0, 1), 1: (1, 0)}.get(scale, (1, 1))


def test_autoguidance_removes_an_error_that_the_weaker_model_makes_twice_as_large():
    """What it is for: a mean off by d, and by 2 d in the weaker model, is right at scale 2; no
    condition is needed.
    """
    schedule, mean, off, s = Schedule.cosine(), 0.5, 0.2, 0.3
    exact, better, weaker = (gaussian_denoiser(schedule, mean + k * off, s) for k in (0, 1, 2))
    x = torch.randn(50, 1, dtype=torch.float64)
    found = final(sample_ddim(autoguided(better, weaker, 2), schedule, x, schedule.times(50)))
    torch.testing.assert_close(
        found, final(sample_ddim(exact, schedule, x, schedule.times(50))), rtol=0, atol=1e-10
    )


def test_no_null_condition_gets_a_sentence(denoise, x_t):
    with pytest.raises(CourseError, match="null_class"):
        guided(denoise, None, 3.0)(x_t, 5, torch.zeros(len(x_t)))


def test_the_null_condition_may_be_a_tensor():
    """A text's condition is a tensor: the null prompt's embedding expands to the batch, in its
    dtype.
    """
    null, seen = torch.zeros(1, 7, 4), []

    def denoise(x_t, t, cond):
        seen.append(cond)
        return x_t, x_t

    cond = torch.randn(3, 7, 4, dtype=torch.float64)
    guided(denoise, null, 2.0)(torch.zeros(3, 1), 5, cond)
    assert sorted(c.abs().sum().item() > 0 for c in seen) == [False, True]
    assert all((c.shape, c.dtype) == (cond.shape, cond.dtype) for c in seen)


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_a_condition_is_needed(denoise, x_t, scale):
    with pytest.raises(ValueError, match="needs a condition"):
        guided(denoise, NULL, scale)(x_t, 500)
    schedule = Schedule.linear()
    with pytest.raises(ValueError, match="needs a condition"):
        final(sample_ddim(guided(denoise, NULL, scale), schedule, x_t, schedule.times(3)))


# ---- clipping


@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
def test_clipped_keeps_the_image_in_range_and_the_noise_consistent(schedule):
    """Also at alpha = 0."""
    x_t = 2 * torch.randn(6, 1, 3, 3, dtype=torch.float64)
    denoise = gaussian_denoiser(schedule, 0.5, 1.5)
    for t in (1, 400, schedule.T, torch.tensor([1, 2, 100, 500, 900, 1000])):
        x0, eps = clipped(denoise, schedule)(x_t, t)
        assert torch.equal(x0, denoise(x_t, t)[0].clamp(-1, 1))
        torch.testing.assert_close(schedule.add_noise(x0, t, eps), x_t, rtol=0, atol=1e-12)


def test_clipped_changes_nothing_inside():
    schedule, x_t = Schedule.linear(), torch.randn(5, 2, dtype=torch.float64)
    denoise = mixture_denoiser(schedule, MEANS / 2, 0.1)
    for one, other in zip(
        clipped(denoise, schedule)(x_t, 600), denoise(x_t, 600), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    low, _ = clipped(denoise, schedule, low=0.0, high=0.25)(x_t, 600)
    assert low.min() >= 0
    assert low.max() <= 0.25


def test_clipped_passes_the_condition_on():
    noted, conds = counted(gaussian_denoiser(Schedule.flow(), 0.0, 1.0))
    clipped(noted, Schedule.flow())(torch.zeros(2, 1), 5, "cond")
    assert conds == ["cond"]


# ---- conditions of several tensors


def test_a_null_condition_of_tuples_expands_to_the_batch():
    """Tokens and a pooled vector, nested, as a text is given: each null in cond's dtype."""
    null, seen = (torch.ones(7, 4), (torch.full((5,), 2.0), 3)), []
    cond = (
        torch.zeros(3, 7, 4).double(),
        (torch.zeros(3, 5), torch.zeros(3, dtype=torch.long)),
    )

    def denoise(x_t, t, cond):
        seen.append(cond)
        return x_t, x_t

    guided(denoise, null, 2.0)(torch.zeros(3, 1), 5, cond)
    (without,) = (each for each in seen if each is not cond)
    tokens, (pooled, label) = without
    assert (tokens.shape, tokens.dtype) == ((3, 7, 4), torch.float64)
    assert (pooled.shape, label.dtype) == ((3, 5), torch.long)
    assert (tokens == 1).all()
    assert (pooled == 2).all()
    assert (label == 3).all()
    for unlike in (null[:1], 0, (null[0], null[1][0])):
        with pytest.raises(CourseError, match="not built alike"):
            guided(denoise, unlike, 2.0)(torch.zeros(3, 1), 5, cond)
    with pytest.raises(CourseError, match="not built alike"):
        guided(denoise, null, 2.0)(torch.zeros(3, 1), 5, cond[0])


def test_map_cond():
    cond = (torch.zeros(2), [torch.ones(2), None])
    found = map_cond(lambda c: c + 1, cond)
    assert found[0].tolist() == [1, 1]
    assert found[1][0].tolist() == [2, 2]
    assert found[1][1] is None
    assert isinstance(found[1], tuple)
    assert map_cond(lambda c: c[:1], torch.tensor([4, 5])).tolist() == [4]
    assert map_cond(lambda c: c, None) is None
    both = map_cond(lambda a, b: a + b, (torch.tensor(1), (torch.tensor(2),)), (10, (20,)))
    assert (both[0].item(), both[1][0].item()) == (11, 22)
    with pytest.raises(CourseError, match="not built alike"):
        map_cond(lambda a, b: a, (torch.zeros(1),), (torch.zeros(1), torch.zeros(1)))


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_a_scale_is_finite(denoise, scale):
    """1e39 is no float32."""
    with pytest.raises(CourseError, match="finite number"):
        guided(denoise, NULL, scale)
    with pytest.raises(CourseError, match="finite number"):
        autoguided(denoise, denoise, scale)


@pytest.mark.parametrize(
    ("scales", "calls"),
    [((3.0, 3.0), 2), ((3.0,), 2), ((1.0, 1.0), 1), ((0.0, 0.0), 1), ((2.0, 4.0), 3)],
)
def test_parts_are_on_their_lines(denoise, x_t, scales, calls):
    """Equal ones are plain guidance; and what counts for nothing is not asked for."""
    noted, conds = counted(denoise)
    cond = (1 - COND, COND)[-len(scales) :]
    found = guided_in_parts(noted, NULL, scales)(x_t, 400, cond)
    assert len(conds) == calls
    n, a, b = (denoise(x_t, 400, c) for c in (torch.full_like(COND, NULL), 1 - COND, COND))
    if scales[0] == scales[-1]:
        expected = guided(denoise, NULL, scales[0])(x_t, 400, COND)
    else:
        expected = [
            n_i + scales[0] * (a_i - n_i) + scales[1] * (b_i - a_i)
            for n_i, a_i, b_i in zip(n, a, b, strict=True)
        ]
    for each, right in zip(found, expected, strict=True):
        torch.testing.assert_close(each, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_a_rescaled_answer_has_the_spread_of_the_plain_one(share):
    """By its share, picture by picture; and still makes up x_t."""
    schedule, cond = Schedule.cosine(), torch.tensor([1, 2, 1, 2])
    centre = torch.randn(3, 2, 4, 4, dtype=torch.float64)

    def denoise(x_t, t, cond):
        return gaussian_denoiser(schedule, centre[cond], 0.5)(x_t, t)

    x_t = torch.randn(4, 2, 4, 4, dtype=torch.float64)
    (plain, _), told = denoise(x_t, 600, cond), (cond, cond)
    wild, _ = guided_in_parts(denoise, 0, (6.0, 6.0))(x_t, 600, told)
    x0, eps = guided_in_parts(denoise, 0, (6.0, 6.0), schedule, share)(x_t, 600, told)
    torch.testing.assert_close(schedule.add_noise(x0, 600, eps), x_t, rtol=0, atol=1e-11)
    spread = [x.flatten(1).std(dim=1) for x in (wild, plain, x0)]
    torch.testing.assert_close(spread[2], spread[0] + share * (spread[1] - spread[0]))
    torch.testing.assert_close(x0 / wild, (spread[2] / spread[0]).view(4, 1, 1, 1) + 0 * x0)


def test_a_flat_answer_is_not_rescaled():
    def denoise(x_t, t, cond):
        return torch.ones_like(x_t), x_t

    for shape in ((2, 3), (2, 1)):  # and a picture of one number has no spread
        told = (torch.zeros(2), torch.zeros(2))
        steer = guided_in_parts(denoise, 0, (3.0, 5.0), Schedule.cosine(), 0.7)
        x0, eps = steer(torch.randn(shape), 500, told)
        assert torch.equal(x0, torch.ones(shape)) and eps.isfinite().all()


def test_gaussians_of_equal_spread_are_guided_in_parts_to_a_gaussian():
    """Means n, a, b and scales v, w sample exactly N(n + v (a - n) + w (b - a), s^2)."""
    schedule, s, (v, w) = Schedule.cosine(), 0.5, (1.5, 4.0)
    means = torch.tensor([-0.25, 1.0, 1.75]).double()

    def denoise(x_t, t, cond):
        return gaussian_denoiser(schedule, means[cond][:, None], s)(x_t, t)

    x, one = torch.randn(50, 1, dtype=torch.float64), torch.ones(50, dtype=torch.int64)
    steer, times = guided_in_parts(denoise, 0, (v, w)), schedule.times(100)
    found = final(sample_ddim(steer, schedule, x, times, (one, 2 * one)))
    there = -0.25 + v * 1.25 + w * 0.75
    expected = final(sample_ddim(gaussian_denoiser(schedule, there, s), schedule, x, times))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_parts_that_do_not_fit_their_scales(denoise, x_t):
    for scales in ((), (1.0, float("nan")), (float("inf"),)):
        with pytest.raises(CourseError, match="a finite number for each"):
            guided_in_parts(denoise, NULL, scales)
    for schedule, rescale in ((None, 0.5), (Schedule.cosine(), 1.5), (None, -1.0)):
        with pytest.raises(CourseError, match="a share from 0 to 1, with the schedule"):
            guided_in_parts(denoise, NULL, (2.0,), schedule, rescale)
    for cond in (None, COND, (COND,), (COND, COND, COND)):
        with pytest.raises(CourseError, match="2 scales needs as many conditions"):
            guided_in_parts(denoise, NULL, (2.0, 4.0))(x_t, 400, cond)


# ---- led by a classifier


def two_kinds(schedule, spread=0.5):
    """Normal data of two kinds, equally likely, in [2]: the denoiser of both, of each alone,
    and the exact log p(kind | x_t) [B].
    """
    centres = torch.tensor([[-1.0, 0.5], [1.0, 0.25]], dtype=torch.float64)

    def log_prob(x_t, t, asked):
        alpha, sigma = schedule.at(t, x_t)
        var = (alpha * spread) ** 2 + sigma**2  # [B, 1] or a number
        far = torch.stack([(x_t - alpha * c).square() / var for c in centres], dim=1).sum(2)
        return (-far / 2).log_softmax(dim=1)[torch.arange(len(x_t)), asked]

    both = mixture_denoiser(schedule, centres, spread)
    alone = [gaussian_denoiser(schedule, c, spread) for c in centres]
    return lambda x, t, cond: both(x, t), alone, log_prob


@pytest.mark.parametrize("t", [30, 400, 900])
def test_the_exact_classifier_at_scale_1_is_bayes_rule(t):
    """A denoiser of all pictures, led to one kind, is that kind's own."""
    schedule = Schedule.cosine()
    both, alone, log_prob = two_kinds(schedule)
    x_t, asked = torch.randn(6, 2, dtype=torch.float64), torch.tensor([0, 1] * 3)
    latest = 900
    with torch.no_grad():  # as in a sampler
        found = classifier_guided(both, log_prob, 1.0, schedule, latest)(x_t, t, (None, asked))
    for each, *right in zip(found, *(one(x_t, t) for one in alone), strict=True):
        expected = torch.stack(right)[asked, torch.arange(6)]
        torch.testing.assert_close(each, expected, rtol=0, atol=1e-9)
        assert not each.requires_grad
    torch.testing.assert_close(schedule.add_noise(found[0], t, found[1]), x_t)


def test_a_classifier_is_not_called_where_it_can_tell_nothing():
    schedule, calls = Schedule.cosine(), []
    both, _, log_prob = two_kinds(schedule)

    def noted(x_t, t, asked):
        calls.append(t)
        return log_prob(x_t, t, asked)

    x_t, cond = torch.randn(4, 2, dtype=torch.float64), (None, torch.zeros(4, dtype=int))
    plain = both(x_t, 700, None)
    for scale, t in ((0.0, 300), (5.0, 700)):
        found = classifier_guided(both, noted, scale, schedule, 650)(x_t, t, cond)
        assert all(map(torch.equal, found, both(x_t, t, None)))
    assert not calls
    # each picture by its own time
    t = torch.tensor([700, 600, 700, 600])
    x0, eps = classifier_guided(both, log_prob, 5.0, schedule, 650)(x_t, t, cond)
    late = classifier_guided(both, log_prob, 5.0, schedule, 650)(x_t, 600, cond)
    for found, early, other in zip((x0, eps), plain, late, strict=True):
        torch.testing.assert_close(found[::2], early[::2])
        torch.testing.assert_close(found[1::2], other[1::2])


def test_a_classifiers_scale_and_times_are_checked():
    schedule = Schedule.cosine()
    both, _, log_prob = two_kinds(schedule)
    for scale in (float("nan"), float("inf")):
        with pytest.raises(CourseError, match="a finite number"):
            classifier_guided(both, log_prob, scale, schedule, 600)
    for latest in (-1, 1001, 0.65, 1000):  # at 1000 the cosine has no picture left
        with pytest.raises(CourseError, match="at which something of the picture is left"):
            classifier_guided(both, log_prob, 1.0, schedule, latest)
    steer = classifier_guided(both, log_prob, 1.0, schedule, 600)
    for cond in (None, torch.zeros(4), (None,), (None, None, None)):
        with pytest.raises(CourseError, match="needs a pair as cond"):
            steer(torch.randn(4, 2), 300, cond)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_classifier_leads_in_every_mode_and_dtype(mode, dtype):
    schedule = Schedule.cosine()
    both, _, log_prob = two_kinds(schedule)
    steer = classifier_guided(both, log_prob, 2.0, schedule)  # up to where alpha is 0
    x = torch.linspace(-1, 1, 8, dtype=torch.float64).view(4, 2)
    asked = torch.tensor([0, 1, 0, 1])
    expected, _ = steer(x, 300, (None, asked))
    with mode():
        x_t, wish = x.to(dtype).clone(), asked.clone()  # made in this mode
        x0, eps = steer(x_t, 300, (None, wish))
    assert x0.dtype == eps.dtype == both(x_t, 300, None)[0].dtype
    torch.testing.assert_close(x0.double(), expected, rtol=0.02, atol=0.02)
