"""The U-Net of text to image: Stable Diffusion 1.x's, by configuration (Rombach et al. 2022).

What sets it apart from the course's first U-Net: the text is looked at by cross-attention at
every place, the time is added instead of scaling, and a step down or up changes no channels.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers import (
    AddedResBlock,
    CrossAttention,
    Downsample,
    SpatialTransformer,
    Upsample,
    time_embedding,
    zero_init,
)


@dataclass(frozen=True)
class TextUNetConfig:
    """The shape of a `TextUNet`; the defaults are Stable Diffusion 1.x's, 860 M parameters."""

    channels: int = 4  # of the latent
    widths: tuple[int, ...] = (320, 640, 1280, 1280)  # channels at each level
    blocks: int = 2  # residual blocks at each level going down; one more going up
    attention: tuple[bool, ...] = (True, True, True, False)  # which levels look at the text
    heads: int = 8  # of attention, at every level
    depth: int = 1  # transformer blocks of one spatial transformer
    context_dim: int = 768  # size of a token's state
    groups: int = 32  # of the group norms


class TextUNet(nn.Module):
    """x_t [B, channels, H, W], t [B], token states cond [B, L, context_dim] to a prediction of
    x_t's shape. H and W are multiples of 2 ** (levels - 1).
    """

    def __init__(self, config: TextUNetConfig = TextUNetConfig()):
        super().__init__()
        self.config = config
        widths = config.widths
        emb_dim = 4 * widths[0]
        self.embed_time = nn.Sequential(
            nn.Linear(widths[0], emb_dim), nn.SiLU(), nn.Linear(emb_dim, emb_dim)
        )
        self.stem = nn.Conv2d(config.channels, widths[0], 3, padding=1)

        def residual(in_width: int, out_width: int) -> AddedResBlock:
            return AddedResBlock(in_width, out_width, emb_dim, config.groups)

        def reader(width: int) -> SpatialTransformer:
            return SpatialTransformer(
                width, config.context_dim, config.heads, config.groups, config.depth
            )

        # each entry is what happens between two skips: a block and its reader, or a step down
        self.down, skips, width = nn.ModuleList(), [widths[0]], widths[0]
        for level, out_width in enumerate(widths):
            if level:
                self.down.append(nn.ModuleList([Downsample(width, width)]))
                skips.append(width)
            for _ in range(config.blocks):
                layers = [residual(width, out_width)]
                layers += [reader(out_width)] if config.attention[level] else []
                self.down.append(nn.ModuleList(layers))
                width = out_width
                skips.append(width)

        self.middle = nn.ModuleList(
            [residual(width, width), reader(width), residual(width, width)]
        )

        # each entry takes one skip
        self.up = nn.ModuleList()
        for level in reversed(range(len(widths))):
            for place in range(config.blocks + 1):
                layers = [residual(width + skips.pop(), widths[level])]
                width = widths[level]
                layers += [reader(width)] if config.attention[level] else []
                layers += [Upsample(width, width)] if level and place == config.blocks else []
                self.up.append(nn.ModuleList(layers))
        self.head = nn.Sequential(
            nn.GroupNorm(config.groups, width),
            nn.SiLU(),
            zero_init(nn.Conv2d(width, config.channels, 3, padding=1)),
        )

    def embed(self, t: Tensor) -> Tensor:
        """The time as one vector for every block: t [B] to [B, 4 * widths[0]]."""
        waves = time_embedding(t, self.config.widths[0])
        return F.silu(self.embed_time(waves.to(self.stem.weight.dtype)))

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        emb = self.embed(t)
        h = self.stem(x_t)
        skips = [h]
        for layers in self.down:
            h = _through(layers, h, emb, cond)
            skips.append(h)
        h = _through(self.middle, h, emb, cond)
        for layers in self.up:
            h = _through(layers, torch.cat([h, skips.pop()], dim=1), emb, cond)
        return self.head(h)  # [B, channels, H, W]


def _through(layers: nn.ModuleList, h: Tensor, emb: Tensor, cond: Tensor) -> Tensor:
    """One entry's layers in turn, each given what it takes beside the map."""
    for layer in layers:
        if isinstance(layer, AddedResBlock):
            h = layer(h, emb)
        elif isinstance(layer, SpatialTransformer):
            h = layer(h, cond)
        else:
            h = layer(h)
    return h


@contextlib.contextmanager
def recorded_maps(net: TextUNet) -> Iterator[dict[str, list[Tensor]]]:
    """While it is open, each look of the net at the text leaves a map: layer -> a tensor
    [B, L, h, w] a call, the weight of each token at each place, the mean over the heads. The
    layers stand in the order in which they run; latents are square.
    """
    maps, hooks = {}, []

    def record(name: str, layer: CrossAttention):
        def before(_, given: tuple):
            with torch.no_grad():
                weights = layer.maps(*given).mean(dim=1)  # [B, N, L]
            side = math.isqrt(weights.shape[1])
            maps[name].append(weights.transpose(1, 2).unflatten(2, (side, side)).float().cpu())

        return layer.register_forward_pre_hook(before)

    for name, layer in net.named_modules():
        if name.endswith("cross_attention"):
            name = ".".join(name.split(".")[:2])
            maps[name] = []
            hooks.append(record(name, layer))
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
