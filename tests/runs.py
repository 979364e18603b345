"""A small training run of the real recipe, as a script: to be killed and resumed, or shared by
two processes.

python runs.py resume FOLDER STEPS    goes on from FOLDER/state.pt, and writes each step's loss
to FOLDER/losses.txt
python runs.py whole FOLDER STEPS     writes the weights after STEPS to
FOLDER/RANK-of-WORLD.pt, losses within
"""

import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

from course_lib import load_state, save_state
from course_lib import runs as course_runs
from course_lib.models import UNetConfig
from course_lib.recipes import ddpm_fashion
from course_lib.runs import Run, begin
from course_lib.training import launched_accelerator, train

RECIPE = replace(
    ddpm_fashion.RECIPE,
    config=UNetConfig(widths=(16, 32), blocks=1, head_dim=16, emb_dim=32),
    legs=(ddpm_fashion.DdpmLeg(1000),),
)


def fake_data() -> tuple[torch.Tensor, torch.Tensor]:
    """600 images uint8 [600, 28, 28] that need no unpacking: a bright square, its place and
    size by the label.
    """
    labels = torch.arange(600) % 10
    images = torch.zeros(600, 28, 28, dtype=torch.uint8)
    for i, label in enumerate(labels.tolist()):
        images[i, label : 2 * label + 5, label : label + 9] = 100 + i % 150
    return images, labels


def begun(recipe=RECIPE, accelerator=None) -> tuple[Run, tuple]:
    """The run at its beginning, on fake data, and its parts as save_state takes them."""
    with patch.object(ddpm_fashion, "fashion_mnist", lambda split: fake_data()):
        setting, run = begin(recipe, accelerator=accelerator)
    return run, (run.phases, run.batches, [setting.draws.generator])


def resume(folder: Path, steps: int, save_every: int = 2):
    """Train from the last saved state, and write a line after each step: its number, loss and
    rate, to the last bit.
    """
    (run, parts), state = begun(), folder / "state.pt"
    start = load_state(state, *parts) if state.exists() else 0
    with open(folder / "losses.txt", "a") as file:
        for done in train(
            run.phases, run.batches, steps, start=start, precision=torch.float32
        ):
            file.write(f"{done.step} {done.loss.hex()} {done.lr.hex()}\n")
            file.flush()
            if done.step % save_every == 0:
                save_state(state, done.step, *parts)
    return run


def whole(folder: Path, steps: int):
    """Train from nothing, one process's share of the global batch where there are several."""
    accelerator = launched_accelerator()
    run, _ = begun(accelerator=accelerator)
    net = run.phases[0].module
    start = {name: value.clone() for name, value in net.state_dict().items()}
    history = [
        (done.loss, done.grad_norm, done.losses[RECIPE.name]["t"])
        for done in train(run.phases, run.batches, steps, precision=torch.float32)
    ]
    rank, world = (
        (0, 1)
        if accelerator is None
        else (accelerator.process_index, accelerator.num_processes)
    )
    result = {
        "start": start,
        "net": net.state_dict(),
        "ema": run.result.state_dict(),
        "history": history,
    }
    torch.save(result, folder / f"{rank}-of-{world}.pt")
    if accelerator is not None:
        accelerator.end_training()


def cut_at(monkeypatch, step: int):
    """The next run ends as if the power failed, after this step and its checkpoint."""

    def cut(*args, **options):
        for done in train(*args, **options):
            yield done
            if done.step == step:
                raise KeyboardInterrupt

    monkeypatch.setattr(course_runs, "train", cut)
    monkeypatch.setattr(course_runs, "SAVE_EVERY", -1.0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"resume": resume, "whole": whole}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
