"""Train every shipped model in order on one accelerator, side by side where none waits for
another: `python tools/on_gpu.py --seconds 540`.

Each part is the very command that makes it on a processor, `python -m course_lib train NAME
--seconds S`, in a process of its own; so a run that was cut goes on from its checkpoints when
this is started again with the same numbers. Seconds are shares of the time given. A part whose
parts are missing waits for them (`sd-emoji` needs its autoencoder and its text tower).

    --only NAME,NAME   these alone
    --folder F         checkpoints, logs, new weights and cards (default: runs/)
    --check            the library's tests on this device first
    --speed            images a second of every recipe, and nothing else
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
THREADS = 2  # a process; the work is the accelerator's


@dataclass(frozen=True)
class Part:
    """One model: its share of the time, and which must be there before it starts."""

    share: float
    after: tuple[str, ...] = ()


PARTS = {
    "emoji-autoencoder": Part(0.28),
    "emoji-clip": Part(0.24),
    "emoji-judge": Part(0.24),
    "emoji-style": Part(0.10),
    "sd-emoji": Part(0.60, after=("emoji-autoencoder", "emoji-clip")),
    "emoji-superres-direct": Part(0.20),
    "emoji-superres": Part(0.40, after=("emoji-superres-direct",)),
    "pixelcnn-fashion": Part(0.85),
    "vae-fashion": Part(0.25),
    "vae-fashion-binary": Part(0.40),
    "flow-fashion": Part(0.85),
    "gan-fashion": Part(0.80),
}
TESTS = [
    f"tests/test_{name}.py"
    for name in ("layers_unet", "samplers", "schedule", "denoiser", "guidance", "training")
]


def take_in(name: str, made: Path):
    """Put a part's weights and card where the library looks for them."""
    from course_lib.weights import WEIGHTS, list_shipped

    for ending in (".safetensors", ".json"):
        shutil.copy(made / f"{name}{ending}", WEIGHTS / f"{name}{ending}")
    list_shipped(name)


def start(name: str, seconds: float, folder: Path) -> subprocess.Popen:
    """Begin, or go on with, one part's training; its words go to FOLDER/NAME.log."""
    log = open(folder / f"{name}.log", "a", encoding="utf-8")
    command = [sys.executable, "-m", "course_lib", "train", name, "--seconds", f"{seconds:g}"]
    command += ["--folder", str(folder / name), "--out", str(folder / "made")]
    env = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=env)


def train(names: list[str], seconds: float, folder: Path) -> dict[str, str]:
    """Run the parts, each as soon as what it needs is there: name -> how it ended."""
    (folder / "made").mkdir(parents=True, exist_ok=True)
    began, running, ended = time.time(), {}, {}

    def say(text: str):
        print(f"{time.time() - began:6.0f} s  {text}", flush=True)

    while len(ended) < len(names):
        for name in names:
            needs = [other for other in PARTS[name].after if other in names]
            if name in ended or name in running:
                continue
            if any(ended.get(other, "made") != "made" for other in needs):
                ended[name] = "left out: what it needs was not made"
                say(f"{name}: {ended[name]}")
            elif all(other in ended for other in needs):
                running[name] = start(name, PARTS[name].share * seconds, folder)
                say(f"{name}: begun, {PARTS[name].share * seconds:.0f} s")
        for name, process in list(running.items()):
            if process.poll() is None:
                continue
            del running[name]
            ended[name] = "made" if process.returncode == 0 else f"exit {process.returncode}"
            if ended[name] == "made":
                take_in(name, folder / "made")
            say(f"{name}: {ended[name]}")
        time.sleep(0.5)
    return ended


def speed(name: str, rounds: int = 30) -> dict:
    """Images a second in training, this process alone on the device, and the memory held."""
    import torch

    from course_lib.recipes import recipe
    from course_lib.runs import begin
    from course_lib.training import train as steps_of

    kind = recipe(name)
    _, run = begin(kind)
    began, warm = 0.0, 10
    for done in steps_of(run.phases, run.batches, warm + rounds):
        if done.step == warm:
            began = time.perf_counter()
    seconds = time.perf_counter() - began  # every step reads its loss, so the device is done
    found = {"name": name, "images_per_second": round(rounds * kind.batch_size / seconds)}
    if torch.cuda.is_available():
        found["GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
        found["device"] = torch.cuda.get_device_name()
    return found


def main() -> int:
    """Do what was asked; returns the number of parts that were not made."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--folder", type=Path, default=ROOT / "runs")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    names = args.only.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if args.check:
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", *TESTS], cwd=ROOT)
        if done.returncode:
            return done.returncode
    if args.speed:
        for name in names:
            try:
                print(json.dumps(speed(name)), flush=True)
            except Exception as error:  # one that fails must not hide the others' figures
                print(f"{name}: {type(error).__name__}: {error}", flush=True)
        return 0
    ended = train(names, args.seconds, args.folder)
    return sum(how != "made" for how in ended.values())


if __name__ == "__main__":
    sys.exit(main())
