"""The classifier whose features measure every model of the course on Fashion-MNIST."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.data import Batches, to_float
from course_lib.data.fashion import TRAINED_ON, fashion_mnist
from course_lib.draws import Draws
from course_lib.models import ClassifierConfig, FashionClassifier
from course_lib.runs import Leg, Recipe, Run, Setting
from course_lib.training import Ema, Phase, warmup_flat_decay


def augment(x: Tensor, draws: Draws) -> Tensor:
    """Mirror half of the images and shift each by up to two pixels: x [B, 1, 28, 28] to the
    same.
    """
    B = len(x)
    flip = draws.uniform(B, 1, 1, 1) < 0.5
    x = torch.where(flip, x.flip(3), x)
    padded = F.pad(x, (2, 2, 2, 2), value=-1.0)
    rows = draws.integers(5, B, 1) + torch.arange(28)  # [B, 28]
    columns = draws.integers(5, B, 1) + torch.arange(28)
    moved = padded[torch.arange(B)[:, None, None], 0, rows[:, :, None], columns[:, None, :]]
    return moved[:, None]


@torch.no_grad()
def accuracy(net: FashionClassifier, split: str = "test") -> float:
    """The fraction of a split's images that the net names rightly."""
    images, labels = fashion_mnist(split)
    device = next(net.parameters()).device
    parts = to_float(images).split(500)
    guesses = torch.cat([net(part.to(device)).argmax(1).cpu() for part in parts])
    return (guesses == torch.as_tensor(labels.astype("int64"))).double().mean().item()


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe(Recipe):
    """Cross-entropy with smoothed labels on augmented images."""

    weight_decay: float = 0.05
    smoothing: float = 0.1  # of the labels

    stored = None  # float32: the figures of the whole course hang on it
    shared = False  # its batch norm needs the whole batch

    def about(self) -> dict:
        return {
            "what": "Convolutional classifier of Fashion-MNIST; its 128 features are the "
            "course's yardstick.",
            **TRAINED_ON,
        }

    def build(self, setting: Setting) -> Run:
        net = setting.begun(FashionClassifier(self.config))

        def loss(batch) -> dict[str, Tensor]:
            images, labels = batch
            logits = net(augment(images.cpu(), setting.draws).to(images.device)).float()
            loss = F.cross_entropy(logits, labels, label_smoothing=self.smoothing)
            return {"loss": loss}

        optimizer = torch.optim.AdamW(
            net.parameters(), lr=self.lr, weight_decay=self.weight_decay
        )
        scale = warmup_flat_decay(flat=setting.leg.flat)
        phase = Phase(self.name, net, loss, optimizer, Ema(net), scale)
        batches = Batches(*fashion_mnist("train"), self.batch_size, setting.seed)
        return Run([phase], batches, phase.ema.module)

    def figures(self, module: FashionClassifier) -> dict:
        return {
            f"{split}_accuracy": round(accuracy(module, split), 4)
            for split in ("test", "valid")
        }


RECIPE = ClassifierRecipe(
    name="fashion-classifier",
    config=ClassifierConfig(),
    batch_size=128,
    lr=2e-3,
    # ten passes over the training images, about 429 batches each
    legs=(Leg(430 * 10, flat=0.2),),
)
