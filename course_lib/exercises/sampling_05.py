"""What makes pictures in lesson 05: a step of Algorithm 2 of the DDPM paper, and guidance."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.algorithms_05 import FLOAT32, seeded
from course_lib.exercises.grader import Exercise, other_end
from course_lib.exercises.steps import GUIDED, MOVES

# ---- one step of Algorithm 2


def _reverse(
    x_t: Tensor, eps: Tensor, z: Tensor, alpha_bar_t: float, alpha_bar_s: float
) -> Tensor:
    """Through the posterior: read x_0 off x_t, then take q(x_s | x_t, x_0), by the precisions
    of its two sources.
    """
    x0 = (x_t - (1 - alpha_bar_t) ** 0.5 * eps) / alpha_bar_t**0.5
    keep = alpha_bar_t / alpha_bar_s  # 1 - beta
    if alpha_bar_s == 1:
        return x0
    from_x0, from_x_t = 1 / (1 - alpha_bar_s), keep / (1 - keep)  # precisions of x_s
    variance = 1 / (from_x0 + from_x_t)
    mean = variance * (from_x0 * alpha_bar_s**0.5 * x0 + from_x_t * x_t / keep**0.5)
    return mean + variance**0.5 * z


def _bent_step(*, gain="keep", noise_factor="root", spread="small", sign=-1.0):
    """Line 4 of Algorithm 2 with one part bent."""

    def step(
        x_t: Tensor, eps: Tensor, z: Tensor, alpha_bar_t: float, alpha_bar_s: float
    ) -> Tensor:
        keep = alpha_bar_t / alpha_bar_s
        beta = 1 - keep
        divisor = {
            "keep": keep**0.5,
            "alpha-bar": alpha_bar_t**0.5,
            "none": 1.0,
            "no root": keep,
        }[gain]
        factor = {
            "root": beta / (1 - alpha_bar_t) ** 0.5,
            "no root": beta / (1 - alpha_bar_t),
            "beta": beta,
        }
        factor |= {"sqrt beta": beta**0.5, "sigma": (1 - alpha_bar_t) ** 0.5}
        factor["alpha"] = beta / alpha_bar_t**0.5
        small = beta * (1 - alpha_bar_s) / (1 - alpha_bar_t)
        std = {
            "small": small**0.5,
            "variance": small,
            "large": beta**0.5,
            "beta": beta,
            "sigma_t": (1 - alpha_bar_t) ** 0.5,
            "sigma_s": (1 - alpha_bar_s) ** 0.5,
            "one": 1.0,
            "none": 0.0,
        }[spread]
        return (x_t + sign * factor[noise_factor] * eps) / divisor + std * z

    return step


def _from_x0(move: Callable, fresh: bool = False):
    """x_0 read off x_t, then a move as of steps.MOVES; fresh: with z where it takes eps."""

    def step(
        x_t: Tensor, eps: Tensor, z: Tensor, alpha_bar_t: float, alpha_bar_s: float
    ) -> Tensor:
        alpha_t, sigma_t = alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5
        alpha_s, sigma_s = alpha_bar_s**0.5, (1 - alpha_bar_s) ** 0.5
        x0 = (x_t - sigma_t * eps) / alpha_t
        return move(x0, z if fresh else eps, alpha_t, sigma_t, alpha_s, sigma_s, x_t)

    return step


def _swapped(read: bool, put: bool):
    """DDIM's step with alpha and sigma exchanged where x_0 is read off x_t, or where it is put
    together with eps.
    """

    def step(
        x_t: Tensor, eps: Tensor, z: Tensor, alpha_bar_t: float, alpha_bar_s: float
    ) -> Tensor:
        now, then = (
            (bar**0.5, (1 - bar) ** 0.5)[:: -1 if swap else 1]
            for bar, swap in ((alpha_bar_t, read), (alpha_bar_s, put))
        )
        return then[0] * (x_t - now[1] * eps) / now[0] + then[1] * eps

    return step


def _other_noise(attempt) -> bool:
    one, two = (attempt(_X, _EPS, _Z, 0.3, 0.45) for _ in range(2))
    return other_end(one, two)


def _seeded_noise(attempt) -> bool:
    """Whether something comes in where all that is given is 0: noise of a generator's own."""
    return bool((attempt(0 * _X, 0 * _EPS, 0 * _Z, 0.3, 0.45).abs() > 0).any())


