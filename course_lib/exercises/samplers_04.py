"""The samplers that a reader of lesson 04 writes, as paths: DDIM, and Heun's second look."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.diffusion.exact import gaussian_denoiser, mixture_denoiser
from course_lib.diffusion.samplers import sample_heun
from course_lib.diffusion.schedule import Schedule
from course_lib.exercises.grader import Exercise

# ---- 3: carve


def carve(denoise: Callable, schedule: Schedule, x: Tensor, times: list[int]) -> Tensor:
    """DDIM as a path: x [B, ...] to all states, stacked [len(times), B, ...]. Increasing times
    walk it backwards.
    """
    return _path(
        lambda x0, eps, alpha_t, sigma_t, alpha_s, sigma_s, x: alpha_s * x0 + sigma_s * eps
    )(denoise, schedule, x, times)


def _path(move: Callable) -> Callable:
    """A sampler that moves by move(x0, eps, alpha_t, sigma_t, alpha_s, sigma_s, x)."""

    def run(denoise, schedule, x, times):
        states = [x]
        for t, s in zip(times[:-1], times[1:], strict=True):
            x0, eps = denoise(x, t)
            x = move(x0, eps, *schedule.at(t, x), *schedule.at(s, x), x)
            states.append(x)
        return torch.stack(states)

    return run


def _sampler_cases() -> list[tuple]:
    generator = torch.Generator().manual_seed(5)
    straight, curved = Schedule.flow(), Schedule.linear()
    x = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    ring = mixture_denoiser(curved, torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.3, -1.2]]), 0.3)
    return [
        (gaussian_denoiser(straight, 0.5, 0.4), straight, x, straight.times(4)),
        (ring, curved, x, curved.times(7)),
    ]


CARVE = Exercise(
    "carve",
    carve,
    _sampler_cases(),
    [
        (
            lambda *case: carve(*case)[-1],
            "The end is right, but the path is asked for: collect x before the first stroke "
            "and after each, and "
            "torch.stack them.",
        ),
        (
            lambda *case: carve(*case)[1:],
            "The states after each stroke are right; the block itself, x at times[0], is "
            "missing at the front.",
        ),
        (
            _path(lambda x0, eps, a_t, s_t, a_s, s_s, x: a_t * x0 + s_t * eps),
            "x doesn't move: alpha and sigma of the old time t put back what was taken away. "
            "The stroke ends at s.",
        ),
        (
            _path(lambda x0, eps, a_t, s_t, a_s, s_s, x: a_s * x0 + s_s**2 * eps),
            "sigma^2 for sigma: the noise put back has standard deviation sigma[s].",
        ),
        (
            _path(lambda x0, eps, a_t, s_t, a_s, s_s, x: a_s * x0 + s_t * eps),
            "The image is set at s, the noise still at t: both belong to the new time s.",
        ),
        (
            _path(lambda x0, eps, a_t, s_t, a_s, s_s, x: x0),
            "One look and straight to the guess: x is now the mean of all that is possible. "
            "Put the noise back at the "
            "lower level s, alpha[s] * x0 + sigma[s] * eps, and look again.",
        ),
        (
            _path(lambda x0, eps, a_t, s_t, a_s, s_s, x: a_s * x0),
            "The remaining noise is missing: at time s, x is alpha[s] * x0 + sigma[s] * eps.",
        ),
        (
            _path(lambda x0, eps, a_t, s_t, a_s, s_s, x: x - (s_t - s_s) * eps),
            "The noise is taken down to sigma[s], but the image isn't brought up to "
            "alpha[s]: this holds only for "
            "schedules that keep alpha at 1.",
        ),
    ],
    "Right: this is DDIM. It carves the next cell's points, and a network's pictures at the "
    "end of the lesson.",
)


# ---- 5: a second look


def carve_heun(denoise: Callable, schedule: Schedule, x: Tensor, times: list[int]) -> Tensor:
    """The library's Heun as a path: x [B, ...] to all its states, stacked [len(times), B,
    ...].
    """
    steps = sample_heun(lambda x_t, t, cond: denoise(x_t, t), schedule, x, times)
    return torch.stack([step.x_t for step in steps])


def _second_look(
    move: Callable, look_at: Callable = lambda t, s: s, always: bool = False
) -> Callable:
    """Heun with another last line, move(x, ahead, first, second, d_alpha, d_sigma), or a look
    at another time.
    """

    def run(denoise, schedule, x, times):
        states = [x]
        for t, s in zip(times[:-1], times[1:], strict=True):
            (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.at(t, x), schedule.at(s, x)
            first = denoise(x, t)
            ahead = alpha_s * first[0] + sigma_s * first[1]
            if s > 0 or always:
                second = denoise(ahead, look_at(t, s))
                ahead = move(x, ahead, first, second, alpha_s - alpha_t, sigma_s - sigma_t)
            x = ahead
            states.append(x)
        return torch.stack(states)

    return run


def _heun(x, ahead, first, second, d_alpha, d_sigma):
    return x + d_alpha * (first[0] + second[0]) / 2 + d_sigma * (first[1] + second[1]) / 2


HEUN = Exercise(
    "carve_heun",
    carve_heun,
    _sampler_cases(),
    [
        (
            carve,
            "That is DDIM: the second look doesn't change the stroke yet. x_s = alpha_s x0' "
            "+ sigma_s eps' holds for "
            "the second look as well, so putting the mean of the two looks together gives "
            "the same x_s again. The mean "
            "must go into the *movement* from x_t, with the factors alpha_s - alpha_t and "
            "sigma_s - sigma_t.",
        ),
        (
            _second_look(_heun, look_at=lambda t, s: t),
            "The second look is at the place where the stroke ends, so its time is s, not t.",
        ),
        (
            _second_look(lambda x, ahead, one, two, da, ds: x + da * two[0] + ds * two[1]),
            "Only the second look is used: that is of first order again. Take the mean of "
            "the two.",
        ),
        (
            _second_look(
                lambda x, ahead, one, two, da, ds: (
                    x + da * (one[0] + two[0]) + ds * (one[1] + two[1])
                )
            ),
            "The sum of the two looks moves twice as far: divide by 2.",
        ),
        (
            _second_look(
                lambda x, ahead, one, two, da, ds: _heun(ahead, None, one, two, da, ds)
            ),
            "The corrected stroke starts where the first one started, at x, not where it "
            "ended.",
        ),
        (
            _second_look(_heun, always=True),
            "All strokes are right but the last: at s = 0 nothing is left to look at, and a "
            "network was never asked "
            "there, so the last stroke is DDIM's.",
        ),
        (
            lambda *case: carve_heun(*case)[-1],
            "The end is right; collect the path, as in `carve`.",
        ),
    ],
    "Right: two looks a stroke. The next cell measures what the second one buys.",
)
