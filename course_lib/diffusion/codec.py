"""Where diffusion happens: on pixels, or on the latents of an autoencoder."""

from typing import Protocol

from torch import Tensor, nn


class Codec(Protocol):
    """Maps images to the space that is diffused, and back."""

    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] in [-1, 1] to latents."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Latents to images [B, C, H, W] in [-1, 1]."""
        ...


class PixelCodec:
    """The space of the pixels themselves: nothing to encode."""

    def encode(self, x: Tensor) -> Tensor:
        """x as it is."""
        return x

    def decode(self, z: Tensor) -> Tensor:
        """z as it is."""
        return z


class LatentCodec:
    """An autoencoder's latents, shifted and scaled to about mean 0 and spread 1 (Rombach et
    al. 2022, section 4.3.2).

    autoencoder has encode and decode; mean and std are those of its latents over the training
    images, numbers or tensors that broadcast against a latent. A schedule assumes spread 1: a
    wrong std shifts its log-SNR by 2 ln std.
    """

    def __init__(
        self, autoencoder: nn.Module, mean: float | Tensor = 0.0, std: float | Tensor = 1.0
    ):
        self.autoencoder, self.mean, self.std = autoencoder, mean, std

    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to normalised latents."""
        return (self.autoencoder.encode(x) - self.mean) / self.std

    def decode(self, z: Tensor) -> Tensor:
        """Normalised latents to images [B, C, H, W]."""
        return self.autoencoder.decode(z * self.std + self.mean)
