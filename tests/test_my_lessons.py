"""The reader's copies of the lessons: made, kept, brought up to date, laid anew and signed."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from tools import lab, my_lessons

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["00_a.ipynb", "04_b.ipynb", "further/04_c.ipynb"]


def book(text: str) -> str:
    """A notebook of one cell, with an output that nobody here has run."""
    output = nbformat.v4.new_output("display_data", {"text/html": f"<b>{text}</b>"})
    cell = nbformat.v4.new_code_cell(text, outputs=[output], id="a")
    return nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))


def git(root: Path, *arguments: str) -> str:
    """Run git there, as nobody in particular."""
    if shutil.which("git") is None:
        pytest.skip("git isn't here")
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), *who, *arguments]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def root(tmp_path):
    """A checkout with three lessons and their texts."""
    for name in NAMES:
        for path, text in (
            (tmp_path / "notebooks" / name, book(name)),
            ((tmp_path / "notebooks/text" / name).with_suffix(".py"), "# text"),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    return tmp_path


def mine(root: Path) -> dict[str, str]:
    """The reader's copies and what is in them."""
    folder = root / "my"
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*.ipynb"))
    }


def course(root: Path) -> dict[str, str]:
    """The course's lessons and what is in them."""
    return {name: (root / "notebooks" / name).read_text() for name in NAMES}


def test_every_lesson_is_copied_once(root):
    assert my_lessons.copy_lessons(root) == []
    assert mine(root) == course(root)
    before = {path: path.stat().st_mtime_ns for path in (root / "my").rglob("*")}
    assert my_lessons.copy_lessons(root) == []
    assert before == {path: path.stat().st_mtime_ns for path in (root / "my").rglob("*")}


def test_what_the_reader_changed_is_kept_and_what_not_is_brought_up_to_date(root):
    my_lessons.copy_lessons(root)
    (root / "my" / NAMES[0]).write_text("my work")
    for name in NAMES[:2]:
        (root / "notebooks" / name).write_text(book("new"))
    for _ in range(2):  # said at each start, until it is taken
        assert my_lessons.copy_lessons(root) == NAMES[:1]
        assert mine(root) == course(root) | {NAMES[0]: "my work"}


def test_what_was_merely_opened_counts_as_untouched_and_what_was_run_does_not(root):
    """JupyterLab saves a page that it has only opened, in its own way."""
    my_lessons.copy_lessons(root)
    opened, run = (root / "my" / name for name in NAMES[:2])
    for path in (opened, run):
        found = json.loads(path.read_text())
        found["metadata"]["language_info"] = {"name": "python", "version": "3.11.7"}
        found["cells"][0]["execution_count"] = 7
        found["cells"][0]["source"] = "".join(found["cells"][0]["source"])
        if path == run:
            found["cells"][0]["outputs"][0]["data"]["text/html"] = "<b>mine</b>"
        path.write_text(json.dumps(found))
    kept = run.read_text()
    for name in NAMES[:2]:
        (root / "notebooks" / name).write_text(book("new"))
    assert my_lessons.copy_lessons(root) == NAMES[1:2]
    assert mine(root) == course(root) | {NAMES[1]: kept}


@pytest.mark.parametrize("record", [None, "", "[]", '{"00_a.ipynb": 3}'])
def test_without_its_record_a_copy_counts_as_changed(root, record):
    my_lessons.copy_lessons(root)
    path = root / "my" / my_lessons.RECORD
    path.unlink() if record is None else path.write_text(record)
    (root / "notebooks" / NAMES[0]).write_text(book("new"))
    old = mine(root)
    assert my_lessons.copy_lessons(root) == NAMES[:1]
    assert mine(root) == old


def test_a_copy_that_was_deleted_comes_again(root):
    my_lessons.copy_lessons(root)
    (root / "my" / NAMES[2]).unlink()
    shutil.rmtree(root / "my" / "further")
    my_lessons.copy_lessons(root)
    assert mine(root) == course(root)


