"""Two exercises of lesson 09 that start from a picture: image to image, and inpainting."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise, other_end


def _randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


_ANGLE = torch.linspace(0, torch.pi / 2, 1001)

# ---------------------------------------------------------------- image to image


def _begin(z0, eps, alpha, sigma, times, strength: float) -> Tensor:
    t = times[first_step(times, strength)]
    return alpha[t] * z0 + sigma[t] * eps


def first_step(times, strength: float, whole: Callable = int) -> int:
    """The place in times at which image to image begins; the last where no step is run."""
    steps = len(times) - 1
    return steps - min(whole(steps * strength), steps)


def _begin_at(place: Callable) -> Callable:
    def begin(z0, eps, alpha, sigma, times, strength):
        t = times[place(times, strength)]
        return alpha[t] * z0 + sigma[t] * eps

    return begin


# not evenly, or alpha and sigma exchanged look like the way run from its other end
_TEN = [970, 880, 770, 640, 580, 500, 430, 290, 180, 60, 0]
_Z0, _EPS = _randn(1, 4, 2, 2, seed=8), _randn(1, 4, 2, 2, seed=9)
_COS, _SIN = _ANGLE.cos().clamp(min=0), _ANGLE.sin()


def _other_noise(attempt: Callable) -> bool:
    case = _Z0, _EPS, _COS, _SIN, _TEN, 0.8
    one, two = (attempt(*case) for _ in range(2))
    return other_end(one, two)


def _seeded_noise(attempt: Callable) -> bool:
    """Whether something comes in where the picture and the noise are 0."""
    made = attempt(0 * _Z0, 0 * _EPS, _COS, _SIN, _TEN, 0.8)
    return bool((made.abs() > 0).any())


BEGIN = Exercise(
    name="begin",
    solution=_begin,
    cases=[
        (_Z0, _EPS, _COS, _SIN, _TEN, 0.35),
        (_Z0, _EPS, _COS, _SIN, _TEN, 0.8),
        (_Z0, _EPS, _COS, _SIN, _TEN[::2], 0.5),
    ],
    wrong_turns=[
        (
            _begin_at(lambda times, strength: int((len(times) - 1) * strength)),
            "Inverted: strength says how much of the way is run, so a strength of 0.8 begins "
            "near the noise, at times[steps - run].",
        ),
        (
            _begin_at(lambda times, strength: first_step(times, strength, round)),
            "The number of steps is rounded. The pipelines cut: int(steps * strength).",
        ),
        (
            _begin_at(
                lambda times, strength: first_step(times, strength, lambda x: int(-(-x // 1)))
            ),
            "The number of steps is rounded up. The pipelines cut: int(steps * strength).",
        ),
        (
            _begin_at(lambda times, strength: len(times) - int(len(times) * strength) - 1),
            "times has a number more than there are steps: n + 1 times bound n steps.",
        ),
        (
            lambda z0, eps, alpha, sigma, times, strength: (
                (1 - strength) * z0 + strength * eps
            ),
            "A mix by strength itself belongs to no time that the net was trained on. "
            "Strength chooses t; alpha[t] and sigma[t] do the mixing.",
        ),
        (
            lambda z0, eps, alpha, sigma, times, strength: (
                z0 + sigma[times[first_step(times, strength)]] * eps
            ),
            "The picture keeps its full size under the noise. At time t it is multiplied by "
            "alpha[t].",
        ),
        (
            lambda z0, eps, alpha, sigma, times, strength: _begin(
                z0, eps, sigma, alpha, times, strength
            ),
            "alpha and sigma are exchanged: alpha[t] multiplies the picture, sigma[t] the "
            "noise.",
        ),
        (
            lambda z0, eps, alpha, sigma, times, strength: (
                alpha[int(1000 * strength)] * z0 + sigma[int(1000 * strength)] * eps
            ),
            "Strength is a share of the *steps*, not of the 1000 times: the run must begin at "
            "one of `times`.",
        ),
        (
            _begin_at(lambda times, strength: first_step(times, strength) - 1),
            "One step too early: of n steps the last `run` begin at times[n - run].",
        ),
        (
            _begin_at(lambda times, strength: first_step(times, strength) + 1),
            "One step too late: of n steps the last `run` begin at times[n - run].",
        ),
        (
            lambda z0, eps, alpha, sigma, times, strength: eps,
            "Nothing is left of the picture: it enters as alpha[t] * z0.",
        ),
        (
            lambda z0, eps, alpha, sigma, times, strength: (
                alpha[times[first_step(times, strength)]] * z0
            ),
            "The picture is dimmed and gets no noise: + sigma[t] * eps.",
        ),
        (
            lambda z0, eps, alpha, sigma, times, strength: z0,
            "There is no noise in it: the net would be told of noise that is not there.",
        ),
    ],
    praise="Right: the last int(steps * strength) steps are run, and the picture has the "
    "noise of the first of them.",
    habits=[
        (
            _other_noise,
            "Two calls give two latents: noise is drawn inside. The noise is given, eps.",
        ),
        (
            _seeded_noise,
            "Noise is drawn inside, the same in each call. The noise is given, eps.",
        ),
    ],
    known_errors=[
        (
            "list indices must be integers",
            "steps * strength is a fraction, and times are counted in whole steps: "
            "int(steps * strength).",
        ),
    ],
    advice="run = int(steps * strength), and t = times[steps - run]",
)


# ---------------------------------------------------------------- inpainting


def keep_outside(x_t, x0, known, mask, alpha: float, sigma: float) -> Tensor:
    """x0 and eps with the known picture outside the mask, stacked: [2, B, C, H, W]."""
    x0 = mask * x0 + (1 - mask) * known
    return torch.stack([x0, (x_t - alpha * x0) / sigma])


def _with_eps(new: Tensor, eps: Callable) -> Tensor:
    return torch.stack([new, eps(new)])


_SEEN, _KNOWN = _randn(2, 4, 4, 4, seed=10), _randn(2, 4, 4, 4, seed=11)
_NOISY = _randn(2, 4, 4, 4, seed=12)
_MASK = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 4, 4)

KEEP = Exercise(
    name="keep_outside",
    solution=keep_outside,
    cases=[
        (_NOISY, _SEEN, _KNOWN, _MASK, 0.6, 0.8),
        (_NOISY, _SEEN, _KNOWN, _MASK, 0.96, 0.28),
    ],
    wrong_turns=[
        (
            lambda x_t, x0, known, mask, alpha, sigma: keep_outside(
                x_t, x0, known, 1 - mask, alpha, sigma
            ),
            "Inverted: the mask is 1 where something new is wanted.",
        ),
        (
            lambda x_t, x0, known, mask, alpha, sigma: torch.stack(
                [mask * x0 + (1 - mask) * known, (x_t - alpha * x0) / sigma]
            ),
            "The noise still belongs to the old x0. Outside the mask it must be what is left "
            "of x_t beside the known picture, or the two no longer make up x_t.",
        ),
        (
            lambda x_t, x0, known, mask, alpha, sigma: torch.stack(
                [
                    mask * x0 + (1 - mask) * (alpha * known),
                    (x_t - alpha * (mask * x0 + (1 - mask) * alpha * known)) / sigma,
                ]
            ),
            "x0 is the picture without noise, so the known one goes in as it is, without "
            "alpha.",
        ),
        (
            lambda x_t, x0, known, mask, alpha, sigma: torch.stack(
                [
                    mask * x0 + (1 - mask) * known,
                    x_t - alpha * (mask * x0 + (1 - mask) * known),
                ]
            ),
            "eps is in units of itself: divide by sigma.",
        ),
        (
            lambda x_t, x0, known, mask, alpha, sigma: keep_outside(
                x_t, x0, known, mask, sigma, alpha
            ),
            "alpha and sigma are exchanged in eps: x_t = alpha x0 + sigma eps.",
        ),
        (
            lambda x_t, x0, known, mask, alpha, sigma: _with_eps(
                mask * x0 + (1 - mask) * known, lambda new: (x_t - new) / sigma
            ),
            "alpha is missing in eps: x_t holds alpha times x0.",
        ),
        (
            lambda x_t, x0, known, mask, alpha, sigma: _with_eps(
                mask * x0 + (1 - mask) * known, lambda new: (alpha * new - x_t) / sigma
            ),
            "The sign of eps: it is what is left of x_t when alpha x0 is taken off.",
        ),
        (
            lambda x_t, x0, known, mask, alpha, sigma: keep_outside(
                x_t, x0 + known / mask.clamp(min=1), known, mask, alpha, sigma
            ),
            "Inside the mask the known picture is added too: it goes in with 1 - mask.",
        ),
        (
            lambda x_t, x0, known, mask, alpha, sigma: keep_outside(
                x_t, known, known, mask, alpha, sigma
            ),
            "All of the guess is replaced: inside the mask x0 stays.",
        ),
        (
            lambda x_t, x0, known, mask, alpha, sigma: keep_outside(
                x_t, x0, x0, mask, alpha, sigma
            ),
            "The known picture is not put in: outside the mask it takes the guess's place.",
        ),
        (
            lambda x_t, x0, known, mask, alpha, sigma: keep_outside(
                x_t, x0, known, mask, alpha, sigma
            ).flip(0),
            "The two are in the wrong order: x0 first, then eps.",
        ),
        (
            lambda x_t, x0, known, mask, alpha, sigma: mask * x0 + (1 - mask) * known,
            "The new x0 alone. Return both, torch.stack([x0, eps]).",
        ),
    ],
    praise="Right: where it is known, the picture is put in for the guess, and the noise is "
    "what remains.",
    advice="x_t = alpha x0 + sigma eps must hold for what you return",
)
