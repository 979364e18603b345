"""What the images of a data set are measured by: the same way for every family of models."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from course_lib.data import as_saved, to_float
from course_lib.data.emoji import emoji
from course_lib.data.fashion import fashion_mnist
from course_lib.errors import CourseError
from course_lib.metrics.frechet import Moments, frechet_distance
from course_lib.progress import progress

BATCH = 512  # images that a feature net looks at together
FEW = 16  # images: a distance of so many says nothing of a spread in a hundred features
DRAWS = 5  # of real training images, whose mean distance is the floor


@dataclass(frozen=True)
class Yardstick:
    """A Fréchet distance in the features of one net, from the real images of one data set.

    n of `small` and below is compared with the first `small` real images (small protocol),
    above with all of the split (full protocol).
    """

    name: str
    net: str  # the weights whose features are compared
    shape: tuple[int, int, int]  # (C, H, W) of an image
    images: Callable[[str], np.ndarray]  # split -> uint8 images, as to_float takes them
    embed: Callable[[Tensor], Tensor]  # float images [N, C, H, W] -> features [N, D]
    small: int = 2048
    n: int = 2048  # images that a model is measured by, where nobody asks for another number

    @torch.no_grad()
    def features(self, images: Tensor, what: str = "features") -> Tensor:
        """Features of images [N, C, H, W] in [-1, 1]: [N, D], in float32 whatever the autocast
        around. A progress bar with the name `what` shows where that takes long.

        The images are clamped to [-1, 1] and rounded to 256 levels first, as a saved picture
        would be.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.shape:
            C, H, W = self.shape
            raise ValueError(
                f"{self.name} takes images [N, {C}, {H}, {W}] in [-1, 1], not "
                f"{tuple(images.shape)}."
            )
        parts = as_saved(images).split(BATCH)
        with torch.autocast(images.device.type, enabled=False):
            return torch.cat([self.embed(part) for part in progress(parts, desc=what)])

    def reference(self, n: int, split: str = "test") -> Moments:
        """What n images are compared with: the moments of a split's first `small` images or of
        all.

        Figures are published against "test"; what is chosen by them, a net or a way of
        sampling, against "valid".
        """
        return _reference(self, n <= self.small, split)

    def real(self, n: int, split: str = "test") -> Tensor:
        """The features [M, D] of the real images whose moments `reference(n, split)` holds."""
        return _real(self, n <= self.small, split)

    def floor(self, n: int) -> float:
        """The distance that n real training images themselves have from the reference: the
        mean of five draws.
        """
        return _floor(self, n)


# Not methods: a cache on a method would hold what a test or a reader makes for ever.
@functools.lru_cache(maxsize=8)
def _real(yardstick: Yardstick, small: bool, split: str) -> Tensor:
    images = yardstick.images(split)[: yardstick.small if small else None]
    return yardstick.features(to_float(images), f"{len(images):,} real images")


@functools.lru_cache(maxsize=8)
def _reference(yardstick: Yardstick, small: bool, split: str) -> Moments:
    return Moments.of(_real(yardstick, small, split))


@functools.lru_cache(maxsize=8)
def _floor(yardstick: Yardstick, n: int) -> float:
    images = yardstick.images("train")
    if not 2 <= n * DRAWS <= len(images):
        raise CourseError(
            f"{DRAWS} draws of {n} images are not to be had from {len(images)} without using "
            "one twice."
        )
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(images), generator=generator)[: n * DRAWS]
    what = f"the floor, {len(rows):,} real images"
    features = yardstick.features(to_float(images[rows.numpy()]), what)
    reference = yardstick.reference(n)
    return sum(frechet_distance(part, reference) for part in features.split(n)) / DRAWS


# ---- Fashion-MNIST


@functools.cache
def _feature_net(name: str, device: torch.device):
    from course_lib.weights import load_weights

    return load_weights(name, device=device)


def _fashion_images(split: str) -> np.ndarray:
    return fashion_mnist(split)[0]


def _fashion_embed(images: Tensor) -> Tensor:
    return _feature_net("fashion-classifier", images.device).features(images)


FASHION = Yardstick(
    "fashion-mnist", "fashion-classifier", (1, 28, 28), _fashion_images, _fashion_embed
)


# ---- captioned emoji


def _emoji_images(split: str) -> np.ndarray:
    data = emoji()
    return data.images[data.rows(split)]


def _emoji_embed(images: Tensor) -> Tensor:
    return _feature_net("emoji-judge", images.device).image(images)


# as many as there are held-out pairs, each asked for once
EMOJI = Yardstick("emoji", "emoji-judge", (3, 64, 64), _emoji_images, _emoji_embed, n=1055)
YARDSTICKS = {FASHION.name: FASHION, EMOJI.name: EMOJI}


def fashion_features(images: Tensor) -> Tensor:
    """Features of images [N, 1, 28, 28] in [-1, 1]: [N, 128], those of the course's classifier
    of Fashion-MNIST.
    """
    return FASHION.features(images)
