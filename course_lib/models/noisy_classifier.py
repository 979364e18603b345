"""A classifier of noised images or latents, which can steer a diffusion model."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers import Downsample, ResBlock, time_embedding


@dataclass(frozen=True)
class NoisyClassifierConfig:
    """The shape of a `NoisyClassifier`."""

    channels: int = 4
    widths: tuple[int, ...] = (48, 96, 128)  # a level's, each of half the side
    blocks: int = 2  # residual blocks at each level
    emb_dim: int = 128  # of the time's embedding
    classes: int = 7
    groups: int = 8
    dropout: float = 0.2  # on the features, in training only


class NoisyClassifier(nn.Module):
    """What a picture shows under its noise (Dhariwal & Nichol 2021, section 4): x_t [B,
    channels, H, W], t [B] int or float to logits [B, classes].

    The way down of a U-Net, told the time in each block, and a mean over the places.
    """

    def __init__(self, config: NoisyClassifierConfig = NoisyClassifierConfig()):
        super().__init__()
        self.config = config
        width, emb_dim = config.widths[0], config.emb_dim
        self.time = nn.Sequential(
            nn.Linear(width, emb_dim), nn.SiLU(), nn.Linear(emb_dim, emb_dim)
        )
        self.stem = nn.Conv2d(config.channels, width, 3, padding=1)
        self.layers = nn.ModuleList()
        for level, out_width in enumerate(config.widths):
            if level:
                self.layers.append(Downsample(width, width))
            for _ in range(config.blocks):
                self.layers.append(ResBlock(width, out_width, emb_dim, config.groups))
                width = out_width
        self.norm = nn.GroupNorm(config.groups, width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, config.classes)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        emb = self.time(time_embedding(t, self.config.widths[0]))
        h = self.stem(x_t)
        for layer in self.layers:
            h = layer(h, emb) if isinstance(layer, ResBlock) else layer(h)
        return self.head(self.dropout(F.silu(self.norm(h)).mean(dim=(2, 3))))
