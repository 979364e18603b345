"""The plane: a flipbook over two axes, for what a reader looks at by dragging a point.

The same three surfaces as the other widgets: the widget view with a kernel, a page of its own
without one, a still.
"""

from collections.abc import Sequence
from pathlib import Path

import anywidget
import numpy as np
import traitlets
from PIL import Image

from course_lib.errors import CourseError
from course_lib.widgets.contact import contact_sheet
from course_lib.widgets.places import Axis, Scatter
from course_lib.widgets.sheet import LOSSLESS, pack, quantise
from course_lib.widgets.standalone import bundle, module, page, save_page

_LONGEST_SIDE = 16_383  # of a WebP
_SHOWN = 460  # pixels: smaller pictures are enlarged to at most this, by whole steps
_WORTH = 0.6  # WebP with a loss is taken where it saves more than 40 %
_FURTHEST = 4.0  # what floats may reach: more is no picture in [-1, 1] that runs over a little


class Plane(anywidget.AnyWidget):
    """A grid of pictures behind a square pad: the one under a dragged point is shown at once.

        z = torch.linspace(-3, 3, 25)
        pictures = vae.decode(torch.cartesian_prod(z, z).flip(1)).unflatten(0, (25, 25))
        Plane(pictures, z, z, xlabel="z₁", ylabel="z₂", blend=True)

    pictures: numpy or torch, [rows, columns, H, W], [rows, columns, H, W, 3] or the library's
    own [rows, columns, C, H, W] with C of 1 or 3; uint8, bool, or floats in [-1, 1]. The one
    in row r and column c is shown at (xs[c], ys[r]). xs, ys: numbers that rise or fall, or
    words. Row 0 is below, as ys rise; above where ys are words, or where there is a backdrop,
    which is an image. The pad shows `backdrop` and `points`, or else all pictures, small.
    `value` is the chosen (x, y), to be read, set and observed. CourseError for what can't be
    shown.
    """

    _esm = module("plane.js")
    _spec = traitlets.Dict().tag(sync=True)
    _sheets = traitlets.List(traitlets.Bytes()).tag(sync=True)
    value = traitlets.Tuple(
        traitlets.Any(), traitlets.Any(), help="The place chosen: its x and its y."
    ).tag(sync=True)

    def __init__(
        self,
        pictures,
        xs: Sequence,
        ys: Sequence,
        *,
        xlabel: str = "x",
        ylabel: str = "y",
        title: str = "",  # a heading
        blend: bool = False,  # bilinearly, in the browser; else the nearest picture
        backdrop=None,  # one picture over the whole pad, in any form that pictures may have
        points=None,  # [N, 2], drawn on the pad: an x and a y for each
        labels: Sequence | None = None,  # the points' classes, numbers or words, for a legend
        notes: Sequence[Sequence[str]] | None = None,  # a line below for each picture
        start: tuple | None = None,  # the (x, y) shown first; the middle if left out
        origin: str | None = None,  # of row 0: "lower", or "upper"
        quality: int | str = 85,  # WebP, 1 to 100, where it saves much; "lossless" is exact
        **traits,
    ):
        self._x, self._y = Axis.of("xs", xlabel, xs), Axis.of("ys", ylabel, ys)
        self._blend, self._levels = blend, _levels("pictures", pictures, "[rows, columns, ", 2)
        shape = (len(self._y.values), len(self._x.values))
        _check_options(self, shape, notes, start, origin, quality)
        self._backdrop = None if backdrop is None else _levels("backdrop", backdrop, "[", 0)
        if labels is not None and points is None:
            raise CourseError("labels name the classes of points: give points too.")
        self._scatter = (
            None if points is None else Scatter.of(points, labels, self._x, self._y)
        )
        self._down = (
            self._y.words or backdrop is not None if origin is None else origin == "upper"
        )
        sheets = [_packed(self._levels, quality)]
        if backdrop is not None:
            sheets.append(pack(self._backdrop[None, None], LOSSLESS))
        middle = tuple(axis.values[len(axis.values) // 2] for axis in (self._x, self._y))
        super().__init__(
            _spec=self._make_spec(title, notes),
            _sheets=sheets,
            value=middle if start is None else start,
            **traits,
        )

    def _make_spec(self, title: str, notes: Sequence[Sequence[str]] | None) -> dict:
        """What the browser must know beside the sheets."""
        rows, columns, _, H, W = self._levels.shape
        return {
            "title": title,
            "x": self._x.spec(),
            "y": self._y.spec(),
            "blend": self._blend,
            "down": self._down,
            "width": W,
            "height": H,
            "shown": W * max(1, min(_SHOWN // W, _SHOWN // H)),
            "points": self._scatter.spec() if self._scatter else None,
            "notes": [str(line) for row in notes for line in row] if notes is not None else [],
            # a map of the backdrop's pixels: the chosen one is outlined in it as well
            "outlined": self._backdrop is not None and (H, W) == (rows, columns),
        }

    @property
    def place(self) -> tuple[int, int]:
        """Row and column of the picture that is nearest to `value`."""
        x, y = self.value
        at = (self._y.places([y])[0], self._x.places([x])[0])
        return tuple(round(float(place)) for place in at)

    @traitlets.validate("value")
    def _value_exists(self, proposal) -> tuple:
        pairs = zip((self._x, self._y), proposal["value"], strict=True)
        if self._blend:
            return tuple(axis.inside(value) for axis, value in pairs)
        return tuple(axis.nearest(value) for axis, value in pairs)

    def still(self) -> Image.Image:
        """A contact sheet of some of the pictures; left of it the pad, where it shows
        something else.
        """
        return contact_sheet(
            self._levels,
            (self._x, self._y),
            down=self._down,
            backdrop=self._backdrop,
            scatter=self._scatter,
            title=self._spec["title"],
        )

    def page(self) -> str:
        """A whole HTML page, with module and pictures in it, that asks for nothing more."""
        state = {"_spec": self._spec, "_sheets": self._sheets, "value": self.value}
        return page("plane.js", state, repr(self))

    def save_html(self, path: str | Path) -> None:
        """Write `page` to a file that opens in any browser."""
        save_page(self.page(), path)

    def __repr__(self) -> str:
        rows, columns = self._levels.shape[:2]
        ends = [
            f"{axis.label} = {axis.texts[0]} to {axis.texts[-1]}"
            for axis in (self._x, self._y)
        ]
        title = self._spec["title"] or "Plane"
        return f"{title}: {rows} x {columns} pictures, {ends[0]}, {ends[1]}"

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        still = self.still()
        lines = 2 * bool(self._spec["points"]) + bool(self._spec["notes"])
        data |= bundle(self.page(), still, repr(self), 610 + 40 * lines)
        return data, {**metadata, "image/png": {"width": still.width}}


def _check_options(plane: Plane, shape: tuple, notes, start, origin, quality) -> None:
    """CourseError for what does not go together; shape is (rows, columns) by the axes."""
    rows, columns, _, H, W = plane._levels.shape
    if (rows, columns) != shape:
        raise CourseError(
            f"pictures has {rows} rows and {columns} columns for {shape[0]} ys and {shape[1]} "
            "xs: give a picture for each pair."
        )
    if max(rows * H, columns * W) > _LONGEST_SIDE:
        raise CourseError(
            f"{rows} x {columns} pictures of {H}x{W} pixels are too large for one sheet of "
            f"{_LONGEST_SIDE} a side: give fewer or smaller ones."
        )
    for axis in (plane._x, plane._y):
        if plane._blend and axis.words:
            raise CourseError(f"Between words nothing can be blended: {axis.name} has words.")
    if notes is not None and (
        len(notes) != rows or any(isinstance(n, str) or len(n) != columns for n in notes)
    ):
        raise CourseError(
            f"notes holds a line for each picture: {rows} lists of {columns} lines."
        )
    if start is not None and (not isinstance(start, tuple | list) or len(start) != 2):
        raise CourseError(f"start is a pair, an x and a y, not {start!r}.")
    if origin not in (None, "lower", "upper"):
        raise CourseError(f'origin is "lower" or "upper", not {origin!r}.')
    if quality != LOSSLESS and not (isinstance(quality, int) and 1 <= quality <= 100):
        raise CourseError(f'quality is 1 to 100, or "lossless", not {quality!r}.')


def _levels(what: str, pictures, before: str, grid: int) -> np.ndarray:
    """Pictures as uint8 [..., C, H, W], with `grid` axes before those; CourseError for what
    is none.
    """
    if hasattr(pictures, "detach"):
        pictures = pictures.detach().cpu()
        pictures = pictures.float() if pictures.is_floating_point() else pictures
    x = np.asarray(pictures)
    axes = x.shape[grid:]
    if x.ndim == grid + 2:
        x = x[..., None, :, :]
    elif len(axes) == 3 and axes[0] not in (1, 3) and axes[2] == 3:
        x = np.moveaxis(x, -1, -3)
    elif len(axes) != 3 or axes[0] not in (1, 3):
        raise CourseError(
            f"{what} is an array {list(x.shape)}, but it must be {before}H, W] or {before}H, "
            "W, 3]."
        )
    if 0 in x.shape:
        raise CourseError(f"{what} is empty: an array {list(x.shape)} shows nothing.")
    if x.dtype == np.uint8:
        return x
    if x.dtype == bool:
        return x.astype(np.uint8) * 255
    if x.dtype.kind != "f":
        raise CourseError(f"{what} is {x.dtype}, but it must be uint8 or floats in [-1, 1].")
    if not np.isfinite(x).all():
        raise CourseError(f"{what} holds values that are not finite, which can't be shown.")
    if np.abs(x).max() > _FURTHEST:
        raise CourseError(
            f"{what} reaches {np.abs(x).max():.4g}, but floats are shown from -1 to 1: scale "
            "them, or give uint8."
        )
    return quantise(x, 1.0)


def _packed(levels: np.ndarray, quality: int | str) -> bytes:
    """One sheet, rows and columns as on the plane: exact, unless a loss saves much."""
    exact = pack(levels, LOSSLESS)
    if quality == LOSSLESS:
        return exact
    lossy = pack(levels, quality)
    return lossy if len(lossy) < _WORTH * len(exact) else exact
