"""The flipbook as a hand, a keyboard and a screen reader meet it, in JupyterLab and in a saved
page.
"""

from pathlib import Path

import nbformat
import pytest
from surfaces import (
    Surface,
    open_saved,
    run_cell,
    run_until,
    start_stopwatch,
    stop_stopwatch,
    timed_move,
    until,
)

pytestmark = pytest.mark.browser

FRAMES, MOVES = 51, 44
# Frame i is all one grey, 5 i, which packing keeps exactly: a pixel tells which frame is on
# the canvas.
MAKE_BOOK = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import numpy as np
from course_lib.widgets import Flipbook

frames = [np.full((200, 480, 3), 5 * i, np.uint8) for i in range({FRAMES})]
book = Flipbook(frames, np.arange({FRAMES}) / 50, label="noise", title="Greys", format="{{:.2f}}",
                note="The same light everywhere.", notes=[f"grey {{5 * i}}" for i in range({FRAMES})])
"""

# Tells which frame is shown.
LOOK = """() => {
  const canvas = document.querySelector(".marble-card canvas");
  return canvas.getContext("2d").getImageData(9, 9, 1, 1).data[0];
}"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """The flipbook as nbconvert and a book embed it, in a page of its own."""
    scope = {}
    exec(MAKE_BOOK, scope)
    file = tmp_path_factory.mktemp("book") / "book.html"
    page = f"<!DOCTYPE html><body>{scope['book']._repr_mimebundle_()[0]['text/html']}</body>"
    file.write_text(page, encoding="utf-8")
    return file


def open_book_in_lab(browser, lab: str, workspace: Path) -> Surface:
    cells = [
        nbformat.v4.new_code_cell(code)
        for code in (MAKE_BOOK + "book", "print('value', book.value)")
    ]
    cells.append(nbformat.v4.new_code_cell("book.frame = 7"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}),
        workspace / "book.ipynb",
    )
    page = browser.new_page()
    page.goto(f"{lab}/lab/tree/book.ipynb?reset")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    run_cell(page, 0)
    page.locator(".marble").wait_for()
    return Surface("JupyterLab", page, page.main_frame)


@pytest.fixture(scope="module", params=["JupyterLab", "saved page"])
def surface(request, browser):
    """Each moving surface in turn."""
    if request.param == "JupyterLab":
        surface = open_book_in_lab(
            browser, request.getfixturevalue("lab"), request.getfixturevalue("workspace")
        )
    else:
        surface = open_saved(browser, request.getfixturevalue("saved"))
    yield surface
    surface.page.close()


def grey(surface) -> int:
    """The grey that the canvas shows."""
    look = "(canvas) => canvas.getContext('2d').getImageData(9, 9, 1, 1).data[0]"
    return surface.find(".marble-card canvas").evaluate(look)


def timed(surface, move, what: str, report) -> None:
    """Make MOVES moves, and say how long the canvas took to follow."""
    start_stopwatch(surface, LOOK)
    for i in range(1, MOVES + 1):
        timed_move(surface, lambda i=i: move(i))
    surface.arrive(MOVES)
    stop_stopwatch(surface, MOVES - 1, what, report)


def test_dragging_draws_at_once(surface, report):
    surface.reset()
    surface.slider.scroll_into_view_if_needed()
    box = surface.slider.bounding_box()
    x = [box["x"] + 14 + (box["width"] - 28) * i / (FRAMES - 1) for i in range(FRAMES)]
    y = box["y"] + 16
    surface.page.mouse.move(x[0], y)
    surface.page.mouse.down()
    timed(surface, lambda i: surface.page.mouse.move(x[i], y), "dragging", report)
    surface.page.mouse.up()
    assert grey(surface) == 5 * MOVES
    surface.page.mouse.move(x[3], y)
    assert surface.now() == MOVES, "a pointer that isn't pressed moves nothing"


def test_keys_draw_at_once(surface, report):
    surface.reset()
    timed(surface, lambda i: surface.page.keyboard.press("ArrowRight"), "keys", report)
    assert grey(surface) == 5 * MOVES


def test_every_frame_is_shown_as_it_was_given(surface):
    surface.reset()
    seen = [grey(surface)]
    for _ in range(FRAMES - 1):
        surface.press("ArrowRight")
        seen.append(grey(surface))
    assert seen == [5 * i for i in range(FRAMES)]


def test_keys(surface):
    surface.reset()
    for key, place in [
        ("ArrowUp", 1),
        ("ArrowLeft", 0),
        ("PageUp", 5),
        ("End", 50),
        ("ArrowRight", 50),
        ("Home", 0),
    ]:
        surface.press(key)
        assert (surface.now(), grey(surface)) == (place, 5 * place), key


def test_space_plays_and_pauses(surface):
    surface.reset()
    surface.press("Space")
    until(surface.page, lambda: surface.now() >= 2, "frame 2")
    surface.press("Space")
    here = surface.now()
    assert surface.find(".marble-main").inner_text() == "Play"
    surface.page.wait_for_timeout(300)
    assert surface.now() == here


def test_playing_comes_round_again_or_stops(surface):
    surface.reset()
    surface.press("End", "ArrowLeft", "Space")
    until(surface.page, lambda: surface.now() < 40, "a new beginning")
    surface.press("Space", "End", "ArrowLeft")
    surface.find("[aria-label=Loop]").click()
    surface.press("Space")
    main = surface.find(".marble-main")
    until(surface.page, lambda: main.inner_text() == "Play", "the end")
    assert surface.now() == 50
    surface.find("[aria-label=Loop]").click()


def test_what_is_read_and_heard(surface):
    surface.reset()
    surface.press("PageUp")
    slider = surface.slider
    assert slider.get_attribute("aria-label") == "noise"
    assert [slider.get_attribute(f"aria-value{end}") for end in ("min", "max", "now")] == [
        "0",
        "50",
        "5",
    ]
    assert slider.get_attribute("aria-valuetext") == "noise 0.10"
    assert surface.find(".marble-value").inner_text() == "noise = 0.10"
    assert surface.find(".marble [aria-live=polite]").inner_text() == "grey 25"
    assert surface.find(".marble-note").last.inner_text() == "The same light everywhere."
    assert (
        surface.find("canvas[role=img]").get_attribute("aria-label")
        == "The picture at noise 0.10"
    )
    for button in surface.find(".marble button").all():
        assert button.get_attribute("aria-label") or button.inner_text(), (
            "a button without a name"
        )


def test_text_reads_on_a_projector_and_focus_is_seen(surface):
    smallest = """() => Math.min(...[...document.querySelectorAll(".marble *")]
      .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
      .map((node) => parseFloat(getComputedStyle(node).fontSize)))"""
    assert surface.frame.evaluate(smallest) >= 15
    surface.press("ArrowRight")
    assert surface.slider.evaluate("(node) => getComputedStyle(node).outlineStyle") == "solid"


def test_python_reads_and_sets_the_frame(surface):
    if surface.name != "JupyterLab":
        pytest.skip("a saved page has no kernel")
    surface.reset()
    surface.press("PageUp", "ArrowRight")
    run_until(surface.page, 1, "value 0.12")
    run_cell(surface.page, 2)
    surface.arrive(7)
    assert grey(surface) == 35


def test_a_saved_page_asks_for_nothing(browser, saved):
    surface = open_saved(browser, saved)
    surface.press("End", "Home")
    assert surface.requests == [saved.as_uri()]
    assert not surface.page.locator("img").first.is_visible(), (
        "the still gives way to what moves"
    )
    heights = [
        surface.page.locator("iframe").bounding_box(),
        surface.find(".marble").bounding_box(),
    ]
    assert abs(heights[0]["height"] - heights[1]["height"]) < 3
    surface.page.close()


def test_a_saved_page_in_the_dark_shows_pictures_on_white(browser, saved):
    surface = open_saved(browser, saved, color_scheme="dark")
    surface.find(".marble[data-dark]").wait_for()
    colour = "(node) => getComputedStyle(node).backgroundColor"
    assert surface.find(".marble").evaluate(colour) == "rgb(22, 24, 28)"
    assert surface.find(".marble-card").evaluate(colour) == "rgb(255, 255, 255)"
    surface.page.close()


def test_who_wants_less_motion_gets_no_loop(browser, saved):
    surface = open_saved(browser, saved, reduced_motion="reduce")
    assert surface.find("[aria-label=Loop]").get_attribute("aria-pressed") == "false"
    surface.page.close()
