"""The classifier whose features measure the pictures of every lesson."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ClassifierConfig:
    """The shape of a `FashionClassifier`."""

    widths: tuple[int, ...] = (32, 64, 128)  # channels at 28x28, 14x14 and 7x7
    features: int = 128  # numbers an image is described by, the layer before the last
    classes: int = 10
    dropout: float = 0.3  # on the features, in training only


def _conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Convolution, batch norm and ReLU: [B, in_channels, H, W] to [B, out_channels, H, W]."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class FashionClassifier(nn.Module):
    """A small convolutional classifier: images [B, 1, 28, 28] in [-1, 1] to logits [B,
    classes].
    """

    def __init__(self, config: ClassifierConfig = ClassifierConfig()):
        super().__init__()
        self.config = config
        stages, width = [], 1
        for level, out_width in enumerate(config.widths):
            stages += [nn.MaxPool2d(2)] if level else []
            stages += [_conv(width, out_width), _conv(out_width, out_width)]
            width = out_width
        self.stages = nn.Sequential(*stages)
        self.project = nn.Linear(width, config.features)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.features, config.classes)

    def features(self, x: Tensor) -> Tensor:
        """The numbers that a Fréchet distance compares: x [B, 1, 28, 28] to [B, features],
        none negative.
        """
        h = self.stages(x).mean(dim=(2, 3))  # [B, width]
        return F.relu(self.project(h))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(x)))
