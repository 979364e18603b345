"""Every random number of a run, whatever the number of processes.

A draw is always one of the *global* batch, and a process gets its rows of it: two processes of
32 images see what one of 64 would have seen. A loss, a sampler and a recipe draw from here.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from course_lib.errors import CourseError


def mixed_seed(*numbers: int) -> int:
    """One seed from several whole numbers >= 0, all of which count: 0 .. 2^32 - 1.

    PyTorch's CPU generator keeps only the low 32 bits of its seed, and `seed + k` would make
    seed 1's streams those of seed 0, one later.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def check_seed(seed: int):
    """CourseError where a seed is none that every generator takes."""
    if not 0 <= seed < 2**31:
        raise CourseError(f"A seed is a whole number from 0 to 2^31 - 1, not {seed}.")


class Noise(Protocol):
    """Where fresh noise comes from: `Draws` by the batch, `ImageDraws` by the image."""

    def normal(self, like: Tensor) -> Tensor:
        """Standard Normal numbers of like's shape, dtype and device."""
        ...


class Draws:
    """Normals, uniforms and whole numbers from one generator; a process gets its own rows.

    source: a torch.Generator, a seed for a new one on the CPU, or None for PyTorch's global
    one. rank and world: this process's number, and how many share the global batch.
    """

    def __init__(
        self, source: torch.Generator | int | None = None, rank: int = 0, world: int = 1
    ):
        if not 0 <= rank < world:
            raise ValueError(f"Process {rank} of {world}: count from 0 to {world - 1}.")
        if isinstance(source, int):
            source = torch.Generator().manual_seed(source)
        self.generator, self.rank, self.world = source, rank, world

    @property
    def shard(self) -> tuple[int, int]:
        """(rank, world), as `Batches` takes them."""
        return self.rank, self.world

    def rows(self, whole: Tensor) -> Tensor:
        """This process's rows of a global batch: whole [world * B, ...] to [B, ...]."""
        B = len(whole) // self.world
        return whole[self.rank * B : (self.rank + 1) * B]

    def normal(self, like: Tensor) -> Tensor:
        """Standard Normal numbers of like's shape [B, ...], dtype and device."""
        return self._draw(torch.randn, like.shape, like.dtype, like.device).to(like)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1): float32 of this shape, its first axis the batch's."""
        return self._draw(torch.rand, shape, torch.float32)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Whole numbers 0 .. high - 1: int64 of this shape, its first axis the batch's."""
        return self._draw(lambda size, **how: torch.randint(high, size, **how), shape)

    def _draw(self, kind, shape: Sequence[int], dtype=torch.int64, device="cpu") -> Tensor:
        # the generator's own device: the numbers of a CPU generator are the same everywhere
        device = self.generator.device if self.generator is not None else device
        size = (shape[0] * self.world, *shape[1:])
        whole = kind(size, generator=self.generator, dtype=dtype, device=device)
        return self.rows(whole)


class ImageDraws:
    """Numbers from a stream an image, so that an image depends on its own seed alone.

    Image i of the batch draws from (seed, indices[i]), whatever stands beside it: a batch cut
    in two, or gone on from in the middle, gives the same images.
    """

    def __init__(self, seed: int, indices: Sequence[int], stream: int = 1):
        self.generators = [
            torch.Generator().manual_seed(mixed_seed(seed, int(index), stream))
            for index in indices
        ]

    def normal(self, like: Tensor) -> Tensor:
        """Standard Normal numbers of like's shape [B, ...]; B is the number of indices."""
        rows = [
            torch.randn(like.shape[1:], generator=generator, dtype=like.dtype)
            for generator in self.generators
        ]
        return torch.stack(rows).to(like)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1): float32 of this shape [B, ...]."""
        rows = [torch.rand(shape[1:], generator=generator) for generator in self.generators]
        return torch.stack(rows)
