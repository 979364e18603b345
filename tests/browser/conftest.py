"""A real browser, a real JupyterLab, and the scrubber in both of its moving surfaces."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM_FLAGS = [
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# The run that both surfaces show: 51 steps of 64 images, and a second one to set beside it.
MAKE_RUN = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
from test_scrubber import SCHEDULE, run
from course_lib.widgets import Scrubber

scrubber = Scrubber(run(calls=50), SCHEDULE, title="Discs, 50 calls", titles=[f"disc {{i}}" for i in range(64)])
"""


@dataclass
class Surface:
    """Where a scrubber lives: the page, the frame of it that the scrubber is in, and what the page asked for."""

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


def _missing(reason: str):
    """CI must drive the browser; elsewhere a machine without one skips, and says so."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        _missing("The browser tests need Chromium: install Debian's package chromium, or your system's.")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("The browser tests need Playwright: pip install -r requirements-test.txt.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Path:
    """A folder with a notebook that shows a scrubber, not yet run."""
    folder = tmp_path_factory.mktemp("lab")
    make = MAKE_RUN.format(root=str(ROOT), tests=str(ROOT / "tests"))
    cells = [nbformat.v4.new_code_cell(make + "scrubber"), nbformat.v4.new_code_cell("print('frame', scrubber.frame)")]
    cells.append(nbformat.v4.new_code_cell("scrubber.frame, scrubber.picked = 7, 3"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "run.ipynb")
    return folder


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=2).status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="session")
def lab(workspace) -> Iterator[str]:
    """The address of a JupyterLab of our own, with settings of its own, that asks nobody for a password."""
    home = workspace / ".home"
    settings = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "JPY"))}
    environment |= {"JUPYTER_CONFIG_DIR": str(home), "JUPYTER_DATA_DIR": str(home), "OMP_NUM_THREADS": "1"}
    environment |= {"JUPYTER_RUNTIME_DIR": str(home / "runtime"), "JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}
    environment |= {"IPYTHONDIR": str(home), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces")}
    port = _free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={workspace}", "--LabApp.news_url="]
    log = (workspace / "lab.log").open("w")
    server = subprocess.Popen(command, cwd=workspace, env=environment, stdout=log, stderr=subprocess.STDOUT)
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + 60
    while not _answers(f"{url}/api/status"):
        if server.poll() is not None or time.monotonic() > end:
            server.kill()
            pytest.fail(f"JupyterLab did not start: {(workspace / 'lab.log').read_text()[-2000:]}")
        time.sleep(0.3)
    yield url
    server.terminate()
    try:
        server.wait(15)
    except subprocess.TimeoutExpired:
        server.kill()
    log.close()


def open_in_lab(browser, lab: str) -> Surface:
    """The notebook, opened in JupyterLab, and its first cell run."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{lab}/lab/tree/run.ipynb?reset")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
    run_cell(page, 0)
    page.locator(".marble").wait_for(timeout=60_000)
    return Surface("JupyterLab", page, page.main_frame)


def run_cell(page, number: int) -> None:
    """Run a cell and wait for the kernel's word that it has; a kernel that has just started may not hear the first."""
    from playwright.sync_api import Error

    cell = page.locator(".jp-CodeCell").nth(number)
    prompt = cell.locator(".jp-InputPrompt")
    before = prompt.inner_text()
    for patience in (5_000, 5_000, 60_000):
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        try:
            prompt.and_(page.get_by_text(re.compile(r"\[\d+\]:"))).filter(has_not_text=before).wait_for(timeout=patience)
            return
        except Error:
            if "*" in prompt.inner_text():
                prompt.and_(page.get_by_text(re.compile(r"\[\d+\]:"))).wait_for(timeout=60_000)
                return
    raise AssertionError(f"cell {number} did not run")


@pytest.fixture(scope="session")
def saved_lesson(workspace) -> Path:
    """The same scrubber in a saved lesson: one HTML file."""
    from course_lib.widgets.export import to_html

    scope = {}
    exec(MAKE_RUN.format(root=str(ROOT), tests=str(ROOT / "tests")), scope)
    output = nbformat.v4.new_output("display_data", scope["scrubber"]._repr_mimebundle_()[0])
    cells = [nbformat.v4.new_markdown_cell("# A saved lesson"), nbformat.v4.new_code_cell("scrubber", outputs=[output])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), workspace / "saved.ipynb")
    return to_html(workspace / "saved.ipynb", workspace / "saved.html")


def open_saved(browser, file: Path, **options) -> Surface:
    """The saved lesson, from disk, in a browser that may fetch nothing."""
    page = browser.new_page(viewport={"width": 1280, "height": 800}, **options)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.route("**/*", lambda route: route.continue_() if route.request.url == file.as_uri() else route.abort())
    page.goto(file.as_uri())
    page.frame_locator("iframe").locator(".marble").wait_for(timeout=20_000)
    frame = next(frame for frame in page.frames if frame != page.main_frame)
    return Surface("saved page", page, frame, requests)


@pytest.fixture(scope="module", params=["JupyterLab", "saved page"])
def surface(request, browser) -> Iterator[Surface]:
    """Each moving surface in turn."""
    if request.param == "JupyterLab":
        surface = open_in_lab(browser, request.getfixturevalue("lab"))
    else:
        surface = open_saved(browser, request.getfixturevalue("saved_lesson"))
    yield surface
    surface.page.close()
