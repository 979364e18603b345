"""Denoisers: the four targets read rightly, their losses, and the exact denoisers against
three other ways.
"""

import math

import exact
import pytest
import torch
from contracts import FULL, MEANS, SCHEDULES, STD, WEIGHTS, TargetContract, kolmogorov_p

from course_lib import (
    SAMPLERS,
    TARGETS,
    Denoiser,
    Schedule,
    final,
    gaussian_denoiser,
    mixture_denoiser,
    points_denoiser,
    sample_ddim,
)
from course_lib.diffusion import stratified_times
from course_lib.draws import Draws
from course_lib.errors import CourseError


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(("target", "coefficients"), TARGETS.items(), ids=TARGETS)
class TestEveryTarget(TargetContract):
    """The library's own, on every schedule."""


def test_the_four_targets_are_what_their_papers_say():
    alpha, sigma = torch.tensor([0.8, 0.6]).double()
    table = {
        name: tuple(float(c) for c in coefficients(alpha, sigma))
        for name, coefficients in TARGETS.items()
    }
    assert table["eps"] == (0, 1)
    assert table["x0"] == (1, 0)
    assert table["v"] == pytest.approx((-0.6, 0.8))
    assert table["flow"] == (-1, 1)


def test_v_is_the_velocity_of_the_circle_and_flow_of_the_line():
    """Both are dx_t / d(time): along the circle by the angle, along the line by t / T."""
    angle = torch.tensor(0.7, dtype=torch.float64)
    x0, eps, h = 0.4, -1.3, 1e-6
    slope = (
        torch.cos(angle + h) * x0
        + torch.sin(angle + h) * eps
        - torch.cos(angle) * x0
        - torch.sin(angle) * eps
    ) / h
    a, b = TARGETS["v"](torch.cos(angle), torch.sin(angle))
    assert a * x0 + b * eps == pytest.approx(slope.item(), abs=1e-5)
    line = Schedule.flow(10)
    a, b = TARGETS["flow"](line.alpha[3], line.sigma[3])
    x = [line.alpha[t].item() * x0 + line.sigma[t].item() * eps for t in (3, 4)]
    assert a * x0 + b * eps == pytest.approx(10 * (x[1] - x[0]))


@pytest.mark.parametrize("std", [0.3, 1.0, 2.0])
def test_the_floor_of_the_noise_loss(std):
    """For eps the floor is abar s^2 / (abar s^2 + 1 - abar), in the letters of the DDPM paper."""
    schedule = Schedule.linear()
    for t in (1, 100, 500, 1000):
        abar = schedule.alpha[t].item() ** 2
        floor = exact.loss_floor((0, 1), math.sqrt(abar), math.sqrt(1 - abar), std)
        assert floor == pytest.approx(abar * std**2 / (abar * std**2 + 1 - abar), rel=1e-9)


@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
@pytest.mark.parametrize("t", [50, 400, 900])
def test_at_the_optimum_power_and_error_add_up_to_one(schedule, t):
    """mean(eps_hat^2) + mean((eps - eps_hat)^2) = 1 a dimension, for any data: eps_hat is
    E[eps | x_t].

    N = 200,000 pairs of numbers; the sum differs from mean(eps^2) by 2 mean(eps_hat (eps_hat -
    eps)), and the standard error of the whole is at most 2 / sqrt(400,000) = 0.0032.
    """
    N = 200_000
    x0 = exact.mixture(MEANS, STD, WEIGHTS).sample((N,))
    eps = torch.randn(N, 2, dtype=torch.float64)
    denoise = mixture_denoiser(schedule, MEANS, STD, WEIGHTS)
    _, eps_hat = denoise(schedule.add_noise(x0, t, eps), t)
    total = eps_hat.square().mean() + (eps - eps_hat).square().mean()
    assert total.item() == pytest.approx(1, abs=4 * 0.0032)
    worse = (
        1.1 * eps_hat
    )  # and only there: power grows by 1.21, the error does not fall by as much
    assert (
        worse.square().mean() + (eps - worse).square().mean()
    ).item() > total.item() + 0.002


