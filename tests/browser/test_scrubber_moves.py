"""The scrubber as a hand, a keyboard and a screen reader meet it, in JupyterLab and in a saved
page.
"""

import pytest
from surfaces import (
    keep_lesson,
    open_saved,
    run_cell,
    run_until,
    start_cell,
    start_stopwatch,
    stop_stopwatch,
    timed_move,
    until,
)

pytestmark = pytest.mark.browser

in_jupyterlab = pytest.mark.parametrize("surface", ["JupyterLab"], indirect=True)

MOVES = 44

# Tells one picture of the first panel from another.
LOOK = """() => {
  const canvas = document.querySelector(".marble-sheet canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, 96, 96);
  return new Uint32Array(data.buffer).reduce((sum, pixel) => (sum * 31 + pixel) | 0, 0);
}"""

MEAN_GREY = """
(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.reduce((sum, value, i) => (i % 4 === 0 ? sum + value : sum), 0) / (data.length / 4);
}
"""

SMALLEST_TEXT = """
() => {
  const hasText = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  const nodes = [...document.querySelectorAll(".marble *")].filter((node) => node.tagName !== "SUB" && hasText(node));
  return Math.min(...nodes.map((node) => parseFloat(getComputedStyle(node).fontSize)));
}
"""


def test_dragging_draws_at_once(surface, report):
    surface.reset()
    surface.slider.scroll_into_view_if_needed()
    box = surface.slider.bounding_box()
    x = [box["x"] + 10 + (box["width"] - 20) * i / 50 for i in range(51)]
    y = box["y"] + box["height"] / 2
    surface.page.mouse.move(x[0], y)
    surface.page.mouse.down()
    start_stopwatch(surface, LOOK)
    for i in range(1, MOVES + 2):
        timed_move(surface, lambda i=i: surface.page.mouse.move(x[i], y))
    surface.arrive(MOVES + 1)
    surface.page.mouse.up()
    stop_stopwatch(surface, MOVES, "dragging", report)
    surface.page.keyboard.press("ArrowLeft")
    assert surface.now() == MOVES, "after a drag the keys go to the slider"
    surface.page.mouse.move(x[3], y)
    assert surface.now() == MOVES, "a pointer that isn't pressed moves nothing"


def test_keys_draw_at_once(surface, report):
    surface.reset()
    start_stopwatch(surface, LOOK)
    for _ in range(MOVES):
        timed_move(surface, lambda: surface.page.keyboard.press("ArrowRight"))
    assert surface.now() == MOVES
    stop_stopwatch(surface, MOVES, "arrow keys", report)


def test_arrow_home_and_end_keys(surface):
    surface.reset()
    for key, place in [
        ("ArrowRight", 1),
        ("ArrowUp", 2),
        ("ArrowLeft", 1),
        ("PageUp", 6),
        ("End", 50),
    ]:
        surface.press(key)
        assert surface.now() == place, key
    surface.press("ArrowRight")
    assert surface.now() == 50, "the end is the end"
    surface.press("Home", "ArrowLeft", "ArrowDown")
    assert surface.now() == 0


def test_space_plays_and_pauses(surface):
    surface.reset()
    start = surface.frame.evaluate("() => performance.now()")
    surface.press("Space")
    assert surface.find(".marble-main").inner_text() == "Pause"
    until(surface.page, lambda: surface.now() >= 4, "step 4")
    surface.press("Space")
    here, end = surface.now(), surface.frame.evaluate("() => performance.now()")
    assert end - start > 1000 * (here - 1) / 8, "eight steps a second, or fewer"
    assert (
        surface.find(".marble [aria-live=polite]")
        .inner_text()
        .startswith(f"Paused at step {here} of 50")
    )
    surface.page.wait_for_timeout(400)
    assert surface.now() == here


def test_playing_comes_round_again_or_stops(surface):
    surface.reset()
    surface.find(".marble select").select_option("4")
    surface.press("End", "ArrowLeft")
    surface.press("Space")
    # after a rest on the finished images it begins again
    until(surface.page, lambda: surface.now() < 40, "a new beginning")
    surface.press("Space", "End", "ArrowLeft")
    surface.find("[aria-label=Loop]").click()
    surface.press("Space")
    main = surface.find(".marble-main")
    until(surface.page, lambda: main.inner_text() == "Play", "the end")
    assert surface.now() == 50
    surface.find("[aria-label=Loop]").click()
    surface.find(".marble select").select_option("1")


