"""Lesson 08's gallery: one autoencoder, one line wrong in how it is used, and the figures that
give the line away.
"""

import torch
from torch import Tensor

from course_lib.exercises.matching import Bug, Matching
from course_lib.metrics.psnr import psnr
from course_lib.models import Autoencoder

BUGS = {
    1: Bug("nothing is wrong", "has the highest PSNR of all, and its latents have spread 1"),
    2: Bug(
        "the scale is applied after decoding: decode(z) * std + mean",
        "hands the decoder latents of spread 1, and then stretches the colours",
    ),
    3: Bug(
        "latents clipped to [-1, 1], as pictures are",
        "leaves no latent beyond 1, so their spread is below 1 and colours are pale",
    ),
    4: Bug(
        "the encoder's std taken for a variance: mean + sqrt(std) * noise",
        "costs a decibel or two and is seen by no eye: the posterior is narrow",
    ),
    5: Bug(
        "bytes divided by 255: pictures in [0, 1] instead of [-1, 1]",
        "makes the picture that comes back much too bright: nothing is darker than grey",
    ),
    6: Bug(
        "latents divided by std twice, multiplied once",
        "halves the spread of the latents",
    ),
    7: Bug(
        "the latent's rows and columns swapped",
        "keeps every colour and turns the picture over its diagonal",
    ),
    8: Bug(
        "the mean of the latents is not added back",
        "tints the whole picture and leaves the latents' spread at 1",
    ),
}


@torch.no_grad()
def broken_round(
    net: Autoencoder, x: Tensor, bug: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Encode, normalise, undo it and decode, with one of the BUGS: x [B, 3, H, W] in [-1, 1]
    to what comes back and the normalised latents [B, latent, h, w].
    """
    mean, std = (each[:, None, None] for each in (net.latent_mean, net.latent_std))
    center, own = net.posterior((x + 1) / 2 if bug == 5 else x)
    if bug == 4:
        generator = torch.Generator().manual_seed(seed)
        center = center + own.sqrt() * torch.randn(own.shape, generator=generator)
    z = (center - mean) / std
    if bug == 6:
        z = z / std
    if bug == 3:
        z = z.clamp(-1, 1)
    if bug == 7:
        z = z.transpose(-1, -2)
    if bug == 2:  # a number, since the decoder's answer has other channels
        return net.decode(z) * std.mean() + mean.mean(), z
    return net.decode(z * std + (0 if bug == 8 else mean)), z


def moments(x: Tensor, back: Tensor, z: Tensor) -> dict[str, float]:
    """What the gallery's labels say: x and back [B, 3, H, W], z normalised latents."""
    return {
        "PSNR": psnr(back, x).mean().item(),
        "brightness": (back.clamp(-1, 1).mean() - x.mean()).item(),
        "contrast": (back.clamp(-1, 1).std() / x.std()).item(),
        "latent spread": z.std().item(),
        "largest": z.abs().max().item(),  # of the latents
    }


_HUNG = {"A": 4, "B": 7, "C": 2, "D": 8, "E": 1, "F": 6, "G": 3, "H": 5}  # who hangs where


def gallery(net: Autoencoder, x: Tensor) -> dict[str, tuple[Tensor, dict[str, float]]]:
    """Under each letter, what comes back of x [B, 3, H, W], and its `moments`."""
    found = {}
    for letter, bug in _HUNG.items():
        back, z = broken_round(net, x, bug)
        found[letter] = back, moments(x, back, z)
    return found


GALLERY = Matching(
    "The gallery",
    _HUNG,
    BUGS,
    "A round trip would have shown each.",
)
