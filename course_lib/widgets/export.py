"""Saved lessons that move with no kernel and ask for nothing over the network.

    python -m course_lib.widgets.export notebooks/04_diffusion.ipynb lesson.html
    jupyter nbconvert --to course_lib.widgets.export.LessonExporter
    notebooks/04_diffusion.ipynb

Plain `jupyter nbconvert --to html` also shows the scrubber moving, as long as the notebook
carries no saved widget state: with it, nbconvert prefers the widget view, and fetches a widget
manager from a public network to draw it (its issue 754). So `saved.forget_widgets` goes
over a notebook before it is kept; `nbconvert --execute` needs
`--ExecutePreprocessor.store_widget_state=False` for the same reason.
"""

import argparse
import base64
import html
import os
import re
import sys
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import nbformat
from jinja2 import pass_context
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import (
    InvalidNotebook,
    IPythonRenderer,
    MarkdownWithMath,
)
from nbformat import NotebookNode
from traitlets import default
from traitlets.config import Config

from course_lib.errors import CourseError
from course_lib.files import check_destination, reading
from course_lib.widgets.descriptions import describe
from course_lib.widgets.saved import forget_widgets
from course_lib.widgets.standalone import module, renew, save_page

COURSE = Path(__file__).resolve().parents[2]  # the checkout

_HERE = Path(__file__).parent

# nbconvert's page with what it would fetch left out: RequireJS, MathJax, Mermaid and the
# widget manager; with its dark theme beside the light one, our style, and described pictures
_TEMPLATE = """{%- extends "index.html.j2" -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
{{ resources.include_css("static/theme-dark.css")
   | replace("<style" | safe, '<style media="(prefers-color-scheme: dark)"' | safe) }}
<style>{{ resources.page_style | safe }}</style>
<script type="module">{{ resources.page_script | safe }}</script>
{%- endblock -%}
""" + "".join(
    f"""{{%- block data_{short} scoped -%}}
<div class="jp-RenderedImage jp-OutputArea-output {{{{ extra_class }}}}">
{{%- set width = output | get_metadata("width", "image/{kind}") -%}}
<img alt="{{{{ output | get_metadata("alt", "image/{kind}") | escape_html }}}}"
{{%- if width is not none %}} width="{{{{ width | escape_html }}}}"{{%- endif %}}
{{%- if output | get_metadata("whole", "image/{kind}") %}} data-whole{{%- endif %}}
src="data:image/{kind};base64,{{{{ output.data["image/{kind}"] | escape_html }}}}"></div>
{{%- endblock -%}}
"""
    for short, kind in (("png", "png"), ("jpg", "jpeg"))
)


# names of functions, after which TeX leaves a thin space: "log p", not "logp"
_FUNCTIONS = set("arccos arcsin arctan cos det exp lim ln log max min sin tan tanh".split())
_ROWS = {"math", "mrow", "mstyle", "mtd"}  # elements whose children stand in a row
# nbconvert lets the Tab key stop at every cell and output, which do nothing
_STOP = re.compile(
    r'(<div class="[^"]*jp-(?:Cell-inputWrapper|OutputArea-output)[^"]*"[^>]*?) tabindex="0"'
)


@cache
def _style() -> str:
    """The page's style, with the font of its equations in it."""
    font = base64.b64encode((_HERE / "math.woff2").read_bytes()).decode("ascii")
    return (_HERE / "page.css").read_text(encoding="utf-8").replace("FONT)", f"{font})")


