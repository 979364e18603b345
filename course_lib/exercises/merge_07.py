"""Lesson 07's first exercise: one merge of a tokenizer."""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise

# ---------------------------------------------------------------- 1: one merge


def _pairs(ids: Tensor) -> Counter:
    row = ids.tolist()
    return Counter(zip(row, row[1:], strict=False))


def _merged(ids: Tensor, pair: tuple, new: list[int], most: int | None = None) -> Tensor:
    """Each `pair` in ids [L], from the left, gives way to the tokens `new`."""
    row, out, done = ids.tolist(), [], 0
    while row:
        if tuple(row[:2]) == pair and done != most:
            out, row, done = out + new, row[2:], done + 1
        else:
            out, row = out + row[:1], row[1:]
    return torch.tensor(out)


def merge_once(ids: Tensor, new: int) -> Tensor:
    """The most frequent pair of neighbours in ids int64 [L] joined to the one token `new`
    wherever it stands, from the left: int64 [at most L - 1] (Sennrich et al. 2016, alg. 1).
    """
    return _merged(ids, _pairs(ids).most_common(1)[0][0], [new])


def _frequent_tokens(ids: Tensor, new: int) -> Tensor:
    (first, _), (second, _) = Counter(ids.tolist()).most_common(2)
    return _merged(ids, (first, second), [new])


def _rarest(ids: Tensor, new: int) -> Tensor:
    pairs = _pairs(ids)
    return _merged(ids, min(pairs, key=pairs.get), [new])


def _most_of_both_orders(ids: Tensor, new: int) -> Tensor:
    """The pair that is most frequent when the order doesn't count, in its first order."""
    pairs = _pairs(ids)
    both = max(pairs, key=lambda p: pairs[p] + (pairs[p[::-1]] if p != p[::-1] else 0))
    return _merged(ids, tuple(sorted(both)), [new])


def _pair_of(ids: Tensor) -> tuple:
    return _pairs(ids).most_common(1)[0][0]


def _bent_count(count: Callable) -> Callable:
    """Merging with the pairs counted in another way: count(row) gives a Counter."""
    return lambda ids, new: _merged(ids, count(ids.tolist()).most_common(1)[0][0], [new])


_MERGE_CASES = [
    (torch.tensor([4, 1, 8, 1, 8, 1, 8, 5, 5, 2, 5, 5, 3]), 12),  # all at odd places
    (torch.tensor([7, 1, 2, 3, 1, 2, 4, 4, 1, 2, 5, 4, 4]), 9),
    (torch.tensor([5, 5, 5, 5, 3, 5, 5, 5, 2, 3]), 8),  # a run: pairs that overlap
    (torch.tensor([2, 6, 1, 6, 2, 6, 3, 2, 6, 6, 3]), 10),
    (torch.tensor([1, 8, 2, 1, 8, 3, 1, 8, 4, 4, 3, 4, 5, 3, 4, 4, 3, 5]), 11),
]

MERGE = Exercise(
    "merge_once",
    merge_once,
    _MERGE_CASES,
    [
        (
            lambda ids, new: _merged(ids, _pair_of(ids), [new], most=1),
            "Only the first place is merged: the pair becomes one token wherever it stands.",
        ),
        (
            lambda ids, new: _merged(ids, _pair_of(ids), [new, _pair_of(ids)[1]]),
            "The new token stands there, but its right half too: after a merge go on two "
            "tokens further.",
        ),
        (
            lambda ids, new: _merged(ids, _pair_of(ids)[::-1], [new]),
            "The pair is merged the wrong way round: (a, b) is a followed by b.",
        ),
        (
            _frequent_tokens,
            "These are the two most frequent *tokens*. Count pairs of neighbours: "
            "zip(row, row[1:]).",
        ),
        (_rarest, "This is the rarest pair: the most frequent one is merged first."),
        (
            _bent_count(lambda row: Counter(zip(row[::2], row[1::2], strict=False))),
            "Only every second pair is counted. Neighbours overlap: zip(row, row[1:]).",
        ),
        (
            _bent_count(lambda row: Counter(zip(row, row[2:], strict=False))),
            "These are tokens two places apart: neighbours are zip(row, row[1:]).",
        ),
        (
            _most_of_both_orders,
            "(a, b) and (b, a) are counted as one pair. They are two: the order matters.",
        ),
        (
            lambda ids, new: _merged(ids, _pair_of(ids), [new, new]),
            "The pair becomes two new tokens. It becomes one.",
        ),
        (
            lambda ids, new: _merged(ids, _pair_of(ids), []),
            "The pair is cut out, and nothing stands in its place: append the new token.",
        ),
    ],
    "Right: 3,838 of these merges, in the order found, are our tokenizer.",
    dtype_hint="The values are right, but tokens are whole numbers: an int tensor.",
    advice="count neighbours with Counter(zip(row, row[1:])), then walk from the left",
)
