"""Notebooks, twins and shown code in step, on a small checkout made for the test."""

import base64
import importlib.util
import io
import json
import os
import random
from pathlib import Path

import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

LIBRARY = '''
import functools

LIMITS = {"low": -1,
          "high": 1}
low: float = -1.0

@functools.cache
@functools.wraps(print)
def doubled(x):
    """Twice x."""

    return 2 * x


class Scale:
    @property
    def top(self):
        return 10
'''
TWIN = """\
# %% [markdown]
# # A lesson
# on $x_t$

# %%
import functools

# %matplotlib inline

# %% src="course_lib/a.py::doubled"

# %% exercise="one" tags=["exercise"]
def mine(x):
    return ...


# %% tags=["nbval-check-output"]
print(doubled(2))

# %% tags=["nbval-check-output"]
print(doubled(2))
"""


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location(
        "sync_notebooks", ROOT / "tools" / "sync_notebooks.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "course_lib").mkdir()
    (tmp_path / "course_lib" / "a.py").write_text(LIBRARY)
    (tmp_path / "notebooks" / "text").mkdir(parents=True)
    (tmp_path / "notebooks" / "text" / "01_lesson.py").write_text(TWIN)
    return tmp_path


def notebook(root):
    return nbformat.read(root / "notebooks" / "01_lesson.ipynb", as_version=4)


def ran(root):
    """Give every code cell a count and an output, as a session in JupyterLab would."""
    book = notebook(root)
    for number, cell in enumerate(book.cells):
        if cell.cell_type == "code":
            cell.execution_count = 20 + number
            cell.outputs = [nbformat.v4.new_output("stream", text=f"cell {number}\n")]
            cell.metadata["execution"] = {"iopub.execute_input": "2020-01-01T00:00:00"}
    book.metadata["language_info"] = {"name": "python", "version": "3.12.1"}
    nbformat.write(book, root / "notebooks" / "01_lesson.ipynb")


def edit(root, old, new):
    path = root / "notebooks" / "text" / "01_lesson.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("doubled", "@functools.cache", "    return 2 * x"),
        ("LIMITS", 'LIMITS = {"low": -1,', '          "high": 1}'),
        ("low", "low: float = -1.0", "low: float = -1.0"),
        ("Scale", "class Scale:", "        return 10"),
        ("Scale.top", "@property", "    return 10"),
    ],
)
def test_definition_is_the_text_with_its_decorators_below_its_path(
    tool, checkout, name, first, last
):
    reference = f"course_lib/a.py::{name}"
    lines = tool.definition(reference, checkout).split("\n")
    assert (lines[0], lines[1], lines[-1]) == (f"# {reference}", first, last)


@pytest.mark.parametrize(
    "reference",
    ["course_lib/a.py::gone", "course_lib/b.py::doubled", "course_lib/a.py", "::x"],
)
def test_a_wrong_reference_is_named(tool, checkout, reference):
    with pytest.raises(tool.SyncError, match="src="):
        tool.definition(reference, checkout)


def test_sync_makes_the_notebook_and_fills_in_the_code(tool, checkout):
    assert tool.main(["--check"], checkout) == 1
    assert tool.main([], checkout) == 0
    book = notebook(checkout)
    nbformat.validate(book)
    assert book.cells[0].source == "# A lesson\non $x_t$"
    assert book.cells[1].source.endswith("%matplotlib inline")
    assert book.cells[2].source == tool.definition("course_lib/a.py::doubled", checkout)
    assert book.cells[3].metadata == {"exercise": "one", "tags": ["exercise"]}
    assert "return 2 * x" in (checkout / "notebooks" / "text" / "01_lesson.py").read_text()
    assert len({cell.id for cell in book.cells}) == len(book.cells)


def test_sync_twice_changes_nothing(tool, checkout, capsys):
    tool.main([], checkout)
    before = [(path, path.read_bytes()) for path in sorted(checkout.rglob("*.*"))]
    capsys.readouterr()
    assert tool.main([], checkout) == 0
    assert before == [(path, path.read_bytes()) for path in sorted(checkout.rglob("*.*"))]
    assert "wrote" not in capsys.readouterr().out


