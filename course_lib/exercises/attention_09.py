"""Lesson 09's first two exercises: cross-attention, and the law of guidance."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise


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
            lambda q, k, v: (q @ k.T / len(k) ** 0.5).softmax(dim=-1) @ v,
            "The root is that of the number of tokens. It is d whose products are summed: "
            "q.shape[-1].",
        ),
        (
            lambda q, k, v: (q @ k.T / len(q) ** 0.5).softmax(dim=-1) @ v,
            "The root is that of the number of places. It is d whose products are summed: "
            "q.shape[-1].",
        ),
        (
            lambda q, k, v: (q @ k.T * q.shape[-1] ** 0.5).softmax(dim=-1) @ v,
            "Multiplied by the root of d, where it divides: the softmax is one-hot so.",
        ),
        (
            lambda q, k, v: (q @ k.T / q.shape[-1] ** 0.5).exp() @ v,
            "The weights don't sum to 1: softmax also divides by their sum.",
        ),
        (
            lambda q, k, v: (q @ v.T / q.shape[-1] ** 0.5).softmax(dim=-1) @ k,
            "Keys and values are exchanged: a query is compared with keys, and values are "
            "handed over.",
        ),
        (
            lambda q, k, v: v[(q @ k.T).argmax(dim=-1)],
            "The best token's value alone. Attention is a weighted mean of all.",
        ),
        (
            lambda q, k, v: _look(q, k, v) + q,
            "The query is added. That is the block's shortcut, outside of attention.",
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
            _wrong_law(lambda m_u, m_c, w: m_u + w * (m_u - m_c)),
            "The difference is the wrong way round: this leads away from m_c.",
        ),
        (
            _wrong_law(lambda m_u, m_c, w: m_u + (w - 1) * (m_c - m_u)),
            "At w = 1 this is the unconditional mean. From m_u it is the whole w.",
        ),
        (
            _wrong_law(lambda m_u, m_c, w: m_u + w * m_c),
            "The difference m_c - m_u is scaled, not m_c itself.",
        ),
        (
            _wrong_law(lambda m_u, m_c, w: m_c),
            "That is the conditional mean, at w = 1 alone.",
        ),
        (
            _wrong_law(std=lambda s, w: s**2),
            "The mean is right. The standard deviation is asked for, not the variance.",
        ),
        (
            _wrong_law(std=lambda s, w: s / w),
            "The mean is right. The spread does not shrink: w moves both answers alike.",
        ),
        (
            lambda *case: _law(*case).flip(0),
            "The two are in the wrong order: the mean first.",
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
