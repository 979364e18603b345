"""Every lesson's saved page: nothing serious for axe-core; a scrubber on a phone."""

from pathlib import Path

import pytest
from surfaces import open_saved

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
LESSONS += sorted((ROOT / "notebooks" / "further").glob("[0-9]*.ipynb"))
FOUND = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .filter(({ impact }) => impact === "serious" || impact === "critical")
  .map(({ id, nodes }) => `${id}, ${nodes.length} times: ${nodes[0].html.slice(0, 200)}`)"""
INSIDE = """(root) => [...root.querySelectorAll(".marble-reading span, .marble-bar *")]
  .filter((node) => node.getBoundingClientRect().right > root.getBoundingClientRect().right - 8)
  .map((node) => node.textContent)"""
APART = """(svg) => {
  const rows = [...svg.querySelectorAll("text")].map((text) => text.getBoundingClientRect())
    .sort((a, b) => a.left - b.left);
  return rows.flatMap((a, i) => rows.slice(i + 1).filter((b) =>
    a.right + 4 > b.left && Math.abs(a.top - b.top) < 8)).length;
}"""
TOPS = """(root) => [...root.querySelectorAll(".marble-panel")].map((panel) =>
  [panel.offsetLeft, panel.querySelector("canvas").getBoundingClientRect().top])"""


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core, as the package for Playwright brings it."""
    package = pytest.importorskip("axe_playwright_python")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_lessons_page_has_no_serious_fault(browser, axe, tmp_path, lesson, scheme):
    from course_lib.widgets.export import to_html

    file = to_html(lesson, tmp_path / f"{lesson.stem}.html")
    page = browser.new_page(color_scheme=scheme)
    page.goto(file.as_uri())
    for frame in page.frames:
        frame.evaluate(axe)
    assert page.evaluate(FOUND) == []
    page.close()


@pytest.mark.parametrize("width", [390, 600])
def test_a_scrubber_fits_a_narrow_page(browser, saved_lesson, width):
    surface = open_saved(browser, saved_lesson, viewport={"width": width, "height": 844})
    root = surface.find(".marble")
    assert root.evaluate(INSIDE) == [], "cut"
    assert surface.find(".marble-axis svg").evaluate(APART) == 0, "labels run together"
    tops = [round(top) for _, top in root.evaluate(TOPS)]
    if width == 600:
        assert len(set(tops)) == 1, "panels stand level"
    else:
        assert tops[0] == tops[2] > tops[1], "the predicted images above the other two"
    wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert surface.page.evaluate(wide) <= 0
    surface.page.close()