@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
def test_eps_error_is_snr_times_x0_error(schedule):
    x0, eps, y = torch.randn(3, 8, 5, dtype=torch.float64)
    t = torch.tensor([1, 10, 100, 300, 500, 700, 900, 999])
    found_x0, found_eps = Denoiser(lambda *_: y, schedule, "eps")(
        schedule.add_noise(x0, t, eps), t
    )
    snr = schedule.log_snr[t].exp()
    torch.testing.assert_close(
        (found_eps - eps).square().mean(1),
        snr * (found_x0 - x0).square().mean(1),
        rtol=1e-8,
        atol=0,
    )


# ---- how a net is called


def test_the_net_is_told_the_time_of_each_image():
    seen = []

    def net(x_t, t, cond):
        seen.append((t, cond))
        return torch.zeros_like(x_t)

    denoise, x = Denoiser(net, Schedule.flow(), "v"), torch.zeros(3, 1, 2, 2)
    denoise(x, 7)
    denoise(x, torch.tensor(7), "cond")
    denoise(x, torch.tensor([7, 8, 9]))
    assert [t.tolist() for t, _ in seen] == [[7, 7, 7], [7, 7, 7], [7, 8, 9]]
    assert [cond for _, cond in seen] == [None, "cond", None]
    assert not any(t.is_floating_point() for t, _ in seen)


def test_an_int_time_and_a_tensor_of_times_agree():
    schedule = Schedule.cosine()
    denoise = Denoiser(lambda x, t, c: x * t.reshape(-1, 1) / 1000, schedule, "v")
    x = torch.randn(4, 3)
    for one, many in zip(denoise(x, 321), denoise(x, torch.full((4,), 321)), strict=True):
        assert torch.equal(one, many)


def test_a_net_of_lower_precision_is_read_in_that_of_x_t():
    denoise = Denoiser(lambda x, t, c: x.bfloat16(), Schedule.cosine(), "v")
    assert [part.dtype for part in denoise(torch.randn(2, 3), 500)] == [torch.float32] * 2
    assert denoise.loss(torch.randn(2, 3))["loss"].dtype == torch.float32


def test_unknown_target():
    with pytest.raises(ValueError, match="no target 'noise'.*eps, x0, v, flow"):
        Denoiser(lambda *_: None, Schedule.flow(), "noise")


def test_gradients_reach_the_net_through_both_answers_and_the_loss():
    net = torch.nn.Linear(3, 3)
    for target in TARGETS:
        denoise = Denoiser(lambda x, t, c: net(x), Schedule.cosine(), target)
        for part in denoise(torch.randn(2, 3), 500):
            gradient = torch.autograd.grad(part.sum(), net.weight, retain_graph=True)[0]
            assert torch.isfinite(gradient).all()
            assert gradient.abs().max() > 0
        losses = denoise.loss(torch.randn(2, 3))
        assert torch.autograd.grad(losses["loss"], net.weight)[0].abs().max() > 0
        assert not losses["per_image"].requires_grad


def test_gradient_where_the_target_says_nothing_is_zero_and_no_nan():
    net = torch.nn.Linear(3, 3)
    denoise = Denoiser(lambda x, t, c: net(x), Schedule.cosine(), "eps")
    x0, eps = denoise(torch.randn(2, 3), torch.tensor([500, 1000]))
    (x0.square().sum() + eps.square().sum()).backward()
    assert torch.isfinite(net.weight.grad).all()


# ---- the loss


def test_the_loss_by_hand():
    """Algorithm 1 once more: recover the noise from what the net was shown, and compute the
    error of its answer.
    """
    schedule, shown = Schedule.cosine(), {}

    def net(x_t, t, cond):
        shown.update(x_t=x_t, t=t, cond=cond)
        return 0.3 * x_t

    x0, cond = torch.randn(6, 2, 3, dtype=torch.float64), torch.arange(6)
    losses = Denoiser(net, schedule, "v").loss(x0, cond)
    alpha, sigma = (
        table[shown["t"]].reshape(-1, 1, 1) for table in (schedule.alpha, schedule.sigma)
    )
    eps = (shown["x_t"] - alpha * x0) / sigma
    per_image = (0.3 * shown["x_t"] - (alpha * eps - sigma * x0)).square().mean(dim=(1, 2))
    assert set(losses) == {"loss", "per_image", "t"}
    assert torch.equal(losses["t"], shown["t"])
    assert torch.equal(shown["cond"], cond)
    torch.testing.assert_close(losses["per_image"], per_image)
    torch.testing.assert_close(losses["loss"], per_image.mean())


