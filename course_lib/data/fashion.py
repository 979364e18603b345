"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017; MIT licence, Zalando SE), packed in assets/
with its licence.

The packed file holds 60,000 training images, 10,000 test images and their labels, raw bytes
one after another.
"""

from typing import TYPE_CHECKING

import numpy as np

from course_lib.data.assets import Asset, DataCheck, DataError, cache_folder
from course_lib.errors import CourseError

if TYPE_CHECKING:
    from course_lib.data.batches import Batches

__all__ = [
    "CLASSES",
    "FASHION",
    "RAW_SHA256",
    "SPLITS",
    "TRAINED_ON",
    "DataError",
    "cache_folder",
    "fashion_batches",
    "fashion_mnist",
    "verify_data",
]

# of assets/fashion-mnist.xz
PACKED_SHA256 = "b23c760e1cf71c4fdd38be7a17e76f1340754689f0e5fdc1db610a8b07fd91f2"
# of the bytes unpacked from it
RAW_SHA256 = "2cbc59191665e1ba3f2494648f17edac5974f748ab89fb2ae05597d658161f54"
# what a card says of it
TRAINED_ON = {"data": "Fashion-MNIST, the 55,000 training images", "data_sha256": RAW_SHA256}
# bytes of each of the four xz streams
STREAMS = (6578240, 6606788, 6581160, 6619864)

COUNT, SIDE = 70_000, 28
IMAGE_BYTES = COUNT * SIDE * SIDE
RAW_BYTES = IMAGE_BYTES + COUNT  # one byte a label
SPLITS = {
    "train": (0, 55_000),
    "valid": (55_000, 60_000),
    "test": (60_000, 70_000),
}  # rows of the packed file
CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)

FASHION = Asset(
    "fashion-mnist", "Fashion-MNIST", PACKED_SHA256, RAW_SHA256, RAW_BYTES, STREAMS
)


def fashion_mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 28, 28] and labels uint8 [N] of one split, read-only and memory-mapped.

    N is 55,000 for "train", 5,000 for "valid" and 10,000 for "test". The first call ever
    unpacks the data; see `Asset.raw`. Raises DataError for a missing or altered file,
    CourseError for another split.
    """
    if split not in SPLITS:
        raise CourseError(f"unknown split {split!r}; the splits are {', '.join(SPLITS)}")
    start, stop = SPLITS[split]
    raw = FASHION.raw()
    images = raw[:IMAGE_BYTES].reshape(COUNT, SIDE, SIDE)  # [70000, 28, 28], a view
    return images[start:stop], raw[IMAGE_BYTES:][start:stop]


def verify_data() -> DataCheck:
    """Hash the packed file and, where there is one, the cached copy; nothing is written.
    Raises DataError.
    """
    return FASHION.verify()


def fashion_batches(
    batch_size: int, seed: int, split: str = "train", shard: tuple[int, int] = (0, 1)
) -> "Batches":
    """Endless batches of one split of Fashion-MNIST; see Batches and fashion_mnist for shapes
    and errors.
    """
    from course_lib.data.batches import Batches  # late: the images alone need no torch

    return Batches(*fashion_mnist(split), batch_size, seed, shard=shard)
