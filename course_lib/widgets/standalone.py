"""What every widget of the course needs to live on three surfaces: the page without a kernel,
and the mime bundle.
"""

import base64
import html
import io
import json
import re
from functools import cache
from pathlib import Path

from PIL import Image

from course_lib.files import written_whole

_HERE = Path(__file__).parent
_STILL_QUALITY = 60  # WebP, of the still inside the html


@cache
def module(name: str) -> str:
    """A widget's ES module as one text: what it shares with others in front of its own file,
    since a page can't import.
    """
    parts = {"flipbook.js": ("common.js", "panels.js"), "figures.js": ("panels.js",)}
    return "\n".join(
        (_HERE / part).read_text(encoding="utf-8")
        for part in (*parts.get(name, ("common.js",)), name)
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


_MODULE = re.compile(r'(<script type="module">).*?(</script></body></html>)', re.DOTALL)
_NAMES = {
    "The scrubber:": "scrubber.js",
    "The flipbook:": "flipbook.js",
    "The plane:": "plane.js",
}


def renew(notebook: dict) -> dict:
    """Give the widgets' pages in a notebook's outputs the modules as they are now, in place;
    returns the notebook. Their pictures and places stay.
    """
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data:
                whole = "".join(data["text/html"])
                if 'srcdoc="' in whole and "marble-state" in whole:
                    data["text/html"] = re.sub(r'(?<= srcdoc=")[^"]*', _renewed, whole)
    return notebook


def _renewed(srcdoc: re.Match) -> str:
    """An iframe's page with its widget's module as it is now."""
    page = html.unescape(srcdoc[0])
    if not (found := _MODULE.search(page)):
        return srcdoc[0]
    # the comment at the head of the widget's own file
    names = [name for mark, name in _NAMES.items() if f" * {mark}" in found[0]]
    if len(names) != 1:
        return srcdoc[0]
    return html.escape(_MODULE.sub(lambda old: old[1] + module(names[0]) + old[2], page))


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


def png(still: Image.Image, colours: int = 256) -> bytes:
    """A still as a PNG of few colours of its own: half the bytes."""
    buffer = io.BytesIO()
    # median cut, the default, spends its colours on the many: a small dot turns grey
    few = still.quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(buffer, "PNG", optimize=True)
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
