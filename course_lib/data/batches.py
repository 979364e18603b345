"""From bytes at rest to float images in [-1, 1] and back, and endless batches of them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from course_lib.errors import CourseError

CHANNELS = (1, 3)  # of an image: grey and colour


def to_float(images: np.ndarray | Tensor, channels: int | None = None) -> Tensor:
    """Bytes uint8 to images float32 [..., C, H, W] in [-1, 1]: 0 becomes -1, 255 becomes 1.

    The number of axes says what the bytes are: [H, W] and [B, H, W] are grey, and get an axis
    for it; [B, C, H, W], C of 1 or 3, have theirs. channels, if given, says it instead: 1 for
    grey [..., H, W], 3 for colour [..., 3, H, W]. So [3, H, W] is three grey images, and one
    image in colour is to_float(image, channels=3). CourseError for what is neither.
    """
    images = _as_tensor(images)
    if images.dtype != torch.uint8:
        raise TypeError(f"to_float takes uint8 images, not {images.dtype}")
    if channels not in (None, *CHANNELS):
        raise CourseError(f"channels is 1 (grey) or 3 (colour), not {channels!r}.")
    shape = list(images.shape)
    grey = channels == 1 if channels else len(shape) < 4
    colours = CHANNELS if channels is None else (3,)
    if len(shape) < 2 or not grey and (len(shape) < 3 or shape[-3] not in colours):
        raise CourseError(
            f"{shape} are no images: give grey [H, W] or [B, H, W], or [B, C, H, W] with C of "
            "1 or 3, colour before rows and columns; more axes need channels=1 or channels=3."
        )
    if channels is None and len(shape) > 4:
        raise CourseError(f"Say what {shape} are: channels=1 for grey, channels=3 for colour.")
    x = images.to(torch.float32) / 127.5 - 1
    return x.unsqueeze(-3) if grey else x


def as_saved(x: Tensor) -> Tensor:
    """Images of any shape in [-1, 1] as a saved picture has them, clamped and rounded to 256
    levels: float32 in [-1, 1] again. What judges images looks at these.
    """
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def to_uint8(x: np.ndarray | Tensor) -> Tensor:
    """Images [..., C, H, W] in [-1, 1] to uint8, rounded and clamped; the inverse of to_float.

    Grey ones lose their axis: [..., 1, H, W] become [..., H, W]; colour stays [..., 3, H, W].
    CourseError for another number of channels, and for values that are not finite numbers.
    """
    x = _as_tensor(x).detach()
    if x.dtype == torch.uint8:
        raise TypeError("to_uint8 takes float images in [-1, 1], not uint8")
    if x.ndim < 3 or x.shape[-3] not in CHANNELS:
        raise CourseError(
            "to_uint8 takes images of one channel or three, [..., 1, H, W] or [..., 3, H, W], "
            f"not {list(x.shape)}: decode latents first."
        )
    if not torch.isfinite(x).all():
        raise CourseError(
            "to_uint8 takes images in [-1, 1], and these hold values that are not finite "
            "numbers: what made them has broken down."
        )
    levels = ((x.to(torch.float32) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.squeeze(-3) if x.shape[-3] == 1 else levels


class Batches(Iterator[tuple]):
    """Endless batches (x float32 [B, C, H, W], cond [B, ...]); batch k is a pure function of
    (seed, k).

    Each epoch is a new permutation made from (seed, epoch); a batch never crosses into the
    next epoch, so the last few images of a permutation are dropped. With shard=(rank, world) a
    process gets its B = batch_size / world rows of the same global batch.

    images is uint8, grey [N, H, W] or [N, C, H, W] with C of 1 or 3. cond goes with them: the
    labels [N], an index into captions [N], or a (nested) tuple of such tensors, (tokens [N,
    L], style [N]) for example; whole numbers come as int64. CourseError for sizes that don't
    fit.
    """

    def __init__(
        self,
        images: np.ndarray | Tensor,
        cond: np.ndarray | Tensor | tuple,
        batch_size: int,
        seed: int,
        *,
        shard: tuple[int, int] = (0, 1),
    ):
        self.images, self.cond = _as_tensor(images), _each(cond, _as_cond)
        rank, world = shard
        shape = list(self.images.shape)
        if self.images.dtype != torch.uint8 or not (
            len(shape) == 3 or (len(shape) == 4 and shape[1] in CHANNELS)
        ):
            raise CourseError(
                "Batches are of images uint8 [N, H, W] or [N, C, H, W] with C of 1 or 3, not "
                f"{self.images.dtype} {shape}."
            )
        for count in _lengths(self.cond):
            if count != shape[0]:
                raise CourseError(f"{shape[0]} images but {count} labels or conditions")
        if not 0 < batch_size <= shape[0]:
            raise CourseError(
                f"batch_size {batch_size} must be from 1 to the {shape[0]} images"
            )
        if not 0 <= rank < world or batch_size % world:
            raise CourseError(
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
            order = torch.randperm(len(self.images), generator=generator)
            self._epoch, self._order = epoch, order
        rank, world = self.shard
        local = self.batch_size // world
        start = place * self.batch_size + rank * local
        return self._order[start : start + local]

    def __next__(self) -> tuple:
        rows = self.rows(self.step)
        self.step += 1
        return to_float(self.images[rows]), _each(self.cond, lambda part: part[rows])

    def state_dict(self) -> dict[str, int]:
        """The number of batches given so far, and what they depend on: all that a resumed run
        needs.
        """
        return {"step": self.step, **self._settings()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches that the saved run had taken; the number of processes may be
        another. CourseError where these batches are not those that the run was given.
        """
        was = {key: state.get(key) for key in self._settings()}
        if was != self._settings():
            raise CourseError(
                f"The saved run took its batches with {_words(was)}, and these have "
                f"{_words(self._settings())}: go on with the same, or begin the run anew."
            )
        step = state.get("step")
        if type(step) is not int or step < 0:
            raise CourseError(f"The saved run has taken {step!r} batches: begin the run anew.")
        self.step = step

    def _settings(self) -> dict[str, int]:
        return {"batch_size": self.batch_size, "seed": self.seed, "images": len(self.images)}


def _words(settings: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _each(cond, change):
    """The same nested tuple with change(tensor) in each tensor's place."""
    if isinstance(cond, tuple):
        return tuple(_each(part, change) for part in cond)
    return change(cond)


def _lengths(cond) -> list[int]:
    if isinstance(cond, tuple):
        return [count for part in cond for count in _lengths(part)]
    return [len(cond)]


def _as_cond(part: np.ndarray | Tensor) -> Tensor:
    """A condition's tensor: whole numbers as int64, for they are looked up; others as they
    are.
    """
    part = _as_tensor(part)
    whole = not (part.is_floating_point() or part.is_complex() or part.dtype == torch.bool)
    return part.to(torch.int64) if whole else part


def _as_tensor(array: np.ndarray | Tensor) -> Tensor:
    """A tensor as it is, a numpy array as a copy: torch warns about memory that it may not
    write to.
    """
    return array if isinstance(array, Tensor) else torch.from_numpy(np.array(array))
