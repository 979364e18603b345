"""The data sets, and the way from bytes at rest to batches of images in [-1, 1] and back."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from course_lib.data.fashion import (
    CLASSES,
    DataError,
    cache_folder,
    fashion_mnist,
    verify_data,
)

__all__ = [
    "CLASSES",
    "Batches",
    "DataError",
    "cache_folder",
    "fashion_batches",
    "fashion_mnist",
    "to_float",
    "to_uint8",
    "verify_data",
]


def to_float(images: np.ndarray | Tensor) -> Tensor:
    """Bytes uint8 [..., 28, 28] to float32 [..., 1, 28, 28] in [-1, 1]: 0 becomes -1 and 255
    becomes 1.
    """
    images = _as_tensor(images)
    if images.dtype != torch.uint8:
        raise TypeError(f"to_float takes uint8 images, not {images.dtype}")
    return (images.to(torch.float32) / 127.5 - 1).unsqueeze(-3)


def to_uint8(x: np.ndarray | Tensor) -> Tensor:
    """Images [..., 1, 28, 28] in [-1, 1] to uint8 [..., 28, 28], rounded and clamped; the
    inverse of to_float.
    """
    x = _as_tensor(x).detach()
    if x.dtype == torch.uint8:
        raise TypeError("to_uint8 takes float images in [-1, 1], not uint8")
    if x.ndim < 3 or x.shape[-3] != 1:
        raise ValueError(
            f"to_uint8 takes images of one channel, [..., 1, H, W], not {list(x.shape)}"
        )
    return (
        ((x.to(torch.float32) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).squeeze(-3)
    )


class Batches(Iterator[tuple[Tensor, Tensor]]):
    """Endless batches (x float32 [B, 1, 28, 28], labels int64 [B]); batch k is a pure function
    of (seed, k).

    Each epoch is a new permutation made from (seed, epoch); a batch never crosses into the
    next epoch, so the last few images of a permutation are dropped. With shard=(rank, world) a
    process gets its B = batch_size / world rows of the same global batch. images is uint8 [N,
    28, 28], labels [N]. Raises ValueError for sizes that don't fit.
    """

    def __init__(
        self,
        images: np.ndarray | Tensor,
        labels: np.ndarray | Tensor,
        batch_size: int,
        seed: int,
        *,
        shard: tuple[int, int] = (0, 1),
    ):
        self.images, self.labels = _as_tensor(images), _as_tensor(labels).to(torch.int64)
        rank, world = shard
        if len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.images)} images but {len(self.labels)} labels")
        if not 0 < batch_size <= len(self.images):
            raise ValueError(
                f"batch_size {batch_size} must be from 1 to the {len(self.images)} images"
            )
        if not 0 <= rank < world or batch_size % world:
            raise ValueError(
                f"shard {shard} needs 0 <= rank < world, and world must divide batch_size "
                f"{batch_size}"
            )
        self.batch_size, self.seed, self.shard, self.step = batch_size, seed, shard, 0
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    @property
    def batches_per_epoch(self) -> int:
        """How many whole batches a permutation gives."""
        return len(self.images) // self.batch_size

    def rows(self, k: int) -> Tensor:
        """Indices int64 [batch_size / world] of batch k's images for this process."""
        epoch, place = divmod(k, self.batches_per_epoch)
        if epoch != self._epoch:
            # SeedSequence mixes both numbers: seed + epoch would make seed 1's epochs those of
            # seed 0, one later
            mixed = int(
                np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)[0]
                >> np.uint64(1)
            )
            generator = torch.Generator().manual_seed(mixed)
            self._epoch, self._order = (
                epoch,
                torch.randperm(len(self.images), generator=generator),
            )
        rank, world = self.shard
        local = self.batch_size // world
        start = place * self.batch_size + rank * local
        return self._order[start : start + local]

    def __next__(self) -> tuple[Tensor, Tensor]:
        rows = self.rows(self.step)
        self.step += 1
        return to_float(self.images[rows]), self.labels[rows]

    def state_dict(self) -> dict[str, int]:
        """The number of batches given so far: all that a resumed run needs."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches that the saved run had taken."""
        self.step = int(state["step"])


def fashion_batches(
    batch_size: int, seed: int, split: str = "train", shard: tuple[int, int] = (0, 1)
) -> Batches:
    """Endless batches of one split of Fashion-MNIST; see Batches and fashion_mnist for shapes
    and errors.
    """
    return Batches(*fashion_mnist(split), batch_size, seed, shard=shard)


def _as_tensor(array: np.ndarray | Tensor) -> Tensor:
    """A tensor as it is, a numpy array as a copy: torch warns about memory that it may not
    write to.
    """
    return array if isinstance(array, Tensor) else torch.from_numpy(np.array(array))
