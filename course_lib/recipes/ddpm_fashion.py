"""DDPM on Fashion-MNIST, class-conditional, and the early snapshots of the same run."""

import contextlib
import json
import platform
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from course_lib.data import Batches, cache_folder, fashion_mnist
from course_lib.data.fashion import RAW_SHA256
from course_lib.device import default_device, place, precision
from course_lib.diffusion import Denoiser, Schedule, clipped
from course_lib.diffusion.denoiser import share_of
from course_lib.models import UNet, UNetConfig
from course_lib.optim import Muon
from course_lib.recipes.sampling import Sampling
from course_lib.training import (
    Ema,
    Phase,
    TrainStep,
    launched_accelerator,
    load_state,
    save_state,
    train,
    warmup_flat_decay,
)
from course_lib.weights import WEIGHTS, load_weights, save_weights

NAME = "ddpm-fashion"
CONFIG = UNetConfig(widths=(64, 128))  # chosen in benchmarks/choose_net.md
IMAGE_SHAPE = (1, 28, 28)
SCHEDULE = "cosine"
TARGET = "v"
LR = 2e-3
BATCH_SIZE = 64
DROP = 0.1  # of the labels, so that the same net learns to work without one
SEED = 0
SAVE_EVERY = 180  # seconds between checkpoints
SNAPSHOTS = {
    f"{NAME}-10k": 156,
    f"{NAME}-50k": 781,
    f"{NAME}-250k": 3906,
}  # by images seen; first leg's step of each
BEST = Sampling(
    "unipc", guide=f"{NAME}-250k", guide_scale=2.0
)  # chosen in benchmarks/choose_sampling.md


@dataclass(frozen=True)
class Leg:
    """A part of the run: it starts from the averaged weights of the part before, and at the
    full learning rate again.

    So a finished run can be carried on from its weights file alone, without the optimizer's
    state.
    """

    steps: int
    # fraction of its steps at the full learning rate; over the rest it comes down in a line
    flat: float = 0.4
    least: float = (
        0.2  # the least weight that an error in v has at any time; 1 weights all times alike
    )


LEGS = (
    Leg(5_100, flat=0.76, least=1.0),
    Leg(23_000, least=0.0),
    Leg(16_000),
)  # why three: benchmarks/choose_net.md


def min_snr(alpha: Tensor, sigma: Tensor, least: float = 0.0) -> Tensor:
    """Min-SNR weighting with gamma 5, for the target v (Hang et al. 2023, section 3.4): [B] to
    [B].

    Each error in v counts min(SNR, 5) / (SNR + 1), less where there is hardly any noise or
    hardly anything else, but nowhere less than `least`: without it the smallest times go
    untrained, and long samplings look there.
    """
    return torch.minimum(alpha**2, 5 * sigma**2).clamp(min=least)  # alpha^2 + sigma^2 = 1


def schedule() -> Schedule:
    """The schedule that the shipped net was trained on."""
    return getattr(Schedule, SCHEDULE)()


def denoiser(net: UNet) -> Denoiser:
    """A net of this recipe, read rightly."""
    return Denoiser(net, schedule(), TARGET)


def sampling_denoiser(net: UNet):
    """The same with x_0 kept inside the grey scale, as the shipped figures were measured."""
    return clipped(denoiser(net), schedule())


def best_sampling(name: str, calls: int) -> Sampling:
    """The way that gives the least distance for so many calls: with few, steps are worth more
    than a guide.
    """
    return BEST if name == NAME and calls >= 20 else Sampling(BEST.sampler)


def drop_labels(
    labels: Tensor,
    null_class: int,
    generator: torch.Generator,
    shard: tuple[int, int] = (0, 1),
) -> Tensor:
    """Replace a tenth of the labels [B] by "no class" (Ho & Salimans 2022, Algorithm 1, line
    3).
    """
    dropped = share_of(torch.rand(len(labels) * shard[1], generator=generator), shard) < DROP
    return torch.where(dropped.to(labels.device), null_class, labels)


