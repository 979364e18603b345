"""The figures of lesson 05: a net told a wrong time, a time's embedding, losses over their
floors, a run as it stands, the denoise module, the noise inside a picture, two clouds.

Each takes numbers that the lesson has computed, and draws.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.widgets.plots import BLUE, GREEN, GREY, ORANGE, RED, SKY, tile
from course_lib.widgets.sharp import ONE_PICTURE


def wrong_times(told: Sequence[int], curves: Mapping[int, Sequence[float]]):
    """The error in the noise of a net that is told the times `told`, for each true time."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots()
    for (true, errors), colour in zip(curves.items(), (BLUE, RED, GREEN), strict=False):
        axis.plot(told, errors, "o-", color=colour, label=f"true time {true}")
        axis.axvline(true, color=colour, linestyle=":")
    axis.axhline(1, color=GREY, linewidth=1)
    axis.text(330, 1.08, "a net that says nothing", color=GREY)
    axis.set(yscale="log", xlim=(0, max(told) + 10))
    axis.set(xlabel="the time that the net is told", ylabel="error in the noise")
    axis.set_title("pictures at three noise levels; dotted: the true time")
    # beside the axes: within them it would cover a curve or a dotted line
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))


def embedding_tables(rows: Tensor, slip: Tensor):
    """An embedding [N, dim] of the times 0 .. N - 1, and the cosines between its rows and
    between those of another one.
    """
    import matplotlib.pyplot as plt

    n, dim = rows.shape
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    look = {"vmin": -1, "vmax": 1, "interpolation": "nearest", "cmap": "RdBu"}
    axes[0].imshow(rows, aspect="auto", extent=(0, dim, n, 0), **look)
    axes[0].set(title="the embedding", xlabel="column", ylabel="t")
    titles = ("yours: cosine of two times", "the slip")
    for axis, table, title in zip(axes[1:], (rows, slip), titles, strict=True):
        unit = torch.nn.functional.normalize(table, dim=1)
        look = {"vmin": -0.2, "vmax": 1, "interpolation": "nearest", "cmap": "viridis"}
        shown = axis.imshow(unit @ unit.T, extent=(0, n, n, 0), **look)
        near = (unit[:-1] * unit[1:]).sum(1).mean()
        axis.set(title=title, xlabel="t", ylabel="another t")
        print(f"{title}; mean cosine of neighbours {near:.2f}")
    figure.colorbar(shown, ax=axes[2], label="cosine")


def loss_and_floor(history: Sequence[Mapping[str, Tensor]], floors: Tensor, late: int = 500):
    """A run's losses over the mean floor, and the errors of its last steps by time over the
    floor at each t: history has "loss", "per_image" and "t" of each step, floors is [T].
    """
    import matplotlib.pyplot as plt

    T = len(floors)
    error = torch.cat([step["per_image"] for step in history[-late:]])
    at = torch.cat([step["t"] for step in history[-late:]])
    middles = torch.arange(25, T, 50)
    by_time = [error[(at > m - 25) & (at <= m + 25)].mean() for m in middles]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.8), sharey=True)
    losses = [step["loss"] for step in history]
    left.plot(losses, color=SKY, linewidth=1, label="loss of each step")
    left.axhline(floors.mean(), color=RED, label=f"the floor, {floors.mean():.3f}")
    left.set(xlabel="step", ylabel="error in the noise", ylim=(0, 1), title="the loss")
    right.plot(middles, by_time, "o", color=BLUE, label=f"the net, last {late} steps")
    right.plot(range(1, T + 1), floors, color=RED, label="the floor at each t")
    right.set(xlabel="t", title="the same, by time")
    left.legend()
    right.legend()


def corridor(times: Sequence[int], upper, lower, misses: Mapping[str, Tensor]):
    """The error of a net between two walls, plain and on a log scale; misses [times, B] by the
    name of their pictures.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12, 4.2))
    for axis in axes:
        axis.fill_between(times, lower, upper, color=GREY, alpha=0.15)
        axis.plot(times, upper, color=ORANGE, label="upper wall: best linear guess")
        for (name, miss), colour in zip(misses.items(), (BLUE, GREEN), strict=False):
            bars, label = 2 * miss.std(1) / miss.shape[1] ** 0.5, f"net, {name} pictures"
            look = {"color": colour, "marker": "o", "markersize": 4, "label": label}
            axis.errorbar(times, miss.mean(1), bars, **look)
        axis.plot(times, lower, color=RED, label="lower wall: the copyist")
        axis.set(xlabel="t", ylabel="error in the noise")
    axes[0].set(title="error at each time", ylim=(0, 1))
    axes[1].set(title="the same, enlarged by a logarithm", yscale="log", ylim=(1e-3, 1))
    axes[0].legend()


def run_state(
    losses: Sequence[float], walls: Mapping[str, float], pictures: Tensor, seen: int
):
    """A run as it stands: its losses over horizontal walls, and pictures [B, 1, H, W] that its
    net makes. The figure is closed, so that only who shows it shows it.
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), width_ratios=[1, 1.35])
    left.loglog(range(1, len(losses) + 1), losses, color=SKY, linewidth=1)
    for (name, height), colour in zip(walls.items(), (ORANGE, RED), strict=False):
        left.axhline(height, color=colour)
        left.text(1, height * 1.2, name, color=colour)
    left.set(xlabel="step", ylabel="error in the noise", ylim=(1e-3, 1.3))
    right.imshow(tile(pictures, 5), vmin=0, vmax=1)
    right.set(xticks=[], yticks=[], title=f"{seen:,} images seen")  # framed: one sheet
    plt.close(figure)
    return figure


