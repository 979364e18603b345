"""Samplers: the contract on every schedule, the orders of their errors, DDPM's moments, and
their randomness.
"""

import functools
import math

import exact
import pytest
import torch
from contracts import FULL, MEANS, STD, WEIGHTS, SamplerContract

from course_lib import (
    SAMPLERS,
    Draws,
    ImageDraws,
    Schedule,
    clipped,
    final,
    gaussian_denoiser,
    mixture_denoiser,
    points_denoiser,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_heun,
    sample_unipc,
)
from course_lib.errors import CourseError

ddpm_large = functools.partial(sample_ddpm, variance="large")
ddim_1 = functools.partial(sample_ddim, eta=1.0)
ddim_half = functools.partial(sample_ddim, eta=0.5)

ONE_CALL = {
    "ddpm": sample_ddpm,
    "ddpm_large": ddpm_large,
    "ddim": sample_ddim,
    "ddim_half": ddim_half,
    "ddim_1": ddim_1,
    "dpmpp_2m": sample_dpmpp_2m,
    "unipc": sample_unipc,
}
STOCHASTIC = {name: ONE_CALL[name] for name in ("ddpm", "ddpm_large", "ddim_half", "ddim_1")}
# they follow the probability flow
FLOWS = {
    "ddim": sample_ddim,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
    "unipc": sample_unipc,
}


@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
@pytest.mark.parametrize("sampler", ONE_CALL.values(), ids=ONE_CALL)
class TestSamplersOfOneCall(SamplerContract):
    """One denoiser call a step."""


@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
@pytest.mark.parametrize("sampler", [sample_heun], ids=["heun"])
class TestHeun(SamplerContract):
    """Two calls a step, one on the last."""

    def calls(self, n: int) -> int:
        return 2 * n - 1

    def test_a_caller_may_stop(self, sampler, schedule):
        calls = []
        steps = sampler(
            self.denoiser(schedule, calls),
            schedule,
            torch.randn(3, 2).double(),
            schedule.times(10),
        )
        for _, _step in zip(range(3), steps, strict=False):
            pass
        assert len(calls) == 2 + 2 + 1  # the third step is shown before its second look
        steps.close()
        assert len(calls) == 5


def test_the_table_of_samplers():
    assert SAMPLERS == {"ddpm": sample_ddpm, **FLOWS}


# ---- the probability flow, exactly


