"""From noise to image: pure functions over any denoiser.

Each sampler is a generator. It yields a Step before every move, so that a caller may draw it,
record it or stop, and a last Step, at time 0 as a rule, whose x_t is the finished image.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.diffusion.denoiser import Denoise
from course_lib.diffusion.schedule import Schedule
from course_lib.draws import Draws, Noise
from course_lib.errors import CourseError

# A step that is so much longer than the one before doesn't go on along the line through its
# two looks: over a step that moved (next to) nothing they differ by rounding alone.
STEEPEST = 1e4


@dataclass(frozen=True)
class Step:
    """What a sampler sees at one time. The last is where it ends, which it does not look at:
    there x0 is x_t, and eps is that of the look before.
    """

    t: int  # the first of the times, T as a rule; at the end the last, 0 as a rule
    x_t: Tensor  # [B, ...], the noisy image; at t = 0 the finished one
    x0: Tensor  # [B, ...], the image that the denoiser sees in x_t
    eps: Tensor  # [B, ...], the noise that it sees there


def final(steps: Iterable[Step]) -> Tensor:
    """Run a sampler to its end and return the finished images [B, ...]."""
    step = None
    for step in steps:  # noqa: B007  only the last one counts
        pass
    if step is None:
        raise CourseError(
            "No steps are left to run: a sampler gives its steps only once, so call it again."
        )
    return step.x_t


def strides(
    schedule: Schedule, times: Sequence[int], *, falling: bool = False
) -> Iterator[tuple[int, int]]:
    """The steps (from, to) along `times`; CourseError where there is none to make.

    Times fall from noise to image, and rise where a picture is walked back into its noise;
    falling: refuse that.
    """
    if isinstance(times, int):
        raise CourseError(f"A sampler takes the times themselves: schedule.times({times}).")
    times = times.tolist() if isinstance(times, Tensor) else times
    times = [int(schedule.checked(t)) for t in times]
    pairs = list(zip(times[:-1], times[1:], strict=True))
    if not pairs or any(t == s for t, s in pairs):
        raise CourseError(
            f"A sampler goes through two or more different times, not {times}: try "
            "schedule.times(20)."
        )
    if falling and any(t < s for t, s in pairs):
        raise CourseError(
            f"This sampler goes from noise to image, so times fall; these rise: {times}."
        )
    return iter(pairs)


def in_float32(sampler: Callable[..., Iterator[Step]]) -> Callable[..., Iterator[Step]]:
    """Let a sampler compute in float32, or better where x is, whatever the images' dtype.

    The denoiser and the caller see the images' own. In bfloat16 a short step would be less
    than the last digit of x, and be lost.
    """

    @functools.wraps(sampler)
    def run(denoise: Denoise, schedule: Schedule, x: Tensor, times, cond=None, **options):
        wide = torch.promote_types(x.dtype, torch.float32)
        schedule.at(0, x)  # refuses whole numbers: cast back to them, an image is all zeros
        if wide == x.dtype:
            yield from sampler(denoise, schedule, x, times, cond, **options)
            return

        def look(x_t: Tensor, t: int, cond) -> tuple[Tensor, Tensor]:
            x0, eps = (answer.to(wide) for answer in denoise(x_t.to(x.dtype), t, cond))
            alpha, sigma = schedule.at(t, x_t)
            # the least change by which the rounded answers make up the unrounded x_t again
            rest = (x_t - alpha * x0 - sigma * eps) / (alpha**2 + sigma**2)
            return x0 + alpha * rest, eps + sigma * rest

        for step in sampler(look, schedule, x.to(wide), times, cond, **options):
            yield Step(step.t, *(part.to(x.dtype) for part in (step.x_t, step.x0, step.eps)))

    return run


def posterior(schedule: Schedule, t: int, s: int) -> tuple[float, float, float, float]:
    """q(x_s | x_t, x_0) for s < t (Ho et al. 2020, eq. 6 and 7), as Normal(c_t x_t + c_0 x_0,
    small).

    Returns c_t, c_0, `small` and `large`: `small` is their beta-tilde, `large` their beta,
    both for any stride.
    """
    alpha_t, sigma_t = schedule.alpha[t].item(), schedule.sigma[t].item()
    alpha_s, sigma_s = schedule.alpha[s].item(), schedule.sigma[s].item()
    if sigma_t == 0:  # no noise yet at t: x_0 is in x_t, and x_s with it
        return alpha_s / alpha_t, 0.0, 0.0, 0.0
    # what the step from s to t keeps of the signal: sqrt(1 - beta); all, where none is left
    ratio = alpha_t / alpha_s if alpha_s > 0 else 1.0
    large = max(sigma_t**2 - (ratio * sigma_s) ** 2, 0.0)  # the noise that it adds: beta
    small = large * sigma_s**2 / sigma_t**2
    return ratio * sigma_s**2 / sigma_t**2, alpha_s * large / sigma_t**2, small, large


@in_float32
@torch.no_grad()
def sample_ddpm(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    cond=None,
    *,
    variance: str = "small",
    draws: Noise | None = None,
) -> Iterator[Step]:
    """DDPM's Algorithm 2 (Ho et al. 2020), on any decreasing `times`: x [B, ...] is noise at
    times[0].

    variance "small" is exact for data at one point, "large" for Normal data of variance 1
    (their section 3.2) where alpha^2 + sigma^2 = 1. draws: where fresh noise comes from, by
    default PyTorch's global generator.
    """
    if variance not in ("small", "large"):
        raise CourseError(
            f"variance is 'small' (beta-tilde) or 'large' (beta), not {variance!r}."
        )
    draws = draws or Draws()
    for t, s in strides(schedule, times, falling=True):
        x0, eps = denoise(x, t, cond)
        yield Step(t, x, x0, eps)
        c_t, c_0, small, large = posterior(schedule, t, s)
        x = c_t * x + c_0 * x0
        if s > 0:  # no noise on the last step: nothing is left to take it away again
            x = x + (small if variance == "small" else large) ** 0.5 * draws.normal(x)
    yield Step(s, x, x, eps)


@in_float32
@torch.no_grad()
def sample_ddim(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    cond=None,
    *,
    eta: float = 0.0,
    draws: Noise | None = None,
) -> Iterator[Step]:
    """DDIM (Song et al. 2021, eq. 12): eta 0 adds no noise, eta 1 is DDPM with the small
    variance. Rising times walk an image into its noise, where no fresh noise belongs: eta 0.
    """
    if not 0 <= eta <= 1:  # beyond it more may be added than there is
        raise CourseError(f"eta is the share of DDPM's fresh noise, 0 to 1, not {eta}.")
    draws = draws or Draws()
    for t, s in strides(schedule, times, falling=eta > 0):
        x0, eps = denoise(x, t, cond)
        yield Step(t, x, x0, eps)
        alpha, sigma = schedule.at(s, x)
        # std of the noise added anew
        fresh = eta * posterior(schedule, t, s)[2] ** 0.5 if eta else 0.0
        x = alpha * x0 + (sigma**2 - fresh**2).clamp(min=0).sqrt() * eps
        if fresh > 0:
            x = x + fresh * draws.normal(x)
    yield Step(s, x, x, eps)


@in_float32
@torch.no_grad()
def sample_heun(
    denoise: Denoise, schedule: Schedule, x: Tensor, times: Sequence[int], cond=None
) -> Iterator[Step]:
    """Heun's method (Karras et al. 2022, Algorithm 1): a DDIM step, a second look from there,
    the mean of both.

    In our letters the step is x += d(alpha) x0 + d(sigma) eps, which has no division and so
    suits every schedule. Two calls a step, one where it ends without noise: 2 n - 1 for n
    steps down to time 0.
    """
    for t, s in strides(schedule, times):
        x0, eps = denoise(x, t, cond)
        yield Step(t, x, x0, eps)
        alpha, sigma = schedule.at(s, x)
        x_next = alpha * x0 + sigma * eps
        if schedule.sigma[s] > 0:
            x0_next, eps_next = denoise(x_next, s, cond)
            alpha_t, sigma_t = schedule.at(t, x)
            x_next = (
                x
                + (alpha - alpha_t) * (x0 + x0_next) / 2
                + (sigma - sigma_t) * (eps + eps_next) / 2
            )
        x = x_next
    yield Step(s, x, x, eps)


def _log_step(
    schedule: Schedule, t: int, s: int, x: Tensor
) -> tuple[float | Tensor, Tensor, float]:
    """The step of first order from t to s in log(alpha / sigma), x_s = keep * x_t + gain * x0,
    and its length there: (keep, gain, h).

    h is infinite where the step leaves an alpha of 0 or ends at a sigma of 0, and 0 where it
    stays on one noise level.
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.at(t, x), schedule.at(s, x)
    start, end = (schedule.log_snr[[t, s]] / 2).tolist()
    h = 0.0 if start == end else end - start
    if schedule.sigma[t] == 0:  # no noise yet at t
        return 0.0, alpha_s, h
    # alpha_s (1 - exp(-h)) without logarithms, so that alpha_t = 0 is no special case
    return sigma_s / sigma_t, alpha_s - sigma_s * alpha_t / sigma_t, h


