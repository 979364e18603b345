"""One training loop for every lesson."""

import copy
import inspect
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from course_lib.checkpoint import load_plain, plain_state
from course_lib.device import autocast, precision_name, to_device
from course_lib.device import precision as device_precision
from course_lib.errors import CourseError


class TrainingDiverged(CourseError):
    """A loss or a gradient became NaN or infinite."""


class Ema:
    """An average of a module's weights over the last part of the run (Karras et al. 2024, eq.
    4).

    beta = (1 - 1 / step) ** (gamma + 1): the average forgets the early run by itself, whatever
    the run's length. With gamma = 6.94 its spread is 10 % of the steps so far. `module` holds
    the averaged copy.
    """

    def __init__(self, module: nn.Module, gamma: float = 6.94):
        if not gamma >= 0:
            raise ValueError(f"gamma of an average is 0 or more, not {gamma}.")
        self.source, self.gamma, self.step = module, gamma, 0
        bare = getattr(module, "_orig_mod", module)  # within torch.compile's wrapper
        self.module = copy.deepcopy(bare).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self):
        """Take the source's present weights into the average."""
        self.step += 1
        keep = (1 - 1 / self.step) ** (self.gamma + 1)
        averaged, present = plain_state(self.module), plain_state(self.source)
        # a weight that two layers share stands in state_dict twice, and moves once
        floats = list(
            {v.data_ptr(): k for k, v in averaged.items() if v.is_floating_point()}.values()
        )
        torch._foreach_lerp_(
            [averaged[k] for k in floats],
            [present[k].to(averaged[k]) for k in floats],
            1 - keep,
        )
        for key, value in averaged.items():
            if not value.is_floating_point():
                value.copy_(present[key])

    def state_dict(self) -> dict:
        """What a resumed run needs."""
        return {"step": self.step, "module": plain_state(self.module)}

    def load_state_dict(self, state: dict):
        """Take up a saved average."""
        self.step = state["step"]
        load_plain(self.module, state["module"])


def warmup_flat_decay(
    warmup: int = 200, flat: float = 0.4, end: float = 0.01
) -> Callable[[int, float], float]:
    """A learning-rate scale (step, progress) -> factor: a short rise, level until progress
    `flat`, a line to `end`.

    step counts from 0; progress is the fraction of the run that is over, 0 to 1. warmup = 0
    leaves the rise out, flat = 1 the fall.
    """
    if not (warmup >= 0 and 0 <= flat <= 1 and 0 <= end < math.inf):
        raise CourseError(
            "warmup_flat_decay takes warmup of 0 steps or more, flat from 0 to 1 and end of 0 "
            f"or more, not {warmup}, {flat} and {end}."
        )

    def scale(step: int, progress: float) -> float:
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        fall = 1 - (1 - end) * max(0.0, progress - flat) / (1 - flat) if flat < 1 else 1.0
        return rise * fall

    return scale


@dataclass
class Phase:
    """One network's turn in a training step. Most lessons have one phase, a GAN has two.

    A loss may run through another phase's network: that one's weights do not move, and the
    gradients left there are cleared before its own turn.
    """

    name: str  # its losses go under this name
    module: nn.Module  # what is trained
    # batch, or (batch, step) with step from 1 -> a dict whose entry "loss" is to fall
    loss: Callable[..., dict[str, Tensor]]
    optimizer: torch.optim.Optimizer
    ema: Ema | None = None
    # (step, progress) -> factor on the learning rate; step counts the run's from 0
    lr_scale: Callable[[int, float], float] | None = None
    clip: float = 1.0  # the gradient's norm is cut to this
    every: int = 1  # it has its turn at steps every, 2 every ...; the first phase at each
    base_lrs: list[float] = field(init=False)  # the learning rates before any scale
    # what its loss is computed in: noted by train, kept in a checkpoint, taken up with it
    precision: torch.dtype | None = field(init=False, default=None)

    def __post_init__(self):
        if not isinstance(self.every, int) or self.every < 1:
            raise ValueError(f"{self.name}: every is a whole number from 1, not {self.every}.")
        self.base_lrs = [
            group.get("initial_lr", group["lr"]) for group in self.optimizer.param_groups
        ]
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            # survives in the optimizer's state, so that a resumed run scales the same rate
            group["initial_lr"] = lr


