"""Graders of lesson 00: the four conventions that every later line stands on."""

import torch
from torch import Tensor

from course_lib.data import to_float
from course_lib.exercises.grader import Exercise


def _bytes(*shape: int) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


BYTES_TO_IMAGES = Exercise(
    "images_from_bytes",
    to_float,
    cases=[(_bytes(2, 28, 28),), (torch.tensor([[[0, 255]]], dtype=torch.uint8),)],
    wrong_turns=[
        (lambda b: (b.float() / 255)[:, None], "That is [0, 1]. Our images live in [-1, 1], so that grey is 0."),
        (lambda b: b.float() / 127.5 - 1, "The values are right, the shape is not: [B, H, W] lacks its channel axis."),
        (lambda b: (b.float() / 255 - 1)[:, None], "That is [-1, 0]: 255 must become 1, so divide by half of it."),
        (lambda b: (b.float() / 128 - 1)[:, None], "Nearly: 255 / 128 - 1 is 0.992. White must be exactly 1."),
        (lambda b: (b / 127.5 - 1)[..., None], "The channel axis comes before height and width: [B, C, H, W]."),
    ],
    praise="Right: 0 is black at -1, 255 is white at 1, and there is a channel axis.",
)


def _scale_each(x: Tensor, factor: Tensor) -> Tensor:
    return x * factor[:, None, None, None]


SCALE_EACH = Exercise(
    "scale_each",
    _scale_each,
    cases=[(_normal(1, 28, 1, 28, 28), torch.linspace(0, 1, 28)), (_normal(2, 3, 1, 3, 3), torch.tensor([0.0, 1, 2]))],
    wrong_turns=[
        (
            lambda x, factor: x * factor,
            "PyTorch lined your factors up with the last axis, the columns of each picture. One factor belongs to a "
            "whole image: give it the shape [B, 1, 1, 1].",
        ),
        (
            lambda x, factor: x * factor[:, None],
            "One more axis is not enough: [B, 1] lines up with rows and columns. It takes [B, 1, 1, 1].",
        ),
        (lambda x, factor: x * factor.mean(), "Every image has a factor of its own; do not average them."),
    ],
    praise="Right: a factor shaped [B, 1, 1, 1] reaches every pixel of its own image.",
)


def _noise_like(x: Tensor, seed: int) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


NOISE_LIKE = Exercise(
    "noise_like",
    _noise_like,
    cases=[(torch.zeros(2, 1, 8, 8), 7), (torch.zeros(3, 1, 4, 4), 1)],
    wrong_turns=[
        (
            lambda x, seed: torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)),
            "torch.rand is uniform, from 0 to 1. Noise in this course is Normal, mean 0 and variance 1: torch.randn.",
        ),
        (
            lambda x, seed: torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(seed)).expand(x.shape),
            "Every image got the same noise. Draw it in the full shape of x.",
        ),
    ],
    praise="Right: the same seed gives the same noise, and nobody else's random numbers are touched.",
)


def _error_per_image(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().flatten(1).mean(dim=1)


ERROR_PER_IMAGE = Exercise(
    "error_per_image",
    _error_per_image,
    cases=[(_normal(3, 4, 1, 28, 28), _normal(4, 4, 1, 28, 28))],
    wrong_turns=[
        (lambda a, b: (a - b).flatten(1).mean(dim=1), "Errors of +1 and -1 cancelled. Square before you average."),
        (
            lambda a, b: (a - b).abs().flatten(1).mean(dim=1),
            "That is the absolute error; the squared one is asked for.",
        ),
        (lambda a, b: (a - b).square().mean(), "That is one number for the batch: average over the pixels alone."),
        (
            lambda a, b: (a - b).square().flatten(1).sum(dim=1),
            "That is the sum over 784 pixels. The mean is the same for every size of image, and so is a learning rate.",
        ),
    ],
    praise="Right: one number an image, and the batch's loss is their mean.",
)
