"""One run for every recipe: legs, log, checkpoints, cards, and going on where it was cut."""

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_lib.cards import card_of
from course_lib.checkpoint import load_state, read_state, save_state
from course_lib.data import cache_folder
from course_lib.device import (
    default_device,
    device_name,
    pinned_precision,
    precision,
    precision_name,
)
from course_lib.draws import Draws, mixed_seed
from course_lib.eight_bits import round_weights
from course_lib.errors import CourseError
from course_lib.files import check_destination, reading
from course_lib.recipe import Flag, Leg, Recipe, Run, Setting, fingerprint, parameters_of
from course_lib.run_log import RunLog
from course_lib.training import launched_accelerator, launched_processes, train
from course_lib.weights import (
    WEIGHTS,
    list_shipped,
    listed,
    load_weights,
    save_weights,
    sha256,
)

__all__ = [
    "Flag",
    "Leg",
    "Recipe",
    "Run",
    "Setting",
    "begin",
    "fingerprint",
    "parameters_of",
    "run",
]

SAVE_EVERY = 180  # seconds between checkpoints
ENDLESS = 10**9  # steps of a leg that ends by the clock


def _recorded_precision(kind: str | None) -> str | None:
    """The precision within a fingerprint; None where it has none."""
    with contextlib.suppress(TypeError, ValueError, AttributeError):
        return json.loads(kind).get("precision")


def begin(
    recipe: Recipe, number: int = 1, *, start: nn.Module | None = None, accelerator=None
) -> tuple[Setting, Run]:
    """Leg `number` of a recipe at its beginning, a process's share of it under an
    Accelerator.
    """
    # a leg's three streams have nothing in common: order, the loss's draws, PyTorch's own
    seed, drawn, own = (mixed_seed(recipe.seed, number, stream) for stream in range(3))
    torch.manual_seed(own)  # the same in every process, for a net begins as one
    share, device, prepare = (0, 1), default_device(), lambda module: module
    if accelerator is not None:
        share = accelerator.process_index, accelerator.num_processes
        device, prepare = accelerator.device, accelerator.prepare
    leg, draws = recipe.legs[number - 1], Draws(drawn, *share)
    setting = Setting(leg, number, seed, device, draws, prepare, start)
    run = recipe.build(setting)
    if share[1] > 1:  # dropout, which draws for its own rows alone
        torch.manual_seed(mixed_seed(own, share[0]))
    return setting, run


@dataclass
class _Job:
    """What all legs of one call of `run` share."""

    recipe: Recipe
    folder: Path
    out: Path
    seconds: float | None
    command: str
    accelerator: Any
    tell: Callable

    @property
    def leads(self) -> bool:
        """Only one process writes."""
        return self.accelerator is None or self.accelerator.is_main_process

    @property
    def device(self) -> torch.device:
        """What this process trains on."""
        return self.accelerator.device if self.accelerator else default_device()

    def end(self, number: int) -> Path:
        """Where a leg's weights go."""
        steps = self.recipe.legs[number - 1].steps
        length = steps if self.seconds is None else f"{self.seconds:g}s"
        return self.folder / f"leg-{number}-{length}.safetensors"

    def card(self, name: str, images: int, seconds: float, dtype: str, **more) -> dict:
        """What a reader of the weights should know of the run that made them."""
        return {
            "name": name,
            "recipe": self.recipe.name,
            **self.recipe.about(),
            "command": self.command,
            "seed": self.recipe.seed,
            "batch_size": self.recipe.batch_size,
            "images_seen": images,
            "training_seconds": round(seconds),
            "precision": dtype,
            "machine": f"{device_name(self.device)}, {torch.get_num_threads()} threads, torch "
            f"{torch.__version__}",
            **more,
        }


def _read_card(path: Path, mend: str = "") -> dict:
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


def _precision(job: _Job, number: int, before: Path | None) -> str:
    """What this leg computes in: what MARBLE_PRECISION says, else as its checkpoint did, else
    as the leg before, else as this machine does best.

    So a run that is cut, or carried to another machine, stays one run.
    """
    if pinned := pinned_precision():
        return precision_name(pinned)
    state, end = job.folder / f"leg-{number}.pt", job.end(number)
    kinds = []
    if end.with_suffix(".json").exists():
        kinds.append(_read_card(end).get("run"))
    if state.exists():
        kinds.append(read_state(state)["run"])
    if before is not None:
        kinds.append(_read_card(before).get("run"))
    found = [dtype for dtype in map(_recorded_precision, kinds) if dtype]
    return found[0] if found else precision_name(precision(job.device))


