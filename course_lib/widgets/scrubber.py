"""The scrubber: a denoising run under a slider.

One widget, three surfaces, since no single one works everywhere:
  widget view   JupyterLab with a kernel. `frame` and `picked` are shared with Python.
  text/html     an iframe that holds page, module and frames, and so moves with no kernel and
  no network: nbconvert,
                a book, a notebook opened before it is run. The module is the same scrubber.js.
  image/png     a film strip, for whatever shows pictures only.
GitHub's viewer takes scripts and iframes out of text/html and keeps an <img> with a data:
address, as does JupyterLab for a notebook that isn't trusted. So the html carries the strip
too, above the iframe, whose script hides it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import anywidget
import numpy as np
import traitlets
from PIL import Image

from course_lib.errors import CourseError
from course_lib.widgets.filmstrip import STRIP_IMAGES, Run, film_strip
from course_lib.widgets.sheet import LOSSLESS, Film, film, pack_film
from course_lib.widgets.standalone import bundle, module, page, save_page

_TALLEST = 16_000  # pixels that a page gives a widget until its script tells the height
_CURVE_POINTS = 129  # of alpha and sigma, drawn over t


class Scrubber(anywidget.AnyWidget):
    """A run's x_t, predicted image and predicted noise under one slider, with the place on the
    schedule.

    steps: what a sampler yields, objects with t (int), x_t, x0 and eps ([B, 1, H, W] or [B, 3,
    H, W], torch or numpy; images in [-1, 1], eps shown from -3 to 3); or a dict of such runs,
    shown one under the other and linked by t. schedule: anything with alpha and sigma [T + 1].
    CourseError, in one sentence, for runs that can't be shown.
    """

    _esm = module("scrubber.js")
    _spec = traitlets.Dict().tag(sync=True)
    _sheets = traitlets.List(traitlets.Bytes()).tag(sync=True)
    frame = traitlets.Int(
        0, help="The frame shown, 0 the first; of the longest run, if several."
    ).tag(sync=True)
    picked = traitlets.Int(
        None, allow_none=True, help="The image shown large, or None for all."
    ).tag(sync=True)

    def __init__(
        self,
        steps: Iterable | Mapping[str, Iterable],
        schedule,
        *,
        title: str = "",  # a heading for a single run
        titles: Sequence[str]
        | None = None,  # one an image, said where an image is picked: class names, say
        columns: int = 8,  # of the grid
        images: int = 64,  # show the first so many
        frames: int = 64,  # thin longer runs to about so many steps
        quality: int
        # of the WebP sheets, 1 to 100; "lossless" is exact and four to ten times the size
        | str = 85,
        **traits,
    ):
        _check_options(columns, images, frames, quality)
        runs = dict(steps) if isinstance(steps, Mapping) else {title: steps}
        alpha, sigma = (
            np.asarray(_table(schedule, name), dtype=np.float64) for name in ("alpha", "sigma")
        )
        films = {
            name: film(run, schedule, name=name or "The run", images=images, frames=frames)
            for name, run in runs.items()
        }
        _check_films(films, titles)
        shown = [Run(name, f, alpha[f.t], sigma[f.t]) for name, f in films.items()]
        sheets, spec = _pack(shown, quality)
        self._runs = [
            replace(run, film=run.film.first(STRIP_IMAGES)) for run in shown
        ]  # the strip needs no more
        self._images = spec["images"]
        spec |= {
            "columns": columns,
            "titles": list(titles or []),
            "curve": _curve(alpha, sigma),
        }
        super().__init__(_spec=spec, _sheets=sheets, **traits)

    @classmethod
    def compare(
        cls, runs: Mapping[str, Iterable], schedule, *, images: int = 24, **options
    ) -> "Scrubber":
        """Several runs under one slider, {"DDIM, 20 calls": steps, ...}: the shorter follow by
        the nearest t.
        """
        return cls(runs, schedule, images=images, **options)

    @traitlets.validate("frame")
    def _frame_exists(self, proposal):
        last = max(len(run.film.t) for run in self._runs) - 1
        if not 0 <= proposal["value"] <= last:
            raise traitlets.TraitError(f"frame is 0 to {last} here, not {proposal['value']}.")
        return proposal["value"]

    @traitlets.validate("picked")
    def _picked_exists(self, proposal):
        last = self._images - 1
        if proposal["value"] is not None and not 0 <= proposal["value"] <= last:
            raise traitlets.TraitError(
                f"picked is None or 0 to {last} here, not {proposal['value']}."
            )
        return proposal["value"]

    def film_strip(self, columns: int = 7) -> Image.Image:
        """The still: `columns` times from noise to image, of the first few images."""
        return film_strip(self._runs, columns)

    def page(self) -> str:
        """A whole HTML page, with module and frames in it, that asks for nothing more."""
        state = {
            "_spec": self._spec,
            "_sheets": self._sheets,
            "frame": self.frame,
            "picked": self.picked,
        }
        return page("scrubber.js", state, repr(self))

    def save_html(self, path: str | Path) -> None:
        """Write `page` to a file that opens in any browser."""
        save_page(self.page(), path)

    def __repr__(self) -> str:
        runs = ", ".join(
            f"{run.title + ': ' if run.title else ''}{run.film.steps} steps"
            for run in self._runs
        )
        return f"Scrubber of {self._images} images ({runs})"

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        strip = self.film_strip()
        data |= bundle(self.page(), strip, repr(self), _height(self._spec))
        return data, {**metadata, "image/png": {"width": strip.width}}


def _check_options(columns: int, images: int, frames: int, quality: int | str) -> None:
    for name, value, least in (
        ("columns", columns, 1),
        ("images", images, 1),
        ("frames", frames, 2),
    ):
        if not isinstance(value, int) or value < least:
            raise CourseError(f"{name} is a whole number, {least} or more, not {value!r}.")
    if quality != LOSSLESS and not (isinstance(quality, int) and 1 <= quality <= 100):
        raise CourseError(f'quality is 1 to 100, or "lossless", not {quality!r}.')


def _table(schedule, name: str):
    values = getattr(schedule, name, None)
    if values is None or len(values) < 2:
        raise CourseError(
            f"The schedule has no table {name}: give one with alpha and sigma [T + 1], as "
            "Schedule has."
        )
    return values


def _check_films(films: dict[str, Film], titles: Sequence[str] | None) -> None:
    if not films:
        raise CourseError('There is no run to show: give {"a name": steps, ...}.')
    (first, film), *others = films.items()
    for name, other in others:
        if other.x0.shape[1:] != film.x0.shape[1:]:
            shapes = f"{list(film.x0.shape[1:])} and {list(other.x0.shape[1:])}"
            raise CourseError(
                f"{first} and {name} can't be compared: they hold images {shapes}, which "
                "must be the same."
            )
    B = film.x0.shape[1]
    if titles is not None and len(titles) < B:
        raise CourseError(f"titles names {len(titles)} images, but {B} are shown.")


def _pack(runs: list[Run], quality: int | str) -> tuple[list[bytes], dict]:
    """All sheets of all runs, and what the browser must know to read them."""
    sheets, entries = [], []
    for run in runs:
        entry = {
            "title": run.title,
            "t": run.film.t,
            "step": run.film.step,
            "steps": run.film.steps,
            "sheets": {},
        }
        entry |= {"alpha": _rounded(run.alpha), "sigma": _rounded(run.sigma)}
        for key, sheet in pack_film(run.film, run.alpha, run.sigma, quality).items():
            entry["sheets"][key] = {**sheet, "sheet": len(sheets)}
            sheets.append(sheet["sheet"])
        entries.append(entry)
    _, B, C, H, W = runs[0].film.x0.shape
    return sheets, {"runs": entries, "images": B, "channels": C, "height": H, "width": W}


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 5) for v in values]


def _curve(alpha: np.ndarray, sigma: np.ndarray) -> dict:
    t = np.unique(
        np.linspace(0, len(alpha) - 1, min(_CURVE_POINTS, len(alpha))).round().astype(int)
    )
    return {
        "T": len(alpha) - 1,
        "t": t.tolist(),
        "alpha": _rounded(alpha[t]),
        "sigma": _rounded(sigma[t]),
    }


def _height(spec: dict) -> int:
    """About how high the widget is at a width of 960 pixels; the page corrects it once it
    runs.
    """
    columns = min(spec["columns"], spec["images"])
    rows = -(-spec["images"] // columns)
    panel = 300 * rows * spec["height"] / (columns * spec["width"])
    return min(_TALLEST, round(260 + len(spec["runs"]) * (panel + 40)))
