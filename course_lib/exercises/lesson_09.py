"""The exercises of lesson 09. Here: the whole model. Cross-attention and the law of guidance
stand in attention_09.py, image to image and inpainting in edits_09.py, the gallery of broken
pipelines in gallery_09.py.

Each solution is a closed form or a few lines over tables, which the tests hold against the
library's samplers.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.attention_09 import LAW, LOOK
from course_lib.exercises.edits_09 import BEGIN, KEEP, first_step, keep_outside
from course_lib.exercises.grader import Exercise, other_end
from course_lib.exercises.steps import GUIDED, MOVES
from course_lib.layers import time_embedding

__all__ = [
    "BEGIN",
    "KEEP",
    "LAW",
    "LOOK",
    "WHOLE",
    "first_step",
    "keep_outside",
]


def _randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- the whole


# What the net's answer y at x_t is taken for: (x_t, y, alpha_t, sigma_t) -> (x0, eps).
_READ = {
    "v": lambda x, y, a, s: (a * x - s * y, s * x + a * y),
    "turned v": lambda x, y, a, s: (a * x + s * y, s * x - a * y),
    "misread v": lambda x, y, a, s: (s * x - a * y, a * x + s * y),
    "eps": lambda x, y, a, s: ((x - s * y) / a, y),
    "x0": lambda x, y, a, s: (y, (x - a * y) / s),
}


def _ends(how: str, decode: Callable, z: Tensor) -> Tensor:
    """What is done with the last latent."""
    if how == "latent":
        return z
    picture = decode(z)
    if how == "unit":
        return (picture.clamp(-1, 1) + 1) / 2
    return picture if how == "unclamped" else picture.clamp(-1, 1)


def _bent_whole(
    guide="right", null="empty", read="v", move="right", end="right", told="t", moves=1
) -> Callable:
    """The whole with one part bent."""

    def text_to_image(tower, net, decode, alpha, sigma, tokens, empty, z, times, scale):
        cond = tower(tokens)
        uncond = {"empty": tower(empty).expand_as(cond), "cond": cond, "zero": 0 * cond}[null]
        for t, s in zip(times[:-1], times[1:], strict=True):
            at = torch.full((len(z),), s if told == "s" else t, device=z.device)
            y = GUIDED[guide](net(z, at, uncond), net(z, at, cond), scale)
            for _ in range(moves):
                x0, eps = _READ[read](z, y, alpha[t], sigma[t])
                z = MOVES[move](x0, eps, alpha[t], sigma[t], alpha[s], sigma[s], z)
        return _ends(end, decode, z)

    return text_to_image


_TABLE = 0.3 * _randn(20, 4, seed=4)
_ANGLE = torch.linspace(0, torch.pi / 2, 1001)


def _toy_tower(tokens: Tensor) -> Tensor:
    return _TABLE[tokens]


def _toy_net(x_t: Tensor, t, cond: Tensor) -> Tensor:
    if not isinstance(t, Tensor) or t.shape != x_t.shape[:1]:
        raise ValueError(
            "the net takes its time as a tensor [B], one a picture: torch.full((B,), t)"
        )
    if cond.shape[0] != x_t.shape[0]:
        raise ValueError(
            f"the net takes token states for each of the {len(x_t)} pictures, not "
            f"{tuple(cond.shape)}: expand the empty prompt's"
        )
    told = time_embedding(t.float(), 4) + cond.mean(dim=1)  # [B, 4]
    return torch.tanh(0.5 * x_t + told[:, :, None, None])


def _toy_decode(z: Tensor) -> Tensor:
    return 2.0 * z[:, :3].repeat_interleave(2, -1).repeat_interleave(2, -2) + 0.1


def _toy(times: list[int], scale: float, seed: int) -> tuple:
    """Arguments of the whole, with small parts in place of the nets."""
    tokens = torch.randint(20, (2, 5), generator=torch.Generator().manual_seed(seed))
    tables = _ANGLE.cos().clamp(min=0), _ANGLE.sin()
    empty, z = torch.tensor([[0, 1, 1, 1, 1]]), _randn(2, 4, 2, 2, seed=seed + 1)
    return _toy_tower, _toy_net, _toy_decode, *tables, tokens, empty, z, times, scale


def _other_picture(attempt: Callable) -> bool:
    one, two = (attempt(*_toy([950, 300, 0], 1.5, 7)) for _ in range(2))
    return other_end(one, two)


def _seeded_noise(attempt: Callable) -> bool:
    """Whether something comes in where z and the net's answers are all 0."""
    tower, _, _, *rest = _toy([950, 300, 0], 1.5, 7)
    rest[4] = 0 * rest[4]  # z
    made = attempt(tower, lambda z, t, cond: 0 * z, lambda z: z, *rest)
    return bool((made.abs() > 0).any())


