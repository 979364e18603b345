"""The lessons: which there are, and which one a reader means."""

import os
import re
from pathlib import Path

from tools.launcher import place
from tools.launcher.troubles import Trouble

FIRST = "00_start_here.ipynb"


def paths() -> list[Path]:
    """All lessons' notebooks, those for going further last."""
    folder = place.ROOT / "notebooks"
    return sorted(folder.glob("*.ipynb")) + sorted((folder / "further").glob("*.ipynb"))


def named(argument: str) -> list[Path]:
    """The lessons whose file begins like this, as paths: "04", "4", "further/04", or the path
    of the reader's copy, with Windows's slashes too.
    """
    start = re.sub(r"^(\./)?(my/)?", "", argument.replace("\\", "/"))
    start = re.sub(r"^(further/)?(\d)$", r"\g<1>0\2", start)  # 1 is lesson 01, not 10
    if not start:  # as every file begins
        return []
    folder = place.ROOT / "notebooks"
    return [
        path
        for path in paths()
        if path.relative_to(folder).as_posix().startswith(start) or path.name.startswith(start)
    ]


def meant(argument: str) -> Path | None:
    """The one lesson whose file begins like this, those of the main path first; None where
    there is none, Trouble where there are several.
    """
    found = named(argument)
    main = [path for path in found if path.parent.name == "notebooks"]
    best = main or found
    if len(best) > 1:
        folder = place.ROOT / "notebooks"
        names = ", ".join(path.relative_to(folder).as_posix() for path in best)
        raise Trouble(f"{argument} may be any of {names}: say which.")
    return best[0] if best else None


def is_written(argument: str) -> bool:
    """Whether a notebook or its text twin begins like this, as `sync` takes them: a name, or a
    path to either.
    """
    start = re.sub(r"^.*notebooks/(text/)?", "", argument.replace(os.sep, "/"))
    start = re.sub(r"\.(ipynb|py)$", "", start)
    texts = place.ROOT / "notebooks" / "text"
    twins = [*texts.glob("*.py"), *texts.glob("further/*.py")]
    names = [path.relative_to(texts).as_posix() for path in twins]
    return bool(named(start)) or any(
        name.startswith(start) or name.rpartition("/")[2].startswith(start) for name in names
    )


def no_lesson(argument: str) -> Trouble:
    """The trouble with a name that no lesson has."""
    folder = place.ROOT / "notebooks"
    names = [path.relative_to(folder).as_posix().split("_")[0] for path in paths()]
    listed = ", ".join(names)
    return Trouble(
        f"There is no lesson {argument}. Name one by how its file begins ({listed}), or give "
        f"the path of a file within {place.ROOT}."
    )


def own_copy(lesson: Path) -> str:
    """Where the reader's copy of a lesson lies, relative to the checkout; see
    tools/my_lessons.py.
    """
    return "my/" + lesson.relative_to(place.ROOT / "notebooks").as_posix()
