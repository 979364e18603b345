"""The exercises of lesson 03: a log-determinant, the inverse of a coupling, noise that pays
for its width, bits per dimension, and the floor of flow matching. The broken flows that its
last section hangs on the wall stand in gallery_03.py.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.gallery_03 import BUGS, GALLERY, NAMES, gallery, gallery_data
from course_lib.exercises.grader import Exercise
from course_lib.exercises.matching_03 import FLOOR, matching_floor

__all__ = [
    "AFFINE",
    "BITS",
    "BUGS",
    "FLOOR",
    "GALLERY",
    "NAMES",
    "NOISE",
    "UNDO",
    "gallery",
    "gallery_data",
    "matching_floor",
]


def _randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _rand(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- 1: a log-determinant


def affine(x: Tensor, log_scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """z = x * exp(log_scale) + shift a channel, x [B, C, H, W]: z and its log|det| [B]."""
    B, _, H, W = x.shape
    z = x * log_scale.exp()[:, None, None] + shift[:, None, None]
    return z, (H * W * log_scale.sum()).expand(B)


def affine_logdet(x: Tensor, log_scale: Tensor) -> Tensor:
    """log|det| [B] of z = x * exp(log_scale) + shift a channel, x [B, C, H, W]."""
    return affine(x, log_scale, torch.zeros_like(log_scale))[1]


def _places(x: Tensor) -> int:
    return x.shape[2] * x.shape[3]


AFFINE = Exercise(
    "affine_logdet",
    affine_logdet,
    [
        (_randn(3, 2, 4, 5, seed=0), _randn(2, seed=1)),
        (_randn(2, 3, 2, 2, seed=2), _randn(3, seed=3)),
    ],
    [
        (
            lambda x, s: s.sum().expand(len(x)),
            "Each channel's scale stretches all of its pixels: count it H W times.",
        ),
        (
            lambda x, s: (_places(x) * s.sum()).reshape(()),
            "The value is right; one for each image of the batch is wanted: [B].",
        ),
        (
            lambda x, s: (-_places(x) * s.sum()).expand(len(x)),
            "The sign is turned: this is the inverse's. A scale above 1 stretches, and its "
            "log is above 0.",
        ),
        (
            lambda x, s: (_places(x) * s.mean()).expand(len(x)),
            "A mean over the channels, where the logs of all stretches add up.",
        ),
        (
            lambda x, s: (_places(x) * s.exp().sum()).expand(len(x)),
            "log_scale is the log already: the determinant is the product of exp(log_scale), "
            "and its log is the sum of log_scale.",
        ),
        (
            lambda x, s: (_places(x) * s).exp().prod().expand(len(x)),
            "That is the determinant itself. Its log is wanted: for a real image the product "
            "of 784 factors leaves float32's range.",
        ),
        (
            lambda x, s: (_places(x) * s.abs().log().sum()).expand(len(x)),
            "The log was taken twice: log_scale is a log already.",
        ),
        (
            lambda x, s: (x.shape[1] * _places(x) * s.sum()).expand(len(x)),
            "C is counted twice: the sum over log_scale has one term a channel already.",
        ),
        (
            lambda x, s: (len(x) * _places(x) * s.sum()).expand(len(x)),
            "The batch is multiplied in: an image's stretch does not depend on how many stand "
            "beside it.",
        ),
    ],
    "Right: one number an image, and it does not even depend on the image.",
    rtol=1e-5,
    advice="each of the C H W numbers is stretched by its channel's exp(log_scale)",
)

# ---------------------------------------------------------------- 2: a coupling undone


def undo_coupling(z: Tensor, mask: Tensor, net: Callable) -> Tensor:
    """x of z = mask * x + (1 - mask) * (x * exp(log_scale) + shift), where net(mask * x)
    gives (log_scale, shift).
    """
    log_scale, shift = net(mask * z)
    return mask * z + (1 - mask) * (z - shift) * (-log_scale).exp()


def small_net(kept: Tensor) -> tuple[Tensor, Tensor]:
    """A net for the grader's cases: log_scale and shift, of the shape of what it is shown."""
    mixed = kept.roll(1, dims=-1) + 0.5 * kept.roll(2, dims=-1)
    return torch.tanh(mixed + 0.3 * kept + 0.2), torch.sin(2 * mixed) + kept


