"""The plane as a hand, a keyboard and a screen reader meet it, in JupyterLab and in a saved
page, beside a flipbook, by which its speed is judged.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest
from surfaces import run_cell, run_until, until

pytestmark = pytest.mark.browser

N = 21  # places a side
MOVES = 40
# A move of the plane may take so many times what one of the flipbook takes, in the same run and
# from when the event was heard; a flipbook's under 2 ms counts as 2. Lower quartiles are held
# against each other: on a busy machine they are the moves that nothing else disturbed.
SLOWER, LEAST = 5, 2.0
# Row r, column c of "Places" has the colour (12 c, 12 r, 90); "Blend" has the same in floats.
MAKE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import numpy as np
from course_lib.widgets import Flipbook, Plane

n = {N}
rows, columns = np.mgrid[:n, :n]
colours = np.stack([12 * columns, 12 * rows, 90 + 0 * rows], -1).astype(np.uint8)
pictures = np.broadcast_to(colours[:, :, None, None], (n, n, 28, 28, 3))
z = np.linspace(-1, 1, n)
where = np.stack([np.linspace(-1.2, 0.9, 200), np.linspace(-0.9, 0.9, 200)], 1)
notes = [[f"row {{r}}, column {{c}}" for c in range(n)] for r in range(n)]
options = dict(xlabel="z1", ylabel="z2", quality="lossless")
widgets = {{
    "Places": Plane(pictures, z, z, title="Places", notes=notes, **options),
    "Blend": Plane(pictures, z, z, title="Blend", blend=True, points=where,
                   labels=["left"] * 100 + ["right"] * 100, **options),
    "Pixels": Plane(pictures[..., :n, :n, 0], range(n), range(n), title="Pixels", backdrop=colours,
                    xlabel="column", ylabel="row"),
    "Book": Flipbook([np.full((28, 28), 5 * i, np.uint8) for i in range(51)], range(51), title="Book"),
}}
"""

# On a widget: for each input event, the time until its picture has changed, from the event's own
# time and from when it was heard: a browser keeps a pointer's moves back until its next frame.
# Our listener hears the event first, and looks again as soon as all others have been heard; what
# had not changed by then is not counted.
STOPWATCH = """
(root) => {
  const canvas = root.querySelector(".marble-card canvas");
  const look = () => canvas.getContext("2d").getImageData(3, 3, 1, 1).data.join();
  let before = look();
  root.times = [];
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = ({ data }) => {
    if (look() === before) return;
    before = look();
    root.times.push(data.map((since) => performance.now() - since));
  };
  for (const kind of ["pointermove", "keydown"]) {
    window.addEventListener(kind, (event) => port2.postMessage([event.timeStamp, performance.now()]), true);
  }
}
"""
COLOUR = "(canvas) => [...canvas.getContext('2d').getImageData(3, 3, 1, 1).data].slice(0, 3)"


@dataclass
class Widget:
    """One widget of a page: the frame it lives in, and its root."""

    page: object
    frame: object
    root: object

    def find(self, selector: str):
        return self.root.locator(selector)

    @property
    def slider(self):
        return self.find("[role=slider]")

    def press(self, *keys: str) -> None:
        self.slider.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def start(self) -> None:
        """To the lower left corner: column 0, row 0 where rows go up."""
        self.press("Home", *["PageDown"] * 6)

    def colour(self) -> list[int]:
        return self.find(".marble-card canvas").evaluate(COLOUR)

    def text(self) -> str:
        return self.slider.get_attribute("aria-valuetext")

    def at(self, column: float, row: float, down: bool = False) -> tuple[float, float]:
        """Where on the page a place of the pad is."""
        self.slider.scroll_into_view_if_needed()
        box = self.slider.bounding_box()
        up = (row + 0.5) / N if down else 1 - (row + 0.5) / N
        return box["x"] + box["width"] * (column + 0.5) / N, box["y"] + box["height"] * up