def test_outputs_stay_where_the_text_stays(tool, checkout):
    tool.main([], checkout)
    ran(checkout)
    assert tool.main(["--check"], checkout) == 1  # timestamps and versions
    edit(checkout, "    return ...", "    return 3")
    edit(checkout, "# %%\nimport functools", "# %%\n\n# %%\nimport functools")
    assert tool.main([], checkout) == 0
    book = notebook(checkout)
    texts = [
        cell.outputs[0].text if cell.outputs else None
        for cell in book.cells
        if cell.cell_type == "code"
    ]
    assert texts == [None, "cell 1\n", "cell 2\n", None, "cell 4\n", "cell 5\n"]
    assert [c.execution_count for c in book.cells if c.cell_type == "code"] == [
        None,
        1,
        2,
        None,
        4,
        5,
    ]
    assert book.metadata.language_info == {"name": "python"}
    assert not any("execution" in cell.metadata for cell in book.cells)


def test_an_edited_cell_keeps_its_neighbours_ids(tool, checkout):
    tool.main([], checkout)
    before = [cell.id for cell in notebook(checkout).cells]
    edit(checkout, "    return ...", "    return 3")
    tool.main([], checkout)
    after = [cell.id for cell in notebook(checkout).cells]
    assert [a == b for a, b in zip(before, after, strict=True)] == [
        True,
        True,
        True,
        False,
        True,
        True,
    ]


def test_check_names_what_drifted_and_the_mend(tool, checkout, capsys):
    tool.main([], checkout)
    ran(checkout)
    tool.main([], checkout)
    assert tool.main(["--check"], checkout) == 0
    (checkout / "course_lib" / "a.py").write_text(LIBRARY.replace("2 * x", "x + x"))
    capsys.readouterr()
    assert tool.main(["--check"], checkout) == 1
    said = capsys.readouterr().out
    assert "01_lesson.py, cell 3, is not the text of course_lib/a.py::doubled" in said
    assert "python3 course.py sync" in said
    tool.main([], checkout)
    capsys.readouterr()
    assert tool.main(["--check"], checkout) == 1  # in step, but that cell was not run since
    assert (
        "cells 3\nMend: python3 course.py sync --execute 01_lesson" in capsys.readouterr().out
    )


def test_check_names_a_cell_that_differs_from_its_twin(tool, checkout, capsys):
    tool.main([], checkout)
    edit(checkout, "on $x_t$", "on $x_0$")
    assert tool.main(["--check"], checkout) == 1
    assert "01_lesson.ipynb, cell 1: its text is not its twin's" in capsys.readouterr().out


def test_a_mark_for_the_tests_belongs_into_the_tags(tool, checkout, capsys):
    edit(checkout, "# %% exercise", "# %%\n# NBVAL_CHECK_OUTPUT\n1 + 1\n\n# %% exercise")
    tool.main([], checkout)
    capsys.readouterr()
    assert tool.main(["--check"], checkout) == 1
    said = capsys.readouterr().out
    assert "cell 4, says '# NBVAL_CHECK_OUTPUT' to its reader" in said
    assert "tags, nbval-check-output" in said


def younger(root):
    """Edit the notebook alone, a while after its twin."""
    book = notebook(root)
    book.cells[0].source = "# Written in JupyterLab"
    path = root / "notebooks" / "01_lesson.ipynb"
    nbformat.write(book, path)
    now = path.stat().st_mtime
    os.utime(root / "notebooks" / "text" / "01_lesson.py", (now - 60, now - 60))


def test_edits_made_in_the_notebook_are_not_overwritten(tool, checkout, capsys):
    tool.main([], checkout)
    younger(checkout)
    assert tool.main([], checkout) == 1
    assert "--from-notebook 01_lesson" in capsys.readouterr().err
    assert tool.main(["--from-notebook"], checkout) == 1  # only by name
    assert tool.main(["--from-notebook", "01"], checkout) == 0
    assert (
        "# # Written in JupyterLab"
        in (checkout / "notebooks" / "text" / "01_lesson.py").read_text()
    )


def test_force_takes_the_twins_text(tool, checkout):
    tool.main([], checkout)
    younger(checkout)
    assert tool.main(["--force"], checkout) == 0
    assert notebook(checkout).cells[0].source == "# A lesson\non $x_t$"


