"""Graders of lesson 00: the four conventions that every later line stands on."""

import torch
from torch import Tensor

from course_lib.data import to_float
from course_lib.exercises.grader import Exercise


def _bytes(*shape: int) -> Tensor:
    return torch.randint(
        256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


BYTES_TO_IMAGES = Exercise(
    "images_from_bytes",
    to_float,
    cases=[(_bytes(2, 28, 28),), (torch.tensor([[[0, 255]]], dtype=torch.uint8),)],
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
        (_normal(1, 28, 1, 28, 28), torch.linspace(0, 1, 28)),
        (_normal(2, 3, 1, 3, 3), torch.tensor([0.0, 1, 2])),
        # three images of three channels: a factor lined up with any axis goes through, and
        # nothing complains
        (_normal(5, 3, 3, 3, 3), torch.tensor([0.0, 1, 2])),
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
    ],
    praise="Right: a factor shaped [B, 1, 1, 1] reaches every pixel of its own image.",
    advice="all pixels of image i, and no others, are multiplied by factor[i]",
)


def _noise_like(x: Tensor, seed: int) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def _forgets_the_seed(attempt) -> bool:
    x = torch.zeros(2, 1, 8, 8)
    return not torch.equal(attempt(x, 7), attempt(x, 7))


def _moves_everyone_s(attempt) -> bool:
    """Whether PyTorch's shared random numbers go on, or are set, in a call. (The grader puts
    them back.)
    """
    torch.default_generator.manual_seed(2357)  # at a place where no attempt leaves them
    before = torch.get_rng_state()
    attempt(torch.zeros(2, 1, 8, 8), 7)
    return not torch.equal(before, torch.get_rng_state())


NOISE_LIKE = Exercise(
    "noise_like",
    _noise_like,
    cases=[(torch.zeros(2, 1, 8, 8), 7), (torch.zeros(3, 1, 4, 4), 1)],
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
            "That is the sum over 784 pixels. The mean is the same for every size of image, "
            "and so is a learning rate.",
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