def _coupled(x: Tensor, mask: Tensor) -> Tensor:
    log_scale, shift = small_net(mask * x)
    return mask * x + (1 - mask) * (x * log_scale.exp() + shift)


_EVEN = torch.tensor([1.0, 0.0, 1.0, 0.0])
_FIRST = torch.tensor([1.0, 1.0, 0.0, 0.0])


def _bent_undo(rest: Callable, asked: Callable | None = None, kept: bool = True) -> Callable:
    """An inverse with another formula, another question, or another treatment of the kept."""

    def bent(z: Tensor, mask: Tensor, net: Callable) -> Tensor:
        log_scale, shift = net(asked(z, mask) if asked else mask * z)
        out = rest(z, log_scale, shift)
        return mask * z + (1 - mask) * out if kept else out

    return bent


def _right_rest(z: Tensor, log_scale: Tensor, shift: Tensor) -> Tensor:
    return (z - shift) * (-log_scale).exp()


UNDO = Exercise(
    "undo_coupling",
    undo_coupling,
    [
        (_coupled(_randn(5, 4, seed=4), _EVEN), _EVEN, small_net),
        (_coupled(_randn(3, 4, seed=5), _FIRST), _FIRST, small_net),
    ],
    [
        (
            _bent_undo(lambda z, s, b: z - b),
            "The shift is undone, the scale is not: divide by exp(log_scale) as well.",
        ),
        (
            _bent_undo(lambda z, s, b: z * (-s).exp() - b),
            "The order is that of forward. Forward scaled first and shifted last; so the way "
            "back takes the shift off first.",
        ),
        (
            _bent_undo(lambda z, s, b: (z - b) * s.exp()),
            "This scales once more in the same direction: multiply by exp(-log_scale).",
        ),
        (
            _bent_undo(lambda z, s, b: (z - b) / s),
            "Divided by log_scale itself: forward multiplied by its exp.",
        ),
        (
            _bent_undo(lambda z, s, b: (z + b) * (-s).exp()),
            "The shift is added once more: take it off.",
        ),
        (
            _bent_undo(lambda z, s, b: z * s.exp() + b),
            "That is forward again.",
        ),
        (
            _bent_undo(_right_rest, kept=False),
            "The kept half was changed too. Forward left it alone, so it is already right: "
            "mask * z.",
        ),
        (
            _bent_undo(_right_rest, asked=lambda z, mask: z),
            "The net is asked about all of z. In forward it saw mask * x alone, and only "
            "about that half are both sides the same.",
        ),
        (
            _bent_undo(_right_rest, asked=lambda z, mask: (1 - mask) * z),
            "The net is asked about the changed half. What both sides know is the half that "
            "the mask keeps.",
        ),
        (
            lambda z, mask, net: (1 - mask) * z + mask * _right_rest(z, *net(mask * z)),
            "Mask and 1 - mask are swapped in the last line: where the mask is 1, z stays.",
        ),
        (
            lambda z, mask, net: (1 - mask) * _right_rest(z, *net(mask * z)),
            "The kept half is lost: add mask * z.",
        ),
    ],
    "Right: the net was never inverted. It was asked the same question twice.",
    rtol=1e-5,
    advice="undo x * exp(log_scale) + shift where the mask is 0, and keep the rest",
)

# ---------------------------------------------------------------- 3: noise that pays


