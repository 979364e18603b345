"""The convolutional VAE of the course: two nets of residual blocks on 28 x 28 pictures."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.layers import Downsample, ResBlock, Upsample
from course_lib.models.vae import VAE, Bernoulli, Gaussian, NormalMixture, StandardNormal

LIKELIHOODS = {"gaussian": Gaussian, "bernoulli": Bernoulli}
SIDE, THIN = 7, 32  # the narrowest map, and its channels where it meets z


@dataclass(frozen=True)
class VAEConfig:
    """The shape of a `ConvVAE` on images of 28 x 28."""

    latent_dim: int = 16  # numbers in z
    widths: tuple[int, int] = (64, 96)  # channels at 14 x 14 and at 7 x 7
    blocks: int = 2  # residual blocks at each of them, in either net
    emb_dim: int = 128  # of what every block is told: the class, and z in the decoder
    classes: int = 10  # labels 0 .. classes - 1; `classes` itself says "no class given"
    likelihood: str = "gaussian"  # or "bernoulli"
    components: int = 1  # Normals in the prior; 1 is the standard one


class _Told(nn.Module):
    """A net whose blocks are told a class, or that there is none."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        self.null = config.classes
        self.embed = nn.Embedding(config.classes + 1, config.emb_dim)

    def told(self, cond: Tensor | None, x: Tensor) -> Tensor:
        """cond [B] or None to [B, emb_dim]; x is what the batch size is read from."""
        if cond is None:
            cond = torch.full((len(x),), self.null, device=x.device)
        return self.embed(cond)


class ConvEncoder(_Told):
    """x [B, 1, 28, 28] to the posterior's means and log deviations [B, 2 latent_dim]."""

    def __init__(self, config: VAEConfig):
        super().__init__(config)
        wide, narrow = config.widths
        self.stem = nn.Conv2d(4, wide, 3, padding=1)
        self.fine = _blocks(wide, config)
        self.down = Downsample(wide, narrow)
        self.coarse = _blocks(narrow, config)
        self.thin = nn.Sequential(
            nn.GroupNorm(8, narrow), nn.SiLU(), nn.Conv2d(narrow, THIN, 1), nn.SiLU()
        )
        self.out = nn.Linear(THIN * SIDE**2, 2 * config.latent_dim)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        emb = F.silu(self.told(cond, x))
        h = self.stem(F.pixel_unshuffle(x, 2))  # 2 x 2 pixels to channels: [B, 4, 14, 14]
        for block in self.fine:
            h = block(h, emb)
        h = self.down(h)
        for block in self.coarse:
            h = block(h, emb)
        return self.out(self.thin(h).flatten(1))


class ConvDecoder(_Told):
    """z [B, latent_dim] to what the likelihood reads [B, 1, 28, 28].

    z lays out the first map and, beside the class, scales and shifts every block.
    """

    def __init__(self, config: VAEConfig):
        super().__init__(config)
        wide, narrow = config.widths
        self.tell = nn.Linear(config.latent_dim, config.emb_dim)
        self.lay = nn.Linear(config.latent_dim, THIN * SIDE**2)
        self.stem = nn.Conv2d(THIN, narrow, 3, padding=1)
        self.coarse = _blocks(narrow, config)
        self.up = Upsample(narrow, wide)
        self.fine = _blocks(wide, config)
        self.head = nn.Sequential(
            nn.GroupNorm(8, wide), nn.SiLU(), nn.Conv2d(wide, 4, 3, padding=1)
        )

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        emb = F.silu(self.told(cond, z) + self.tell(z))
        h = self.stem(self.lay(z).unflatten(1, (THIN, SIDE, SIDE)))
        for block in self.coarse:
            h = block(h, emb)
        h = self.up(h)
        for block in self.fine:
            h = block(h, emb)
        return F.pixel_shuffle(self.head(h), 2)


def _blocks(width: int, config: VAEConfig) -> nn.ModuleList:
    return nn.ModuleList(ResBlock(width, width, config.emb_dim) for _ in range(config.blocks))


class ConvVAE(VAE):
    """A `VAE` of two convolutional nets; see VAEConfig."""

    def __init__(self, config: VAEConfig = VAEConfig()):
        prior = StandardNormal()
        if config.components > 1:
            prior = NormalMixture(config.components, config.latent_dim)
        super().__init__(
            ConvEncoder(config),
            ConvDecoder(config),
            config.latent_dim,
            LIKELIHOODS[config.likelihood](),
            prior,
        )
        self.config = config