def _is_made(end: Path, kind: str) -> bool:
    """Whether a leg is done; CourseError where what is there was made in another way."""
    if not (end.exists() and end.with_suffix(".json").exists()):  # the card is written last
        return False
    if _read_card(end).get("run") != kind:
        raise CourseError(
            f"{end} was made by another run: remove it, or train in another --folder."
        )
    return True


def _take_up(state: Path, run: Run, setting: Setting, kind: str, tell) -> int:
    """The step that a leg goes on from: 0 where it has no checkpoint."""
    if not state.exists():
        return 0
    generators = [setting.draws.generator]
    start = load_state(state, run.phases, run.batches, generators, run=kind)
    if start > setting.leg.steps:
        raise CourseError(
            f"{state} has made {start} steps already: ask for as many or more, or remove "
            "that file."
        )
    tell(f"going on at step {start} from {state}")
    return start


def _run_leg(job: _Job, number: int, before: Path | None, kind: str, dtype: str):
    """Train one leg, or go on from its last checkpoint: from the weights `before` to the
    averaged ones.
    """
    recipe, leg = job.recipe, job.recipe.legs[number - 1]
    previous = load_weights(recipe.name, before, device="cpu") if before else None
    setting, run = begin(recipe, number, start=previous, accelerator=job.accelerator)
    state = job.folder / f"leg-{number}.pt"
    step = start = _take_up(state, run, setting, kind, job.tell)
    log = RunLog(job.folder / f"leg-{number}.jsonl", start, job.tell)
    snapshots = recipe.snapshots() if number == 1 else {}

    def save():
        generators = [setting.draws.generator]
        save_state(state, step, run.phases, run.batches, generators, run=kind)
        return time.time()

    saved = time.time()
    steps = _steps(job, run, leg, start, log.before, getattr(torch, dtype))
    for done in steps:
        step = done.step
        if not job.leads:
            continue
        log.note(done)
        for name in (name for name, at in snapshots.items() if at == step):
            card = job.card(name, step * recipe.batch_size, log.seconds, dtype)
            save_weights(run.result, job.out / name, card, dtype=recipe.kept)
        if time.time() - saved > SAVE_EVERY:
            log.write(done)  # how long it took so far, for who goes on from here
            saved = save()
    if job.leads:
        if step > start:
            log.write(done)
            save()
        _finish(job, number, before, run.result, step, log.seconds, kind, dtype)


def _steps(job: _Job, run: Run, leg: Leg, start: int, spent: float, dtype: torch.dtype):
    """The steps that are left of a leg, by count or by the clock."""
    how = {} if job.seconds is None else {"seconds": job.seconds, "spent": spent}
    return train(run.phases, run.batches, leg.steps, start=start, precision=dtype, **how)


def _finish(job: _Job, number, before, result, step, seconds, kind, dtype):
    """Write the weights and the card of a leg that is through."""
    leg, batch_size = job.recipe.legs[number - 1], job.recipe.batch_size
    made = {**asdict(leg), "steps": step, "images": step * batch_size}
    made |= {"batch_size": batch_size, "lr": job.recipe.lr}
    legs = [*(_read_card(before)["legs"] if before else []), made]
    made["seconds"] = round(seconds)
    if job.seconds is not None:
        made["asked_seconds"] = job.seconds
    images, seconds = (sum(each[key] for each in legs) for key in ("images", "seconds"))
    name, size = job.recipe.name, parameters_of(result)
    card = job.card(name, images, seconds, dtype, legs=legs, parameters=size)
    save_weights(result, job.end(number), {**card, "run": kind}, dtype=job.recipe.kept)


def _ship(job: _Job, end: Path):
    """Bring the last leg's weights to where they are used, with the figures on their card."""
    module = load_weights(job.recipe.name, end, device="cpu")
    card = {key: value for key, value in _read_card(end).items() if key != "run"}
    if job.recipe.stored == torch.int8:
        round_weights(module)  # figures are of what is shipped
    figures = job.recipe.figures(module)
    card |= {"figures": figures} if figures else {}
    path = save_weights(module, job.out / job.recipe.name, card, dtype=job.recipe.stored)
    if job.out == WEIGHTS:  # a shipped file made again: the list is to say so
        names = (job.recipe.name, *job.recipe.snapshots())
        list_shipped(*(n for n in names if (WEIGHTS / f"{n}.safetensors").exists()))
    job.tell(f"wrote {path}" + (f": {figures}" if figures else ""))


def _check(recipe: Recipe, steps, seconds, batch_size, lr):
    """Refuse lengths, batches and rates that are none, and processes that a recipe has no use
    for.
    """
    if batch_size is not None and batch_size < 1:
        raise CourseError(f"A batch holds 1 or more images, not {batch_size}.")
    if lr is not None and not (math.isfinite(lr) and lr > 0):
        raise CourseError(f"The learning rate is a number above 0, not {lr}.")
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


