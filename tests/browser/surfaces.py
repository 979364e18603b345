"""A scrubber in a browser, wherever it lives, and how to get it there."""

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.sign import NotebookNotary


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

    def reset(self) -> None:
        """Back to the first step, all images, at rest."""
        if self.find(".marble-main").inner_text() == "Pause":
            self.find(".marble-main").click()
        self.press("Escape", "Home")


def open_in_lab(browser, lab: str) -> Surface:
    """The notebook, opened in JupyterLab, and its first cell run."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{lab}/lab/tree/run.ipynb?reset")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
    run_cell(page, 0)
    page.locator(".marble").wait_for(timeout=60_000)
    return Surface("JupyterLab", page, page.main_frame)


def start_cell(page, number: int) -> None:
    """Click into a cell and run it."""
    page.locator(".jp-CodeCell .cm-content").nth(number).click()
    page.keyboard.press("Control+Enter")


def run_cell(page, number: int) -> None:
    """Run a cell, and wait until it has run."""
    prompt = page.locator(".jp-CodeCell").nth(number).locator(".jp-InputPrompt")
    before, end = prompt.inner_text(), time.monotonic() + 90
    while time.monotonic() < end:
        if (
            "*" not in prompt.inner_text()
        ):  # again, where a kernel that has just started did not hear the first
            start_cell(page, number)
        page.wait_for_timeout(1500)
        if re.search(r"\d", prompt.inner_text()) and prompt.inner_text() != before:
            return
    raise AssertionError(f"Cell {number} did not run.")


def keep_lesson(folder: Path, trusted: bool) -> Path:
    """A notebook as the course keeps it: run elsewhere, its widgets forgotten, its html and
    picture kept.
    """
    from test_scrubber import SCHEDULE, run

    from course_lib.widgets import Scrubber
    from course_lib.widgets.export import forget_widgets

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
    page = browser.new_page(viewport={"width": 1280, "height": 800}, **options)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.route(
        "**/*",
        lambda route: (
            route.continue_() if route.request.url == file.as_uri() else route.abort()
        ),
    )
    page.goto(file.as_uri())
    page.frame_locator("iframe").locator(".marble").wait_for(timeout=20_000)
    frame = next(frame for frame in page.frames if frame != page.main_frame)
    return Surface("saved page", page, frame, requests)
