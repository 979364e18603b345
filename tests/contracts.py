"""What every schedule, target, denoiser and sampler must keep, whoever wrote it.

A test class inherits a contract and says, by parameters or fixtures, what is to be held to it:

    @pytest.mark.parametrize("schedule", [Schedule.cosine(), my_schedule()])
    class TestSchedules(ScheduleContract): ...

A reader's own sampler can be held to the same contract.
"""

import json
import math

import exact
import pytest
import torch

from course_lib import Denoiser, Schedule, Step, final, mixture_denoiser
from course_lib.data import to_uint8
from course_lib.errors import CourseError
from course_lib.metrics.measure import Maker, measure, with_row
from course_lib.widgets.plots import tile

# All schedules of the library: the usual length, and one so short that an index off by one is
# plain.
SCHEDULES = {
    "linear": Schedule.linear(),
    "cosine": Schedule.cosine(),
    "flow": Schedule.flow(),
    "linear20": Schedule.linear(20, beta_start=0.005, beta_end=0.6),
    "cosine20": Schedule.cosine(20),
    "flow20": Schedule.flow(20),
}
FULL = {name: SCHEDULES[name] for name in ("linear", "cosine", "flow")}  # those of 1000 times

# The mixture that samplers are tried on: three modes in the plane, unlike in weight and in
# place.
MEANS = torch.tensor([[-1.2, -0.6], [0.2, 1.1], [1.3, -0.5]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
STD = 0.25


def kolmogorov_p(u: torch.Tensor) -> float:
    """The p-value of "u [N] is uniform on [0, 1]" (Kolmogorov and Smirnov, the limit for
    many).
    """
    N = len(u)
    u, steps = u.sort().values, torch.arange(N + 1) / N
    gap = max((steps[1:] - u).max().item(), (u - steps[:-1]).max().item()) * math.sqrt(N)
    return min(
        1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * gap) ** 2) for k in range(1, 101))
    )