def test_a_notebook_without_a_twin_gets_one(tool, checkout):
    tool.main([], checkout)
    twin = checkout / "notebooks" / "text" / "01_lesson.py"
    text = twin.read_text()
    twin.unlink()
    assert tool.main(["--check"], checkout) == 1
    assert tool.main([], checkout) == 0
    assert twin.read_text().split() == text.split()


def test_saved_outputs_hold_no_view_of_a_dead_widget(tool, checkout):
    tool.main([], checkout)
    book = notebook(checkout)
    view = {tool.WIDGET: {"model_id": "1"}, "text/plain": "bar"}
    book.cells[1].execution_count = 5
    book.cells[1].outputs = [
        nbformat.v4.new_output("display_data", data=view),
        nbformat.v4.new_output(
            "execute_result", data={**view, "image/png": "iVBORw0KGgo="}, execution_count=5
        ),
    ]
    nbformat.write(book, checkout / "notebooks" / "01_lesson.ipynb")
    tool.main([], checkout)
    (output,) = notebook(checkout).cells[1].outputs
    assert set(output.data) == {"text/plain", "image/png"} and output.execution_count == 1


# ---------------------------------------------------------------- no work is lost

PICTURE = {"image/png": "iVBORw0KGgo="}


def lay(root, *cells, name="01_lesson"):
    """A notebook as JupyterLab leaves it: with ids of its own."""
    book = nbformat.v4.new_notebook(cells=list(cells))
    file = root / "notebooks" / f"{name}.ipynb"
    file.write_text(nbformat.writes(book))  # as it is: nbformat.write adds an end of line
    return book


def pasted(name="image.png", text="Look:", picture=PICTURE):
    cell = nbformat.v4.new_markdown_cell(f"{text}\n![{name}](attachment:{name})")
    cell.attachments = {name: picture}
    return cell


def files(root):
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_pasted_picture_stays_with_its_cell(tool, checkout, capsys):
    tool.main([], checkout)
    book = notebook(checkout)
    book.cells[1:1] = [pasted(), pasted("b.png"), pasted(picture={"image/png": "other"})]
    nbformat.write(book, checkout / "notebooks" / "01_lesson.ipynb")
    before = files(checkout)
    assert tool.main([], checkout) == 1  # text of its own
    assert files(checkout) == before
    assert tool.main(["--from-notebook", "01"], checkout) == 0
    edit(checkout, "# Look:\n# ![b.png]", "# See\n# there:\n# ![b.png]")
    edit(checkout, "# # A lesson", "# # The lesson")
    assert tool.main([], checkout) == 0
    kept = [cell.get("attachments") for cell in notebook(checkout).cells[:5]]
    other = {"image.png": {"image/png": "other"}}
    assert kept == [None, {"image.png": PICTURE}, {"b.png": PICTURE}, other, None]
    edit(checkout, "# ![b.png](attachment:b.png)", "# no picture")
    before = files(checkout)
    capsys.readouterr()
    assert tool.main([], checkout) == 1
    assert "shows no more (b.png)" in capsys.readouterr().err and files(checkout) == before
    assert tool.main(["--check"], checkout) == 1
    assert tool.main(["--force"], checkout) == 0
    assert "attachments" not in notebook(checkout).cells[2]
    kept = checkout / "notebooks" / "01_lesson.ipynb.before"
    assert "attachments" in nbformat.read(kept, as_version=4).cells[2]


REFUSED = {
    "a marker": (nbformat.v4.new_code_cell, "x = 1\n# %% part two\ny = 2", "# %% part two"),
    "a marker first": (nbformat.v4.new_code_cell, "# %%\ny = 2", "# %%"),
    "in prose": (nbformat.v4.new_markdown_cell, "Write\n%% two", "%% two"),
    "a sleeping magic": (nbformat.v4.new_markdown_cell, "a\n# %load_ext b", "# %load_ext b"),
    "raw": (nbformat.v4.new_raw_cell, "one\n# !ls", "# !ls"),
    "carriage return": (nbformat.v4.new_code_cell, "x = 'a\rb'", "x = 'a"),
    "line separator": (nbformat.v4.new_code_cell, "x = 'a\u2028b'", "x = 'a"),
    "half a character": (nbformat.v4.new_code_cell, "x = '\ud800'", "surrogates"),
}


