"""How well a picture fits its text, by a judge that neither conditioned nor chose it: CLIP
score (Hessel et al. 2021), the concept found among all, and the style named.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.data import as_saved
from course_lib.data.emoji import LANGUAGES, Concept, emoji, prompt, prompts_of
from course_lib.models import CLIP, ImageClassifier
from course_lib.text import tokenizer

BATCH = 512  # images or texts at a time


def _device(net: torch.nn.Module) -> torch.device:
    return next(net.parameters()).device


@torch.no_grad()
def image_vectors(clip: CLIP, images: Tensor) -> Tensor:
    """Images [N, 3, H, W] in [-1, 1] to unit vectors [N, dim], on the judge's device.

    They are clamped and rounded to 256 levels first, as a saved picture would be.
    """
    parts = as_saved(images).split(BATCH)
    return torch.cat([clip.embed_images(part.to(_device(clip))) for part in parts])


@torch.no_grad()
def text_vectors(clip: CLIP, texts: Sequence[str]) -> Tensor:
    """Texts to unit vectors [N, dim], on the judge's device."""
    parts = tokenizer().encode_all(texts).split(BATCH)
    return torch.cat([clip.embed_texts(part.to(_device(clip))) for part in parts])


def concept_vectors(clip: CLIP, concepts: Sequence[Concept], languages=LANGUAGES) -> Tensor:
    """What the judge expects of each concept in no style: the mean over the languages, a unit
    vector [len(concepts), dim] each.
    """
    vectors = sum(
        text_vectors(clip, [prompt(concept, None, language) for concept in concepts])
        for language in languages
    )
    return F.normalize(vectors, dim=1)


def clip_score(clip: CLIP, images: Tensor, texts: Sequence[str]) -> Tensor:
    """The cosine of each picture with its own text: images [N, 3, H, W], N texts to [N]. The
    paper's 2.5 max(cos, 0) is a scale of this.
    """
    return (image_vectors(clip, images) * text_vectors(clip, texts)).sum(dim=1)


def concept_ranks(vectors: Tensor, concept: Tensor, expected: Tensor) -> Tensor:
    """At which place the right concept is, 0 for the first: unit vectors [N, dim] of images,
    concept [N], expected [concepts, dim] to int64 [N]. Of equals the right one comes last.
    """
    cosines = vectors @ expected.T  # [N, concepts]
    own = cosines.gather(1, concept.to(cosines.device)[:, None])
    return (cosines >= own).sum(dim=1) - 1


def recall_at(ranks: Tensor, k: int = 5) -> float:
    """How often the right one is within the first k."""
    return (ranks < k).double().mean().item()


@torch.no_grad()
def style_named(judge: ImageClassifier, images: Tensor, style: Tensor) -> Tensor:
    """Whether the judge names the asked style: images [N, 3, H, W], style [N], bool [N]."""
    parts = as_saved(images).split(BATCH)
    guesses = torch.cat([judge(part.to(_device(judge))).argmax(dim=1).cpu() for part in parts])
    return guesses == style.cpu()


def style_accuracy(judge: ImageClassifier, images: Tensor, style: Tensor) -> float:
    """How often the judge names the asked style: images [N, 3, H, W], style [N]."""
    return style_named(judge, images, style).double().mean().item()


def each_picture(
    clip: CLIP, style_judge: ImageClassifier, images: Tensor, rows: np.ndarray
) -> dict[str, Tensor]:
    """The figures of each of some pictures made for the prompts of the images `rows` of the
    data set, in that order: images [N, 3, 64, 64] in [-1, 1] to name -> float [N].
    """
    data = emoji()
    concept, style = (torch.from_numpy(a[rows]) for a in (data.concept, data.style))
    vectors = image_vectors(clip, images)
    ranks = concept_ranks(vectors, concept, _expected(clip))
    cosines = (vectors * text_vectors(clip, prompts_of(data, rows))).sum(dim=1)
    return {
        "clip_score": cosines.float().cpu(),
        "style_accuracy": style_named(style_judge, images, style).float(),
        "concept_recall_at_5": (ranks < 5).float().cpu(),
        "concept_recall_at_1": (ranks < 1).float().cpu(),
    }


@lru_cache(maxsize=2)
def _expected(clip: CLIP) -> Tensor:
    return concept_vectors(clip, emoji().concepts)


def picture_figures(
    clip: CLIP, style_judge: ImageClassifier, images: Tensor, rows: np.ndarray
) -> dict:
    """The means of `each_picture`."""
    found = each_picture(clip, style_judge, images, rows)
    return {key: values.double().mean().item() for key, values in found.items()}


def beside_real(
    clip: CLIP, style_judge: ImageClassifier, images: Tensor, rows: np.ndarray
) -> dict:
    """`picture_figures` of pictures, and with `_real` at the end of each name those of the
    images `rows` themselves.
    """
    found = each_beside_real(clip, style_judge, images, rows)
    return {key: round(values.double().mean().item(), 4) for key, values in found.items()}


def each_beside_real(
    clip: CLIP, style_judge: ImageClassifier, images: Tensor, rows: np.ndarray
) -> dict[str, Tensor]:
    """`each_picture` of pictures, and with `_real` at the end of each name those of the images
    `rows` themselves: name -> float [N].
    """
    real = torch.from_numpy(emoji().images[rows]).float() / 127.5 - 1
    made = each_picture(clip, style_judge, images, rows)
    known = each_picture(clip, style_judge, real, rows)
    return {**made, **{f"{key}_real": values for key, values in known.items()}}
