"""The exercises of lesson 05: an embedding, a loss, its floor, a mask, a reverse step and
guidance.

Each solution is a closed form, or the library's own where its test compares that with one:
later cells run on it where the reader has not written theirs yet.
"""

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise
from course_lib.layers import time_embedding


def _randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


_FLOAT32 = (
    "The values are right, but {} should be float32: the net's weights are, and "
    "PyTorch will not mix the two."
)


# ---------------------------------------------------------------- the time embedding


def _angles(t: Tensor, columns: int, steps: float | None = None, sign: float = -1.0) -> Tensor:
    exponents = torch.arange(columns, dtype=torch.float64) / (
        columns if steps is None else steps
    )
    return t.double()[:, None] * 10_000.0 ** (sign * exponents)[None, :]


def _embedding_on_rows(t: Tensor, dim: int) -> Tensor:
    out = _angles(t, dim)
    out[0::2], out[1::2] = out[0::2].sin(), out[1::2].cos()
    return out


def _cos_sin(angles: Tensor) -> Tensor:
    return torch.cat([angles.cos(), angles.sin()], dim=1)


_ON_ROWS = (
    "The sines and cosines alternate over the rows, that is over the times of the batch. "
    "Each time needs both: "
    "cosines in one half of the columns and sines in the other (dim=1)."
)