def test_a_weight_multiplies_each_images_error():
    schedule = Schedule.cosine()
    x0 = torch.randn(64, 3, dtype=torch.float64)
    plain = Denoiser(lambda x, t, c: 0 * x, schedule, "v").loss(x0, draws=Draws(3))
    weighted = Denoiser(
        lambda x, t, c: 0 * x, schedule, "v", weight=lambda alpha, sigma: alpha**2 / sigma**2
    ).loss(x0, draws=Draws(3))
    assert torch.equal(plain["per_image"], weighted["per_image"])
    snr = schedule.log_snr[plain["t"]].exp()
    torch.testing.assert_close(weighted["loss"], (snr * plain["per_image"]).mean())


def test_the_noise_of_the_loss_is_standard_normal_and_fresh():
    schedule, shown = Schedule.flow(), []
    denoise = Denoiser(lambda x, t, c: shown.append((x, t)) or 0 * x, schedule, "v")
    for _ in range(2):
        denoise.loss(torch.zeros(100, 1000, dtype=torch.float64))
    noises = [x / schedule.sigma[t][:, None] for x, t in shown]
    normal = torch.distributions.Normal(0.0, 1.0)
    for noise in noises:
        assert kolmogorov_p(normal.cdf(noise.flatten())) > 1e-4
    correlation = (noises[0] * noises[1]).mean().item()
    assert abs(correlation) < 5 / math.sqrt(1e5)
    rows = torch.corrcoef(noises[0])
    assert (rows - torch.eye(100).double()).abs().max() < 6 / math.sqrt(
        1000
    )  # none drawn for two images


@pytest.mark.parametrize("T", [1000, 20, 3])
def test_times_of_the_loss_are_uniform_from_1_to_T(T, generator):
    """Neither 0 nor T is left out, and each time is as likely: chi-squared, 200 batches of
    100.
    """
    times = torch.cat([stratified_times(100, T, Draws(generator)) for _ in range(200)])
    counts = torch.bincount(times, minlength=T + 1)
    assert counts[0] == 0
    assert len(counts) == T + 1
    assert counts[1:].min() > 0
    # a sum of T - 1 squares, or less: stratified times are more even than independent ones
    excess = ((counts[1:] - 20_000 / T) ** 2 / (20_000 / T)).sum().item() - (T - 1)
    assert excess < 5 * math.sqrt(2 * T)


def test_a_batch_covers_all_noise_levels(generator):
    for B, T in ((10, 1000), (64, 1000), (1, 1000), (7, 20)):
        times = stratified_times(B, T, Draws(generator))
        assert times.dtype == torch.int64
        for i, t in enumerate(times.tolist()):
            assert i * T / B - 1 <= t - 1 <= (i + 1) * T / B


def test_the_loss_is_its_draws_alone():
    denoise = Denoiser(lambda x, t, c: 0 * x, Schedule.cosine(), "v")
    x0 = torch.randn(16, 3)
    first = denoise.loss(x0, draws=Draws(5))
    torch.manual_seed(123)
    again = denoise.loss(x0, draws=Draws(5))
    other = denoise.loss(x0, draws=Draws(6))
    for key in first:
        assert torch.equal(first[key], again[key])
    assert not torch.equal(first["t"], other["t"])


