"""The U-Net that looks at a noisy image and a time and says what was added."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.errors import CourseError
from course_lib.layers import (
    Attention,
    Downsample,
    ResBlock,
    Upsample,
    time_embedding,
    zero_init,
)


@dataclass(frozen=True)
class UNetConfig:
    """The shape of a `UNet`."""

    channels: int = 1  # of the image
    # pixels of a fold x fold square become channels: 28x28x1 is worked on as 14x14x4
    fold: int = 2
    # channels at each level; the next level has half the height and width
    widths: tuple[int, ...] = (64, 128)
    blocks: int = 2  # residual blocks at each level going down; one more going up
    attention: int = 1  # attention layers at the narrowest place
    head_dim: int = 32  # channels of one attention head
    emb_dim: int = 256  # of the time and class embedding
    classes: int = 10  # labels 0 .. classes - 1; 0: unconditional

    @property
    def null_class(self) -> int:
        """The label that says "no class given"."""
        return self.classes

    @property
    def step(self) -> int:
        """Heights and widths of images are multiples of this."""
        return self.fold * 2 ** (len(self.widths) - 1)


class UNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) told the time and a class (Ho et al. 2020; Dhariwal &
    Nichol 2021).

    x_t [B, channels, H, W], t [B] int or float, cond [B] int class or None to a prediction of
    x_t's shape. H and W are multiples of `UNetConfig.step`, else CourseError.
    """

    def __init__(self, config: UNetConfig = UNetConfig()):
        super().__init__()
        self.config = config
        widths, emb_dim = config.widths, config.emb_dim
        folded = config.channels * config.fold**2
        self.embed_time = nn.Sequential(
            nn.Linear(widths[0], emb_dim), nn.SiLU(), nn.Linear(emb_dim, emb_dim)
        )
        self.embed_class = (
            nn.Embedding(config.classes + 1, emb_dim) if config.classes else None
        )
        self.stem = nn.Conv2d(folded, widths[0], 3, padding=1)

        self.down, skips, width = nn.ModuleList(), [widths[0]], widths[0]
        for level, out_width in enumerate(widths):
            if level:
                self.down.append(Downsample(width, out_width))
                width = out_width
                skips.append(width)
            for _ in range(config.blocks):
                self.down.append(ResBlock(width, out_width, emb_dim))
                width = out_width
                skips.append(width)

        self.middle = nn.ModuleList([ResBlock(width, width, emb_dim)])
        for _ in range(config.attention):
            self.middle += [Attention(width, config.head_dim), ResBlock(width, width, emb_dim)]

        self.up = nn.ModuleList()
        for level in reversed(range(len(widths))):
            for _ in range(config.blocks + 1):
                self.up.append(ResBlock(width + skips.pop(), widths[level], emb_dim))
                width = widths[level]
            if level:
                self.up.append(Upsample(width, widths[level - 1]))
                width = widths[level - 1]
        self.head = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            zero_init(nn.Conv2d(width, folded, 3, padding=1)),
        )

    def check(self, x_t: Tensor):
        """CourseError where x_t isn't a batch of images that this net can halve and double."""
        C, step, shape = self.config.channels, self.config.step, tuple(x_t.shape)
        if len(shape) == 4 and shape[1] == C and min(shape) > 0:
            if shape[2] % step == shape[3] % step == 0:
                return
        raise CourseError(
            f"This net takes images [B, {C}, H, W], one or more, with heights and widths that "
            f"are multiples of {step} ({step}, {2 * step}, {3 * step}, ...), not "
            f"{list(shape)}."
        )

    def embed(self, t: Tensor, cond: Tensor | None) -> Tensor:
        """Time and class as one vector for every block: t [B], cond [B] or None to [B,
        emb_dim].
        """
        emb = self.embed_time(time_embedding(t, self.config.widths[0]))
        if self.embed_class is not None:
            if cond is None:
                cond = torch.full_like(t, self.config.null_class, dtype=torch.long)
            emb = emb + self.embed_class(cond)
        return F.silu(emb)

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.check(x_t)
        emb = self.embed(t, cond)
        h = self.stem(F.pixel_unshuffle(x_t, self.config.fold))  # [B, width, H/fold, W/fold]
        skips = [h]
        for layer in self.down:
            h = layer(h, emb) if isinstance(layer, ResBlock) else layer(h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, emb) if isinstance(layer, ResBlock) else layer(h)
        for layer in self.up:
            if isinstance(layer, ResBlock):
                h = layer(torch.cat([h, skips.pop()], dim=1), emb)
            else:
                h = layer(h)
        return F.pixel_shuffle(self.head(h), self.config.fold)  # [B, channels, H, W]
