"""From noise to image: pure functions over any denoiser.

Each sampler is a generator. It yields a Step before every move, so that a caller may draw it,
record it or stop, and a last Step at time 0 whose x_t is the finished image.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.diffusion.denoiser import Denoise
from course_lib.diffusion.schedule import Schedule


@dataclass(frozen=True)
class Step:
    """What a sampler sees at one time."""

    t: int  # T at the start, 0 at the end
    x_t: Tensor  # [B, ...], the noisy image; at t = 0 the finished one
    x0: Tensor  # [B, ...], the image that the denoiser sees in x_t
    eps: Tensor  # [B, ...], the noise that it sees there


def final(steps: Iterable[Step]) -> Tensor:
    """Run a sampler to its end and return the finished images [B, ...]."""
    for step in steps:  # noqa: B007  only the last one counts
        pass
    return step.x_t


def strides(times: Sequence[int], *, falling: bool = False) -> Iterator[tuple[int, int]]:
    """The steps (from, to) along `times`; ValueError where there is none to make.

    Times fall from noise to image, and rise where a picture is walked back into its noise;
    falling: refuse that.
    """
    if len(times) < 2 or any(t == s for t, s in zip(times[:-1], times[1:], strict=True)):
        raise ValueError(
            f"A sampler goes through two or more different times, not {list(times)}: try "
            "schedule.times(20)."
        )
    if falling and any(t < s for t, s in zip(times[:-1], times[1:], strict=True)):
        raise ValueError(
            f"This sampler goes from noise to image, so times fall; these rise: {list(times)}."
        )
    return zip(times[:-1], times[1:], strict=True)


def _noise(x: Tensor, generator: torch.Generator | None) -> Tensor:
    device = generator.device if generator is not None else x.device
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device).to(x.device)


def _posterior(schedule: Schedule, t: int, s: int) -> tuple[float, float, float, float]:
    """q(x_s | x_t, x_0) for s < t (Ho et al. 2020, eq. 6 and 7), as Normal(c_t x_t + c_0 x_0,
    small).

    Returns c_t, c_0, `small` and `large`: `small` is their beta-tilde, `large` their beta,
    both for any stride.
    """
    alpha_t, sigma_t = schedule.alpha[t].item(), schedule.sigma[t].item()
    alpha_s, sigma_s = schedule.alpha[s].item(), schedule.sigma[s].item()
    ratio = alpha_t / alpha_s  # what the step from s to t keeps of the signal: sqrt(1 - beta)
    large = max(
        sigma_t**2 - (ratio * sigma_s) ** 2, 0.0
    )  # the noise that this step added: beta
    small = large * sigma_s**2 / sigma_t**2
    return ratio * sigma_s**2 / sigma_t**2, alpha_s * large / sigma_t**2, small, large


@torch.no_grad()
def sample_ddpm(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    cond=None,
    *,
    variance: str = "small",
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """DDPM's Algorithm 2 (Ho et al. 2020), on any decreasing `times`: x [B, ...] is noise at
    times[0].

    variance "small" is exact for data at one point, "large" for Normal data of variance 1
    (their section 3.2) where alpha^2 + sigma^2 = 1.
    """
    if variance not in ("small", "large"):
        raise ValueError(
            f"variance is 'small' (beta-tilde) or 'large' (beta), not {variance!r}."
        )
    for t, s in strides(times, falling=True):
        x0, eps = denoise(x, t, cond)
        yield Step(t, x, x0, eps)
        c_t, c_0, small, large = _posterior(schedule, t, s)
        x = c_t * x + c_0 * x0
        if s > 0:  # no noise on the last step: nothing is left to take it away again
            x = x + (small if variance == "small" else large) ** 0.5 * _noise(x, generator)
    yield Step(times[-1], x, x, eps)


@torch.no_grad()
def sample_ddim(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    cond=None,
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """DDIM (Song et al. 2021, eq. 12): eta 0 adds no noise, eta 1 is DDPM with the small
    variance.
    """
    for t, s in strides(times):
        x0, eps = denoise(x, t, cond)
        yield Step(t, x, x0, eps)
        alpha, sigma = schedule.at(s, x)
        fresh = (
            eta * _posterior(schedule, t, s)[2] ** 0.5 if eta else 0.0
        )  # std of the noise added anew
        x = alpha * x0 + (sigma**2 - fresh**2).clamp(min=0).sqrt() * eps
        if fresh > 0:
            x = x + fresh * _noise(x, generator)
    yield Step(times[-1], x, x, eps)


@torch.no_grad()
def sample_heun(
    denoise: Denoise, schedule: Schedule, x: Tensor, times: Sequence[int], cond=None
) -> Iterator[Step]:
    """Heun's method (Karras et al. 2022, Algorithm 1): a DDIM step, a second look from there,
    the mean of both.

    In our letters the step is x += d(alpha) x0 + d(sigma) eps, which has no division and so
    suits every schedule. Two calls a step, one on the last: 2 n - 1 for n steps.
    """
    for t, s in strides(times):
        x0, eps = denoise(x, t, cond)
        yield Step(t, x, x0, eps)
        alpha, sigma = schedule.at(s, x)
        x_next = alpha * x0 + sigma * eps
        if s > 0:
            x0_next, eps_next = denoise(x_next, s, cond)
            alpha_t, sigma_t = schedule.at(t, x)
            x_next = (
                x
                + (alpha - alpha_t) * (x0 + x0_next) / 2
                + (sigma - sigma_t) * (eps + eps_next) / 2
            )
        x = x_next
    yield Step(times[-1], x, x, eps)


@torch.no_grad()
def sample_dpmpp_2m(
    denoise: Denoise, schedule: Schedule, x: Tensor, times: Sequence[int], cond=None
) -> Iterator[Step]:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2): second order from one call a step, by
    remembering the last x0.

    The first step and the last are of first order: the one has no past, the other ends where
    log(alpha / sigma) is infinite. So is the second where the first began there, at an alpha
    of 0.
    """
    log_snr = schedule.log_snr / 2  # their lambda = log(alpha / sigma)
    x0_before, h_before = None, None
    for t, s in strides(times, falling=True):
        x0, eps = denoise(x, t, cond)
        yield Step(t, x, x0, eps)
        alpha_t, sigma_t = schedule.at(t, x)
        alpha_s, sigma_s = schedule.at(s, x)
        h = (log_snr[s] - log_snr[t]).item()
        ahead = x0  # the image half a step ahead: a line through the last two predictions
        if x0_before is not None and s > 0:
            ahead = x0 + (h / (2 * h_before)) * (x0 - x0_before)
        # alpha_s (1 - exp(-h)) without logarithms, so that alpha_t = 0 is no special case
        x = (sigma_s / sigma_t) * x + (alpha_s - sigma_s * alpha_t / sigma_t) * ahead
        x0_before, h_before = x0, h
    yield Step(times[-1], x, x, eps)


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
    log_snr = schedule.log_snr / 2
    x0_before, h_before, made = None, None, None
    for t, s in strides(times, falling=True):
        x0, eps = denoise(x, t, cond)
        yield Step(t, x, x0, eps)
        if made is not None:
            line, gain, drift, weights = made
            x = line + gain * (weights[0] * drift + weights[1] * (x0 - x0_before))
        alpha_t, sigma_t = schedule.at(t, x)
        alpha_s, sigma_s = schedule.at(s, x)
        h = (log_snr[s] - log_snr[t]).item()
        past = h_before / h if h_before is not None else None
        # how far the image moves in this step, if it goes on as in the step before
        drift = (x0 - x0_before) / past if past and s > 0 else torch.zeros_like(x0)
        gain = alpha_s - sigma_s * alpha_t / sigma_t
        line = (sigma_s / sigma_t) * x + gain * x0  # the step of first order
        x = line + gain * drift / 2
        made = line, gain, drift, _correction(h, past)
        x0_before, h_before = x0, h
    yield Step(times[-1], x, x, eps)


SAMPLERS = {
    "ddpm": sample_ddpm,
    "ddim": sample_ddim,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
    "unipc": sample_unipc,
}
