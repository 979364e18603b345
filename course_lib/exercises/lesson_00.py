"""Graders of lesson 00: the four conventions that every later line stands on."""

import torch
from torch import Tensor

from course_lib.data import to_float
from course_lib.exercises.grader import Exercise


def _bytes(least: int, most: int, *shape: int) -> Tensor:
    """Bytes from least to most, both among them."""
    generator = torch.Generator().manual_seed(0)
    found = torch.randint(least, most + 1, shape, generator=generator, dtype=torch.uint8)
    found[0, 0, :2] = torch.tensor([least, most], dtype=torch.uint8)
    return found


def _own_range(b: Tensor, axes: tuple[int, ...], at_zero: bool = False) -> Tensor:
    """Bytes stretched to [-1, 1] by the least and the largest that are there."""
    b = b.float()
    low, high = b.amin(axes, keepdim=True), b.amax(axes, keepdim=True)
    low = 0 * low if at_zero else low
    return (2 * (b - low) / (high - low) - 1)[:, None]


_STRETCHED = (
    "This stretches what is there: its least value becomes -1 and its largest 1. Then a dark "
    "picture comes out as bright as a light one, and two batches can't be compared. Black is "
    "0 and white is 255, whatever the pictures hold."
)
_BY_MAXIMUM = (
    "This divides by the largest value that is there, so that a dark picture comes out as "
    "bright as a light one. White is 255, whatever the pictures hold: divide by 127.5."
)


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


BYTES_TO_IMAGES = Exercise(
    "images_from_bytes",
    to_float,
    # none holds both black and white: its own range is not that of a byte
    cases=[
        (_bytes(20, 180, 2, 28, 28),),
        (_bytes(0, 130, 1, 3, 5),),
        (_bytes(9, 255, 3, 2, 4),),
    ],
    wrong_turns=[
        (
            lambda b: (b.float() / 255)[:, None],
            "That is [0, 1]. Our images live in [-1, 1], so that grey is 0.",
        ),
        (
            lambda b: b.float() / 127.5 - 1,
            "The values are right, the shape is not: [B, H, W] lacks its channel axis.",
        ),
        (
            lambda b: (b.float() / 255 - 1)[:, None],
            "That is [-1, 0]: 255 must become 1, so divide by half of it.",
        ),
        (
            lambda b: (b.float() / 128 - 1)[:, None],
            "Nearly: 255 / 128 - 1 is 0.992. White must be exactly 1.",
        ),
        (
            lambda b: (b / 127.5 - 1)[..., None],
            "The channel axis comes before height and width: [B, C, H, W].",
        ),
        (lambda b: _own_range(b, (0, 1, 2)), _STRETCHED),
        (lambda b: _own_range(b, (1, 2)), _STRETCHED),
        (lambda b: _own_range(b, (0, 1, 2), at_zero=True), _BY_MAXIMUM),
        (lambda b: _own_range(b, (1, 2), at_zero=True), _BY_MAXIMUM),
        (
            lambda b: (b.float() / b.max())[:, None],
            "Two slips: that is [0, 1], where our images live in [-1, 1], and white is 255, "
            "whatever the pictures hold.",
        ),
        (
            lambda b: (1 - b.float() / 127.5)[:, None],
            "Black and white are exchanged: this is the negative.",
        ),
        (
            lambda b: (b.float() - 127.5)[:, None],
            "Grey is at 0, but black is at -127.5: divide by 127.5 as well.",
        ),
        (
            lambda b: (b * 2 - 1).float()[:, None] / 255,
            "A byte holds no number above 255: doubled, 200 becomes 144. Convert with "
            ".float() first.",
        ),
        (
            lambda b: (2 * b / 255 - 1)[:, None],
            "A byte holds no number above 255: doubled, 200 becomes 144. Convert with "
            ".float() first, or divide before you double.",
        ),
    ],
    praise="Right: 0 is black at -1, 255 is white at 1, and there is a channel axis.",
    dtype_hint="The values are right, but images are float32 here: a network's weights are, "
    "and PyTorch will not mix "
    "the two. Convert with .float().",
    advice="0 should land at -1, 255 at 1, on a straight line",
)


_SQUEEZED = (
    "Grey images have a channel axis of length 1, which squeeze takes away. Coloured ones "
    "have three channels: keep "
    "the axis, and the line works for any C."
)
_ONE_CHANNEL = (
    "This keeps the first channel alone. Grey images have no other, but coloured "
    "ones have three: keep them all."
)


