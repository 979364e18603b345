"""The broken flows of lesson 03: eight flows of the same small pictures, seven of them with a
wrong line, and the five numbers that give them away.

A picture has four pixels: two that vary together, and two of background that are the same in
all of them. Every flow is an affine map, so that everything about it is known exactly.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from course_lib.exercises.matching import Bug, Matching, listed
from course_lib.models.invertible import normal_log_prob

D = 4
MEAN = (30.0, 34.0, 3.0, 3.0)  # in grey levels, the varying pixels first
STD, CORRELATION = (8.0, 6.0), 0.7  # of the varying pixels
CENTRE, UNIT = 16.0, 16.0  # what the continuous flow of bug 5 takes off, and divides by
NAMES = ("reported - log P", "area", "round trip", "mean", "spread")


BUGS = {
    1: Bug("nothing is wrong", "has no number out of place, and reports a little under log P"),
    2: Bug(
        "the inverse forgets to rescale",
        "undoes the shift and not the scale: both round trip and spread are wrong",
    ),
    3: Bug(
        "the inverse draws the split latents anew",
        "makes good samples, and brings no picture back",
    ),
    4: Bug(
        "noise of half a cell, counted as of a whole one",
        "reports too much although its density has area 1: up to log 2 in each pixel",
    ),
    5: Bug(
        "time runs backwards in the solver",
        "is a flow still, with area 1 and an exact round trip, but its samples lie elsewhere "
        "and its likelihood is poor",
    ),
    6: Bug(
        "the log-determinant is subtracted",
        "reports a density whose area is the square of a determinant",
    ),
    7: Bug(
        "data divided by 0.45, the density taken as if by 0.5",
        "reports a density whose area is (0.5 / 0.45)^4, and nothing else is wrong",
    ),
    8: Bug(
        "noise of temperature 0.7, shown as the model's samples",
        "shows too narrow a cloud although its inverse is right",
    ),
}


def _covariance() -> Tensor:
    a, b = STD
    cov = torch.zeros(D, D, dtype=torch.float64)
    cov[:2, :2] = torch.tensor(
        [[a * a, CORRELATION * a * b], [CORRELATION * a * b, b * b]], dtype=torch.float64
    )
    return cov


def gallery_data(n: int = 4000, seed: int = 0) -> Tensor:
    """n pictures [n, 4] of whole grey levels."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    x = torch.tensor(MEAN, dtype=torch.float64).repeat(n, 1)
    x[:, :2] += normal @ torch.linalg.cholesky(_covariance()[:2, :2]).T
    return x.round()


def true_log_prob(x: Tensor) -> Tensor:
    """log P of pictures [n, 4], to a few thousandths of a nat: a Normal's density at the level
    is a cell's probability where the cell is small, and the background is certain.
    """
    law = MultivariateNormal(
        torch.tensor(MEAN[:2], dtype=torch.float64), _covariance()[:2, :2]
    )
    return law.log_prob(x[:, :2])


def _reversed_flow(mean: Tensor, cov: Tensor, steps: int = 200) -> tuple[Tensor, Tensor]:
    """What an exact velocity of Normal data makes of noise when time runs the wrong way:
    the map y = M z + c, by the midpoint rule.
    """
    m, S = (mean - CENTRE) / UNIT, cov / UNIT**2
    one = torch.eye(D, dtype=torch.float64)

    def velocity(t: float) -> tuple[Tensor, Tensor]:  # of eps - x_0: B x + b
        B = (t * one - (1 - t) * S) @ torch.linalg.inv((1 - t) ** 2 * S + t * t * one)
        return B, -m - (1 - t) * B @ m

    M, c, h = one.clone(), torch.zeros(D, dtype=torch.float64), 1 / steps
    for k in range(steps):
        # from noise to data t falls from 1 to 0, but the net is told 1 - t
        t = (k + 0.5) * h
        B, b = velocity(t)
        step = torch.linalg.solve(one + h / 2 * B, one - h / 2 * B)
        M, c = step @ M, step @ c - torch.linalg.solve(one + h / 2 * B, h * b)
    return UNIT * M, UNIT * c + CENTRE


@dataclass(frozen=True)
class Broken:
    """A flow y = M z + c as its author sees it."""

    bug: int
    M: Tensor  # [4, 4]
    c: Tensor  # [4]
    width: float  # of the dequantisation's noise, in cells

    def encode(self, y: Tensor) -> Tensor:
        """y [n, 4] to z."""
        return torch.linalg.solve(self.M, (y - self.c).T).T

    def decode(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """z [n, 4] to y."""
        if self.bug == 2:
            return z + self.c
        if self.bug == 3:
            fresh = torch.randn(len(z), 2, generator=generator, dtype=z.dtype)
            z = torch.stack([z[:, 0], fresh[:, 0], z[:, 2], fresh[:, 1]], dim=1)
        return z @ self.M.T + self.c

    def exact(self, y: Tensor) -> Tensor:
        """The log-density [n] that this map gives y: change of variables."""
        return normal_log_prob(self.encode(y)) - torch.linalg.slogdet(self.M)[1]

    def reported(self, y: Tensor) -> Tensor:
        """What its author takes for the levels' log-probability, [n] in nats."""
        if self.bug == 6:
            return normal_log_prob(self.encode(y)) + torch.linalg.slogdet(self.M)[1]
        return self.exact(y) + (D * math.log(0.5 / 0.45) if self.bug == 7 else 0)

    def samples(self, n: int = 4000, seed: int = 1) -> Tensor:
        """What is shown as its samples: y [n, 4]."""
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(n, D, generator=generator, dtype=torch.float64)
        return self.decode(0.7 * z if self.bug == 8 else z, generator)

    def numbers(self) -> dict[str, float]:
        """The five numbers of the gallery's table, by NAMES: a little under 0, 1, 0, 0 and 1
        at best.
        """
        x, generator = gallery_data(), torch.Generator().manual_seed(2)
        y = x + self.width * torch.rand(x.shape, generator=generator, dtype=x.dtype)
        back, shown = self.decode(self.encode(y), generator), self.samples()
        std = x[:, :2].std(dim=0)
        values = (
            (self.reported(y) - true_log_prob(x)).mean().item(),
            (self.reported(y) - self.exact(y)).exp().mean().item(),
            (back - y).abs().max().item(),  # in grey levels
            ((shown[:, :2] - y[:, :2]).mean(dim=0) / std).mean().item(),  # in data's stds
            (shown[:, :2].std(dim=0) / std).mean().item(),  # over the data's
        )
        return dict(zip(NAMES, values, strict=True))


def broken_flow(bug: int) -> Broken:
    """The best affine flow of the gallery's pictures, with one of the BUGS in it."""
    width = 0.5 if bug == 4 else 1.0
    mean = torch.tensor(MEAN, dtype=torch.float64) + width / 2
    cov = _covariance() + width**2 / 12 * torch.eye(D, dtype=torch.float64)
    if bug == 5:
        return Broken(bug, *_reversed_flow(mean, cov), width)
    return Broken(bug, torch.linalg.cholesky(cov), mean, width)


_HUNG = {"A": 7, "B": 3, "C": 5, "D": 8, "E": 1, "F": 6, "G": 2, "H": 4}  # who hangs where


def gallery() -> dict[str, Broken]:
    """The eight flows under their letters."""
    return {letter: broken_flow(bug) for letter, bug in _HUNG.items()}


GALLERY = Matching(
    "The gallery",
    _HUNG,
    BUGS,
    "Three of them would win a table of likelihoods.",
    lambda bug: listed(broken_flow(bug).numbers(), ".3g"),
)
