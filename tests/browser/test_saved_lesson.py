"""Every lesson's saved page: nothing serious for axe-core, light or dark, in the page and in
each widget; on a phone nothing is cut and every slider is there for a thumb.
"""

from pathlib import Path

import pytest
from surfaces import open_saved, until

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
LESSONS += sorted((ROOT / "notebooks" / "further").glob("[0-9]*.ipynb"))
# frames of a file are strangers to it, and axe would pass over them: each is asked by itself
FOUND = """async () => (await axe.run(document, { resultTypes: ["violations"], iframes: false })).violations
  .filter(({ impact }) => impact === "serious" || impact === "critical")
  .map(({ id, nodes }) => `${id}, ${nodes.length} times: ${nodes[0].html.slice(0, 200)}`)"""
WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
# of a widget on a phone: what reaches over its edge, is too low for a thumb, or is lettered
# too small. What a figure says in its pixels: test_narrow.py
AWKWARD = """(root) => {
  const edge = root.getBoundingClientRect().right + 1;
  const seen = [...root.querySelectorAll("*")].filter((node) => node.getClientRects().length);
  const own = (node) => [...node.childNodes].some(({ nodeType, data }) => nodeType === 3 && data.trim());
  const name = (what, node) => `${what}: ${node.outerHTML.slice(0, 120)}`;
  return [
    ...seen.filter((node) => node.getBoundingClientRect().right > edge && !node.closest(".marble-slide, .marble-spoken"))
      .map((node) => name("over the edge", node)),
    ...seen.filter((node) => node.matches("button, select, [role=slider]") && node.getBoundingClientRect().height < 24)
      .map((node) => name("low", node)),
    ...seen.filter((node) => own(node) && parseFloat(getComputedStyle(node).fontSize) < 11).map((node) => name("small", node)),
  ];
}"""
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
def test_a_lessons_page_has_no_serious_fault(browser, axe, tmp_path, lesson):
    from course_lib.widgets.export import to_html

    file = to_html(lesson, tmp_path / f"{lesson.stem}.html")
    page = browser.new_page(color_scheme="light")
    page.goto(file.as_uri())
    widgets = page.frames[1:]
    for frame in page.frames:
        frame.evaluate(axe)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for frame in widgets:
            frame.locator(f".marble[data-dark={str(scheme == 'dark').lower()}]").wait_for()
        faults = [fault for frame in page.frames for fault in frame.evaluate(FOUND)]
        assert faults == [], scheme
    page.set_viewport_size({"width": 390, "height": 844})

    def awkward() -> list:
        return [
            fault for frame in widgets for fault in frame.locator(".marble").evaluate(AWKWARD)
        ]

    # once the widgets have heard of it
    until(page, lambda: page.evaluate(WIDE) <= 0, "a page as wide as the window")
    until(page, lambda: awkward() == [], lambda: f"no fault, but: {awkward()}")
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
    assert surface.page.evaluate(WIDE) <= 0
    surface.page.close()
