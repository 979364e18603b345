"""The exercises of lesson 09: cross-attention, the law of guidance, the whole model, image to
image and inpainting. (The gallery of broken pipelines is in gallery_09.py.)

Each solution is a closed form or a few lines over tables, which the tests hold against the
library's samplers.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise
from course_lib.layers import time_embedding


def _randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- cross-attention


def _look(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.T / q.shape[-1] ** 0.5).softmax(dim=-1) @ v


_Q, _K, _V = _randn(6, 8, seed=1), 2 * _randn(5, 8, seed=2), _randn(5, 8, seed=3)

LOOK = Exercise(
    name="look",
    solution=_look,
    cases=[(_Q, _K, _V), (_Q[:2], _K, _V), (_Q, _K[:1], _V[:1])],
    wrong_turns=[
        (
            lambda q, k, v: (q @ k.T / q.shape[-1] ** 0.5).softmax(dim=0) @ v,
            "The softmax runs over the places of the picture. Each place shares out its look "
            "among the tokens: the weights of a row sum to 1, so dim=-1.",
        ),
        (
            lambda q, k, v: (q @ k.T).softmax(dim=-1) @ v,
            "The division by the root of d is missing: without it the softmax of long vectors "
            "is nearly one-hot.",
        ),
        (
            lambda q, k, v: (q @ k.T / q.shape[-1]).softmax(dim=-1) @ v,
            "The products are divided by d. A sum of d products of spread 1 has the spread "
            "sqrt(d): divide by its root.",
        ),
        (
            lambda q, k, v: (q @ k.T / q.shape[-1] ** 0.5) @ v,
            "The softmax is missing: weights are positive and sum to 1.",
        ),
        (
            lambda q, k, v: (q @ k.T / q.shape[-1] ** 0.5).sigmoid() @ v,
            "A sigmoid weighs each token by itself. Here the tokens share one look: softmax.",
        ),
        (
            lambda q, k, v: (q @ k.T / q.shape[-1] ** 0.5).softmax(dim=-1) @ k,
            "The keys are averaged. Keys say where to look; what is handed over is v.",
        ),
        (
            lambda q, k, v: (q @ k.T / q.shape[-1] ** 0.5).softmax(dim=-1),
            "These are the weights. The answer is their mean of the values: weights @ v.",
        ),
    ],
    praise="Right. And where there is one token, its weight is 1 whatever the query.",
)


# ---------------------------------------------------------------- the law of guidance


def _law(m_u: float, m_c: float, s: float, w: float) -> Tensor:
    return torch.tensor([m_u + w * (m_c - m_u), s])


def _wrong_law(mean=None, std=None) -> Callable:
    def law(m_u: float, m_c: float, s: float, w: float) -> Tensor:
        right = _law(m_u, m_c, s, w)
        first = right[0].item() if mean is None else mean(m_u, m_c, w)
        return torch.tensor([first, s if std is None else std(s, w)])

    return law


LAW = Exercise(
    name="guided_law",
    solution=_law,
    cases=[(0.5, 1.0, 0.5, 3.0), (-1.0, 2.0, 0.7, 0.4), (0.3, -0.4, 1.2, 7.5)],
    wrong_turns=[
        (
            _wrong_law(lambda m_u, m_c, w: m_c + w * (m_c - m_u)),
            "This is the paper's w, for which 0 means no guidance. Here 0 is unconditional "
            "and 1 is plain: start from m_u.",
        ),
        (
            _wrong_law(lambda m_u, m_c, w: m_c + w * (m_u - m_c)),
            "The two means are exchanged: at w = 0 this is the conditional one.",
        ),
        (
            _wrong_law(lambda m_u, m_c, w: w * m_c),
            "The unconditional mean is missing: guidance goes along the line from m_u through "
            "m_c.",
        ),
        (
            _wrong_law(std=lambda s, w: s * w),
            "The mean is right. The spread does not grow: both noises are seen in the same "
            "x_t, and w and 1 - w sum to 1.",
        ),
        (
            _wrong_law(std=lambda s, w: s * (w**2 + (1 - w) ** 2) ** 0.5),
            "This adds the variances of two independent draws. There is one draw, x_t, and "
            "the two answers differ by a constant.",
        ),
        (
            _wrong_law(std=lambda s, w: s / w**0.5),
            "The mean is right. This is the spread of p(x|c) to the power w; the factor "
            "p(x) to the power 1 - w takes that narrowing back.",
        ),
    ],
    praise="Right: guidance moves the mean along the line, past m_c, and leaves the spread "
    "alone.",
    advice="the two answers differ by a constant, so w moves the mean and nothing else",
)


# ---------------------------------------------------------------- the whole


def combined(how: str, cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """Guidance, right or with one of the usual slips."""
    return {
        "right": lambda: uncond + scale * (cond - uncond),
        "paper": lambda: cond + scale * (cond - uncond),
        "signs": lambda: scale * cond + (scale - 1) * uncond,
        "exchanged": lambda: cond + scale * (uncond - cond),
    }[how]()


def _bent_whole(guide="right", null="empty", step="right", end="right", read="v") -> Callable:
    """The whole with one part bent."""

    def text_to_image(tower, net, decode, alpha, sigma, tokens, empty, z, times, scale):
        cond = tower(tokens)
        uncond = {"empty": tower(empty).expand_as(cond), "cond": cond, "zero": 0 * cond}[null]
        for t, s in zip(times[:-1], times[1:], strict=True):
            at = torch.full((len(z),), t, device=z.device)
            v = combined(guide, net(z, at, cond), net(z, at, uncond), scale)
            for _ in range(2 if step == "twice" else 1):
                x0, eps = alpha[t] * z - sigma[t] * v, sigma[t] * z + alpha[t] * v
                if read == "eps":
                    x0, eps = (z - sigma[t] * v) / alpha[t], v
                s = t if step == "none" else s
                z = alpha[s] * x0 + sigma[s] * eps
        if end == "latent":
            return z
        return decode(z) if end == "unclamped" else decode(z).clamp(-1, 1)

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
            _bent_whole(step="none"),
            "x0 and eps are put together again at t, where they came from, so nothing moves. "
            "Put them together at s.",
        ),
        (
            _bent_whole(step="twice"),
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
            "and eps = sigma z + alpha v (lesson 05, section 9).",
        ),
    ],
    praise="Right: text, noise, guidance, steps, decoder. That is all of Stable Diffusion.",
    rtol=1e-3,
    advice="check the step against x0 = alpha z - sigma v, eps = sigma z + alpha v",
)


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


_TEN = [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
_Z0, _EPS = _randn(1, 4, 2, 2, seed=8), _randn(1, 4, 2, 2, seed=9)
_COS, _SIN = _ANGLE.cos().clamp(min=0), _ANGLE.sin()

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
            lambda z0, eps, alpha, sigma, times, strength: z0,
            "There is no noise in it: the net would be told of noise that is not there.",
        ),
    ],
    praise="Right: the last int(steps * strength) steps are run, and the picture has the "
    "noise of the first of them.",
    advice="run = int(steps * strength), and t = times[steps - run]",
)


# ---------------------------------------------------------------- inpainting


def keep_outside(x_t, x0, known, mask, alpha: float, sigma: float) -> Tensor:
    """x0 and eps with the known picture outside the mask, stacked: [2, B, C, H, W]."""
    x0 = mask * x0 + (1 - mask) * known
    return torch.stack([x0, (x_t - alpha * x0) / sigma])


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
            lambda x_t, x0, known, mask, alpha, sigma: mask * x0 + (1 - mask) * known,
            "The new x0 alone. Return both, torch.stack([x0, eps]).",
        ),
    ],
    praise="Right: where it is known, the picture is put in for the guess, and the noise is "
    "what remains.",
    advice="x_t = alpha x0 + sigma eps must hold for what you return",
)
