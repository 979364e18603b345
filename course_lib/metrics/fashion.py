"""The course's yardstick: a Fréchet distance in the features of its own Fashion-MNIST
classifier.
"""

import functools

import torch
from torch import Tensor

from course_lib.data import to_float
from course_lib.data.fashion import fashion_mnist
from course_lib.metrics.frechet import frechet_distance

FEATURE_NET = "fashion-classifier"


@functools.cache
def _feature_net(device: torch.device):
    from course_lib.weights import load_weights

    return load_weights(FEATURE_NET, device=device)


@torch.no_grad()
def fashion_features(images: Tensor, batch_size: int = 512) -> Tensor:
    """Features of images [N, 1, 28, 28] in [-1, 1]: [N, 128], in float32 whatever the autocast
    around.

    The images are clamped to [-1, 1] and rounded to 256 grey levels first, as a saved picture
    would be.
    """
    if images.ndim != 4 or images.shape[1:] != (1, 28, 28):
        raise ValueError(
            "fashion_features takes images [N, 1, 28, 28] in [-1, 1], not "
            f"{tuple(images.shape)}."
        )
    net = _feature_net(images.device)
    rounded = ((images.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    with torch.autocast(images.device.type, enabled=False):
        return torch.cat([net.features(part) for part in rounded.float().split(batch_size)])


@functools.cache
def fashion_reference(n: int, split: str = "test") -> Tensor:
    """Features of the images to compare n samples with: a split's first 2,048 (small protocol)
    or all of them.

    Figures are published against "test"; what is chosen by them, a net or a way of sampling,
    against "valid".
    """
    images, _ = fashion_mnist(split)
    return fashion_features(to_float(images[: 2048 if n <= 2048 else None]))


@functools.cache
def fashion_floor(n: int, draws: int = 5) -> float:
    """The distance that n real training images themselves have from the reference: the mean of
    `draws` draws.
    """
    images, _ = fashion_mnist("train")
    if not 2 <= n * draws <= len(images):
        raise ValueError(
            f"{draws} draws of {n} images are not to be had from {len(images)} without using "
            "one twice."
        )
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[: n * draws]
    features = fashion_features(to_float(images[rows.numpy()]))
    return (
        sum(frechet_distance(part, fashion_reference(n)) for part in features.split(n)) / draws
    )
