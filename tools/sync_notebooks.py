"""Keep each notebook, its text twin and the library code that it shows in step: `python3
course.py sync`.

Text is edited in notebooks/text/NN_name.py, the twin in the percent format;
notebooks/NN_name.ipynb follows it and keeps the outputs of every cell whose text did not
change, and the pictures pasted into it. (notebooks/further/ has its twins in
notebooks/text/further/.) A cell that shows a piece of the library says which:
    # %% src="course_lib/diffusion/samplers.py::sample_ddim"
(a function, a class, Class.method or a module's constant), and sync fills in that definition's
text. A notebook's cell ids, counts and metadata are made from its text alone, so that it
changes only where its text does.

No work is lost: what a twin can't hold to the letter is refused, with nothing touched; so is a
notebook with text of its own, until one says which of the two counts; and where both had text
of their own, what gives way is kept beside it as NAME.before.
"""

import argparse
import ast
import base64
import hashlib
import io
import json
import os
import re
import shutil
import sys
import textwrap
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import jupytext
import jupytext.header
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
MEND = "python3 course.py sync"
LARGE = 4_000_000  # bytes: above it a notebook is slow to open and heavy in each clone
CELL_SECONDS = 1800  # a cell that runs longer is given up: it hangs, on the slowest laptop
FOLDERS = ("", "further/")  # of notebooks, and of twins in notebooks/text
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    # without the version of Python that happened to run it
    "language_info": {"name": "python"},
}
# jupytext's notes on blank lines in the twin
LAYOUT = ("lines_to_next_cell", "lines_to_end_of_cell_marker")
# what an editor notes of a run or of its window: jupytext leaves it out, and so do we
PASSING = ("autoscroll", "collapsed", "scrolled", "trusted", "execution", "ExecuteTime")
# nbval's marks: a reader sees these comments, and never the tags that say the same
MARKER = re.compile(r"\s*#\s*(NBVAL_\w+|PYTEST_VALIDATE_\w+)\s*$")
# names a model that lives only in the kernel that made it
WIDGET = "application/vnd.jupyter.widget-view+json"


class SyncError(Exception):
    """Something that only an author can decide or mend, in a sentence."""


@dataclass(frozen=True)
class Pair:
    """A notebook and its text twin, by their name without its ending: "04_diffusion", or
    "further/04_more".
    """

    root: Path
    name: str

    @property
    def notebook(self) -> Path:
        """The notebook's file."""
        return self.root / "notebooks" / f"{self.name}.ipynb"

    @property
    def twin(self) -> Path:
        """The twin's file."""
        return self.root / "notebooks" / "text" / f"{self.name}.py"


def pairs(root: Path, given: list[str] | None = None) -> list[Pair]:
    """All notebooks and twins under root, or those whose name starts with one of those given;
    SyncError if one has none.
    """
    folder, names = root / "notebooks", []
    for inner in FOLDERS:
        found = [*folder.glob(f"{inner}*.ipynb"), *folder.glob(f"text/{inner}*.py")]
        names += [inner + stem for stem in sorted({path.stem for path in found})]
    for start in given or []:
        if not any(begins(name, start) for name in names):
            raise SyncError(
                f"There is no notebook {start}; there are: {', '.join(names) or 'none'}."
            )
    return [
        Pair(root, name)
        for name in names
        if not given or any(begins(name, start) for start in given)
    ]


def begins(name: str, given: str) -> bool:
    """Whether a pair's name begins as given: "04", "further/04", or a path to either file."""
    given = given.replace(os.sep, "/").rpartition("notebooks/")[2].removeprefix("text/")
    for ending in (".ipynb", ".py"):
        given = given.removesuffix(ending)
    return (name if "/" in given else name.rpartition("/")[2]).startswith(given)


# ---------------------------------------------------------------- the library's text


