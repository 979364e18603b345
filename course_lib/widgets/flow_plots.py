"""The figures of lesson 03: a curve and the density that it makes, points on their way through
a flow, and the floor of flow matching.

Each takes numbers that the lesson has computed, and draws.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from course_lib.widgets.plots import BLUE, GREEN, GREY, ORANGE, RED, SKY, frames_of


def curve_frames(
    xs: Tensor, curves: Sequence[Tensor], densities: Sequence[Tensor]
) -> list[np.ndarray]:
    """A frame for each curve z = f(x), values [N] at xs [N], and the density [N] of x that it
    makes of a standard Normal z; each strip holds a tenth of the probability.
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    bell = Normal(0.0, 1.0)
    left.fill_betweenx(xs, -5, -5 + 4 * bell.log_prob(xs).exp(), color=ORANGE, alpha=0.4)
    (line,) = left.plot([], [], color=BLUE, linewidth=3)
    left.set(xlim=(-5, 5), ylim=(-3.5, 3.5), xlabel="x", ylabel="z, standard Normal")
    left.set_title("the curve z = f(x)")
    strips = [right.fill_between(xs, 0 * xs, color=c, linewidth=0) for c in 5 * (BLUE, SKY)]
    right.set(xlim=(-5, 5), ylim=(0, 0.55), xlabel="x", ylabel="p(x)")
    tenths = bell.icdf(torch.linspace(0, 1, 11, dtype=xs.dtype))
    for level in tenths[1:-1]:
        left.axhline(level, color=GREY, linewidth=0.6)

    def draw(k: int):
        line.set_data(xs, curves[k])
        for i, strip in enumerate(strips):
            inside = (curves[k] >= tenths[i]) & (curves[k] < tenths[i + 1])
            strip.set_data(xs, 0 * xs, densities[k].where(inside, 0))
        right.set_title(f"density of x: area {torch.trapezoid(densities[k], xs):.3f}")

    return frames_of(figure, draw, range(len(curves)))


def way_frames(stages: Sequence[Tensor], rings: Sequence[Tensor]) -> list[np.ndarray]:
    """A frame a stage of points [N, 2] on their way from noise, coloured by the angle at which
    they began, over circles that go the same way, [circles, M, 2] a stage.
    """
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 5))
    hue = torch.atan2(stages[0][:, 1], stages[0][:, 0])
    dots = axis.scatter(*stages[0].T, c=hue, s=4, cmap="twilight")
    lines = [axis.plot([], [], color=GREY, linewidth=1)[0] for _ in rings[0]]
    axis.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), xlabel="first pixel", ylabel="second pixel")

    def draw(k: int):
        dots.set_offsets(stages[k])
        for line, ring in zip(lines, rings[k], strict=True):
            line.set_data(*ring.T)

    return frames_of(figure, draw, range(len(stages)))


def show_floors(
    times: Tensor,
    measured: Mapping[float, Sequence[float]],
    floor: Callable[[Tensor, float], Tensor],
):
    """The floor of flow matching over t in 0 .. 1 for data of each spread s, and what was
    measured at `times`, as dots.
    """
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots()
    fine = torch.linspace(0, 1, 201, dtype=torch.float64)
    for (s, left), colour in zip(measured.items(), (BLUE, GREEN, RED), strict=False):
        axis.plot(fine, floor(fine, s), color=colour, label=f"s = {s}")
        axis.plot(times, left, "o", color=colour)
    axis.set(xlabel="t (0: data, 1: noise)", ylabel="least squared error")
    axis.legend()
    return figure