WHOLE = Exercise(
    name="text_to_image",
    solution=_bent_whole(),
    cases=[_toy([990, 700, 400, 0], 3.0, 5), _toy([950, 300, 0], 1.5, 7)],
    wrong_turns=[
        (
            _bent_whole(null="cond"),
            "This is the look with the prompt alone, whatever the scale: there is no second "
            "look, or it got the prompt too. It gets the states of the empty prompt, "
            "tower(empty).",
        ),
        (
            _bent_whole(null="zero"),
            "The second look gets zeros. The net was trained on the states of the empty "
            "prompt, tower(empty), which are not zero.",
        ),
        (
            _bent_whole(guide="paper"),
            "This is the paper's w, for which 0 means no guidance. Here 1 is plain: uncond + "
            "scale * (cond - uncond).",
        ),
        (
            _bent_whole(guide="signs"),
            "The factors of the two looks sum to 2 * scale - 1. They must sum to 1: scale and "
            "1 - scale.",
        ),
        (
            _bent_whole(guide="exchanged"),
            "The two looks are exchanged: this leads away from the prompt.",
        ),
        (
            _bent_whole(move="stays"),
            "x0 and eps are put together again at t, where they came from, so nothing moves. "
            "Put them together at s.",
        ),
        (
            _bent_whole(moves=2),
            "Each look is used for two steps: the second reads a latent of time s as if it "
            "were of time t.",
        ),
        (
            _bent_whole(end="latent"),
            "These are latents. The last line is the decoder's.",
        ),
        (
            _bent_whole(end="unclamped"),
            "All but the last touch: a picture lies in [-1, 1], and a decoder runs over a "
            "little. clamp(-1, 1).",
        ),
        (
            _bent_whole(read="eps"),
            "The net's answer is read as noise. This net says v, so x0 = alpha z - sigma v "
            "and eps = sigma z + alpha v (further/05, section 5).",
        ),
        (
            _bent_whole(read="x0"),
            "The net's answer is read as the picture. This net says v, so x0 is alpha z - "
            "sigma v.",
        ),
        (
            _bent_whole(read="turned v"),
            # the two slips give the same numbers
            "The signs of v are exchanged, or alpha and sigma throughout: x0 = alpha z - "
            "sigma v, eps = sigma z + alpha v, and alpha is 1 at t = 0.",
        ),
        (
            _bent_whole(move="guess"),
            "x0 is taken for the next latent. Its noise of time s is missing: alpha[s] x0 + "
            "sigma[s] eps.",
        ),
        (
            _bent_whole(move="swapped"),
            "alpha and sigma are exchanged in the step: alpha[s] x0 + sigma[s] eps.",
        ),
        (
            _bent_whole(read="misread v"),
            "alpha and sigma are exchanged where v is read: x0 = alpha[t] z - sigma[t] v, eps "
            "= sigma[t] z + alpha[t] v.",
        ),
        (
            _bent_whole(move="late noise"),
            "The picture is set at s, the noise still at t: both belong to s.",
        ),
        (
            _bent_whole(told="s"),
            "The net is told s, and z still has the noise of t.",
        ),
        (
            _bent_whole(guide="cond only"),
            "The second look is missing: scale times the first is no guidance.",
        ),
        (
            _bent_whole(guide="difference"),
            "Only the difference is left: it is added to uncond.",
        ),
        (
            _bent_whole(guide="uncond"),
            "The prompt is not in it: both looks get the empty one.",
        ),
        (
            _bent_whole(end="unit"),
            "A picture in [0, 1]; the course's are in [-1, 1].",
        ),
    ],
    habits=[
        (
            _other_picture,
            "Two calls give two pictures: fresh noise is drawn. z is all the noise that there "
            "is, and each step puts back the eps that was seen.",
        ),
        (
            _seeded_noise,
            "Fresh noise is drawn, the same in each call. z is all the noise that there is, "
            "and each step puts back the eps that was seen.",
        ),
    ],
    praise="Right: text, noise, guidance, steps, decoder. That is all of Stable Diffusion.",
    rtol=1e-3,
    advice="check the step against x0 = alpha z - sigma v, eps = sigma z + alpha v",
)