def loss_on(
    denoise: Denoiser,
    null_class: int,
    generator: torch.Generator,
    shard: tuple[int, int] = (0, 1),
):
    """The loss of a training step, batch of (images, labels) -> {"loss", "per_image", "t"},
    its randomness explicit.
    """

    def loss(batch) -> dict[str, Tensor]:
        x0, labels = batch
        cond = drop_labels(labels, null_class, generator, shard)
        return denoise.loss(x0, cond, generator=generator, shard=shard)

    return loss


@dataclass
class Run:
    """All of a run's state, ready for `train`, `save_state` and `load_state`."""

    net: UNet
    phase: Phase
    batches: Batches
    generator: torch.Generator

    @property
    def parts(self) -> tuple:
        """What save_state and load_state take after their path (and step)."""
        return self.phase, self.batches, [self.generator]


def setup(
    config: UNetConfig = CONFIG,
    leg: Leg = LEGS[-1],
    number: int = 1,
    *,
    start: UNet | None = None,
    accelerator=None,
    data=None,
) -> Run:
    """Leg `number` of the run at its beginning, a process's share of it under an Accelerator.

    start: the net whose weights a later leg goes on from. data is (images, labels), by default
    Fashion-MNIST's training split. Every leg has its own noise and its own order of the
    images.
    """
    seed = SEED + number - 1
    torch.manual_seed(seed)
    shard, device, prepare = (0, 1), default_device(), lambda net: net
    if accelerator is not None:
        shard, device = (
            (accelerator.process_index, accelerator.num_processes),
            accelerator.device,
        )
        prepare = accelerator.prepare
    net = UNet(config)
    if start is not None:
        net.load_state_dict(start.state_dict())
    net = place(net, device, compiled=True)
    generator = torch.Generator().manual_seed(seed)
    denoise = Denoiser(prepare(net), schedule(), TARGET, partial(min_snr, least=leg.least))
    loss = loss_on(denoise, config.null_class, generator, shard)
    phase = Phase(
        NAME, net, loss, Muon(net, lr=LR), Ema(net), warmup_flat_decay(flat=leg.flat)
    )
    batches = Batches(*(data or fashion_mnist("train")), BATCH_SIZE, seed, shard=shard)
    return Run(net, phase, batches, generator)


def card(name: str, images: int, seconds: float, **more) -> dict:
    """What a reader of the weights should know of the run that made them."""
    return {
        "name": name,
        "what": "Class-conditional DDPM of Fashion-MNIST, target v on the cosine schedule; "
        "the EMA's weights.",
        "command": "python -m course_lib train ddpm-fashion",
        "data": "Fashion-MNIST, the 55,000 training images",
        "data_sha256": RAW_SHA256,
        "seed": SEED,
        "batch_size": BATCH_SIZE,
        "images_seen": images,
        "training_seconds": round(seconds),
        "precision": str(precision()).removeprefix("torch."),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}",
        **more,
    }


def _row(line: str) -> dict | None:
    """A line of the log; None where it is empty or was cut short."""
    with contextlib.suppress(ValueError):
        return json.loads(line)


class _Log:
    """The losses of a leg, a line every 100 steps, and the training time over all the pieces
    that it was cut into.
    """

    def __init__(self, path: Path, start: int, tell):
        rows = (
            list(map(_row, path.read_text(encoding="utf-8").splitlines()))
            if path.exists()
            else []
        )
        self.before = max(
            (row["seconds"] for row in rows if row and row["step"] <= start), default=0.0
        )
        self.path, self.tell, self.began, self.losses = path, tell, time.time(), []

    @property
    def seconds(self) -> float:
        return self.before + time.time() - self.began

    def note(self, done: TrainStep):
        self.losses.append(done.loss)
        if done.step % 100 == 0:
            mean = sum(self.losses) / len(
                self.losses
            )  # of the last 100 steps, fewer after a cut
            row = {
                "step": done.step,
                "seconds": round(self.seconds, 1),
                "loss": round(mean, 5),
                "lr": done.lr,
            }
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(
                    "\n" + json.dumps(row)
                )  # in front, so that a line cut short by a full disk spoils no other
            self.tell(row)
            self.losses.clear()


