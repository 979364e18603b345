"""The autoencoder whose latents are diffused: Stable Diffusion's AutoencoderKL, by
configuration (Rombach et al. 2022, section 3.1 and appendix G).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers import AddedResBlock, Upsample


@dataclass(frozen=True)
class AutoencoderConfig:
    """The shape of an `Autoencoder`; the defaults are Stable Diffusion 1.x's, 84 M
    parameters.
    """

    channels: int = 3  # of the image
    latent: int = 4  # channels of the latent, a picture's side / 2 ** (levels - 1) wide
    widths: tuple[int, ...] = (128, 256, 512, 512)  # channels at each level
    blocks: int = 2  # residual blocks at each level of the encoder; one more in the decoder
    groups: int = 32  # of the group norms

    @property
    def folds(self) -> int:
        """How many times narrower a latent is than its picture."""
        return 2 ** (len(self.widths) - 1)


def _residual(config: AutoencoderConfig, in_width: int, out_width: int) -> AddedResBlock:
    return AddedResBlock(in_width, out_width, None, config.groups, eps=1e-6)


class PaddedDownsample(nn.Module):
    """Halve height and width; a row and a column of zeros are added at the far ends only:
    [B, C, H, W] to [B, C, H / 2, W / 2].
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class PixelAttention(nn.Module):
    """Self-attention with one head among the places of a map, with its residual path:
    [B, C, H, W] to the same.
    """

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.q, self.k, self.v, self.out = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        h = self.norm(x).flatten(2).transpose(1, 2)  # [B, HW, C]
        h = F.scaled_dot_product_attention(self.q(h), self.k(h), self.v(h))
        return x + self.out(h).transpose(1, 2).reshape(B, C, H, W)


def _middle(config: AutoencoderConfig) -> nn.Sequential:
    width = config.widths[-1]
    return nn.Sequential(
        _residual(config, width, width),
        PixelAttention(width, config.groups),
        _residual(config, width, width),
    )


class Encoder(nn.Module):
    """Images [B, channels, H, W] to the posterior's mean and log variance, stacked:
    [B, 2 * latent, h, w].
    """

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        width = config.widths[0]
        self.stem = nn.Conv2d(config.channels, width, 3, padding=1)
        self.down = nn.ModuleList()
        for level, out_width in enumerate(config.widths):
            for _ in range(config.blocks):
                self.down.append(_residual(config, width, out_width))
                width = out_width
            if level < len(config.widths) - 1:
                self.down.append(PaddedDownsample(width))
        self.middle = _middle(config)
        self.head = nn.Sequential(
            nn.GroupNorm(config.groups, width, eps=1e-6),
            nn.SiLU(),
            nn.Conv2d(width, 2 * config.latent, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for layer in self.down:
            h = layer(h)
        return self.head(self.middle(h))


class Decoder(nn.Module):
    """Latents [B, latent, h, w] to images [B, channels, H, W]."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        width = config.widths[-1]
        self.stem = nn.Conv2d(config.latent, width, 3, padding=1)
        self.middle = _middle(config)
        self.up = nn.ModuleList()
        for level in reversed(range(len(config.widths))):
            for _ in range(config.blocks + 1):
                self.up.append(_residual(config, width, config.widths[level]))
                width = config.widths[level]
            if level:
                self.up.append(Upsample(width, width))
        self.head = nn.Sequential(
            nn.GroupNorm(config.groups, width, eps=1e-6),
            nn.SiLU(),
            nn.Conv2d(width, config.channels, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        h = self.middle(self.stem(z))
        for layer in self.up:
            h = layer(h)
        return self.head(h)


class Autoencoder(nn.Module):
    """A convolutional VAE (Kingma & Welling 2014): x [B, channels, H, W] in [-1, 1] to the
    posterior over z [B, latent, h, w], and back. H and W are multiples of 2 ** (levels - 1).
    """

    def __init__(self, config: AutoencoderConfig = AutoencoderConfig()):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.to_posterior = nn.Conv2d(2 * config.latent, 2 * config.latent, 1)
        self.from_latent = nn.Conv2d(config.latent, config.latent, 1)
        # of each latent channel over the training images, for who diffuses them: a schedule
        # assumes mean 0 and spread 1. Stable Diffusion's 0.18215 is 1 / spread
        self.register_buffer("latent_mean", torch.zeros(config.latent))
        self.register_buffer("latent_std", torch.ones(config.latent))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the standard deviation of q(z | x), [B, latent, h, w] each."""
        mean, log_variance = self.to_posterior(self.encoder(x)).chunk(2, dim=1)
        return mean, torch.exp(log_variance.clamp(-30.0, 20.0) / 2)

    def encode(self, x: Tensor) -> Tensor:
        """The posterior's mean, as it is (not scaled): [B, latent, h, w]."""
        return self.posterior(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Latents as `encode` gives them to images [B, channels, H, W], about in [-1, 1]."""
        return self.decoder(self.from_latent(z))

    @torch.no_grad()
    def note_latents(self, z: Tensor, share: float = 0.01):
        """Let the known mean and spread follow those of a training batch z [B, latent, h, w],
        as a batch norm does.
        """
        std, mean = torch.std_mean(z.float(), dim=(0, 2, 3))
        self.latent_mean.lerp_(mean, share)
        self.latent_std.lerp_(std, share)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The image that comes back, and the posterior: (x [B, ...], mean, std).

        noise [B, latent, h, w], standard Normal, draws z from the posterior; without it z is
        the mean.
        """
        mean, std = self.posterior(x)
        return self.decode(mean if noise is None else mean + std * noise), mean, std
