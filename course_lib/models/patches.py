"""What a flow over patches is made of: the ways to lay an image out in rows, and a layer of
attention that looks back along them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers import zero_init
from course_lib.models.invertible import no_stretch


class Patches(nn.Module):
    """Images to rows of patches: [B, C, H, W] to [B, tokens, C patch^2]; a flow's layer."""

    def __init__(self, patch: int, size: int):
        super().__init__()
        self.patch, self.side = patch, size // patch

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        tokens = F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)
        return tokens, no_stretch(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Patches back to where they were."""
        maps = z.transpose(1, 2).unflatten(2, (self.side, self.side))
        return F.pixel_shuffle(maps, self.patch), no_stretch(z)


class Regroup(nn.Module):
    """Rows of patches [B, T, D] to rows of the same length that hold the first numbers of all
    patches, then the second ones, and so on; a flow's layer.

    A causal block sees no curved dependence between the numbers of one row. After this, those
    of one patch stand in different rows.
    """

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.transpose(1, 2).reshape(x.shape), no_stretch(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Back to patches."""
        B, T, D = z.shape
        return z.reshape(B, D, T).transpose(1, 2), no_stretch(z)


class CausalLayer(nn.Module):
    """Attention to the tokens before and to itself, then an MLP: h [B, T, width] to the same.

    With a cache, h is the next token alone [B, 1, width]; keys and values of the ones before
    are in the cache, a list of two tensors [B, heads, t, head_dim] that grows.
    """

    def __init__(self, width: int, head_dim: int, dropout: float):
        super().__init__()
        self.head_dim = head_dim
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = zero_init(nn.Linear(width, width))
        self.up = nn.Linear(width, 4 * width)
        self.down = zero_init(nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def _attend(self, h: Tensor, cache: list[Tensor] | None) -> Tensor:
        B, T, width = h.shape
        qkv = self.qkv(h).view(B, T, 3, width // self.head_dim, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B, heads, T, head_dim] each
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
            cache[:] = [k, v]
        h = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        return self.out(h.transpose(1, 2).reshape(B, T, width))

    def forward(self, h: Tensor, cache: list[Tensor] | None = None) -> Tensor:
        h = h + self.dropout(self._attend(self.norm1(h), cache))
        return h + self.dropout(self.down(F.gelu(self.up(self.norm2(h)))))