class ScheduleContract:
    """For a `schedule`."""

    def test_tables(self, schedule):
        for table in (schedule.alpha, schedule.sigma, schedule.log_snr):
            assert table.dtype == torch.float64
            assert table.shape == (schedule.T + 1,)

    def test_index_0_is_the_clean_image(self, schedule):
        assert schedule.alpha[0] == 1
        assert schedule.sigma[0] == 0

    def test_the_end_is_nearly_all_noise(self, schedule):
        assert 0 <= schedule.alpha[-1] < 0.1
        assert 0.99 < schedule.sigma[-1] <= 1

    def test_signal_falls_and_noise_rises_at_every_step(self, schedule):
        assert (schedule.alpha.diff() < 0).all()
        assert (schedule.sigma.diff() > 0).all()
        assert (schedule.log_snr[1:].diff() < 0).all()
        assert schedule.log_snr[0] == math.inf
        inner = slice(1, -1)  # the ends may be infinite
        ratio = schedule.alpha[inner] ** 2 / schedule.sigma[inner] ** 2
        torch.testing.assert_close(schedule.log_snr[inner], ratio.log(), rtol=0, atol=1e-12)

    def test_add_noise_is_the_formula_image_by_image(self, schedule):
        x0, eps = torch.randn(2, 6, 3, 2, dtype=torch.float64)
        t = torch.tensor([0, 1, schedule.T, schedule.T // 2, 1, schedule.T - 1])
        x_t = schedule.add_noise(x0, t, eps)
        for i, time in enumerate(t.tolist()):
            expected = schedule.alpha[time] * x0[i] + schedule.sigma[time] * eps[i]
            torch.testing.assert_close(x_t[i], expected, rtol=1e-15, atol=0)
            torch.testing.assert_close(
                schedule.add_noise(x0, time, eps)[i], expected, rtol=1e-15, atol=0
            )
        assert torch.equal(schedule.add_noise(x0, 0, eps), x0)

    def test_add_noise_keeps_dtype_and_shape(self, schedule):
        for dtype in (torch.float32, torch.float64):
            for shape in ((4,), (4, 3), (4, 1, 28, 28)):
                x0 = torch.zeros(shape, dtype=dtype)
                for t in (schedule.T, torch.full((4,), schedule.T)):
                    x_t = schedule.add_noise(x0, t, x0)
                    assert (x_t.shape, x_t.dtype) == (shape, dtype)

    def test_small_steps_add_up_to_the_jump(self, schedule):
        """x_k = r x_{k-1} + sqrt(b) e: what remains of x_0 is alpha, what noise has gathered
        has variance sigma^2.
        """
        signal, variance = 1.0, 0.0
        for k in range(1, schedule.T + 1):
            r = (schedule.alpha[k] / schedule.alpha[k - 1]).item()
            b = (schedule.sigma[k] ** 2).item() - r**2 * (schedule.sigma[k - 1] ** 2).item()
            assert b > 0, f"the step to time {k} would have to take noise away"
            signal, variance = r * signal, r**2 * variance + b
            assert math.isclose(signal, schedule.alpha[k].item(), rel_tol=1e-9, abs_tol=1e-15)
            assert math.isclose(variance, schedule.sigma[k].item() ** 2, rel_tol=1e-9)

    def test_small_steps_and_the_jump_are_equal_in_law(self, schedule):
        """5,000 walks of many steps from one x_0: their distribution function at time t is
        that of the jump's Normal.

        Kolmogorov and Smirnov's test; p below 1e-4 comes by chance once in 10,000 seeds, and
        the seed is fixed.
        """
        N, x0 = 5_000, 0.8
        looks = {schedule.T // 10, schedule.T // 2, schedule.T}
        x = torch.full((N,), x0, dtype=torch.float64)
        for k in range(1, schedule.T + 1):
            r = schedule.alpha[k] / schedule.alpha[k - 1]
            x = r * x + (
                schedule.sigma[k] ** 2 - (r * schedule.sigma[k - 1]) ** 2
            ).sqrt() * torch.randn(N)
            if k in looks:
                law = torch.distributions.Normal(schedule.alpha[k] * x0, schedule.sigma[k])
                assert kolmogorov_p(law.cdf(x)) > 1e-4
                jump = schedule.add_noise(
                    torch.full((N,), x0).double(), k, torch.randn(N).double()
                )
                assert kolmogorov_p(law.cdf(jump)) > 1e-4

    def test_times(self, schedule):
        T = schedule.T
        for n in {*range(1, min(T, 60) + 1), *range(61, T, 47), T - 1, T}:
            times = schedule.times(n)
            assert len(times) == n + 1
            assert (times[0], times[-1]) == (T, 0)
            assert all(isinstance(t, int) for t in times)
            assert all(t > s for t, s in zip(times[:-1], times[1:], strict=True))
            assert all(abs(t - T * (n - i) / n) <= 0.5 for i, t in enumerate(times))
        assert schedule.times(T) == list(range(T, -1, -1))

    def test_times_that_cannot_be(self, schedule):
        for n in (0, -1, schedule.T + 1):
            try:
                schedule.times(n)
            except ValueError as error:
                assert str(schedule.T) in str(error)
            else:
                raise AssertionError(f"times({n}) should raise ValueError")


class TargetContract:
    """For a `target` (a name in TARGETS), its `coefficients` (alpha, sigma) -> (a, b), and a
    `schedule`.
    """

    def times_that_tell(self, schedule, coefficients) -> list[int]:
        """Times above 0 at which the target and x_t together determine x_0."""
        return [
            t
            for t in range(1, schedule.T + 1)
            if self.determinant(schedule, coefficients, t) != 0
        ]

    def determinant(self, schedule, coefficients, t: int) -> float:
        """alpha b - sigma a: how far the target and x_t are from saying the same."""
        alpha, sigma = schedule.alpha[t], schedule.sigma[t]
        a, b = coefficients(alpha, sigma)
        return float(alpha * b - sigma * a)

    def test_one_number_a_time_and_image(self, target, coefficients, schedule):
        x = torch.zeros(5, 1, 2, 2)
        for t in (3, torch.tensor([1, 2, 3, 4, schedule.T])):
            alpha, sigma = schedule.at(t, x)
            for coefficient in coefficients(alpha, sigma):
                assert coefficient.shape == alpha.shape
                assert coefficient.dtype == x.dtype

    def test_round_trip_at_every_time(self, target, coefficients, schedule):
        """A net that answers the target exactly gives back the very x_0 and eps that x_t was
        made of.
        """
        times = torch.tensor(self.times_that_tell(schedule, coefficients))
        assert len(times) >= schedule.T - 1
        x0, eps = torch.randn(2, len(times), 3, dtype=torch.float64)
        a, b = coefficients(*schedule.at(times, x0))
        x_t = schedule.add_noise(x0, times, eps)
        found_x0, found_eps = Denoiser(lambda *_: a * x0 + b * eps, schedule, target)(
            x_t, times
        )
        # rounding is magnified by 1 / det, which is 640 at the most
        torch.testing.assert_close(found_x0, x0, rtol=0, atol=2e-12)
        torch.testing.assert_close(found_eps, eps, rtol=0, atol=2e-12)

    def test_round_trip_in_float32(self, target, coefficients, schedule):
        times = torch.tensor(self.times_that_tell(schedule, coefficients))
        x0, eps = torch.randn(2, len(times), 3)
        a, b = coefficients(*schedule.at(times, x0))
        found = Denoiser(lambda *_: a * x0 + b * eps, schedule, target)(
            schedule.add_noise(x0, times, eps), times
        )
        determinants = torch.tensor(
            [self.determinant(schedule, coefficients, t) for t in times.tolist()]
        )
        for answer, truth in zip(found, (x0, eps), strict=True):
            assert answer.dtype == torch.float32
            errors = (answer - truth).abs().amax(dim=1) * determinants.abs().clamp(max=1)
            assert errors.max() < 2e-6

    def test_answers_agree_with_x_t(self, target, coefficients, schedule):
        """Whatever the net says, alpha * x0 + sigma * eps is x_t again, at every time from 0
        to T.
        """
        t = torch.arange(schedule.T + 1)
        x_t, y = torch.randn(2, schedule.T + 1, 3, dtype=torch.float64)
        x0, eps = Denoiser(lambda *_: y, schedule, target)(x_t, t)
        torch.testing.assert_close(schedule.add_noise(x0, t, eps), x_t, rtol=0, atol=1e-11)

    def test_a_target_that_says_nothing_more_than_x_t(self, target, coefficients, schedule):
        """Where the determinant is 0, x_t is all that is known: all noise at the end, all
        image at time 0.
        """
        for t, pure in ((0, "x0"), (schedule.T, "eps")):
            if (
                self.determinant(schedule, coefficients, t) != 0
                or min(schedule.alpha[t], schedule.sigma[t]) > 0
            ):
                continue
            x_t, y = torch.randn(2, 4, 3, dtype=torch.float64)
            for time in (t, torch.full((4,), t)):
                x0, eps = Denoiser(lambda *_, y=y: y, schedule, target)(x_t, time)
                known, unknown = (x0, eps) if pure == "x0" else (eps, x0)
                assert torch.equal(known, x_t)
                assert torch.equal(unknown, torch.zeros_like(x_t))

    def test_a_net_that_knows_the_mixture_is_the_exact_denoiser(
        self, target, coefficients, schedule
    ):
        law = exact.mixture(MEANS, STD, WEIGHTS)
        for t in (1, schedule.T // 4, schedule.T // 2, schedule.T - 1):
            alpha, sigma = schedule.alpha[t].item(), schedule.sigma[t].item()
            x_t = alpha * law.sample((50,)) + sigma * torch.randn(50, 2, dtype=torch.float64)
            marginal = exact.mixture(MEANS, STD, WEIGHTS, alpha, sigma)
            x0, eps = exact.by_score(x_t, marginal, alpha, sigma)
            a, b = (float(c) for c in coefficients(schedule.alpha[t], schedule.sigma[t]))
            found = Denoiser(lambda *_, y=a * x0 + b * eps: y, schedule, target)(x_t, t)
            tolerance = 1e-12 / min(1.0, abs(self.determinant(schedule, coefficients, t)))
            torch.testing.assert_close(found[0], x0, rtol=0, atol=tolerance)
            torch.testing.assert_close(found[1], eps, rtol=0, atol=tolerance)

    def test_the_loss_of_the_best_net_is_its_floor(self, target, coefficients, schedule):
        """For data Normal(0, s^2) the best net's error at each time is known; the loss must
        report just that.

        256 images of 1,024 numbers: their errors over the floor average to 1, to a standard
        error of 0.0028.
        """
        s, B, D = 0.6, 256, 1_024

        def net(x_t, t, cond):  # E[a x_0 + b eps | x_t], linear for Normal data
            alpha, sigma = schedule.at(t, x_t)
            a, b = coefficients(alpha, sigma)
            return (a * alpha * s**2 + b * sigma) / (alpha**2 * s**2 + sigma**2) * x_t

        x0 = s * torch.randn(B, D, dtype=torch.float64)
        losses = Denoiser(net, schedule, target).loss(x0)
        floors = []
        for t in losses["t"].tolist():
            alpha, sigma = schedule.alpha[t].item(), schedule.sigma[t].item()
            a, b = (float(c) for c in coefficients(schedule.alpha[t], schedule.sigma[t]))
            floors.append(exact.loss_floor((a, b), alpha, sigma, s))
        floors = torch.tensor(floors, dtype=torch.float64)
        told = floors > 1e-9  # at alpha = 0 the noise is known and the floor of "eps" is 0
        ratio = losses["per_image"][told] / floors[told]
        assert abs(ratio.mean().item() - 1) < 5 * math.sqrt(2 / (B * D))
        assert (ratio - 1).abs().max() < 6 * math.sqrt(2 / D)
        assert (losses["per_image"][~told] < 1e-12).all()
        torch.testing.assert_close(losses["loss"], losses["per_image"].mean())


class SamplerContract:
    """For a `sampler` (denoise, schedule, x, times, cond=None) -> Iterator[Step] and a
    `schedule` of 1000 times.
    """

    def calls(self, n: int) -> int:
        """Denoiser calls for n steps."""
        return n

    def denoiser(self, schedule, calls: list | None = None, dtype=torch.float64):
        """The mixture's exact denoiser, which notes the time and the condition of each call."""
        denoise = mixture_denoiser(schedule, MEANS.to(dtype), STD, WEIGHTS.to(dtype))

        def noted(x_t, t, cond=None):
            if calls is not None:
                calls.append((t, cond))
            return denoise(x_t, t, cond)

        return noted

    def test_one_step_before_each_move_and_one_at_the_end(self, sampler, schedule):
        denoise, x = self.denoiser(schedule), torch.randn(6, 2, dtype=torch.float64)
        for n in (1, 2, 7, 20):
            times = schedule.times(n)
            steps = list(sampler(denoise, schedule, x, times))
            assert all(isinstance(step, Step) for step in steps)
            assert [step.t for step in steps] == times
            assert torch.equal(steps[0].x_t, x)
            for step in steps[:-1]:
                x0, eps = denoise(step.x_t, step.t)
                assert torch.equal(step.x0, x0)
                assert torch.equal(step.eps, eps)
            assert torch.equal(steps[-1].x0, steps[-1].x_t)
            for step in steps:
                for part in (step.x_t, step.x0, step.eps):
                    assert (part.shape, part.dtype) == (x.shape, x.dtype)
                    assert torch.isfinite(part).all()

    def test_the_last_step_takes_all_noise_away(self, sampler, schedule):
        """From the last time there is one way home, E[x_0 | x_t]; noise added there would
        stay.
        """
        *_, last, done = sampler(
            self.denoiser(schedule),
            schedule,
            torch.randn(6, 2, dtype=torch.float64),
            schedule.times(10),
        )
        torch.testing.assert_close(done.x_t, last.x0, rtol=0, atol=1e-12)

    def test_one_step_lands_on_the_mean_of_the_data(self, sampler, schedule):
        """At alpha = 0 nothing is known of x_0, and one step from there can only give the
        mean.
        """
        x = schedule.sigma[-1] * torch.randn(6, 2, dtype=torch.float64)
        done = final(sampler(self.denoiser(schedule), schedule, x, schedule.times(1)))
        spread = 8 * schedule.alpha[-1].item()  # of E[x_0 | x_T], by what signal is left
        assert (done - WEIGHTS @ MEANS).abs().max() <= spread + 1e-12

    def test_counts_of_calls(self, sampler, schedule):
        for n in (1, 2, 13):
            calls = []
            final(
                sampler(
                    self.denoiser(schedule, calls),
                    schedule,
                    torch.randn(3, 2).double(),
                    schedule.times(n),
                    "cond",
                )
            )
            assert len(calls) == self.calls(n)
            assert all(cond == "cond" for _, cond in calls)
            assert all(type(t) is int and t > 0 for t, _ in calls)
            assert {t for t, _ in calls} == set(schedule.times(n)[:-1])

    def test_arguments_and_old_steps_are_left_alone(self, sampler, schedule):
        x, times = torch.randn(5, 2, dtype=torch.float64), schedule.times(8)
        before, times_before = x.clone(), list(times)
        kept = []
        for step in sampler(self.denoiser(schedule), schedule, x, times):
            kept.append((step, [part.clone() for part in (step.x_t, step.x0, step.eps)]))
        assert torch.equal(x, before)
        assert times == times_before
        for step, copies in kept:
            for part, copy in zip((step.x_t, step.x0, step.eps), copies, strict=True):
                assert torch.equal(part, copy)

    def test_any_decreasing_times(self, sampler, schedule):
        x = torch.randn(4, 2, dtype=torch.float64)
        for times in ([1000, 998, 300, 299, 5, 1, 0], (600, 2, 0), [700, 500, 250]):
            steps = list(sampler(self.denoiser(schedule), schedule, x, times))
            assert [step.t for step in steps] == list(times)
            assert all(torch.isfinite(step.x_t).all() for step in steps)

    def test_a_caller_may_stop(self, sampler, schedule):
        calls = []
        steps = sampler(
            self.denoiser(schedule, calls),
            schedule,
            torch.randn(3, 2).double(),
            schedule.times(10),
        )
        assert calls == []  # nothing is computed before it is asked for
        taken = [step for _, step in zip(range(3), steps, strict=False)]
        assert [step.t for step in taken] == [1000, 900, 800]
        assert len(calls) == self.calls(3)  # none ahead of the third step
        steps.close()
        assert next(steps, None) is None
        assert torch.is_grad_enabled()

    def test_no_gradients_are_kept(self, sampler, schedule):
        net = torch.nn.Linear(2, 2).double()
        for step in sampler(
            Denoiser(lambda x, t, c: net(x), schedule, "v"),
            schedule,
            torch.randn(3, 2).double(),
            schedule.times(4),
        ):
            assert not step.x_t.requires_grad
            assert not step.x0.requires_grad
            assert (
                torch.is_grad_enabled()
            )  # the caller's own work between steps is not touched

    def test_dtype_and_shape_are_the_callers(self, sampler, schedule):
        for dtype in (torch.float32, torch.float64):
            for shape in ((3,), (3, 1, 4, 4)):
                means = torch.zeros(1, *shape[1:])
                denoise = mixture_denoiser(schedule, means, 0.5)
                x = torch.randn(shape, dtype=dtype)
                for step in sampler(denoise, schedule, x, schedule.times(5)):
                    for part in (step.x_t, step.x0, step.eps):
                        assert (part.dtype, part.shape) == (dtype, torch.Size(shape))

    def test_samples_of_the_mixture(self, sampler, schedule):
        """8,000 samples in 200 steps have the mixture's weights, means and spreads.

        Standard errors: a weight up to 0.0056, a mode's mean up to 0.25 / sqrt(1600) = 0.0063,
        its spread up to 1.8 %. Five of them are granted, and for the finite number of steps
        0.005, of the spread 5 %.
        """
        N = 8_000
        x = torch.randn(N, 2, dtype=torch.float64)
        samples = final(sampler(self.denoiser(schedule), schedule, x, schedule.times(200)))
        nearest = torch.cdist(samples, MEANS).argmin(dim=1)
        for k in range(len(MEANS)):
            mine = samples[nearest == k]
            share, n = WEIGHTS[k].item(), len(mine)
            assert abs(n / N - share) < 5 * math.sqrt(share * (1 - share) / N) + 0.005
            assert (mine.mean(dim=0) - MEANS[k]).abs().max() < 5 * STD / math.sqrt(n) + 0.005
            assert (mine.std(dim=0) / STD - 1).abs().max() < 5 / math.sqrt(2 * n) + 0.05


class FlowLayerContract:
    """For a flow's `layer` in float64 and eval mode, the `shape` of an image that it takes, and
    its `cond` [B] or None.
    """

    B = 3

    def images(self, shape) -> torch.Tensor:
        """B small inputs of about the size that data has."""
        x = torch.randn(self.B, *shape, dtype=torch.float64)
        return 0.7 * x

    def test_there_and_back(self, layer, shape, cond):
        x = self.images(shape)
        z, _ = layer(x, cond)
        back, _ = layer.inverse(z, cond)
        assert z.numel() == x.numel()
        torch.testing.assert_close(back, x, rtol=0, atol=1e-9)

    def test_back_and_there(self, layer, shape, cond):
        z, _ = layer(self.images(shape), cond)
        z = 0.7 * torch.randn_like(z)
        x, _ = layer.inverse(z, cond)
        torch.testing.assert_close(layer(x, cond)[0], z, rtol=0, atol=1e-9)

    def test_logdet_is_that_of_autograds_jacobian(self, layer, shape, cond):
        x = self.images(shape)
        _, logdet = layer(x, cond)
        assert logdet.shape == (self.B,)
        for i in range(self.B):
            one = None if cond is None else cond[i : i + 1]
            jacobian = torch.autograd.functional.jacobian(
                lambda flat, one=one: layer(flat.view(1, *shape), one)[0].flatten(),
                x[i].flatten(),
            )
            expected = torch.linalg.slogdet(jacobian)[1]
            torch.testing.assert_close(logdet[i], expected, rtol=0, atol=1e-9)

    def test_the_inverses_logdet_is_minus_forwards(self, layer, shape, cond):
        x = self.images(shape)
        z, logdet = layer(x, cond)
        _, back = layer.inverse(z, cond)
        torch.testing.assert_close(back, -logdet, rtol=0, atol=1e-9)

    def test_images_of_a_batch_dont_see_each_other(self, layer, shape, cond):
        x = self.images(shape)
        z, logdet = layer(x, cond)
        for i in range(self.B):
            one = None if cond is None else cond[i : i + 1]
            alone, its = layer(x[i : i + 1], one)
            torch.testing.assert_close(alone[0], z[i], rtol=0, atol=1e-12)
            torch.testing.assert_close(its[0], logdet[i], rtol=0, atol=1e-12)


class MakerContract:
    """What makes images must keep, to be sampled, measured and shown: a subclass gives
    `maker()`, a Maker of any family, and two conditions that its images can be of.
    """

    n = 7  # no multiple of a round batch: the last one is a part
    two = (0, 1)  # two labels or two texts

    def maker(self) -> Maker:
        """The maker that is held to this contract."""
        raise NotImplementedError

    def test_images_are_images(self):
        maker = self.maker()
        C, H, W = maker.shape
        assert C in (1, 3)
        count = 0
        for images, shown in maker.batches(self.n, 0):
            assert images.shape == (len(images), C, H, W)
            assert (images.dtype, images.device.type) == (torch.float32, "cpu")
            assert torch.isfinite(images).all()
            assert not images.requires_grad
            assert len(shown) == len(images)
            count += len(images)
        assert count == self.n

    def test_a_seed_decides_and_every_seed_counts(self):
        maker, before = self.maker(), torch.get_rng_state()
        first, _ = maker.make(self.n, seed=1)
        assert torch.equal(torch.get_rng_state(), before)  # nothing comes from elsewhere
        torch.manual_seed(99)
        assert torch.equal(maker.make(self.n, seed=1)[0], first)
        other, _ = maker.make(self.n, seed=2)
        assert (other - first).flatten(1).abs().amax(dim=1).min() > 0  # no image is the same

    def test_a_shorter_run_is_the_start_of_a_longer_one(self):
        maker = self.maker()
        whole, shown = maker.make(self.n, seed=1)
        fewer, shown_fewer = maker.make(self.n - 2, seed=1)
        torch.testing.assert_close(fewer, whole[:-2], rtol=0, atol=1e-4)
        assert list(shown_fewer) == list(shown[:-2])

    def test_a_run_goes_on_from_any_image(self):
        maker = self.maker()
        whole, shown = maker.make(self.n, seed=1)
        for start in (1, 3, self.n - 1):
            images, rest = zip(*maker.batches(self.n, 1, None, start), strict=True)
            torch.testing.assert_close(torch.cat(images), whole[start:], rtol=0, atol=1e-4)
            assert [each for part in rest for each in part] == list(shown[start:])

    def test_an_image_is_of_what_was_asked(self):
        maker, (one, two) = self.maker(), self.two
        cond = [one, two, two, one]
        images, shown = maker.make(4, seed=1, cond=cond)
        assert list(shown) == cond
        others, _ = maker.make(4, seed=1, cond=[one, two, two, two])
        # the condition of one image is no other image's business
        torch.testing.assert_close(others[:3], images[:3], rtol=0, atol=1e-4)
        assert (others[3] - images[3]).abs().max() > 1e-3
        with pytest.raises(CourseError):
            maker.make(3, cond=cond)

    def test_what_it_costs_is_plain_data(self):
        maker = self.maker()
        assert json.loads(json.dumps(maker.cost)) == maker.cost
        assert isinstance(maker.cost["calls"], int) and maker.cost["calls"] >= 1
        clash = {"name", "n", "seed", "fd", "fd_floor", "seconds_per_image", "parameters"}
        assert not clash & maker.cost.keys()
        assert all(len(digest) == 64 for digest in maker.weights)

    def test_it_is_measured(self, tmp_path):
        """Whole, and in two pieces: the same figures."""
        maker, kept = self.maker(), tmp_path / "kept"
        whole = measure(maker, self.n, seed=1)
        measure(maker, self.n - 3, seed=1, checkpoint=kept)
        pieces = measure(maker, self.n, seed=1, checkpoint=kept)
        assert whole["fd"] > 0 and math.isfinite(whole["fd"])
        assert pieces["fd"] == pytest.approx(whole["fd"], rel=1e-3)
        assert maker.cost.items() <= whole.items()
        rows = with_row(with_row([], whole), {**whole, "seed": 2})
        assert [row["seed"] for row in with_row(rows, whole)] == [1, 2]

    def test_it_is_shown(self):
        maker = self.maker()
        C, H, W = maker.shape
        images, _ = maker.make(4)
        assert to_uint8(images).shape == ((4, H, W) if C == 1 else (4, C, H, W))
        assert tile(images, columns=2).shape[2:] == (() if C == 1 else (C,))

    def test_absurd_numbers_are_refused(self):
        maker = self.maker()
        for n, seed in ((0, 0), (-1, 0), (10**12, 0), (1, -1), (1, 2**31)):
            with pytest.raises(CourseError):
                maker.make(n, seed)


class StubContract:
    """For an `exercise` of a lesson."""

    def test_the_library_is_right_and_a_stub_waits(self, exercise):
        assert exercise(exercise.solution)
        assert exercise(lambda *given: ...).state == "awaits"
        assert exercise(lambda *given: None).state == "wrong"


class AnswerTables:
    """Gives a test a case for each row of a table of its class: of `slips`, rows (exercise,
    attempt, hint), where it asks for a hint, else of `right`, rows (exercise, attempt). A class
    that gives one `exercise` leaves that out of the rows.
    """

    exercise = None

    def pytest_generate_tests(self, metafunc):
        """A case a row."""
        columns = [c for c in ("exercise", "attempt", "hint") if c in metafunc.fixturenames]
        if "attempt" not in columns:
            return
        rows = self.slips if "hint" in columns else self.right
        if self.exercise is not None:
            rows = [(self.exercise, *(r if isinstance(r, tuple) else (r,))) for r in rows]
        metafunc.parametrize(columns, rows)


class RightContract(AnswerTables):
    """For `right`: what readers write in other words than the library is right."""

    def test_right_in_other_words(self, exercise, attempt):
        verdict = exercise(attempt)
        assert verdict, verdict.text


class SlipsContract(AnswerTables):
    """For `slips`: each gets the hint that is its own."""

    def test_a_slip_is_caught_with_its_own_hint(self, exercise, attempt, hint):
        verdict = exercise(attempt)
        assert verdict.state == "wrong" and hint in verdict.text, verdict.text


class AnswersContract(RightContract, SlipsContract):
    """Both tables of a lesson."""
