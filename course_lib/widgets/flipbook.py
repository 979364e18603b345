"""The flipbook: ready pictures under a slider, for everything a reader may drag that isn't a
run of a sampler.

The same three surfaces as the scrubber: the widget view with a kernel, a page of its own
without one, a still.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import anywidget
import matplotlib
import numpy as np
import traitlets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from tqdm.auto import tqdm

from course_lib.errors import CourseError
from course_lib.widgets.filmstrip import INK, PAPER
from course_lib.widgets.sheet import LOSSLESS
from course_lib.widgets.standalone import bundle, module, page, save_page

# frames a sheet: alike, so that one helps to pack the next; sheets are unpacked side by side
_SHEET = 16
_LONGEST_SIDE = 16_383  # of a WebP
_FIGURE_DPI = (
    100  # up to this dpi a figure is shown pixel by pixel; above, it is sharper, not larger
)
_ENLARGED = (
    640,
    320,
)  # pixels across and down: smaller arrays are enlarged to at most this, by whole steps
_GREY_STEP = 5  # of figures' colours; a divisor of 255, so that white stays white
_WORTH = 0.6  # WebP with a loss is taken where it saves more than 40 %
_STILL_WIDTH = 1120  # pixels
_FULL_ROW = 3  # widths over heights above which half a row is too small to read
_STILL_TALLEST = 2240  # pixels of one picture in it: higher ones are made smaller


class Flipbook(anywidget.AnyWidget):
    """Pictures under a slider, one for each of `values`; moving it asks no kernel.

    frames: PIL images, uint8 arrays [H, W] or [H, W, 3], or matplotlib figures (drawn at their
    dpi, then closed), all of one size. values: numbers or strings. CourseError, in one
    sentence, for what can't be shown.
    """

    _esm = module("flipbook.js")
    _spec = traitlets.Dict().tag(sync=True)
    _sheets = traitlets.List(traitlets.Bytes()).tag(sync=True)
    frame = traitlets.Int(0, help="The number of the picture shown, 0 the first.").tag(
        sync=True
    )

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
        notes: Sequence[str] | None = None,  # a line below for each frame
        quality: int
        # WebP, 1 to 100, for photographs; plots stay sharp, and "lossless" is exact
        | str = 80,
        **traits,
    ):
        self._values = [value.item() if hasattr(value, "item") else value for value in values]
        _check_options(len(self._values), start, notes, quality)
        pictures, shown = _pictures(frames, len(self._values))
        self._stills = _spread(pictures)
        texts = [
            value if isinstance(value, str) else format.format(value) for value in self._values
        ]
        spec = {
            "label": label,
            "title": title,
            "values": texts,
            "note": note or "",
            "notes": list(notes or []),
        }
        spec |= {"width": pictures[0].width, "height": pictures[0].height, "shown": shown}
        super().__init__(
            _spec=spec,
            _sheets=pack_frames(pictures, quality),
            frame=start % len(texts),
            **traits,
        )

    @classmethod
    def of(cls, draw: Callable, values: Sequence, **options) -> "Flipbook":
        """Draw the frames first: draw(value) returns a figure, an array or a PIL image."""
        values = list(values)
        return cls(
            (draw(value) for value in tqdm(values, desc="Drawing", leave=False, delay=1)),
            values,
            **options,
        )

    @property
    def value(self):
        """The value of the picture shown, as it was given."""
        return self._values[self.frame]

    @traitlets.validate("frame")
    def _frame_exists(self, proposal):
        last = len(self._values) - 1
        if not 0 <= proposal["value"] <= last:
            raise traitlets.TraitError(f"frame is 0 to {last} here, not {proposal['value']}.")
        return proposal["value"]

    def still(self) -> Image.Image:
        """Four or five of the pictures, evenly spread, each under its value."""
        label, texts = self._spec["label"], self._spec["values"]
        return _still(
            {f"{label} = {texts[i]}": picture for i, picture in self._stills.items()},
            self._spec["title"],
        )

    def page(self) -> str:
        """A whole HTML page, with module and frames in it, that asks for nothing more."""
        return page(
            "flipbook.js",
            {"_spec": self._spec, "_sheets": self._sheets, "frame": self.frame},
            repr(self),
        )

    def save_html(self, path: str | Path) -> None:
        """Write `page` to a file that opens in any browser."""
        save_page(self.page(), path)

    def __repr__(self) -> str:
        label, texts = self._spec["label"], self._spec["values"]
        title = self._spec["title"] or "Flipbook"
        return f"{title}: {len(texts)} pictures, {label} = {texts[0]} to {texts[-1]}"

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        still = self.still()
        shown = self._spec["shown"] * self._spec["height"] / self._spec["width"]
        lines = bool(self._spec["note"]) + bool(self._spec["notes"])
        data |= bundle(self.page(), still, repr(self), round(210 + shown + 30 * lines))
        return data, {**metadata, "image/png": {"width": still.width}}


def _check_options(
    count: int, start: int, notes: Sequence[str] | None, quality: int | str
) -> None:
    if count == 0:
        raise CourseError("There is nothing to show: values is empty.")
    if not -count <= start < count:
        raise CourseError(
            f"start is the number of a frame, {-count} to {count - 1} here, not {start}."
        )
    if notes is not None and (isinstance(notes, str) or len(notes) != count):
        raise CourseError(
            f"notes is a list with one line for each of the {count} values; note is a line "
            "for all."
        )
    if quality != LOSSLESS and not (isinstance(quality, int) and 1 <= quality <= 100):
        raise CourseError(f'quality is 1 to 100, or "lossless", not {quality!r}.')


# ---- pictures


def _pictures(frames: Iterable, count: int) -> tuple[list[Image.Image], int]:
    """All frames as RGB images of one size, and the width in pixels at which a page shows
    them.
    """
    drawn = [_picture(frame, number) for number, frame in enumerate(frames)]
    if len(drawn) != count:
        raise CourseError(
            f"There are {len(drawn)} frames for {count} values: give one for each."
        )
    pictures = [picture for picture, _ in drawn]
    for number, picture in enumerate(pictures):
        if picture.size != pictures[0].size:
            (w, h), (W, H) = picture.size, pictures[0].size
            raise CourseError(
                f"All frames have one size, but frame {number} is {w}x{h} pixels and frame 0 "
                f"is {W}x{H}."
            )
    return pictures, drawn[0][1]


def _picture(frame, number: int) -> tuple[Image.Image, int]:
    """A frame as RGB, on white where it is transparent, and the width at which a page shows
    it.
    """
    if isinstance(frame, Figure):
        picture = _on_white(Image.fromarray(_draw(frame)))
        return picture, min(picture.width, round(frame.get_figwidth() * _FIGURE_DPI))
    if isinstance(frame, np.ndarray):
        if frame.dtype != np.uint8 or not (
            frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 3)
        ):
            kind = f"{frame.dtype} {list(frame.shape)}"
            raise CourseError(
                f"Frame {number} is an array of {kind}, but it must be uint8, [H, W] or [H, "
                "W, 3]."
            )
        frame = Image.fromarray(frame)
    if not isinstance(frame, Image.Image):
        kind = type(frame).__name__
        raise CourseError(
            f"Frame {number} is a {kind}, but it must be a PIL image, a uint8 array or a "
            "figure."
        )
    if 0 in frame.size:
        raise CourseError(f"Frame {number} is empty: {frame.width}x{frame.height} pixels.")
    zoom = min(_ENLARGED[0] // frame.width, _ENLARGED[1] // frame.height)
    return _on_white(_eight_bits(frame, number)), frame.width * max(1, zoom)


def _eight_bits(picture: Image.Image, number: int) -> Image.Image:
    """A picture of 16 bits a pixel at 8, which Pillow itself would cut off at 255; CourseError
    for whole numbers and floats whose black and white nobody knows.
    """
    if picture.mode.startswith("I;16"):
        return Image.fromarray(np.rint(np.asarray(picture) / 257).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise CourseError(
            f"Frame {number} is a PIL image of mode {picture.mode}, whose black and white are "
            "not known: give a uint8 array from 0 to 255."
        )
    return picture


def _draw(figure: Figure) -> np.ndarray:
    """Draw a figure at its dpi: uint8 [H, W, 4]. Closed, so that a notebook doesn't show it a
    second time.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.array(canvas.buffer_rgba())
    from matplotlib import pyplot  # late: it picks a backend, and only who draws needs one

    pyplot.close(figure)
    return pixels