@functools.cache
def errors(name: str, sampler, start: int, end: int) -> list[float]:
    """Distance from the exact flow, root mean square over 15 Normals, at 8, 16 .. 128 even
    steps from start to end.

    Times are quarters of T = 1024, so that every step is even; the noise begins just where the
    flow has it.
    """
    schedule = getattr(Schedule, name)(1024)
    mean, std = 0.5, torch.linspace(0.25, 2, 15, dtype=torch.float64)
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    start, end = start * schedule.T // 4, end * schedule.T // 4
    denoise, goal = (
        gaussian_denoiser(schedule, mean, std),
        exact.gaussian_at(schedule, end, mean, std, z),
    )
    found = []
    for n in (8, 16, 32, 64, 128):
        times = [start - (start - end) * i // n for i in range(n + 1)]
        x = final(
            sampler(denoise, schedule, exact.gaussian_at(schedule, start, mean, std, z), times)
        )
        found.append((x - goal).square().mean().sqrt().item())
    return found


def slope(found: list[float]) -> float:
    """The order of convergence: minus the slope of log error on log n, by least squares."""
    x = torch.arange(len(found)).double()
    y = torch.tensor(found).double().log2()
    return -(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()).item()


@pytest.mark.parametrize("name", FULL)
@pytest.mark.parametrize(
    ("sampler", "order"), [(sample_ddim, 1), (sample_heun, 2), (sample_dpmpp_2m, 2)]
)
def test_order_in_the_middle(name, sampler, order):
    """From 3/4 T to 1/4 T, where log-SNR is finite and smooth, the orders are the papers' on
    every schedule.
    """
    assert slope(errors(name, sampler, 3, 1)) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("name", FULL)
def test_the_correction_is_worth_an_order(name):
    """UniPC's steps are DPM-Solver++'s, redone: nearly order 3 in the middle (2.77 to 2.89),
    for no more calls.

    From pure noise the first step, of first order, is redone as well, and it was the worst.
    """
    assert 2.65 < slope(errors(name, sample_unipc, 3, 1)) < 3.1
    for n in range(5):
        assert errors(name, sample_unipc, 3, 1)[n] < errors(name, sample_dpmpp_2m, 3, 1)[n] / 3
        assert errors(name, sample_unipc, 4, 1)[n] < errors(name, sample_dpmpp_2m, 4, 1)[n] / 4


@pytest.mark.parametrize("name", FULL)
@pytest.mark.parametrize(
    ("sampler", "low", "high"), [(sample_ddim, 0.9, 1.1), (sample_heun, 1.9, 2.2)]
)
def test_order_from_pure_noise(name, sampler, low, high):
    """A start at alpha = 0 costs Heun nothing: its step has no division."""
    assert low < slope(errors(name, sampler, 4, 1)) < high


@pytest.mark.parametrize("name", FULL)
def test_order_of_dpmpp_from_pure_noise(name):
    """log(alpha / sigma) starts at minus infinity there, which costs a logarithm: 1.67 to 2.17
    measured.
    """
    assert 1.6 < slope(errors(name, sample_dpmpp_2m, 4, 1)) < 2.3


# Measured over the whole way: DDIM 0.97 on each; Heun 1.65, 1.66 and 2.07; DPM-Solver++ 1.84,
# 1.68 and 1.71. The last step of all is of first order. It errs by about sigma^2 / 2 of its
# own time, T / n: on the flow schedule sigma is 1 / n there and the order stays 2, but on the
# other two sigma^2 is nearly proportional to time close to 0.
WHOLE = {
    sample_ddim: {"linear": (0.9, 1.05), "cosine": (0.9, 1.05), "flow": (0.9, 1.05)},
    sample_heun: {"linear": (1.55, 1.8), "cosine": (1.55, 1.8), "flow": (1.95, 2.15)},
    sample_dpmpp_2m: {"linear": (1.6, 2.1), "cosine": (1.6, 2.1), "flow": (1.6, 2.1)},
    sample_unipc: {
        "linear": (1.75, 2.2),
        "cosine": (1.65, 2.1),
        "flow": (1.8, 2.2),
    },  # 1.97, 1.86 and 1.99
}


@pytest.mark.parametrize("name", FULL)
@pytest.mark.parametrize("sampler", WHOLE)
def test_order_over_the_whole_way(name, sampler):
    low, high = WHOLE[sampler][name]
    assert low < slope(errors(name, sampler, 4, 0)) < high


@pytest.mark.parametrize("name", FULL)
def test_second_order_is_worth_its_calls(name):
    """At 64 calls each, the two solvers of second order are at least three times nearer than
    DDIM.
    """
    ddim = errors(name, sample_ddim, 4, 0)[3]
    assert errors(name, sample_heun, 4, 0)[2] < ddim / 3
    assert errors(name, sample_dpmpp_2m, 4, 0)[3] < ddim / 3


@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
@pytest.mark.parametrize(
    ("name", "tolerance"), [("ddim", 0.03), ("heun", 0.003), ("dpmpp_2m", 0.006)]
)
def test_in_one_dimension_the_flow_carries_quantile_to_quantile(schedule, name, tolerance):
    """For any mixture, not only a Normal: the flow keeps order, so the share of the data below
    a point is kept.
    """
    means = torch.tensor([[-1.0], [0.4], [1.2]], dtype=torch.float64)
    u = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    start = exact.mixture(
        means, 0.3, WEIGHTS, schedule.alpha[-1].item(), schedule.sigma[-1].item()
    )
    x = exact.mixture_quantile(u, start)[:, None]
    found = final(
        FLOWS[name](
            mixture_denoiser(schedule, means, 0.3, WEIGHTS), schedule, x, schedule.times(250)
        )
    )
    goal = exact.mixture_quantile(u, exact.mixture(means, 0.3, WEIGHTS))
    assert (found[:, 0] - goal).abs().max() < tolerance


@pytest.mark.parametrize(("T", "ddim", "ddpm"), [(50, 0.22, 0.40), (1000, 0.994, 1.0)])
def test_terminal_signal(T, ddim, ddpm):
    """A start at N(0, 1) where signal is left: of a mean m, DDIM gives 1 - sqrt(abar_T), DDPM
    1 - abar_T.

    Data N(m, 1) and the usual betas. 50 steps leave abar_T = 0.60; DDIM's own error in so few
    steps is under 0.005.
    """
    schedule, m = Schedule.linear(T), 2.0
    abar = schedule.alpha[-1].item() ** 2
    x = torch.linspace(
        -2, 2, 401, dtype=torch.float64
    )  # mean 0; the denoiser is linear, so only the mean matters
    mean = (
        final(sample_ddim(gaussian_denoiser(schedule, m, 1.0), schedule, x, schedule.times(T)))
        .mean()
        .item()
    )
    assert mean / m == pytest.approx(1 - math.sqrt(abar), abs=0.005)
    assert mean / m == pytest.approx(ddim, abs=0.01)
    mean, _ = exact.ddpm_moments(schedule, schedule.times(T), m, 1.0, "small")
    assert mean / m == pytest.approx(1 - abar, abs=1e-9)
    assert mean / m == pytest.approx(ddpm, abs=0.005)


# ---- DDPM's moments


@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize(
    ("n", "mean", "std"), [(10, 0.0, 1.0), (10, 0.7, 0.2), (50, -0.4, 0.5), (3, 0.5, 2.0)]
)
def test_moments_of_ddpm(schedule, variance, n, mean, std):
    """100,000 samples against the closed recursion: within five standard errors of the mean
    and of the spread.
    """
    N, times = 100_000, schedule.times(n)
    steps = sample_ddpm(
        gaussian_denoiser(schedule, mean, std),
        schedule,
        torch.randn(N).double(),
        times,
        variance=variance,
    )
    samples = final(steps)
    expected_mean, expected_variance = exact.ddpm_moments(schedule, times, mean, std, variance)
    spread = math.sqrt(expected_variance)
    assert abs(samples.mean().item() - expected_mean) < 5 * spread / math.sqrt(N)
    assert abs(samples.std().item() / spread - 1) < 5 / math.sqrt(2 * N)


def test_the_two_variances_at_few_steps():
    """The output's spread over the true one, large and small variance, in 10 steps of the
    linear schedule.

    "Large" is exact for s = 1 but for the last step, which adds no noise: sqrt(abar) of the
    time before is missing.
    """
    schedule = Schedule.linear()
    found = [
        math.sqrt(exact.ddpm_moments(schedule, schedule.times(10), 0.0, std, variance)[1])
        / std
        for std in (1.0, 0.2)
        for variance in ("large", "small")
    ]
    assert found == pytest.approx([0.947, 0.740, 0.777, 0.467], abs=0.001)


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("n", [1, 3, 10, 1000])
def test_large_is_exact_for_spread_one_and_small_for_a_point(name, n):
    schedule = FULL[name]
    times = schedule.times(n)
    _, variance = exact.ddpm_moments(schedule, times, 0.0, 1.0, "large")
    # exact until the last step, which returns E[x_0 | x_t]: its variance is abar of that time
    assert variance == pytest.approx(schedule.alpha[times[-2]].item() ** 2, rel=1e-9)
    mean, variance = exact.ddpm_moments(schedule, times, 0.7, 1e-6, "small")
    assert mean == pytest.approx(0.7, abs=1e-4)
    assert variance < 1e-6


@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
@pytest.mark.parametrize("n", [5, 50])
def test_ddim_of_eta_1_is_ddpm_of_the_small_variance(schedule, n):
    """The same noise gives the same path, step by step."""
    x = torch.randn(20, 2, dtype=torch.float64)
    denoise = mixture_denoiser(schedule, MEANS, STD, WEIGHTS)
    paths = [
        list(
            sampler(
                denoise,
                schedule,
                x,
                schedule.times(n),
                draws=Draws(3),
            )
        )
        for sampler in (ddim_1, sample_ddpm)
    ]
    for one, other in zip(*paths, strict=True):
        torch.testing.assert_close(one.x_t, other.x_t, rtol=0, atol=1e-11)


@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
def test_the_noise_of_ddim_keeps_every_marginal(schedule):
    """Whatever eta is, x_s given x_0 has spread sigma_s: with data at one point the path is
    q(x_s | x_0) throughout.

    20,000 paths; the standard error of a spread is 1 / sqrt(40,000) = 0.5 %, four are granted.
    """
    N = 20_000
    for eta in (0.0, 0.4, 1.0):
        x = schedule.alpha[-1] * 0.6 + schedule.sigma[-1] * torch.randn(N, dtype=torch.float64)
        for step in sample_ddim(
            gaussian_denoiser(schedule, 0.6, 0.0), schedule, x, schedule.times(8), eta=eta
        ):
            mean, spread = schedule.alpha[step.t].item() * 0.6, schedule.sigma[step.t].item()
            assert abs(step.x_t.mean().item() - mean) <= 5 * spread / math.sqrt(N) + 1e-12
            assert abs(step.x_t.std().item() - spread) <= 0.02 * spread + 1e-12


# ---- randomness


@pytest.mark.parametrize("sampler", STOCHASTIC.values(), ids=STOCHASTIC)
def test_a_generator_makes_a_run_repeatable(sampler):
    schedule = Schedule.cosine()
    denoise, x = (
        mixture_denoiser(schedule, MEANS, STD, WEIGHTS),
        torch.randn(9, 2, dtype=torch.float64),
    )

    def run(seed):
        return final(
            sampler(
                denoise,
                schedule,
                x,
                schedule.times(12),
                draws=Draws(seed),
            )
        )

    first = run(1)
    state = torch.get_rng_state()
    assert torch.equal(run(1), first)
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is not touched
    assert not torch.equal(run(2), first)


@pytest.mark.parametrize("sampler", FLOWS.values(), ids=FLOWS)
def test_the_flows_draw_nothing(sampler):
    schedule = Schedule.linear()
    denoise, x = (
        mixture_denoiser(schedule, MEANS, STD, WEIGHTS),
        torch.randn(9, 2, dtype=torch.float64),
    )
    state = torch.get_rng_state()
    first = final(sampler(denoise, schedule, x, schedule.times(12)))
    assert torch.equal(final(sampler(denoise, schedule, x, schedule.times(12))), first)
    assert torch.equal(torch.get_rng_state(), state)
    alone = torch.cat(
        [final(sampler(denoise, schedule, row[None], schedule.times(12))) for row in x]
    )
    torch.testing.assert_close(
        first, alone, rtol=0, atol=1e-12
    )  # an image does not depend on its neighbours


def test_the_fresh_noise_of_a_seed_stays():
    """The numbers that a generator gave before `Draws` did."""
    schedule, x = Schedule.cosine(), torch.linspace(-2, 2, 4).reshape(2, 2)
    denoise = gaussian_denoiser(schedule, 0.3, 0.5)
    for sampler, options, goal in (
        (sample_ddpm, {}, [0.4965731, 0.4072573, 0.2680854, 0.786836]),
        (sample_ddim, {"eta": 0.7}, [0.0810039, 0.2897233, 0.5287664, 1.1432598]),
    ):
        for draws in (Draws(4), Draws(torch.Generator().manual_seed(4))):
            steps = sampler(denoise, schedule, x, schedule.times(5), draws=draws, **options)
            assert final(steps).flatten().tolist() == pytest.approx(goal, abs=1e-5)
    torch.manual_seed(9)
    found = final(sample_ddpm(denoise, schedule, x, schedule.times(5)))[0].tolist()
    torch.manual_seed(9)
    again = final(sample_ddpm(denoise, schedule, x, schedule.times(5), draws=Draws()))
    assert found == again[0].tolist()


@pytest.mark.parametrize("sampler", STOCHASTIC.values(), ids=STOCHASTIC)
def test_an_image_depends_on_its_own_draws_alone(sampler):
    schedule, x = Schedule.cosine(), torch.randn(6, 2)
    denoise = mixture_denoiser(schedule, MEANS.float(), STD, WEIGHTS.float())

    def run(rows, seed=0):
        return final(
            sampler(
                denoise, schedule, x[rows], schedule.times(8), draws=ImageDraws(seed, rows)
            )
        )

    whole = run(range(6))
    torch.testing.assert_close(torch.cat([run(range(2)), run(range(2, 6))]), whole)
    assert not torch.allclose(run(range(6), seed=1), whole)


class Still:
    """Noise that is none: anything with normal(like) may be drawn from."""

    def normal(self, like):
        return torch.zeros_like(like)


def test_samplers_draw_from_anything_with_normal():
    schedule, x = Schedule.cosine(), torch.randn(3, 2)
    denoise = gaussian_denoiser(schedule, 0.0, 0.5)
    for sampler in (sample_ddpm, ddim_1):
        found = final(sampler(denoise, schedule, x, schedule.times(5), draws=Still()))
        again = final(sampler(denoise, schedule, x, schedule.times(5), draws=Still()))
        assert torch.equal(found, again)


def test_unknown_variance():
    schedule = Schedule.linear()
    steps = sample_ddpm(
        gaussian_denoiser(schedule, 0, 1), schedule, torch.randn(3), [1000, 0], variance="beta"
    )
    with pytest.raises(ValueError, match="'small'.*'large'.*'beta'"):
        next(steps)


@pytest.mark.parametrize("name", ["ddpm", "dpmpp_2m"])
def test_rising_times_get_a_sentence_where_they_have_no_meaning(name):
    denoise = gaussian_denoiser(Schedule.cosine(), 0.0, 1.0)
    with pytest.raises(ValueError, match="times fall; these rise"):
        final(SAMPLERS[name](denoise, Schedule.cosine(), torch.zeros(1, 2), [0, 40, 900]))


@pytest.mark.parametrize("name", ["ddim", "heun"])
def test_up_and_down_again(name):
    """From the picture itself, t = 0, into its noise and back, through a clipped denoiser."""
    schedule = Schedule.cosine()
    denoise = clipped(gaussian_denoiser(schedule, 0.2, 0.1), schedule)
    x = 0.2 + 0.1 * torch.randn(
        500, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    times = schedule.times(500)
    up = final(SAMPLERS[name](denoise, schedule, x, times[::-1]))
    assert up.std().item() == pytest.approx(1, abs=0.15)
    down = final(SAMPLERS[name](denoise, schedule, up, times))
    torch.testing.assert_close(down, x, rtol=0, atol=0.05)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("times", [[], [500], [500, 500, 0]], ids=["none", "one", "twice"])
def test_times_that_lead_nowhere_get_a_sentence(name, times):
    denoise = gaussian_denoiser(Schedule.cosine(), 0.0, 1.0)
    with pytest.raises(ValueError, match="two or more different times"):
        final(SAMPLERS[name](denoise, Schedule.cosine(), torch.zeros(1, 2), times))


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_rising_times_with_fresh_noise_get_a_sentence(eta):
    """They divided by 0 from time 0, and elsewhere went on as if eta were 0."""
    schedule = Schedule.cosine()
    denoise = gaussian_denoiser(schedule, 0.2, 0.1)
    for times in ([0, 40, 900], [40, 900], [900, 40, 300, 0]):
        with pytest.raises(CourseError, match="times fall; these rise"):
            final(sample_ddim(denoise, schedule, torch.zeros(1, 2), times, eta=eta))


@pytest.mark.parametrize("eta", [-0.1, 3.0, math.nan])
def test_no_eta(eta):
    """Above 1 the old noise was clamped to 0, and more fresh added than there is."""
    schedule = Schedule.cosine()
    steps = sample_ddim(
        gaussian_denoiser(schedule, 0, 1), schedule, torch.zeros(1, 2), [900, 0], eta=eta
    )
    with pytest.raises(CourseError, match="eta"):
        final(steps)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_number_of_steps_is_no_times(name):
    denoise = gaussian_denoiser(Schedule.cosine(), 0.0, 1.0)
    with pytest.raises(CourseError, match=r"schedule.times\(20\)"):
        final(SAMPLERS[name](denoise, Schedule.cosine(), torch.zeros(1, 2), 20))


def test_a_look_at_whole_numbers_gets_a_sentence():
    """The answers were cut to whole numbers."""
    schedule, x = Schedule.cosine(), torch.tensor([[1, -2]])
    points = points_denoiser(schedule, torch.zeros(3, 2))
    for denoise in (gaussian_denoiser(schedule, 0.0, 1.0), points):
        with pytest.raises(CourseError, match="floating-point images"):
            denoise(x, 500)


def test_final_of_nothing_gets_a_sentence():
    schedule = Schedule.cosine()
    steps = sample_ddim(
        gaussian_denoiser(schedule, 0, 1), schedule, torch.zeros(1, 2), [900, 0]
    )
    final(steps)
    for spent in (steps, [], iter(())):
        with pytest.raises(CourseError, match="only once"):
            final(spent)


# ---- schedules with steps that move nothing


def from_betas(*parts: tuple[int, float, float]) -> Schedule:
    """Pieces of (length, first beta, last beta)."""
    return Schedule.from_betas(
        torch.cat([torch.linspace(a, b, n, dtype=torch.float64) for n, a, b in parts])
    )


def held(schedule: Schedule, at: tuple[int, ...], n: int) -> Schedule:
    """The schedule, staying n times longer where it is at each of these times."""
    index = [t for t in range(schedule.T + 1) for _ in range(1 + n * (t in at))]
    return Schedule(schedule.alpha[index], schedule.sigma[index])


FLOW = Schedule.flow(400)
FLAT = {
    "a plateau": from_betas((200, 1e-4, 0.02), (30, 0, 0), (300, 0.02, 0.05)),
    "single stops": held(FLOW, (1, 7, 100, 250, 399), 1),
    "no noise at first": from_betas((20, 0, 0), (400, 1e-4, 0.05)),
    "no image at last": from_betas((400, 1e-4, 0.05), (1, 1, 1), (20, 0.02, 0.02)),
    "both ends": held(FLOW, (0, 400), 12),
    "next to nothing": from_betas((200, 1e-4, 0.02), (9, 1e-13, 1e-13), (300, 0.02, 0.05)),
    "noise grows where no image is": Schedule(
        torch.cat([FLOW.alpha, torch.zeros(20).double()]),
        torch.cat([FLOW.sigma, torch.linspace(1.01, 1.2, 20).double()]),
    ),
    "image fades before there is noise": Schedule(
        torch.cat([torch.linspace(1, 0.8, 10).double(), 0.8 * FLOW.alpha[1:]]),
        torch.cat([torch.zeros(10).double(), FLOW.sigma[1:]]),
    ),
}
# of the end state, in 200 steps and in all 400 to 530: DDIM 0.010 to 0.029, the others up to
# 0.0043, as on the same schedules without stops
TOLERANCE = {"ddim": 0.035}


@pytest.mark.parametrize("schedule", FLAT.values(), ids=FLAT)
@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_steps_that_move_nothing_are_harmless(schedule, name, dtype):
    """All samplers end where the exact map does, from wherever the noise begins."""
    mean, std = 0.5, torch.linspace(0.25, 1.5, 6, dtype=torch.float64)
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    denoise = gaussian_denoiser(schedule, mean, std.to(dtype))
    for times in (schedule.times(schedule.T), schedule.times(200)):
        x = exact.gaussian_at(schedule, schedule.T, mean, std, z).to(dtype)
        steps = list(FLOWS[name](denoise, schedule, x, times))
        assert [step.t for step in steps] == times
        goal = exact.gaussian_at(schedule, 0, mean, std, z).to(dtype)
        error = (steps[-1].x_t - goal).abs().max().item()
        assert error < TOLERANCE.get(name, 0.006), error


@pytest.mark.parametrize("name", ["dpmpp_2m", "unipc"])
@pytest.mark.parametrize("beta", [1e-13, 1e-9, 1e-7])
def test_a_line_through_two_looks_at_one_place_is_not_gone_along(name, beta):
    """Over a step of next to no length the looks of a rough net differ by its roughness, and
    the line through them is as steep as the step is short.
    """
    schedule = from_betas((200, 1e-4, 0.02), (9, beta, beta), (300, 0.02, 0.05))
    smooth = gaussian_denoiser(schedule, 0.5, 0.7)

    def rough(x_t, t, cond=None):
        x0 = smooth(x_t, t)[0] + 1e-6 * math.sin(1e6 * t)
        alpha, sigma = schedule.at(t, x_t)
        return x0, (x_t - alpha * x0) / sigma

    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    times = schedule.times(schedule.T)
    found, goal = (final(FLOWS[name](net, schedule, x, times)) for net in (rough, smooth))
    torch.testing.assert_close(found, goal, rtol=0, atol=2e-3)


@pytest.mark.parametrize("schedule", FLAT.values(), ids=FLAT)
@pytest.mark.parametrize("sampler", STOCHASTIC.values(), ids=STOCHASTIC)
def test_fresh_noise_where_nothing_moves(schedule, sampler):
    """5,000 samples keep the mean and the spread: within five standard errors, and 3 % for the
    finite number of steps.
    """
    N, mean, std = 5_000, 0.5, 0.4
    x = exact.gaussian_at(schedule, schedule.T, mean, std, torch.randn(N).double())
    found = final(
        sampler(
            gaussian_denoiser(schedule, mean, std),
            schedule,
            x,
            schedule.times(schedule.T),
            draws=Draws(1),
        )
    )
    assert found.mean().item() == pytest.approx(mean, abs=5 * std / math.sqrt(N))
    assert found.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * N) + 0.03)


