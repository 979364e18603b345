"""Whole grey levels into real numbers, so that a density can speak of them.

A density over real numbers may be as high as it likes on the 256 levels themselves; on levels
with noise in them it cannot, and its mean log is a lower bound of the levels' log-probability
(Theis et al. 2016, section 3.1).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.draws import Draws
from course_lib.layers import zero_init
from course_lib.models.invertible import normal_log_prob

LEVELS = 256


def _levels(x: Tensor) -> Tensor:
    """Images in [-1, 1] to their grey levels 0 .. 255, as floats."""
    return ((x + 1) * ((LEVELS - 1) / 2)).round()


def _images(levels: Tensor) -> Tensor:
    return levels * (2 / (LEVELS - 1)) - 1


def _cells(y: Tensor) -> tuple[Tensor, Tensor]:
    """Dequantised y in [-1, 1) to the level and to where in its cell, 0 to 1, it lies."""
    place = (y + 1) * (LEVELS / 2)
    level = place.floor().clamp(0, LEVELS - 1)
    return level, place - level


def from_cells(y: Tensor) -> Tensor:
    """Dequantised y, whatever its size, to images in [-1, 1]: a cell's middle is its level."""
    return (((y + 1) * (LEVELS / 2) - 0.5) * (2 / (LEVELS - 1)) - 1).clamp(-1, 1)


class UniformDequantise(nn.Module):
    """y = (level + width * u) / 128 - 1 with u uniform: images [B, C, H, W] in [-1, 1] to y
    [B, C, H, W] in [-1, 1).

    logdet [B] is minus log q(y | x), so that log p(y) + logdet bounds the log-probability of
    the levels from below. A width under 1 must pay for itself: forget its log and each
    dimension looks ln(1 / width) nats better than it is.
    """

    def __init__(self, width: float = 1.0):
        super().__init__()
        if not 0 < width <= 1:
            raise ValueError(f"The noise's width is in (0, 1], not {width}.")
        self.width = width

    def _logdet(self, x: Tensor) -> Tensor:
        each = math.log(self.width) - math.log(LEVELS / 2)
        return torch.full((len(x),), x[0].numel() * each, dtype=x.dtype, device=x.device)

    def forward(self, x: Tensor, draws: Draws | None = None) -> tuple[Tensor, Tensor]:
        u = (draws or Draws()).uniform(*x.shape).to(x)
        u = u.clamp(max=1 - 2**-16)  # float32 would round the last cell's end up to 1
        y = (_levels(x) + self.width * u) * (2 / LEVELS) - 1
        return y, self._logdet(x)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Forget the noise: the level below y."""
        return _images(_cells(y)[0]), -self._logdet(y)


class VariationalDequantise(nn.Module):
    """Noise whose law a small net learns from the image (Ho et al. 2019, section 3.1).

    In each cell u = sigmoid(mean + std * eps), mean and std [B, C, H, W] by a convolutional
    net of the levels; shapes and logdet as in `UniformDequantise`.
    """

    edge = 1e-4  # of a cell that is left out at either end, for float32's sake

    def __init__(self, channels: int = 1, width: int = 32):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            zero_init(nn.Conv2d(width, 2 * channels, 3, padding=1)),
        )

    def _law(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.net(x).to(x.dtype).chunk(2, dim=1)
        # at the start about uniform: a sigmoid of a Normal with standard deviation 1.6
        return 3 * torch.tanh(mean / 3), math.log(1.6) + 0.5 * torch.tanh(log_std)

    def _logdet(self, eps: Tensor, log_std: Tensor, a: Tensor) -> Tensor:
        # of dy / deps: the std, the sigmoid's slope at a, and a cell's size
        slope = log_std + F.logsigmoid(a) + F.logsigmoid(-a)
        each = slope + math.log((1 - 2 * self.edge) / (LEVELS / 2))
        return each.flatten(1).sum(dim=1) - normal_log_prob(eps)

    def forward(self, x: Tensor, draws: Draws | None = None) -> tuple[Tensor, Tensor]:
        eps = (draws or Draws()).normal(x)
        mean, log_std = self._law(x)
        a = mean + log_std.exp() * eps
        u = self.edge + (1 - 2 * self.edge) * torch.sigmoid(a)
        return (_levels(x) + u) * (2 / LEVELS) - 1, self._logdet(eps, log_std, a)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Forget the noise; logdet says how likely the net would have drawn it."""
        level, u = _cells(y)
        x = _images(level)
        mean, log_std = self._law(x)
        u = u.clamp(self.edge * 1.01, 1 - self.edge * 1.01)
        a = torch.logit((u - self.edge) / (1 - 2 * self.edge))
        eps = (a - mean) * (-log_std).exp()
        return x, -self._logdet(eps, log_std, a)
