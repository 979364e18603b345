"""The exercises of lesson 07; each grader knows the usual slips. MERGE stands in merge_07.py,
FRECHET, on the distance between crowds, in distance_07.py; what goes on from there is in
further_07.py.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.exercises.distance_07 import FRECHET, frechet_1d
from course_lib.exercises.grader import Exercise
from course_lib.exercises.matching import Bug, Matching
from course_lib.exercises.merge_07 import MERGE, merge_once
from course_lib.metrics.clip_score import concept_ranks, recall_at
from course_lib.models.clip import contrastive_loss

__all__ = [
    "BUGS",
    "COLUMNS",
    "CONTRASTIVE",
    "FRECHET",
    "GALLERY",
    "MERGE",
    "RECALL",
    "contrastive",
    "frechet_1d",
    "gallery",
    "merge_once",
    "readings",
    "recall",
    "text_readings",
]

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


def _to_first(images: Tensor, texts: Tensor, log_scale: float) -> Tensor:
    s = torch.as_tensor(log_scale).exp() * images @ texts.T
    first = torch.zeros(len(s), dtype=torch.int64)
    return (F.cross_entropy(s, first) + F.cross_entropy(s.T, first)) / 2


def _contrastive_cases() -> list[tuple]:
    generator = torch.Generator().manual_seed(7)

    def vectors(B: int) -> Tensor:
        return F.normalize(torch.randn(B, 6, generator=generator), dim=1)

    # tensors, as the net's own is: log_scale.exp() is the usual way
    one, two = torch.tensor(1.5), torch.tensor(2.5)
    return [(vectors(2), vectors(2), one), (vectors(5), vectors(5), two)]


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
            "The scale is missing, or is added, which a softmax doesn't see: cosines reach "
            "only from -1 to 1, so multiply.",
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
        (
            lambda *case: -contrastive(*case),
            "The sign is turned: F.cross_entropy is minus the log already.",
        ),
        (
            _sides(lambda s, log_scale: (log_scale.exp() * s).softmax(dim=1)),
            "The logits have been through a softmax. F.cross_entropy takes logits: it makes "
            "the softmax itself.",
        ),
        (
            lambda images, texts, log_scale: contrastive(images, images, log_scale),
            "The images are compared with themselves: images @ texts.T.",
        ),
        (
            lambda images, texts, log_scale: _to_first(images, texts, log_scale),
            "The first text is the target of all images. Row i belongs to column i: "
            "torch.arange(B).",
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
    noisy[::5] *= -1  # some are farthest from their own, so that no slip is 0 in all cases
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
        (
            lambda *case: 100 * _hit()(*case),
            "These are percent; recall is a share, from 0 to 1.",
        ),
        (
            lambda *case: 1 - _hit()(*case),
            "This is the share that is *not* found.",
        ),
        (
            lambda images, texts, own, k: _hit()(images, texts, torch.arange(len(own)), k),
            "The number of the image is looked for. Its text is row own[i].",
        ),
        (
            lambda images, texts, own, k: _hit()(
                images.repeat(1, 1), texts, own, max(k - 1, 1)
            ),
            "One place too few: the k nearest are ranks 0 to k - 1.",
        ),
    ],
    "Right: chance is k / M.",
    advice="topk(k, dim=1) of images @ texts.T, and whether `own` is among its indices",
)

# ---------------------------------------------------------------- the gallery of bugs


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


GALLERY = Matching(
    "The gallery",
    _HUNG,
    BUGS,
    "Each of these bugs is found by one number.",
)
