"""A run's state in a file: all that it needs to go on as if it had never stopped."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from course_lib.device import (
    pinned_precision,
    precision_name,
    random_state,
    set_random_state,
)
from course_lib.errors import CourseError
from course_lib.files import written_whole

_PARTS = {"run", "step", "precision", "batches", "generators", "random", "phases"}


class Trained(Protocol):
    """What is kept of one network in training: a `course_lib.Phase` has all of it."""

    name: str
    module: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Any  # an average with state_dict and load_state_dict, or None
    base_lrs: list[float]  # the learning rates before any scale
    precision: torch.dtype | None


def plain_name(key: str) -> str:
    """A weight's name in the bare module: `torch.compile(module)` puts `_orig_mod.` in it."""
    return key.replace("_orig_mod.", "")


def plain_state(module: nn.Module) -> dict[str, Tensor]:
    """A module's state_dict under the bare module's names, whether it is compiled or not."""
    return {plain_name(key): value for key, value in module.state_dict().items()}


def load_plain(module: nn.Module, state: dict[str, Tensor]):
    """Load a state_dict whose names are those of the bare or of the compiled module into
    either. Raises RuntimeError where names or shapes differ, as `load_state_dict` does.
    """
    own = {plain_name(key): key for key in module.state_dict()}
    named = {plain_name(key): value for key, value in state.items()}
    module.load_state_dict({own.get(key, key): value for key, value in named.items()})


def save_state(
    path: str | Path,
    step: int,
    phases: Trained | Sequence[Trained],
    batches=None,
    generators=(),
    *,
    run: str = "",
):
    """Write all that a run needs to go on as if it had never stopped. Atomic: a cut leaves the
    old file whole.

    batches needs state_dict(); generators are the torch.Generators that the losses draw from.
    PyTorch's global ones are kept too. run says which run this is, its settings for example,
    so that no other goes on from here by mistake.
    """
    phases = list(phases) if isinstance(phases, Sequence) else [phases]
    computed = phases[0].precision
    state = {
        "run": run,
        "step": step,
        "precision": None if computed is None else precision_name(computed),
        "batches": batches.state_dict() if batches is not None else None,
        "generators": [generator.get_state() for generator in generators],
        "random": random_state(),
        "phases": [
            {
                "name": phase.name,
                "module": plain_state(phase.module),
                "optimizer": phase.optimizer.state_dict(),
                "ema": phase.ema.state_dict() if phase.ema is not None else None,
            }
            for phase in phases
        ],
    }
    with written_whole(path) as part:
        torch.save(state, part)


def read_state(path: str | Path) -> dict:
    """The dict that `save_state` wrote, on the CPU: "step", "run", "precision" and the states.

    Raises CourseError for a file that is missing, cut short or no checkpoint of this library.
    """
    mend = "remove that file to begin the run anew, or put back the one that was there"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler fails in many ways on what is no whole file
        said = next(iter(str(error).split("\n")), "")[:120] or type(error).__name__
        raise CourseError(f"{path} is no whole checkpoint ({said}): {mend}.") from None
    if not isinstance(state, dict) or not state.keys() >= _PARTS:
        raise CourseError(f"{path} is no checkpoint of this version of the course: {mend}.")
    return state


def load_state(
    path: str | Path,
    phases: Trained | Sequence[Trained],
    batches=None,
    generators=(),
    *,
    run: str = "",
) -> int:
    """Take up what `save_state` wrote; returns the step to give to `train` as `start`.

    The run then goes on in the precision that it began in. Raises CourseError for a file that
    is damaged, of another run, of other phases, or of another precision than the one that
    MARBLE_PRECISION pins.
    """
    phases = list(phases) if isinstance(phases, Sequence) else [phases]
    state = read_state(path)
    if state["run"] != run:
        raise CourseError(
            f"{path} is the checkpoint of another run "
            f"({state['run'] or 'of an unknown kind'}): give this one a "
            "folder of its own, or remove that file."
        )
    with _fitting(path):
        _check_parts(path, state, phases, batches, generators)
        computed = _precision_of(path, state)
        for phase, saved in zip(phases, state["phases"], strict=True):
            _restore(phase, saved)
            phase.precision = computed
        if batches is not None:
            batches.load_state_dict(state["batches"])
        for generator, saved in zip(generators, state["generators"], strict=True):
            generator.set_state(saved)
        set_random_state(state["random"])  # last: nothing above may draw after it
        return state["step"]


@contextlib.contextmanager
def _fitting(path: str | Path):
    """What does not fit becomes one sentence that names the file; its cause stays attached."""
    try:
        yield
    except CourseError:
        raise
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())[:160]
        raise CourseError(
            f"{path} does not fit this run ({said}): give the run a folder of its own, or "
            "remove that file."
        ) from error


def _check_parts(path, state: dict, phases: list, batches, generators):
    """CourseError where the file was saved with other parts than it is loaded into."""
    names = [saved["name"] for saved in state["phases"]]
    if names != [phase.name for phase in phases]:
        raise CourseError(
            f"{path} holds the phases {names}, not {[phase.name for phase in phases]}."
        )
    averages = [
        (f"an average of {phase.name}", saved["ema"] is not None, phase.ema is not None)
        for phase, saved in zip(phases, state["phases"], strict=True)
    ]
    for what, there, wanted in [
        *averages,
        ("batches", state["batches"] is not None, batches is not None),
        ("generators", len(state["generators"]), len(generators)),
    ]:
        if there != wanted:
            raise CourseError(
                f"{path} was saved with {what}: {there}, and is loaded with {wanted}: give "
                "load_state what save_state was given."
            )


def _precision_of(path, state: dict) -> torch.dtype | None:
    """What the run was computed in so far; None where it has made no step."""
    name, pinned = state["precision"], pinned_precision()
    if name is None:
        return None
    dtype = getattr(torch, str(name), None)
    if not isinstance(dtype, torch.dtype):
        raise CourseError(f"{path} was computed in {name!r}, which this PyTorch lacks.")
    if pinned is not None and pinned != dtype:
        raise CourseError(
            f"{path} was computed in {name}, and MARBLE_PRECISION says "
            f"{precision_name(pinned)}: unset it to go on, or begin the run anew."
        )
    return dtype


def _restore(phase: Trained, saved: dict):
    load_plain(phase.module, saved["module"])
    phase.optimizer.load_state_dict(saved["optimizer"])
    phase.base_lrs = [group["initial_lr"] for group in phase.optimizer.param_groups]
    if phase.ema is not None:
        phase.ema.load_state_dict(saved["ema"])
