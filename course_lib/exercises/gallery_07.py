"""The gallery of lesson 07: seven ways to measure a CLIP, six of them with a wrong line."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.exercises.grader import Verdict
from course_lib.metrics.clip_score import concept_ranks, recall_at
from course_lib.models.clip import contrastive_loss


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
        "recall at 5": recall_at(concept_ranks(pictures, own, all_texts), 5),
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