_DRAWN = (
    "Noise is drawn inside the step. Line 4's fresh noise is given, z, so that a step can be "
    "made again to the digit; and DDIM, which puts back eps, draws none."
)
_SWAPPED = (
    "This is DDIM's step with alpha and sigma exchanged{}: the root of alpha-bar multiplies "
    "the picture, the root of 1 - alpha-bar the noise. And line 4 is another step: it takes a "
    "share of eps away and adds fresh noise z."
)


def _guess_and_a_little(x0, noise, alpha_t, sigma_t, alpha_s, sigma_s, x):
    """The guess of x_0, with fresh noise of spread sqrt(beta-tilde)."""
    beta = 1 - (alpha_t / alpha_s) ** 2
    return x0 + beta**0.5 * sigma_s / sigma_t * noise


_X, _EPS, _Z = (seeded(2, 1, 3, 3, seed=seed) for seed in (2, 3, 4))

REVERSE_STEP = Exercise(
    name="reverse_step",
    solution=_reverse,
    cases=[(_X, _EPS, _Z, 0.3, 0.45), (_X, _EPS, _Z, 0.9, 0.97), (_X, _EPS, _Z, 0.97, 1.0)],
    wrong_turns=[
        (
            _bent_step(spread="variance"),
            "z is multiplied by beta-tilde, which is the fresh noise's variance. Its spread "
            "is the root, so the factor "
            "of z is sqrt(beta-tilde). (The paper calls that sigma_t. It isn't our sigma[t].)",
        ),
        (
            _bent_step(spread="beta"),
            "z is multiplied by beta, a variance, and by the larger of the two that the "
            "paper offers. Take the root "
            "of beta-tilde.",
        ),
        (
            _bent_step(spread="large"),
            "sqrt(beta) is the paper's other choice. It does not vanish at the last step "
            "(alpha_bar_s = 1), so it "
            "would leave noise in the finished picture: use the root of beta-tilde here.",
        ),
        (
            _bent_step(spread="none"),
            "The mean is right; the fresh noise is missing. The next section shows what a "
            "run without it looks like.",
        ),
        (
            _bent_step(gain="alpha-bar"),
            "The bracket is divided by the root of alpha-bar_t. The step divides by the root "
            "of its own factor, "
            "1 - beta = alpha_bar_t / alpha_bar_s: it undoes one step, not all of them.",
        ),
        (
            _bent_step(gain="none"),
            "The mean is not scaled up: the forward step shrank the picture by sqrt(1 - "
            "beta), so divide by that.",
        ),
        (
            _bent_step(gain="no root"),
            "The bracket is divided by 1 - beta. The forward step multiplied by its root.",
        ),
        (
            _bent_step(noise_factor="no root"),
            "eps is multiplied by beta / (1 - alpha_bar_t). The denominator is a spread, "
            "sqrt(1 - alpha_bar_t).",
        ),
        (
            _bent_step(noise_factor="sqrt beta"),
            "eps is multiplied by sqrt(beta), the noise of one step as if it were known. eps "
            "is the noise of all "
            "steps; this step's share of it is beta / sqrt(1 - alpha_bar_t).",
        ),
        (
            _bent_step(noise_factor="beta"),
            "The division by sqrt(1 - alpha_bar_t) is missing under eps.",
        ),
        (
            _bent_step(noise_factor="sigma"),
            "This takes away all of the noise at once. A step takes its share: beta / sqrt(1 "
            "- alpha_bar_t) of eps.",
        ),
        (
            _bent_step(sign=1.0),
            "The predicted noise is added. It is to be taken away: x_t minus ...",
        ),
        (
            _bent_step(spread="sigma_t"),
            "z is multiplied by our sigma_t = sqrt(1 - alpha_bar_t), the noise of all steps. "
            "The paper's sigma_t is another: the fresh noise of one step, sqrt(beta-tilde).",
        ),
        (
            _bent_step(spread="sigma_s"),
            "z is multiplied by sqrt(1 - alpha_bar_s), all the noise that x_s has. Most of it "
            "is in the mean already; what is fresh is sqrt(beta-tilde).",
        ),
        (
            _bent_step(spread="one"),
            "z is added whole. The fresh noise has the spread sqrt(beta-tilde).",
        ),
        (
            _from_x0(MOVES["right"]),
            "This is DDIM's step: it puts back the noise that was seen, and draws none. Line "
            "4 of Algorithm 2 takes a share of eps away and adds fresh noise z.",
        ),
        (
            _from_x0(MOVES["right"], fresh=True),
            "This is DDIM's step with fresh noise for the noise that was seen: all of x_t but "
            "the guess of x_0 is forgotten. Line 4 starts from x_t.",
        ),
        (
            _from_x0(MOVES["guess"]),
            "This is the guess of x_0, all noise taken away in one go. A step goes from t to "
            "s: it takes its share of eps, beta / sqrt(1 - alpha_bar_t).",
        ),
        (_swapped(read=False, put=True), _SWAPPED.format(" where x_s is put together")),
        (_swapped(read=True, put=False), _SWAPPED.format(" where x_0 is read off x_t")),
        (_swapped(read=True, put=True), _SWAPPED.format("")),
        (
            _bent_step(noise_factor="alpha"),
            "alpha and sigma are exchanged under eps: its share is beta over the noise's "
            "factor, sqrt(1 - alpha_bar_t).",
        ),
        (
            _from_x0(_guess_and_a_little, fresh=True),
            "The bracket is the guess of x_0, all noise taken away in one go: alpha-bar "
            "stands where one step's 1 - beta = alpha_bar_t / alpha_bar_s is meant.",
        ),
    ],
    praise="Right, at a small step, at a large one, and at the last, where beta-tilde is 0 "
    "and no noise is added.",
    habits=[(_other_noise, _DRAWN), (_seeded_noise, _DRAWN)],
    dtype_hint=FLOAT32.format("x_s") + " End with .to(x_t.dtype).",
    advice="the mean is (x_t - beta / sqrt(1 - alpha_bar_t) * eps) / sqrt(1 - beta)",
)


