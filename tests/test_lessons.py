"""What a lesson's main path may ask of a reader: words, cells, exercises, columns."""

import re
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
TEXTS = ROOT / "notebooks" / "text"
NAMES = [
    path.relative_to(TEXTS).with_suffix("").as_posix()
    for path in sorted(TEXTS.rglob("[0-9]*.py"))
]
SHORT = (
    "01_sampling_problem",
    "02_vae",
    "04_diffusion",
    "05_noise_predictor",
    "07_text_encoder",
    "09_stable_diffusion",
)
# nothing goes beyond them
ALONE = ("03_flow", "06_gan", "08_decoder", "10_showdown")
FURTHER = (
    "further/01_masks_tails_agreement",
    "further/02_gradients_weights_holes",
    "further/04_variances_and_orders",
    "further/05_bound_guidance_targets",
    "further/07_floor_of_the_distance",
    "further/09_a_part_redrawn",
)


def cells(name: str, kind: str) -> list:
    """The cells of one kind of a lesson's twin."""
    notebook = jupytext.read(TEXTS / f"{name}.py", fmt="py:percent")
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def words(text: str) -> int:
    """The words of prose, without formulas, tables and tags."""
    text = re.sub(r"\$\$.*?\$\$", " ", text, flags=re.DOTALL)
    text = re.sub(r"\$[^$\n]*\$|<[^>]+>", " x ", text)
    lines = [line for line in text.split("\n") if not line.lstrip().startswith("|")]
    return len(re.findall(r"\w[\w'’.,/-]*", "\n".join(lines)))


def exercises(code: list) -> int:
    """The graders that are asked, by themselves or of a module, whatever it is called."""
    asked = (re.findall(r"^(?:\w+\.)?[A-Z][A-Z_]+\(", cell.source, re.M) for cell in code)
    return sum(map(len, asked))


def seen_lines(cell) -> list[str]:
    """The lines of code that a reader sees of a cell: none where it is folded, or is the
    library's own text; imports apart.
    """
    if "src" in cell.metadata or cell.metadata.get("jupyter", {}).get("source_hidden"):
        return []
    lines = [line for line in cell.source.split("\n") if line.strip()]
    return [line for line in lines if not line.startswith(("import ", "from "))]


@pytest.mark.parametrize("name", (*SHORT, *ALONE))
def test_a_main_path_is_short(name):
    code = cells(name, "code")
    assert sum(words(cell.source) for cell in cells(name, "markdown")) <= 3500
    assert len(code) <= 40
    assert exercises(code) in (4, 5), "exercises, a quiz among them"


@pytest.mark.parametrize("name", NAMES)
def test_code_fits_a_narrow_window(name):
    for cell in cells(name, "code"):
        assert max(map(len, cell.source.split("\n"))) <= 95, cell.source


@pytest.mark.parametrize("name", (*SHORT, *ALONE, *FURTHER))
def test_a_lesson_gives_the_fields_terms(name):
    text = "\n".join(cell.source for cell in cells(name, "markdown"))
    assert "| here | the field's term | 中文 |" in text
    assert not re.search(r"\bstrokes?\b|\bwish\b", text, re.I), "private words"


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_holds_one_idea(name):
    for cell in cells(name, "code"):
        lines = seen_lines(cell)
        assert len(lines) <= 15, "split it, or fold what only draws:\n" + cell.source


def test_the_map_in_the_readme_is_true():
    """Its words, code cells and exercises; words may have moved a little since."""
    rows = re.findall(
        r"^\| (?:\[)?((?:further/)?\d\d)[^|]*\| ([\d,]+) \| (\d+) \| (\d) \| \d+ \|$",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.M,
    )
    assert sorted(row[0] for row in rows) == sorted(name.split("_")[0] for name in NAMES)
    for start, said, code, asked in rows:
        name = next(name for name in NAMES if name.split("_")[0] == start)
        own, markdown = cells(name, "code"), cells(name, "markdown")
        assert (int(code), int(asked)) == (len(own), exercises(own)), start
        count = sum(words(cell.source) for cell in markdown)
        assert abs(int(said.replace(",", "")) - count) <= 0.03 * count, (start, count)


@pytest.mark.parametrize(("name", "further"), list(zip(SHORT, FURTHER, strict=True)))
def test_the_main_path_and_what_goes_beyond_lead_to_each_other(name, further):
    text = "\n".join(cell.source for cell in cells(name, "markdown"))
    assert f"({further}.ipynb)" in text
    text = "\n".join(cell.source for cell in cells(further, "markdown"))
    assert f"(../{name}.ipynb)" in text


@pytest.mark.parametrize("name", NAMES)
def test_a_title_begins_with_its_number_and_a_dot(name):
    first = cells(name, "markdown")[0].source.split("\n")[0]
    further, number = "Further " * ("further/" in name), name.rpartition("/")[2][:2]
    assert first.startswith(f"# {further}{number}. ") or number == "00"


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_sees_no_mark_that_is_for_the_tests(name):
    text = (TEXTS / f"{name}.py").read_text(encoding="utf-8")
    book = nbformat.read(TEXTS.parent / f"{name}.ipynb", as_version=4)
    for said in (text, *(cell.source for cell in book.cells)):
        assert "NBVAL" not in said and "PYTEST_VALIDATE" not in said


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_printed_as_0e00(name):
    for cell in cells(name, "code"):
        assert not re.search(r":[^{}\s]*\.\d+e\}", cell.source), "a .1g says 0 where it is 0"
    book = nbformat.read(TEXTS.parent / f"{name}.ipynb", as_version=4)
    for output in (out for cell in book.cells for out in cell.get("outputs", [])):
        told = output.get("text", "") + output.get("data", {}).get("text/plain", "")
        assert not re.search(r"\b0(\.0+)?e[+-]\d", told)


def test_no_grader_prints_a_0_as_0e00():
    for path in (ROOT / "course_lib").rglob("*.py"):
        shown = re.findall(r"\{[^{}\n]*:[^{}\s]*\.\d+e\}", path.read_text(encoding="utf-8"))
        assert path.name == "emoji_superres.py" or not shown  # a card's number, rounded


@pytest.mark.parametrize("name", NAMES)
def test_no_cell_is_empty(name):
    assert all(
        cell.source.strip() for kind in ("code", "markdown") for cell in cells(name, kind)
    )
