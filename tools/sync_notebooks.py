"""Keep each notebook, its text twin and the library code that it shows in step: `python3
course.py sync`.

Text is edited in notebooks/text/NN_name.py, the twin in the percent format;
notebooks/NN_name.ipynb follows it and keeps the outputs of every cell whose text did not
change. A cell that shows a piece of the library says which:
    # %% src="course_lib/diffusion/samplers.py::sample_ddim"
(a function, a class, Class.method or a module's constant), and sync fills in that definition's
text. A notebook's cell ids, counts and metadata are made from its text alone, so that it
changes only where its text does.
"""

import argparse
import ast
import base64
import hashlib
import io
import os
import sys
import textwrap
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jupytext
import jupytext.header
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
MEND = "python3 course.py sync"
LARGE = 4_000_000  # bytes: above it a notebook is slow to open and heavy in each clone
CELL_SECONDS = 300  # a cell that runs longer is given up
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {
        "name": "python"
    },  # without the version of Python that happened to run it
}
LAYOUT = (
    "lines_to_next_cell",
    "lines_to_end_of_cell_marker",
)  # jupytext's notes on blank lines in the twin
# names a model that lives only in the kernel that made it
WIDGET = "application/vnd.jupyter.widget-view+json"


class SyncError(Exception):
    """Something that only an author can decide or mend, in a sentence."""


@dataclass(frozen=True)
class Pair:
    """A notebook and its text twin."""

    notebook: Path
    twin: Path

    @property
    def name(self) -> str:
        """What the two files are called, without their endings."""
        return self.notebook.stem


def pairs(root: Path, names: list[str] | None = None) -> list[Pair]:
    """All notebooks and twins under root, or those whose name starts with one of names;
    SyncError if one has none.
    """
    folder = root / "notebooks"
    stems = sorted(
        {path.stem for path in [*folder.glob("*.ipynb"), *folder.glob("text/*.py")]}
    )
    for name in names or []:
        if not any(stem.startswith(Path(name).stem) for stem in stems):
            raise SyncError(
                f"There is no notebook {name}; there are: {', '.join(stems) or 'none'}."
            )
    wanted = [
        stem
        for stem in stems
        if not names or any(stem.startswith(Path(name).stem) for name in names)
    ]
    return [Pair(folder / f"{stem}.ipynb", folder / "text" / f"{stem}.py") for stem in wanted]


# ---------------------------------------------------------------- the library's text


def definition(reference: str, root: Path) -> str:
    """The text of "path::name": a function, class, Class.method or constant, with its
    decorators, dedented.
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
    return textwrap.dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))


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
    for cell in notebook.cells:
        if "src" in cell.metadata:
            yield cell, definition(cell.metadata["src"], root)


def build(pair: Pair, twin: NotebookNode) -> NotebookNode:
    """The notebook that belongs to a twin; outputs come from the present notebook where the
    cell's text is the same.
    """
    before: dict[tuple[str, str], deque] = defaultdict(deque)
    if pair.notebook.exists():
        for cell in nbformat.read(pair.notebook, as_version=4).cells:
            before[cell.cell_type, cell.source].append(cell)
    cells, seen, count = [], defaultdict(int), 0
    for source in twin.cells:
        key = (source.cell_type, source.source)
        seen[key] += 1
        mark = hashlib.sha256(
            "\0".join([pair.name, *key, str(seen[key])]).encode()
        ).hexdigest()[:12]
        metadata = {
            name: value for name, value in source.metadata.items() if name not in LAYOUT
        }
        cell = NotebookNode(
            id=mark, cell_type=source.cell_type, metadata=metadata, source=source.source
        )
        if cell.cell_type == "code":
            old = before[key].popleft() if before[key] else None
            count += bool(cell.source.strip())
            cell.update(execution_count=None, outputs=[])
            if old is not None and old.execution_count is not None:
                kept = [clean(output, count) for output in old.outputs if not is_bar(output)]
                cell.update(execution_count=count, outputs=kept)
        cells.append(cell)
    return nbformat.from_dict(
        {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
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
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, path)


def inputs(notebook: NotebookNode) -> list[tuple[str, str]]:
    """What an author writes: the kind and the text of each cell."""
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
    if not pair.notebook.exists():
        return [*found, f"notebooks/{pair.name}.ipynb is not made yet"]
    if not found:
        found = notebook_drifts(pair, twin)
    return found


def notebook_drifts(pair: Pair, twin: NotebookNode) -> list[str]:
    """How a notebook differs from what its twin makes of it."""
    present = pair.notebook.read_text(encoding="utf-8")
    should = build(pair, twin)
    name = f"notebooks/{pair.name}.ipynb"
    theirs, ours = inputs(nbformat.reads(present, as_version=4)), inputs(should)
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
        places = (
            stale(nbformat.read(pair.notebook, as_version=4)) if pair.notebook.exists() else []
        )
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
    edits of its own.
    """
    written = []
    if not pair.twin.exists():
        return from_notebook(pair, root)
    twin = read_twin(pair.twin)
    if not force and edited_since(pair, twin):
        raise SyncError(
            f"notebooks/{pair.name}.ipynb was edited after its twin. `{MEND} --from-notebook "
            f"{pair.name}` takes the "
            f"notebook's text over, `{MEND} --force {pair.name}` the twin's."
        )
    changed = [(cell, text) for cell, text in shown_cells(twin, root) if cell.source != text]
    for cell, text in changed:
        cell.source = text
    if changed:
        write(pair.twin, twin_text(twin))
        written.append(f"notebooks/text/{pair.name}.py")
    text = text_of(build(pair, twin))
    if not pair.notebook.exists() or pair.notebook.read_text(encoding="utf-8") != text:
        write(pair.notebook, text)
        written.append(f"notebooks/{pair.name}.ipynb")
    return written


def edited_since(pair: Pair, twin: NotebookNode) -> bool:
    """Whether the notebook has other text than its twin and is the younger of the two by a
    second or more.
    """
    if (
        not pair.notebook.exists()
        or pair.notebook.stat().st_mtime < pair.twin.stat().st_mtime + 1
    ):
        return False
    return inputs(nbformat.read(pair.notebook, as_version=4)) != inputs(twin)


def from_notebook(pair: Pair, root: Path) -> list[str]:
    """Write the twin anew from the notebook's text, then bring the two in step."""
    if not pair.notebook.exists():
        raise SyncError(f"There is no notebooks/{pair.name}.ipynb to take text from.")
    write(pair.twin, twin_text(nbformat.read(pair.notebook, as_version=4)))
    written = [f"notebooks/text/{pair.name}.py", *sync(pair, root, force=True)]
    return list(dict.fromkeys(written))


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

    notebook = nbformat.read(pair.notebook, as_version=4)
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
    write(pair.notebook, text_of(lighten(notebook)))
    write(pair.notebook, text_of(build(pair, read_twin(pair.twin))))
    return time.monotonic() - start


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line; 1 if something is out of step or could not be brought in step."""
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
        "--force", action="store_true", help="let the twin overwrite a younger notebook"
    )
    options = parser.parse_args(arguments)
    try:
        if options.check:
            return check(root, options.names)
        if options.from_notebook and not options.names:
            raise SyncError(
                "Say which notebook's text is to be taken over: --from-notebook NAME."
            )
        for pair in pairs(root, options.names):
            written = (
                from_notebook(pair, root)
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
    sys.exit(main())