# ---- the dtype of the images is not that of the arithmetic


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("schedule", FULL.values(), ids=FULL)
def test_a_thousand_steps_in_low_precision(name, dtype, schedule):
    """A step of a thousand is less than bfloat16's last digit: the mean of this Normal came out
    as 0.455.
    """
    mean, std, N = 0.302, 0.4, 2_000
    x = exact.gaussian_at(schedule, 1000, mean, std, torch.randn(N).double())
    seen = set()

    def denoise(x_t, t, cond=None):
        seen.add(x_t.dtype)
        return gaussian_denoiser(schedule, mean, std)(x_t, t)

    options = {"draws": Draws(1)} if name == "ddpm" else {}
    steps = SAMPLERS[name](denoise, schedule, x.to(dtype), schedule.times(1000), **options)
    for step in steps:
        assert step.x_t.dtype == step.x0.dtype == step.eps.dtype == dtype
    assert seen == {dtype}  # a net in bfloat16 is asked in bfloat16
    found = step.x_t.double()
    standard_error = std / math.sqrt(N)
    assert found.mean().item() == pytest.approx(mean, abs=5 * standard_error)
    assert found.std().item() == pytest.approx(std, rel=0.06)
    if name != "ddpm":
        whole = final(SAMPLERS[name](denoise, schedule, x, schedule.times(1000)))
        assert (found - whole).abs().max() < 0.02


