"""Train the shipped models in order on one accelerator: `python tools/on_gpu.py`. All but
ddpm-fashion and fashion-classifier, which two processor cores make.

Each part is the very command that makes it on a processor, `python -m course_lib train NAME`,
in a process of its own; so a run that was cut goes on from its checkpoints when this is
started again with the same numbers. A part waits for those whose weights it reads (`sd-emoji`
its autoencoder, its text tower and its judges), and they are taken in before it begins.

Fewer at a time is better: nine side by side on one H200 gave each about a ninth of its speed
alone, so nothing was won by it but the wait for the slowest.

    --only NAME,NAME   these alone; they begin in this order
    --at-once N        how many train side by side (2)
    --seconds S        by the clock, each its share of S; else each its recipe's own steps
    --carry-on         a further leg, of its share of S, on the shipped weights, not new ones
    --folder F         checkpoints, logs, new weights and cards (default: runs/)
    --check            the library's tests on this device first
    --speed            images a second of each in training, and nothing else
"""

import argparse
import json
import os
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
    """One model: its share of the time where a run is by the clock, and whose weights it
    reads.
    """

    share: float
    after: tuple[str, ...] = ()


PARTS = {
    "emoji-autoencoder": Part(0.28, after=("emoji-judge",)),  # its distance is the judge's
    "emoji-clip": Part(0.24),
    "emoji-clip-unseen": Part(0.10),
    "emoji-judge": Part(0.24),
    "emoji-style": Part(0.10),
    "emoji-style-guide": Part(0.10, after=("emoji-autoencoder",)),
    # the judges too: its figures are theirs
    "sd-emoji": Part(
        0.60,
        after=(
            "emoji-autoencoder",
            "emoji-clip",
            "emoji-judge",
            "emoji-style",
            "emoji-style-guide",
        ),
    ),
    "emoji-superres-direct": Part(0.20, after=("emoji-judge",)),
    "emoji-superres": Part(0.40, after=("emoji-superres-direct", "emoji-judge")),
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


def take_in(name: str, made: Path) -> None:
    """Put a part's weights and card where the library looks for them, each whole at once.

    Between the two files a reader would find a part damaged; so no part is taken in while one
    runs that reads it: that is what `Part.after` is for.
    """
    from course_lib.cards import copy_with_card
    from course_lib.weights import WEIGHTS, list_shipped

    copy_with_card(name, made, WEIGHTS)
    list_shipped(name)


def begun_from(name: str, folder: Path) -> str:
    """What a further leg of a part carries on: a copy of the shipped weights, made when it
    first begins, since its own end takes their place.
    """
    from course_lib.cards import copy_with_card

    kept = folder / "from"
    if not (kept / f"{name}.json").exists():
        copy_with_card(name, ROOT / "weights", kept)
    end = kept / f"{name}.safetensors"
    # relative to ROOT, where it is run: the card keeps this command
    return (end.relative_to(ROOT) if end.is_relative_to(ROOT) else end).as_posix()


def start(
    name: str, seconds: float | None, folder: Path, carry_on: bool = False
) -> subprocess.Popen:
    """Begin, or go on with, one part's training; its words go to FOLDER/NAME.log."""
    command = [sys.executable, "-m", "course_lib", "train", name]
    command += [] if seconds is None else ["--seconds", f"{seconds:g}"]
    command += ["--folder", str(folder / name), "--out", str(folder / "made")]
    if carry_on:
        command += ["--from", begun_from(name, folder)]
    env = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "PYTHONUNBUFFERED": "1"}
    with open(folder / f"{name}.log", "a", encoding="utf-8") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=env)


def next_part(
    names: list[str], running: dict[str, subprocess.Popen], ended: dict[str, str]
) -> str | None:
    """The first part that has not begun and whose parts are all made; None where each waits.

    A part that reads one that was not made is noted in `ended` as left out.
    """
    for name in names:
        if name in running or name in ended:
            continue
        needs = [ended.get(other) for other in PARTS[name].after if other in names]
        if any(how not in (None, "made") for how in needs):
            ended[name] = "left out: what it needs was not made"
        elif None not in needs:
            return name
    return None


def train(
    names: list[str],
    seconds: float | None,
    folder: Path,
    at_once: int = 2,
    carry_on: bool = False,
) -> dict[str, str]:
    """Run the parts, `at_once` side by side, each once what it needs is there: name -> how it
    ended.
    """
    (folder / "made").mkdir(parents=True, exist_ok=True)
    began, running, ended = time.time(), {}, {}

    def say(text: str):
        print(f"{time.time() - began:6.0f} s  {text}", flush=True)

    while len(ended) < len(names):
        while len(running) < at_once and (name := next_part(names, running, ended)):
            share = None if seconds is None else PARTS[name].share * seconds
            running[name] = start(name, share, folder, carry_on)
            say(f"{name}: begun" + ("" if share is None else f", {share:.0f} s"))
        for name in [name for name in running if running[name].poll() is not None]:
            code = running.pop(name).returncode
            if code == 0:
                take_in(name, folder / "made")
            ended[name] = "made" if code == 0 else f"exit {code}"
            say(f"{name}: {ended[name]}")
        if running:
            time.sleep(0.5)
    return ended


def speed(name: str, rounds: int = 30) -> dict:
    """Images a second in training, this process alone on the device, and the memory held."""
    import torch

    from course_lib.device import device_name
    from course_lib.recipes import recipe
    from course_lib.runs import begin
    from course_lib.training import train as steps_of

    kind = recipe(name)
    _, run = begin(kind)
    began, warm = 0.0, 10
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    for done in steps_of(run.phases, run.batches, warm + rounds):
        if done.step == warm:
            began = time.perf_counter()
    seconds = time.perf_counter() - began  # every step reads its loss, so the device is done
    found = {"name": name, "images_per_second": round(rounds * kind.batch_size / seconds)}
    if torch.cuda.is_available():
        found["GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
        found["device"] = device_name()
    return found


def asked() -> argparse.Namespace:
    """What the command line asks for; `names` are the parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs")
    parser.add_argument("--carry-on", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    args.names = args.only.split(",")
    if unknown := [name for name in args.names if name not in PARTS]:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if args.at_once < 1:
        parser.error("--at-once is 1 or more")
    if args.carry_on and args.seconds is None:
        parser.error("--carry-on wants --seconds: how long the further leg is to be")
    return args


def main() -> int:
    """Do what was asked; returns the number of parts that were not made."""
    args = asked()
    if args.check:
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", *TESTS], cwd=ROOT)
        if done.returncode:
            return done.returncode
    if args.speed:
        for name in args.names:
            try:
                print(json.dumps(speed(name)), flush=True)
            except Exception as error:  # one that fails must not hide the others' figures
                print(f"{name}: {type(error).__name__}: {error}", flush=True)
        return 0
    folder = args.folder.resolve()  # each part runs at the top of the checkout
    ended = train(args.names, args.seconds, folder, args.at_once, args.carry_on)
    for name, how in ended.items():
        print(f"{name}: {how}")
    return sum(how != "made" for how in ended.values())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # which the parts had as well
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)
