"""The flipbook: ready pictures under a slider, for everything a reader may drag that isn't a run of a sampler.

The same three surfaces as the scrubber: the widget view with a kernel, a page of its own without one, a still.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anywidget
import matplotlib
import numpy as np
import traitlets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from tqdm.auto import tqdm

from course_lib.widgets.filmstrip import FAINT, INK, PAPER
from course_lib.widgets.sheet import LOSSLESS
from course_lib.widgets.standalone import bundle, module, page

_SHEET = 16  # frames a sheet: alike, so that one helps to pack the next, and the browser unpacks sheets side by side
_LONGEST_SIDE = 16_383  # of a WebP
_FIGURE_DPI = 100  # at which a figure's inch is an inch of the page
_SMALLEST = 320  # pixels: narrower arrays are shown enlarged, by whole steps
_GREY_STEP = 5  # a divisor of 255, so that white stays white


class Flipbook(anywidget.AnyWidget):
    """Pictures under a slider, one for each of `values`; moving it asks no kernel.

    frames: PIL images, uint8 arrays [H, W] or [H, W, 3], or matplotlib figures (drawn at their dpi, then closed), all
    of one size. values: numbers or strings. ValueError, in one sentence, for what can't be shown.
    """

    _esm = module("flipbook.js")
    _spec = traitlets.Dict().tag(sync=True)
    _sheets = traitlets.List(traitlets.Bytes()).tag(sync=True)
    frame = traitlets.Int(0, help="The number of the picture shown, 0 the first.").tag(sync=True)

    def __init__(
        self,
        frames: Iterable,
        values: Sequence,
        *,
        label: str = "t",  # of the slider, printed before the value
        title: str = "",  # a heading
        format: str = "{:g}",  # of the values that are numbers
        start: int = 0,  # the frame shown first; -1 is the last
        note: str | None = None,  # a line below, the same for all frames
        notes: Sequence[str] | None = None,  # a line below, one a frame
        quality: int | str = 80,  # WebP, of photographs; figures are kept sharp, and "lossless" keeps everything
        **traits,
    ):
        self._values = list(values)
        self._pictures = _pictures(frames, len(self._values))
        _check_lines(notes, len(self._values), quality)
        first = self._pictures[0].image
        self._spec_texts = [value if isinstance(value, str) else format.format(value) for value in self._values]
        spec = {"label": label, "title": title, "values": self._spec_texts, "note": note or "", "notes": list(notes or [])}
        spec |= {"width": first.width, "height": first.height, "shown": self._pictures[0].shown}
        sheets = pack_frames([picture.image for picture in self._pictures], quality)
        super().__init__(_spec=spec, _sheets=sheets, frame=range(len(self._values))[start], **traits)