def test_a_click_picks_an_image_and_a_second_one_gives_it_back(surface):
    surface.reset()
    sheet = surface.find(".marble-sheet").nth(1)
    box = sheet.bounding_box()
    sheet.click(
        position={"x": box["width"] * (2.5 / 8), "y": box["height"] * (1.5 / 8)}
    )  # row 2, column 3
    assert surface.find("output").inner_text() == "Image 11 of 64: disc 10"
    assert (
        surface.find(".marble [aria-live=polite]").inner_text()
        == "Image 11 of 64: disc 10, large"
    )
    assert surface.find(".marble-reel").is_visible()
    surface.page.keyboard.press("ArrowRight")
    assert surface.now() == 1, "after a click the keys go to the slider"
    surface.find("[aria-label='Image after']").click()
    assert surface.find("output").inner_text() == "Image 12 of 64: disc 11"
    surface.find(".marble-sheet").nth(0).click()
    assert not surface.find(".marble-choice").is_visible()


def test_keys_pick_images_and_escape_gives_them_back(surface):
    surface.reset()
    surface.press("4")
    assert surface.find("output").inner_text() == "Image 4 of 64: disc 3"
    surface.press("ArrowRight")
    assert surface.now() == 1, "a picked image can be scrubbed"
    surface.press("Escape")
    assert not surface.find(".marble-choice").is_visible()
    surface.press("Enter")
    assert surface.find("output").inner_text() == "Image 4 of 64: disc 3", (
        "Enter takes the last one again"
    )
    surface.press("Escape")


def test_escape_from_a_button_that_goes_with_the_image_leaves_the_keys_with_the_slider(
    surface,
):
    surface.reset()
    surface.press("4")
    canvas = surface.find("canvas[role=img]").first
    assert "Image 4 of 64: disc 3, at the slider's step" in canvas.get_attribute("aria-label")
    surface.find("[aria-label='Image after']").focus()
    surface.page.keyboard.press("Escape")
    surface.page.keyboard.press("ArrowRight")
    assert surface.now() == 1
    assert "64 images, at the slider's step" in canvas.get_attribute("aria-label")


def test_a_picked_image_is_drawn_from_its_own_bytes(surface):
    """Large, the disc that was picked: its own grey at the disc's centre in x_0, at the end of
    the run.
    """
    surface.reset()
    surface.press("End", "2")
    large = surface.find(".marble-sheet canvas").nth(1).evaluate(MEAN_GREY)
    from test_scrubber import run

    true = run(calls=50)[-1].x0[1].mean()
    assert abs(large / 127.5 - 1 - true) < 0.03
    surface.press("Escape")


def test_what_a_screen_reader_hears(surface):
    surface.reset()
    slider = surface.slider
    assert slider.get_attribute("aria-label") == "Step of the run, from noise to image"
    assert [slider.get_attribute(f"aria-value{end}") for end in ("min", "max", "now")] == [
        "0",
        "50",
        "0",
    ]
    assert (
        slider.get_attribute("aria-valuetext")
        == "step 0 of 50, t 1000, alpha 0.000, sigma 1.000"
    )
    assert slider.get_attribute("tabindex") == "0"
    assert surface.find(".marble").get_attribute("aria-label") == "Scrubber: Discs, 50 calls"
    for canvas in surface.find("canvas[role=img]").all():
        assert "64 images, at the slider's step" in canvas.get_attribute("aria-label")
    for button in surface.find(".marble button").all():
        assert button.get_attribute("aria-label") or button.inner_text(), (
            "a button without a name"
        )


def test_text_reads_on_a_projector_and_focus_is_seen(surface):
    assert surface.frame.evaluate(SMALLEST_TEXT) >= 15
    surface.press("ArrowRight")
    assert surface.slider.evaluate("(node) => getComputedStyle(node).outlineStyle") == "solid"


@in_jupyterlab
def test_jupyterlab_leaves_our_keys_alone(surface):
    """Digits make headings, arrows leave the cell and Enter edits it, were it not for us."""
    surface.reset()
    cells = surface.page.locator(".jp-Notebook .jp-Cell").count()
    surface.press("1", "b", "Escape", "ArrowUp", "ArrowDown", "Enter", "Escape")
    assert surface.page.locator(".jp-Notebook .jp-Cell").count() == cells
    assert surface.slider.evaluate("(node) => document.activeElement === node")


@in_jupyterlab
def test_what_is_meant_for_the_notebook_gets_there(surface):
    """Shift+Enter after a drag runs the cell and goes on to the next, and Ctrl+S saves; no
    image is enlarged.
    """
    surface.reset()
    saves = []
    surface.page.on(
        "request",
        lambda request: saves.append(request.url) if request.method == "PUT" else None,
    )
    surface.press("Control+s")
    until(surface.page, lambda: any("run.ipynb" in url for url in saves), "a save")
    prompt = surface.page.locator(".jp-CodeCell").first.locator(".jp-InputPrompt")
    before = prompt.inner_text()
    surface.press("ArrowRight", "Shift+Enter")
    active = surface.page.locator(".jp-Notebook .jp-Cell.jp-mod-active")
    assert active.locator("text=scrubber.frame").count() == 1, "the next cell"
    surface.page.wait_for_function(
        "before => { const now = document.querySelector('.jp-CodeCell "
        ".jp-InputPrompt').innerText;"
        " return now !== before && !now.includes('*'); }",
        arg=before,
    )
    surface.arrive(0)
    assert not surface.find(".marble-choice").is_visible()


