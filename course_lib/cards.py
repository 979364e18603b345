"""Cards: what a reader should know of a weights file, as JSON beside it."""

import json
import shutil
from pathlib import Path

from course_lib.errors import CourseError
from course_lib.files import read_json, written_whole

# what a card says, if it says it, and of which kind it is; all else is for people alone
ENTRIES = {
    "sha256": str,
    "name": str,
    "recipe": str | None,
    "reading": dict,
    "run": str,
    "data_sha256": str,
    "training_seconds": int | float,
    "legs": list,
    "figures": dict,
}


def card_bytes(name: str, card: dict) -> bytes:
    """A card as JSON that a person can read; CourseError where it can't be written."""
    try:
        return (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise CourseError(
            f"The card of {name} cannot be written ({error}), and no file was touched: give "
            "it plain numbers, texts, lists and dicts, float(x) for a number of numpy."
        ) from None


def copy_with_card(name: str, source: Path, target: Path):
    """Copy a model's weights and card from one folder to another, each whole or not at all and
    the card last: where it lies, both do.
    """
    for file in (f"{name}.safetensors", f"{name}.json"):
        with written_whole(target / file) as part:
            shutil.copyfile(source / file, part)


def card_of(path: Path, mend: str, kind: type[CourseError]) -> dict:
    """The card in a file, once its entries are of the kinds that they are used as; an error of
    `kind` otherwise.
    """
    card = read_json(path, mend, kind)
    if wrong := _wrong_entry(card):
        raise kind(f"{path} is damaged, {wrong} is not what it should be: {mend}.")
    return card


def _wrong_entry(card: dict) -> str | None:
    """The name of an entry that is missing or of another kind than it is taken for."""
    for key, kind in ENTRIES.items():
        if key in card and not isinstance(card[key], kind):
            return key
    if "sha256" not in card:
        return "sha256"
    figures = card.get("figures", {})
    rows, likelihood = figures.get("rows", []), figures.get("likelihood", {})
    for key, each in (("legs", card.get("legs", [])), ("rows", rows)):
        if not (isinstance(each, list) and all(isinstance(row, dict) for row in each)):
            return key
    return None if isinstance(likelihood, dict) else "likelihood"
