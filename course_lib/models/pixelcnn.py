"""PixelCNN: a picture is drawn pixel by pixel, each from all that stand before it."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers import zero_init

LEVELS = 256  # grey levels: level n stands at 2 n / 255 - 1


@dataclass(frozen=True)
class PixelCNNConfig:
    """The shape of a `PixelCNN`."""

    # of both stacks; a multiple of 32 keeps the two samplers of pixel_sampling.py equal
    channels: int = 64
    dilations: tuple[int, ...] = (1, 2, 1, 4, 1, 2, 1, 4, 1, 2, 1, 4)  # one a block
    mixtures: int = 10  # logistics in a pixel's distribution
    classes: int = 10  # labels 0 .. classes - 1; `classes` itself says "no class given"
    dropout: float = 0.0  # of the channels' values in a block, in training


def levels_of(x: Tensor) -> Tensor:
    """Images as bytes [B, H, W] or [B, 1, H, W], or float in [-1, 1], to floats 0 .. 255,
    [B, 1, H, W].
    """
    if x.dtype == torch.uint8:
        return x.float() if x.ndim == 4 else x.float().unsqueeze(1)
    return ((x.float() + 1) * 127.5).round().clamp(0, LEVELS - 1)


def split_mixture(params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A net's output [B, 3 K, ...] to log weights, means, log scales [B, K, ...], float32."""
    logits, means, log_scales = params.float().chunk(3, dim=1)
    return logits.log_softmax(dim=1), means, log_scales.clamp(min=-7)


def mixture_log_prob(params: Tensor, levels: Tensor) -> Tensor:
    """log p of grey levels under a mixture of discretised logistics (Salimans et al. 2017,
    eq. 2).

    params [B, 3 K, ...] and levels [B, 1, ...] to nats [B, ...]. A level's bin is 2 / 255
    wide; the bins of black and of white are open to the outside, so that all 256 sum to 1. A
    logistic's share of a bin with edges a > b, in its own units, is sigmoid(a) - sigmoid(b) =
    sigmoid(a) sigmoid(-b) (1 - exp(b - a)): written so, no digits are lost in the tails.
    """
    log_weights, means, log_scales = split_mixture(params)
    centered = levels / 127.5 - 1 - means
    inverse = torch.exp(-log_scales)
    upper = F.logsigmoid((centered + 1 / 255) * inverse)  # log of the share below the top
    lower = F.logsigmoid((1 / 255 - centered) * inverse)  # log of the share above the bottom
    width = torch.log(-torch.expm1(-2 / 255 * inverse))
    inner = (levels > 0) & (levels < LEVELS - 1)
    log_probs = (
        torch.where(levels < LEVELS - 1, upper, 0.0)
        + torch.where(levels > 0, lower, 0.0)
        + torch.where(inner, width, 0.0)
    )
    return torch.logsumexp(log_weights + log_probs, dim=1)


def mixture_table(params: Tensor) -> Tensor:
    """log p of every grey level: params [B, 3 K, H, W] to [B, 256, H, W]."""
    every = torch.arange(LEVELS, device=params.device).float()
    log_probs = [mixture_log_prob(params, level.expand_as(params[:, :1])) for level in every]
    return torch.stack(log_probs, dim=1)


def entropy_map(params: Tensor) -> Tensor:
    """How uncertain the net is of each pixel, in bits: params [B, 3 K, H, W] to [B, H, W]."""
    table = mixture_table(params)
    return -(table.exp() * table).sum(dim=1) / math.log(2)


def draw_levels(params: Tensor, uniforms: Tensor) -> Tensor:
    """Grey levels drawn by inversion: params [B, 3 K], uniforms [B] in [0, 1) to floats [B].

    The level is the number of inner edges at which the distribution function is at most u.
    """
    log_weights, means, log_scales = split_mixture(params)
    edges = (torch.arange(LEVELS - 1, device=params.device) + 0.5) / 127.5 - 1  # [255]
    below = torch.sigmoid(
        (edges[:, None, None] - means) * torch.exp(-log_scales)
    )  # [255, B, K]
    return ((log_weights.exp() * below).sum(dim=2) <= uniforms).sum(dim=0).float()