def test_low_precision_up_and_down_again():
    schedule = Schedule.cosine()
    denoise = gaussian_denoiser(schedule, 0.2, 0.3)
    x = (0.2 + 0.3 * torch.randn(500)).bfloat16()
    for name in ("ddim", "heun"):
        up = final(SAMPLERS[name](denoise, schedule, x, schedule.times(500)[::-1]))
        assert up.float().std().item() == pytest.approx(1, abs=0.15)
        down = final(SAMPLERS[name](denoise, schedule, up, schedule.times(500)))
        torch.testing.assert_close(down.float(), x.float(), rtol=0, atol=0.05)


def test_latents_are_never_clipped():
    """No sampler knows the grey scale: latents of spread 4 keep it."""
    schedule, x = Schedule.cosine(), torch.randn(2_000, 1)
    for name, sampler in SAMPLERS.items():
        found = final(
            sampler(gaussian_denoiser(schedule, 2.0, 4.0), schedule, x, schedule.times(100))
        )
        assert found.std().item() == pytest.approx(4, rel=0.1), name


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_whole_numbers_are_no_noise(sampler):
    """Cast back, the image would be all zeros."""
    schedule = Schedule.cosine()
    denoise = gaussian_denoiser(schedule, 0.3, 0.5)
    with pytest.raises(CourseError, match="floating-point images"):
        final(sampler(denoise, schedule, torch.ones(2, 3).long(), schedule.times(3)))