def _read_card(path: Path) -> dict:
    """The card beside a leg's weights."""
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def _kind(number: int, leg: Leg, before: Path | None) -> str:
    """All that decides what a leg makes, but for its length: a run may be made longer."""
    settings = {key: value for key, value in asdict(leg).items() if key != "steps"}
    recipe = {
        "schedule": SCHEDULE,
        "target": TARGET,
        "lr": LR,
        "batch_size": BATCH_SIZE,
        "drop": DROP,
        "seed": SEED,
    }
    start = _read_card(before)["sha256"][:12] if before else None
    return json.dumps({"leg": number, "start": start, **settings, **asdict(CONFIG), **recipe})


def _is_made(end: Path, kind: str) -> bool:
    """Whether a leg is done; ValueError where what is there was made in another way."""
    if not (end.exists() and end.with_suffix(".json").exists()):  # the card is written last
        return False
    if _read_card(end).get("run") != kind:
        raise ValueError(
            f"{end} was made by another run: remove it, or train in another --folder."
        )
    return True


def _run_leg(
    number: int,
    leg: Leg,
    kind: str,
    before: Path | None,
    end: Path,
    out: Path,
    accelerator,
    tell,
):
    """Train one leg, or go on from its last checkpoint: from the weights `before` to the
    averaged ones, `end`.
    """
    previous = load_weights(UNet, before, device="cpu") if before else None
    this = setup(CONFIG, leg, number, start=previous, accelerator=accelerator)
    state = end.with_name(f"leg-{number}.pt")
    start = load_state(state, *this.parts, run=kind) if state.exists() else 0
    if start > leg.steps:
        raise ValueError(
            f"{state} has made {start} steps already: ask for as many or more, or remove "
            "that file."
        )
    if start:
        tell(f"going on at step {start} from {state}")
    log, saved = _Log(end.with_name(f"leg-{number}.jsonl"), start, tell), time.time()
    leads = accelerator is None or accelerator.is_main_process  # only one process writes
    for done in train(this.phase, this.batches, leg.steps, start=start):
        if not leads:
            continue
        log.note(done)
        for name, at in SNAPSHOTS.items():
            if number == 1 and done.step == at:
                snapshot = card(name, at * BATCH_SIZE, log.seconds)
                save_weights(this.phase.ema.module, out / name, snapshot, dtype=torch.float16)
        if time.time() - saved > SAVE_EVERY or done.step == leg.steps:
            save_state(state, done.step, *this.parts, run=kind)
            saved = time.time()
    if leads:
        legs = _read_card(before)["legs"] if before else []
        legs = [
            *legs,
            {**asdict(leg), "images": leg.steps * BATCH_SIZE, "seconds": round(log.seconds)},
        ]
        images, seconds = (sum(each[key] for each in legs) for key in ("images", "seconds"))
        size = sum(p.numel() for p in this.net.parameters())
        seen = card(NAME, images, seconds, legs=legs, parameters=size)
        save_weights(this.phase.ema.module, end, {**seen, "run": kind}, dtype=torch.float16)


def run(
    *,
    steps: int | None = None,
    folder: str | Path | None = None,
    out: str | Path | None = None,
    log=print,
):
    """Train, or go on from the last checkpoint in `folder` (by default the user's cache);
    write weights and cards.

    steps, if given, makes it a run of one leg of that length.
    """
    if steps is not None and steps < 1:
        raise ValueError(f"Train for 1 or more steps, not {steps}.")
    folder = Path(folder or (cache_folder() or Path(".")) / "runs" / NAME)
    folder.mkdir(parents=True, exist_ok=True)
    out, accelerator = Path(out or WEIGHTS), launched_accelerator()
    before = None
    for number, leg in enumerate(LEGS if steps is None else (Leg(steps),), 1):
        end = folder / f"leg-{number}-{leg.steps}.safetensors"
        kind = _kind(number, leg, before)
        if not _is_made(end, kind):
            _run_leg(number, leg, kind, before, end, out, accelerator, log)
            if accelerator is not None:
                accelerator.wait_for_everyone()
        before = end
    if accelerator is None or accelerator.is_main_process:
        net = load_weights(UNet, end, device="cpu")
        made = {key: value for key, value in _read_card(end).items() if key != "run"}
        log(f"wrote {save_weights(net, out / NAME, made, dtype=torch.float16)}")
