"""The exercise of further/01: how far one draw in front makes many pixels agree."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise
from course_lib.exercises.independence import agreement

__all__ = ["ALL_AGREE", "all_agree", "normal_grid"]


def normal_grid(n: int = 4001, reach: float = 8.0) -> tuple[Tensor, Tensor]:
    """Values of a standard Normal z [n], evenly spaced, and their weights [n], which sum to
    1: averages over z are sums of weight * value.
    """
    z = torch.linspace(-reach, reach, n, dtype=torch.float64)
    weight = (-z.square() / 2).exp()
    return z, weight / weight.sum()


def _bent(
    slope: Callable[[float], float] = lambda rho: math.sqrt(rho / (1 - rho)),
    white: Callable[[Tensor], Tensor] = torch.special.ndtr,
    both: Callable[[Tensor, int], Tensor] = lambda p, n: p**n + (1 - p) ** n,
) -> Callable:
    """The share of draws in which n pixels agree, with any of its parts bent."""

    def share(n: int, rho: float, z: Tensor, weight: Tensor) -> Tensor:
        return (weight * both(white(slope(rho) * z), n)).sum()

    return share


def all_agree(n: int, rho: float, z: Tensor, weight: Tensor) -> Tensor:
    """The chance that n pixels, each pair of correlation rho, are all white or all black:
    averaged over the z that they share, of `normal_grid`.
    """
    return _bent()(n, rho, z, weight)


def _averaged_first(n: int, rho: float, z: Tensor, weight: Tensor) -> Tensor:
    p = (weight * torch.special.ndtr(math.sqrt(rho / (1 - rho)) * z)).sum()
    return p**n + (1 - p) ** n


def _unweighted(n: int, rho: float, z: Tensor, weight: Tensor) -> Tensor:
    p = torch.special.ndtr(math.sqrt(rho / (1 - rho)) * z)
    return (p**n + (1 - p) ** n).mean()


def _chain(n: int, rho: float, z: Tensor, weight: Tensor) -> Tensor:
    return torch.tensor(agreement(rho) ** (n - 1))


_GRID = normal_grid()

ALL_AGREE = Exercise(
    "all_agree",
    all_agree,
    [(3, 0.3, *_GRID), (5, 0.8, *_GRID), (40, 0.6, *_GRID)],
    [
        (
            _bent(both=lambda p, n: p**n),
            "This is all of one colour. The other is agreement too: p ** n + (1 - p) ** n.",
        ),
        (
            _bent(both=lambda p, n: p**n * (1 - p) ** n),
            "All white *or* all black: the two shares add up.",
        ),
        (
            _bent(both=lambda p, n: p**2 + (1 - p) ** 2),
            "This is for two pixels. Given z each of the n is white with p: p ** n.",
        ),
        (
            _bent(both=lambda p, n: (p**2 + (1 - p) ** 2) ** (n - 1)),
            "Given z the pixels are independent, so all are white with p ** n; products of "
            "pairs count a pixel twice.",
        ),
        (
            _bent(slope=lambda rho: rho / (1 - rho)),
            "rho is w squared: u = sqrt(rho) z + sqrt(1 - rho) eps, so z counts with sqrt(rho "
            "/ (1 - rho)).",
        ),
        (
            _bent(slope=lambda rho: math.sqrt(rho)),
            "The pixel's own noise has the spread sqrt(1 - rho), not 1: divide by it.",
        ),
        (
            _bent(slope=lambda rho: rho),
            "rho is the correlation of two pixels; z alone counts with sqrt(rho), and is "
            "divided by the noise's spread, sqrt(1 - rho).",
        ),
        (
            _bent(slope=lambda rho: math.sqrt(rho) / (1 - rho)),
            "The noise's variance is 1 - rho; its spread, by which one divides, is the root.",
        ),
        (
            _bent(slope=lambda rho: rho / math.sqrt(1 - rho**2)),
            "That is one pixel given the *other*. Given z: sqrt(rho) z over sqrt(1 - rho).",
        ),
        (
            _bent(slope=lambda rho: math.sqrt((1 - rho) / rho)),
            "Upside down: the larger rho, the more z decides.",
        ),
        (
            _bent(white=torch.sigmoid),
            "The noise is Normal: its distribution function is torch.special.ndtr, not the "
            "logistic's.",
        ),
        (
            _averaged_first,
            "z was averaged out before the power, and then the pixels know nothing of one "
            "another: 2 ** (1 - n). Take the power at each z, the average last.",
        ),
        (
            _unweighted,
            "A plain mean takes all z on the grid for equally likely: sum weight * value.",
        ),
        (
            _chain,
            "Right for two pixels, not for more: that pixel 1 agrees with 2, and 2 with 3, "
            "are no independent events.",
        ),
    ],
    "Right: 1/2 + arcsin(rho) / pi for two, and 2 / (n + 1) for n at rho = 1/2.",
    rtol=1e-5,
    known_errors=[
        ("must be Tensor, not float", "rho is a plain number: its root is rho ** 0.5."),
    ],
    advice="given z a pixel is white with probability ndtr(z sqrt(rho / (1 - rho)))",
)
