"""What every normalizing flow is made of: layers that can be undone, and that say by how much
they stretch space.

layer.forward(x, cond=None) -> (z, logdet [B]) and layer.inverse(z, cond=None) -> (x, logdet
[B]), where logdet is the log of |det of the Jacobian| of the very map that was taken; that of
the inverse is minus that of forward. Under any autocast log-determinants are float32.
"""

import math

import torch
from torch import Tensor, nn


def normal_log_prob(z: Tensor) -> Tensor:
    """The log-density of independent standard Normals, in nats an image: z [B, ...] to [B]."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(dim=1)


def no_stretch(x: Tensor) -> Tensor:
    """The log-determinant of a map that only moves numbers about: zeros [B]."""
    return torch.zeros(len(x), dtype=x.dtype, device=x.device)


class Sequence(nn.Module):
    """Layers one after another; their log-determinants add up. Undone from the last."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = no_stretch(x)
        for layer in self.layers:
            x, logdet = layer(x, cond)
            total = total + logdet
        return x, total

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise back to images."""
        total = no_stretch(z)
        for layer in reversed(self.layers):
            z, logdet = layer.inverse(z, cond)
            total = total + logdet
        return z, total


class Inverse(nn.Module):
    """A layer read backwards: its inverse is this one's forward."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.layer.inverse(x, cond)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The layer's own forward."""
        return self.layer(z, cond)
