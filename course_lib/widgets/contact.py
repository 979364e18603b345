"""The plane where no script runs: a contact sheet of its pictures, beside its pad."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from course_lib.widgets.places import SHAPES, Axis, Scatter
from course_lib.widgets.plots import PALETTE

_MOST = 13  # pictures a side; half as many where the pad stands beside them
_TICKS = 7  # words an axis, about
_MARKERS = ("o", "s", "^")  # as plane.js has them
_GAP = 1 / 14  # of a picture's side, white between two


def contact_sheet(
    levels: np.ndarray,
    axes: tuple[Axis, Axis],
    *,
    down: bool,
    backdrop: np.ndarray | None,
    scatter: Scatter | None,
    title: str,
) -> Image.Image:
    """Some of the pictures, evenly spread, under their values; left of them the pad, where it
    shows something else.

    levels: uint8 [rows, columns, C, H, W]; backdrop: uint8 [C, H, W]. down: row 0 is on top.
    """
    pad = backdrop is not None or scatter is not None
    legend = 0.35 * -(-len(scatter.names) // 6) if scatter else 0
    rows, columns, _, H, W = levels.shape
    high = min(rows, _MOST) * H / (min(columns, _MOST) * W)
    size = (11.2, 6 + legend) if pad else (7.6, 7.0 * min(max(high, 0.3), 1.5) + 0.9)
    figure = Figure(figsize=size, dpi=100, layout="constrained", facecolor="white")
    plots = figure.subplots(1, 2 if pad else 1, squeeze=False)[0]
    if pad:
        _draw_pad(plots[0], axes, down, backdrop, scatter)
    _draw_pictures(plots[-1], levels, axes, down, _MOST // 2 + 1 if pad else _MOST)
    if title:
        figure.suptitle(title, fontsize=18, x=0.01, ha="left")
    if scatter is not None and scatter.names:
        figure.legend(
            loc="outside lower center",
            ncols=6,
            fontsize=13,
            frameon=False,
            markerscale=2.5,
            handletextpad=0.2,
            columnspacing=1.2,
        )
    canvas = FigureCanvasAgg(figure)
    figure.get_layout_engine().execute(figure)  # twice: squares settle at the second time
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _evenly(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _show(plot, levels: np.ndarray, extent: tuple) -> None:
    """uint8 [C, H, W] over an extent, row 0 on top; grey where there is one channel."""
    pixels = np.moveaxis(levels, 0, -1)
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    plot.imshow(pixels, extent=extent, interpolation="nearest", aspect="auto")


def _draw_pad(plot, axes, down: bool, backdrop, scatter: Scatter | None) -> None:
    x, y = axes
    C, R = len(x.values), len(y.values)
    plot.set_facecolor("#f3f2ef")
    if backdrop is not None:
        _show(plot, backdrop, (-0.5, C - 0.5, R - 0.5, -0.5))
    if scatter is not None:
        for kind, name in enumerate(scatter.names or [None]):
            places = scatter.places[scatter.classes == kind]
            colour = PALETTE[kind % len(PALETTE)] if scatter.names else PALETTE[-1]
            look = {"color": colour, "marker": _MARKERS[kind % SHAPES], "label": name}
            plot.scatter(places[:, 0], places[:, 1], s=9, linewidths=0, alpha=0.75, **look)
    plot.set(xlim=(-0.5, C - 0.5), ylim=(R - 0.5, -0.5) if down else (-0.5, R - 0.5))
    _name(plot, axes, [(i, i) for i in _evenly(C, _TICKS)], [(i, i) for i in _evenly(R, 7)])
    plot.set_box_aspect(1 if backdrop is None else backdrop.shape[1] / backdrop.shape[2])


def _draw_pictures(plot, levels: np.ndarray, axes, down: bool, most: int) -> None:
    """A grid of pictures with white between them."""
    rows, columns = (_evenly(count, most) for count in levels.shape[:2])
    rows = rows if down else rows[::-1]
    _, _, C, H, W = levels.shape
    gap = max(1, round(_GAP * max(H, W)))
    h, w = H + gap, W + gap
    sheet = np.full((C, len(rows) * h - gap, len(columns) * w - gap), 255, np.uint8)
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            sheet[:, i * h : i * h + H, j * w : j * w + W] = levels[r, c]
    _show(plot, sheet, (0, sheet.shape[2], sheet.shape[1], 0))
    across = [(j * w + W / 2, c) for j, c in enumerate(columns)]
    _name(plot, axes, across, [(i * h + H / 2, r) for i, r in enumerate(rows)])
    plot.spines[:].set_visible(False)
    plot.tick_params(length=0)
    plot.set_box_aspect(sheet.shape[1] / sheet.shape[2])


def _name(plot, axes, across: list[tuple], up: list[tuple]) -> None:
    """Labels and words: across and up hold (where on the plot, which value)."""
    x, y = axes
    plot.set_xlabel(x.label, fontsize=15)
    plot.set_ylabel(y.label, fontsize=15)
    plot.set_xticks([at for at, _ in across], [x.texts[i] for _, i in across], fontsize=12)
    plot.set_yticks([at for at, _ in up], [y.texts[i] for _, i in up], fontsize=12)
