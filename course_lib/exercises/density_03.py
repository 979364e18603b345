"""An exercise of lesson 03 on densities of grey levels: noise that pays for its width."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise


def _rand(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


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
            lambda levels, width: torch.full(levels.shape, math.log(width / 128)),
            "Right for each pixel by itself. Independent pixels' logs add up: .sum(dim=1).",
        ),
        (
            lambda levels, width: torch.full(
                (len(levels),), levels.numel() * math.log(width / 128)
            ),
            "levels.numel() counts the pixels of the whole batch. One picture has "
            "levels.shape[1].",
        ),
        (
            lambda levels, width: torch.full(
                (len(levels),), len(levels) * math.log(width / 128)
            ),
            "len(levels) counts the pictures. A picture's pixels are levels.shape[1].",
        ),
        (
            _bent_noise(lambda a: math.log(a / 127.5)),
            "Here 256 cells fill [-1, 1], so that each is 1/128 wide. (127.5 puts 255 on 1.)",
        ),
        (
            _bent_noise(lambda a: math.log(a * 128)),
            "q is uniform over a / 128, so it is a / 128 whose log counts, not a * 128.",
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
