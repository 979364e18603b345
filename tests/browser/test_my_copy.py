"""A newcomer's first opening and first day, as `course.py lab` starts them: what moves before
anything is run, where it is saved, and what git says in the evening.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from surfaces import run_cell, until

from tools.my_lessons import fingerprint

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
LESSON, ODD = "00_start_here", "05 copy #2 a%20b?.ipynb"
LOOK = """(canvas) => canvas.getContext("2d").getImageData(0, 0, 40, 40).data.join()"""


def git(folder: Path, *arguments: str) -> str:
    """Run git there, as nobody in particular."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path) -> Path:
    """The first lesson as it is shipped, the launcher's tools, and git."""
    if shutil.which("git") is None:
        pytest.skip("git isn't here")
    for name in (
        f"notebooks/{LESSON}.ipynb",
        f"notebooks/text/{LESSON}.py",
        "tools/__init__.py",
        "tools/lab.py",
        "tools/my_lessons.py",
        "tools/jupyter/labconfig/default_setting_overrides.json",
        ".gitignore",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    with (tmp_path / ".gitignore").open("a") as file:
        file.write("/.home/\n/lab.log\n*.png\n")  # of these tests
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "course")
    return tmp_path


def drag_first(page) -> None:
    """Drag the first slider of what the notebook shows: the picture follows."""
    frame = page.frame_locator(".jp-OutputArea iframe").first
    slider, canvas = frame.locator("[role=slider]").first, frame.locator("canvas").first
    slider.wait_for()
    before, now = canvas.evaluate(LOOK), slider.get_attribute("aria-valuenow")
    # to an end that is far from where it stands, however wide the page is
    left = int(now) > int(slider.get_attribute("aria-valuemax")) / 2
    parts = (0.7, 0.4, 0.2) if left else (0.3, 0.5, 0.8)

    def dragged() -> bool:
        # again, where the page was still finding its height when the pointer came down
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        y = box["y"] + min(16, box["height"] / 2)
        page.mouse.move(box["x"] + box["width"] - 16, y)
        page.mouse.down()
        for part in parts:
            page.mouse.move(box["x"] + 14 + (box["width"] - 28) * part, y)
        page.mouse.up()
        return slider.get_attribute("aria-valuenow") != now

    until(page, dragged, "another frame")
    until(page, lambda: canvas.evaluate(LOOK) != before, "another picture")


def opens_with_a_question(page, url: str) -> bool:
    """Whether JupyterLab, where the reader has set nothing, asks about news."""
    about = f"{url}/lab/api/settings/@jupyterlab/apputils-extension:notification"
    schema = page.request.get(about).json()["schema"]
    return schema["properties"]["fetchNews"]["default"] == "none"


def save(page) -> None:
    """Save the notebook, and wait until it is."""
    # after a drag the keys go to the frame that was dragged in, and JupyterLab hears none
    page.locator(".jp-NotebookPanel .jp-MarkdownCell").first.click()
    with page.expect_response(
        lambda answer: answer.request.method == "PUT" and LESSON in answer.url
    ) as saved:
        page.keyboard.press("Control+s")
    assert saved.value.ok


def test_first_opening_and_a_day_of_work(browser, launched_lab, checkout, tmp_path):
    url, server = launched_lab(checkout, LESSON)
    said = (checkout / "lab.log").read_text()
    assert f"JupyterLab is at {url}/lab/tree/my/{LESSON}.ipynb" in said, said
    assert len(said.strip().splitlines()) <= 4 and "Ctrl+C" in said.splitlines()[-1], said
    page = browser.new_page()
    page.goto(url)  # its own default: the reader's copy
    until(page, lambda: f"my/{LESSON}.ipynb" in page.url, "the reader's copy")
    page.locator(".jp-OutputArea iframe").first.wait_for()
    assert not opens_with_a_question(page, url)
    drag_first(page)  # and nothing has been run
    page.screenshot(path=tmp_path / "first_opening.png")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    shipped, own = (checkout / folder / f"{LESSON}.ipynb" for folder in ("notebooks", "my"))
    save(page)  # as JupyterLab does by itself: nothing of the reader's is in it yet
    assert fingerprint(own) == fingerprint(shipped)
    run_cell(page, 0)
    save(page)
    assert own.read_bytes() != shipped.read_bytes()
    assert git(checkout, "status", "--porcelain") == ""
    page.reload()
    page.locator(".jp-OutputArea iframe").first.wait_for()
    drag_first(page)  # the next day it still moves
    page.close()
    server.terminate()
    server.wait()
    said = (checkout / "lab.log").read_text()
    assert "Traceback" not in said and "WARNING" not in said, said


def test_a_name_with_what_means_else_in_an_address(
    browser, launched_lab, checkout, monkeypatch
):
    source = checkout / "notebooks" / ODD
    shutil.copyfile(checkout / "notebooks" / f"{LESSON}.ipynb", source)
    url, _ = launched_lab(checkout, str(source))
    page = browser.new_page()
    page.goto(url)
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    page.locator(".lm-DockPanel .lm-TabBar-tabLabel", has_text=ODD).first.wait_for()
    page.close()