def noisy(levels: Tensor, u: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """y = (levels + width * u) / 128 - 1 and -log q(y | levels) [B]: levels and u [B, D]."""
    y = (levels + width * u) / 128 - 1
    cost = levels.shape[1] * math.log(width / 128)
    return y, torch.full((len(levels),), cost, dtype=y.dtype)


def noise_logdet(levels: Tensor, width: float) -> Tensor:
    """-log q(y given levels) [B], y = (levels + width * u) / 128 - 1: levels [B, D]."""
    return noisy(levels, torch.zeros_like(levels), width)[1]


def _bent_noise(each: Callable, D: bool = True) -> Callable:
    def bent(levels: Tensor, width: float) -> Tensor:
        return torch.full((len(levels),), each(width) * (levels.shape[1] if D else 1))

    return bent


NOISE = Exercise(
    "noise_logdet",
    noise_logdet,
    [
        (torch.floor(256 * _rand(3, 5, seed=6)), 0.5),
        (torch.floor(256 * _rand(2, 7, seed=7)), 0.8),
    ],
    [
        (
            _bent_noise(lambda a: -math.log(128)),
            "Right for a = 1. Noise of width a is drawn with density 1 / a in its part of the "
            "cell: its log is missing, D log a, and a model can win just that for nothing.",
        ),
        (
            _bent_noise(lambda a: -math.log(a / 128)),
            "The sign is turned: q is high, 128 / a, where the cell is small, and *minus* its "
            "log is wanted.",
        ),
        (
            _bent_noise(lambda a: -math.log(a) - math.log(128)),
            "log a has the wrong sign: half a cell (a = 1/2) must make the number smaller, "
            "not larger.",
        ),
        (
            _bent_noise(lambda a: math.log(a / 128), D=False),
            "That is one pixel's. D pixels draw independently: times D.",
        ),
        (
            _bent_noise(lambda a: math.log(a)),
            "The cells are 1/128 wide, so q is 128 / a: the log of 128 is missing.",
        ),
        (
            _bent_noise(lambda a: math.log(a / 128) / math.log(2)),
            "That is in bits. Nats here, as the log-density that it is added to.",
        ),
        (
            _bent_noise(lambda a: math.log(a / 256)),
            "256 cells between -1 and 1 are each 2/256 = 1/128 wide. (1/256 belongs to pixels "
            "in [0, 1].)",
        ),
        (
            lambda levels, width: torch.tensor(levels.shape[1] * math.log(width / 128)),
            "The value is right; one for each picture of the batch is wanted: [B].",
        ),
    ],
    "Right: what a narrower noise gains in density, this takes back.",
    rtol=1e-5,
    advice="q is uniform over a / 128 in each of D pixels",
)

# ---------------------------------------------------------------- 4: bits per dimension


def bits_per_dim(log_p: Tensor, D: int) -> Tensor:
    """Densities of y in [-1, 1]^D in nats [B], 256 levels a pixel, to bits a dimension [B]."""
    return -(log_p - D * math.log(128)) / (D * math.log(2))


BITS = Exercise(
    "bits_per_dim",
    bits_per_dim,
    [(100 * _randn(4, seed=8) + 2000, 784), (_randn(3, seed=9), 12)],
    [
        (
            lambda log_p, D: -log_p / (D * math.log(2)),
            "That is the density's. A level's cell is 2/256 wide: its probability is the "
            "density times (1/128)^D, so 7 bits a dimension are missing.",
        ),
        (
            lambda log_p, D: -(log_p - D * math.log(256)) / (D * math.log(2)),
            "Off by one bit: pixels run from -1 to 1, so a cell is 2/256 = 1/128 wide.",
        ),
        (
            lambda log_p, D: -(log_p + D * math.log(128)) / (D * math.log(2)),
            "The cells' size has the wrong sign: a smaller cell holds less probability and "
            "costs more bits.",
        ),
        (
            lambda log_p, D: (log_p - D * math.log(128)) / (D * math.log(2)),
            "The sign is turned: bits are minus the log-probability.",
        ),
        (
            lambda log_p, D: -(log_p - D * math.log(128)) / D,
            "That is in nats: divide by log 2.",
        ),
        (
            lambda log_p, D: -(log_p - D * math.log(128)) / math.log(2),
            "That is bits a picture: divide by D.",
        ),
        (
            lambda log_p, D: -(log_p - math.log(128)) / (D * math.log(2)),
            "One pixel's cell only: there are D of them.",
        ),
        (
            lambda log_p, D: bits_per_dim(log_p, D).mean(),
            "The batch is averaged too: keep one number a picture, [B].",
        ),
        (
            lambda log_p, D: -(log_p - D * math.log(128)) * math.log(2) / D,
            "Divide by log 2, don't multiply: a nat is 1.44 bits.",
        ),
    ],
    "Right: this number may stand beside the PixelCNN's.",
    rtol=1e-5,
    advice="probability of the levels = density times the cells' size",
)