def noise_inside(times: Sequence[int], inside: Tensor, amounts: Sequence[float]):
    """The noise in the pictures of a sampling run, over what the net is told: inside [times,
    amounts].
    """
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots()
    middle = len(times) // 2
    for column, w, colour in zip(inside.T, amounts, (RED, ORANGE, BLUE, GREY), strict=False):
        axis.plot(times, column, color=colour)
        axis.text(times[middle], column[middle] + 0.05, f"fresh noise x {w:g}", color=colour)
    axis.axhline(1, color="black", linewidth=1, linestyle=":")
    axis.set(xlabel="t", ylabel="noise inside / noise told")
    axis.set(xlim=(max(times), 0), ylim=(0, 2))
    axis.set_title("time runs to the right, from noise to picture")


def denoise_module(x_t: Tensor, eps: Tensor, x_s: Tensor, *, t: int, s: int, text: str):
    """The denoise module with the pictures of one call in it: the predictor, and the
    subtraction; x_t, its noise eps and x_s are [1, 1, H, W].
    """
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(11, 3.5))
    figure.set_gid(ONE_PICTURE)
    axis.set(xlim=(0, 11), ylim=(-0.35, 3.2), aspect="equal")
    axis.set_axis_off()
    for x, y, picture, scale, name in (
        (0.2, 0.5, x_t, 1, f"$x_t$,  t = {t}"),
        (5.7, 0.5, eps, 3, "predicted noise $\\hat\\epsilon$"),
        (9.5, 0.5, x_s, 1, f"$x_s$,  s = {s}"),
    ):
        extent = (x, x + 1.3, y, y + 1.3)
        axis.imshow(picture[0, 0] / scale, extent=extent, vmin=-1, vmax=1, zorder=2)
        axis.text(x + 0.65, y - 0.3, name, ha="center")
    box = plt.Rectangle((2.7, 0.4), 1.9, 1.5, facecolor="white", edgecolor=BLUE, linewidth=2)
    axis.add_patch(box)
    axis.text(3.65, 1.15, "noise\npredictor", ha="center", va="center", color=BLUE)
    axis.text(3.65, -0.3, f'"{text}",  t = {t}', ha="center")
    axis.add_patch(plt.Circle((8.2, 1.15), 0.3, facecolor="white", edgecolor=RED, linewidth=2))
    axis.text(8.2, 1.13, "−", ha="center", va="center", color=RED, fontsize=20)
    arrow = {"arrowstyle": "->", "color": "black", "linewidth": 1.5}
    ends = [((1.6, 1.15), (2.65, 1.15)), ((4.65, 1.15), (5.6, 1.15))]
    ends += [((7.1, 1.15), (7.85, 1.15)), ((8.55, 1.15), (9.4, 1.15))]
    ends += [((3.65, -0.08), (3.65, 0.35)), ((8.2, 2.5), (8.2, 1.5))]
    for begin, end in ends:
        axis.annotate("", end, begin, arrowprops=arrow)
    axis.plot([0.85, 0.85, 8.2], [1.85, 2.5, 2.5], color="black", linewidth=1.5)
    axis.text(4.5, 2.6, "$x_t$ itself", ha="center")
    axis.text(8.2, 0.55, "its share", ha="center", color=RED, fontsize=11)


def titled_sheet(pictures: Tensor, titles: Sequence[str], size: float = 1.15) -> np.ndarray:
    """Pictures [B, 1, H, W] in rows below their columns' titles: one frame of a Flipbook,
    uint8 [h, w, 3].
    """
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    columns, sheet = len(titles), tile(pictures, len(titles), pad=2)
    width = size * columns
    height = width * sheet.shape[0] / sheet.shape[1]
    figure = plt.figure(figsize=(width, height + 0.3), layout="none")
    axis = figure.add_axes((0, 0, 1, height / (height + 0.3)))
    axis.imshow(sheet, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axis.set_axis_off()
    for k, title in enumerate(titles):
        place = ((k + 0.5) / columns, 1.02)
        axis.text(*place, title, ha="center", va="bottom", transform=axis.transAxes)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    plt.close(figure)
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def two_clouds(clouds: Mapping[str, tuple[Tensor, Tensor]], distances: Mapping[str, float]):
    """What the Fréchet distance compares: pairs of clouds [N, 2], each as the ellipse of its
    mean and covariance (two standard deviations), with their distance.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import Ellipse

    figure, axes = plt.subplots(1, len(clouds), figsize=(4 * len(clouds), 3.6))
    for axis, (name, pair) in zip(np.atleast_1d(axes), clouds.items(), strict=True):
        for cloud, colour in zip(pair, (GREY, BLUE), strict=True):
            axis.scatter(*cloud.T, s=4, color=colour, alpha=0.3, linewidths=0)
            spreads, directions = torch.linalg.eigh(torch.cov(cloud.T))
            angle = np.degrees(np.arctan2(*directions[:, 1].flip(0).tolist()))
            width, height = (4 * spreads.sqrt()).flip(0).tolist()
            look = {"facecolor": "none", "edgecolor": colour, "linewidth": 2.5}
            axis.add_patch(Ellipse(cloud.mean(0).tolist(), width, height, angle=angle, **look))
        axis.set(xlim=(-4, 5), ylim=(-4, 4), xticks=[], yticks=[], aspect="equal")
        axis.set(title=f"{name}: {distances[name]:.2f}", xlabel="a feature")
    np.atleast_1d(axes)[0].set_ylabel("another feature")
