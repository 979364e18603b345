"""Generator and discriminator without any normalisation, after R3GAN (Huang et al. 2024)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of the leaky ReLU below 0
GAIN = (2 / (1 + SLOPE**2)) ** 0.5  # what it takes from a Normal's standard deviation


@dataclass(frozen=True)
class GanConfig:
    """The shape of a `Generator` and of a `Discriminator`."""

    channels: int = 1  # of the image
    z_dim: int = 64  # numbers of noise an image
    start: int = 7  # places a side at the narrowest
    fold: int = 1  # each fold x fold square of pixels is one place with fold^2 channels inside
    widths: tuple[int, ...] = (192, 96, 32)  # channels at 7x7, 14x14 and 28x28 places
    blocks: int = 2  # residual blocks at each size
    expand: int = 2  # channels inside a block, as a multiple of those outside
    group: int = 32  # channels a group of the 3x3 convolution inside
    emb_dim: int = 64  # of a class
    classes: int = 10  # labels 0 .. classes - 1

    @property
    def depth(self) -> int:
        """Residual blocks in all, which the initialisation is scaled by."""
        return self.blocks * len(self.widths)

    @property
    def side(self) -> int:
        """Pixels a side of an image: each level has twice those of the one before."""
        return self.start * 2 ** (len(self.widths) - 1) * self.fold


def _init(layer: nn.Module, gain: float) -> nn.Module:
    """Normal weights that keep the variance, times a gain (He et al. 2015, eq. 10)."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, std=gain / fan_in**0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """A residual block: 1x1 wider, 3x3 in groups, 1x1 back; x [B, C, H, W] to the same.

    Started after Fixup (Zhang et al. 2019, section 3), which stands in for a normalisation:
    the last convolution is zero, the others are scaled by depth^(-1/4), for three layers.
    """

    def __init__(self, width: int, config: GanConfig):
        super().__init__()
        inner = width * config.expand
        gain = GAIN * config.depth**-0.25
        self.widen = _init(nn.Conv2d(width, inner, 1), gain)
        self.mix = _init(
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner // config.group), gain
        )
        self.narrow = _init(nn.Conv2d(inner, width, 1, bias=False), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.widen(x), SLOPE)
        h = F.leaky_relu(self.mix(h), SLOPE)
        return x + self.narrow(h)


class Resample(nn.Module):
    """Twice or half the pixels a side, bilinearly, and the next level's channels by a 1x1."""

    def __init__(self, in_width: int, out_width: int, scale: float):
        super().__init__()
        self.scale = scale
        self.conv = _init(nn.Conv2d(in_width, out_width, 1, bias=False), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        if self.scale < 1:  # a bilinear halving is the mean of each 2x2 square
            return self.conv(F.avg_pool2d(x, 2))
        return F.interpolate(self.conv(x), scale_factor=2.0, mode="bilinear")


class Generator(nn.Module):
    """Noise z [B, z_dim] and classes cond [B] to images [B, channels, H, W], in one call.

    They are about in [-1, 1]: nothing bounds them, the discriminator does.
    """

    def __init__(self, config: GanConfig = GanConfig()):
        super().__init__()
        self.config = config
        widths, side = config.widths, config.start
        self.embed = nn.Embedding(config.classes, config.emb_dim)
        # a picture of 7x7 for each channel, whose strengths z and the class choose
        self.basis = nn.Parameter(torch.randn(widths[0], side, side))
        self.choose = _init(nn.Linear(config.z_dim + config.emb_dim, widths[0]), 1.0)
        self.layers = nn.Sequential()
        for level, width in enumerate(widths):
            if level:
                self.layers.append(Resample(widths[level - 1], width, 2))
            self.layers.extend(Block(width, config) for _ in range(config.blocks))
        folded = config.channels * config.fold**2
        self.head = _init(nn.Conv2d(widths[-1], folded, 1, bias=False), 1.0)

    def forward(self, z: Tensor, cond: Tensor) -> Tensor:
        strengths = self.choose(torch.cat([z, self.embed(cond)], dim=1))
        h = strengths[:, :, None, None] * self.basis  # [B, widths[0], start, start]
        return F.pixel_shuffle(self.head(self.layers(h)), self.config.fold)


class Discriminator(nn.Module):
    """Images [B, channels, H, W] and classes cond [B] to a logit [B] each: the generator's
    mirror image, and the class asked by an inner product (Miyato & Koyama 2018, eq. 3).
    """

    def __init__(self, config: GanConfig = GanConfig()):
        super().__init__()
        self.config = config
        widths, side = config.widths[::-1], config.start
        folded = config.channels * config.fold**2
        self.stem = _init(nn.Conv2d(folded, widths[0], 1, bias=False), 1.0)
        self.layers = nn.Sequential()
        for level, width in enumerate(widths):
            if level:
                self.layers.append(Resample(widths[level - 1], width, 0.5))
            self.layers.extend(Block(width, config) for _ in range(config.blocks))
        self.basis = nn.Parameter(torch.randn(widths[-1], side, side) / side)
        self.head = _init(nn.Linear(widths[-1], config.emb_dim), 1.0)
        self.embed = nn.Embedding(config.classes, config.emb_dim)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        h = self.layers(self.stem(F.pixel_unshuffle(x, self.config.fold)))
        h = self.head((h * self.basis).sum(dim=(2, 3)))  # over start x start: [B, emb_dim]
        return (h * self.embed(cond)).sum(dim=1) / self.config.emb_dim**0.5


def truncate(z: Tensor, limit: float) -> Tensor:
    """Normal noise of any shape pressed into [-limit, limit], where it has the truncated
    Normal's law: likelier and less various images (Brock et al. 2019, section 3.1).

    Each number keeps its rank, by the two distribution functions, so that a slider on limit
    moves an image and does not replace it. Raises ValueError for a limit that is not above 0.
    """
    if limit <= 0:
        raise ValueError(f"The limit of a truncation is above 0, not {limit}.")
    law = torch.distributions.Normal(0.0, 1.0)
    edge = law.cdf(torch.tensor(float(limit), dtype=torch.float64, device=z.device))
    # from the near end, since 1 - 1e-17 is 1: the lower half is exact, the upper its mirror
    rank = (1 - edge) + (2 * edge - 1) * law.cdf(-z.double().abs())
    return (law.icdf(rank).abs().clamp(max=limit) * z.sign()).to(z.dtype)