def test_shards_make_up_the_global_loss():
    denoise = Denoiser(lambda x, t, c: 0.1 * x, Schedule.cosine(), "v")
    x0 = torch.randn(12, 2, 2)
    whole = denoise.loss(x0, draws=Draws(5))
    parts = [
        denoise.loss(
            x0[4 * rank : 4 * rank + 4],
            draws=Draws(5, rank, 3),
        )
        for rank in range(3)
    ]
    for key in ("per_image", "t"):
        assert torch.equal(torch.cat([part[key] for part in parts]), whole[key])
    torch.testing.assert_close(sum(part["loss"] for part in parts) / 3, whole["loss"])


def test_the_numbers_of_a_seed_stay():
    """The shipped nets were trained on these very times and noises: whole, and the second
    half of two processes.
    """
    denoise = Denoiser(lambda x, t, c: 0 * x, Schedule.cosine(), "v")
    x0 = torch.linspace(-1, 1, 24).reshape(6, 1, 2, 2)
    for place, times, errors in (
        (
            (0, 1),
            [139, 188, 485, 637, 821, 853],
            [1.1008421, 0.8916778, 0.1996842, 0.3834774, 0.2030105, 1.1187241],
        ),
        (
            (1, 2),
            [514, 645, 670, 833, 884, 964],
            [0.5122689, 0.4740618, 0.1005134, 0.0131854, 0.427786, 0.7367166],
        ),
    ):
        losses = denoise.loss(x0, draws=Draws(torch.Generator().manual_seed(5), *place))
        assert losses["t"].tolist() == times
        assert losses["per_image"].tolist() == pytest.approx(errors, abs=1e-5)
    torch.manual_seed(9)  # without draws: PyTorch's global generator
    assert denoise.loss(x0)["loss"].item() == pytest.approx(0.8463086, abs=1e-5)


def test_times_are_a_seam():
    asked = []

    def late(B, T, draws):
        asked.append((B, T))
        return T - draws.integers(10, B)

    draws = Draws(3)
    denoise = Denoiser(lambda x, t, c: 0 * x, Schedule.cosine(500), "v", times=late)
    losses = denoise.loss(torch.zeros(8, 2), draws=draws)
    assert asked == [(8, 500)]
    assert torch.equal(losses["t"], 500 - Draws(3).integers(10, 8))


@pytest.mark.parametrize("shape", [(6,), (6, 3), (6, 1, 4, 4)])
def test_the_loss_takes_any_shape(shape):
    losses = Denoiser(lambda x, t, c: 0 * x, Schedule.cosine(), "v").loss(torch.randn(shape))
    assert {key: value.shape for key, value in losses.items()} == {
        "loss": (),
        "per_image": (6,),
        "t": (6,),
    }


# ---- exact denoisers


@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
@pytest.mark.parametrize("t", [1, 30, 300, 700, 999])
def test_the_mixture_against_the_score(schedule, t):
    alpha, sigma = schedule.alpha[t].item(), schedule.sigma[t].item()
    law = exact.mixture(MEANS, STD, WEIGHTS, alpha, sigma)
    x_t = torch.cat([law.sample((100,)), 3 * torch.randn(100, 2, dtype=torch.float64)])
    x0, eps = mixture_denoiser(schedule, MEANS, STD, WEIGHTS)(x_t, t)
    expected_x0, expected_eps = exact.by_score(x_t, law, alpha, sigma)
    torch.testing.assert_close(eps, expected_eps, rtol=0, atol=1e-9)
    torch.testing.assert_close(x0, expected_x0, rtol=0, atol=1e-9 / alpha)