class LessonExporter(HTMLExporter):
    """nbconvert's HTML in one file that asks for nothing: html before widget views, images
    inside, equations as MathML with a font for them, widgets as the library has them now.

    Equations need the package latex2mathml; without it they stay as TeX.
    """

    raw_template = _TEMPLATE
    embed_images = True

    @property
    def default_config(self) -> Config:
        mimes = [
            "text/html",
            "text/markdown",
            "image/svg+xml",
            "text/latex",
            "image/png",
            "image/jpeg",
            "text/plain",
        ]
        c = Config({"NbConvertBase": {"display_data_priority": mimes}})
        c.ExecutePreprocessor.store_widget_state = False
        merged = super().default_config.copy()
        merged.merge(c)
        return merged

    @default("file_extension")
    def _file_extension_default(self) -> str:
        return ".html"

    def from_notebook_node(self, nb: NotebookNode, resources=None, **kw):
        nb = nbformat.from_dict(nb)  # a copy: a caller's notebook keeps its widgets
        nb = renew(describe(forget_widgets(nb)))
        resources = {**(resources or {}), "page_style": _style()}
        resources["page_script"] = module("figures.js")
        page, resources = super().from_notebook_node(nb, resources, **kw)
        page = _PRINTED.sub(_in_columns, _asking_for_nothing(page))
        return _STOP.sub(r"\1", page), resources

    def default_filters(self):
        yield from super().default_filters()
        yield "markdown2html", self._markdown_with_mathml

    @pass_context
    def _markdown_with_mathml(self, context, source: str) -> str:
        pasted = context.get("cell", {}).get("attachments", {})
        folder = (
            context.get("resources", {}).get("metadata", {}).get("path", "")
        )  # of the notebook
        renderer = _MathRenderer(
            escape=False,
            attachments=pasted,
            embed_images=True,
            path=folder,
            anchor_link_text="",
        )
        page = MarkdownWithMath(renderer=renderer).render(source)
        # an empty corner of a table heads nothing
        return re.sub(r"<th([^>]*)></th>", r"<td\1></td>", page)


_PRINTED = re.compile(r"(<pre)(>(?:(?!</pre>|<span).)*</pre>)", re.DOTALL)


def _in_columns(printed: re.Match) -> str:
    """A printed text; one in columns, two lines of it or more, keeps them in a narrow page."""
    lines = sum(bool(re.search(r"\S {2,}\S", line)) for line in printed[2].splitlines())
    return f'{printed[1]} class="columns"{printed[2]}' if lines > 1 else printed[0]


# What a page may take from where: nothing from afar, whatever its notebook asks for.
_POLICY = "default-src 'unsafe-inline' 'unsafe-eval' data: blob:; base-uri 'none'"
# an <img> of another machine, whole; and its address. A srcset wins over the src beside it.
_REMOTE = re.compile(
    r"""<img\b[^<>]*?\ssrc(?:set)?\s*=\s*["']?\s*((?:https?:)?//[^\s"'<>]+)[^<>]*>""",
    re.IGNORECASE,
)


def _asking_for_nothing(page: str) -> str:
    """A page that browsers let fetch nothing: pictures from afar become links to them."""

    def link(found: re.Match) -> str:
        address = found[1]
        return f'<a href="{address}" rel="noreferrer">(a picture at {address})</a>'

    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    return _REMOTE.sub(link, page).replace("<head>", f"<head>{policy}", 1)