@dataclass(frozen=True)
class TrainStep:
    """What happened in one step; yielded after the optimizer has moved."""

    step: int  # counts from 1
    # by phase, of those that had their turn, then by name; detached
    losses: dict[str, dict[str, Tensor]]
    lr: float  # learning rate of the first phase
    grad_norm: float  # of the first phase, before the cut
    progress: float  # fraction of the run that is over, 0 to 1
    loss: float  # of the first phase


def _with_step(loss: Callable) -> Callable:
    """The loss as (batch, step) -> dict: one of the batch alone never hears of the step."""
    try:
        taken = list(inspect.signature(loss).parameters.values())
    except (TypeError, ValueError):  # a function of C may have no signature to read
        taken = []
    places = [p for p in taken if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    # a second place with a default is an option of the loss's own, unless it is the step's
    if len(places) > 1 and (
        places[1].default is inspect.Parameter.empty or _is_step(places[1])
    ):
        return loss
    if any(p.kind is p.KEYWORD_ONLY and _is_step(p) for p in taken):
        return lambda batch, step: loss(batch, step=step)
    return lambda batch, step: loss(batch)


def _is_step(parameter: inspect.Parameter) -> bool:
    return parameter.name == "step"


def _total(name: str, losses) -> Tensor:
    """The entry "loss"; CourseError where a reader's own loss returns something else."""
    total = losses.get("loss") if isinstance(losses, dict) else None
    if not isinstance(total, Tensor) or total.numel() != 1:
        raise CourseError(
            f'{name}: a loss returns a dict whose entry "loss" is a tensor of one number, '
            f'{{"loss": error.mean()}} for example, not {_shown(losses)}.'
        )
    return total


def _shown(losses) -> str:
    if isinstance(losses, Tensor):
        return f"a tensor {list(losses.shape)}"
    if not isinstance(losses, dict):
        return f"a {type(losses).__name__}"
    kinds = (
        f"{k}: {list(v.shape) if isinstance(v, Tensor) else v}" for k, v in losses.items()
    )
    return "{" + ", ".join(kinds) + "}"


def _check_finite(name: str, what: str, value: float, step: int, lr: float):
    if not math.isfinite(value):
        raise TrainingDiverged(
            f"{name}: the {what} became {value} at step {step} with learning rate {lr:.3g}. "
            "Try a learning rate three "
            "times smaller, a longer warm-up, or float32; and look at the batch for values "
            "outside [-1, 1]."
        )


def _run_phase(phase: Phase, loss: Callable, batch, step: int, progress: float):
    """One loss, one backward pass, one move of one phase's module: its losses, and as numbers
    the learning rate, the gradient's norm and the loss.
    """
    factor = 1.0 if phase.lr_scale is None else phase.lr_scale(step - 1, progress)
    for group, lr in zip(phase.optimizer.param_groups, phase.base_lrs, strict=True):
        group["lr"] = lr * factor
    lr = phase.base_lrs[0] * factor
    phase.module.train()
    phase.optimizer.zero_grad(set_to_none=True)
    with autocast(_device_of(phase), phase.precision):
        losses = loss(batch, step)
    total = _total(phase.name, losses)
    total.backward()
    norm = nn.utils.clip_grad_norm_(phase.module.parameters(), phase.clip)
    value, norm = _read(total, norm)
    _check_finite(phase.name, "loss", value, step, lr)
    _check_finite(phase.name, "gradient", norm, step, lr)
    phase.optimizer.step()
    if phase.ema is not None:
        phase.ema.update()
    return {key: entry.detach() for key, entry in losses.items()}, lr, norm, value


def _read(total: Tensor, norm: Tensor) -> list[float]:
    """Loss and norm as numbers, in one go: a GPU is waited for once a step and no more."""
    kind = torch.promote_types(total.dtype, norm.dtype)
    both = [total.detach().reshape(()).to(kind), norm.to(total.device, kind)]
    return torch.stack(both).tolist()


def _device_of(phase: Phase) -> torch.device:
    return next(phase.module.parameters()).device


def _settle_precision(phases: list[Phase], asked: torch.dtype | None, start: int):
    """Note in each phase what the run is computed in: one precision from its first step to its
    last.
    """
    if asked is torch.float16:
        raise CourseError(
            "float16 needs losses that are scaled, which train does not do: its small "
            "gradients would be 0. Take bfloat16 or float32."
        )
    begun = phases[0].precision if start else None
    if asked is not None and begun is not None and asked != begun:
        raise CourseError(
            f"{phases[0].name} was computed in {precision_name(begun)} up to step {start} and "
            f"goes on in it, not in {precision_name(asked)}: leave precision out, or begin "
            "the run anew."
        )
    for phase in phases:
        phase.precision = asked or begun or device_precision(_device_of(phases[0]))


def _check_run(phases: list[Phase], seconds: float | None):
    names = [phase.name for phase in phases]
    if not phases or len(set(names)) < len(names) or phases[0].every != 1:
        raise ValueError(
            "A run has one phase or more, each with a name of its own, and the first has its "
            f"turn at every step; these are {names}."
        )
    if seconds is not None and not seconds > 0:
        raise CourseError(f"Train for more than 0 seconds, not {seconds}.")


def _next_of(stream: Iterator, step: int, steps: int):
    try:
        return next(stream)
    except StopIteration:
        raise CourseError(
            f"The batches ended after {step - 1} steps of {steps}: give endless ones."
        ) from None


def train(
    phases: Phase | Sequence[Phase],
    batches: Iterable,
    steps: int,
    *,
    start: int = 0,
    seconds: float | None = None,
    spent: float = 0.0,
    precision: torch.dtype | None = None,
) -> Iterator[TrainStep]:
    """Train for `steps` steps (counted from 0, also when resumed at `start`), yielding after
    each one.

    seconds, if given, is a budget of wall-clock time that may end the run sooner; progress is
    then whichever is further, so that the learning rate comes down in time. spent: the seconds
    that earlier pieces of a resumed run took of it. precision is by default
    course_lib.precision of the device; a run that goes on keeps that of its
    checkpoint, and CourseError refuses another. Raises TrainingDiverged where a loss or a
    gradient is no number; that phase's weights are then those before that step.
    """
    phases = [phases] if isinstance(phases, Phase) else list(phases)
    _check_run(phases, seconds)
    _settle_precision(phases, precision, start)
    losses_of = [_with_step(phase.loss) for phase in phases]
    began, stream = time.monotonic(), iter(batches)
    for step in range(start + 1, steps + 1):
        progress = (step - 1) / steps
        if seconds is not None:
            progress = max(progress, (spent + time.monotonic() - began) / seconds)
            if progress >= 1:
                return
        batch, turns = _next_of(stream, step, steps), {}
        for phase, loss in zip(phases, losses_of, strict=True):
            if step % phase.every == 0:
                batch = to_device(batch, _device_of(phase))
                turns[phase.name] = _run_phase(phase, loss, batch, step, progress)
        losses = {name: turn[0] for name, turn in turns.items()}
        _, lr, norm, value = turns[phases[0].name]
        over = step / steps if seconds is None else progress
        yield TrainStep(step, losses, lr, norm, over, value)


def launched_processes() -> int:
    """How many processes `accelerate launch` or torchrun started; 1 without them."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def launched_accelerator():
    """Accelerate's Accelerator where `accelerate launch` started several processes, else None.

    A loss that calls `accelerator.prepare(net)` in place of `net` has its gradients averaged
    over the processes. CourseError where they don't know of each other, and would each train
    alone and write over the others.
    """
    if launched_processes() < 2:
        return None
    from accelerate import Accelerator

    # course_lib.device.autocast sees to precision
    accelerator = Accelerator(mixed_precision="no")
    if accelerator.num_processes != launched_processes():
        raise CourseError(
            f"{launched_processes()} processes were launched and do not find each other: on "
            "processors alone, set ACCELERATE_USE_CPU=true."
        )
    return accelerator
