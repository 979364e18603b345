"""Wrappers that turn one denoiser into another."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from course_lib.diffusion.condition import map_cond
from course_lib.diffusion.denoiser import Denoise
from course_lib.diffusion.schedule import Schedule, widened
from course_lib.errors import CourseError


def autoguided(denoise: Denoise, weaker: Denoise, scale: float) -> Denoise:
    """Autoguidance: scale 0 is the weaker model, 1 plain, above 1 leads away from the weaker
    model's mistakes.

    (Karras et al. 2024, "Guiding a diffusion model with a bad version of itself", section 4.)
    weaker was trained for the same, but not as long or with fewer weights: what it does wrong,
    the better model does too, only less. Scales 0 and 1 make one network call a step, every
    other scale two.
    """
    if not abs(scale) <= torch.finfo(torch.float32).max:  # NaN is not, either
        raise CourseError(f"A guidance scale is a finite number, not {scale}.")

    def denoise_guided(x_t: Tensor, t: int | Tensor, cond=None) -> tuple[Tensor, Tensor]:
        if scale == 1:
            return denoise(x_t, t, cond)
        if scale == 0:
            return weaker(x_t, t, cond)
        return tuple(
            torch.lerp(w, d, scale)
            for w, d in zip(weaker(x_t, t, cond), denoise(x_t, t, cond), strict=True)
        )

    return denoise_guided


def _null_like(cond: Tensor, null: float | Tensor) -> Tensor:
    """No condition, in the shape of a batch of them."""
    if null is None:
        raise CourseError(
            "Guidance must be told what stands for no condition: as null_cond, a class net's "
            "config.null_class or the token states of an empty text."
        )
    return torch.as_tensor(null).to(cond).expand_as(cond)


def guided(denoise: Denoise, null_cond, scale: float) -> Denoise:
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6): scale 0 is unconditional, 1 plain,
    above 1 stresses cond.

    null_cond is the "no condition" label, or a tensor that expands to cond's shape; where cond
    is a tuple of tensors, a tuple of these: (tokens [L, D], pooled [D]) for a batch of (tokens
    [B, L, D], pooled [B, D]). Their w is our scale - 1. Scales 0 and 1 make one network call a
    step, every other scale two.
    """

    def unconditional(x_t: Tensor, t: int | Tensor, cond) -> tuple[Tensor, Tensor]:
        return denoise(x_t, t, map_cond(_null_like, cond, null_cond))

    away = autoguided(denoise, unconditional, scale)

    def denoise_guided(x_t: Tensor, t: int | Tensor, cond=None) -> tuple[Tensor, Tensor]:
        if cond is None:
            raise CourseError(
                "Guidance needs a condition: pass cond to the sampler, for example a class a "
                "picture."
            )
        return away(x_t, t, cond)

    return denoise_guided


def part_weights(scales: Sequence[float]) -> list[float]:
    """What each answer counts for in `guided_in_parts`: that to no condition first, then those
    to the parts; they add up to 1.
    """
    return [a - b for a, b in zip((1.0, *scales), (*scales, 0.0), strict=True)]


def parts_asked(scales: Sequence[float], rescale: float = 0.0) -> list[int]:
    """Which answers a look of `guided_in_parts` asks the network for, a call each: 0 is that
    to no condition, k that to part k. What counts for nothing is left out, but rescaling looks
    at the last.
    """
    weights, last = part_weights(scales), len(scales)
    return [k for k, weight in enumerate(weights) if weight or (rescale and k == last)]


def guided_in_parts(
    denoise: Denoise,
    null_cond,
    scales: Sequence[float],
    schedule: Schedule | None = None,
    rescale: float = 0.0,
) -> Denoise:
    """Guidance with a scale for each part of a condition: how much to obey *what* is asked,
    and how much to obey *in which style* (Brooks et al. 2023, "InstructPix2Pix", eq. 3; for
    parts that stand side by side Liu et al. 2022, "Composable diffusion").

    cond is a tuple of as many conditions as there are scales, each saying more than the one
    before: (token states of "robot", token states of "robot, noto style"), each [B, ...].
    null_cond is as in `guided`, for one of them. With n the answer to it and a, b those to the
    two, the answer is n + scales[0] (a - n) + scales[1] (b - a). A condition with no weight in
    this sum costs no network call: equal scales are `guided` with the last one.

    Large scales make x0 of too much contrast. rescale is the share, 0 to 1, by which its
    spread over a picture's numbers is brought back to that of the last condition's own answer
    (Lin et al. 2023, eq. 14 to 16, which do so with v); it needs the schedule.
    """
    _check_parts(scales, schedule, rescale)
    weights, asked = part_weights(scales), parts_asked(scales, rescale)

    def denoise_guided(x_t: Tensor, t: int | Tensor, cond=None) -> tuple[Tensor, Tensor]:
        if not isinstance(cond, tuple | list) or len(cond) != len(scales):
            raise CourseError(
                f"Guidance with {len(scales)} scales needs as many conditions, in a tuple, "
                "each saying more than the one before."
            )
        told = (map_cond(_null_like, cond[-1], null_cond), *cond)
        found = {k: denoise(x_t, t, told[k]) for k in asked}
        counted = [k for k in asked if weights[k]]
        x0, eps = (sum(weights[k] * found[k][i] for k in counted) for i in range(2))
        if not rescale:
            return x0, eps
        x0 = _rescaled(x0, found[len(scales)][0], rescale)
        return _with_its_noise(schedule, x_t, t, x0)

    return denoise_guided


