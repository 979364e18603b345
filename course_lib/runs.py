"""One run for every recipe: legs, log, checkpoints, cards, and going on where it was cut."""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_lib.cards import copy_with_card
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
from course_lib.files import check_destination
from course_lib.legs import asked, check_asked, leg_card, of_length
from course_lib.recipe import Flag, Leg, Recipe, Run, Setting, fingerprint, parameters_of
from course_lib.run_log import RunLog
from course_lib.training import launched_accelerator, train
from course_lib.weights import (
    WEIGHTS,
    list_shipped,
    listed,
    load_weights,
    save_weights,
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
    first: int  # the number of the leg that it begins with

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
        kinds.append(leg_card(end).get("run"))
    if state.exists():
        kinds.append(read_state(state)["run"])
    if before is not None:
        kinds.append(leg_card(before).get("run"))
    found = [dtype for dtype in map(_recorded_precision, kinds) if dtype]
    return found[0] if found else precision_name(precision(job.device))


def _is_made(end: Path, kind: str) -> bool:
    """Whether a leg is done; CourseError where what is there was made in another way."""
    if not (end.exists() and end.with_suffix(".json").exists()):  # the card is written last
        return False
    if leg_card(end).get("run") != kind:
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
    if setting.draws.rank:
        # the file holds the first process's state; another's dropout goes on with numbers of
        # its own, though not those of a run that was never cut
        torch.manual_seed(mixed_seed(torch.initial_seed(), setting.draws.rank, start))
    tell(f"going on at step {start} from {state}")
    return start


def _check_clock(job: _Job, state: Path, start: int, before: float):
    """CourseError where a run by the clock has taken longer already than it is to take."""
    # the last step of one that is through may end after its time, and so may a save
    late = 0.5 + 2 * before / max(start, 1)
    if job.seconds is not None and before > job.seconds + late:
        raise CourseError(
            f"{state} has taken {before:.0f} seconds already: ask for as many or more, or "
            "remove that file."
        )


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
    _check_clock(job, state, start, log.before)
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
            # beside the run until it is through: a reader of job.out meets no mixture of two
            save_weights(run.result, job.folder / name, card, dtype=recipe.kept)
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
    legs = [*(leg_card(before)["legs"] if before else []), made]
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
    card = {key: value for key, value in leg_card(end).items() if key != "run"}
    if job.recipe.stored == torch.int8:
        round_weights(module)  # figures are of what is shipped
    figures = job.recipe.figures(module)
    card |= {"figures": figures} if figures else {}
    path = save_weights(module, job.out / job.recipe.name, card, dtype=job.recipe.stored)
    names = [job.recipe.name, *_ship_snapshots(job, card["legs"][0]["steps"])]
    if job.out.resolve() == WEIGHTS:  # shipped files made again: the list is to say so
        list_shipped(*names)
    job.tell(f"wrote {path}" + (f": {figures}" if figures else ""))


def _ship_snapshots(job: _Job, steps: int) -> list[str]:
    """Bring what the first leg, of so many steps, kept on its way to where it is used: the
    names of it. A leg that carries on other weights has kept none.
    """
    kept = {} if job.first > 1 else job.recipe.snapshots()
    there = [
        name
        for name, at in kept.items()
        if at <= steps and (job.folder / f"{name}.json").exists()
    ]
    for name in there:
        copy_with_card(name, job.folder, job.out)
    return there


def _out(recipe: Recipe, command: str, out) -> Path:
    """Where the weights go; CourseError where a run of another length than the recipe's, a
    further leg among them, would take the place of weights that the course ships, and nobody
    asked for that.
    """
    changed = command != of_length(recipe, None, None)[1]
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
    check_asked(recipe, steps, seconds, batch_size, lr)
    before = None if start is None else Path(start)
    recipe, command = asked(recipe, before, steps, seconds, batch_size, lr)
    folder = Path(folder or (cache_folder() or Path(".")) / "runs" / recipe.name)
    accelerator, out = launched_accelerator(), _out(recipe, command, out)
    for path in (folder / "leg-1.pt", out / f"{recipe.name}.safetensors"):
        check_destination(path, make=True)  # before the hours that go into what goes there
    first = 1 if before is None else len(recipe.legs)
    job = _Job(recipe, folder, out, seconds, command, accelerator, log, first)
    for number in range(first, len(recipe.legs) + 1):
        end, dtype = job.end(number), _precision(job, number, before)
        start = leg_card(before)["sha256"] if before else None
        kind = fingerprint(recipe, number, start, dtype)
        if not _is_made(end, kind):
            _run_leg(job, number, before, kind, dtype)
            if accelerator is not None:
                accelerator.wait_for_everyone()
        before = end
    if job.leads:
        _ship(job, end)
