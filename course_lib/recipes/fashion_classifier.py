"""The classifier whose features measure every model of the course on Fashion-MNIST."""

import functools
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.data import Batches, to_float
from course_lib.data.fashion import fashion_mnist
from course_lib.device import default_device, place
from course_lib.models import ClassifierConfig, FashionClassifier
from course_lib.training import Ema, Phase, launched_processes, train, warmup_flat_decay
from course_lib.weights import WEIGHTS, save_weights

NAME = "fashion-classifier"
CONFIG = ClassifierConfig()
BATCH_SIZE = 128
STEPS = 430 * 10  # ten passes over the training images, about 429 batches each
LR = 2e-3
SEED = 0


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images and shift each by up to two pixels: x [B, 1, 28, 28] to the
    same.
    """
    B = len(x)
    flip = torch.rand(B, 1, 1, 1, generator=generator) < 0.5
    x = torch.where(flip, x.flip(3), x)
    padded = F.pad(x, (2, 2, 2, 2), value=-1.0)
    rows = torch.randint(5, (B, 1), generator=generator) + torch.arange(28)  # [B, 28]
    columns = torch.randint(5, (B, 1), generator=generator) + torch.arange(28)
    return padded[torch.arange(B)[:, None, None], 0, rows[:, :, None], columns[:, None, :]][
        :, None
    ]


def classification_loss(
    net: FashionClassifier, generator: torch.Generator, batch
) -> dict[str, Tensor]:
    """Cross-entropy with smoothed labels on augmented images: {"loss": []}."""
    images, labels = batch
    logits = net(augment(images.cpu(), generator).to(images.device))
    return {"loss": F.cross_entropy(logits.float(), labels, label_smoothing=0.1)}


@torch.no_grad()
def accuracy(net: FashionClassifier, split: str = "test") -> float:
    """The fraction of a split's images that the net names rightly."""
    images, labels = fashion_mnist(split)
    device = next(net.parameters()).device
    guesses = torch.cat(
        [net(part.to(device)).argmax(1).cpu() for part in to_float(images).split(500)]
    )
    return (guesses == torch.as_tensor(labels.astype("int64"))).double().mean().item()


def run(*, steps: int = STEPS, folder=None, out=None, log=print):
    """Train from nothing, in one go and one process, and write the weights and their card."""
    if steps < 1:
        raise ValueError(f"Train for 1 or more steps, not {steps}.")
    if folder is not None:
        raise ValueError(
            f"{NAME} trains in some minutes and keeps no checkpoint: leave --folder out."
        )
    if launched_processes() > 1:
        raise ValueError(
            f"{NAME} trains in one process: start it without accelerate or torchrun."
        )
    began = time.time()
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    net = place(FashionClassifier(CONFIG), default_device())
    ema = Ema(net)
    images, labels = fashion_mnist("train")
    batches = Batches(images, labels, BATCH_SIZE, SEED)
    phase = Phase(
        NAME,
        net,
        functools.partial(classification_loss, net, generator),
        torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=0.05),
        ema,
        warmup_flat_decay(flat=0.2),
    )
    for done in train(phase, batches, steps):
        if done.step % 430 == 0:
            log(
                f"step {done.step} of {steps}: loss {done.loss:.4f}, lr {done.lr:.1e}, "
                f"{time.time() - began:.0f} s"
            )
    card = {
        "name": NAME,
        "what": "Convolutional classifier of Fashion-MNIST; its 128 features are the "
        "course's yardstick.",
        "command": "python -m course_lib train fashion-classifier",
        "data": "Fashion-MNIST, 55,000 training images",
        "seed": SEED,
        "steps": steps,
        "batch_size": BATCH_SIZE,
        "parameters": sum(p.numel() for p in net.parameters()),
        "seconds": round(time.time() - began),
        "figures": {
            "test_accuracy": round(accuracy(ema.module), 4),
            "valid_accuracy": round(accuracy(ema.module, "valid"), 4),
        },
    }
    path = save_weights(ema.module, Path(out or WEIGHTS) / NAME, card)
    log(f"{path}: {card['figures']}")
