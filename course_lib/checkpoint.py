"""A run's state in a file: all that it needs to go on as if it had never stopped."""

import contextlib
import hashlib
import math
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
from course_lib.files import reading, written_whole

_PARTS = {
    "run": str,
    "step": int,
    "precision": str | None,
    "batches": dict | None,
    "generators": list,
    "random": dict,
    "phases": list,
}
# how a machine makes an optimizer's step, not which step it is: another one makes it in its
# own way
_KERNELS = {"fused", "foreach", "capturable", "differentiable"}
_SEALED = 2  # the state's "format" from which on a file ends with its own SHA-256
_SEAL = b"marble sha256 "  # 32 bytes of the hash follow: of all that is in front of it


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
        "format": _SEALED,
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
        _seal(part)


def _seal(path: Path):
    """End a file with the SHA-256 of all that is in it."""
    with open(path, "rb+") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        file.seek(0, 2)
        file.write(_SEAL + digest)


def _is_sealed(path: str | Path) -> bool:
    """Whether a file ends with the SHA-256 of the rest of it; ValueError where it ends with
    another one.
    """
    with open(path, "rb") as file:
        left = file.seek(0, 2) - len(_SEAL) - 32
        file.seek(max(left, 0))
        tail = file.read()
        if left < 0 or not tail.startswith(_SEAL):
            return False
        file.seek(0)
        found = hashlib.sha256()
        while left and (part := file.read(min(left, 2**20))):
            found.update(part)
            left -= len(part)
    if found.digest() != tail.removeprefix(_SEAL):
        raise ValueError("its SHA-256 is not the one that it was saved with")
    return True


def _is(value, kind) -> bool:
    """Whether a part is of its kind; True is no number here."""
    return isinstance(value, kind) and not isinstance(value, bool)


def read_state(path: str | Path) -> dict:
    """The dict that `save_state` wrote, on the CPU: "step", "run", "precision" and the states.

    Raises CourseError for a file that is missing, cut short, altered in a single bit, or no
    checkpoint of this library. Files without a hash, of earlier versions, are read as well.
    """
    mend = "remove that file to begin the run anew, or put back the one that was there"
    with reading(path, "is no whole checkpoint", mend):
        sealed = _is_sealed(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(state, dict) and state.get("format") == _SEALED and not sealed:
            raise ValueError("its end is missing")
    if (
        not isinstance(state, dict)
        or not state.keys() >= _PARTS.keys()
        or not all(_is(state[key], kind) for key, kind in _PARTS.items())
        or state["step"] < 0
    ):
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
    except Exception as error:  # optimizers and generators fail in as many ways as there are
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
    for phase, saved in zip(phases, state["phases"], strict=True):
        _check_numbers(phase, saved)


def _alike(own, saved, most: float = 1e6) -> bool:
    """Whether a saved setting could stand where one's own does: a number of a like size for a
    number, as many of them for several, the same where it is a switch.
    """
    if isinstance(own, int | float) and not isinstance(own, bool):
        return _is(saved, int | float) and -most * (own < 0) <= saved <= most
    if isinstance(own, list | tuple):  # betas: fractions
        parts = zip(own, saved, strict=True)
        return isinstance(saved, list | tuple) and all(_alike(a, b, 1.0) for a, b in parts)
    return saved is own if isinstance(own, bool | None) else type(saved) is type(own)


def _check_optimizer(own: torch.optim.Optimizer, saved: dict):
    """ValueError where an optimizer's saved settings or state could not be its own: PyTorch
    would take them, and fail in the next step.
    """
    states, number = saved["state"], 0
    for group, other in zip(own.param_groups, saved["param_groups"], strict=True):
        for key in group.keys() - {"params"} - _KERNELS:
            if not _alike(group[key], other[key]):
                raise ValueError(f"{key} of its optimizer is {other[key]!r}")
        # PyTorch counts weights through all groups, and would take any order of them; of
        # another number the module's own error says more
        places, n = other["params"], len(group["params"])
        if len(places) == n and places != list(range(number, number + n)):
            raise ValueError(f"its optimizer moves the weights {places}")
        kinds, shaped = set(), set()
        for weight in group["params"]:
            state = states.get(number, {})
            for key, value in state.items():
                shape = getattr(value, "shape", ())
                if shape and shape != weight.shape:
                    shapes = f"{list(shape)}, not {list(weight.shape)}"
                    raise ValueError(f"size mismatch: {key} of its optimizer is {shapes}")
                if not shape and not math.isfinite(value):
                    raise ValueError(f"{key} of its optimizer is {value}")
            kinds.add(tuple(sorted(map(_kind_of, state.items()), key=str)))
            if state and weight.ndim:  # of a single number, all that is kept is one too
                shaped.add(frozenset(k for k, v in state.items() if getattr(v, "shape", ())))
            number += 1
        if len(kinds - {()}) > 1 or len(shaped) > 1:
            raise ValueError("its optimizer keeps other things of one weight than of another")
    if not states.keys() <= set(range(number)):
        raise ValueError("its optimizer keeps something of a weight that there is not")


def _with_own_kernels(own: torch.optim.Optimizer, saved: dict) -> dict:
    """A saved optimizer whose steps are made in this one's way: fused or not, as it was built
    here.
    """
    groups = [
        other | {key: group[key] for key in _KERNELS & group.keys()}
        for group, other in zip(own.param_groups, saved["param_groups"], strict=True)
    ]
    return saved | {"param_groups": groups}


def _kind_of(entry: tuple) -> tuple:
    """The name of an entry of an optimizer's state, and what kind of thing it is."""
    name, value = entry
    return name, type(value), getattr(value, "dtype", None)


def _check_numbers(phase: Trained, saved: dict):
    """ValueError where what was saved of a phase is of another kind than it has."""
    step = saved["ema"]["step"] if saved["ema"] else 0
    if not _is(step, int) or step < 0:
        raise ValueError(f"the average of {phase.name} has made {step} steps")
    _check_optimizer(phase.optimizer, saved["optimizer"])


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
    phase.optimizer.load_state_dict(_with_own_kernels(phase.optimizer, saved["optimizer"]))
    phase.base_lrs = [group["initial_lr"] for group in phase.optimizer.param_groups]
    if phase.ema is not None:
        phase.ema.load_state_dict(saved["ema"])
