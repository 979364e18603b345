"""The exercises of lesson 03: a log-determinant and the inverse of a coupling. Noise that pays
for its width stands in density_03.py, the floor of flow matching in matching_03.py, the
broken flows that its last section hangs on the wall in gallery_03.py.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.density_03 import NOISE
from course_lib.exercises.gallery_03 import BUGS, GALLERY, NAMES, gallery, gallery_data
from course_lib.exercises.grader import Exercise
from course_lib.exercises.matching_03 import FLOOR, matching_floor

__all__ = [
    "AFFINE",
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
        # scales of both signs, or their absolute values would do as well
        (_randn(3, 2, 4, 5, seed=0), torch.tensor([0.9, -0.3])),
        (_randn(2, 3, 2, 2, seed=2), torch.tensor([-1.1, 0.4, -0.2])),
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
            lambda x, s: (_places(x) * s.abs().sum()).expand(len(x)),
            "abs takes the signs away: a scale below 1 shrinks, and its log is below 0.",
        ),
        (
            lambda x, s: (x * s.exp()[:, None, None]).abs().log().sum(dim=(1, 2, 3)),
            "This is the log of the scaled image. The determinant is that of the map: x "
            "itself is not in it.",
        ),
        (
            lambda x, s: (x * s[:, None, None]).sum(dim=(1, 2, 3)),
            "x is not in a log-determinant: each of its numbers is stretched by "
            "exp(log_scale), whatever it is.",
        ),
        (
            lambda x, s: (x.shape[2] * s.sum()).expand(len(x)),
            "Only one side of the image is counted: a channel has H W pixels.",
        ),
        (
            lambda x, s: (784 * s.sum()).expand(len(x)),
            "784 pixels are counted, and the images here are smaller: x.shape has H and W.",
        ),
        (
            lambda x, s: (_places(x) * s.sum()).expand(len(x))[:, None],
            "The values are right, but an axis is left over: [B] is asked for.",
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
            lambda z, mask, net: (
                mask * z + (1 - mask) * _right_rest(z, *reversed(net(mask * z)))
            ),
            "log_scale and shift are exchanged: the net gives log_scale first.",
        ),
        (
            lambda z, mask, net: mask * z + _right_rest(z, *net(mask * z)),
            "The kept half is counted twice: multiply the other part by 1 - mask.",
        ),
        (
            _bent_undo(lambda z, s, b: z * (-s).exp()),
            "The scale is undone, the shift is not: take it off first.",
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