def definition(reference: str, root: Path) -> str:
    """The text of "path::name", below a line that says so: a function, class, Class.method or
    constant, with its decorators, dedented.
    """
    file, _, name = reference.partition("::")
    path = root / file
    if not name or not path.is_file():
        raise SyncError(
            f'src="{reference}" names no file and definition; write '
            'src="course_lib/file.py::name".'
        )
    text = path.read_text(encoding="utf-8")
    node: ast.AST = ast.parse(text, str(path))
    for part in name.split("."):
        found = [child for child in getattr(node, "body", []) if part in defined_names(child)]
        if not found:
            raise SyncError(
                f'src="{reference}": {file} has no {name} any more; name what it is called '
                "now."
            )
        node = found[-1]  # of several, such as overloads, the last one counts
    first = min(
        [node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))]
    )
    lines = textwrap.dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))
    return f"# {reference}\n{lines}"


def defined_names(node: ast.AST) -> list[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )
    return [
        name.id
        for target in targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    ]


# ---------------------------------------------------------------- twins and notebooks


def read_twin(path: Path) -> NotebookNode:
    """The twin as a notebook without outputs."""
    return jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")


def read_notebook(pair: Pair) -> NotebookNode:
    """The pair's notebook as it is on the disk; SyncError where it is none."""
    try:
        return nbformat.read(pair.notebook, as_version=4)
    except Exception as error:  # JSON that is no notebook fails in many ways
        raise SyncError(
            f"notebooks/{pair.name}.ipynb is no notebook that can be read, and is left as it "
            f"was: {(str(error).splitlines() or [type(error).__name__])[0]}"
        ) from None


def faithful_text(notebook: NotebookNode, name: str) -> str:
    """`twin_text`, if it reads back to the letter; SyncError names the cell that doesn't.

    Not all does: a line `# %%` begins a new cell, and a magic that was commented out comes
    back to life in a text cell.
    """
    try:
        text = twin_text(notebook)
        text.encode("utf-8")
        back = authored(jupytext.reads(io.StringIO(text, newline=None).read(), "py:percent"))
    except Exception as error:  # metadata that it knows otherwise, half a character
        raise SyncError(
            f"notebooks/{name}.ipynb can't be written as text, and nothing was touched: "
            f"{error}"
        ) from None
    for place, (cell, other) in enumerate(zip_longest(authored(notebook), back), 1):
        if cell != other:
            raise SyncError(refusal(f"notebooks/{name}.ipynb, cell {place},", cell, other))
    return text


def refusal(where: str, cell: tuple | None, other: tuple | None) -> str:
    """Why a cell can't go into a twin, in a sentence that names the line and the mend."""
    if cell and other and cell[:2] == other[:2]:
        what = f"has metadata that a twin can't hold ({cell[2]}). Take it out"
    else:
        mine = cell[1].split("\n") if cell else []
        theirs = other[1].split("\n") if other else []
        lines = zip_longest(mine, theirs)
        line = next(
            (a for a, b in lines if a is not None and a != b), mine[-1] if mine else ""
        )
        what = (
            f"would not come back from its twin as it is. Write this line otherwise: {line!r}"
        )
    return f"{where} {what}; nothing was touched."


def authored(notebook: NotebookNode) -> list[tuple[str, str, dict]]:
    """What an author writes: each cell's kind, text and metadata."""
    return [
        (
            cell.cell_type,
            cell.source,
            {k: v for k, v in cell.metadata.items() if k not in LAYOUT + PASSING},
        )
        for cell in notebook.cells
    ]


def twin_text(notebook: NotebookNode) -> str:
    """A notebook's cells in the percent format, without a header: its metadata is the same for
    every notebook.
    """
    cells = [
        nbformat.v4.new_markdown_cell(cell.source, metadata=cell.metadata)
        for cell in notebook.cells
    ]
    for cell, original in zip(cells, notebook.cells, strict=True):
        cell.cell_type = original.cell_type
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    bare = nbformat.v4.new_notebook(cells=cells)
    before = jupytext.header.INSERT_AND_CHECK_VERSION_NUMBER
    jupytext.header.INSERT_AND_CHECK_VERSION_NUMBER = False
    try:
        return jupytext.writes(bare, fmt="py:percent")
    finally:
        jupytext.header.INSERT_AND_CHECK_VERSION_NUMBER = before