def _check_parts(scales: Sequence[float], schedule: Schedule | None, rescale: float):
    """CourseError for scales or a share that `guided_in_parts` can't take."""
    if not 0 <= rescale <= 1 or (rescale and schedule is None):
        raise CourseError(
            f"rescale is a share from 0 to 1, with the schedule beside it, not {rescale}."
        )
    if not scales or not all(abs(scale) <= torch.finfo(torch.float32).max for scale in scales):
        raise CourseError(
            f"Guidance in parts takes a finite number for each, not {list(scales)}."
        )


def _rescaled(x0: Tensor, plain: Tensor, share: float) -> Tensor:
    """Images x0 [B, ...], in float32 or more, each with its spread brought by a share towards
    that of plain (Lin et al. 2023, "Common diffusion noise schedules and sample steps are
    flawed", eq. 14 to 16).
    """
    x0 = widened(x0)
    spread, goal = (x.flatten(1).std(dim=1, correction=0) for x in (x0, widened(plain)))
    # a flat image has no contrast to take back
    ratio = torch.where(spread > 0, goal / spread, 1.0).lerp(torch.ones_like(goal), 1 - share)
    return x0 * ratio.view(-1, *[1] * (x0.ndim - 1))


def _with_its_noise(schedule: Schedule, x_t: Tensor, t, x0: Tensor) -> tuple[Tensor, Tensor]:
    """A predicted image, in float32 or more, and the noise that makes up x_t with it, both in
    x_t's dtype.
    """
    x = widened(x_t)
    alpha, sigma = schedule.at(t, x)
    # at t = 0, where a walk to the noise starts, there is none
    eps = (x - alpha * x0) / sigma.where(sigma > 0, 1)
    return x0.to(x_t.dtype), eps.where(sigma > 0, 0).to(x_t.dtype)


def classifier_guided(
    denoise: Denoise,
    log_prob: Callable[[Tensor, int | Tensor, object], Tensor],
    scale: float,
    schedule: Schedule,
    latest: int | None = None,
) -> Denoise:
    """Classifier guidance (Dhariwal & Nichol 2021, algorithm 2), which guidance without a
    classifier is named after: a second net says where in x_t it is likelier what was asked.

    log_prob(x_t, t, asked) gives log p(asked | x_t) [B], with a gradient to x_t. cond is a
    pair: what denoise is told, and asked. The score of the pictures and scale times that
    gradient are added up, which is eps - scale sigma gradient; at scale 1 it is Bayes' rule.
    Where t is above `latest` nothing is added: the caller trusts it no more there, by default
    where alpha is 0, for noise says nothing of x0. It is no call of the denoiser.
    """
    if latest is None:
        latest = int((schedule.alpha > 0).nonzero().max())
    _check_classifier(scale, schedule, latest)

    def denoise_guided(x_t: Tensor, t: int | Tensor, cond=None) -> tuple[Tensor, Tensor]:
        if not isinstance(cond, tuple | list) or len(cond) != 2:
            raise CourseError(
                "Classifier guidance needs a pair as cond: what the denoiser is told, and "
                "what the classifier is to find."
            )
        told, asked = cond
        x0, eps = denoise(x_t, t, told)
        # an int as samplers give it is not asked of the device, which would wait
        if scale == 0 or (not isinstance(t, Tensor) and t > latest):
            return x0, eps
        slope = _slope(log_prob, x_t, t, asked)
        if isinstance(t, Tensor):  # a time for each picture, or one for all
            slope = slope.where((t <= latest).view(-1, *[1] * (x_t.ndim - 1)), 0)
        alpha, sigma = schedule.at(t, slope)
        moved = widened(x0) + scale * slope * sigma**2 / alpha.where(alpha > 0, 1)
        return moved.to(x0.dtype), (widened(eps) - scale * sigma * slope).to(eps.dtype)

    return denoise_guided


def _slope(log_prob: Callable, x_t: Tensor, t: int | Tensor, asked) -> Tensor:
    """The gradient of each picture's log-probability by the picture, under no_grad and
    inference_mode too: x_t's shape, in float32 or more.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = widened(x_t).detach().clone().requires_grad_()
        # what inference mode made can't be kept for the way back
        wish = map_cond(torch.clone, asked)
        return torch.autograd.grad(log_prob(x, t, wish).sum(), x)[0]


def _check_classifier(scale: float, schedule: Schedule, latest: int):
    """CourseError for a scale or a time that `classifier_guided` can't take."""
    if not abs(scale) <= torch.finfo(torch.float32).max:
        raise CourseError(f"A classifier's scale is a finite number, not {scale}.")
    whole = isinstance(latest, int) and 0 <= latest <= schedule.T
    if not whole or schedule.alpha[latest] <= 0:
        raise CourseError(
            f"latest is a time from 0 to {schedule.T} at which something of the picture is "
            f"left, not {latest}."
        )


def clipped(
    denoise: Denoise, schedule: Schedule, low: float = -1.0, high: float = 1.0
) -> Denoise:
    """Keep the predicted image inside the grey scale, and the noise consistent with it (Ho et
    al. 2020, their code). For pixels only: latents know no bounds.
    """

    def denoise_clipped(x_t: Tensor, t: int | Tensor, cond=None) -> tuple[Tensor, Tensor]:
        x0 = widened(denoise(x_t, t, cond)[0]).clamp(low, high)
        return _with_its_noise(schedule, x_t, t, x0)

    return denoise_clipped
