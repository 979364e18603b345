"""Six ways to spoil real pictures, and so see what a Fréchet distance sees (lesson 07)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def blurred(x: Tensor, width: float) -> Tensor:
    """Each channel of images [B, C, H, W] under a Gaussian of this width, in pixels."""
    kernel = torch.exp(-(torch.arange(-6, 7) ** 2) / (2 * max(width, 1e-3) ** 2))
    kernel = (kernel / kernel.sum()).reshape(1, 1, 1, 13)
    flat = F.pad(x, (6, 6, 6, 6), mode="reflect").flatten(0, 1)[:, None]
    return F.conv2d(F.conv2d(flat, kernel), kernel.transpose(2, 3)).reshape(x.shape)


def noisy(x: Tensor, strength: float) -> Tensor:
    """The images with Gaussian noise of this standard deviation, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    return x + strength * torch.randn(x.shape, generator=generator)


def resized(x: Tensor, side: int, mode: str = "bilinear") -> Tensor:
    """The images at another side, and back."""
    return F.interpolate(F.interpolate(x, (side, side), mode=mode), x.shape[2:], mode=mode)


def duplicated(x: Tensor, different: int) -> Tensor:
    """As many images, of which only the first few are different."""
    return x[:different].repeat(len(x) // different, 1, 1, 1)


def thinned(x: Tensor, wanted: Tensor, percent: float) -> Tensor:
    """The images without a share of those that `wanted` bool [B] marks."""
    lot = torch.rand(len(x), generator=torch.Generator().manual_seed(1))
    return x[~(wanted & (lot < percent / 100))]


@dataclass(frozen=True)
class Way:
    """A way to spoil images at some levels; the first level leaves them as they are."""

    levels: Sequence[float]
    unit: str
    spoil: Callable[[Tensor, float], Tensor]


def ways(marked: Tensor) -> dict[str, Way]:
    """The six ways for 512 images, of which `marked` bool [512] says which class may go."""
    return {
        "blur": Way([0, 0.5, 1, 2, 3], "pixels", blurred),
        "noise": Way([0, 0.1, 0.2, 0.5, 1], "standard deviation", noisy),
        "duplicates": Way([512, 128, 64, 32, 16], "different pictures", duplicated),
        "few pictures": Way([512, 256, 128, 64, 32], "pictures", lambda x, k: x[:k]),
        "resized": Way([28, 20, 14, 10, 7], "pixels a side in between", resized),
        "one class missing": Way(
            [0, 25, 50, 75, 100],
            "% of the boots left out",
            lambda x, k: thinned(x, marked, k),
        ),
    }