class _MathRenderer(IPythonRenderer):
    """Markdown to HTML with equations as MathML, which browsers draw by themselves, and links
    to other lessons' pages.
    """

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link; one to a notebook beside this one leads to its page."""
        if not re.match(r"[a-z][a-z0-9+.-]*:|//", url, re.IGNORECASE):
            url = re.sub(r"\.ipynb(?=$|[#?])", ".html", url)
        return super().link(text, url, title)

    def block_math(self, body: str) -> str:
        return _mathml(body, "block") or super().block_math(body)

    def inline_math(self, body: str) -> str:
        return _mathml(body, "inline") or super().inline_math(body)

    def latex_environment(self, name: str, body: str) -> str:
        tex = rf"\begin{{{name}}}{body}\end{{{name}}}"
        return _mathml(tex, "block") or super().latex_environment(name, body)


def _mathml(tex: str, display: str) -> str | None:
    """An equation as MathML, or None where it can't be had. Whatever a text in it holds, "<"
    among it, is a text in the page too.
    """
    try:
        from latex2mathml.converter import convert_to_element
    except ImportError:
        return None
    for inner in ("aligned", "split"):  # unknown to latex2mathml, and the same in a page
        tex = tex.replace(f"{{{inner}}}", "{align*}")
    try:
        element = convert_to_element(tex, display=display)
    except Exception:  # whatever it can't read stays TeX
        return None
    for part in element.iter():  # its symbols are written "&#x0003C;", which is HTML already
        part.text = html.unescape(part.text or "").replace(r"\|", "‖").replace(r"\_", "_")
    for sign in element.iter("mo"):
        # without \left, \right or \big it is as high as a letter, on either side
        if sign.text in ("|", "‖") and not {"form", "minsize"} & set(sign.attrib):
            sign.attrib |= {"stretchy": "false", "lspace": "0.06em", "rspace": "0.06em"}
    for row in [part for part in element.iter() if part.tag in _ROWS]:
        _space(row)
    return ElementTree.tostring(element, encoding="unicode", short_empty_elements=False)


def _space(row: ElementTree.Element):
    """A thin space after each function of a row, one with an index among them, before what it
    is of, unless that begins with a sign.
    """
    for at in range(len(row) - 1, 0, -1):
        before = row[at - 1]
        name = before[0] if before.tag in ("msub", "msup", "munder") else before
        is_function = name.tag == "mi" and name.text in _FUNCTIONS
        if is_function and row[at].tag not in ("mo", "mspace"):
            row.insert(at, ElementTree.Element("mspace", {"width": "0.17em"}))


def find_lesson(name: str | Path) -> Path:
    """A notebook's file: the path as given, or the lesson whose name begins so ("04",
    "further/04"), as `course.py lab` finds it. CourseError where there is none.
    """
    given, folder = Path(name), COURSE / "notebooks"
    if given.suffix == ".ipynb":
        return given
    lessons = [*sorted(folder.glob("*.ipynb")), *sorted((folder / "further").glob("*.ipynb"))]
    if not given.name:
        raise CourseError('Say which lesson, for example "04", or give a notebook\'s path.')
    start = re.sub(r"^(further/)?(\d)$", r"\g<1>0\2", given.as_posix())  # 1: 01, not 10
    for path in lessons:
        within = path.relative_to(folder).as_posix()
        if path.name.startswith(start) or within.startswith(start):
            return path
    if given.exists():
        return given
    known = ", ".join(dict.fromkeys(path.name.split("_")[0] for path in lessons))
    raise CourseError(
        f"There is no lesson {name}. Name one by how its file begins ({known}), or give the "
        "path of a notebook."
    )


def to_html(notebook: str | Path, out: str | Path | None = None) -> Path:
    """Write a notebook (a path, or a lesson as `find_lesson` knows it) as one HTML file that
    moves by itself; returns the file. CourseError if it isn't a notebook, holds what can't be
    shown, or the page can't be written.
    """
    notebook = find_lesson(notebook)
    out = notebook.with_suffix(".html") if out is None else Path(out)
    mend = "open it in JupyterLab, run it again and save it"
    with reading(notebook, "is no notebook that can be read", mend):
        lesson = nbformat.read(notebook, as_version=4)
    if out.suffix == ".ipynb" or os.path.exists(out) and out.samefile(notebook):
        raise CourseError(
            f"{out} is a notebook, and the page would take its place: --out x.html"
        )
    check_destination(out)
    about = {
        "metadata": {"name": notebook.stem, "path": str(notebook.parent)}
    }  # the page's title; where pictures are
    try:
        page, _ = LessonExporter().from_notebook_node(lesson, about)
    except InvalidNotebook as error:
        raise CourseError(f"{notebook} can't be shown whole: {error}.") from None
    except Exception as error:  # an output of another kind breaks nbconvert anywhere
        said = str(error).partition("\n")[0][:120] or type(error).__name__
        raise CourseError(
            f"{notebook} can't be shown, for a cell or an output of it is malformed ({said}): "
            f"{mend}."
        ) from error
    save_page(page, out)
    return out


def main(arguments: list[str] | None = None) -> int:
    """The command line: a notebook, and where the page goes."""
    parser = argparse.ArgumentParser(
        prog="python -m course_lib.widgets.export", description=to_html.__doc__
    )
    parser.add_argument("notebook", help="an .ipynb with its outputs, or a lesson: 04")
    parser.add_argument("out", nargs="?", help="the page; beside the notebook if left out")
    options = parser.parse_args(arguments)
    try:
        print(to_html(options.notebook, options.out))
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