@dataclass
class Surface:
    """A page with all four widgets."""

    name: str
    page: object
    widgets: dict[str, Widget]
    requests: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Widget:
        return self.widgets[name]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """The widgets as nbconvert and a book embed them, in one page."""
    scope = {}
    exec(MAKE, scope)
    parts = [w._repr_mimebundle_()[0]["text/html"] for w in scope["widgets"].values()]
    file = tmp_path_factory.mktemp("plane") / "plane.html"
    file.write_text(f"<!DOCTYPE html><body>{''.join(parts)}</body>", encoding="utf-8")
    return file


def open_saved_planes(browser, file: Path, **options) -> Surface:
    """The page from disk, in a browser that may fetch nothing."""
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 800}, **options})
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.route(
        "**/*",
        lambda route: (
            route.continue_() if route.request.url == file.as_uri() else route.abort()
        ),
    )
    page.goto(file.as_uri())
    for number in range(4):
        page.frame_locator("iframe").nth(number).locator(".marble").wait_for()
    widgets = {}
    for frame in page.frames[1:]:
        root = frame.locator(".marble")
        widgets[root.get_attribute("aria-label")] = Widget(page, frame, root)
    return Surface("saved page", page, widgets, requests)


def open_planes_in_lab(browser, lab: str, workspace: Path) -> Surface:
    show = [f"widgets[{name!r}]" for name in ("Places", "Blend", "Pixels", "Book")]
    reads = ["p = widgets['Places']; print('at', [float(v) for v in p.value], p.place)"]
    reads += ["widgets['Places'].value = (-0.31, 0.52)"]
    cells = [nbformat.v4.new_code_cell(code) for code in (MAKE, *show, *reads)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}),
        workspace / "plane.ipynb",
    )
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{lab}/lab/tree/plane.ipynb?reset")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    widgets = {}
    for number, name in enumerate((None, "Places", "Blend", "Pixels", "Book")):
        run_cell(page, number)
        if name:
            root = page.locator(f'.marble[aria-label="{name}"]')
            root.wait_for()
            widgets[name] = Widget(page, page.main_frame, root)
    return Surface("JupyterLab", page, widgets)


@pytest.fixture(scope="module", params=["JupyterLab", "saved page"])
def surface(request, browser) -> Iterator[Surface]:
    """Each moving surface in turn."""
    if request.param == "JupyterLab":
        surface = open_planes_in_lab(
            browser, request.getfixturevalue("lab"), request.getfixturevalue("workspace")
        )
    else:
        surface = open_saved_planes(browser, request.getfixturevalue("saved"))
    yield surface
    surface.page.close()


