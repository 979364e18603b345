"""The gallery of lesson 09: seven pipelines, six of them with a wrong line in them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.exercises.edits_09 import first_step, keep_outside
from course_lib.exercises.matching import Bug, Matching
from course_lib.exercises.steps import GUIDED


@dataclass(frozen=True)
class Parts:
    """What a pipeline is made of; latents are normalised, encode and decode are not."""

    tower: Callable  # tokens [B, L] -> states [B, L, D]
    net: Callable  # (x_t, t [B], states) -> v
    encode: Callable  # images -> latents as the autoencoder gives them
    decode: Callable  # and back
    mean: Tensor  # of those latents, [C, 1, 1]
    std: Tensor
    alpha: Tensor  # [T + 1]
    sigma: Tensor


BUGS = {
    1: Bug(
        "nothing is wrong",
        "obeys each dial, changes nothing outside the mask, keeps the given picture's colours "
        "and has the latent's spread that most have",
    ),
    2: Bug(
        "each look at the latent is used for two steps",
        "changes the picture without guidance too, and leaves the latent about 1.5 times the "
        "spread that most have",
    ),
    3: Bug(
        "decode(z) * std + mean, where decode(z * std + mean) was meant",
        "leaves the latent alone and gives the picture another range, in every use",
    ),
    4: Bug(
        "the inpainted picture is taken from the decoder whole",
        "changes pixels outside the mask, and nothing else",
    ),
    5: Bug(
        "int(strength) * steps steps of image to image, where int(strength * steps) was meant",
        "gives back the picture that image to image was given",
    ),
    6: Bug(
        "scale * cond + (scale - 1) * uncond",
        "breaks the picture with guidance, and not the one without",
    ),
    7: Bug(
        "the second look gets the prompt too, in place of the empty one",
        "gives the same picture whatever the guidance",
    ),
}
_HUNG = {"A": 6, "B": 3, "C": 7, "D": 1, "E": 4, "F": 2, "G": 5}
GUIDANCE, STRENGTH, STEPS = 4.0, 0.5, 8  # of the gallery


def _walk(bug: int, parts: Parts, cond, empty, z, times, scale, known=None, mask=None):
    """From the latent z at times[0] to the one at times[-1]."""
    alpha, sigma = parts.alpha, parts.sigma
    uncond = cond if bug == 7 else empty.expand_as(cond)
    for t, s in zip(times[:-1], times[1:], strict=True):
        at = torch.full((len(z),), t, device=z.device)
        v = parts.net(z, at, cond)
        if scale != 1:
            lead = GUIDED["signs" if bug == 6 else "right"]
            v = lead(parts.net(z, at, uncond), v, scale)
        for _ in range(2 if bug == 2 else 1):
            x0, eps = alpha[t] * z - sigma[t] * v, sigma[t] * z + alpha[t] * v
            if known is not None:
                x0, eps = keep_outside(z, x0, known, mask, alpha[t], sigma[t])
            z = alpha[s] * x0 + sigma[s] * eps
    return z


@torch.no_grad()
def evidence(
    bug: int, parts: Parts, tokens: Tensor, empty: Tensor, noise: Tensor, picture, mask, times
) -> dict[str, Tensor]:
    """What a pipeline with one of the BUGS makes: pictures [1, C, H, W] of a text without and
    with guidance, of a given picture and that text, and of the picture redrawn where the mask
    [1, 1, H, W] is 1; and the "latent" of the second.
    """

    def decoded(z: Tensor) -> Tensor:
        if bug == 3:
            return (parts.decode(z) * parts.std.mean() + parts.mean.mean()).clamp(-1, 1)
        return parts.decode(z * parts.std + parts.mean).clamp(-1, 1)

    cond, null = parts.tower(tokens), parts.tower(empty)
    plain, led = (_walk(bug, parts, cond, null, noise, times, w) for w in (1.0, GUIDANCE))
    known = (parts.encode(picture) - parts.mean) / parts.std
    first = len(times) - 1 if bug == 5 else first_step(times, STRENGTH)
    start = parts.alpha[times[first]] * known + parts.sigma[times[first]] * noise
    turned = _walk(bug, parts, cond, null, start, times[first:], GUIDANCE)
    small = torch.nn.functional.adaptive_max_pool2d(mask, known.shape[-2:])
    filled = decoded(
        _walk(bug, parts, cond, null, noise, times, GUIDANCE, known=known, mask=small)
    )
    if bug != 4:
        filled = mask * filled + (1 - mask) * picture
    shown = {
        "plain": decoded(plain),
        "guided": decoded(led),
        "image to image": decoded(turned),
    }
    return {**shown, "inpainted": filled, "latent": led}


def readings(found: dict[str, Tensor], picture: Tensor, mask: Tensor) -> dict[str, float]:
    """The numbers under a pipeline's pictures, each an rms but the first."""

    def rms(x: Tensor) -> float:
        return x.double().square().mean().sqrt().item()

    outside = (found["inpainted"] - picture)[(mask < 1).expand_as(picture)]
    return {
        "latent spread": found["latent"].double().std().item(),
        "guidance moves": rms(found["guided"] - found["plain"]),
        "image to image moves": rms(found["image to image"] - picture),
        "outside moves": rms(outside),
    }


GALLERY = Matching(
    "The gallery",
    _HUNG,
    BUGS,
    "A pipeline is tested by what each dial must do and must not do.",
)