def _scale_each(x: Tensor, factor: Tensor) -> Tensor:
    return x * factor[:, None, None, None]


SCALE_EACH = Exercise(
    "scale_each",
    _scale_each,
    cases=[
        (_normal(1, 28, 1, 28, 28), torch.linspace(0.2, 1.7, 28)),
        (_normal(2, 3, 1, 3, 3), torch.tensor([0.5, 1.5, 2])),
        # three images of three channels: a factor lined up with any axis goes through, and
        # nothing complains
        (_normal(5, 3, 3, 3, 3), torch.tensor([-0.5, 0.25, 2])),
    ],
    wrong_turns=[
        (
            lambda x, factor: x * factor,
            "PyTorch lined your factors up with the last axis, the columns of each picture. "
            "One factor belongs to a "
            "whole image: give it the shape [B, 1, 1, 1].",
        ),
        (
            lambda x, factor: x * factor[:, None],
            "One more axis is not enough: [B, 1] lines up with rows and columns. It takes "
            "[B, 1, 1, 1].",
        ),
        (
            lambda x, factor: x * factor.mean(),
            "Every image has a factor of its own; do not average them.",
        ),
        (
            lambda x, factor: x * factor[:, None, None],
            "Nearly: [B, 1, 1] lines up with channels, rows and columns. One more axis: [B, "
            "1, 1, 1].",
        ),
        (lambda x, factor: (x.squeeze(1) * factor[:, None, None]).unsqueeze(1), _SQUEEZED),
        (lambda x, factor: (x[:, 0] * factor[:, None, None])[:, None], _ONE_CHANNEL),
        (
            lambda x, factor: x * factor[0],
            "Every image has a factor of its own: this takes the first one's for all.",
        ),
        (
            lambda x, factor: x + factor[:, None, None, None],
            "The factor is added; it is to multiply.",
        ),
        (
            lambda x, factor: x / factor[:, None, None, None],
            "Divided by the factor; it is to multiply.",
        ),
        (
            lambda x, factor: x.flatten(1) * factor[:, None],
            "The values are right, but the pictures are flat: give them back their shape, "
            ".reshape(x.shape), or multiply by [B, 1, 1, 1].",
        ),
    ],
    praise="Right: a factor shaped [B, 1, 1, 1] reaches every pixel of its own image.",
    advice="all pixels of image i, and no others, are multiplied by factor[i]",
)


def _noise_like(x: Tensor, seed: int) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def _forgets_the_seed(attempt) -> bool:
    x = _normal(8, 2, 1, 8, 8)
    return not torch.equal(attempt(x.clone(), 7), attempt(x.clone(), 7))


def _moves_everyone_s(attempt) -> bool:
    """Whether PyTorch's shared random numbers go on, or are set, in a call. (The grader puts
    them back.)
    """
    torch.default_generator.manual_seed(2357)  # at a place where no attempt leaves them
    before = torch.get_rng_state()
    attempt(_normal(8, 2, 1, 8, 8), 7)
    return not torch.equal(before, torch.get_rng_state())


