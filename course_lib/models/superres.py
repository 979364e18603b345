"""A decoder whose intermediate is a thumbnail: what bicubic enlargement leaves out is drawn by
a diffusion net that sees the thumbnail (Saharia et al. 2021, SR3; the residual as in Li et al.
2021, SRDiff).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.errors import CourseError
from course_lib.layers import Downsample, ResBlock, Upsample, time_embedding, zero_init


def shrink(x: Tensor, factor: int = 4) -> Tensor:
    """The thumbnail: the mean of each factor x factor square, [B, C, H, W] to [B, C, H /
    factor, W / factor].
    """
    if x.ndim != 4 or x.shape[-2] % factor or x.shape[-1] % factor:
        raise CourseError(
            f"A picture to be shrunk {factor} times is [B, C, H, W] with sides that are "
            f"multiples of {factor}, not {list(x.shape)}."
        )
    return F.avg_pool2d(x, factor)


def repeat(thumb: Tensor, factor: int = 4) -> Tensor:
    """Each pixel as a factor x factor square: [B, C, h, w] to [B, C, factor h, factor w]."""
    return thumb.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def enlarge(thumb: Tensor, factor: int = 4) -> Tensor:
    """Bicubic interpolation (Keys 1981): [B, C, h, w] to [B, C, factor h, factor w]. It
    overshoots at edges, and its thumbnail is not quite `thumb`.
    """
    return F.interpolate(thumb, scale_factor=factor, mode="bicubic", align_corners=False)


def project(x: Tensor, thumb: Tensor, factor: int = 4) -> Tensor:
    """The picture nearest to x [B, C, H, W] that shrinks to thumb [B, C, h, w]: what the
    thumbnail lacks is added to each square.

    A repeated pixel times 1 / factor^2 is the pseudo-inverse of a mean, so this is the
    orthogonal projection. Differences within a square stay as they were.
    """
    return x + repeat(thumb - shrink(x, factor), factor)


def fit(x: Tensor, thumb: Tensor, factor: int = 4, rounds: int = 4) -> Tensor:
    """A picture near x in [-1, 1] that shrinks to thumb: clamped and projected in turn, and
    the contrast of what is outside even then is lowered, square by square.
    """
    for _ in range(rounds):
        x = project(x.clamp(-1, 1), thumb, factor)
    mean = repeat(thumb, factor)
    high = F.max_pool2d(x - mean, factor).clamp(min=1e-6)  # [B, C, h, w], above the mean
    low = F.max_pool2d(mean - x, factor).clamp(min=1e-6)
    keep = torch.minimum((1 - thumb) / high, (1 + thumb) / low).clamp(0, 1)
    return mean + repeat(keep, factor) * (x - mean)


@dataclass(frozen=True)
class SuperResConfig:
    """The shape of a `SuperRes`."""

    channels: int = 3  # of the picture
    factor: int = 4  # a picture's side over its thumbnail's; the net works at the thumbnail's
    width: int = 72  # channels there
    inner: int = 128  # channels at half that size
    blocks: int = 2  # residual blocks before the inner part, within it, and after it
    emb_dim: int = 128  # of the time embedding
    spread: float = 0.21  # of what bicubic leaves out, over the training pictures


class SuperRes(nn.Module):
    """A net told the noisy residual, the time and the thumbnail: x_t [B, channels, H, W], t
    [B], thumb [B, channels, H / factor, W / factor] to a prediction of x_t's shape.

    The residual is (picture - base) / spread, about of spread 1, as a schedule assumes. `base`
    and `picture` go between the two.
    """

    def __init__(self, config: SuperResConfig = SuperResConfig()):
        super().__init__()
        self.config = config
        width, inner, emb_dim = config.width, config.inner, config.emb_dim
        folded = config.channels * config.factor**2
        self.embed_time = nn.Sequential(
            nn.Linear(width, emb_dim), nn.SiLU(), nn.Linear(emb_dim, emb_dim), nn.SiLU()
        )
        # the noisy residual and the base, folded, and the thumbnail itself
        self.stem = nn.Conv2d(2 * folded + config.channels, width, 3, padding=1)
        self.before = self._blocks(width)
        self.down = Downsample(width, inner)
        self.inside = self._blocks(inner)
        self.up = Upsample(inner, width)
        self.after = self._blocks(width)
        self.head = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            zero_init(nn.Conv2d(width, folded, 3, padding=1)),
        )

    def _blocks(self, width: int) -> nn.ModuleList:
        emb_dim = self.config.emb_dim
        return nn.ModuleList(
            ResBlock(width, width, emb_dim) for _ in range(self.config.blocks)
        )

    def forward(self, x_t: Tensor, t: Tensor, thumb: Tensor) -> Tensor:
        factor = self.config.factor
        emb = self.embed_time(time_embedding(t, self.config.width))
        seen = F.pixel_unshuffle(torch.cat([x_t, self.base(thumb)], dim=1), factor)
        h = self.stem(torch.cat([seen, thumb], dim=1))  # [B, width, H / factor, W / factor]
        for block in self.before:
            h = block(h, emb)
        inner = self.down(h)
        for block in self.inside:
            inner = block(inner, emb)
        h = h + self.up(inner)
        for block in self.after:
            h = block(h, emb)
        return F.pixel_shuffle(self.head(h), factor)

    def base(self, thumb: Tensor) -> Tensor:
        """Bicubic, with what its thumbnail lacks: [B, channels, h, w] to [B, channels, H,
        W].
        """
        return project(enlarge(thumb, self.config.factor), thumb, self.config.factor)

    def residual(self, x: Tensor) -> Tensor:
        """What is diffused, of pictures [B, channels, H, W]: the same shape. The mean of each
        square is 0.
        """
        return (x - self.base(shrink(x, self.config.factor))) / self.config.spread

    def picture(self, residual: Tensor, thumb: Tensor) -> Tensor:
        """Residuals to pictures in [-1, 1] that shrink to their thumbnails: [B, channels, H,
        W].
        """
        x = self.base(thumb) + self.config.spread * residual
        return fit(x, thumb, self.config.factor)

    def mean(self, thumb: Tensor, T: int = 1000) -> Tensor:
        """The residual that a net predicts from the thumbnail alone: x_t is 0, the time is the
        last. Trained on the squared error, it is the posterior's mean.
        """
        B, _, h, w = thumb.shape
        side = self.config.factor
        x_t = thumb.new_zeros(B, self.config.channels, h * side, w * side)
        return self(x_t, torch.full((B,), T, device=thumb.device), thumb)
