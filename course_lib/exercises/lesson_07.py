"""The exercises of lesson 07; each grader knows the usual slips."""

from collections import Counter
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.exercises.gallery_07 import BUGS, COLUMNS, GALLERY, gallery
from course_lib.exercises.grader import Exercise
from course_lib.metrics.clip_score import concept_ranks, recall_at
from course_lib.models.clip import contrastive_loss

__all__ = [
    "BIAS",
    "BUGS",
    "COLUMNS",
    "CONTRASTIVE",
    "FRECHET",
    "GALLERY",
    "MERGE",
    "RECALL",
    "gallery",
]

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


def _pair_of(ids: Tensor) -> tuple:
    return _pairs(ids).most_common(1)[0][0]


_MERGE_CASES = [
    (torch.tensor([7, 1, 2, 3, 1, 2, 4, 4, 1, 2, 5, 4, 4]), 9),
    (torch.tensor([5, 5, 5, 5, 3, 5, 5, 5, 2, 3]), 8),  # a run: pairs that overlap
    (torch.tensor([2, 6, 1, 6, 2, 6, 3, 2, 6, 6, 3]), 10),
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
    ],
    "Right: 3,838 of these merges, in the order found, are our tokenizer.",
    advice="count neighbours with Counter(zip(row, row[1:])), then walk from the left",
)

# ---------------------------------------------------------------- 2: the contrastive loss


def contrastive(images: Tensor, texts: Tensor, log_scale: float | Tensor) -> Tensor:
    """CLIP's loss of unit vectors [B, D] and [B, D] whose rows belong together: a number."""
    return contrastive_loss(images, texts, torch.as_tensor(log_scale).exp())


def _sides(logits: Callable) -> Callable:
    """The loss of both directions over other logits."""

    def loss(images: Tensor, texts: Tensor, log_scale: float) -> Tensor:
        s, own = logits(images @ texts.T, torch.as_tensor(log_scale)), torch.arange(len(texts))
        return (F.cross_entropy(s, own) + F.cross_entropy(s.T, own)) / 2

    return loss


def _one_side(turn: bool) -> Callable:
    def loss(images: Tensor, texts: Tensor, log_scale: float) -> Tensor:
        s = torch.as_tensor(log_scale).exp() * images @ texts.T
        return F.cross_entropy(s.T if turn else s, torch.arange(len(s)))

    return loss


def _contrastive_cases() -> list[tuple]:
    generator = torch.Generator().manual_seed(7)

    def vectors(B: int) -> Tensor:
        return F.normalize(torch.randn(B, 6, generator=generator), dim=1)

    # tensors, as the net's own is: log_scale.exp() is the usual way
    return [
        (vectors(2), vectors(2), torch.tensor(1.5)),
        (vectors(5), vectors(5), torch.tensor(2.5)),
    ]


def _loses_the_gradient(attempt: Callable) -> bool:
    images, texts, log_scale = _contrastive_cases()[0]
    return not attempt(images, texts, log_scale.requires_grad_()).requires_grad


CONTRASTIVE = Exercise(
    "contrastive",
    contrastive,
    _contrastive_cases(),
    [
        (
            _sides(lambda s, log_scale: log_scale * s),
            "log_scale is the *logarithm* of what cosines are multiplied by: exponentiate it. "
            "Without that the softmax stays flat and little is learnt.",
        ),
        (
            _sides(lambda s, log_scale: s / log_scale.exp()),
            "Multiplied, not divided: exp(log_scale) is one over the temperature.",
        ),
        (
            _sides(lambda s, log_scale: s),
            "The scale is missing: cosines reach only from -1 to 1.",
        ),
        (
            _one_side(False),
            "Half is right, each image among all texts. The other half is each text among all "
            "images, the same table transposed; the loss is their mean.",
        ),
        (
            _one_side(True),
            "Half is right, each text among all images. The other half is each image among "
            "all texts; the loss is their mean.",
        ),
        (
            lambda *case: 2 * contrastive(*case),
            "The mean of the two directions, not their sum: then chance is log B.",
        ),
        (
            lambda images, *rest: len(images) * contrastive(images, *rest),
            "A sum over the batch where the mean belongs: chance would be B log B.",
        ),
    ],
    "Right: this loss trains three nets below.",
    habits=[
        (
            _loses_the_gradient,
            "The value is right, but no gradient reaches log_scale, so the temperature would "
            "never be learnt: take log_scale.exp(), not math.exp.",
        )
    ],
    advice="the logits are exp(log_scale) times images @ texts.T, the targets 0 ... B - 1",
)

# ---------------------------------------------------------------- 3: recall


def recall(images: Tensor, texts: Tensor, own: Tensor, k: int) -> float:
    """How often an image's own text is among the k nearest: unit vectors [N, D] and [M, D],
    own int64 [N], the right row of texts for each image; a number from 0 to 1.
    """
    return recall_at(concept_ranks(images, own, texts), k)


