"""Saved pages for everybody: described figures, few tab stops, links that lead on, sharp
figures; and the library's widgets as they are now.
"""

import base64
import html
import io
import re

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from course_lib.errors import CourseError
from course_lib.widgets import descriptions, export, sharp
from course_lib.widgets.standalone import module, renew

MARKDOWN = """
## The floor

On to [more](further/05_more.ipynb#end), [home](../00_start.ipynb), [out](https://a.b/c.ipynb),
and $\\hat x_0$, $\\log p$.

| | n |
|---|---|
| a | 1 |
"""
CODE = 'axis.set(xlabel="calls", ylabel="distance")\naxis.plot(x, label="DDIM")'


def page() -> str:
    """A small lesson's page: prose, a table, a figure, a line of text."""
    data = {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"}
    outputs = [
        nbformat.v4.new_output("display_data", data),
        nbformat.v4.new_output("stream", name="stdout", text="one"),
    ]
    cells = [
        nbformat.v4.new_markdown_cell(MARKDOWN),
        nbformat.v4.new_code_cell(CODE, outputs=outputs, execution_count=1),
    ]
    book = nbformat.v4.new_notebook(cells=cells)
    before = nbformat.writes(book)
    made, _ = export.LessonExporter().from_notebook_node(book, {"metadata": {"name": "a"}})
    assert nbformat.writes(book) == before, "a caller's notebook stays as it was"
    return made


@pytest.fixture(scope="module")
def made() -> str:
    return page()


def test_links_to_lessons_lead_to_their_pages(made):
    links = re.findall(r'<a href="([^"]*)"', made)
    assert links == ["further/05_more.html#end", "../00_start.html", "https://a.b/c.ipynb"]


@pytest.mark.parametrize(
    "image",
    [
        "<img src='https://far.off/a.png'>",
        '<img alt="x" src = "//far.off/a.png">',
        "<img srcset='//far.off/a.png 2x'>",
        "<img src='data:image/png;base64,iVBORw0KGgo=' srcset=\"https://far.off/a.png\">",
    ],
)
def test_a_picture_from_afar_is_a_link_to_it(image):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(image)])
    made, _ = export.LessonExporter().from_notebook_node(book, {"metadata": {"name": "a"}})
    assert "<img" not in made and "(a picture at" in made and "far.off/a.png" in made


def test_a_figure_says_where_it_stands_and_what_is_written_on_it(made):
    assert 'alt="Figure of the section “The floor”: calls, distance, DDIM."' in made
    assert "No description has been provided" not in made


def test_the_tab_key_stops_only_at_what_can_be_used(made):
    assert 'tabindex="0"' not in made
    assert "anchor-link" in made  # hidden, and so no stop


def test_an_empty_corner_of_a_table_is_no_heading(made):
    assert not re.search(r"<th[^>]*></th>", made)
    assert ">n</th>" in made


def test_the_page_brings_a_font_for_equations_and_a_dark_theme(made):
    assert 'font-family: "Marble Math"; src: url(data:font/woff2;base64,d09GMk' in made
    assert '<style media="(prefers-color-scheme: dark)"' in made


def test_a_functions_name_stands_apart_from_its_argument(made):
    assert '<mi>log</mi><mspace width="0.17em"></mspace><mi>p</mi>' in made


def test_old_widgets_get_the_modules_of_now():
    old = (
        '<script type="application/json" id="marble-state">{"_spec": "&"}</script>'
        '<script type="module">/** * The plane: old\n * The plane: a flipbook */ old()'
        "</script></body></html>"
    )
    whole = f'<div><iframe title="a" height="9" srcdoc="{html.escape(old)}"></iframe></div>'
    output = nbformat.v4.new_output("display_data", {"text/html": whole})
    other = nbformat.v4.new_output("display_data", {"text/html": "<b>srcdoc</b>"})
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output, other])])
    first, second = renew(book).cells[0].outputs
    inner = html.unescape(re.search(r'srcdoc="([^"]*)"', first.data["text/html"])[1])
    assert module("plane.js") in inner
    assert "old()" not in inner
    assert '{"_spec": "&"}' in inner
    assert second.data["text/html"] == "<b>srcdoc</b>"


def test_html_names_what_there_is_where_it_finds_no_lesson(tmp_path):
    with pytest.raises(CourseError, match="There is no lesson 77.*00, 01, 02"):
        export.find_lesson("77")
    (tmp_path / "mine.ipynb").write_text("{}")
    assert export.find_lesson(tmp_path / "mine.ipynb") == tmp_path / "mine.ipynb"


def figure():
    """One with all that can be said of it."""
    made, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), dpi=80)
    left.plot(range(40), [i * i for i in range(40)], label="DDIM")
    left.set(title="quality", xlabel="calls $n$", ylabel="distance")
    left.legend()
    right.imshow([[0, 1], [1, 0]])
    right.set_axis_off()
    return made


def test_a_figure_is_described_in_its_own_words():
    text = descriptions.of_figure(figure())
    assert text == ("Figure. quality, x axis: calls n, y axis: distance, shown: DDIM.")
    assert len(descriptions.of_cell("a" * 500, "")) <= 320
    plt.close("all")


def test_figures_are_sharp_on_dense_screens_and_not_twice_the_bytes():
    made = figure()
    data, about = sharp.sharp_png(made)
    picture = Image.open(io.BytesIO(data))
    assert picture.width in (2 * about["width"], 2 * about["width"] + 1)
    assert about["alt"].startswith("Figure. quality")
    plain = io.BytesIO()
    made.savefig(plain, format="png", bbox_inches="tight", dpi=80)
    assert len(data) < 2 * len(plain.getvalue()), "than matplotlib's own at half the density"
    assert abs(Image.open(plain).width - about["width"]) <= 2, "shown as large as before"
    assert sharp.sharp_png(plt.figure()) is None
    plt.close("all")


def test_a_notebook_s_figures_are_sharp(monkeypatch):
    """Its backend, which comes with the first figure, would take our PNGs' place."""
    monkeypatch.setenv("PYTHONPATH", str(export.COURSE))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    setup = "from course_lib.widgets.plots import use_style\nuse_style()"
    drawn = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    cells = [nbformat.v4.new_code_cell(source) for source in (setup, drawn, drawn)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3", timeout=600).execute()
    for cell in cells[1:]:
        (output,) = cell.outputs
        picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
        about = output.metadata["image/png"]
        assert about["alt"] and picture.width in (2 * about["width"], 2 * about["width"] + 1)


@pytest.mark.parametrize(
    "path", sorted((export.COURSE / "notebooks").rglob("*.ipynb")), ids=lambda path: path.stem
)
def test_the_course_s_own_figures_are_sharp(path):
    for cell in nbformat.read(path, 4).cells:
        for output in cell.get("outputs", []):
            if "<Figure" in str(output.get("data", {}).get("text/plain", "")):
                about = output.metadata.get("image/png", {})
                assert {"width", "alt"} <= about.keys(), cell.source


@pytest.mark.parametrize("name", ["scrubber.js", "flipbook.js", "plane.js"])
def test_no_widget_s_layout_hangs_on_a_container_query(name):
    # inside JupyterLab's cells, which skip what is out of sight, Chromium left the words of
    # such a container blank once they changed: `strawberry to rocket =` and no number
    code = module(name)
    assert "@container" not in code and "container-type" not in code and "cqi" not in code
    assert "markRoom(view.root)" in code and "= mount({ model, el }" in code, "but on classes"