@pytest.mark.parametrize(("kind", "text", "said"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("twin", [True, False], ids=["twin", "alone"])
def test_what_a_twin_cannot_hold_is_refused_and_nothing_touched(
    tool, checkout, capsys, kind, text, said, twin
):
    if twin:
        tool.main([], checkout)
    else:
        (checkout / "notebooks" / "text" / "01_lesson.py").unlink()
    book = lay(checkout, nbformat.v4.new_markdown_cell("Words"), kind("x"))
    book.cells[1].source = text
    source = nbformat.writes(book) if "ud800" not in ascii(text) else ascii_json(book)
    (checkout / "notebooks" / "01_lesson.ipynb").write_text(source)
    before = files(checkout)
    for arguments in (["--from-notebook", "01"], []):
        capsys.readouterr()
        assert tool.main(arguments, checkout) == 1
        assert files(checkout) == before
        if arguments or not twin:
            assert said in (line := capsys.readouterr().err.strip()) and "\n" not in line
            assert "nothing was touched" in line


def ascii_json(book):
    """A notebook's file with what isn't ASCII escaped, as other programs write it."""
    return json.dumps(book)


PIECES = [
    *[
        "x = 1",
        "",
        "  ",
        "# %%",
        "# %% part two",
        "#%%",
        "%matplotlib inline",
        "!ls",
        "%%time",
    ],
    *[
        "# a comment",
        "    indented",
        "'" * 3,
        '"""',
        "# ---",
        "---",
        "é 北 🗿",
        "a\tb",
        "end   ",
    ],
    *["# + ", "# -", "# In[1]:", "# %% [markdown]", "## %%", "%% foo", "# # heading", "$$x$$"],
    *[
        "x" * 3000,
        "?print",
        "print?",
        "\\",
        "# ```",
        "```python",
        "<!-- #region -->",
        "#",
        "# ",
    ],
    *[
        "# region",
        "# <codecell>",
        "def f():",
        "# fmt: off",
        "\x0c",
        "a\u2028b",
        "a\rb",
        "\x00",
    ],
    *["# -*- coding: utf-8 -*-", "jupyter:", "# jupyter:", "# %load_ext a", "# !ls", "#!cmd"],
    *["await f()", "%%html", "\ufeff", "![a](attachment:a.png)", "![b](attachment:b.png)"],
]
NOTES = [
    *[{}, {}, {}, {"tags": ["a", "b c"]}, {"slideshow": {"slide_type": "slide"}}, {"k": None}],
    *[
        {"title": "A title"},
        {"a b": 1},
        {"k": 'quote " and \n a line'},
        {"é": "北"},
        {"k": 1.5},
    ],
    *[{"jupyter": {"source_hidden": True}}, {"scrolled": True}, {"raw_mimetype": "text/html"}],
    *[{"title": "a=b"}, {"title": "[markdown]"}, {"active": "py"}, {"cell_marker": "+"}],
    *[{"editable": False, "deletable": False}, {"k": [1, {"c": "]"}]}, {"": 1}, {"name": "n"}],
]


def any_cell(draw):
    """A cell of any kind with whatever a writer may put there."""
    kinds = (nbformat.v4.new_code_cell,) * 2 + (nbformat.v4.new_markdown_cell,) * 2
    make = draw.choice((*kinds, nbformat.v4.new_raw_cell))
    # most pieces do no harm by themselves, so that some notebooks go through
    count = draw.choice((1, 1, 2, 3))
    cell = make("\n".join(draw.choice(PIECES) for _ in range(count)), metadata={})
    cell.metadata.update(draw.choice(NOTES))
    if cell.cell_type != "code":
        names = [name for name in ("a.png", "b.png") if f":{name}" in cell.source]
        if names:
            cell.attachments = {name: {"image/png": str(draw.random())} for name in names}
    return cell


def work(tool, root):
    """All that a writer did in a notebook."""
    book = notebook(root)
    pictures = [cell.get("attachments", {}) for cell in book.cells]
    return list(zip(tool.authored(book), pictures, strict=True))


@pytest.mark.filterwarnings("ignore:The following metadata cannot be exported")
@pytest.mark.parametrize("seed", range(4))
def test_any_notebook_comes_back_from_its_twin_or_is_refused(tool, tmp_path, capsys, seed):
    """Round trip or refusal, always: of the text, the tags and the pictures of 60 notebooks."""
    draw, refused = random.Random(seed), 0
    (tmp_path / "notebooks" / "text").mkdir(parents=True)
    for _ in range(60):
        lay(tmp_path, *[any_cell(draw) for _ in range(draw.randrange(4))])
        before, wrote = files(tmp_path), work(tool, tmp_path)
        capsys.readouterr()
        if tool.main(["--from-notebook", "01", "--force"], tmp_path):
            refused += 1
            assert files(tmp_path) == before
            assert capsys.readouterr().err.count("\n") == 1
            continue
        assert work(tool, tmp_path) == wrote
        after = files(tmp_path)
        assert tool.main([], tmp_path) == 0  # the twin says the same
        assert files(tmp_path) == after
        back = tool.read_twin(tmp_path / "notebooks" / "text" / "01_lesson.py")
        assert tool.authored(back) == [cell for cell, _ in wrote]
        pictures_outlive_a_cell(tool, tmp_path, draw)
    assert 10 < refused < 50


def pictures_outlive_a_cell(tool, root, draw):
    """A cell that goes from the twin takes no picture of its own with it unasked, and never
    another's.
    """
    book = notebook(root)
    if not book.cells:
        return
    wrote, file = work(tool, root), root / "notebooks" / "text" / "01_lesson.py"
    twin, place = tool.read_twin(file), draw.randrange(len(book.cells))
    twin.cells.pop(place)
    file.write_text(tool.twin_text(twin))
    before = files(root)
    if tool.main([], root):
        assert files(root) == before and book.cells[place].get("attachments")
        tool.main(["--force"], root)
        assert (root / "notebooks" / "01_lesson.ipynb.before").exists()
    pictures = [item for n, (_, item) in enumerate(wrote) if n != place and item]
    assert [item for _, item in work(tool, root) if item] == pictures


def test_text_of_the_notebook_outlives_a_later_edit_of_the_twin(tool, checkout, capsys):
    """Whichever file is younger: the ids of the cells tell who wrote what."""
    tool.main([], checkout)
    book = notebook(checkout)
    book.cells[0].source = "# Written in JupyterLab"
    path = checkout / "notebooks" / "01_lesson.ipynb"
    nbformat.write(book, path)
    edit(checkout, "    return ...", "    return 3")
    os.utime(path, (path.stat().st_mtime - 60,) * 2)
    before = files(checkout)
    assert tool.main([], checkout) == 1
    assert "has text or tags that its twin lacks" in capsys.readouterr().err
    assert files(checkout) == before
    twin = checkout / "notebooks" / "text" / "01_lesson.py"
    text = twin.read_text()
    assert tool.main(["--from-notebook", "01"], checkout) == 0
    assert "return 3" not in twin.read_text()
    assert twin.with_name("01_lesson.py.before").read_text() == text  # both had been edited


def test_tags_set_in_the_notebook_are_not_overwritten(tool, checkout):
    tool.main([], checkout)
    book = notebook(checkout)
    book.cells[4].metadata["tags"] = ["slow"]
    path = checkout / "notebooks" / "01_lesson.ipynb"
    nbformat.write(book, path)
    os.utime(path, (path.stat().st_mtime + 60,) * 2)
    assert tool.main([], checkout) == 1
    assert tool.main(["--from-notebook", "01"], checkout) == 0
    assert notebook(checkout).cells[4].metadata == {"tags": ["slow"]}


def test_text_in_a_cell_that_shows_the_library_is_not_dropped(tool, checkout, capsys):
    tool.main([], checkout)
    book = notebook(checkout)
    book.cells[2].source += "\n# my own thoughts"
    nbformat.write(book, checkout / "notebooks" / "01_lesson.ipynb")
    before = files(checkout)
    assert tool.main(["--from-notebook", "01"], checkout) == 1
    assert "cell 3, shows course_lib/a.py::doubled and has text of" in capsys.readouterr().err
    assert files(checkout) == before
    (checkout / "course_lib" / "a.py").write_text(LIBRARY.replace("2 * x", "x + x"))
    book.cells[2].source = "\n".join(book.cells[2].source.split("\n")[:-1])
    nbformat.write(book, checkout / "notebooks" / "01_lesson.ipynb")
    assert tool.main(["--from-notebook", "01"], checkout) == 0  # merely older
    assert "x + x" in notebook(checkout).cells[2].source


def test_a_file_that_is_no_notebook_is_left_alone(tool, checkout, capsys):
    tool.main([], checkout)
    path = checkout / "notebooks" / "01_lesson.ipynb"
    path.write_text("<<<<<<< HEAD\n" + path.read_text())
    before = files(checkout)
    for arguments in ([], ["--check"], ["--from-notebook", "01"]):
        assert tool.main(arguments, checkout) == 1
        assert "no notebook that can be read" in capsys.readouterr().err
    assert files(checkout) == before


def test_what_was_saved_while_a_notebook_ran_stays(tool, checkout, monkeypatch, capsys):
    import nbclient

    tool.main([], checkout)
    path = checkout / "notebooks" / "01_lesson.ipynb"
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(
        nbclient.NotebookClient,
        "execute",
        lambda self: path.write_text(path.read_text() + " "),
    )
    assert tool.main(["--execute"], checkout) == 1
    assert "saved by another program while it ran" in capsys.readouterr().err
    assert path.read_text().endswith(" ")


def test_lessons_for_going_further(tool, checkout, capsys):
    text = checkout / "notebooks" / "text"
    (text / "further").mkdir()
    (text / "further" / "01_more.py").write_text(TWIN.replace("A lesson", "More"))
    assert tool.main([], checkout) == 0
    more = checkout / "notebooks" / "further" / "01_more.ipynb"
    assert nbformat.read(more, as_version=4).cells[0].source.startswith("# More")
    for given, names in (
        ("01", ["01_lesson", "further/01_more"]),
        ("further/01", ["further/01_more"]),
        ("notebooks/further/01_more.ipynb", ["further/01_more"]),
        (str(text / "01_lesson.py"), ["01_lesson"]),
        ("01_m", ["further/01_more"]),
    ):
        assert [pair.name for pair in tool.pairs(checkout, [given])] == names, given
    assert tool.main(["--from-notebook", "further/01"], checkout) == 0
    (text / "further" / "01_more.py").unlink()
    capsys.readouterr()
    tool.main(["--check"], checkout)
    assert "notebooks/further/01_more.ipynb has no twin" in capsys.readouterr().out


def test_an_unknown_name_is_said(tool, checkout, capsys):
    assert tool.main(["07"], checkout) == 1
    assert "01_lesson" in capsys.readouterr().err


@pytest.mark.slow
def test_execute_keeps_outputs_and_leaves_a_failing_notebook_alone(
    tool, checkout, capsys, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))  # execute adds to it
    assert tool.main(["--execute"], checkout) == 0
    assert notebook(checkout).cells[4].outputs[0].text == "4\n"
    assert tool.main(["--check"], checkout) == 0
    edit(checkout, "    return ...", "    return 3\n\n1 / 0")
    assert tool.main(["--execute", "01"], checkout) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert notebook(checkout).cells[4].outputs[0].text == "4\n"


def test_pictures_are_kept_with_a_palette_where_that_is_smaller(tool):
    image = pytest.importorskip("PIL.Image")
    rows = np.uint8(255 * np.random.default_rng(0).random((40, 40, 1)))
    data = {}
    for name, pixels in {
        "grey": np.repeat(rows, 3, axis=2),
        "one": np.full((3, 3, 3), 7, np.uint8),
    }.items():
        image.fromarray(pixels).convert("RGBA").save(file := io.BytesIO(), "PNG")
        data[name] = base64.b64encode(file.getvalue()).decode()
    outputs = [
        nbformat.v4.new_output("display_data", {"image/png": png}) for png in data.values()
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("x", outputs=outputs)]
    )
    grey, one = (
        output.data["image/png"] for output in tool.lighten(notebook).cells[0].outputs
    )
    assert len(grey) < 0.7 * len(data["grey"])
    shown = image.open(io.BytesIO(base64.b64decode(grey)))
    assert shown.mode == "P"
    assert np.array_equal(
        np.asarray(shown.convert("RGB")), np.repeat(rows, 3, axis=2)
    )  # 256 greys fit the palette
    assert len(one) <= len(data["one"])