@in_jupyterlab
def test_python_reads_and_sets_the_frame(surface):
    surface.reset()
    surface.press("PageUp", "ArrowRight")
    run_until(surface.page, 1, "frame 6")
    run_cell(surface.page, 2)
    surface.arrive(7)
    assert surface.find("output").inner_text() == "Image 4 of 64: disc 3"
    surface.reset()


def test_a_saved_page_asks_for_nothing(browser, saved_lesson):
    surface = open_saved(browser, saved_lesson)
    surface.press("End", "3", "Home", "Escape")
    assert surface.requests == [saved_lesson.as_uri()]
    assert not surface.page.locator("img").first.is_visible(), (
        "the still gives way to what moves"
    )
    inside, around = (
        surface.find(".marble").bounding_box(),
        surface.page.locator("iframe").bounding_box(),
    )
    assert abs(inside["height"] - around["height"]) < 3, (
        "the iframe is as high as what is in it"
    )
    surface.page.close()


def test_two_runs_move_together(browser, tmp_path):
    from test_scrubber import SCHEDULE, run

    from course_lib.widgets import Scrubber

    runs = {"DDIM, 20 calls": run(20, B=24), "DDPM, 50 calls": run(50, B=24, fresh=0.5)}
    Scrubber.compare(runs, SCHEDULE).save_html(tmp_path / "two.html")
    page = browser.new_page()
    page.goto((tmp_path / "two.html").as_uri())
    page.locator(".marble").wait_for()
    page.locator("[role=slider]").focus()
    page.keyboard.press("PageUp")
    assert page.locator(".marble-run h3").all_inner_texts() == [
        "DDIM, 20 calls\nstep 2 of 20, t = 900",
        "DDPM, 50 calls\nstep 5 of 50, t = 900",
    ]
    assert page.locator("canvas[role=img]").count() == 6
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_of_its_own_follows_the_reader_s_preference(browser, tmp_path, scheme):
    from test_scrubber import SCHEDULE, run

    from course_lib.widgets import Scrubber

    Scrubber(run(4, B=4), SCHEDULE).save_html(tmp_path / "one.html")
    page = browser.new_page(color_scheme=scheme)
    page.goto((tmp_path / "one.html").as_uri())
    page.locator(".marble[data-dark]").wait_for()
    assert page.locator(".marble").get_attribute("data-dark") == str(scheme == "dark").lower()
    paper = page.locator(".marble").evaluate(
        "(node) => getComputedStyle(node).backgroundColor"
    )
    assert paper == ("rgb(22, 24, 28)" if scheme == "dark" else "rgb(255, 255, 255)")
    page.close()


@in_jupyterlab
def test_a_busy_kernel_holds_nothing_up(surface, workspace):
    surface.reset()
    start_cell(surface.page, 3)  # waits for the file
    surface.page.locator(".jp-InputPrompt", has_text="[*]").first.wait_for()
    surface.press("ArrowRight", "PageUp")
    assert surface.now() == 6
    surface.press("ArrowLeft")
    assert surface.page.locator(".jp-InputPrompt", has_text="[*]").count() == 1, (
        "the kernel still waits"
    )
    (workspace / "go").touch()
    run_until(surface.page, 1, "frame 5")
    assert surface.now() == 5, "no echo of an older place"


@pytest.mark.parametrize("trusted", [True, False])
def test_a_lesson_opened_before_it_is_run(browser, lab, workspace, trusted):
    """No kernel knows its widgets: the html moves where the notebook is trusted, and shows the
    strip elsewhere.
    """
    file = keep_lesson(workspace, trusted)
    page = browser.new_page()
    page.goto(f"{lab}/lab/tree/{file.name}?reset")
    if trusted:
        page.frame_locator(".jp-OutputArea iframe").locator(".marble").wait_for()
        page.frame_locator(".jp-OutputArea iframe").locator("[role=slider]").press("End")
        assert (
            page.frame_locator(".jp-OutputArea iframe").locator("[aria-valuenow='8']").count()
            == 1
        )
        assert not page.locator(".jp-OutputArea img").is_visible()
    else:
        page.locator(".jp-OutputArea img").wait_for()
        assert (
            page.locator(".jp-OutputArea img").evaluate("(image) => image.naturalWidth") > 800
        )
        assert page.locator(".jp-OutputArea iframe").count() == 0
    page.close()


@in_jupyterlab
def test_jupyterlab_s_dark_theme(surface):
    page = surface.page
    assert surface.find(".marble").get_attribute("data-dark") == "false"
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text("Theme", exact=True).hover()
    page.locator(".lm-Menu-itemLabel").get_by_text("JupyterLab Dark", exact=True).click()
    surface.find(".marble[data-dark=true]").wait_for()