NOISE_LIKE = Exercise(
    "noise_like",
    _noise_like,
    cases=[(_normal(8, 2, 1, 8, 8), 7), (_normal(9, 3, 1, 4, 4), 1)],
    wrong_turns=[
        (
            lambda x, seed: torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)),
            "torch.rand is uniform, from 0 to 1. Noise in this course is Normal, mean 0 and "
            "variance 1: torch.randn.",
        ),
        (
            lambda x, seed: torch.randn(
                x.shape[1:], generator=torch.Generator().manual_seed(seed)
            ).expand(x.shape),
            "Every image got the same noise. Draw it in the full shape of x.",
        ),
        (
            lambda x, seed: torch.randn(x.shape, generator=torch.Generator()),
            "The generator is your own, but it was never told the seed: "
            "torch.Generator().manual_seed(seed).",
        ),
        (
            lambda x, seed: x + _noise_like(x, seed),
            "The noise is right, but x is added to it. x gives its shape, and nothing else: "
            "how much of each goes into a noisy picture is for the caller to say.",
        ),
        (
            lambda x, seed: _noise_like(x, seed) * x.std(),
            "The noise has x's spread. Standard Normal noise has spread 1, whatever x is: "
            "x gives its shape alone.",
        ),
        (
            lambda x, seed: x * _noise_like(x, seed),
            "The noise is right, but it multiplies x. x gives its shape, and nothing else.",
        ),
        (
            lambda x, seed: torch.randn(
                x.shape[-2:], generator=torch.Generator().manual_seed(seed)
            ),
            "The noise has the shape of one picture. Draw it in the full shape of x, for the "
            "whole batch.",
        ),
        (
            lambda x, seed: torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
            "The seed is 0 whatever is asked for: hand `seed` to manual_seed.",
        ),
    ],
    praise="Right: the same seed gives the same noise, and nobody else's random numbers are "
    "touched.",
    habits=[
        (
            _forgets_the_seed,
            "Two calls with the same seed gave different noise. Make a torch.Generator in "
            "the function, give it the "
            "seed with manual_seed, and hand it to torch.randn as generator=...",
        ),
        (
            _moves_everyone_s,
            "The noise comes from the random numbers that everybody shares: whoever draws "
            "next gets others than "
            "without this call. Take a torch.Generator() of your own, and call manual_seed "
            "on that.",
        ),
    ],
    dtype_hint="The values are right, but noise is float32 here, as the images and the "
    "network are: PyTorch will not "
    "mix it with another dtype.",
    advice="it should be what torch.randn draws in x's shape from a new torch.Generator with "
    "this seed",
)


def _error_per_image(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().flatten(1).mean(dim=1)


ERROR_PER_IMAGE = Exercise(
    "error_per_image",
    _error_per_image,
    cases=[
        (_normal(3, 4, 1, 28, 28), _normal(4, 4, 1, 28, 28)),
        (_normal(6, 5, 3, 4, 4), _normal(7, 5, 3, 4, 4)),
    ],
    wrong_turns=[
        (
            lambda a, b: (a - b).flatten(1).mean(dim=1),
            "Errors of +1 and -1 cancelled. Square before you average.",
        ),
        (
            lambda a, b: (a - b).abs().flatten(1).mean(dim=1),
            "That is the absolute error; the squared one is asked for.",
        ),
        (
            lambda a, b: (a - b).square().mean(),
            "That is one number for the batch: average over the pixels alone.",
        ),
        (
            lambda a, b: (a - b).square().flatten(1).sum(dim=1),
            "That is the sum over the pixels. The mean is the same for every size of image, "
            "and so is a learning rate.",
        ),
        (
            lambda a, b: (a - b).square().flatten(1).sum(dim=1) / 784,
            "Divided by 784, which is right for one size of image alone. .mean() counts the "
            "numbers that are there.",
        ),
        (
            lambda a, b: _error_per_image(a, b).sqrt(),
            "That is the root of it, in units of a pixel. The squared error is asked for, "
            "with no root.",
        ),
        (
            lambda a, b: _error_per_image(a, b)[:, None, None, None],
            "The values are right, but keepdim=True keeps the axes: leave it out, and the "
            "shape is [B].",
        ),
        (
            lambda a, b: (a - b).square().mean(dim=0),
            "That averages over the images, dim=0, and keeps the pixels. Keep the images: "
            "average over dim=(1, 2, 3).",
        ),
        (
            lambda a, b: (a.square() - b.square()).flatten(1).mean(dim=1),
            "That is the difference of the squares. Take the difference first.",
        ),
        (
            lambda a, b: (a - b).flatten(1).mean(dim=1).square(),
            "Averaged first and squared after: errors of +1 and -1 cancelled.",
        ),
        (
            lambda a, b: _error_per_image(a, b) / 2,
            "Half of it. The mean squared error has no half here.",
        ),
        (
            lambda a, b: (a - b).square().mean(dim=(2, 3)),
            "That is one number for each channel, [B, C]: average over channels, rows and "
            "columns.",
        ),
        (lambda a, b: (a - b).square().mean(dim=(2, 3)).squeeze(1), _SQUEEZED),
        (lambda a, b: (a - b).square().squeeze(1).mean(dim=(1, 2)), _SQUEEZED),
        (lambda a, b: (a - b)[:, 0].square().mean(dim=(1, 2)), _ONE_CHANNEL),
    ],
    praise="Right: one number an image, and the batch's loss is their mean.",
    advice="square the differences, and average those of each image",
)