class CausalBlock(nn.Module):
    """A gated residual step of both stacks (van den Oord et al. 2016, section 2).

    The vertical stack may look at rows above a pixel, the horizontal one also to its left in
    its own row. The horizontal stack reads the vertical one, and never the other way round:
    the vertical one reads its right-hand neighbour's value too, which, had it taken from the
    horizontal stack, would know pixels of its own row up to there. Both methods take their
    input padded already, so that a window of one pixel goes the same way as a whole picture.
    """

    def __init__(self, channels: int, dilation: int, dropout: float):
        super().__init__()
        C = channels
        # (left, right, top, bottom): what is padded is what a value may look at
        self.pad_v, self.pad_h = (dilation, dilation, dilation, 0), (2 * dilation, 0, 0, 0)
        self.conv_v = nn.Conv2d(C, 2 * C, (2, 3), dilation=dilation)
        self.conv_h = nn.Conv2d(C, 2 * C, (1, 3), dilation=(1, dilation))
        self.link = nn.Conv2d(C, 2 * C, 1)
        self.out_v, self.out_h = (zero_init(nn.Conv2d(C, C, 1)) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def vertical(self, v: Tensor, emb: Tensor) -> Tensor:
        """v [B, C, H + d, W + 2 d] to what is added to it: [B, C, H, W]; d is the dilation,
        emb [B, 2 C, 1, 1] the class's.
        """
        return self.out_v(self.gate(self.conv_v(v) + emb))

    def told(self, v: Tensor, emb: Tensor) -> Tensor:
        """What the horizontal stack reads of the vertical: [B, C, H, W] to [B, 2 C, H, W]."""
        return self.link(v) + emb

    def horizontal(self, h: Tensor, told: Tensor) -> Tensor:
        """h [B, C, H, W + 2 d], told [B, 2 C, H, W] to what is added: [B, C, H, W]."""
        return self.out_h(self.gate(self.conv_h(h) + told))

    def gate(self, h: Tensor) -> Tensor:
        """Half of the channels times the others' sigmoid: [B, 2 C, H, W] to [B, C, H, W]."""
        value, gate = h.chunk(2, dim=1)
        return self.dropout(value * torch.sigmoid(gate))


class PixelCNN(nn.Module):
    """p(x | class) as the product of every pixel's distribution given those before it.

    x [B, 1, H, W] in [-1, 1], or uint8; cond [B] int labels or None. Two stacks of masked
    convolutions without a blind spot (van den Oord et al. 2016), a mixture of discretised
    logistics for a pixel (Salimans et al. 2017). The masks are shifts: a picture is padded at
    the top and at the left only.
    """

    def __init__(self, config: PixelCNNConfig = PixelCNNConfig()):
        super().__init__()
        self.config, C = config, config.channels
        blocks = len(config.dilations)
        self.embed = nn.Embedding(config.classes + 1, 2 * C * blocks)
        self.stem_v = nn.Conv2d(2, C, (3, 7))  # three rows above
        self.stem_h = nn.Conv2d(2, C, (1, 4))  # four pixels to the left
        self.blocks = nn.ModuleList(
            CausalBlock(C, dilation, config.dropout) for dilation in config.dilations
        )
        self.head = nn.Conv2d(C, 3 * config.mixtures, 1)
        with torch.no_grad():  # components start apart, over the whole grey scale
            K = config.mixtures
            self.head.weight.mul_(0.1)
            self.head.bias[K : 2 * K] = torch.linspace(-1, 1, K)
            self.head.bias[2 * K :] = -2.0

    def embeddings(self, cond: Tensor | None, B: int) -> tuple[Tensor, ...]:
        """The class's part in every block: cond [B] or None to tensors [B, 2 C, 1, 1]."""
        if cond is None:
            cond = torch.full((B,), self.config.classes, device=self.embed.weight.device)
        emb = self.embed(cond)[:, :, None, None]
        return emb.chunk(len(self.config.dilations), dim=1)

    def framed(self, x: Tensor) -> Tensor:
        """x in [-1, 1] beside a channel of ones, which tells inside from padding; padded by
        what the stems look at: [B, 2, H + 3, W + 7].
        """
        return F.pad(torch.cat([x, torch.ones_like(x)], dim=1), (4, 3, 3, 0))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Every pixel's mixture given the pixels before it: [B, 3 K, H, W]."""
        H, W = x.shape[-2:]
        x = self.framed(levels_of(x) / 127.5 - 1 if x.dtype == torch.uint8 else x)
        # float32 under autocast: bfloat16 would round the sums of twelve blocks each time
        v = self.stem_v(x[:, :, : H + 2, 1:]).float()  # row y sees rows y - 3 .. y - 1
        h = self.stem_h(x[:, :, 3:, : W + 3]).float()  # x sees columns x - 4 .. x - 1
        for block, emb in zip(self.blocks, self.embeddings(cond, len(x)), strict=True):
            v = v + block.vertical(F.pad(v, block.pad_v), emb)
            h = h + block.horizontal(F.pad(h, block.pad_h), block.told(v, emb))
        with torch.autocast(h.device.type, enabled=False):
            return self.head(h)  # in bfloat16 a mean would be off by half a grey level

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p(x | cond) in nats: [B]. x is uint8, or float at the 256 grey levels."""
        levels = levels_of(x)
        params = self(levels / 127.5 - 1, cond)
        return mixture_log_prob(params, levels).sum(dim=(1, 2))

    def bits_per_dim(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """-log2 p(x | cond) by the number of pixels: [B]."""
        log_prob = self.log_prob(x, cond)
        return -log_prob / (math.log(2) * math.prod(x.shape[-2:]))
