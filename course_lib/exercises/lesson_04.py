"""The exercises of lesson 04: each grader knows the answer from a formula, and the usual wrong
turns by their look.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.diffusion.exact import gaussian_denoiser, mixture_denoiser
from course_lib.diffusion.samplers import posterior, sample_heun
from course_lib.diffusion.schedule import Schedule
from course_lib.exercises.grader import Exercise, Verdict

# ---------------------------------------------------------------- 1: from small steps to one
# jump


def signal_and_noise(beta: Tensor) -> Tensor:
    """alpha and sigma of the jump to each time from the small steps' variances: beta [T] to
    [2, T + 1].
    """
    alpha_bar = torch.cat([torch.ones(1, dtype=beta.dtype), torch.cumprod(1 - beta, dim=0)])
    return torch.stack([alpha_bar.sqrt(), (1 - alpha_bar).sqrt()])


def _with_start(alpha: Tensor, sigma: Tensor) -> Tensor:
    return torch.stack(
        [torch.cat([alpha.new_ones(1), alpha]), torch.cat([sigma.new_zeros(1), sigma])]
    )


SCHEDULE = Exercise(
    "signal_and_noise",
    signal_and_noise,
    [
        (torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64),),
        (torch.tensor([0.5, 0.1, 0.3], dtype=torch.float64),),
    ],
    [
        (
            lambda beta: signal_and_noise(beta)[:, 1:],
            "Your T values are right, but index 0 is missing: it is the clean image, alpha = "
            "1 and sigma = 0.",
        ),
        (
            lambda beta: signal_and_noise(beta).square(),
            "These are alpha squared and sigma squared: two square roots are missing. "
            "Variances add, and x_t needs "
            "standard deviations.",
        ),
        (
            lambda beta: torch.stack(
                [signal_and_noise(beta)[0], signal_and_noise(beta)[1].square()]
            ),
            "alpha is right, sigma is its own square: 1 - alpha^2 is a variance, and x_t "
            "needs its root.",
        ),
        (
            lambda beta: torch.stack(
                [signal_and_noise(beta)[0].square(), signal_and_noise(beta)[1]]
            ),
            "sigma is right, but this alpha is alpha-bar, the product of (1 - beta): alpha "
            "is its square root.",
        ),
        (
            lambda beta: _with_start((1 - beta).sqrt(), beta.sqrt()),
            "These belong to one small step each: alpha for alpha-bar. The jump to t keeps "
            "the *product* of all steps "
            "up to t (torch.cumprod).",
        ),
        (
            lambda beta: _with_start(
                torch.cumprod((1 - beta).sqrt(), 0), torch.cumsum(beta, 0).sqrt()
            ),
            "alpha is right. The noise isn't the sum of all betas: what an early step added, "
            "later steps shrink too. "
            "What is left of the variance 1 is 1 - alpha^2.",
        ),
        (
            lambda beta: torch.stack(
                [signal_and_noise(beta)[0], 1 - signal_and_noise(beta)[0]]
            ),
            "alpha is right. alpha + sigma = 1 is the straight schedule's rule; here "
            "variances add: "
            "alpha^2 + sigma^2 = 1.",
        ),
    ],
    "Right: a thousand small steps are one jump now.",
    rtol=1e-6,
)

# ---------------------------------------------------------------- 2: the exact denoiser


def exact_x0(x_t: Tensor, alpha: float, sigma: float, points: Tensor) -> Tensor:
    """E[x_0 | x_t] when the data are the points [N, D]: x_t [B, D] to [B, D], a softmax over
    squared distances.
    """
    distance = torch.cdist(x_t, alpha * points).square()  # [B, N]
    return torch.softmax(-distance / (2 * sigma**2), dim=1) @ points


def _weighted(score: Callable) -> Callable:
    """The same denoiser with another score [B, N] under the softmax."""
    return lambda x_t, alpha, sigma, points: (
        torch.softmax(score(x_t, alpha, sigma, points), dim=1) @ points
    )


def _nearest(x_t: Tensor, alpha: float, sigma: float, points: Tensor) -> Tensor:
    return points[torch.cdist(x_t, alpha * points).argmin(dim=1)]


def _over_rows(x_t: Tensor, alpha: float, sigma: float, points: Tensor) -> Tensor:
    distance = torch.cdist(x_t, alpha * points).square()
    return torch.softmax(-distance / (2 * sigma**2), dim=0) @ points


def _denoiser_cases() -> list[tuple]:
    generator = torch.Generator().manual_seed(4)
    points = torch.randn(7, 2, generator=generator)
    cases = [
        (torch.randn(5, 2, generator=generator), a, (1 - a**2) ** 0.5, points)
        for a in (0.3, 0.8, 0.95)
    ]
    # 25 sigma and more from all points: exp(-distance) is 0 in float32, as on a third of
    # section 5's plane at t = 20
    far = torch.tensor([[3.4, 0.1], [-2.6, -0.6], [1.1, -1.7], [-0.4, 2.2], [2.3, 2.1]])
    return [*cases, (far, (1 - 0.05**2) ** 0.5, 0.05, points)]


def _by_weights(x_t: Tensor, alpha: float, sigma: float, points: Tensor) -> Tensor:
    w = torch.exp(-torch.cdist(x_t, alpha * points).square() / (2 * sigma**2))
    return w @ points / w.sum(dim=1, keepdim=True)


_UNDERFLOW = (
    "Right where the noise is strong. Far from all points at sigma = 0.05 every weight "
    "exp(-distance) is so small that "
    "float32 keeps 0, and 0 / 0 is left. Hand the exponents to torch.softmax: it divides by "
    "the largest weight first."
)


DENOISER = Exercise(
    "exact_x0",
    exact_x0,
    _denoiser_cases(),
    [
        (
            _weighted(lambda x, a, s, p: -torch.cdist(x, a * p).square() / (2 * s)),
            "sigma for sigma^2: a Normal's exponent divides the squared distance by twice "
            "the *variance*.",
        ),
        (
            _weighted(lambda x, a, s, p: -torch.cdist(x, a * p).square() / s**2),
            "The 2 of 2 sigma^2 is missing: this is the softmax at half the temperature.",
        ),
        (
            _weighted(lambda x, a, s, p: -torch.cdist(x, a * p) / (2 * s**2)),
            "The distance isn't squared: the Normal's exponent has |x_t - alpha x_i|^2.",
        ),
        (
            _weighted(lambda x, a, s, p: -torch.cdist(x, p).square() / (2 * s**2)),
            "alpha is missing: x_t lies around alpha * x_i, so that is what it has to be "
            "compared with.",
        ),
        (
            _weighted(lambda x, a, s, p: torch.cdist(x, a * p).square() / (2 * s**2)),
            "The sign: far points got the large weights. exp(-distance) falls with distance.",
        ),
        (
            _over_rows,
            "The softmax runs over the wrong axis: each x_t's weights over the points must "
            "sum to 1 (dim=1).",
        ),
        (
            _nearest,
            "That is the nearest point, the most likely x_0. The denoiser is the weighted "
            "*mean* of all points.",
        ),
        (
            lambda x_t, alpha, sigma, points: alpha * exact_x0(x_t, alpha, sigma, points),
            "The weights are right, but they average alpha * x_i: the clean image is x_i "
            "itself.",
        ),
        (_by_weights, _UNDERFLOW),
        (
            lambda *case: _by_weights(*case).nan_to_num(),
            _UNDERFLOW,
        ),  # as with 1e-8 added to the sum
    ],
    "Right: that is what a perfect network would answer for these data.",
    dtype_hint="The values are right, but x_t and points came in float32, and section 5 "
    "mixes your answer with them, "
    "which PyTorch will not: end with .to(x_t.dtype).",
)

# ---------------------------------------------------------------- 3: carve


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

# ---------------------------------------------------------------- 4: the right variance


def right_variance(schedule: Schedule, t: int, s: int, std: float) -> float:
    """Var[x_s | x_t] for data Normal(0, std^2), by the law of total variance."""
    _, c_0, small, _ = posterior(schedule, t, s)
    return small + c_0**2 * _unknown(schedule, t, std)


def _unknown(schedule: Schedule, t: int, std: float) -> float:
    """Var[x_0 | x_t] for data Normal(0, std^2)."""
    alpha, sigma = schedule.alpha[t].item(), schedule.sigma[t].item()
    return std**2 * sigma**2 / (alpha**2 * std**2 + sigma**2)


def _variance_like(rule: Callable) -> Callable:
    """rule(c_0, small, large, unknown, std) as a wrong turn."""

    def wrong(schedule, t, s, std):
        _, c_0, small, large = posterior(schedule, t, s)
        return rule(c_0, small, large, _unknown(schedule, t, std), std)

    return wrong


def _times_of(schedule: Schedule, t: int) -> tuple[float, float]:
    return schedule.alpha[t].item(), schedule.sigma[t].item()


def _unrooted(schedule, t, s, std):
    _, c_0, small, _ = posterior(schedule, t, s)
    alpha, sigma = _times_of(schedule, t)
    return small + c_0**2 * std**2 * sigma / (alpha * std**2 + sigma)


VARIANCE = Exercise(
    "right_variance",
    right_variance,
    [
        (Schedule.linear(), t, s, std)
        for t, s in ((1000, 900), (600, 500), (300, 100))
        for std in (0.2, 0.5, 2.0)
    ],
    [
        (
            _variance_like(lambda c_0, small, large, unknown, std: small),
            "That is beta-tilde, right only where x_0 is known. It isn't: add what the "
            "denoiser can't know, "
            "c_0^2 Var[x_0 | x_t].",
        ),
        (
            _variance_like(lambda c_0, small, large, unknown, std: large),
            "That is beta, right only for data of spread 1.",
        ),
        (
            _variance_like(lambda c_0, small, large, unknown, std: small + c_0 * unknown),
            "x_0 enters the mean as c_0 * x_0, so its variance enters with c_0 *squared*.",
        ),
        (
            _variance_like(lambda c_0, small, large, unknown, std: small + unknown),
            "Var[x_0 | x_t] is right, but only c_0 * x_0 enters x_s: its variance comes with "
            "c_0^2.",
        ),
        (
            _variance_like(lambda c_0, small, large, unknown, std: small + c_0**2 * std**2),
            "That uses std^2, what was unknown before x_t was seen. Having seen it, less is: "
            "std^2 sigma^2 / (alpha^2 std^2 + sigma^2).",
        ),
        (
            _unrooted,
            "Nearly: in Var[x_0 | x_t] both alpha and sigma are squared.",
        ),
        (
            _variance_like(
                lambda c_0, small, large, unknown, std: (small + c_0**2 * unknown) ** 0.5
            ),
            "That is the standard deviation; the variance is asked for.",
        ),
    ],
    "Right: no dial is needed where this is known.",
    rtol=1e-6,
)

# ---------------------------------------------------------------- 5: a second look


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

# ---------------------------------------------------------------- the gallery of broken
# samplers

MODES = torch.tensor(
    [[0.0, 0.0], [1.4, 1.4], [-1.4, 1.4], [1.4, -1.4], [-1.4, -1.4]]
)  # as on a die
MODE_STD = 0.12
_EXACT_SPREAD = (0.8 * 1.4**2 + MODE_STD**2) ** 0.5  # of each coordinate


@dataclass(frozen=True)
class Bug:
    """A line that was written wrong, and what it does to the cloud."""

    line: str  # what the code says, and what it should say
    sign: str  # the moment that gives it away


BUGS = {
    1: Bug("nothing is wrong", "has every moment about right"),
    2: Bug("torch.rand for torch.randn", "moves the mean: that noise is never negative"),
    3: Bug(
        "noise of standard deviation beta instead of sqrt(beta)",
        "makes modes too narrow and the centre too full",
    ),
    4: Bug(
        "fresh noise after the last step too", "makes every mode too wide, and nothing else"
    ),
    5: Bug(
        "T cut from 1000 to 20, betas kept",
        "pulls points to the centre and leaves the modes' width alone",
    ),
    6: Bug(
        "x_0 clipped to [-1, 1], data reach 1.4",
        "makes the cloud too small: nothing lies outside a square",
    ),
    7: Bug(
        "noise of shape [B, 1] broadcast to [B, 2]",
        "ties the two coordinates together: their correlation is 1",
    ),
    8: Bug(
        "the generator is seeded anew in each step",
        "adds the same noise again and again: the cloud is too large",
    ),
}


def broken_sampler(bug: int, n: int = 1500, seed: int = 0) -> Tensor:
    """DDPM in 25 steps with an exact denoiser, and one of the BUGS in it: samples [n, 2]."""
    schedule = Schedule.linear(20) if bug == 5 else Schedule.linear()
    times = schedule.times(20 if bug == 5 else 25)
    denoise = mixture_denoiser(schedule, MODES, MODE_STD)
    generator = torch.Generator().manual_seed(seed)

    def noise() -> Tensor:
        if bug == 8:
            generator.manual_seed(seed)
        draw = torch.rand if bug == 2 else torch.randn
        return draw(n, 1 if bug == 7 else 2, generator=generator).expand(n, 2)

    x = noise()
    for t, s in zip(times[:-1], times[1:], strict=True):
        x0 = denoise(x, t)[0]
        if bug == 6:
            x0 = x0.clamp(-1, 1)
        c_t, c_0, _, beta = posterior(schedule, t, s)
        x = c_t * x + c_0 * x0
        if s > 0 or bug == 4:
            x = x + (beta if bug == 3 else beta**0.5) * noise()
    return x


def moments(x: Tensor) -> dict[str, float]:
    """What the gallery's labels say of a cloud [n, 2]: each number is about 0 or 1 where the
    sampler is right.
    """
    nearest = torch.cdist(x, MODES).argmin(dim=1)
    own = torch.cat([x[nearest == k] - x[nearest == k].mean(dim=0) for k in nearest.unique()])
    return {
        "mean": x.mean().item(),
        "spread": (x.std(dim=0).mean() / _EXACT_SPREAD).item(),  # over the true one
        "mode width": (own.square().mean().sqrt() / MODE_STD).item(),  # over the true one
        "correlation": torch.corrcoef(x.T)[0, 1].item(),
        "centre": (
            (nearest == 0).float().mean() / 0.2
        ).item(),  # share of the middle mode, over the true one
    }


_HUNG = {"A": 5, "B": 4, "C": 8, "D": 1, "E": 7, "F": 3, "G": 6, "H": 2}  # who hangs where


def gallery(n: int = 1500) -> dict[str, Tensor]:
    """The eight clouds [n, 2] under their letters."""
    return {letter: broken_sampler(bug, n) for letter, bug in _HUNG.items()}


@dataclass(frozen=True)
class Matching:
    """A grader for "which is which": it names the moment that speaks against the first wrong
    answer.
    """

    name: str
    key: Mapping[str, int]

    def __call__(self, answers: Mapping[str, int]) -> Verdict:
        """Grade {letter: number}."""
        given = {letter: answers.get(letter) for letter in self.key}
        if any(number is None or number is Ellipsis for number in given.values()):
            return Verdict(
                "awaits",
                f"{self.name} awaits its reader: give each letter the number of its line.",
            )
        wrong = [letter for letter, number in given.items() if number != self.key[letter]]
        if not wrong:
            return Verdict(
                "right",
                f"All {len(self.key)} right. A sampler is debugged with moments, and then by "
                "eye.",
            )
        letter = wrong[0]
        right = f"{len(self.key) - len(wrong)} of {len(self.key)} right."
        if given[letter] not in BUGS:
            return Verdict(
                "wrong",
                f"{right} {letter}: there is no line {given[letter]!r}; they run from 1 to 8.",
            )
        found = ", ".join(
            f"{name} {value:.2f}"
            for name, value in moments(broken_sampler(self.key[letter])).items()
        )
        clue = (
            f"{letter} isn't line {given[letter]}: that {BUGS[given[letter]].sign}. "
            f"{letter} has {found}."
        )
        return Verdict("wrong", f"{right} {clue}")


GALLERY = Matching("The gallery", _HUNG)
