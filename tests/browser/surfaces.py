"""A scrubber in a browser, wherever it lives, and how to get it there."""

import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.sign import NotebookNotary

# of a widget's own time for a move to the yardstick's; see stop_stopwatch
RATIO = 20
HANGS = 300  # seconds: what takes longer hangs, on the slowest and busiest machine


def until(page, true: Callable[[], bool], what: str | Callable[[], str]) -> None:
    """Wait until something is true; AssertionError where it never comes to be, which says
    what was waited for.
    """
    end = time.monotonic() + HANGS
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"{what() if callable(what) else what} never came to be")
        page.wait_for_timeout(20)


@dataclass
class Surface:
    """Where a scrubber lives: the page, the frame of it that the scrubber is in, and what the
    page asked for.
    """

    name: str
    page: object
    frame: object
    requests: list[str] = field(default_factory=list)

    def find(self, selector: str):
        return self.frame.locator(selector)

    @property
    def slider(self):
        return self.find("[role=slider]")

    def now(self) -> int:
        return int(self.slider.get_attribute("aria-valuenow"))

    def press(self, *keys: str) -> None:
        self.slider.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def arrive(self, place: int) -> None:
        """Wait until the slider is at a place."""
        self.find(f"[role=slider][aria-valuenow='{place}']").wait_for()

    def reset(self) -> None:
        """Back to the first step, all images, at rest."""
        if self.find(".marble-main").inner_text() == "Pause":
            self.find(".marble-main").click()
        self.press("Escape", "Home")


def open_in_lab(browser, lab: str) -> Surface:
    """The notebook, opened in JupyterLab, and its first cell run."""
    page = browser.new_page()
    page.goto(f"{lab}/lab/tree/run.ipynb?reset")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    run_cell(page, 0)
    page.locator(".marble").wait_for()
    return Surface("JupyterLab", page, page.main_frame)


def start_cell(page, number: int) -> None:
    """Click into a cell and run it."""
    cell = page.locator(".jp-CodeCell").nth(number)
    # JupyterLab makes a cell's editor once the cell comes into view: the n-th editor of a page
    # may belong to a later cell than the n-th
    cell.scroll_into_view_if_needed()
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")


def run_cell(page, number: int) -> None:
    """Run a cell, and wait until it has run."""
    prompt = page.locator(".jp-CodeCell").nth(number).locator(".jp-InputPrompt")
    before, asked = prompt.inner_text(), 0.0

    def has_run() -> bool:
        nonlocal asked
        now = prompt.inner_text()
        # again, where a kernel that has just started did not hear the first
        if now == before and time.monotonic() > asked:
            start_cell(page, number)
            asked = time.monotonic() + 20
        return now != before and re.search(r"\d", now) is not None

    until(page, has_run, f"the run of cell {number}")


def run_until(page, number: int, text: str) -> None:
    """Run a cell until it prints this: what a widget tells its kernel takes a while."""
    output = page.locator(".jp-CodeCell").nth(number).locator(".jp-OutputArea")

    def printed() -> bool:
        run_cell(page, number)
        page.wait_for_timeout(100)
        return output.inner_text().strip() == text

    until(page, printed, text)


def keep_lesson(folder: Path, trusted: bool) -> Path:
    """A notebook as the course keeps it: run elsewhere, its widgets forgotten, its html and
    picture kept.
    """
    from test_scrubber import SCHEDULE, run

    from course_lib.widgets import Scrubber
    from course_lib.widgets.saved import forget_widgets

    bundle, _ = Scrubber(run(8, B=16), SCHEDULE)._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", bundle)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cell = nbformat.v4.new_code_cell(f"# trusted: {trusted}", outputs=[output])
    notebook = forget_widgets(
        nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    )
    file = folder / f"kept_{trusted}.ipynb".lower()
    nbformat.write(notebook, file)
    if trusted:
        NotebookNotary(data_dir=str(folder / ".home")).sign(nbformat.read(file, 4))
    return file


def open_saved(browser, file: Path, **options) -> Surface:
    """The saved lesson, from disk, in a browser that may fetch nothing."""
    page = browser.new_page(**options)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.route(
        "**/*",
        lambda route: (
            route.continue_() if route.request.url == file.as_uri() else route.abort()
        ),
    )
    page.goto(file.as_uri())
    page.frame_locator("iframe").locator(".marble").wait_for()
    frame = next(frame for frame in page.frames if frame != page.main_frame)
    return Surface("saved page", page, frame, requests)


# In the page: for each input event, how long the widget's own listeners took until `look`
# saw another picture. Our listener hears the event first, and looks again as soon as all
# others have been heard; what had not changed by then is not counted.
STOPWATCH = """
() => {
  const look = LOOK;
  let before = look();
  window.marbleTimes = [];
  window.marbleLooks = 0;
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = ({ data: [timeStamp, heard] }) => {
    const after = look();
    window.marbleLooks++;
    if (after === before) return;
    before = after;
    const now = performance.now();
    window.marbleTimes.push([now - timeStamp, now - heard]);
  };
  for (const kind of ["pointermove", "keydown"]) {
    window.addEventListener(kind, (event) => port2.postMessage([event.timeStamp, performance.now()]), true);
  }
}
"""
# The yardstick, in the same page and minute: to go once over a million bytes.
PLAIN = """
() => {
  const bytes = new Uint8Array(1e6).fill(7);
  return Array.from({ length: 15 }, () => {
    const start = performance.now();
    let sum = 0;
    for (let i = 0; i < bytes.length; i++) sum = (sum * 31 + bytes[i]) | 0;
    bytes[0] = sum;
    return performance.now() - start;
  });
}
"""


def start_stopwatch(surface: Surface, look: str) -> None:
    """Begin to time moves; look is a function, in the page's language, of what is shown."""
    if not surface.frame.evaluate("() => 'marbleTimes' in window"):
        surface.frame.evaluate(STOPWATCH.replace("LOOK", look))
    surface.frame.evaluate("() => { window.marbleTimes.length = 0 }")


def timed_move(surface: Surface, move: Callable[[], None]) -> None:
    """Make a move, and wait until the stopwatch has looked: a busy page would hear two moves
    before it looks once.
    """
    looks = "() => window.marbleLooks"
    before = surface.frame.evaluate(looks)
    move()
    until(surface.page, lambda: surface.frame.evaluate(looks) > before, "a look")


def stop_stopwatch(surface: Surface, moves: int, what: str, report) -> None:
    """Every move has changed the picture before anything else was done, in no more than some
    times the yardstick: a ratio, for no machine is promised milliseconds.
    """
    times = surface.frame.evaluate("() => window.marbleTimes")
    assert len(times) >= moves, f"only {len(times)} of {moves} moves changed pixels at once"
    plain = statistics.median(surface.frame.evaluate(PLAIN))
    changed, own = (statistics.median(column) for column in zip(*times, strict=True))
    report(
        f"{surface.name}, {what}: {len(times)} moves, median {changed:.1f} ms to changed "
        f"pixels, {own:.1f} of them in the widget; {plain:.1f} ms the yardstick"
    )
    assert own < RATIO * plain
