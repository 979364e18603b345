"""A notebook that was run and saved by hand, and is opened again: with its kernel gone, and
with the page merely loaded anew.
"""

import json
from pathlib import Path

import nbformat
import pytest
from surfaces import run_cell, until

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]

MAKE = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from test_scrubber import SCHEDULE, run
from course_lib.widgets import Scrubber
from tqdm.auto import tqdm
"""
SHOW = """
for _ in tqdm(range(21), desc="Training"):
    pass
Scrubber(run(20, B=16), SCHEDULE)
"""
FLIP = """
import numpy as np
from course_lib.widgets import Flipbook
Flipbook([np.full((40, 90, 3), 20 * i, np.uint8) for i in range(9)], range(9))
"""
LOOK = """(canvas) => canvas.getContext("2d").getImageData(0, 0, 40, 40).data.join()"""
LOST = ("Error displaying widget", "model not found", "0/21", "21/21")


def open_run_and_save(browser, lab: str, workspace: Path, name: str, *, run: int):
    """A notebook of four cells in JupyterLab, the first so many of them run, and saved."""
    cells = [nbformat.v4.new_code_cell(code.strip()) for code in (MAKE, SHOW, FLIP, "1 + 1")]
    # a cell that came with an output of another machine's: not signed here until it is run
    cells[3].outputs = [nbformat.v4.new_output("display_data", {"text/html": "<b>two</b>"})]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(book, workspace / name)
    page = browser.new_page()
    page.goto(f"{lab}/lab/tree/{name}?reset")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    for number in range(run):
        run_cell(page, number)
    page.locator(".marble").nth(1).wait_for()
    assert page.locator(".jp-OutputArea iframe").count() == 0, "the kernel's own widgets"
    with page.expect_response(
        lambda answer: answer.request.method == "PUT" and name in answer.url
    ) as saved:
        page.keyboard.press("Control+s")
    assert saved.value.ok
    return page


def shut_down(page, lab: str) -> None:
    """End all kernels, as the computer's end does, and close the page."""
    page.evaluate(
        """async (lab) => {
          const token = document.cookie.match(/_xsrf=([^;]*)/)?.[1] ?? "";
          for (const { id } of await (await fetch(`${lab}/api/sessions`)).json())
            await fetch(`${lab}/api/sessions/${id}`, { method: "DELETE", headers: { "X-XSRFToken": token } });
        }""",
        lab,
    )
    until(page, lambda: page.request.get(f"{lab}/api/kernels").json() == [], "no kernel")
    page.close()


def drag(page, number: int) -> None:
    """Drag the slider of a page within the page to its end: the picture follows."""
    frame = page.frame_locator(".jp-OutputArea iframe").nth(number)
    slider, canvas = frame.locator("[role=slider]"), frame.locator("canvas").first
    before, last = canvas.evaluate(LOOK), slider.get_attribute("aria-valuemax")

    def dragged() -> bool:
        # again, where the page was still finding its height when the pointer came down
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        y = box["y"] + min(16, box["height"] / 2)
        page.mouse.move(box["x"] + 16, y)
        page.mouse.down()
        for part in (0.3, 0.6, 0.9, 1):
            page.mouse.move(box["x"] + 14 + (box["width"] - 28) * part, y)
        page.mouse.up()
        return slider.get_attribute("aria-valuenow") == last

    until(page, dragged, "the last frame")
    assert canvas.evaluate(LOOK) != before
    still = page.locator(".jp-OutputArea img").nth(number)
    assert not still.is_visible(), "the still gives way to what moves"


def nothing_is_lost(page) -> None:
    """No line about a widget that isn't there, and no progress bar at 0."""
    text = page.locator(".jp-Notebook").inner_text()
    assert not [line for line in LOST if line in text], text


def test_saved_shut_down_opened_again_and_dragged(browser, lab, workspace, tmp_path):
    page = open_run_and_save(browser, lab, workspace, "day.ipynb", run=4)
    shut_down(page, lab)
    kept = json.loads((workspace / "day.ipynb").read_text())
    bundles = [
        set(output.get("data", [])) for cell in kept["cells"] for output in cell["outputs"]
    ]
    moving = {"text/html", "image/png", "text/plain"}
    assert bundles == [moving, moving, {"text/plain"}]
    page = browser.new_page()
    page.goto(f"{lab}/lab/tree/day.ipynb?reset")
    page.frame_locator(".jp-OutputArea iframe").nth(1).locator(".marble").wait_for()
    for number in (0, 1):
        drag(page, number)
    nothing_is_lost(page)
    page.screenshot(path=tmp_path / "day_two.png")
    page.close()


def test_loaded_anew_with_its_kernel_still_there(browser, lab, workspace, tmp_path):
    page = open_run_and_save(browser, lab, workspace, "anew.ipynb", run=4)
    page.reload()
    page.frame_locator(".jp-OutputArea iframe").nth(1).locator(".marble").wait_for()
    for number in (0, 1):
        drag(page, number)
    nothing_is_lost(page)
    page.screenshot(path=tmp_path / "anew.png")
    shut_down(page, lab)


def test_loaded_anew_where_a_cell_was_never_trusted(browser, lab, workspace, tmp_path):
    """JupyterLab signs a notebook only where all its cells were run here: a still is shown,
    whole, and no line about what is lost.
    """
    page = open_run_and_save(browser, lab, workspace, "half.ipynb", run=3)
    page.reload()
    page.locator(".jp-OutputArea img").nth(1).wait_for()
    nothing_is_lost(page)
    for still in page.locator(".jp-OutputArea img").all():
        assert still.evaluate("(image) => image.naturalWidth") > 100
    page.screenshot(path=tmp_path / "half.png")
    shut_down(page, lab)