def shown_cells(notebook: NotebookNode, root: Path) -> Iterator[tuple[NotebookNode, str]]:
    """Each cell that shows a piece of the library, with the text that it should have."""
    for cell in shown_in(notebook):
        yield cell, definition(cell.metadata["src"], root)


def shown_in(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that show a piece of the library."""
    return [cell for cell in notebook.cells if "src" in cell.metadata]


def marks(name: str, notebook: NotebookNode) -> list[str]:
    """The ids of a notebook's cells, made from their text: an edited cell keeps its old one,
    which tells that it was edited.
    """
    seen, ids = defaultdict(int), []
    for key in inputs(notebook):
        seen[key] += 1
        text = "\0".join([name, *key, str(seen[key])])
        # half a character, which no file can hold, is refused when it is written
        ids.append(hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12])
    return ids


def build(pair: Pair, twin: NotebookNode, present: NotebookNode | None) -> NotebookNode:
    """The notebook that belongs to a twin; outputs and pasted pictures come from the present
    notebook where the cell's text is the same.
    """
    before: dict[tuple[str, str], deque] = defaultdict(deque)
    for cell in present.cells if present else []:
        before[cell.cell_type, cell.source].append(cell)
    cells, count = [], 0
    for source, mark in zip(twin.cells, marks(pair.name, twin), strict=True):
        key = (source.cell_type, source.source)
        metadata = {
            name: value for name, value in source.metadata.items() if name not in LAYOUT
        }
        cell = NotebookNode(
            id=mark, cell_type=source.cell_type, metadata=metadata, source=source.source
        )
        old = before[key].popleft() if before[key] else None
        if old is not None and old.get("attachments"):
            cell.attachments = old.attachments
        if cell.cell_type == "code":
            count += bool(cell.source.strip())
            cell.update(execution_count=None, outputs=[])
            if old is not None and old.execution_count is not None:
                kept = [clean(output, count) for output in old.outputs if not is_bar(output)]
                cell.update(execution_count=count, outputs=kept)
        cells.append(cell)
    hand_on_pictures([cell for rest in before.values() for cell in rest], cells)
    return nbformat.from_dict(
        {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    )


def hand_on_pictures(gone: list[NotebookNode], cells: list[NotebookNode]) -> None:
    """Give the pictures pasted into cells whose text is gone to the first cell each that
    still shows them, in place.
    """
    for old in gone:
        for name, picture in old.get("attachments", {}).items():
            for cell in cells:
                there = cell.get("attachments", {})
                if (
                    cell.cell_type != "code"
                    and f"attachment:{name}" in cell.source
                    and name not in there
                ):
                    cell.attachments = {**there, name: picture}
                    break


def lost_pictures(present: NotebookNode | None, made: NotebookNode) -> list[str]:
    """The names of the pasted pictures of a notebook that the one made from its twin lacks."""
    pictures = [
        [
            (name, json.dumps(picture, sort_keys=True))
            for cell in (notebook.cells if notebook else [])
            for name, picture in cell.get("attachments", {}).items()
        ]
        for notebook in (present, made)
    ]
    return sorted(
        {name for name, picture in pictures[0] if (name, picture) not in pictures[1]}
    )


def is_bar(output: NotebookNode) -> bool:
    """Whether an output is a widget displayed on the way, such as a progress bar, with nothing
    to show when saved.
    """
    return output.output_type == "display_data" and set(output.data) == {WIDGET, "text/plain"}


def clean(output: NotebookNode, count: int) -> NotebookNode:
    """An output as it is kept: counted by its cell's place, without the view of a widget that
    is gone.
    """
    output = NotebookNode(output)
    if "execution_count" in output:
        output.execution_count = count
    if "data" in output:
        # a saved view without its model shows an error; what is left is the widget's picture
        # or its text
        output.data = NotebookNode(
            {kind: value for kind, value in output.data.items() if kind != WIDGET}
        )
    return output


def text_of(notebook: NotebookNode) -> str:
    """The notebook as its file holds it."""
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"


def write(path: Path, text: str) -> None:
    """Write a whole file or none of it."""
    data = text.encode("utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def inputs(notebook: NotebookNode) -> list[tuple[str, str]]:
    """The kind and the text of each cell."""
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


# ---------------------------------------------------------------- check


def drifts(pair: Pair, root: Path) -> list[str]:
    """What is out of step in one pair, a line each; empty where all is well."""
    if not pair.twin.exists():
        return [f"notebooks/{pair.name}.ipynb has no twin in notebooks/text"]
    twin = read_twin(pair.twin)
    found = []
    for cell, text in shown_cells(twin, root):
        if cell.source != text:
            place = twin.cells.index(cell) + 1
            found.append(
                f"notebooks/text/{pair.name}.py, cell {place}, is not the text of "
                f"{cell.metadata['src']}"
            )
            cell.source = text
    found += [
        f"notebooks/text/{pair.name}.py, cell {place}, says {line.strip()!r} to its reader: "
        f"say it in the cell's tags, {line.strip('# ').lower().replace('_', '-')}"
        for place, cell in enumerate(twin.cells, 1)
        for line in cell.source.split("\n")
        if cell.cell_type == "code" and MARKER.match(line)
    ]
    if not pair.notebook.exists():
        return [*found, f"notebooks/{pair.name}.ipynb is not made yet"]
    if not found:
        found = notebook_drifts(pair, twin)
    return found


def notebook_drifts(pair: Pair, twin: NotebookNode) -> list[str]:
    """How a notebook differs from what its twin makes of it."""
    present = pair.notebook.read_text(encoding="utf-8")
    notebook = read_notebook(pair)
    should = build(pair, twin, notebook)
    name = f"notebooks/{pair.name}.ipynb"
    theirs, ours = inputs(notebook), inputs(should)
    if theirs != ours:
        place = next(
            (i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b),
            min(len(theirs), len(ours)),
        )
        return [f"{name}, cell {place + 1}: its text is not its twin's"]
    if present != text_of(should):
        return [f"{name} holds metadata, ids or counts that sync leaves out"]
    return []


def stale(notebook: NotebookNode) -> list[int]:
    """The places (from 1) of cells that have code and were not run since it changed."""
    cells = enumerate(notebook.cells, 1)
    return [
        i
        for i, cell in cells
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None
    ]


def check(root: Path, names: list[str] | None = None) -> int:
    """Print all that is out of step, with the mend; 1 if there is anything."""
    chosen = pairs(root, names)
    found = [line for pair in chosen for line in drifts(pair, root)]
    for line in found:
        print(line)
    if found:
        print(f"Mend: {MEND}")
    unrun = []
    for pair in chosen:
        places = stale(read_notebook(pair)) if pair.notebook.exists() else []
        if places:
            unrun.append(pair.name)
            print(
                f"notebooks/{pair.name}.ipynb, not run since they changed: cells "
                f"{', '.join(map(str, places))}"
            )
    if unrun:
        print(f"Mend: {MEND} --execute {' '.join(unrun)}")
    if not found and not unrun:
        print(f"{len(chosen)} notebooks, their twins and the code they show are in step.")
    return int(bool(found or unrun))


# ---------------------------------------------------------------- sync


def sync(pair: Pair, root: Path, force: bool = False) -> list[str]:
    """Bring one pair in step and return the files written; SyncError where the notebook has
    edits of its own, or something that would be lost.
    """
    if not pair.twin.exists():
        return from_notebook(pair, root)
    twin = read_twin(pair.twin)
    present = read_notebook(pair) if pair.notebook.exists() else None
    own = present is not None and edited_since(pair, twin, present)
    if own and not force:
        raise SyncError(
            f"notebooks/{pair.name}.ipynb has text or tags that its twin lacks. `{MEND} "
            f"--from-notebook {pair.name}` takes the notebook's text over, `{MEND} --force "
            f"{pair.name}` the twin's."
        )
    changed = [(cell, text) for cell, text in shown_cells(twin, root) if cell.source != text]
    for cell, text in changed:
        cell.source = text
    made = build(pair, twin, present)
    lost = lost_pictures(present, made)
    if lost and not force:
        raise SyncError(
            f"notebooks/{pair.name}.ipynb has pictures pasted into it that its twin shows no "
            f"more ({', '.join(lost)}). Put `![](attachment:NAME)` back into the twin, or "
            f"drop them with `{MEND} --force {pair.name}`; nothing was touched."
        )
    files = {}
    if changed:
        files[pair.twin] = faithful_text(twin, pair.name)
    files[pair.notebook] = text_of(made)
    return [*(keep(pair.notebook, root) if own or lost else []), *write_all(files, root)]


def write_all(files: dict[Path, str], root: Path) -> list[str]:
    """Write those files that are not so already, and return their names; SyncError before
    anything is written where one can't be.
    """
    written = []
    try:
        new = {path: text for path, text in files.items() if text.encode() != content(path)}
    except UnicodeEncodeError as error:
        raise SyncError(
            f"Half a character can't be kept, nothing was touched: {error}"
        ) from None
    for path, text in new.items():
        write(path, text)
        written.append(path.relative_to(root).as_posix())
    return written


def content(path: Path) -> bytes | None:
    """A file's bytes; None where there is no file."""
    return path.read_bytes() if path.exists() else None


def keep(path: Path, root: Path) -> list[str]:
    """Keep a file that is about to give way beside itself, and return its name."""
    kept = path.with_name(path.name + ".before")
    shutil.copyfile(path, kept)
    return [kept.relative_to(root).as_posix()]


def edited_since(pair: Pair, twin: NotebookNode, present: NotebookNode) -> bool:
    """Whether the notebook has other text or tags than its twin, and either a cell that sync
    didn't write (its id isn't that of its text) or an age of a second less.
    """
    if authored(present) == authored(twin):
        return False
    theirs = inputs(twin)
    cells = zip(present.cells, marks(pair.name, present), strict=True)
    by_hand = any(
        cell.id != mark and cell.source.strip() and (cell.cell_type, cell.source) not in theirs
        for cell, mark in cells
    )
    return by_hand or pair.notebook.stat().st_mtime >= pair.twin.stat().st_mtime + 1


def from_notebook(pair: Pair, root: Path, force: bool = False) -> list[str]:
    """Write the twin anew from the notebook's text, then bring the two in step; SyncError,
    with nothing touched, where the twin can't hold it.
    """
    if not pair.notebook.exists():
        raise SyncError(f"There is no notebooks/{pair.name}.ipynb to take text from.")
    present = read_notebook(pair)
    before = read_twin(pair.twin) if pair.twin.exists() else None
    check_shown(pair, present, before, root, force)
    twin = jupytext.reads(faithful_text(present, pair.name), "py:percent")
    for cell, text in shown_cells(twin, root):
        cell.source = text
    files = {
        pair.twin: faithful_text(twin, pair.name),
        pair.notebook: text_of(build(pair, twin, present)),
    }
    # cells of the twin that the notebook never had, or has no more
    own = before and not set(marks(pair.name, before)) <= {cell.id for cell in present.cells}
    return [*(keep(pair.twin, root) if own else []), *write_all(files, root)]


def check_shown(
    pair: Pair,
    present: NotebookNode,
    twin: NotebookNode | None,
    root: Path,
    force: bool,
) -> None:
    """Refuse to take over a cell that shows a piece of the library where the notebook has
    other text for it than the library has or had: it would go.
    """
    had = [(cell.metadata["src"], cell.source) for cell in shown_in(twin)] if twin else []
    for cell, text in shown_cells(present, root):
        if cell.source not in (text, "") and not force:
            if (cell.metadata["src"], cell.source) not in had:
                raise SyncError(
                    f"notebooks/{pair.name}.ipynb, cell {present.cells.index(cell) + 1}, "
                    f"shows {cell.metadata['src']} and has text of its own. Change the "
                    "library, or take src out of the cell's metadata (`--force` drops the "
                    "text); nothing was touched."
                )


def lighten(notebook: NotebookNode) -> NotebookNode:
    """Give the pictures in the outputs a palette of 256 colours, in place; returns the
    notebook.

    The eye sees no difference in figures like these, and every clone carries them twice, in
    its history as well.
    """
    from PIL import Image

    from course_lib.widgets.standalone import png

    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if not (old := output.get("data", {}).get("image/png")):
                continue
            picture = Image.open(io.BytesIO(base64.b64decode(old)))
            if len(
                new := base64.b64encode(png(picture.convert("RGB"), colours=256)).decode()
            ) < len(old):
                output.data["image/png"] = new
    return notebook


def execute(pair: Pair, root: Path) -> float:
    """Run a notebook from top to bottom in a fresh kernel, keep its outputs, and return the
    seconds it took.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    notebook, found = read_notebook(pair), pair.notebook.read_bytes()
    # the kernel of the notebook must find this checkout's library
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(root), os.environ.get("PYTHONPATH")])
    )
    start = time.monotonic()
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(pair.notebook.parent)}},
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError) as error:
        raise SyncError(
            f"notebooks/{pair.name}.ipynb failed, and is left as it was:\n{error}"
        ) from None
    if pair.notebook.read_bytes() != found:
        raise SyncError(
            f"notebooks/{pair.name}.ipynb was saved by another program while it ran, and is "
            "left as that left it. Close it there, then run this again."
        )
    made = build(pair, read_twin(pair.twin), lighten(notebook))
    write_all({pair.notebook: text_of(made)}, root)
    return time.monotonic() - start


def command_line() -> argparse.ArgumentParser:
    """The tool's own options."""
    parser = argparse.ArgumentParser(prog=MEND, description=__doc__.partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", help="notebooks, by the start of their names (all, without one)"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if something is out of step"
    )
    parser.add_argument(
        "--execute",
        action="store_true",
        help="run the notebooks too, and keep what they print",
    )
    parser.add_argument(
        "--from-notebook",
        action="store_true",
        help="take the notebook's text over into its twin",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="let one side overwrite what the other alone has; it is kept as NAME.before",
    )
    return parser


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line; 1 if something is out of step or could not be brought in step."""
    options = command_line().parse_args(arguments)
    try:
        if options.check:
            return check(root, options.names)
        if options.from_notebook and not options.names:
            raise SyncError(
                "Say which notebook's text is to be taken over: --from-notebook NAME."
            )
        for pair in pairs(root, options.names):
            written = (
                from_notebook(pair, root, options.force)
                if options.from_notebook
                else sync(pair, root, options.force)
            )
            print("\n".join(f"wrote {name}" for name in written) or f"{pair.name} is in step")
            if options.execute:
                print(f"running {pair.name} ...", end=" ", flush=True)
                print(f"{execute(pair, root):.0f} s")
            size = pair.notebook.stat().st_size
            if size > LARGE:
                print(
                    f"note: notebooks/{pair.name}.ipynb has {size / 1e6:.1f} MB; keep its "
                    "outputs smaller"
                )
    except SyncError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # its own library, wherever it is started from
    sys.exit(main())