TIME_EMBEDDING = Exercise(
    name="embed",
    solution=time_embedding,
    cases=[
        (torch.tensor([0, 1, 7, 250, 999, 1000]), 8),
        (torch.tensor([3, 400]), 64),
        (torch.tensor([0.5, -12.25]), 32),  # the one-pixel net has its greys embedded too
    ],
    wrong_turns=[
        (_embedding_on_rows, _ON_ROWS),
        (lambda t, dim: _embedding_on_rows(t + 0, dim)[:, : dim // 2].repeat(1, 2), _ON_ROWS),
        (
            lambda t, dim: torch.cat(
                [_angles(t, dim // 2).cos(), _angles(t, dim // 2).sin()], dim=0
            ),
            "The two halves are stacked as rows, so the batch has doubled. They are columns: "
            "torch.cat(..., dim=1).",
        ),
        (
            lambda t, dim: torch.stack(
                [_angles(t, dim // 2).cos(), _angles(t, dim // 2).sin()], 2
            ).flatten(1),
            "Cosine and sine alternate column by column. A net learns as well from that "
            "order, but these weights were "
            "trained with all cosines first, then all sines.",
        ),
        (
            lambda t, dim: torch.stack(
                [_angles(t, dim // 2).sin(), _angles(t, dim // 2).cos()], 2
            ).flatten(1),
            "Sine and cosine alternate column by column, the order of the transformer's "
            "paper. A net learns as well "
            "from it, but these weights were trained with all cosines first, then all sines.",
        ),
        (
            lambda t, dim: _cos_sin(_angles(t, dim // 2)).roll(dim // 2, dims=1),
            "The sines come first. The order is a convention, and this one has the cosines "
            "first.",
        ),
        (
            lambda t, dim: _cos_sin(_angles(t, dim // 2, steps=dim // 2 - 1)),
            "The exponents run from 0 to 1 with the 1 included (division by dim / 2 - 1). "
            "Here j is divided by "
            "dim / 2, so that the slowest wave is a little faster than 1 / 10000.",
        ),
        (
            lambda t, dim: _cos_sin(_angles(t, dim // 2, steps=dim)),
            "j is divided by dim. There are only dim / 2 frequencies, so divide by dim / 2 "
            "for them to reach the slow "
            "end.",
        ),
        (
            lambda t, dim: _cos_sin(_angles(t, dim // 2, sign=1.0)),
            "The frequencies rise to 10000 instead of falling to 1 / 10000: a minus is "
            "missing in the exponent.",
        ),
    ],
    praise="Right: fast waves in the first columns, slow ones in the last, a cosine and a "
    "sine of each.",
    rtol=1e-3,  # a float32 angle of 1000 radians is only known to 6e-5
    dtype_hint=_FLOAT32.format("the embedding") + " End with .float().",
)


# ---------------------------------------------------------------- Algorithm 1


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
    _randn(4, 1, 4, 4, seed=0),
    _TIMES,
    _randn(4, 1, 4, 4, seed=1),
)
_COLOURED = (*_CASE[:2], _randn(4, 3, 4, 4, seed=7), _TIMES, _randn(4, 3, 4, 4, seed=8))


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


# ---------------------------------------------------------------- the floor under the loss


def _floor(alpha_bar: float, s2: Tensor) -> Tensor:
    """1 - rho^2, with rho the correlation of eps and x_t for data Normal(0, s2)."""
    rho2 = (1 - alpha_bar) / (alpha_bar * s2 + 1 - alpha_bar)
    return 1 - rho2


_S2 = torch.tensor([0.01, 0.25, 1.0, 4.0], dtype=torch.float64)

FLOOR = Exercise(
    name="gaussian_floor",
    solution=_floor,
    cases=[(0.9, _S2), (0.5, _S2), (0.04, _S2)],
    wrong_turns=[
        (
            lambda alpha_bar, s2: (1 - alpha_bar) / (alpha_bar * s2 + 1 - alpha_bar),
            "This is the mean square of the best guess. The floor is what is missing from it "
            "to 1.",
        ),
        (
            lambda alpha_bar, s2: s2 * (1 - alpha_bar) / (alpha_bar * s2 + 1 - alpha_bar),
            "This is the floor for the picture, Var[x_0 | x_t]. In units of the noise it is "
            "multiplied by "
            "alpha_bar / (1 - alpha_bar).",
        ),
        (
            lambda alpha_bar, s2: (
                (1 - alpha_bar) ** 0.5 / (alpha_bar * s2 + 1 - alpha_bar) ** 0.5
            ),
            "This is the correlation of the noise with x_t. Square it, and take it from 1.",
        ),
        (
            lambda alpha_bar, s2: (
                1 - ((1 - alpha_bar) / (alpha_bar * s2 + 1 - alpha_bar)) ** 0.5
            ),
            "1 minus the correlation. The right angle is between squares: 1 minus the "
            "correlation squared.",
        ),
        (
            lambda alpha_bar, s2: alpha_bar**2 * s2 / (alpha_bar**2 * s2 + 1 - alpha_bar**2),
            "alpha_bar is squared here. It is a share of the variance already: x_t has the "
            "variance "
            "alpha_bar * s2 + 1 - alpha_bar.",
        ),
        (
            lambda alpha_bar, s2: (
                alpha_bar**0.5 * s2 / (alpha_bar**0.5 * s2 + 1 - alpha_bar**0.5)
            ),
            "This takes the root of alpha_bar. Variances add with alpha_bar itself: x_t has "
            "the variance "
            "alpha_bar * s2 + 1 - alpha_bar.",
        ),
        (
            lambda alpha_bar, s2: alpha_bar * s2**0.5 / (alpha_bar * s2**0.5 + 1 - alpha_bar),
            "s2 is the variance already, and here its root was taken.",
        ),
        (
            lambda alpha_bar, s2: alpha_bar * s2**2 / (alpha_bar * s2**2 + 1 - alpha_bar),
            "s2 is the variance already, and here it was squared.",
        ),
        (
            lambda alpha_bar, s2: alpha_bar / (alpha_bar * s2 + 1 - alpha_bar),
            "Where the data has no spread (s2 = 0), the noise can be read off x_t: the floor "
            "must be 0 there.",
        ),
        (
            lambda alpha_bar, s2: alpha_bar * s2,
            "This is the variance of the image's share. Divide it by the variance of all of "
            "x_t.",
        ),
    ],
    praise="Right: the share of x_t's variance that is image. It is the part of the noise "
    "that hides behind it.",
)


# ---------------------------------------------------------------- dropped labels


def _drop(labels: Tensor, null_class: int, u: Tensor) -> Tensor:
    return torch.where(u.to(labels.device) < 0.1, null_class, labels)


_LABELS = torch.tensor([3, 0, 9, 1, 7, 4, 2, 5, 8, 6, 3, 0])
_CHANCE = torch.tensor([0.05, 0.5, 0.95, 0.0999, 0.3, 0.15, 0.02, 0.85, 0.7, 0.92, 0.11, 0.4])

DROP_LABELS = Exercise(
    name="drop_labels",
    solution=_drop,
    cases=[(_LABELS, 10, _CHANCE), (_LABELS, 77, 1 - _CHANCE)],
    wrong_turns=[
        (
            lambda labels, null_class, u: torch.where(u < 0.1, labels, null_class),
            "The mask is inverted: nine tenths of the labels are dropped and a tenth is "
            "kept. The net would train, "
            "and guidance would be weak.",
        ),
        (
            lambda labels, null_class, u: torch.where(u < 0.9, null_class, labels),
            "The mask is inverted: u < 0.9 is true nine times in ten.",
        ),
        (
            lambda labels, null_class, u: torch.where(u > 0.9, null_class, labels),
            "A tenth is dropped, as it should be, but take u < 0.1, so that the same random "
            "numbers drop the same "
            "labels as in the library.",
        ),
        (
            lambda labels, null_class, u: torch.where(u < 0.1, 0, labels),
            '0 is a class (T-shirt). The label that says "no class" is null_class.',
        ),
        (
            lambda labels, null_class, u: labels[u >= 0.1],
            "The images whose label is dropped are gone from the batch. Keep them, with "
            "null_class for a label.",
        ),
        (
            lambda labels, null_class, u: torch.where(u[:1] < 0.1, null_class, labels),
            "One draw decides for the whole batch. Each image has its own number in u.",
        ),
    ],
    praise="Right: one image in ten is shown without its class, and the same net learns both "
    "jobs.",
    dtype_hint="The values are right, but labels must stay integers: the net looks up row 3 "
    "of a table, and there is "
    "no row 3.0. torch.where(u < 0.1, null_class, labels) keeps their dtype.",
    advice="compare u with 0.1, image by image",
)


# ---------------------------------------------------------------- one step of Algorithm 2


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


_X, _EPS, _Z = (_randn(2, 1, 3, 3, seed=seed) for seed in (2, 3, 4))

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
    dtype_hint=_FLOAT32.format("x_s") + " End with .to(x_t.dtype).",
)


# ---------------------------------------------------------------- guidance


def _guide(uncond: Tensor, cond: Tensor, scale: float) -> Tensor:
    return (1 - scale) * uncond + scale * cond


_U, _C = _randn(2, 1, 3, 3, seed=5), _randn(2, 1, 3, 3, seed=6)
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
            lambda uncond, cond, scale: cond + scale * (cond - uncond),
            "This is the paper's w, for which 0 means no guidance. Here scale 0 is "
            "unconditional and 1 is plain: start "
            "from uncond. (Their w is our scale - 1.)",
        ),
        (
            lambda uncond, cond, scale: cond + scale * (uncond - cond),
            "The two are exchanged: at scale 0 this is the conditional answer, at 1 the "
            "unconditional one, and above "
            "it runs away from the class.",
        ),
        (
            lambda uncond, cond, scale: scale * (cond - uncond),
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
            lambda uncond, cond, scale: scale * cond,
            "The unconditional answer is missing: guidance goes on along the line from "
            "uncond through cond.",
        ),
    ],
    praise="Right: 0 is the net without a class, 1 the net with it, and beyond 1 the line "
    "goes on.",
    known_errors=[
        ("Boolean value of Tensor", _ONE_NUMBER),
        ("only one element tensors can be converted", _ONE_NUMBER),
        ("cannot be converted to Scalar", _ONE_NUMBER),
    ],
    dtype_hint=_FLOAT32.format("the answer") + " End with .to(cond.dtype).",
)
