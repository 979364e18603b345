"""The scrubber where no script runs: a film strip, drawn with Pillow."""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from course_lib.errors import CourseError
from course_lib.widgets.sheet import EPS_SHOWN, Film, quantise

INK, FAINT, PAPER = "#1a1a1a", "#6b6b6b", "#ffffff"
SIGNAL, NOISE = (
    "#0072b2",
    "#d55e00",
)  # blue and vermilion: apart for every kind of colour vision (Okabe & Ito)

# What eps is painted with, from -3 to 3: blue, paper, vermilion. The browser has the same
# three, in scrubber.js.
NOISE_RAMP = ((0, 82, 136), (242, 240, 236), (184, 74, 0))

STRIP_IMAGES = 4  # the first so many are in the strip, two where there are several runs

_MARGIN, _LABELS, _GAP = (
    24,
    190,
    14,
)  # pixels around everything, left of the rows, between the columns
_CELL = 120  # pixels a column's side, about
_TALL = 480  # pixels a column's cell is high at most, where images are enlarged
_LARGEST = 600  # pixels of an image's side: larger ones are thinned
_LONGEST_SIDE = 16_383  # of a WebP
_CURVE = 80  # pixels the curves are high
_FINE = 4  # the curves are drawn so many times larger, then shrunk
_ROWS = (
    ("x_t", "x", "t", "what the", "sampler holds"),
    ("x0", "x", "0", "the sculpture", "seen so far"),
)
_ROWS += (("eps", "eps", "", "the noise", "seen in it"),)


@dataclass(frozen=True)
class Run:
    """A run as the strip shows it."""

    title: str
    film: Film
    alpha: np.ndarray  # [F], at the film's times
    sigma: np.ndarray  # [F]


def paint(key: str, values: np.ndarray) -> np.ndarray:
    """[..., C, H, W] of x_t, x0 or eps as colours uint8 [..., H, W, 3]; a grey eps goes from
    blue over paper to red.
    """
    levels = np.moveaxis(quantise(values, EPS_SHOWN if key == "eps" else 1.0), -3, -1)
    if key == "eps" and levels.shape[-1] == 1:
        return ramp()[levels[..., 0]]
    return np.broadcast_to(levels, (*levels.shape[:-1], 3))


def ramp() -> np.ndarray:
    """The colours of eps, uint8 [256, 3]."""
    place = np.linspace(0, 2, 256)
    return np.stack(
        [np.interp(place, (0, 1, 2), channel) for channel in zip(*NOISE_RAMP, strict=True)], 1
    ).astype("u1")


