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
    exponents = torch.arange(dim // 2, dtype=torch.float32, device=t.device) / (dim // 2)
    angles = (
        t.float()[:, None] * torch.exp(-math.log(max_period) * exponents)[None, :]
    )  # [B, dim / 2]
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
