"""The exercises of lesson 07; each grader knows the usual slips."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.exercises.grader import Exercise, Verdict
from course_lib.metrics.clip_score import concept_ranks, recall_at
from course_lib.models.clip import contrastive_loss

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


def contrastive(images: Tensor, texts: Tensor, log_scale: float) -> Tensor:
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

    return [(vectors(2), vectors(2), 1.5), (vectors(5), vectors(5), 2.5)]


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

# ---------------------------------------------------------------- the gallery of bugs


@dataclass(frozen=True)
class Bug:
    """A line that was written wrong, and what it does to the numbers."""

    line: str
    sign: str


BUGS = {
    1: Bug("nothing is wrong", "has a small loss and a high recall"),
    2: Bug("log_scale used without exp", "raises the loss alone: recall asks for order only"),
    3: Bug("the image vectors are not normalised", "makes cosines larger than 1"),
    4: Bug(
        "the texts are one place further than the images", "leaves pictures and texts apart"
    ),
    5: Bug(
        "the text is read at its start token, not at its first end token",
        "gives every text the same vector: a token sees only those before it",
    ),
    6: Bug("pixels in 0 ... 255, not in -1 ... 1", "makes all pictures nearly one vector"),
    7: Bug("the loss summed over the batch", "multiplies the loss by B and nothing else"),
}
COLUMNS = ("loss / ln B", "recall at 5", "own cosine", "picture-picture", "text-text")
_HUNG = {"A": 6, "B": 2, "C": 1, "D": 5, "E": 7, "F": 3, "G": 4}


def _mean_cosine(vectors: Tensor) -> float:
    """Of two different rows, over all pairs."""
    n, unit = len(vectors), F.normalize(vectors, dim=1)
    return ((unit.sum(dim=0).square().sum() - n) / (n * (n - 1))).item()


@torch.no_grad()
def text_readings(clip, tokens: Tensor) -> dict[bool, Tensor]:
    """Unit vectors [N, dim] of tokens [N, L]: False read at the first end token, True at the
    start.
    """
    states = clip.text(tokens)
    pooled = {False: clip.text.at_end(tokens, states), True: states[:, 0]}
    return {k: F.normalize(clip.text_projection(each), dim=1) for k, each in pooled.items()}


@torch.no_grad()
def readings(bug: int, clip, images: Tensor, own: Tensor, texts: dict) -> dict[str, float]:
    """What one of the BUGS does to the measures of COLUMNS: images [B, 3, H, W], each one's
    concept own [B], and the `text_readings` of all names.
    """
    x = (images + 1) * 127.5 if bug == 6 else images
    pictures = clip.image_projection(clip.image(x))
    if bug != 3:
        pictures = F.normalize(pictures, dim=1)
    all_texts = texts[bug == 5]
    if bug == 4:
        own = own.roll(1)
    mine, same = all_texts[own], own[:, None] == own[None, :]
    scale = clip.log_scale if bug == 2 else clip.scale
    loss = contrastive_loss(pictures, mine, scale, same) * (len(own) if bug == 7 else 1)
    return {
        "loss / ln B": (loss / torch.tensor(float(len(own))).log()).item(),
        "recall at 5": recall(pictures, all_texts, own, 5),
        "own cosine": (pictures * mine).sum(dim=1).mean().item(),
        "picture-picture": _mean_cosine(pictures),
        "text-text": _mean_cosine(mine),
    }


def gallery(clip, images: Tensor, own: Tensor, tokens: Tensor) -> dict[str, dict]:
    """The readings of the seven programs under their letters; tokens [concepts, L] of all
    names.
    """
    texts = text_readings(clip, tokens)
    return {letter: readings(bug, clip, images, own, texts) for letter, bug in _HUNG.items()}


@dataclass(frozen=True)
class Matching:
    """A grader for "which is which"."""

    name: str
    key: Mapping[str, int]

    def __call__(self, answers: Mapping[str, int]) -> Verdict:
        """Grade {letter: number}."""
        given = {letter: answers.get(letter) for letter in self.key}
        if any(number is None or number is Ellipsis for number in given.values()):
            text = f"{self.name} awaits its reader: give each letter the number of its line."
            return Verdict("awaits", text)
        wrong = [letter for letter, number in given.items() if number != self.key[letter]]
        if not wrong:
            return Verdict("right", "All right: each of these bugs is found by one number.")
        letter, right = wrong[0], f"{len(self.key) - len(wrong)} of {len(self.key)} right."
        if given[letter] not in BUGS:
            text = f"{letter}: there is no line {given[letter]!r}; they run from 1 to 7."
            return Verdict("wrong", f"{right} {text}")
        sign = BUGS[given[letter]].sign
        return Verdict("wrong", f"{right} {letter} isn't line {given[letter]}: that {sign}.")


GALLERY = Matching("The gallery", _HUNG)
