"""The parts that every network of the course is built from."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def zero_init(layer: nn.Module) -> nn.Module:
    """Set a layer's weight and bias to zero, so that the branch it ends starts as nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def time_embedding(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Sines and cosines of the time at geometric frequencies (Vaswani et al. 2017, section
    3.5): t [B] to [B, dim].

    The first half of the columns are cosines, the second sines, from the fastest to the
    slowest.
    """
    if dim % 2:
        raise ValueError(
            f"time_embedding needs an even number of columns, not {dim}: half are cosines, "
            "half sines."
        )
    steps = torch.arange(dim // 2, dtype=torch.float32, device=t.device)
    # multiplied first, as Stable Diffusion does it: at t = 1000 the order of rounding shows
    rates = torch.exp(-math.log(max_period) * steps / (dim // 2))
    angles = t.float()[:, None] * rates[None, :]  # [B, dim / 2]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class ResBlock(nn.Module):
    """Two convolutions around a residual path, scaled and shifted by the condition (Dhariwal &
    Nichol 2021, section 3).

    x [B, in_channels, H, W] and emb [B, emb_dim] to [B, out_channels, H, W].
    """

    def __init__(self, in_channels: int, out_channels: int, emb_dim: int, groups: int = 8):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.emb = nn.Linear(emb_dim, 2 * out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.conv2 = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = (
            nn.Conv2d(in_channels, out_channels, 1)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.emb(emb)[:, :, None, None].chunk(
            2, dim=1
        )  # [B, out_channels, 1, 1] each
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))


class Attention(nn.Module):
    """Self-attention among the pixels of a feature map, with its residual path: [B, C, H, W]
    to [B, C, H, W].
    """

    def __init__(self, channels: int, head_dim: int = 32, groups: int = 8):
        super().__init__()
        if channels % head_dim:
            raise ValueError(
                f"Attention cannot cut {channels} channels into heads of {head_dim}."
            )
        self.head_dim = head_dim
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        qkv = self.qkv(self.norm(x)).reshape(B, 3, C // self.head_dim, self.head_dim, H * W)
        q, k, v = qkv.transpose(-1, -2).unbind(dim=1)  # [B, heads, HW, head_dim] each
        # written out: on a CPU and at 49 pixels it is faster than the fused
        # scaled_dot_product_attention
        weights = (q @ k.transpose(-1, -2) / self.head_dim**0.5).softmax(
            dim=-1
        )  # [B, heads, HW, HW]
        h = weights.to(v.dtype) @ v
        return x + self.out(h.transpose(-1, -2).reshape(B, C, H, W))


class Downsample(nn.Module):
    """Halve height and width by a strided convolution: [B, C, H, W] to [B, out_channels, H /
    2, W / 2].
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Double height and width by repeating pixels, then convolve: [B, C, H, W] to [B,
    out_channels, 2 H, 2 W].
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class AddedResBlock(nn.Module):
    """Two convolutions around a residual path; the time is added between them (Ho et al. 2020,
    appendix B; Stable Diffusion 1.x's block).

    x [B, in_channels, H, W] and emb [B, emb_dim] to [B, out_channels, H, W]. With emb_dim None
    the block knows no time, as an autoencoder's does.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        emb_dim: int | None,
        groups: int = 32,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps=eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.emb = nn.Linear(emb_dim, out_channels) if emb_dim is not None else None
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=eps)
        self.conv2 = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = (
            nn.Conv2d(in_channels, out_channels, 1)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor, emb: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.emb is not None:
            h = h + self.emb(emb)[:, :, None, None]  # before the second norm, unlike ResBlock
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """x [B, L, heads * d] to [B, heads, L, d]."""
    B, L, width = x.shape
    return x.reshape(B, L, heads, width // heads).transpose(1, 2)


class CrossAttention(nn.Module):
    """Attention of the places of x among those of a context (Vaswani et al. 2017, section
    3.2): x [B, N, width], context [B, L, context_dim] to [B, N, width].

    Without a context x looks at itself: then context_dim is width.
    """

    def __init__(self, width: int, context_dim: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"CrossAttention cannot cut {width} channels into {heads} heads.")
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(context_dim, width, bias=False)
        self.v = nn.Linear(context_dim, width, bias=False)
        self.out = nn.Linear(width, width)

    def maps(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """How much each place of x looks at each place of the context: [B, heads, N, L], rows
        that sum to 1. This is what a lesson draws.
        """
        context = x if context is None else context
        q, k = split_heads(self.q(x), self.heads), split_heads(self.k(context), self.heads)
        return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k, v = (
            split_heads(layer(source), self.heads)
            for layer, source in ((self.q, x), (self.k, context), (self.v, context))
        )
        # the fused form: at 256 places and on a GPU the maps would cost more than the rest
        h = F.scaled_dot_product_attention(q, k, v)  # [B, heads, N, d]
        return self.out(h.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers around a gated GELU (Shazeer 2020, GEGLU): [B, N, width] to the
    same.
    """

    def __init__(self, width: int, factor: int = 4):
        super().__init__()
        self.inner = nn.Linear(width, 2 * factor * width)
        self.outer = nn.Linear(factor * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h, gate = self.inner(x).chunk(2, dim=-1)  # [B, N, factor * width] each
        return self.outer(h * F.gelu(gate))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention to the text, feed-forward, each on a residual path:
    x [B, N, width], context [B, L, context_dim] to [B, N, width].
    """

    def __init__(self, width: int, context_dim: int, heads: int):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = CrossAttention(width, width, heads)
        self.cross_attention = CrossAttention(width, context_dim, heads)
        self.feed = FeedForward(width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.self_attention(self.norm1(x))
        x = x + self.cross_attention(self.norm2(x), context)
        return x + self.feed(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the places of a feature map (Rombach et al. 2022, section 3.3):
    x [B, C, H, W], context [B, L, context_dim] to [B, C, H, W].
    """

    def __init__(self, channels: int, context_dim: int, heads: int, groups: int, depth: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.inner = nn.Conv2d(channels, channels, 1)
        self.blocks = nn.ModuleList(
            TransformerBlock(channels, context_dim, heads) for _ in range(depth)
        )
        self.outer = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        B, C, H, W = x.shape
        h = self.inner(self.norm(x)).flatten(2).transpose(1, 2)  # [B, HW, C]
        for block in self.blocks:
            h = block(h, context)
        return x + self.outer(h.transpose(1, 2).reshape(B, C, H, W))