def test_a_copy_that_is_cut_is_not_there(root, monkeypatch):
    """A kill while it is written leaves no half of a notebook under its name."""

    def killed(*ignored):
        raise KeyboardInterrupt

    monkeypatch.setattr(my_lessons.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        my_lessons.copy_lessons(root)
    assert mine(root) == {}
    monkeypatch.undo()
    my_lessons.copy_lessons(root)
    assert mine(root) == course(root)


def test_reset_sets_the_readers_aside(root, capsys):
    my_lessons.copy_lessons(root)
    my_lessons.reset(root, NAMES[:1])
    assert "is as the course has it.\n" in capsys.readouterr().out
    for number, name in ((1, NAMES[0]), (2, NAMES[0]), (3, NAMES[2])):
        (root / "my" / name).write_text(f"work {number}")
        my_lessons.reset(root, [name])
        said = capsys.readouterr().out
        kept = root / said.split("yours is now ")[1].strip().removesuffix(".")
        assert kept.read_text() == f"work {number}" and kept.parents[1].name in (
            "my",
            "before",
        )
    found = mine(root)
    assert {name: found[name] for name in NAMES} == course(root)
    assert sorted(text for text in found.values() if "work" in text) == [
        "work 1",
        "work 2",
        "work 3",
    ]
    (root / "notebooks" / NAMES[0]).write_text(book("newer still"))
    assert my_lessons.copy_lessons(root) == []  # it was the course's: brought up to date
    assert mine(root)[NAMES[0]] == book("newer still")


def test_reset_takes_what_the_course_has_by_now(root):
    my_lessons.copy_lessons(root)
    (root / "my" / NAMES[0]).write_text("work")
    (root / "notebooks" / NAMES[0]).write_text(book("new"))
    my_lessons.reset(root, NAMES)
    assert my_lessons.copy_lessons(root) == [] and mine(root)[NAMES[0]] == book("new")


def test_git_sees_nothing_and_a_pull_collides_with_nothing(root, tmp_path):
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "course")
    reader = tmp_path / "reader"
    git(root, "clone", "-q", str(root), str(reader))
    my_lessons.copy_lessons(reader)
    for name in NAMES[:2]:
        (reader / "my" / name).write_text("a day's work")
    my_lessons.reset(reader, NAMES[1:2])
    assert git(reader, "status", "--porcelain") == ""
    for name in NAMES:
        (root / "notebooks" / name).write_text(book("tomorrow's"))
    git(root, "commit", "-qam", "tomorrow")
    git(reader, "pull", "-q", "--ff-only")
    assert my_lessons.copy_lessons(reader) == NAMES[:1]
    assert mine(reader)[NAMES[0]] == "a day's work" and git(reader, "status", "-s") == ""
    assert mine(reader)[NAMES[2]] == book("tomorrow's")


def test_work_in_the_courses_own_is_never_taken_for_untouched(root):
    """A reader who worked there before there was my/, and who then takes the course's back."""
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "course")
    (root / "notebooks" / NAMES[0]).write_text("a week's work")
    my_lessons.copy_lessons(root)
    git(root, "checkout", "--", "notebooks")
    assert my_lessons.copy_lessons(root) == NAMES[:1]
    assert mine(root) == course(root) | {NAMES[0]: "a week's work"}


# ---------------------------------------------------------------- trust


def test_lessons_that_are_as_they_came_are_signed_and_no_others(root):
    """Changed, added, ignored: what anybody may have laid there is not signed."""
    (root / "notebooks" / "mine.ipynb").write_text(book("mine"))
    names = [
        path.relative_to(root / "notebooks").as_posix() for path in my_lessons.trusted(root)
    ]
    assert names == NAMES  # no git: those whose text stands beside them
    (root / "notebooks" / "mine.ipynb").unlink()
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "course")
    assert len(my_lessons.trusted(root)) == 3
    (root / "notebooks" / NAMES[0]).write_text(book("changed"))
    (root / "notebooks" / "05_new.ipynb").write_text(book("new"))
    (root / "notebooks/text" / "05_new.py").touch()
    with (root / ".git/info/exclude").open("a") as file:
        file.write("06_ignored.ipynb\n")
    (root / "notebooks" / "06_ignored.ipynb").write_text(book("ignored"))
    (root / "notebooks/text" / "06_ignored.py").touch()
    git(root, "add", "notebooks/text")
    names = [
        path.relative_to(root / "notebooks").as_posix() for path in my_lessons.trusted(root)
    ]
    assert names == NAMES[1:]


def test_a_folder_within_another_checkout_is_judged_by_its_texts(root):
    git(root, "init", "-q")
    inner = root / "inner"
    shutil.copytree(root / "notebooks", inner / "notebooks")
    assert my_lessons.changed(inner) is None and len(my_lessons.trusted(inner)) == 3


