"""A run's legs: which ones a user asks for, and what the card beside a leg's weights says."""

import math
from dataclasses import fields, replace
from pathlib import Path

from course_lib.cards import card_of
from course_lib.errors import CourseError
from course_lib.files import reading
from course_lib.recipe import Recipe
from course_lib.training import launched_processes
from course_lib.weights import sha256

MOST_LR = 100.0  # beyond it every optimizer overflows
ENDLESS = 10**9  # steps of a leg that ends by the clock


def leg_card(path: Path, mend: str = "") -> dict:
    """The card beside a leg's weights; CourseError where it is damaged, or of other weights
    than lie there: a save was killed between the two. mend: what to do then.
    """
    beside = path.with_suffix(".json")
    mend = mend or (
        f"remove it and {path.name} to make that leg again, or put back those that were there"
    )
    card = card_of(beside, mend, CourseError)
    lacks = {"legs"} - card.keys()
    numbers = [leg.get(key) for leg in card.get("legs", []) for key in ("images", "seconds")]
    if lacks or not all(
        # no NaN, which no comparison holds of
        type(number) in (int, float) and 0 <= number < math.inf
        for number in numbers
    ):
        raise CourseError(f"{beside} does not say which legs were made: {mend}.")
    if path.exists() and card["sha256"] != sha256(path):
        raise CourseError(
            f"{path} is not the file that its card is of, for a save was cut between the two "
            f"or one was changed: {mend}."
        )
    return card


def check_asked(recipe: Recipe, steps, seconds, batch_size, lr):
    """Refuse lengths, batches and rates that are none, and processes that a recipe has no use
    for.
    """
    if batch_size is not None and batch_size < 1:
        raise CourseError(f"A batch holds 1 or more images, not {batch_size}.")
    if lr is not None and not 0 < lr <= MOST_LR:
        raise CourseError(
            f"The learning rate is a number above 0, {MOST_LR:g} at most, not {lr}."
        )
    if steps is not None and seconds is not None:
        raise CourseError("Give a run its --steps or its --seconds, not both.")
    if steps is not None and steps < 1:
        raise CourseError(f"Train for 1 or more steps, not {steps}.")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise CourseError(f"Train for more than 0 seconds, not {seconds}.")
    if launched_processes() > 1 and (seconds is not None or not recipe.shared):
        what = recipe.name if seconds is None else "A run by the clock"
        raise CourseError(
            f"{what} trains in one process: start it without accelerate or torchrun."
        )


def of_length(recipe: Recipe, steps: int | None, seconds: float | None) -> tuple[Recipe, str]:
    """The recipe as it is run, of one leg where a length was asked for, and the command."""
    command = f"python -m course_lib train {recipe.name}"
    if steps is None and seconds is None:
        return recipe, command
    # all of the last leg, but for its length
    leg = replace(recipe.legs[-1], steps=ENDLESS if steps is None else steps)
    asked = f" --seconds {seconds:g}" if steps is None else f" --steps {steps}"
    return replace(recipe, legs=(leg,)), command + asked


def carried_on(recipe: Recipe, before: Path, steps, seconds) -> tuple[Recipe, str]:
    """The recipe with one more leg, after those on the card of the weights `before`, and the
    command.
    """
    if steps is None and seconds is None:
        raise CourseError("Say how long to carry on: give --steps or --seconds.")
    if not (before.is_file() and before.with_suffix(".json").is_file()):
        raise CourseError(f"There is no {before} with its card beside it to carry on from.")
    card = leg_card(before, "carry on from weights whose card names their legs")
    if card.get("recipe", card.get("name")) != recipe.name:
        raise CourseError(
            f"{before} was made by {card.get('recipe')}: carry it on with that recipe."
        )
    longer, command = of_length(recipe, steps, seconds)
    kind = type(recipe.legs[-1])
    known = {field.name for field in fields(kind)}
    made = [{key: leg[key] for key in known & set(leg)} for leg in card["legs"]]
    with reading(before, "has a card whose legs are none", "take other weights", CourseError):
        legs = (*(kind(**leg) for leg in made), *longer.legs)
    # the path as it was given, so that the command can be typed again from there
    return replace(recipe, legs=legs), f"{command} --from {before}"


def asked(
    recipe: Recipe, before: Path | None, steps, seconds, batch_size, lr
) -> tuple[Recipe, str]:
    """The recipe as it is run, from the start or on from the weights `before`, and the
    command.
    """
    found = (
        of_length(recipe, steps, seconds)
        if before is None
        else carried_on(recipe, before, steps, seconds)
    )
    for key, value in (("batch_size", batch_size), ("lr", lr)):
        if value is not None:
            flag = "--" + key.replace("_", "-")
            found = replace(found[0], **{key: value}), f"{found[1]} {flag} {value}"
    return found