@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
@pytest.mark.parametrize("t", [50, 500, 1000])
def test_the_mixture_against_quadrature(schedule, t):
    """Also at the end, where alpha may be 0 and the answer is the mean of the data."""
    means = torch.tensor([[-1.0], [0.3], [1.5]], dtype=torch.float64)
    alpha, sigma = schedule.alpha[t].item(), schedule.sigma[t].item()
    x_t = torch.linspace(-2, 2, 21, dtype=torch.float64)[:, None]
    x0, eps = mixture_denoiser(schedule, means, 0.2, WEIGHTS)(x_t, t)
    expected = exact.by_quadrature(x_t, exact.mixture(means, 0.2, WEIGHTS), alpha, sigma)
    torch.testing.assert_close(x0, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(alpha * x0 + sigma * eps, x_t, rtol=0, atol=1e-12)


@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
@pytest.mark.parametrize("t", [1, 200, 1000])
def test_points_against_enumeration(schedule, t):
    points, x_t = (
        torch.randn(7, 3, dtype=torch.float64),
        torch.randn(5, 3, dtype=torch.float64),
    )
    alpha, sigma = schedule.alpha[t].item(), schedule.sigma[t].item()
    x0, eps = points_denoiser(schedule, points)(x_t, t)
    expected = [
        exact.by_enumeration(row, points.tolist(), alpha, sigma) for row in x_t.tolist()
    ]
    torch.testing.assert_close(
        x0, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10
    )
    torch.testing.assert_close(alpha * x0 + sigma * eps, x_t, rtol=0, atol=1e-12)


def test_points_from_the_mean_to_the_nearest():
    schedule, points = Schedule.cosine(), torch.tensor([[-1.0, 0], [1, 0], [0, 2]])
    denoise = points_denoiser(schedule, points)
    x = torch.tensor([[0.8, 0.1]])
    torch.testing.assert_close(denoise(x, 1000)[0], points.mean(dim=0, keepdim=True))
    torch.testing.assert_close(denoise(x, 1)[0], points[1:2])


@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
def test_the_gaussian_is_the_mixture_of_one(schedule):
    mean, x_t = torch.randn(3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    for t in (1, 500, 1000, torch.tensor([1, 10, 100, 500, 900, 1000])):
        one = gaussian_denoiser(schedule, mean, 0.7)(x_t, t)
        other = mixture_denoiser(schedule, mean[None], 0.7)(x_t, t)
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_the_gaussian_takes_a_spread_for_each_element():
    schedule = Schedule.cosine()
    std = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)
    x_t = torch.randn(5, 3, dtype=torch.float64)
    whole = gaussian_denoiser(schedule, 0.5, std)(x_t, 400)[0]
    for d in range(3):
        single = gaussian_denoiser(schedule, 0.5, std[d].item())(x_t[:, d : d + 1], 400)[0]
        torch.testing.assert_close(whole[:, d : d + 1], single)


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 1, 2, 5)])
@pytest.mark.parametrize(
    "time", [500, torch.tensor([1, 10, 500, 1000])], ids=["int", "tensor"]
)
def test_exact_denoisers_take_any_shape(shape, time):
    schedule, x_t = Schedule.linear(), torch.randn(shape)
    points = torch.randn(6, *shape[1:])
    for denoise in (
        gaussian_denoiser(schedule, 0.1, 0.5),
        mixture_denoiser(schedule, points, 0.1),
        points_denoiser(schedule, points),
    ):
        for part in denoise(x_t, time):
            assert (part.shape, part.dtype) == (x_t.shape, x_t.dtype)
            assert torch.isfinite(part).all()


