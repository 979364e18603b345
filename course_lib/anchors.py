"""Pictures made without a net, by rules that are known: what a yardstick says of them shows
what it sees, and what it doesn't.
"""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.data import to_float
from course_lib.data.fashion import fashion_mnist
from course_lib.draws import ImageDraws, mixed_seed
from course_lib.errors import CourseError
from course_lib.metrics.frechet import Moments
from course_lib.metrics.measure import Maker
from course_lib.metrics.yardsticks import FASHION
from course_lib.models.independent import IndependentPixels
from course_lib.recipes.conditions import labels_of
from course_lib.recipes.makers import batches_of

BATCH = 256
FEW = 64  # training images that "few copies" knows
SIGMA = 1.0  # of the blur, in pixels


@dataclass(frozen=True)
class Anchor:
    """A row of the comparison that no net has made."""

    name: str
    what: str
    batches: Callable[..., Iterator[tuple[Tensor, Tensor]]]  # as a Maker's
    likelihood: Callable[[], dict] = dict  # {"bits_per_dim", "protocol"}, where there is one

    def maker(self) -> Maker:
        """Its pictures, in no network call at all."""
        return Maker(
            name=self.name,
            shape=FASHION.shape,
            yardstick=FASHION.name,
            cost={"calls": 0},
            batches=self.batches,
        )


# ---- real pictures


def _real(split: str, first: int = 0, few: int | None = None, change=lambda x: x) -> Callable:
    """The `batches` of a split's images from number `first` on, in an order that the seed
    gives; few: so many of them, again and again.
    """

    def batches(n: int, seed: int, cond=None, start: int = 0):
        if cond is not None:
            raise CourseError("Real pictures are of what they are of: ask for no classes.")
        images, labels = (part[first:] for part in fashion_mnist(split))
        if few is None and n > len(images):
            raise CourseError(f"There are {len(images)} such pictures, and not {n}.")
        order = torch.randperm(
            len(images), generator=torch.Generator().manual_seed(mixed_seed(seed, 10))
        )
        for i in range(start, n, BATCH):
            rows = torch.arange(i, min(i + BATCH, n)) % (few or len(images))
            rows = order[rows].numpy()
            yield (
                change(to_float(images[rows])),
                torch.from_numpy(labels[rows].astype("int64")),
            )

    return batches


def blurred(x: Tensor, sigma: float = SIGMA) -> Tensor:
    """Images [B, C, H, W] under a Gaussian of `sigma` pixels, their edges held."""
    reach = math.ceil(4 * sigma)
    at = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    bell = torch.exp(-(at**2) / (2 * sigma**2))
    bell = (bell / bell.sum()).expand(x.shape[1], 1, 1, -1)
    for kernel, pad in (
        (bell, (reach, reach, 0, 0)),
        (bell.transpose(2, 3), (0, 0, reach, reach)),
    ):
        x = F.conv2d(F.pad(x, pad, mode="replicate"), kernel, groups=x.shape[1])
    return x


# ---- the matched Normal


class MatchedNormal:
    """The Normal over pictures whose pixels have the mean and the covariance of given ones.

    It is fitted to grey levels with uniform noise in [0, 1) added, as a density of levels has
    to be (lesson 03), so its covariance has full rank.
    """

    def __init__(self, images: Tensor):
        """images: uint8 [N, H, W]."""
        self.shape = images.shape[1:]
        parts = images.flatten(1).split(5000)
        moments = sum((Moments.of(part.double()) for part in parts), Moments.empty(784))
        self.mean = moments.mean + 0.5
        cov = moments.cov + torch.eye(len(self.mean), dtype=torch.float64) / 12
        self.root = torch.linalg.cholesky(cov)  # [D, D], lower

    def log_prob(self, images: Tensor) -> Tensor:
        """A lower bound of the log-probability of uint8 images [B, H, W], nats [B]: the mean
        of the log-density over the noise, by formula.
        """
        D = len(self.mean)
        away = images.flatten(1).double() + 0.5 - self.mean
        inverse = torch.linalg.solve_triangular(
            self.root, torch.eye(D, dtype=torch.float64), upper=False
        )
        # of the noise around its middle: E u^T P u is the trace of P / 12
        square = (away @ inverse.T).square().sum(dim=1) + inverse.square().sum() / 12
        return -(square + D * math.log(2 * math.pi)) / 2 - self.root.diagonal().log().sum()

    def sample(self, noise: Tensor) -> Tensor:
        """Standard Normal noise [B, D] to pictures [B, 1, H, W], not clamped."""
        levels = self.mean + noise.double() @ self.root.T - 0.5
        return (levels / 127.5 - 1).float().reshape(-1, 1, *self.shape)


@functools.cache
def _train() -> tuple[Tensor, Tensor]:
    return tuple(torch.from_numpy(part.copy()) for part in fashion_mnist("train"))


@functools.cache
def _normal() -> MatchedNormal:
    return MatchedNormal(_train()[0])


@functools.cache
def _table() -> IndependentPixels:
    return IndependentPixels.fit(*_train())


def _paint_normal(draws: ImageDraws, labels: Tensor) -> Tensor:
    return _normal().sample(draws.normal(torch.empty(len(labels), 784)))


def _paint_chimera(draws: ImageDraws, labels: Tensor) -> Tensor:
    return _table().sample(draws.uniform(len(labels), 28, 28), labels)


def _bits(log_prob: Callable, told: str) -> dict:
    images, labels = (torch.from_numpy(part.copy()) for part in fashion_mnist("test"))
    parts = zip(images.split(100), labels.long().split(100), strict=True)
    nats = torch.cat([log_prob(x, y).double() for x, y in parts])
    return {
        "bits_per_dim": round(-nats.mean().item() / (784 * math.log(2)), 4),
        "protocol": f"bits a pixel, 8-bit 28 x 28, {told}, all 10,000 test images",
    }


def _normal_bits() -> dict:
    told = "an upper bound: uniform noise on the levels, by formula"
    return _bits(lambda x, y: _normal().log_prob(x), told)


def _chimera_bits() -> dict:
    return _bits(lambda x, y: _table().log_prob(x, y), "told the class")


def _of_classes(paint: Callable) -> Callable:
    return batches_of(paint, lambda n, cond: labels_of(n, 10, cond), BATCH)


ANCHORS = {
    anchor.name: anchor
    for anchor in (
        Anchor(
            "test images",
            "real ones, none of the reference's",
            _real("test", FASHION.small),
        ),
        Anchor("training images", "a model that has learnt them by heart", _real("train")),
        Anchor("64 training images", "again and again", _real("train", few=FEW)),
        Anchor(
            "blur",
            "test images under a Gaussian of one pixel",
            _real("test", FASHION.small, change=blurred),
        ),
        Anchor(
            "matched Normal",
            "the training pixels' own mean and covariance",
            _of_classes(_paint_normal),
            _normal_bits,
        ),
        Anchor(
            "chimera",
            "each pixel by itself, told the class",
            _of_classes(_paint_chimera),
            _chimera_bits,
        ),
    )
}