def film_strip(runs: list[Run], columns: int = 7) -> Image.Image:
    """x_t, x_0 and noise at `columns` times of each run, from noise to image, over the curves
    of alpha and sigma.
    """
    if not runs or columns < 1:
        raise CourseError(f"A strip has a run and a column or more, not {columns} columns.")
    runs = [_thinned(run) for run in runs]
    picked = [_columns(run, columns) for run in runs]
    across, down = _block(runs)
    H, W = runs[0].film.x0.shape[-2:]
    zoom = round(_CELL / (across * W + across - 1))
    zoom = max(1, min(zoom, _TALL // (down * (H + 1) - 1)))
    cell = (zoom * (across * (W + 1) - 1), zoom * (down * (H + 1) - 1))
    head = 34 if any(run.title for run in runs) else 0
    height = head + 30 + len(_ROWS) * (cell[1] + _GAP) + _CURVE + 34
    count = max(len(times) for times in picked)
    size = (
        2 * _MARGIN + _LABELS + count * (cell[0] + _GAP) - _GAP,
        _MARGIN + len(runs) * height,
    )
    strip = Image.new("RGB", size, PAPER)
    for number, (run, times) in enumerate(zip(runs, picked, strict=True)):
        _draw_run(
            strip, run, times, (across, down, zoom), cell, _MARGIN + number * height, head
        )
    if max(size) > _LONGEST_SIDE:
        strip.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return strip


def _thinned(run: Run) -> Run:
    """A run whose images are at most _LARGEST pixels a side: every second row, say, of larger
    ones.
    """
    every = -(-max(run.film.x0.shape[-2:]) // _LARGEST)
    if every == 1:
        return run
    parts = {key: getattr(run.film, key) for key in ("x_t", "x0", "eps")}
    parts = {key: part[..., ::every, ::every] for key, part in parts.items()}
    return replace(run, film=replace(run.film, **parts))


def _columns(run: Run, columns: int) -> list[int]:
    F = len(run.film.t)
    return np.unique(np.linspace(0, F - 1, min(columns, F)).round().astype(int)).tolist()


def _block(runs: list[Run]) -> tuple[int, int]:
    """How many images a cell holds, across and down: four of one run, two of several."""
    B = runs[0].film.x0.shape[1]
    return (min(2, B), 1) if len(runs) > 1 or B < 4 else (2, 2)


def _font(size: int) -> ImageFont.ImageFont:
    return ImageFont.load_default(
        size=size
    )  # Pillow's own, so that the strip is the same on every machine


def _draw_run(
    strip: Image.Image,
    run: Run,
    times: list[int],
    block: tuple,
    cell: tuple,
    top: int,
    head: int,
) -> None:
    draw = ImageDraw.Draw(strip)
    if run.title:
        draw.text((_MARGIN, top), run.title, INK, _font(22))
    lefts = [_MARGIN + _LABELS + i * (cell[0] + _GAP) for i in range(len(times))]
    for left, f in zip(lefts, times, strict=True):
        draw.text(
            (left + cell[0] / 2, top + head + 24),
            f"t = {run.film.t[f]}",
            INK,
            _font(19),
            anchor="ms",
        )
    y = top + head + 34
    for key, letter, index, *words in _ROWS:
        _draw_label(draw, letter, index, words, y + cell[1] / 2)
        for left, f in zip(lefts, times, strict=True):
            strip.paste(_cell(key, getattr(run.film, key)[f], *block), (left, y))
        y += cell[1] + _GAP
    _draw_curves(strip, run, times, [left + cell[0] / 2 for left in lefts], y + 6)


def _draw_label(
    draw: ImageDraw.ImageDraw, letter: str, index: str, words: list[str], y: float
) -> None:
    letters = _font(26)
    draw.text((_MARGIN, y), letter, INK, letters, anchor="lm")
    draw.text(
        (_MARGIN + letters.getlength(letter) + 1, y + 9), index, INK, _font(17), anchor="lm"
    )
    for line, word in enumerate(words):
        draw.text((_MARGIN + 54, y + 22 * line - 11), word, FAINT, _font(17), anchor="lm")


def _cell(key: str, images: np.ndarray, across: int, down: int, zoom: int) -> Image.Image:
    """The first across x down images [B, C, H, W] as one small grid, each pixel a square of
    `zoom`.
    """
    H, W = images.shape[-2:]
    grid = np.full((down * (H + 1) - 1, across * (W + 1) - 1, 3), 255, np.uint8)
    for i, colours in enumerate(paint(key, images[: across * down])):
        y, x = (i // across) * (H + 1), (i % across) * (W + 1)
        grid[y : y + H, x : x + W] = colours
    return Image.fromarray(grid.repeat(zoom, 0).repeat(zoom, 1))


def _draw_curves(
    strip: Image.Image, run: Run, times: list[int], xs: list[float], top: int
) -> None:
    """alpha and sigma at the columns' times, joined by lines: how much image and how much
    noise each column holds.
    """
    draw, high, bottom = ImageDraw.Draw(strip), max(1.0, float(run.sigma.max())), _CURVE - 14
    fine = Image.new(
        "RGB", (strip.width * _FINE, _CURVE * _FINE), PAPER
    )  # drawn large, as Pillow's lines are jagged
    pen = ImageDraw.Draw(fine)
    pen.line(
        [(_FINE * x, _FINE * bottom) for x in (xs[0] - 30, xs[-1] + 30)], "#d0d0d0", _FINE
    )
    for values, colour in ((run.alpha, SIGNAL), (run.sigma, NOISE)):
        ys = [bottom - (_CURVE - 22) * float(values[f]) / high for f in times]
        points = [(_FINE * x, _FINE * y) for x, y in zip(xs, ys, strict=True)]
        pen.line(points, colour, 3 * _FINE, joint="curve")
        for x, y in points:
            pen.ellipse((x - 5 * _FINE, y - 5 * _FINE, x + 5 * _FINE, y + 5 * _FINE), colour)
    strip.paste(fine.resize((strip.width, _CURVE), Image.Resampling.BOX), (0, top))
    for y, name, words, colour in (
        (16, "alpha", "image left", SIGNAL),
        (42, "sigma", "noise left", NOISE),
    ):
        draw.text((_MARGIN, top + y), name, colour, _font(20), anchor="lm")
        draw.text((_MARGIN + 62, top + y), words, FAINT, _font(17), anchor="lm")