def _hit(k_more: int = 0, far: bool = False) -> Callable:
    def found(images: Tensor, texts: Tensor, own: Tensor, k: int) -> float:
        near = (images @ texts.T).topk(k + k_more, dim=1, largest=not far).indices
        return (near == own[:, None]).any(dim=1).double().mean().item()

    return found


def _recall_cases() -> list[tuple]:
    generator = torch.Generator().manual_seed(3)
    texts = F.normalize(torch.randn(12, 5, generator=generator), dim=1)
    own = torch.randint(12, (60,), generator=generator)
    noisy = texts[own] + 0.6 * torch.randn(60, 5, generator=generator)
    images = F.normalize(noisy, dim=1)
    return [(images, texts, own, 1), (images, texts, own, 3)]


RECALL = Exercise(
    "recall",
    recall,
    _recall_cases(),
    [
        (_hit(far=True), "These are the k *farthest* texts: a large cosine is near."),
        (_hit(1), "One place too many: the first k are ranks 0 to k - 1."),
        (
            lambda *case: _hit()(*case) * len(case[0]),
            "This counts; recall is the share, from 0 to 1: divide by the number of images.",
        ),
        (
            lambda images, texts, own, k: _hit()(images, texts, own, k) / k,
            "Divided by k: that is precision. An image counts once, found or not.",
        ),
        (
            lambda images, texts, own, k: _hit()(images, texts, own, 1),
            "This is recall at 1: k isn't used.",
        ),
    ],
    "Right: chance is k / M.",
    advice="topk(k, dim=1) of images @ texts.T, and whether `own` is among its indices",
)

# ---------------------------------------------------------------- 4: Fréchet in one dimension


def frechet_1d(a: Tensor, b: Tensor) -> Tensor:
    """Squared Fréchet distance of the Normals fitted to numbers a [N] and b [M]."""
    return (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2


def _apart(spread: Callable) -> Callable:
    return lambda a, b: (a.mean() - b.mean()) ** 2 + spread(a, b)


def _frechet_cases() -> list[tuple]:
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.randn(n, generator=generator, dtype=torch.float64) for n in (30, 50))
    return [(1 + 0.6 * a, 2.5 * b), (3 * b, 1.2 + 2 * a)]


FRECHET = Exercise(
    "frechet_1d",
    frechet_1d,
    _frechet_cases(),
    [
        (
            _apart(lambda a, b: (a.var() - b.var()) ** 2),
            "Standard deviations, not variances: a Normal is moved onto another by "
            "stretching, and the stretch is in standard deviations.",
        ),
        (
            _apart(lambda a, b: (a.var() - b.var()).abs()),
            "|s_a^2 - s_b^2| is not (s_a - s_b)^2: take the roots first.",
        ),
        (_apart(lambda a, b: a.var() + b.var()), "The term -2 s_a s_b is missing."),
        (
            _apart(lambda a, b: (a.std(correction=0) - b.std(correction=0)) ** 2),
            "Almost: these spreads divide by N. Divide by N - 1, as torch.std and the library "
            "do.",
        ),
        (
            _apart(lambda a, b: a.var() + b.var() - 2 * a.var() * b.var()),
            "The last term is 2 s_a s_b, the root of the product of the variances.",
        ),
        (
            _apart(lambda a, b: (a.std() - b.std()).abs()),
            "The difference of the spreads isn't squared.",
        ),
        (lambda a, b: frechet_1d(a, b).sqrt(), "This is its root: FID is the *squared* one."),
        (
            lambda a, b: (a.mean() - b.mean()) ** 2,
            "The means only: two crowds of equal mean and unequal spread would be alike.",
        ),
    ],
    "Right: in one dimension, FID is this.",
    rtol=1e-6,
)

# ---------------------------------------------------------------- 5: its bias


def mean_bias(cov: Tensor, N: int, M: int) -> Tensor:
    """E|mean of N - mean of M|^2 of two crowds drawn from one law of covariance cov [D, D]."""
    return cov.trace() * (1 / N + 1 / M)


_COV = torch.tensor([[2.0, 0.7, 0.1], [0.7, 1.5, 0.2], [0.1, 0.2, 4.0]], dtype=torch.float64)

BIAS = Exercise(
    "mean_bias",
    mean_bias,
    [(_COV, 10, 40), (_COV[:2, :2], 7, 3)],
    [
        (
            lambda cov, N, M: cov.sum() * (1 / N + 1 / M),
            "The covariances beside the diagonal don't count: |x|^2 adds up the *variances*.",
        ),
        (lambda cov, N, M: cov.det() * (1 / N + 1 / M), "The trace, not the determinant."),
        (
            lambda cov, N, M: cov.trace() / (N + M),
            "1 / (N + M) is for one pooled mean. Two independent means: their variances add, "
            "1 / N + 1 / M.",
        ),
        (lambda cov, N, M: cov.trace() / N, "The other crowd's mean is random too: + 1 / M."),
        (
            lambda cov, N, M: cov.trace() * (1 / N - 1 / M),
            "Variances of independent things add, also in a difference.",
        ),
    ],
    "Right: the same law, and yet a distance above 0.",
    rtol=1e-6,
)
