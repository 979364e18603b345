"""The reader's own copies of the lessons, in my/: to run, change and save, while the course's
stay as they came, so that a `git pull` collides with nothing.

`python3 course.py lab` makes the copies that are missing and brings up to date those that
nobody has changed; `python3 course.py reset 05` lays one anew. my/ mirrors notebooks/, so that
links between lessons hold, and git ignores it.
"""

import datetime
import hashlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Of each copy, the fingerprint of the lesson that it was made from: what differs was changed.
RECORD = ".copied.json"


def lessons(root: Path) -> list[str]:
    """The course's lessons, those for going further last, relative to notebooks/."""
    folder = root / "notebooks"
    found = sorted(folder.glob("*.ipynb")) + sorted((folder / "further").glob("*.ipynb"))
    return [path.relative_to(folder).as_posix() for path in found]


def whole(text: str | list[str]) -> str:
    """A text that a notebook may hold as one or as its lines."""
    return text if isinstance(text, str) else "".join(text)


def said(output: dict) -> list:
    """What an output shows, without its count."""
    data = output.get("data", {})
    shown = {kind: data[kind] for kind in data if kind.startswith(("text/", "image/"))}
    texts = {kind: whole(value).strip() for kind, value in shown.items()}
    return [whole(output.get("text", "")), output.get("evalue", ""), sorted(texts.items())]


def fingerprint(path: Path) -> str:
    """The SHA-256 of a notebook's cells and of what they show; "" where there is none.

    Of the cells alone: JupyterLab saves a page that was merely opened, with counts and
    metadata of its own. A file that isn't a notebook counts by its bytes.
    """
    if not path.is_file():
        return ""
    content = path.read_bytes()
    try:
        cells = json.loads(content)["cells"]
        parts = [
            [
                cell["cell_type"],
                whole(cell["source"]),
                [said(o) for o in cell.get("outputs", [])],
            ]
            for cell in cells
        ]
        content = json.dumps(parts).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return hashlib.sha256(content).hexdigest()


def read_record(root: Path) -> dict[str, str]:
    """What `write_record` wrote; without it, each copy that isn't the course's counts as
    changed.
    """
    try:
        record = json.loads((root / "my" / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(root: Path, record: dict[str, str]) -> None:
    """Write the record whole or not at all."""
    fresh = root / "my" / (RECORD + ".tmp")
    fresh.write_text(json.dumps(record, indent=1), encoding="utf-8")
    os.replace(fresh, root / "my" / RECORD)


def lay(root: Path, name: str) -> str:
    """Copy one lesson into my/, whole or not at all; its fingerprint."""
    target = root / "my" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(target.name + ".tmp")
    fresh.write_bytes((root / "notebooks" / name).read_bytes())
    os.replace(fresh, target)
    return fingerprint(target)


def copy_lessons(root: Path = ROOT) -> list[str]:
    """Make the copies that are missing and bring up to date those that nobody has changed.

    Returns the lessons that are newer than a copy that the reader has changed, which is left
    alone. OSError where my/ can't be written.
    """
    record, newer = read_record(root), []
    before = dict(record)
    # work that was done in the course's own notebooks is the reader's wherever it is copied
    edited = cache(lambda: changed(root) or set())
    for name in lessons(root):
        own, course = fingerprint(root / "my" / name), fingerprint(root / "notebooks" / name)
        if not own or (own != course and own == record.get(name)):
            own = record[name] = lay(root, name)
        elif own != course and record.get(name) != course:
            newer.append(name)
        if own != before.get(name) and own == course:
            record[name] = "" if name in edited() else course
    (root / "my").mkdir(exist_ok=True)
    if record != before:
        write_record(root, record)
    return newer


def set_aside(root: Path, name: str, now: datetime.datetime) -> Path:
    """Move the reader's copy to my/before/, under a name that is free there."""
    folder = root / "my" / "before" / Path(name).parent
    folder.mkdir(parents=True, exist_ok=True)
    stem, number = f"{Path(name).stem}.{now:%Y-%m-%d-%H%M}", 1
    while (kept := folder / (stem + (f"-{number}" if number > 1 else "") + ".ipynb")).exists():
        number += 1
    os.replace(root / "my" / name, kept)
    return kept


def reset(root: Path, names: list[str]) -> None:
    """Lay lessons anew, each after setting the reader's copy aside, and say so."""
    record = read_record(root)
    for name in names:
        own = root / "my" / name
        if own.is_file() and fingerprint(own) == fingerprint(root / "notebooks" / name):
            print(f"my/{name} is as the course has it.")
            continue
        kept = set_aside(root, name, datetime.datetime.now()) if own.exists() else None
        record[name] = lay(root, name)
        write_record(root, record)
        where = f"; yours is now {kept.relative_to(root).as_posix()}" if kept else ""
        print(f"my/{name} is as the course has it again{where}.")


def changed(root: Path) -> set[str] | None:
    """The lessons that are not as they were committed, or never were; None where git can't
    say, as in a folder that was unpacked from an archive.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), "status", "--porcelain", "-z", "--no-renames"]
    command += ["--untracked-files=all", "--ignored=matching", "--", "notebooks"]
    try:
        done = subprocess.run(command, env=env, capture_output=True, timeout=600)
        top = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--show-prefix"],
            env=env,
            capture_output=True,
            timeout=600,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode or top.returncode or top.stdout.strip():
        return None  # not a checkout of its own, but a folder in another
    lines = os.fsdecode(done.stdout).split("\0")
    return {line[3:].removeprefix("notebooks/") for line in lines if line}


def trusted(root: Path) -> list[Path]:
    """The lessons that came with the course: those whose text stands beside them, and that
    nobody has changed.
    """
    texts, not_ours = root / "notebooks" / "text", changed(root) or set()
    return [
        root / "notebooks" / name
        for name in lessons(root)
        if name not in not_ours and (texts / name).with_suffix(".py").exists()
    ]


def sign(root: Path = ROOT) -> None:
    """Let the lessons' pictures move before they are run: JupyterLab shows a still of what
    comes from a notebook that nobody here has signed. A copy has its lesson's signature.
    """
    import nbformat
    from nbformat.sign import NotebookNotary

    notary = NotebookNotary()
    for path in trusted(root):
        notary.sign(nbformat.read(path, as_version=4))


def main(names: list[str]) -> int:
    """Reset the lessons that are named."""
    try:
        reset(ROOT, names)
    except OSError as error:
        print(unwritable(error), file=sys.stderr)
        return 1
    return 0


def unwritable(error: OSError) -> str:
    """The sentence for a folder my/ that can't be written."""
    return (
        f"Your copies can't be written: {error.filename} ({error.strerror}). Make room there, "
        f"change its rights or move it away; or open the course's own with `python3 course.py "
        f"lab notebooks/04_diffusion.ipynb`."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