# ---- guidance


def _guide(uncond: Tensor, cond: Tensor, scale: float) -> Tensor:
    return (1 - scale) * uncond + scale * cond


_U, _C = seeded(2, 1, 3, 3, seed=5), seeded(2, 1, 3, 3, seed=6)
_ONE_NUMBER = (
    "The lesson has a dial for each image of a batch: scale may be a tensor [B, 1, 1, 1], "
    "which no `if` and no float() "
    "can take. The formula needs neither: both ends come out of it."
)

GUIDANCE = Exercise(
    name="guide",
    solution=_guide,
    cases=[
        (_U, _C, 3.0),
        (_U, _C, 0.0),
        (_U, _C, 1.0),
        (_U, _C, torch.tensor([1.0, 2.5]).reshape(2, 1, 1, 1)),
    ],
    wrong_turns=[
        (
            GUIDED["paper"],
            "This is the paper's w, for which 0 means no guidance. Here scale 0 is "
            "unconditional and 1 is plain: start "
            "from uncond. (Their w is our scale - 1.)",
        ),
        (
            GUIDED["exchanged"],
            "The two are exchanged: at scale 0 this is the conditional answer, at 1 the "
            "unconditional one, and above "
            "it runs away from the class.",
        ),
        (
            GUIDED["difference"],
            "Only the difference is left. It is a push, to be added to the unconditional "
            "answer.",
        ),
        (
            lambda uncond, cond, scale: scale * cond - uncond,
            "The two factors must add up to 1, or the answer changes its size: scale and 1 - "
            "scale.",
        ),
        (
            lambda uncond, cond, scale: uncond + scale * cond,
            "The difference cond - uncond is to be scaled, not cond itself.",
        ),
        (
            GUIDED["cond only"],
            "The unconditional answer is missing: guidance goes on along the line from "
            "uncond through cond.",
        ),
        (
            lambda uncond, cond, scale: uncond + scale * (uncond - cond),
            "The difference is the wrong way round: this leads away from the class. It is "
            "cond - uncond.",
        ),
        (
            lambda uncond, cond, scale: cond + (scale - 1) * (uncond - cond),
            "The difference is the wrong way round: beyond scale 1 this goes back from cond. "
            "It is cond - uncond.",
        ),
        (
            lambda uncond, cond, scale: uncond + (scale - 1) * (cond - uncond),
            "At scale 1 this is the unconditional answer. scale - 1 is the paper's w, which "
            "starts from cond; from uncond it is the whole scale.",
        ),
        (
            GUIDED["signs"],
            "The two factors must add up to 1: scale and 1 - scale, not scale - 1.",
        ),
        (
            lambda uncond, cond, scale: cond - uncond + scale * cond,
            "The difference is what is scaled: uncond + scale * (cond - uncond).",
        ),
    ],
    praise="Right: 0 is the net without a class, 1 the net with it, and beyond 1 the line "
    "goes on.",
    known_errors=[
        ("Boolean value of Tensor", _ONE_NUMBER),
        ("only one element tensors can be converted", _ONE_NUMBER),
        ("cannot be converted to Scalar", _ONE_NUMBER),
    ],
    dtype_hint=FLOAT32.format("the answer") + " End with .to(cond.dtype).",
)
