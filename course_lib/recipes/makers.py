"""What the makers of all families have in common: noise, batches, and the Maker itself."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.device import precision_name
from course_lib.draws import ImageDraws
from course_lib.metrics.measure import Maker
from course_lib.recipe import parameters_of
from course_lib.weights import read_card


def start_noise(n: int, seed: int, *shape: int) -> Tensor:
    """The noise that n images begin with: standard Normal [n, *shape], drawn on the CPU from
    the seed, so the same on every device.
    """
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def batches_of(
    paint: Callable[[Any, Tensor], Tensor],
    labels_for: Callable[..., Tensor],
    batch_size: int,
    noise: Callable[[int, int], Tensor] | None = None,
) -> Callable[..., Iterator[tuple[Tensor, Tensor]]]:
    """The `batches` of a Maker of classes.

    labels_for(n, cond) gives what the n images are of, [n]. paint(random, labels [B]) makes
    the images of a batch; random is its share of noise(n, seed) [n, ...], or without one an
    ImageDraws, with a stream an image.
    """

    def batches(n: int, seed: int, cond=None, start: int = 0):
        labels = labels_for(n, cond)
        drawn = None if noise is None else noise(n, seed)
        for i in range(start, n, batch_size):
            told = labels[i : i + batch_size]
            rows = range(i, i + len(told))
            random = ImageDraws(seed, rows) if drawn is None else drawn[i : i + batch_size]
            with torch.no_grad():
                x = paint(random, told)
            yield x.float().cpu(), told

    return batches


def maker_from(
    module: nn.Module,
    name: str,
    *,
    shape: tuple[int, int, int],
    cost: dict,
    batches: Callable[..., Iterator[tuple]],
    yardstick: str = "fashion-mnist",
    beside: Sequence[str] = (),
    precision: torch.dtype = torch.float32,
) -> Maker:
    """The Maker of a module whose weights bear `name`; beside: the names of other weights that
    its images are made from; precision: what its net computes in.
    """
    return Maker(
        name=name,
        shape=shape,
        yardstick=yardstick,
        cost=cost,
        batches=batches,
        weights=tuple(read_card(file)["sha256"] for file in (name, *beside)),
        parameters=parameters_of(module),
        precision=precision_name(precision),
    )
