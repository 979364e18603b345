"""Notebooks, twins and shown code in step, on a small checkout made for the test."""

import base64
import importlib.util
import io
import os
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


# %%
# NBVAL_CHECK_OUTPUT
print(doubled(2))

# %%
# NBVAL_CHECK_OUTPUT
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
def test_definition_is_the_text_with_its_decorators(tool, checkout, name, first, last):
    lines = tool.definition(f"course_lib/a.py::{name}", checkout).split("\n")
    assert (lines[0], lines[-1]) == (first, last)


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
