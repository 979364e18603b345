"""One training loop for every lesson."""

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.device import autocast, to_device
from course_lib.files import written_whole


class TrainingDiverged(ValueError):
    """A loss or a gradient became NaN or infinite."""


class Ema:
    """An average of a module's weights over the last part of the run (Karras et al. 2024, eq.
    4).

    beta = (1 - 1 / step) ** (gamma + 1): the average forgets the early run by itself, whatever
    the run's length. With gamma = 6.94 its spread is 10 % of the steps so far. `module` holds
    the averaged copy.
    """

    def __init__(self, module: nn.Module, gamma: float = 6.94):
        self.source, self.gamma, self.step = module, gamma, 0
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self):
        """Take the source's present weights into the average."""
        self.step += 1
        keep = (1 - 1 / self.step) ** (self.gamma + 1)
        averaged, present = self.module.state_dict(), self.source.state_dict()
        floats = [key for key, value in averaged.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [averaged[k] for k in floats],
            [present[k].to(averaged[k]) for k in floats],
            1 - keep,
        )
        for key in averaged.keys() - set(floats):
            averaged[key].copy_(present[key])

    def state_dict(self) -> dict:
        """What a resumed run needs."""
        return {"step": self.step, "module": self.module.state_dict()}

    def load_state_dict(self, state: dict):
        """Take up a saved average."""
        self.step = state["step"]
        self.module.load_state_dict(state["module"])


def warmup_flat_decay(
    warmup: int = 200, flat: float = 0.4, end: float = 0.01
) -> Callable[[int, float], float]:
    """A learning-rate scale (step, progress) -> factor: a short rise, level until progress
    `flat`, a line to `end`.

    step counts from 0; progress is the fraction of the run that is over, 0 to 1.
    """

    def scale(step: int, progress: float) -> float:
        fall = 1 - (1 - end) * max(0.0, progress - flat) / (1 - flat)
        return min(1.0, (step + 1) / warmup) * fall

    return scale


@dataclass
class Phase:
    """One network's turn in a training step. Most lessons have one phase, a GAN has two."""

    name: str  # its losses go under this name
    module: nn.Module  # what is trained
    loss: Callable[..., dict[str, Tensor]]  # batch -> a dict whose entry "loss" is to fall
    optimizer: torch.optim.Optimizer
    ema: Ema | None = None
    lr_scale: Callable[[int, float], float] | None = (
        None  # (step, progress) -> factor on the learning rate
    )
    clip: float = 1.0  # the gradient's norm is cut to this
    base_lrs: list[float] = field(init=False)  # the learning rates before any scale

    def __post_init__(self):
        self.base_lrs = [
            group.get("initial_lr", group["lr"]) for group in self.optimizer.param_groups
        ]
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["initial_lr"] = (
                # survives in the optimizer's state, so that a resumed run scales the same rate
                lr
            )


@dataclass(frozen=True)
class TrainStep:
    """What happened in one step; yielded after the optimizer has moved."""

    step: int  # counts from 1
    losses: dict[str, dict[str, Tensor]]  # by phase, then by name; detached
    lr: float  # learning rate of the first phase
    grad_norm: float  # of the first phase, before the cut
    progress: float  # fraction of the run that is over, 0 to 1

    @property
    def loss(self) -> float:
        """The first phase's loss."""
        return next(iter(self.losses.values()))["loss"].item()


def _check_finite(name: str, what: str, value: float, step: int, lr: float):
    if value != value or value in (float("inf"), float("-inf")):
        raise TrainingDiverged(
            f"{name}: the {what} became {value} at step {step} with learning rate {lr:.2e}. "
            "Try a learning rate three "
            "times smaller, a longer warm-up, or float32; and look at the batch for values "
            "outside [-1, 1]."
        )


def _run_phase(phase: Phase, batch, step: int, progress: float, precision: torch.dtype | None):
    """One loss, one backward pass, one move of one phase's module."""
    factor = 1.0 if phase.lr_scale is None else phase.lr_scale(step - 1, progress)
    for group, lr in zip(phase.optimizer.param_groups, phase.base_lrs, strict=True):
        group["lr"] = lr * factor
    lr = phase.base_lrs[0] * factor
    phase.module.train()
    phase.optimizer.zero_grad(set_to_none=True)
    device = next(phase.module.parameters()).device
    with autocast(device, precision):
        losses = phase.loss(batch)
    _check_finite(phase.name, "loss", losses["loss"].item(), step, lr)
    losses["loss"].backward()
    norm = nn.utils.clip_grad_norm_(phase.module.parameters(), phase.clip).item()
    _check_finite(phase.name, "gradient", norm, step, lr)
    phase.optimizer.step()
    if phase.ema is not None:
        phase.ema.update()
    return {key: value.detach() for key, value in losses.items()}, lr, norm


