"""Lesson 07's figures: a softmax's temperature, crowds and what spoils them."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor

from course_lib.widgets.plots import BLUE, GREEN, GREY, RED, frames_of, tile


def softmax_frames(
    tables: Sequence[Tensor],
    names: Sequence[str],
    scales: np.ndarray,
    losses: Sequence,
    B: int,
) -> list[np.ndarray]:
    """One picture a scale: the table of softmaxes, and the loss of a batch of B at it."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
    view = left.imshow(tables[0], vmin=0, vmax=1, cmap="Blues")
    places = range(len(names))
    left.set_xticks(places, names, rotation=45, ha="right", fontsize=11)
    left.set_yticks(places, names, fontsize=11)
    left.set(xlabel="text", ylabel="picture")
    bar = figure.colorbar(view, ax=left, shrink=0.7)
    bar.set_label("probability")
    right.semilogx(1 / scales, losses, color=BLUE)
    right.axhline(np.log(B), color=GREY, linestyle=":", label=f"chance, ln {B}")
    (dot,) = right.plot([], [], "o", color=RED, markersize=12)
    right.set(xlabel="temperature", ylabel=f"loss of {B} pairs (nats)", ylim=(0, None))
    right.legend(loc="upper left")

    def draw(k: int):
        view.set_data(tables[k])
        dot.set_data([1 / scales[k]], [losses[k]])
        left.set_title(f"1 / temperature = {scales[k]:.1f}")

    return frames_of(figure, draw, range(len(scales)))


def normals_frames(
    real: Tensor, twin: Tensor, spreads: np.ndarray, distance: Callable, base: Tensor
) -> list[np.ndarray]:
    """One picture a spread: two Normals, their distance at each spread, and a crowd of two
    peaks beside the first.
    """
    import matplotlib.pyplot as plt

    curve = [float(distance(real, 1 + s * base)) for s in spreads]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4))
    grid = np.linspace(-6, 6, 200)
    bell = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    left.fill_between(grid, bell, color=BLUE, alpha=0.5, label="first")
    (line,) = left.plot([], [], color=RED, label="second")
    left.set(ylim=(0, 1), xlabel="feature", ylabel="density", title="two crowds")
    left.legend(fontsize=11)
    middle.plot(spreads, curve, color=RED)
    (dot,) = middle.plot([], [], "o", color=RED, markersize=12)
    middle.set(xlabel="spread of the second", ylabel="squared distance", ylim=(0, None))
    middle.set_title("how far apart")
    right.hist(real.numpy(), bins=50, density=True, color=BLUE, alpha=0.5, label="first")
    right.hist(
        twin.numpy(), bins=50, density=True, histtype="step", color=GREEN, linewidth=2,
        label="third",
    )  # fmt: skip
    right.set(xlabel="feature", ylabel="density", ylim=(0, 0.95))
    right.set_title(f"first and third: {float(distance(real, twin)):.3f}")
    right.legend(fontsize=11)

    def draw(k: int):
        z = (grid - 1) / spreads[k]
        line.set_data(grid, np.exp(-(z**2) / 2) / spreads[k] / np.sqrt(2 * np.pi))
        dot.set_data([spreads[k]], [curve[k]])

    return frames_of(figure, draw, range(len(spreads)))


def floor_figure(
    sizes: Sequence[int],
    dots: Mapping[str, Sequence],
    lines: Mapping[str, Sequence],
):
    """Real against real: for each kind of distance its measured values, and for each closed
    form its line, over the number of pictures in either crowd.
    """
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 3.6))
    for (name, values), marker, colour in zip(
        dots.items(), "os^", (BLUE, RED, GREEN), strict=False
    ):
        axis.loglog(sizes, values, marker, color=colour, markersize=9, label=name)
    for (name, values), style, colour in zip(
        lines.items(), ("-", "--"), (BLUE, RED), strict=False
    ):
        axis.loglog(sizes, values, style, color=colour, label=name)
    axis.set(xlabel="pictures in each crowd", ylabel="squared distance")
    axis.set_xticks(sizes, map(str, sizes))
    axis.minorticks_off()
    axis.legend(fontsize=11)
    return figure


def to_infinity_figure(sizes: Sequence[int], measured: Mapping[str, Sequence]):
    """Distances over 1 / N and their straight lines, drawn on to 1 / N = 0; returns the
    figure and where each line ends there.
    """
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 3.6))
    x, ends = 1 / np.array(sizes), {}
    for (name, values), colour, marker in zip(
        measured.items(), (BLUE, RED), "os", strict=False
    ):
        slope, ends[name] = np.polyfit(x, values, 1)
        axis.plot(x, values, marker, color=colour, markersize=9, label=name)
        axis.plot([0, x[0]], [ends[name], ends[name] + slope * x[0]], color=colour)
    axis.axhline(0, color=GREY, linewidth=1)
    axis.axvline(0, color=GREY, linewidth=1)
    axis.set(xlabel="1 / pictures in each crowd", ylabel="squared distance")
    axis.set_xticks([0, *x], ["0", *(f"1/{n}" for n in sizes)], fontsize=11)
    axis.legend()
    return figure, ends


def spoilt_frames(
    crowds: Mapping[str, Sequence[Tensor]],
    levels: Mapping[str, Sequence[float]],
    units: Mapping[str, str],
    distances: Mapping[str, Sequence[float]],
) -> list[np.ndarray]:
    """One picture a way and level: some images, and the distances of this way on one scale
    for all, above the unspoilt crowd's own.
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6))
    places = [(name, i) for name, each in crowds.items() for i in range(len(each))]
    start = next(iter(distances.values()))[0]
    view = left.imshow(tile(next(iter(crowds.values()))[0][:18], 6), vmin=0, vmax=1)
    left.set(xticks=[], yticks=[])
    (line,) = right.semilogy([], [], "o-", color=BLUE)
    (dot,) = right.plot([], [], "o", color=RED, markersize=13)
    right.axhline(start, color=GREY, linestyle=":", label="unspoilt: the floor")
    right.set(xlim=(-0.3, 4.3), ylim=(0.1, 60), ylabel="Fréchet distance", xlabel="\n")
    right.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
    right.legend(loc="upper left")

    def draw(place: tuple[str, int]):
        name, i = place
        view.set_data(tile(crowds[name][i][:18], 6))
        left.set_title(f"{name}: {levels[name][i]:g} {units[name]}", fontsize=12)
        line.set_data(range(len(distances[name])), distances[name])
        dot.set_data([i], [distances[name][i]])
        right.set_xticks(range(len(levels[name])), [f"{each:g}" for each in levels[name]])
        right.set_xlabel(units[name])

    return frames_of(figure, draw, places)


def scores_figure(scores: Mapping[str, Tensor], baselines: Sequence[str]):
    """A bar with its standard error for each row of scores; the baselines stand out."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 3.8))
    for k, (name, s) in enumerate(scores.items()):
        colour, hatch = (RED, "//") if name in baselines else (BLUE, "")
        error = float(s.std()) / len(s) ** 0.5
        axis.barh(k, float(s.mean()), xerr=error, color=colour, hatch=hatch)
    axis.set_yticks(range(len(scores)), list(scores))
    n = len(next(iter(scores.values())))
    axis.set(xlabel=f"CLIP score of the judge, n = {n}")
    axis.set_title("only the gap to the hatched bars counts")
    axis.invert_yaxis()
    return figure
