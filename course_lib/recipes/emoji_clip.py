"""The CLIP of captioned emoji whose text tower steers `sd-emoji`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.data.emoji import LANGUAGES, TRAINED_ON, Emoji, emoji
from course_lib.device import default_device, place
from course_lib.metrics.clip_score import (
    concept_ranks,
    concept_vectors,
    image_vectors,
    recall_at,
)
from course_lib.models import CLIP, CLIPConfig, ImageConfig, TextConfig
from course_lib.models.clip import contrastive_loss
from course_lib.recipes.emoji_data import (
    RowBatches,
    caption_table,
    mirrors,
    moved,
    on_device,
    tinted,
    to_images,
)
from course_lib.runs import Leg, Recipe, Run, Setting
from course_lib.text import LENGTH, VOCABULARY
from course_lib.training import Ema, Phase, warmup_flat_decay

TEXT_TOKENS = {"vocabulary": VOCABULARY, "length": LENGTH, "end": 1}


def says_the_same(concept: Tensor, style: Tensor, styled: Tensor) -> Tensor:
    """Which text j is true of which image i, bool [B, B]: the same concept, and the same style
    where the text names one.
    """
    same_style = (style[:, None] == style[None, :]) | ~styled[None, :]
    return (concept[:, None] == concept[None, :]) & same_style


@torch.no_grad()
def retrieval(net: CLIP, data: Emoji, rows) -> dict:
    """Recall of the right concept among all, from the images of `rows`; and by each
    language's texts alone.
    """
    images = to_images(torch.from_numpy(data.images[rows]))
    vectors = image_vectors(net, images)
    concept = torch.from_numpy(data.concept[rows])
    ranks = concept_ranks(vectors, concept, concept_vectors(net, data.concepts))
    found = {f"recall_at_{k}": round(recall_at(ranks, k), 4) for k in (1, 5)}
    for language in LANGUAGES:
        expected = concept_vectors(net, data.concepts, (language,))
        ranks = concept_ranks(vectors, concept, expected)
        found[f"recall_at_5_{language}"] = round(recall_at(ranks), 4)
    return found


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(Recipe):
    """Contrastive training on the training pairs, captions of both languages."""

    weight_decay: float = 0.1
    captions: int = 4  # of each image in each language
    bare: float = 0.25  # share of the captions that name no style
    role: str = "its token states steer sd-emoji"

    shared = False  # what is contrasted is the whole batch

    def about(self) -> dict:
        return {
            "what": f"CLIP of captioned emoji in English and Chinese: {self.role}; the EMA's "
            "weights.",
            **TRAINED_ON,
        }

    def build(self, setting: Setting) -> Run:
        net, draws, device = setting.begun(CLIP(self.config)), setting.draws, setting.device
        data, pixels = on_device(device)
        flips = torch.from_numpy(mirrors(data)).to(device)
        concept, style = (torch.from_numpy(a).to(device) for a in (data.concept, data.style))
        tokens, styled = (
            table.to(device)
            for table in caption_table(data, self.captions, setting.seed, self.bare)
        )

        def loss(rows: Tensor) -> dict[str, Tensor]:
            x = moved(
                to_images(pixels[rows]), draws, flip=flips[rows], zoom=0.2, shift=0.1, turn=12
            )
            x = tinted(x, draws)
            pick = draws.integers(tokens.shape[1], len(rows)).to(device)
            images, texts = net(x, tokens[rows, pick].long())
            same = says_the_same(concept[rows], style[rows], styled[rows, pick])
            found = contrastive_loss(images, texts, net.scale.float(), same)
            return {"loss": found, "scale": net.scale.detach()}

        scale = warmup_flat_decay(flat=setting.leg.flat)
        phase = Phase(self.name, net, loss, self.optimizer(net), Ema(net), scale)
        batches = RowBatches(data.rows("train"), self.batch_size, setting)
        return Run([phase], batches, phase.ema.module)

    def optimizer(self, net: CLIP) -> torch.optim.Optimizer:
        """AdamW; gains, biases and the temperature don't decay, as in the paper."""
        weights = [p for p in net.parameters() if p.ndim > 1]
        rest = [p for p in net.parameters() if p.ndim <= 1]
        groups = [{"params": weights}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(
            groups, lr=self.lr, betas=(0.9, 0.98), weight_decay=self.weight_decay
        )

    def figures(self, module: CLIP) -> dict:
        data = emoji()
        return retrieval(place(module, default_device()), data, data.rows("test"))


IMAGE = ImageConfig(widths=(40, 80, 160, 256))
RECIPE = ClipRecipe(
    name="emoji-clip",
    config=CLIPConfig(
        TextConfig(width=192, layers=3, heads=4, **TEXT_TOKENS), IMAGE, dropout=0.1
    ),
    batch_size=1024,
    lr=1e-3,
    legs=(Leg(1_329, flat=0.3),),
)
