"""The gallery of lesson 04: eight samplers of one cloud, seven of them with a wrong line, and
the moments that give those away.
"""

import torch
from torch import Tensor

from course_lib.diffusion.exact import mixture_denoiser
from course_lib.diffusion.samplers import posterior
from course_lib.diffusion.schedule import Schedule
from course_lib.exercises.matching import Bug, Matching, listed

MODES = torch.tensor(
    [[0.0, 0.0], [1.4, 1.4], [-1.4, 1.4], [1.4, -1.4], [-1.4, -1.4]]
)  # as on a die
MODE_STD = 0.12
_EXACT_SPREAD = (0.8 * 1.4**2 + MODE_STD**2) ** 0.5  # of each coordinate


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
    """DDPM with an exact denoiser and one of the BUGS in it: samples [n, 2]. 25 steps of 1000;
    bug 5 has no more than 20 to take, and takes them all.
    """
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


GALLERY = Matching(
    "The gallery",
    _HUNG,
    BUGS,
    "A sampler is debugged with moments, and then by eye.",
    lambda bug: listed(moments(broken_sampler(bug))),
)
