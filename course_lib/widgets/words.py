"""Where each word is looked for: maps of attention drawn over a picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.widgets.sheet import as_array, quantise

_SIDE, _LINE, _GAP = 96, 22, 4  # pixels: of a picture, of a line of text, between pictures
_COLUMNS = 4  # pictures in a row: a long strip would be shown small
_GLOW = np.array([230.0, 159.0, 0.0])  # what is looked at: orange, on a faded picture


def word_maps(picture: Tensor, maps: Tensor, words: Sequence[str]) -> np.ndarray:
    """A picture [3, H, W] in [-1, 1], once for each word, in rows: the brighter the orange,
    the more a place looks at it. maps [L, h, w] are weights, each scaled to its own largest,
    which stands above it. uint8 [height, width, 3]; CourseError where words and maps differ.
    """
    maps = as_array(maps)
    if maps.ndim != 3 or len(maps) < len(words) or not words:
        raise CourseError(
            f"word_maps takes a map [h, w] for each of {len(words)} words, not "
            f"{list(maps.shape)}."
        )
    faded = np.moveaxis(quantise(as_array(picture), 1.0), 0, -1)
    faded = np.asarray(Image.fromarray(faded).resize((_SIDE, _SIDE))) * 0.45 + 255 * 0.3
    columns, height = min(_COLUMNS, len(words)), _SIDE + 2 * _LINE
    rows = -(-len(words) // columns)
    size = columns * (_SIDE + _GAP) - _GAP, rows * (height + _GAP) - _GAP
    strip = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(17)
    for i, word in enumerate(words):
        row, column = divmod(i, columns)
        most, left, top = float(maps[i].max()), column * (_SIDE + _GAP), row * (height + _GAP)
        glow = Image.fromarray(quantise(maps[i] / max(most, 1e-9) * 2 - 1, 1.0))
        share = np.asarray(glow.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)) / 255
        tile = faded * (1 - share[..., None]) + _GLOW * share[..., None]
        strip.paste(Image.fromarray(tile.astype(np.uint8)), (left, top + 2 * _LINE))
        draw.text((left, top), word.strip(), "black", font)
        draw.text((left, top + _LINE), f"{most:.0%}", "dimgrey", font)
    return np.asarray(strip)
