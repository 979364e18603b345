"""The phases of `course.py test`, with what they run played by a stand-in."""

import pytest

from tools import ci


@pytest.fixture
def ran(monkeypatch):
    """What each phase would have run; the phases of ruff fail."""
    calls = []
    monkeypatch.setattr(
        ci, "run", lambda command: calls.append(command) or int("ruff" in command)
    )
    monkeypatch.setattr(ci, "browser_path", lambda: "/bin/chromium")
    monkeypatch.setattr(ci, "lessons", lambda: ["notebooks/00_start_here.ipynb"])
    monkeypatch.delenv("CI", raising=False)
    return calls


def test_every_phase_runs_and_the_table_ends_it(ran, capsys):
    assert ci.main(["-x", "-k", "this or that"]) == 1  # a phase that fails stops no other
    assert len(ran) == len(ci.PHASES)
    assert ran[4][-3:] == ["-x", "-k", "this or that"]
    assert ran[5][-1] == "notebooks/00_start_here.ipynb"
    table = capsys.readouterr().out.split("phase ")[1]
    assert table.count("FAILED (1)") == 2 and table.count("  ok") == 4


@pytest.mark.parametrize(
    "given", [["--only", "sync,verify"], ["--only=verify,sync"]], ids=["two words", "one"]
)
def test_some_phases(ran, given):
    assert ci.main(given) == 0
    assert ran == [["-m", "course_lib", "verify"], ["tools/sync_notebooks.py", "--check"]]


@pytest.mark.parametrize("name", ["nothing", "verify,sink", ""])
def test_a_phase_that_is_not_there(ran, capsys, name):
    assert ci.main([f"--only={name}"]) == 1
    assert "--only takes some of verify, ruff" in capsys.readouterr().err and not ran


def test_no_notebook_yet_is_no_failure(ran, capsys, monkeypatch):
    monkeypatch.setattr(ci, "lessons", lambda: [])
    assert ci.main(["--only", "notebooks"]) == 0
    assert "no notebooks yet" in capsys.readouterr().out and not ran


def test_browser_tests_are_left_out_without_a_browser_but_never_in_ci(
    ran, capsys, monkeypatch
):
    monkeypatch.setattr(ci, "browser_path", lambda: None)
    assert ci.main(["--only", "pytest"]) == 0
    assert "apt install chromium" in capsys.readouterr().out
    assert ran == [["-m", "pytest", "--durations=5", "-m", "not browser"]]
    monkeypatch.setenv("CI", "true")
    assert ci.main([]) == 1 and len(ran) == 1
    assert "CI needs Chromium" in capsys.readouterr().err
    assert ci.main(["--only", "verify"]) == 0  # which drives none


def test_the_first_browser_that_is_here_is_driven(monkeypatch):
    here = {"google-chrome": "/opt/c", "chromium-browser": "/snap/c"}
    monkeypatch.setattr(ci.shutil, "which", here.get)
    assert ci.browser_path() == "/snap/c"


def test_both_folders_of_lessons(tmp_path):
    for name in ("04_b.ipynb", "00_a.ipynb", "further/04_c.ipynb", "text/00_a.py"):
        path = tmp_path / "notebooks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    names = [name.removeprefix("notebooks/") for name in ci.lessons(tmp_path)]
    assert names == ["00_a.ipynb", "04_b.ipynb", "further/04_c.ipynb"]


def test_no_cell_fails_for_a_slow_machine():
    """The longest cell takes under a minute on two idle cores."""
    assert ci.CELL_SECONDS >= 900 and ci.KERNEL_SECONDS >= 300
