"""What the words of a command alone tell is wrong: said before the set-up, so that nobody
waits for an install to hear of a slip. (lab's own words are in jupyter.py.)
"""

from pathlib import Path

from course_lib.__main__ import SAMPLING, read_words
from course_lib.errors import CourseError
from tools import ci
from tools.launcher import lessons, place
from tools.launcher.troubles import Trouble

SYNC_FLAGS = ("--check", "--execute", "--from-notebook", "--force")


def check_test(arguments: list[str]) -> None:
    """Refuse a phase that isn't there; the rest is pytest's to judge."""
    try:
        ci.asked(arguments)
    except ValueError as error:
        raise Trouble(str(error)) from None


def check_sync(arguments: list[str]) -> None:
    """Refuse a flag that `sync` doesn't have, and a name that no notebook or twin has."""
    for word in arguments:
        if not word.startswith("-"):
            if not lessons.is_written(word):
                raise lessons.no_lesson(word)
        elif not any(flag.startswith(word) for flag in SYNC_FLAGS):
            raise Trouble(f"sync has no option {word}. It takes {', '.join(SYNC_FLAGS)}.")


def check_library(command: str, arguments: list[str]) -> None:
    """Refuse what the library's own command line would refuse without torch: SystemExit for
    what argparse finds, in its words.
    """
    if {"-h", "--help"} & set(arguments):
        return
    try:
        asked = read_words([command, *arguments])
    except CourseError as error:
        raise Trouble(f"{command}: {error}") from None
    if command == "html":
        check_notebook(asked.notebook)
    elif command in SAMPLING:
        check_model(arguments)


def check_notebook(path: Path) -> None:
    """Refuse a page of a lesson or a file that isn't there."""
    if not path.exists() and (path.suffix == ".ipynb" or not lessons.named(path.as_posix())):
        raise lessons.no_lesson(str(path))


def check_model(arguments: list[str]) -> None:
    """Refuse a line that names no model whose weights come with the course, wherever in it the
    name would stand: which flags take the next word, the model itself says.
    """
    folder = place.ROOT / "weights"
    names = {path.stem for path in [*folder.glob("*.json"), *folder.glob("*.safetensors")]}
    words = [word for word in arguments if not word.startswith("-")]
    if names and not names & set(words):
        raise Trouble(
            f"There is no shipped model in `{' '.join(words)}`; there are: "
            f"{', '.join(sorted(names))}."
        )