def test_a_copy_has_its_lessons_signature(root, tmp_path, monkeypatch):
    from nbformat.sign import NotebookNotary

    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    my_lessons.copy_lessons(root)
    (root / "my" / NAMES[1]).write_text(book("altered"))
    my_lessons.sign(root)
    notary = NotebookNotary()
    good = [
        notary.check_signature(nbformat.read(root / "my" / name, as_version=4))
        for name in NAMES
    ]
    assert good == [True, False, True]


# ---------------------------------------------------------------- what `lab` makes of it


@pytest.fixture
def here(root, monkeypatch):
    """`tools/lab.py` in that checkout, signing nothing."""
    monkeypatch.setattr(lab, "ROOT", root)
    monkeypatch.setattr(my_lessons, "sign", lambda root: None)
    return root


def test_a_newer_lesson_is_said_with_the_command_that_takes_it(here, capsys):
    assert lab.prepare([])
    assert capsys.readouterr().out == ""
    for name in (NAMES[0], NAMES[2]):
        (here / "my" / name).write_text("work")
        (here / "notebooks" / name).write_text(book("new"))
    assert lab.prepare([])
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert "reset 00`" in said[0] and "reset further/04`" in said[1]


@pytest.mark.parametrize("way", ["file", "below"])
def test_a_folder_that_cannot_be_made_is_a_sentence(here, capsys, way):
    """Then the course's own can still be opened."""
    if way == "file":
        (here / "my").write_text("mine")
    else:
        (here / "my").mkdir()
        (here / "my" / "further").write_text("mine")
    assert lab.prepare(["--LabApp.default_url=/lab/tree/notebooks/00_a.ipynb"])
    assert not lab.prepare(["--LabApp.default_url=/lab/tree/my/00_a.ipynb"])
    said = capsys.readouterr().err
    assert "can't be written" in said and "Traceback" not in said
    assert way == "below" or (here / "my").read_text() == "mine"


def test_a_database_of_signatures_that_is_damaged_stops_nothing(here, capsys, monkeypatch):
    def damaged(root):
        raise RuntimeError("database disk image is malformed")

    monkeypatch.setattr(my_lessons, "sign", damaged)
    assert lab.prepare([]) and "malformed" in capsys.readouterr().out


def test_links_of_the_lessons_hold_in_the_readers_folder():
    """my/ mirrors notebooks/, and nothing else is linked to but addresses."""
    import re

    for name in my_lessons.lessons(ROOT):
        cells = json.loads((ROOT / "notebooks" / name).read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        links = re.findall(r"\]\(([^)\s#]+)[^)]*\)", text)
        links += re.findall(r"(?:src|href)=[\"']([^\"'#]+)", text)
        for link in links:
            if not re.match(r"(https?|data|attachment):", link):
                path = (ROOT / "notebooks" / name).parent / link
                inside = path.resolve().relative_to((ROOT / "notebooks").resolve())
                assert inside.as_posix() in my_lessons.lessons(ROOT), f"{name}: {link}"


# ---------------------------------------------------------------- the server


def test_two_servers_that_start_at_once_have_each_a_port():
    """Jupyter lets a port go between finding and taking it; ours doesn't."""
    pytest.importorskip("jupyter_server")
    server = lab.server_class()
    one, two = server(port=0, ip="127.0.0.1"), None
    try:
        one._find_http_port()
        two = server(port=one.port, ip="127.0.0.1")
        two._find_http_port()
        assert one.port != two.port
    finally:
        for app in filter(None, (one, two)):
            for held in app.held:
                held.close()


def test_jupyters_own_lines_give_way_to_one():
    server = lab.server_class()
    for ip, where in (("0.0.0.0", "127.0.0.1"), ("localhost", "localhost")):
        app = server(port=8899, ip=ip, default_url="/lab/tree/my/00_a.ipynb")
        app.identity_provider = SimpleNamespace(token="abc", token_generated=True)
        line = app.one_line()
        assert f"is at http://{where}:8899/lab/tree/my/00_a.ipynb?token=abc" in line
        assert ("this one's name" in line) == (where != ip) and "Ctrl+C" in line
    assert lab.is_banner("\n\nTo access the server, open this file in a browser:")
    assert not lab.is_banner("Running as root is not recommended.")


def test_what_cannot_start_is_a_sentence(here, capsys, monkeypatch):
    from jupyterlab.labapp import LabApp

    def refuse(*ignored):
        raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(LabApp, "launch_instance", refuse)
    monkeypatch.setattr(LabApp, "serverapp_class", LabApp.serverapp_class)
    assert lab.main([]) == 1
    assert "JupyterLab can't start" in capsys.readouterr().err
