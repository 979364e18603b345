"""The judge of the style of an emoji: which of the seven drew it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.data.emoji import TRAINED_ON, emoji
from course_lib.device import default_device, place
from course_lib.metrics.clip_score import style_accuracy
from course_lib.models import ImageClassifier, ImageClassifierConfig, ImageConfig
from course_lib.recipes.emoji_data import RowBatches, moved, on_device, to_images
from course_lib.runs import Leg, Recipe, Run, Setting
from course_lib.training import Ema, Phase, warmup_flat_decay


@dataclass(frozen=True, kw_only=True)
class StyleRecipe(Recipe):
    """Cross-entropy with smoothed labels on images moved a little."""

    weight_decay: float = 0.05
    smoothing: float = 0.1  # of the labels

    def about(self) -> dict:
        return {
            "what": "Classifier of the seven styles of captioned emoji: a judge; the EMA's "
            "weights.",
            **TRAINED_ON,
        }

    def build(self, setting: Setting) -> Run:
        net, draws, device = (
            setting.begun(ImageClassifier(self.config)),
            setting.draws,
            setting.device,
        )
        forward = setting.prepare(net)
        data, pixels = on_device(device)
        style = torch.from_numpy(data.style).to(device)

        def loss(rows: Tensor) -> dict[str, Tensor]:
            # every style may be mirrored; colours are part of a style, so they stay
            flip = torch.ones(len(rows), dtype=torch.bool)
            x = moved(to_images(pixels[rows]), draws, flip=flip, zoom=0.05, turn=3)
            logits = forward(x).float()
            found = F.cross_entropy(logits, style[rows], label_smoothing=self.smoothing)
            return {"loss": found}

        optimizer = torch.optim.AdamW(
            net.parameters(), lr=self.lr, weight_decay=self.weight_decay
        )
        scale = warmup_flat_decay(flat=setting.leg.flat)
        phase = Phase(self.name, net, loss, optimizer, Ema(net), scale)
        batches = RowBatches(data.rows("train"), self.batch_size, setting)
        return Run([phase], batches, phase.ema.module)

    def figures(self, module: ImageClassifier) -> dict:
        data = emoji()
        rows = data.rows("test")
        images = to_images(torch.from_numpy(data.images[rows]))
        style = torch.from_numpy(data.style[rows])
        judge = place(module, default_device())
        return {"style_accuracy": round(style_accuracy(judge, images, style), 4)}


RECIPE = StyleRecipe(
    name="emoji-style",
    config=ImageClassifierConfig(ImageConfig(widths=(24, 48, 96, 128))),
    batch_size=256,
    lr=2e-3,
    legs=(Leg(1_027, flat=0.3),),
)