def _of_length(recipe: Recipe, steps: int | None, seconds: float | None) -> tuple[Recipe, str]:
    """The recipe as it is run, of one leg where a length was asked for, and the command."""
    command = f"python -m course_lib train {recipe.name}"
    if steps is None and seconds is None:
        return recipe, command
    # all of the last leg, but for its length
    leg = replace(recipe.legs[-1], steps=ENDLESS if steps is None else steps)
    asked = f" --seconds {seconds:g}" if steps is None else f" --steps {steps}"
    return replace(recipe, legs=(leg,)), command + asked


def _carried_on(recipe: Recipe, before: Path, steps, seconds) -> tuple[Recipe, str]:
    """The recipe with one more leg, after those on the card of the weights `before`, and the
    command.
    """
    if steps is None and seconds is None:
        raise CourseError("Say how long to carry on: give --steps or --seconds.")
    if not (before.is_file() and before.with_suffix(".json").is_file()):
        raise CourseError(f"There is no {before} with its card beside it to carry on from.")
    card = _read_card(before, "carry on from weights whose card names their legs")
    if card.get("recipe", card.get("name")) != recipe.name:
        raise CourseError(
            f"{before} was made by {card.get('recipe')}: carry it on with that recipe."
        )
    longer, command = _of_length(recipe, steps, seconds)
    kind = type(recipe.legs[-1])
    known = {field.name for field in fields(kind)}
    made = [{key: leg[key] for key in known & set(leg)} for leg in card["legs"]]
    with reading(before, "has a card whose legs are none", "take other weights", CourseError):
        legs = (*(kind(**leg) for leg in made), *longer.legs)
    # the path as it was given, so that the command can be typed again from there
    return replace(recipe, legs=legs), f"{command} --from {before}"


def _asked(
    recipe: Recipe, before: Path | None, steps, seconds, batch_size, lr
) -> tuple[Recipe, str]:
    """The recipe as it is run, from the start or on from the weights `before`, and the
    command.
    """
    found = (
        _of_length(recipe, steps, seconds)
        if before is None
        else _carried_on(recipe, before, steps, seconds)
    )
    for key, value in (("batch_size", batch_size), ("lr", lr)):
        if value is not None:
            flag = "--" + key.replace("_", "-")
            found = replace(found[0], **{key: value}), f"{found[1]} {flag} {value}"
    return found


def _out(recipe: Recipe, command: str, out) -> Path:
    """Where the weights go; CourseError where a run of another length than the recipe's, a
    further leg among them, would take the place of weights that the course ships, and nobody
    asked for that.
    """
    changed = command != _of_length(recipe, None, None)[1]
    if out is None and changed and recipe.name in listed():
        raise CourseError(
            f"A run of another length would take the place of the {recipe.name} that the "
            f"course ships: say where its weights go, {command} --out mine."
        )
    return Path(out or WEIGHTS)


def run(
    recipe: Recipe,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    start: str | Path | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    folder: str | Path | None = None,
    out: str | Path | None = None,
    log=print,
):
    """Train, or go on from the last checkpoint in `folder` (by default the user's cache);
    write weights and cards to `out` (by default weights/).

    steps, if given, makes it a run of one leg of that length; seconds one that takes so long,
    its learning rate falling by the clock. start: finished weights with their card, which such
    a leg carries on; its remains are told from others' by that file's hash. batch_size, lr: in
    place of the recipe's. CourseError where the folder holds another run's remains.
    """
    _check(recipe, steps, seconds, batch_size, lr)
    before = None if start is None else Path(start)
    recipe, command = _asked(recipe, before, steps, seconds, batch_size, lr)
    folder = Path(folder or (cache_folder() or Path(".")) / "runs" / recipe.name)
    accelerator, out = launched_accelerator(), _out(recipe, command, out)
    for path in (folder / "leg-1.pt", out / f"{recipe.name}.safetensors"):
        check_destination(path, make=True)  # before the hours that go into what goes there
    job = _Job(recipe, folder, out, seconds, command, accelerator, log)
    first = 1 if before is None else len(recipe.legs)
    for number in range(first, len(recipe.legs) + 1):
        end, dtype = job.end(number), _precision(job, number, before)
        start = _read_card(before)["sha256"] if before else None
        kind = fingerprint(recipe, number, start, dtype)
        if not _is_made(end, kind):
            _run_leg(job, number, before, kind, dtype)
            if accelerator is not None:
                accelerator.wait_for_everyone()
        before = end
    if job.leads:
        _ship(job, end)
