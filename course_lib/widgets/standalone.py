"""What every widget of the course needs to live on three surfaces: the page without a kernel,
and the mime bundle.
"""

import base64
import html
import io
import json
from functools import cache
from pathlib import Path

from PIL import Image

from course_lib.files import written_whole

_HERE = Path(__file__).parent
_STILL_QUALITY = 60  # WebP, of the still inside the html


@cache
def module(name: str) -> str:
    """A widget's ES module as one text: common.js in front of the widget's own file, since a
    page can't import.
    """
    return "\n".join(
        (_HERE / part).read_text(encoding="utf-8") for part in ("common.js", name)
    )


def page(name: str, state: dict, title: str) -> str:
    """A whole HTML page that shows a widget from its module and its state, and asks for
    nothing more.

    state: what the module reads from its model; bytes in it travel as base64.
    """
    # "<" inside a string would end the script where a title holds "</script>"
    data = json.dumps(state, separators=(",", ":"), default=_base64).replace("<", "\\u003c")
    return (
        '<!DOCTYPE html><html lang="en"><head><meta '
        f'charset="utf-8"><title>{html.escape(title)}</title>'
        "<style>body{margin:0}</style></head><body>"
        f'<script type="application/json" id="marble-state">{data}</script>'
        f'<script type="module">{module(name)}</script></body></html>'
    )


def save_page(page: str, path: str | Path):
    """Write a page to a file, whole or not at all; CourseError where that can't be."""
    with written_whole(path) as part:
        part.write_text(page, encoding="utf-8")


def bundle(page: str, still: Image.Image, alt: str, height: int) -> dict[str, str]:
    """The two mime types for where no kernel is: text/html, which moves, and image/png, the
    still.

    height: of the widget in pixels, about; the page corrects it once it runs. The html holds
    the still too, for viewers that take iframes out: the page's script hides it.
    """
    return {
        "text/html": _iframe(page, still, alt, height),
        "image/png": base64.b64encode(png(still)).decode("ascii"),
    }


def png(still: Image.Image, colours: int = 128) -> bytes:
    """A still as a PNG of few colours of its own: half the bytes, and no eye sees it."""
    buffer = io.BytesIO()
    still.quantize(colours, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _iframe(page: str, still: Image.Image, alt: str, height: int) -> str:
    buffer = io.BytesIO()
    still.save(buffer, "WEBP", quality=_STILL_QUALITY, method=4)
    alt = html.escape(alt)
    return (
        f'<div><img alt="{alt}" style="max-width:100%" '
        f'src="data:image/webp;base64,{_base64(buffer.getvalue())}">'
        f'<iframe title="{alt}" style="display:block;width:100%;border:0" height="{height}" '
        f'srcdoc="{html.escape(page)}"></iframe></div>'
    )


def _base64(data: bytes | memoryview) -> str:
    return base64.b64encode(data).decode("ascii")