def train(
    phases: Phase | Sequence[Phase],
    batches: Iterable,
    steps: int,
    *,
    start: int = 0,
    seconds: float | None = None,
    precision: torch.dtype | None = None,
) -> Iterator[TrainStep]:
    """Train for `steps` steps (counted from 0, also when resumed at `start`), yielding after
    each one.

    seconds, if given, is a budget of wall-clock time that may end the run sooner; progress is
    then whichever is further, so that the learning rate comes down in time. precision is by
    default course_lib.precision of the device. Raises TrainingDiverged where a loss or a
    gradient is no number.
    """
    phases = [phases] if isinstance(phases, Phase) else list(phases)
    began, stream = time.monotonic(), iter(batches)
    for step in range(start + 1, steps + 1):
        progress = (step - 1) / steps
        if seconds is not None:
            progress = max(progress, (time.monotonic() - began) / seconds)
            if progress >= 1:
                return
        try:
            batch = next(stream)
        except StopIteration:
            raise ValueError(
                f"The batches ended after {step - 1} steps of {steps}: give endless ones."
            ) from None
        losses = {}
        for i, phase in enumerate(phases):
            device = next(phase.module.parameters()).device
            losses[phase.name], phase_lr, phase_norm = _run_phase(
                phase, to_device(batch, device), step, progress, precision
            )
            if i == 0:
                lr, norm = phase_lr, phase_norm
        yield TrainStep(step, losses, lr, norm, step / steps if seconds is None else progress)


def launched_processes() -> int:
    """How many processes `accelerate launch` or torchrun started; 1 without them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched_accelerator():
    """Accelerate's Accelerator where `accelerate launch` started several processes, else None.

    A loss that calls `accelerator.prepare(net)` in place of `net` has its gradients averaged
    over the processes.
    """
    if launched_processes() < 2:
        return None
    from accelerate import Accelerator

    return Accelerator(mixed_precision="no")  # course_lib.device.autocast sees to precision


def save_state(
    path: str | Path,
    step: int,
    phases: Phase | Sequence[Phase],
    batches=None,
    generators=(),
    *,
    run: str = "",
):
    """Write all that a run needs to go on as if it had never stopped. Atomic: a cut leaves the
    old file whole.

    batches needs state_dict(); generators are the torch.Generators that the losses draw from.
    run says which run this is, its settings for example, so that no other goes on from here by
    mistake.
    """
    phases = [phases] if isinstance(phases, Phase) else list(phases)
    state = {
        "run": run,
        "step": step,
        "batches": batches.state_dict() if batches is not None else None,
        "generators": [generator.get_state() for generator in generators],
        "phases": [
            {
                "name": phase.name,
                "module": phase.module.state_dict(),
                "optimizer": phase.optimizer.state_dict(),
                "ema": phase.ema.state_dict() if phase.ema is not None else None,
            }
            for phase in phases
        ],
    }
    with written_whole(path) as part:
        torch.save(state, part)


def load_state(
    path: str | Path,
    phases: Phase | Sequence[Phase],
    batches=None,
    generators=(),
    *,
    run: str = "",
) -> int:
    """Take up what `save_state` wrote; returns the step to give to `train` as `start`.

    Raises ValueError where the file holds another run, or other phases.
    """
    phases = [phases] if isinstance(phases, Phase) else list(phases)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state.get("run", "") != run:
        raise ValueError(
            f"{path} is the checkpoint of another run "
            f"({state.get('run') or 'of an unknown kind'}): give this one a "
            "folder of its own, or remove that file."
        )
    names = [saved["name"] for saved in state["phases"]]
    if names != [phase.name for phase in phases]:
        raise ValueError(
            f"{path} holds the phases {names}, not {[phase.name for phase in phases]}."
        )
    for phase, saved in zip(phases, state["phases"], strict=True):
        phase.module.load_state_dict(saved["module"])
        phase.optimizer.load_state_dict(saved["optimizer"])
        phase.base_lrs = [group["initial_lr"] for group in phase.optimizer.param_groups]
        if phase.ema is not None and saved["ema"] is not None:
            phase.ema.load_state_dict(saved["ema"])
    if batches is not None:
        batches.load_state_dict(state["batches"])
    for generator, saved in zip(generators, state["generators"], strict=True):
        generator.set_state(saved)
    return state["step"]
