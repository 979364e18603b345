"""A real browser, a real JupyterLab, and the scrubber in both of its moving surfaces."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from surfaces import HANGS, Surface, open_in_lab, open_saved

from tools import ci
from tools.launcher import handover, jupyter, place

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


def _missing(reason: str):
    """CI must drive the browser; elsewhere a machine without one skips, and says so."""
    if ci.in_ci():
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def report(capsys):
    """Says a measured figure past pytest's capture, so that it stands in the log of a run that
    passes.
    """

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}")

    return say


class Patient:
    """A browser whose pages wait long for what is to come: only what hangs may fail."""

    def __init__(self, browser):
        self.browser = browser

    def new_page(self, **options):
        """A page, at a projector's size unless said otherwise."""
        page = self.browser.new_page(**{"viewport": {"width": 1280, "height": 800}, **options})
        page.set_default_timeout(1000 * HANGS)
        return page

    def close(self) -> None:
        """End the browser."""
        self.browser.close()


@pytest.fixture(scope="session")
def browser() -> Iterator:
    chromium = ci.browser_path()
    if chromium is None:
        _missing(
            "The browser tests need Chromium: install Debian's package chromium, or your "
            "system's."
        )
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("The browser tests need Playwright: pip install -r requirements-test.txt.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield Patient(browser)
        browser.close()


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Path:
    """A folder with a notebook that shows a scrubber, not yet run."""
    folder = tmp_path_factory.mktemp("lab")
    make = MAKE_RUN.format(root=str(ROOT), tests=str(ROOT / "tests"))
    cells = [
        nbformat.v4.new_code_cell(make + "scrubber"),
        nbformat.v4.new_code_cell("print('frame', scrubber.frame)"),
    ]
    cells.append(nbformat.v4.new_code_cell("scrubber.frame, scrubber.picked = 7, 3"))
    wait = "import pathlib, time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.05)"
    cells.append(nbformat.v4.new_code_cell(wait))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}),
        folder / "run.ipynb",
    )
    return folder


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=HANGS).status == 200
    except (urllib.error.URLError, OSError):
        return False


def _launched(root: Path, names: tuple[str, ...] = ()) -> list[str]:
    """JupyterLab's arguments as the launcher gives them, for another folder of notebooks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, "ROOT", root)
        return jupyter.lab_arguments(list(names), root_user=True)


def _environment(home: Path) -> dict[str, str]:
    """What the launcher gives its children, with JupyterLab's own folders elsewhere."""
    ours = handover.child_env()
    kept = {
        key: value for key, value in ours.items() if not key.startswith(("JUPYTER", "JPY"))
    }
    return kept | {
        "OMP_NUM_THREADS": "1",
        "IPYTHONDIR": str(home),
        "JUPYTER_CONFIG_DIR": str(home),
        "JUPYTER_DATA_DIR": str(home),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }


@contextlib.contextmanager
def _serving(folder: Path, start: list[str]) -> Iterator[tuple[str, subprocess.Popen]]:
    """The address and the process of a JupyterLab of our own, with settings of its own, that
    asks nobody for a password; what it says goes to lab.log.
    """
    home = folder / ".home"
    settings = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        # no cell leaves the page when it scrolls out of view: the tests count cells
        "notebook-extension/tracker": {"windowingMode": "none"},
    }
    for name, values in settings.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    port = _free_port()
    command = [sys.executable, *start, "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--IdentityProvider.token="]
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + HANGS
        while not _answers(f"{url}/api/status"):
            if server.poll() is not None or time.monotonic() > end:
                server.kill()
                said = (folder / "lab.log").read_text()[-2000:]
                pytest.fail(f"JupyterLab did not start: {said}")
            time.sleep(0.3)
        yield url, server
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()


@pytest.fixture(scope="session")
def lab(workspace) -> Iterator[str]:
    """The address of a JupyterLab in the folder of notebooks."""
    with _serving(workspace, ["-m", "jupyterlab", *_launched(workspace)]) as (url, _):
        yield url


@pytest.fixture
def launched_lab():
    """`launched_lab(checkout, names)`: JupyterLab as `course.py lab` starts it there."""
    with contextlib.ExitStack() as stack:

        def start(checkout: Path, *names: str) -> tuple[str, subprocess.Popen]:
            program = str(checkout / "tools" / "lab.py")
            arguments = [program, *_launched(checkout, names)]
            return stack.enter_context(_serving(checkout, arguments))

        yield start


@pytest.fixture(scope="session")
def saved_lesson(workspace) -> Path:
    """The same scrubber in a saved lesson: one HTML file."""
    from course_lib.widgets.export import to_html

    scope = {}
    exec(MAKE_RUN.format(root=str(ROOT), tests=str(ROOT / "tests")), scope)
    output = nbformat.v4.new_output("display_data", scope["scrubber"]._repr_mimebundle_()[0])
    cells = [
        nbformat.v4.new_markdown_cell("# A saved lesson"),
        nbformat.v4.new_code_cell("scrubber", outputs=[output]),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), workspace / "saved.ipynb")
    return to_html(workspace / "saved.ipynb", workspace / "saved.html")


@pytest.fixture(scope="module", params=["JupyterLab", "saved page"])
def surface(request, browser) -> Iterator[Surface]:
    """Each moving surface in turn."""
    if request.param == "JupyterLab":
        surface = open_in_lab(browser, request.getfixturevalue("lab"))
    else:
        surface = open_saved(browser, request.getfixturevalue("saved_lesson"))
    yield surface
    surface.page.close()
