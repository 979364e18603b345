"""The samplers that a reader of lesson 04 writes, as paths: DDIM, and Heun's method."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.diffusion.exact import gaussian_denoiser, mixture_denoiser
from course_lib.diffusion.samplers import sample_heun
from course_lib.diffusion.schedule import Schedule
from course_lib.exercises.grader import Exercise, other_end
from course_lib.exercises.steps import MOVES

# ---- 3: carve


def carve(denoise: Callable, schedule: Schedule, x: Tensor, times: list[int]) -> Tensor:
    """DDIM as a path: x [B, ...] to all states, stacked [len(times), B, ...]. Increasing times
    walk it backwards.
    """
    return _path(MOVES["right"])(denoise, schedule, x, times)


def _path(move: Callable) -> Callable:
    """A sampler that moves by move(x0, eps, alpha_t, sigma_t, alpha_s, sigma_s, x): one of
    MOVES, or another.
    """

    def run(denoise, schedule, x, times):
        states = [x]
        for t, s in zip(times[:-1], times[1:], strict=True):
            x0, eps = denoise(x, t)
            x = move(x0, eps, *schedule.at(t, x), *schedule.at(s, x), x)
            states.append(x)
        return torch.stack(states)

    return run


def _asked(ask: Callable) -> Callable:
    """DDIM whose call at each pair of times is ask(denoise, x, start, t, s, first)."""

    def run(denoise, schedule, x, times):
        states, start, first = [x], x, denoise(x, times[0])
        for t, s in zip(times[:-1], times[1:], strict=True):
            x0, eps = ask(denoise, x, start, t, s, first)
            alpha, sigma = schedule.at(s, x)
            x = alpha * x0 + sigma * eps
            states.append(x)
        return torch.stack(states)

    return run


def _times_told(attempt: Callable) -> list[int]:
    """The times that an attempt's calls are told, from 8 down to 0 in four steps."""
    schedule, told = Schedule.flow(8), []
    exact = gaussian_denoiser(schedule, 0.5, 0.4)

    def denoise(x, t, *cond):
        told.append(int(torch.as_tensor(t).flatten()[0]))
        return exact(x, t)

    attempt(denoise, schedule, torch.tensor([[0.3, -1.0]], dtype=torch.float64), _DOWN)
    return told


_DOWN = [8, 6, 4, 2, 0]


def _other_noise(attempt: Callable) -> bool:
    """Whether the same x is led to another end: no generator was given."""
    one, two = (attempt(*_sampler_cases()[0]) for _ in range(2))
    return other_end(one, two)


def _seeded_noise(attempt: Callable) -> bool:
    """Whether a path leaves 0 where x, x0 and eps are all 0: noise of a generator's own."""
    zeros, schedule = torch.zeros(3, 2, dtype=torch.float64), Schedule.flow(8)
    states = attempt(lambda x, t, *cond: (0 * x, 0 * x), schedule, zeros, _DOWN)
    return bool((states.abs() > 0).any())


def _stays(attempt: Callable) -> bool:
    case = _sampler_cases()[0]
    states = attempt(*case)
    return states.shape[1:] == case[2].shape and torch.allclose(
        states, states[:1].expand_as(states)
    )


def _sampler_cases() -> list[tuple]:
    generator = torch.Generator().manual_seed(5)
    straight, curved = Schedule.flow(), Schedule.linear()
    x = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    ring = mixture_denoiser(curved, torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.3, -1.2]]), 0.3)
    return [
        (gaussian_denoiser(straight, 0.5, 0.4), straight, x, straight.times(4)),
        (ring, curved, x, curved.times(7)),
    ]


def _rising() -> tuple:
    """States of an image's shape and times that rise, as where the lesson walks to the noise:
    a slip in the last state counts here, for it is no picture without noise.
    """
    x = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(6)).double()
    return gaussian_denoiser(Schedule.flow(), 0.5, 0.4), Schedule.flow(), x, [100, 400, 900]


