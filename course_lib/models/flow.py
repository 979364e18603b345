"""The layers of Glow, and the whole: coupling, actnorm, 1x1 convolutions, several scales. What
each of them answers stands in invertible.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers import zero_init
from course_lib.models.invertible import Inverse, Sequence, no_stretch


def checkerboard(H: int, W: int) -> Tensor:
    """The mask [1, 1, H, W] whose pixel (i, j) is 1 where i + j is even (Dinh et al. 2017)."""
    return ((torch.arange(H)[:, None] + torch.arange(W)) % 2 == 0).float()[None, None]


def channel_mask(C: int) -> Tensor:
    """The mask [1, C, 1, 1] whose first half of the channels is 1 (Dinh et al. 2017)."""
    return (torch.arange(C) < C // 2).float()[None, :, None, None]


class Squeeze(nn.Module):
    """Every 2x2 square of pixels becomes channels: [B, C, H, W] to [B, 4 C, H / 2, W / 2]
    (Dinh et al. 2017, section 3.6).
    """

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.pixel_unshuffle(x, 2), no_stretch(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Channels back to squares of pixels."""
        return F.pixel_shuffle(z, 2), no_stretch(z)


class ActNorm(nn.Module):
    """A scale and a shift a channel (Kingma & Dhariwal 2018, section 3.1): x [B, C, H, W].

    The first batch that is seen in training sets them so that each channel comes out with mean
    0 and variance 1; from then on they are learned.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("set", torch.tensor(False))

    @torch.no_grad()
    def _set_by(self, x: Tensor):
        std, mean = torch.std_mean(x, dim=(0, 2, 3), keepdim=True)
        self.log_scale.copy_(-(std + 1e-6).log())
        self.shift.copy_(-mean)
        self.set.fill_(True)

    def _logdet(self, x: Tensor) -> Tensor:  # each pixel is stretched by its channel's scale
        return (self.log_scale.sum() * x.shape[2] * x.shape[3]).expand(len(x))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.training and not self.set:
            self._set_by(x)
        return (x + self.shift) * self.log_scale.exp(), self._logdet(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rescale and shift back."""
        return z * (-self.log_scale).exp() - self.shift, -self._logdet(z)


class InvertibleConv(nn.Module):
    """A 1x1 convolution, which mixes the channels of every pixel by one square matrix (Kingma
    & Dhariwal 2018, section 3.2): x [B, C, H, W]. It starts as a rotation.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(channels, channels)))

    def _logdet(self, x: Tensor) -> Tensor:
        return (torch.linalg.slogdet(self.weight)[1] * x.shape[2] * x.shape[3]).expand(len(x))

    def _mix(self, x: Tensor, weight: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # the map must be its determinant's
            return torch.einsum("oc, bchw -> bohw", weight, x)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._mix(x, self.weight), self._logdet(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Unmix by the inverse matrix."""
        weight = torch.linalg.inv(self.weight.double()).to(z.dtype)
        return self._mix(z, weight), -self._logdet(z)


class CouplingNet(nn.Module):
    """What a coupling asks: x [B, C, H, W] and classes cond [B] to log-scale and shift, [B,
    2 C, H, W] together, zero at the start.
    """

    def __init__(self, channels: int, width: int, blocks: int = 1, classes: int = 0):
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.embed = nn.Embedding(classes, width) if classes else None
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(width, width, 1),
            )
            for _ in range(blocks)
        )
        self.head = zero_init(nn.Conv2d(width, 2 * channels, 3, padding=1))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        h = self.stem(x)
        if self.embed is not None and cond is not None:
            h = h + self.embed(cond)[:, :, None, None]
        for block in self.blocks:
            h = h + block(h)
        return self.head(F.silu(h))


class Coupling(nn.Module):
    """What the mask keeps says how the rest is scaled and shifted (Dinh et al. 2017, eq. 9).

    x [B, C, H, W]; mask of 0 and 1 that broadcasts to x's shape; net (masked x, cond) to [B,
    2 C, H, W]. |log-scale| stays under `most`, by a tanh.
    """

    def __init__(self, net: nn.Module, mask: Tensor, most: float = 2.0):
        super().__init__()
        self.net, self.most = net, most
        self.register_buffer("mask", mask)

    def _ask(self, kept: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.net(kept, cond).to(kept.dtype).chunk(2, dim=1)
        free = 1 - self.mask
        return free * self.most * torch.tanh(log_scale / self.most), free * shift

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._ask(self.mask * x, cond)
        return x * log_scale.exp() + shift, log_scale.flatten(1).sum(dim=1)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The kept part is the same on both sides: the same question has the same answer."""
        log_scale, shift = self._ask(self.mask * z, cond)
        return (z - shift) * (-log_scale).exp(), -log_scale.flatten(1).sum(dim=1)


class Split(nn.Module):
    """Half of the channels are latents already, `rest` goes on with the other half (Dinh et
    al. 2017, eqs. 13 to 16): x [B, C, H, W], rest keeps the shape [B, C / 2, H, W].
    """

    def __init__(self, rest: nn.Module):
        super().__init__()
        self.rest = rest

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        done, going = x.chunk(2, dim=1)
        going, logdet = self.rest(going, cond)
        return torch.cat([done, going], dim=1), logdet

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo the rest, with the finished half beside it."""
        done, going = z.chunk(2, dim=1)
        going, logdet = self.rest.inverse(going, cond)
        return torch.cat([done, going], dim=1), logdet


def flow_step(channels: int, width: int, classes: int = 0, blocks: int = 1) -> list[nn.Module]:
    """One step of Glow (Kingma & Dhariwal 2018, figure 2a): actnorm, 1x1 conv, coupling."""
    net = CouplingNet(channels, width, blocks, classes)
    return [ActNorm(channels), InvertibleConv(channels), Coupling(net, channel_mask(channels))]


def multi_scale(
    channels: int, levels: int, steps: int, width: int, classes: int = 0
) -> Sequence:
    """A flow of `levels` scales with `steps` steps each, as Glow's, that keeps an image's
    shape: x [B, channels, H, W] to latents that lie where their pixels were.
    """
    inner = 4 * channels
    layers = [each for _ in range(steps) for each in flow_step(inner, width, classes)]
    if levels > 1:
        layers.append(Split(multi_scale(inner // 2, levels - 1, steps, width, classes)))
    return Sequence([Squeeze(), *layers, Inverse(Squeeze())])
