"""The small CLIP that is asked for concepts of which it has seen no picture, in no style."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from course_lib.data.emoji import TRAINED_ON, Emoji, emoji, sentence_vectors
from course_lib.device import default_device, place
from course_lib.metrics.clip_score import concept_ranks, image_vectors, recall_at
from course_lib.models import ImageConfig, SentenceCLIP, SentenceCLIPConfig
from course_lib.models.clip import contrastive_loss
from course_lib.optim import Muon
from course_lib.recipes.emoji_data import (
    RowBatches,
    mirrors,
    moved,
    on_device,
    tinted,
    to_images,
)
from course_lib.runs import Leg, Recipe, Run, Setting
from course_lib.training import Ema, Phase, warmup_flat_decay


def concepts_of(data: Emoji, *splits: str) -> np.ndarray:
    """Which concepts are of these splits ("train", "valid", "test"): bool [concepts]."""
    return np.array([concept.split in splits for concept in data.concepts])


def trained_rows(data: Emoji) -> np.ndarray:
    """The images that it is trained on, int64: no held-out pair, no unseen concept."""
    rows = data.rows("train")
    return rows[concepts_of(data, "train")[data.concept[rows]]]


@torch.no_grad()
def among(net: SentenceCLIP, data: Emoji, asked: np.ndarray, crowd: np.ndarray) -> dict:
    """How often a picture's own concept is found first, and within five, among the concepts
    `crowd`, by all pictures of the concepts `asked` in every style; both bool [concepts].
    """
    rows = np.flatnonzero(asked[data.concept])
    vectors = image_vectors(net, to_images(torch.from_numpy(data.images[rows])))
    sentences = torch.from_numpy(sentence_vectors()[crowd]).to(vectors.device)
    place_in = np.cumsum(crowd) - 1  # a concept's number within the crowd
    concept = torch.from_numpy(place_in[data.concept[rows]])
    ranks = concept_ranks(vectors, concept, net.embed_texts(sentences))
    size = int(crowd.sum())
    return {
        "recall_at_1": round(recall_at(ranks, 1), 4),
        "recall_at_5": round(recall_at(ranks, 5), 4),
        "chance_at_5": round(min(5 / max(size, 1), 1.0), 4),
        "concepts": size,
        "n": len(rows),
    }


@dataclass(frozen=True, kw_only=True)
class UnseenRecipe(Recipe):
    """Contrastive training on the pictures of the training concepts; frozen sentences."""

    weight_decay: float = 0.1

    shared = False  # what is contrasted is the whole batch
    stored = torch.int8  # its figures are of what is stored

    def about(self) -> dict:
        return {
            "what": "Small CLIP of captioned emoji on frozen MiniLM sentences; a tenth of the "
            "concepts it has seen in no style; the EMA's weights.",
            **TRAINED_ON,
            "data": "Captioned emoji, the 8,379 training pairs of 1,479 concepts",
        }

    def build(self, setting: Setting) -> Run:
        net, draws = setting.begun(SentenceCLIP(self.config)), setting.draws
        data, pixels = on_device(setting.device)
        concept, flips, sentences = (
            torch.from_numpy(a).to(setting.device)
            for a in (data.concept, mirrors(data), sentence_vectors())
        )

        def loss(rows: Tensor) -> dict[str, Tensor]:
            x = to_images(pixels[rows])
            x = moved(x, draws, flip=flips[rows], zoom=0.2, shift=0.1, turn=12)
            own = concept[rows]
            images, texts = net(tinted(x, draws), sentences[own])
            same = own[:, None] == own[None, :]
            found = contrastive_loss(images, texts, net.scale.float(), same)
            return {"loss": found, "scale": net.scale.detach()}

        scale = warmup_flat_decay(flat=setting.leg.flat)
        phase = Phase(self.name, net, loss, self.optimizer(net), Ema(net), scale)
        batches = RowBatches(trained_rows(data), self.batch_size, setting)
        return Run([phase], batches, phase.ema.module)

    def optimizer(self, net: SentenceCLIP) -> torch.optim.Optimizer:
        """Muon on the convolutions, Adam on the rest."""
        return Muon(net, lr=self.lr, weight_decay=self.weight_decay)

    def figures(self, module: SentenceCLIP) -> dict:
        net, data = place(module, default_device()), emoji()
        test, unseen = concepts_of(data, "test"), concepts_of(data, "test", "valid")
        return {
            "unseen": among(net, data, test, test),
            "unseen_and_valid": among(net, data, unseen, unseen),
            "unseen_among_all": among(net, data, test, np.ones_like(test)),
        }


RECIPE = UnseenRecipe(
    name="emoji-clip-unseen",
    config=SentenceCLIPConfig(ImageConfig(channels=12, widths=(32, 64, 128, 208))),
    batch_size=512,
    lr=2e-3,
    legs=(Leg(1_281, flat=0.3),),
)
