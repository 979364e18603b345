"""Where diffusion happens: on pixels, or on the latents of an autoencoder."""

from typing import Protocol

import torch
from torch import Tensor, nn

from course_lib.errors import CourseError


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


class LatentCodec(nn.Module):
    """An autoencoder's latents, shifted and scaled to about mean 0 and spread 1 (Rombach et
    al. 2022, section 4.3.2).

    autoencoder has encode and decode; mean and std are those of its latents over the training
    images: a number, one a channel [C], or what broadcasts against a latent. Both move with
    the module and lie in its state dict. A schedule assumes spread 1: a wrong std shifts its
    log-SNR by 2 ln std. Latents have no bounds, and nothing here clips them.
    """

    def __init__(
        self, autoencoder: nn.Module, mean: float | Tensor = 0.0, std: float | Tensor = 1.0
    ):
        super().__init__()
        self.autoencoder = autoencoder
        self.register_buffer("mean", _by_channel(mean))
        self.register_buffer("std", _by_channel(std))
        _check_moments(self.mean, self.std)
        self.register_load_state_dict_pre_hook(_take_shapes)

    def encode(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to normalised latents."""
        z = self.autoencoder.encode(x)
        return ((z - self.mean) / self.std).to(z.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """Normalised latents to images [B, C, H, W]."""
        return self.autoencoder.decode((z * self.std + self.mean).to(z.dtype))


def _by_channel(value: float | Tensor) -> Tensor:
    """A number, or numbers of channels [C] as [C, 1, 1]: a float32 copy."""
    value = torch.as_tensor(value).detach().to(torch.float32, copy=True)
    return value.reshape(-1, 1, 1) if value.ndim == 1 else value


def _check_moments(mean: Tensor, std: Tensor):
    if mean.is_meta or std.is_meta:  # built without memory: the numbers come with a file
        return
    if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()):
        raise CourseError(
            "A LatentCodec divides by std: a number above 0, or one a channel, and a finite "
            f"mean; not std {std.flatten().tolist()} and mean {mean.flatten().tolist()}."
        )


def _take_shapes(codec: LatentCodec, state: dict, prefix: str, *_):
    """Before a state dict is read: its mean and std may be by channel where ours are not."""
    mean, std = (state.get(prefix + name) for name in ("mean", "std"))
    if mean is not None and std is not None:
        _check_moments(mean, std)
        codec.mean, codec.std = (
            torch.empty(new.shape, dtype=old.dtype, device=old.device)
            for new, old in ((mean, codec.mean), (std, codec.std))
        )