def race(surface: Surface, what: str, turns: dict, report) -> None:
    """Let plane and flipbook move in turns, and hold one's times against the other's."""
    for name in turns:
        root = surface[name].root
        if not root.evaluate("(root) => 'times' in root"):
            root.evaluate(STOPWATCH)
        root.evaluate("(root) => { root.times.length = 0 }")
    for turn in range(4):
        for move in turns.values():
            move(turn)

    def noted() -> dict:
        return {name: surface[name].root.evaluate("(root) => root.times") for name in turns}

    until(surface.page, lambda: min(map(len, noted().values())) >= MOVES // 2, "the moves")
    times = noted()
    assert all(len(found) >= MOVES // 2 for found in times.values()), times
    medians = {
        name: [statistics.median(column) for column in zip(*found, strict=True)]
        for name, found in times.items()
    }
    found = ", ".join(f"{name} {a:.1f} ({b:.1f})" for name, (a, b) in medians.items())
    report(
        f"{surface.name}, {what}: median ms from the event to changed pixels (from when it was "
        f"heard): {found}; {MOVES} moves each"
    )
    quick = {
        name: statistics.quantiles([heard for _, heard in found], n=4)[0]
        for name, found in times.items()
    }
    for name in ("Places", "Blend"):
        assert quick[name] < SLOWER * max(quick["Book"], LEAST), quick


def test_dragging_is_as_fast_as_the_flipbook_s(surface, report):
    mouse = surface.page.mouse

    def drag(widget: Widget, places: list) -> None:
        mouse.move(*places[0])
        mouse.down()
        for place in places[1:]:
            mouse.move(*place)
            surface.page.wait_for_timeout(20)
        mouse.up()

    def over_plane(name: str):
        return lambda turn: drag(
            surface[name], [surface[name].at(2 + i, 3 * turn + 2) for i in range(11)]
        )

    def along_book(turn: int) -> None:
        book = surface["Book"]
        book.slider.scroll_into_view_if_needed()
        box = book.slider.bounding_box()
        x = [box["x"] + 14 + (box["width"] - 28) * (11 * turn + i) / 50 for i in range(11)]
        drag(book, [(at, box["y"] + 16) for at in x])

    turns = {"Places": over_plane("Places"), "Blend": over_plane("Blend"), "Book": along_book}
    race(surface, "dragging", turns, report)
    assert surface["Places"].colour() == [12 * 12, 12 * 11, 90]
    mouse.move(*surface["Places"].at(4, 4))
    assert surface["Places"].colour() == [12 * 12, 12 * 11, 90], "no button is pressed"


def test_keys_are_as_fast_as_the_flipbook_s(surface, report):
    def keys(name: str):
        def press(turn: int) -> None:
            for _ in range(10):
                surface[name].press("ArrowUp" if turn % 2 == 0 else "ArrowDown")
                surface.page.wait_for_timeout(20)

        return press

    for name in ("Places", "Blend", "Book"):
        surface[name].press("Home", *["PageDown"] * 6)
    names = ("Places", "Blend", "Book")
    race(surface, "arrow keys", {name: keys(name) for name in names}, report)


def test_the_picture_under_the_point_is_the_one_asked_for(surface):
    plane = surface["Places"]
    for column, row in [(0, 0), (20, 0), (0, 20), (20, 20), (7, 12), (13, 3)]:
        surface.page.mouse.click(*plane.at(column, row))
        assert plane.colour() == [12 * column, 12 * row, 90]
        texts = [f"{-1 + place / 10:.1f}".replace(".0", "") for place in (column, row)]
        texts = [text.replace("-0", "0") if text == "-0" else text for text in texts]
        assert plane.text() == f"z1 {texts[0]}, z2 {texts[1]}"
        assert plane.find(".marble-note [aria-live]").inner_text() == (
            f"row {row}, column {column}"
        )
        mark, slider = plane.find(".marble-cell").bounding_box(), plane.at(column, row)
        centre = (mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
        assert centre == pytest.approx(slider, abs=1)
    surface.page.mouse.move(*plane.at(10, 10))
    surface.page.mouse.down()
    surface.page.mouse.move(*plane.at(40, -9))
    surface.page.mouse.up()
    assert plane.colour() == [12 * 20, 0, 90], "held at the edge"


def test_a_plane_that_a_page_hides_under_the_pointer_keeps_its_place(surface):
    plane = surface["Places"]
    surface.page.mouse.move(*plane.at(7, 12))
    surface.page.mouse.down()
    plane.root.evaluate("""(root) => {
      root.style.display = "none";
      const move = { clientX: 0, clientY: 0, buttons: 1 };
      root.querySelector("[role=slider]").dispatchEvent(new PointerEvent("pointermove", move));
      root.style.display = "";
    }""")  # where there is no width, a place is 0 / 0
    surface.page.mouse.up()
    reading = plane.find(".marble-value").inner_text()
    assert reading.split() == ["z1", "=", "-0.3", "z2", "=", "0.2"]
    assert plane.colour() == [12 * 7, 12 * 12, 90]
    plane.press("ArrowRight")
    assert plane.text() == "z1 -0.2, z2 0.2"


def test_a_button_let_go_while_the_plane_was_off_the_page_holds_it_no_more(surface):
    plane = surface["Places"]
    far = plane.at(15, 15)
    surface.page.mouse.move(*plane.at(5, 5))
    surface.page.mouse.down()
    root = plane.root.element_handle()
    parent = root.evaluate_handle("(root) => root.parentNode")
    root.evaluate("(root) => root.remove()")
    surface.page.mouse.up()
    parent.evaluate("(parent, root) => parent.append(root)", root)
    surface.page.mouse.move(*far)
    surface.page.wait_for_timeout(50)
    assert plane.colour() == [12 * 5, 12 * 5, 90]


def test_every_place_of_a_row_is_shown_as_it_was_given(surface):
    plane = surface["Places"]
    plane.start()
    plane.press("ArrowUp")
    seen = [plane.colour()]
    for _ in range(N - 1):
        plane.press("ArrowRight")
        seen.append(plane.colour())
    assert seen == [[12 * column, 12, 90] for column in range(N)]


def test_keys(surface):
    plane = surface["Places"]
    plane.start()
    for key, column, row in [
        ("ArrowDown", 0, 0),
        ("ArrowUp", 0, 1),
        ("Shift+ArrowUp", 0, 5),
        ("Shift+ArrowRight", 4, 5),
        ("ArrowLeft", 3, 5),
        ("End", 20, 5),
        ("ArrowRight", 20, 5),
        ("PageUp", 20, 9),
        ("PageDown", 20, 5),
        ("Shift+ArrowLeft", 16, 5),
        ("Home", 0, 5),
    ]:
        plane.press(key)
        assert plane.colour() == [12 * column, 12 * row, 90], key


def test_between_pictures_the_four_around_are_blended(surface):
    plane = surface["Blend"]
    for column, row in [(0, 0), (10, 10), (3.5, 8), (6, 12.5), (9.25, 14.75), (19.9, 0.1)]:
        surface.page.mouse.click(*plane.at(column, row))
        # the pointer stands on whole pixels, 20 or so a place, which is 12 levels
        assert plane.colour() == pytest.approx([12 * column, 12 * row, 90], abs=1.2)
    plane.start()
    plane.press("ArrowRight", "ArrowUp", "ArrowUp")
    assert plane.colour() == [3, 6, 90], "exact, where the place is"
    assert plane.text().endswith("z2 -0.95")
    reading = plane.find(".marble-value").inner_text().split()
    assert reading[:2] == ["z1", "="] and reading[3:] == ["z2", "=", "-0.95"]


def test_a_chosen_pixel_is_outlined_in_backdrop_and_picture(surface):
    plane = surface["Pixels"]
    surface.page.mouse.click(*plane.at(4, 15, down=True))
    assert plane.colour()[0] == 48 and plane.text() == "column 4, row 15"
    for where in ("[role=slider]", ".marble-stage canvas"):
        around = plane.find(where).bounding_box()
        parent = ".marble-pad" if where == "[role=slider]" else ".marble-stage"
        mark = plane.find(f"{parent} .marble-cell").bounding_box()
        shares = [
            (mark[axis] + mark[side] / 2 - around[axis]) / around[side]
            for axis, side in (("x", "width"), ("y", "height"))
        ]
        assert shares == pytest.approx([4.5 / N, 15.5 / N], abs=0.005)
    pad = "(canvas) => [...canvas.getContext('2d').getImageData(9, canvas.height - 9, 1, 1).data]"
    assert plane.find(".marble-pad canvas").evaluate(pad) == [0, 240, 90, 255]


def test_a_class_is_shown_alone(surface):
    plane = surface["Blend"]
    shares = """(canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let [left, right] = [0, 0];
      for (let i = 3; i < data.length; i += 4) {
        if (data[i] < 100) continue;
        if ((i / 4) % canvas.width < canvas.width / 2) left++;
        else right++;
      }
      return [left, right];
    }"""
    left, right = plane.find(".marble-legend button").all()
    pad = plane.find(".marble-pad canvas")
    both = pad.evaluate(shares)
    left.click()
    alone = pad.evaluate(shares)
    assert left.get_attribute("aria-pressed") == "true" and min(both) > 50
    assert alone[0] > 0.7 * both[0] and alone[1] < 0.3 * both[1]
    right.press("Enter")
    assert left.get_attribute("aria-pressed") == "false"
    right.click()
    assert pad.evaluate(shares) == both
    assert "of 200 points lie outside" in plane.find(".marble-legend").inner_text()


def test_what_is_read_and_heard(surface):
    plane = surface["Places"]
    plane.start()
    plane.press("ArrowRight")
    slider = plane.slider
    assert slider.get_attribute("aria-label") == "z1 and z2"
    assert slider.get_attribute("aria-roledescription") == "slider over two axes"
    ends = [slider.get_attribute(f"aria-value{end}") for end in ("min", "max", "now")]
    assert ends == ["0", str(N * N - 1), "1"]
    label = plane.find("canvas[role=img]").get_attribute("aria-label")
    assert label == "The picture at z1 -0.9, z2 -1"
    words = plane.find(".marble-words.across span").all_inner_texts()
    assert [words[0], words[-1]] == ["-1", "1"] and len(words) >= 5
    assert plane.find(".marble-words.up span").all_inner_texts() == words, "alike"


def test_text_reads_on_a_projector_and_focus_is_seen(surface):
    smallest = """(root) => Math.min(...[...root.querySelectorAll("*")]
      .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
      .map((node) => parseFloat(getComputedStyle(node).fontSize)))"""
    for name in ("Places", "Blend", "Pixels"):
        assert surface[name].root.evaluate(smallest) >= 15
    surface["Places"].press("ArrowRight")
    outline = "(node) => getComputedStyle(node).outlineStyle"
    assert surface["Places"].slider.evaluate(outline) == "solid"


def test_python_reads_and_sets_the_value(surface):
    if surface.name != "JupyterLab":
        pytest.skip("a saved page has no kernel")
    plane = surface["Places"]
    plane.start()
    plane.press("End", "Shift+ArrowUp")
    run_until(surface.page, 5, "at [1.0, -0.6] (4, 20)")
    run_cell(surface.page, 6)
    plane.find("[aria-valuetext='z1 -0.3, z2 0.5']").wait_for()
    assert plane.colour() == [12 * 7, 12 * 15, 90]


def test_a_saved_page_asks_for_nothing(browser, saved):
    surface = open_saved_planes(browser, saved)
    for name in ("Places", "Blend", "Pixels"):
        surface[name].press("End", "Shift+ArrowUp", "Home")
    assert surface.requests == [saved.as_uri()]
    assert not surface.page.locator("img").first.is_visible(), "the still gives way"
    inside = surface["Places"].root.bounding_box()
    around = surface.page.locator("iframe").first.bounding_box()
    assert abs(inside["height"] - around["height"]) < 3
    surface.page.close()


def test_a_finger_moves_the_point_on_a_narrow_page(browser, saved):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    surface = open_saved_planes(browser, saved, **phone)
    plane = surface["Places"]
    surface.page.touchscreen.tap(*plane.at(15, 6))
    assert plane.colour() == [12 * 15, 12 * 6, 90]
    pad, picture = (plane.find(at).bounding_box() for at in (".marble-pad", ".marble-stage"))
    assert picture["y"] > pad["y"] + pad["height"], "one above the other"
    assert picture["y"] + picture["height"] - pad["y"] < 844, "both in sight"
    wide = surface.page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= 390
    surface.page.close()


def test_a_saved_page_in_the_dark(browser, saved):
    surface = open_saved_planes(browser, saved, color_scheme="dark")
    surface["Blend"].frame.locator(".marble[data-dark=true]").wait_for()
    colour = "(node) => getComputedStyle(node).backgroundColor"
    assert surface["Blend"].root.evaluate(colour) == "rgb(22, 24, 28)"
    assert surface["Blend"].find(".marble-pad").evaluate(colour) == "rgb(34, 37, 43)"
    surface.page.close()