CARVE = Exercise(
    "carve",
    carve,
    [*_sampler_cases(), _rising()],
    [
        (
            lambda *case: carve(*case)[-1],
            "The end is right, but the path is asked for: collect x before the first step "
            "and after each, and "
            "torch.stack them.",
        ),
        (
            lambda *case: carve(*case)[1:],
            "The states after each step are right; the first of all, x at times[0], is "
            "missing at the front.",
        ),
        (
            _path(lambda x0, eps, a_t, s_t, a_s, s_s, x: a_s * x0 + s_s**2 * eps),
            "sigma^2 for sigma: the noise put back has standard deviation sigma[s].",
        ),
        (
            _path(MOVES["late noise"]),
            "The image is set at s, the noise still at t: both belong to the new time s.",
        ),
        (
            _path(MOVES["guess"]),
            "One call and straight to the guess: x is now the mean of all that is possible. "
            "Put the noise back at the "
            "lower level s, alpha[s] * x0 + sigma[s] * eps, and call denoise again.",
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
        (
            _path(MOVES["swapped"]),
            "alpha multiplies the image and sigma the noise; here it is the other way round. "
            "schedule.at gives alpha first, and denoise gives x0 first.",
        ),
        (
            _path(lambda x0, eps, a_t, s_t, a_s, s_s, x: a_s * x0 + s_s * x),
            "x is put back, where its noise belongs: alpha[s] * x0 + sigma[s] * eps.",
        ),
        (
            _asked(lambda denoise, x, start, t, s, first: denoise(x, max(s, 1))),
            "The denoiser is told the time of the next step, max(s, 1). x still has the "
            "noise of t: denoise(x, t).",
        ),
        (
            _asked(lambda denoise, x, start, t, s, first: denoise(start, t)),
            "x is never updated: each call is at the x that came in. After a step x is "
            "the new state, and the next call is at that.",
        ),
        (
            _asked(lambda denoise, x, start, t, s, first: first),
            "The denoiser is asked once, before the loop. Each step asks anew: "
            "denoise(x, t) belongs inside the loop.",
        ),
        (
            lambda *case: carve(*case)[:-1],
            "The last state is missing: append x after each step, the last one too.",
        ),
    ],
    "Right: this is DDIM. It carves the next cell's points, and a network's pictures at the "
    "end of the lesson.",
    habits=[
        (
            lambda attempt: _times_told(attempt) == _DOWN[1:],
            "x doesn't move: denoise(x, s) is told that x has the noise of s already, so "
            "there is nothing to take away. x still has that of t: denoise(x, t).",
        ),
        (
            _stays,
            "x doesn't move: alpha and sigma of the old time t put back what was taken away. "
            "The step ends at s.",
        ),
        (
            _other_noise,
            "Two calls give two paths: fresh noise is drawn. DDIM puts back the very noise "
            "that was seen, eps.",
        ),
        (
            _seeded_noise,
            "Fresh noise is drawn, the same in each call: the path leaves 0 where x, x0 and "
            "eps are 0. DDIM puts back the very noise that was seen, eps.",
        ),
    ],
    advice="in each step x0, eps = denoise(x, t), then x = alpha[s] * x0 + sigma[s] * eps",
)


# ---- 5: a second call


def carve_heun(denoise: Callable, schedule: Schedule, x: Tensor, times: list[int]) -> Tensor:
    """The library's Heun as a path: x [B, ...] to all its states, stacked [len(times), B,
    ...].
    """
    steps = sample_heun(lambda x_t, t, cond: denoise(x_t, t), schedule, x, times)
    return torch.stack([step.x_t for step in steps])


def _second_call(
    move: Callable, told_time: Callable = lambda t, s: s, always: bool = False
) -> Callable:
    """Heun with another last line, move(x, ahead, first, second, d_alpha, d_sigma), or a call
    at another time.
    """

    def run(denoise, schedule, x, times):
        states = [x]
        for t, s in zip(times[:-1], times[1:], strict=True):
            (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.at(t, x), schedule.at(s, x)
            first = denoise(x, t)
            ahead = alpha_s * first[0] + sigma_s * first[1]
            if s > 0 or always:
                second = denoise(ahead, told_time(t, s))
                ahead = move(x, ahead, first, second, alpha_s - alpha_t, sigma_s - sigma_t)
            x = ahead
            states.append(x)
        return torch.stack(states)

    return run


def _call_from_start(denoise, schedule, x, times):
    """Heun whose second call is at the place where the first one was."""
    states = [x]
    for t, s in zip(times[:-1], times[1:], strict=True):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.at(t, x), schedule.at(s, x)
        first = denoise(x, t)
        if s > 0:
            d_alpha, d_sigma = alpha_s - alpha_t, sigma_s - sigma_t
            x = _heun(x, None, first, denoise(x, s), d_alpha, d_sigma)
        else:
            x = alpha_s * first[0] + sigma_s * first[1]
        states.append(x)
    return torch.stack(states)


def _swapped_heun(also_move: bool) -> Callable:
    """Heun with alpha and sigma exchanged where the first step ends, or in all of it."""

    def run(denoise, schedule, x, times):
        states = [x]
        for t, s in zip(times[:-1], times[1:], strict=True):
            (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.at(t, x), schedule.at(s, x)
            moves = alpha_s - alpha_t, sigma_s - sigma_t
            first = denoise(x, t)
            ahead = sigma_s * first[0] + alpha_s * first[1]
            if s > 0:
                moves = moves[::-1] if also_move else moves
                ahead = _heun(x, ahead, first, denoise(ahead, s), *moves)
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
            "That is DDIM: the second call doesn't change the step yet. x_s = alpha_s x0' "
            "+ sigma_s eps' holds for "
            "the second call as well, so putting the mean of the two calls together gives "
            "the same x_s again. The mean "
            "must go into the *movement* from x_t, with the factors alpha_s - alpha_t and "
            "sigma_s - sigma_t.",
        ),
        (
            _second_call(_heun, told_time=lambda t, s: t),
            "The second call is at the place where the step ends, so its time is s, not t.",
        ),
        (
            _second_call(lambda x, ahead, one, two, da, ds: x + da * two[0] + ds * two[1]),
            "Only the second call is used: that is of first order again. Take the mean of "
            "the two.",
        ),
        (
            _second_call(
                lambda x, ahead, one, two, da, ds: (
                    x + da * (one[0] + two[0]) + ds * (one[1] + two[1])
                )
            ),
            "The sum of the two calls moves twice as far: divide by 2.",
        ),
        (
            _second_call(
                lambda x, ahead, one, two, da, ds: _heun(ahead, None, one, two, da, ds)
            ),
            "The corrected step starts where the first one started, at x, not where it ended.",
        ),
        (
            _second_call(_heun, always=True),
            "All steps are right but the last: at s = 0 no noise is left to predict, and a "
            "network was never asked "
            "there, so the last step is DDIM's.",
        ),
        (
            lambda *case: carve_heun(*case)[-1],
            "The end is right; collect the path, as in `carve`.",
        ),
        (
            lambda *case: carve_heun(*case)[1:],
            "The states after each step are right; the first of all, x as it came, is "
            "missing at the front.",
        ),
        (
            _second_call(
                lambda x, ahead, one, two, da, ds: x + da * (one[0] + two[0]) / 2 + ds * one[1]
            ),
            "The images of the two calls are averaged, the noises are not: take the mean of "
            "both, x0 and eps.",
        ),
        (
            _second_call(
                lambda x, ahead, one, two, da, ds: x + da * one[0] + ds * (one[1] + two[1]) / 2
            ),
            "The noises of the two calls are averaged, the images are not: take the mean of "
            "both, x0 and eps.",
        ),
        (
            _call_from_start,
            "The second call is at x again, told another time. It is to be where the first "
            "step ended: ahead = alpha_s * x0 + sigma_s * eps, then denoise(ahead, s).",
        ),
        (
            _second_call(
                lambda x, ahead, one, two, da, ds: _heun(x, ahead, one, two, -da, -ds)
            ),
            "The movement has the wrong sign: from t to s it is alpha_s - alpha_t and "
            "sigma_s - sigma_t.",
        ),
        (
            _second_call(lambda x, ahead, one, two, da, ds: (ahead + x) / 2),
            "The mean of the two *places* is half a step. Average the two calls, and make "
            "the whole step with their mean.",
        ),
        (
            _second_call(lambda x, ahead, one, two, da, ds: _heun(x, ahead, one, two, ds, da)),
            "alpha's difference moves the image and sigma's the noise; here they are "
            "exchanged.",
        ),
        (
            _swapped_heun(also_move=True),
            "alpha and sigma are exchanged throughout: schedule.at gives alpha first, which "
            "multiplies the image.",
        ),
        (
            _swapped_heun(also_move=False),
            "alpha and sigma are exchanged where the first step ends: it is alpha_s * x0 + "
            "sigma_s * eps.",
        ),
    ],
    "Right: two calls a step. The next cell measures what the second one buys.",
    habits=[
        (
            _other_noise,
            "Two calls give two paths: fresh noise is drawn, and this sampler draws none.",
        ),
        (
            _seeded_noise,
            "Fresh noise is drawn, the same in each call, and this sampler draws none: the "
            "path leaves 0 where x, x0 and eps are 0.",
        ),
    ],
    advice="x + (alpha_s - alpha_t) * (x0 + x0') / 2 + (sigma_s - sigma_t) * (eps + eps') / 2",
)