@in_float32
@torch.no_grad()
def sample_dpmpp_2m(
    denoise: Denoise, schedule: Schedule, x: Tensor, times: Sequence[int], cond=None
) -> Iterator[Step]:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2): second order from one call a step, by
    remembering the last x0.

    The first step and one to time 0 are of first order: the one has no past, the other ends
    where log(alpha / sigma) is infinite. So is the second where the first began there, at an
    alpha of 0. A step on one noise level moves nothing, and nothing is learnt from it.
    """
    x0_before, h_before = None, 0.0
    for t, s in strides(schedule, times, falling=True):
        x0, eps = denoise(x, t, cond)
        yield Step(t, x, x0, eps)
        keep, gain, h = _log_step(schedule, t, s, x)
        ahead = x0  # the image half a step ahead: a line through the last two predictions
        if 0 < h < STEEPEST * h_before:
            ahead = x0 + (h / (2 * h_before)) * (x0 - x0_before)
        x = keep * x + gain * ahead
        if h > 0:
            x0_before, h_before = x0, h
    yield Step(s, x, x, eps)


def _correction(h: float, past: float | None) -> tuple[float, float]:
    """UniC's weights of the drift and of the new look (Zhao et al. 2023, eq. 8 and 9, with
    B(h) = e^h - 1).

    They make the step exact where x0 is a parabola of log(alpha / sigma), through the look
    before, the step's own, and the one from its end. past is the length of the step before in
    steps of h; None where there was none.
    """
    if past is None:
        return 0.0, 0.5  # order 1, by their convention
    shrink = math.expm1(-h)
    line = shrink / -h - 1
    parabola = line / -h - 1 / 2
    drift = (line / shrink - 2 * parabola / shrink) / (1 + past)
    return drift, line / shrink - drift


@in_float32
@torch.no_grad()
def sample_unipc(
    denoise: Denoise, schedule: Schedule, x: Tensor, times: Sequence[int], cond=None
) -> Iterator[Step]:
    """UniPC (Zhao et al. 2023, Algorithms 1 and 2, of order 2): DPM-Solver++(2M), with every
    step but the last redone.

    A step's end is looked at anyway, for the next step. So before that is made, this one is
    corrected by what was seen: one call a step, as before. A Step shows x_t as it was looked
    at, not yet corrected.
    """
    x0_before, h_before, made = None, 0.0, None
    for t, s in strides(schedule, times, falling=True):
        x0, eps = denoise(x, t, cond)
        yield Step(t, x, x0, eps)
        if made is not None:
            line, gain, drift, weights = made
            x = line + gain * (weights[0] * drift + weights[1] * (x0 - x0_before))
        keep, gain, h = _log_step(schedule, t, s, x)
        line = keep * x + gain * x0  # the step of first order
        # how far the image moves in this step, if it goes on as in the step before
        past, drift = None, torch.zeros_like(x0)
        if 0 < h < STEEPEST * h_before:
            past = h_before / h
            drift = (x0 - x0_before) / past
        x = line + gain * drift / 2
        made = (
            None  # a step on one noise level is exact, and so is one that ends without noise
        )
        if h > 0 and schedule.sigma[s] > 0:
            made = line, gain, drift, _correction(h, past)
        if h > 0:
            x0_before, h_before = x0, h
    yield Step(s, x, x, eps)


FRESH = ("ddpm", "ddim")  # those that take `draws`
SAMPLERS = {
    "ddpm": sample_ddpm,
    "ddim": sample_ddim,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
    "unipc": sample_unipc,
}