def test_the_exact_stays_exact_inside_an_autocast():
    """In bfloat16 the distances of near points would be rounding, and the copyist of lesson 05
    would do too well.
    """
    schedule, points = (
        Schedule.cosine(),
        torch.rand(500, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
    )
    x_t = schedule.add_noise(
        points[:9], 300, torch.randn(9, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    )
    alone = points_denoiser(schedule, points)(x_t, 300)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = points_denoiser(schedule, points)(x_t, 300)
    for one, other in zip(alone, inside, strict=True):
        assert torch.equal(one, other)


def test_classes_of_a_mixture():
    """cond chooses a class's components, and -1 all of them: each row like the denoiser of its
    own mixture.
    """
    schedule, labels = Schedule.cosine(), torch.tensor([0, 1, 1])
    conditional = mixture_denoiser(schedule, MEANS, STD, WEIGHTS, labels)
    x_t = torch.randn(3, 2, dtype=torch.float64)
    x0, _ = conditional(x_t, 600, torch.tensor([0, 1, -1]))
    rest = WEIGHTS[1:] / WEIGHTS[1:].sum()
    for i, (means, weights) in enumerate(
        [(MEANS[:1], None), (MEANS[1:], rest), (MEANS, WEIGHTS)]
    ):
        expected, _ = mixture_denoiser(schedule, means, STD, weights)(x_t[i : i + 1], 600)
        torch.testing.assert_close(x0[i : i + 1], expected)
    torch.testing.assert_close(
        conditional(x_t, 600)[0], conditional(x_t, 600, torch.full((3,), -1))[0]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("time", [0, torch.tensor([0, 0, 0, 400])], ids=["int", "tensor"])
def test_a_point_at_time_0_is_itself(time, dtype):
    """Its spread is 0 and there is no noise: 0 / 0, of which the limit is the nearest point."""
    schedule = Schedule.cosine()
    points = torch.tensor([[-1.0, 0.5], [0.3, 0.3], [1.0, -1.0]], dtype=dtype)
    x = torch.cat([points, points[:1]])
    x0, eps = points_denoiser(schedule, points)(x, time)
    assert torch.equal(x0[:3], points)
    assert torch.equal(eps[:3], torch.zeros_like(points))
    assert torch.isfinite(x0).all()
    assert torch.isfinite(eps).all()
    near, _ = points_denoiser(schedule, points)(x + 0.1, 0)
    assert torch.equal(near, x)
    x0, eps = gaussian_denoiser(schedule, points[0], 0.0)(points[:1], 0)
    assert torch.equal(x0, points[:1])
    assert torch.equal(eps, torch.zeros_like(x0))


def test_up_from_a_point_at_time_0():
    schedule, points = Schedule.cosine(), torch.tensor([[-1.0], [1.0]])
    up = final(
        sample_ddim(points_denoiser(schedule, points), schedule, points, [0, 300, 600, 1000])
    )
    assert torch.isfinite(up).all()


def test_a_class_without_components_gets_a_sentence():
    labels, x = torch.tensor([0, 1, 1]), torch.randn(3, 2, dtype=torch.float64)
    denoise = mixture_denoiser(Schedule.cosine(), MEANS, STD, WEIGHTS, labels)
    for cond in (torch.tensor([0, 7, 1]), torch.tensor(7), 7):
        with pytest.raises(CourseError, match=r"no component of class 7.*\[0, 1\]"):
            denoise(x, 600, cond)
    empty = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64)
    denoise = mixture_denoiser(Schedule.cosine(), MEANS, STD, empty, labels)
    with pytest.raises(CourseError, match="no component of class 0"):
        denoise(x, 600, torch.tensor([1, 0, -1]))
    assert torch.isfinite(denoise(x, 600, torch.tensor([1, 1, -1]))[0]).all()


@pytest.mark.parametrize("target", TARGETS)
def test_answers_in_low_precision_are_worked_out_in_float32(target):
    """Off by the rounding of what the net said and of the answer, not by that of the tables."""
    schedule, t = Schedule.cosine(), torch.tensor([50, 300, 600, 900])
    x_t, y = torch.randn(2, 4, 500).bfloat16()
    denoise = Denoiser(lambda x, t, c: y.to(x.dtype), schedule, target)
    for time in (t, 300):
        found, expected = denoise(x_t, time), denoise(x_t.float(), time)
        for answer, truth in zip(found, expected, strict=True):
            assert answer.dtype == torch.bfloat16
            assert torch.equal(answer, truth.bfloat16())


def test_a_condition_of_tuples_reaches_the_net_as_it_came():
    cond, seen = (torch.zeros(4, 7, 3), (torch.zeros(4, 5), None)), []
    denoise = Denoiser(lambda x, t, c: seen.append(c) or x, Schedule.cosine(), "v")
    x = torch.randn(4, 2)
    denoise(x, 500, cond)
    denoise.loss(x, cond)
    for sampler in SAMPLERS.values():
        final(sampler(denoise, denoise.schedule, x, [900, 400, 0], cond))
        final(sampler(denoise, denoise.schedule, x.bfloat16(), [900, 400, 0], cond))
    assert len(seen) == 2 + 2 * (4 * 2 + 3)
    assert all(each is cond for each in seen)