def _on_white(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert(
        "RGB"
    )


# ---- packing


def pack_frames(pictures: list[Image.Image], quality: int | str) -> list[bytes]:
    """Frames of one size as WebP sheets, each with up to 16 of them one under the other.

    Plots pack best without a loss once their colours are rounded, by at most two of 255
    levels, and photographs with one; a few of the frames are packed both ways to tell which it
    is.
    """
    height = pictures[0].height
    if max(height, pictures[0].width) > _LONGEST_SIDE:
        raise CourseError(
            f"A frame is at most {_LONGEST_SIDE} pixels a side: draw at a lower dpi."
        )
    pixels = [np.asarray(picture) for picture in pictures]
    if quality != LOSSLESS:
        few = np.concatenate([*_spread(pixels, 3).values()][: max(1, _LONGEST_SIDE // height)])
        if len(_webp(few, quality)) > _WORTH * len(_webp(_rounded(few), LOSSLESS)):
            pixels, quality = [_rounded(frame) for frame in pixels], LOSSLESS
    each = max(1, min(_SHEET, _LONGEST_SIDE // height))
    return [
        _webp(np.concatenate(pixels[i : i + each]), quality)
        for i in range(0, len(pixels), each)
    ]


def _rounded(pixels: np.ndarray) -> np.ndarray:
    return (np.rint(pixels / _GREY_STEP) * _GREY_STEP).astype(np.uint8)


def _webp(pixels: np.ndarray, quality: int | str) -> bytes:
    options = {"lossless": True} if quality == LOSSLESS else {"quality": quality}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", method=4, **options)
    return buffer.getvalue()


# ---- the still


def _spread(frames: list, count: int | None = None) -> dict[int, object]:
    """`count` of the frames by their numbers, with the first and the last: four wide ones or
    five others by default.
    """
    count = count or (4 if _is_wide(frames[0]) else 5)
    return {
        int(i): frames[i]
        for i in np.unique(
            np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
        )
    }


def _is_wide(picture: Image.Image) -> bool:
    return picture.width > 1.4 * picture.height


def _still(pictures: dict[str, Image.Image], title: str) -> Image.Image:
    """Pictures under their captions: wide ones two a row, very wide ones one, others all in
    one.
    """
    first = next(iter(pictures.values()))
    full = first.width > _FULL_ROW * first.height
    columns = 1 if full else min(len(pictures), 2 if _is_wide(first) else len(pictures))
    width = _STILL_WIDTH // (1 if full else max(columns, 2))
    width = max(1, min(width, _STILL_TALLEST * first.width // first.height))
    height = max(1, min(round(width * first.height / first.width), _STILL_TALLEST))
    gap, head, line = 12, 40 if title else 0, 34
    rows = -(-len(pictures) // columns)
    size = (columns * (width + gap) + gap, head + rows * (line + height + gap) + gap)
    still = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(still)
    draw.text((gap, gap), title, INK, _font(24))
    smooth = Image.Resampling.LANCZOS if width < 2 * first.width else Image.Resampling.NEAREST
    for number, (caption, picture) in enumerate(pictures.items()):
        x = gap + number % columns * (width + gap)
        y = head + number // columns * (line + height + gap) + line
        draw.text((x + width / 2, y - 8), caption, INK, _font(20), anchor="ms")
        still.paste(picture.resize((width, height), smooth), (x, y))
    return still


def _font(size: int) -> ImageFont.ImageFont:
    """matplotlib's own, the same on every machine, which has Greek letters and arrows too."""
    return ImageFont.truetype(
        Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size
    )
