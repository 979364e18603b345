"""The two algorithms of the DDPM paper that a reader of lesson 05 writes: the loss, and a step
back.
"""

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise


def seeded(*shape: int, seed: int) -> Tensor:
    """Standard Normal numbers of this shape, the same whenever a lesson is opened."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


FLOAT32 = (
    "The values are right, but {} should be float32: the net's weights are, and "
    "PyTorch will not mix the two."
)


# ---- Algorithm 1


def _toy_net(x_t: Tensor, t: Tensor) -> Tensor:
    """A net that anyone can follow: a third of its input, and a bit of the time."""
    return 0.3 * x_t + 0.01 * t.reshape(-1, 1, 1, 1)


def _squared(
    alpha_power: int = 1,
    sigma_power: int = 1,
    target: str = "eps",
    told=None,
    reduce=None,
    distance=None,
):
    """Algorithm 1's loss with any of its parts bent: what the wrong turns compute."""

    def loss(
        predict, alpha: Tensor, sigma: Tensor, x0: Tensor, t: Tensor, eps: Tensor
    ) -> Tensor:
        by_image = [-1] + [1] * (x0.ndim - 1)
        x_t = (alpha[t] ** alpha_power).reshape(by_image) * x0 + (
            sigma[t] ** sigma_power
        ).reshape(by_image) * eps
        gap = (
            predict(x_t, t if told is None else told(t))
            - {"eps": eps, "x0": x0, "x_t": x_t}[target]
        )
        gap = gap.square() if distance is None else distance(gap)
        return gap.flatten(1).mean(dim=1) if reduce is None else reduce(gap)

    return loss


def _unreshaped(
    predict, alpha: Tensor, sigma: Tensor, x0: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    return (predict(alpha[t] * x0 + sigma[t] * eps, t) - eps).square().mean(dim=(1, 2, 3))


_TABLE = torch.cat(
    [torch.ones(1), torch.cumprod(1 - torch.linspace(1e-2, 0.3, 12), 0)]
)  # alpha-bar
_TIMES = torch.tensor([1, 4, 9, 12])
# four images of 4x4 pixels: a factor per image that is not reshaped multiplies the columns,
# and nothing complains
_CASE = (
    _TABLE.sqrt(),
    (1 - _TABLE).sqrt(),
    seeded(4, 1, 4, 4, seed=0),
    _TIMES,
    seeded(4, 1, 4, 4, seed=1),
)
_COLOURED = (*_CASE[:2], seeded(4, 3, 4, 4, seed=7), _TIMES, seeded(4, 3, 4, 4, seed=8))


def _stops_gradients(attempt) -> bool:
    """Whether a net's weight would learn nothing from the loss."""
    weight = torch.tensor(0.3, requires_grad=True)
    try:
        with torch.enable_grad():
            loss = attempt(lambda x_t, t: weight * x_t, *(a.clone() for a in _CASE))
            return torch.autograd.grad(loss.sum(), weight, allow_unused=True)[0] is None
    except (
        RuntimeError,
        TypeError,
        ValueError,
    ):  # no graph at all, or a tensor with gradients handed to NumPy
        return True


_SQUEEZED = (
    "The channel axis is squeezed away, which goes only for grey images, C = 1. Average over "
    "channels, rows and "
    "columns: dim=(1, 2, 3)."
)

NOISE_LOSS = Exercise(
    name="noise_loss",
    solution=_squared(),
    cases=[
        (_toy_net, *_CASE),
        (lambda x_t, t: torch.zeros_like(x_t), *_CASE),
        (_toy_net, *_COLOURED),
    ],
    wrong_turns=[
        (
            _unreshaped,
            "alpha[t] has one number an image, shape [B], and is multiplying the last axis, "
            "the columns. It went "
            "through only because B is the width here: reshape to [B, 1, 1, 1] first.",
        ),
        (
            _squared(alpha_power=2),
            "The image is multiplied by alpha-bar. The jump has its root: the table `alpha` "
            "already holds it, so "
            "use alpha[t] as it is.",
        ),
        (
            _squared(alpha_power=2, sigma_power=2),
            "alpha-bar and sigma squared are variances. A jump multiplies by their roots, "
            "alpha[t] and sigma[t].",
        ),
        (
            _squared(sigma_power=2),
            "The noise is multiplied by sigma squared, a variance. The noise has spread 1, "
            "so its factor is the "
            "spread wanted: sigma[t].",
        ),
        (
            _squared(target="x0"),
            "This compares with the image. The label is the noise that was added, eps.",
        ),
        (
            _squared(target="x_t"),
            "This compares with the noisy image that the net was given. The label is the "
            "noise alone, eps.",
        ),
        (
            _squared(distance=torch.abs),
            "This is the absolute error. Its best answer is the median; Algorithm 1 squares, "
            "whose best answer is "
            "the mean, and the samplers need the mean.",
        ),
        (
            _squared(reduce=lambda gap: gap.sum(dim=(1, 2, 3))),
            "This is the sum over the pixels, as the paper writes the norm. Take the mean, "
            "so that the loss does not "
            "depend on the size of the image: 1 is then the loss of a net that says nothing.",
        ),
        (
            _squared(reduce=lambda gap: gap.mean()),
            "This averages over the whole batch. Keep one number an image, [B]: we want to "
            "see the loss by time.",
        ),
        (
            _squared(told=torch.zeros_like),
            "The net is not told the time: predict(x_t, t).",
        ),
        (
            _squared(told=lambda t: t - 1),
            "The net is told t - 1 but gets a picture of time t. In these tables index 0 is "
            "the clean image, so time "
            "t has index t.",
        ),
        (_squared(reduce=lambda gap: gap.mean(dim=(2, 3)).squeeze(1)), _SQUEEZED),
        (_squared(reduce=lambda gap: gap.squeeze(1).mean(dim=(1, 2))), _SQUEEZED),
        (
            _squared(reduce=lambda gap: gap[:, 0].mean(dim=(1, 2))),
            "This looks at the first channel alone. Grey images have no other, but coloured "
            "ones have three.",
        ),
    ],
    praise="Right. A net that always answers 0 has a loss of about 1 here: the mean of eps "
    "squared.",
    habits=[
        (
            _stops_gradients,
            "No gradient comes out of this loss, so no net could learn from it: "
            "loss.backward() would stop. Stay with "
            "tensors from predict to the mean: no .item(), .detach(), .numpy() or "
            "torch.tensor(...), and no "
            "torch.no_grad().",
        ),
    ],
)


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


def _bent_step(*, gain="keep", noise_factor="root", spread="small", sign=-1.0, extra=1.0):
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
        small = beta * (1 - alpha_bar_s) / (1 - alpha_bar_t)
        std = {
            "small": small**0.5,
            "variance": small,
            "large": beta**0.5,
            "beta": beta,
            "none": 0.0,
        }[spread]
        return (x_t + sign * factor[noise_factor] * eps) / divisor + std * z

    return step


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
    ],
    praise="Right, at a small step, at a large one, and at the last, where beta-tilde is 0 "
    "and no noise is added.",
    dtype_hint=FLOAT32.format("x_s") + " End with .to(x_t.dtype).",
)
