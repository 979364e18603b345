"""Train every part of text to image in order, and go on where a cut left off.

    python tools/train_emoji.py                         # each part's own number of steps
    python tools/train_emoji.py --seconds 450           # by the clock, shared out
    python tools/train_emoji.py --seconds 450 --together

The four small nets know nothing of each other: with --together they train at once, which pays
on a GPU that one of them does not fill. `sd-emoji` needs the first two, and its figures the
judges. It is the same command on a CPU and on a GPU; a run by the clock is to be given the
same --seconds again when it goes on.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# of the time that each may take, of which --together gives the first four the same
PARTS = {
    "emoji-autoencoder": 0.24,
    "emoji-clip": 0.14,
    "emoji-judge": 0.11,
    "emoji-style": 0.05,
}
LAST, SHARE_OF_LAST = "sd-emoji", 0.46
TOGETHER = 0.3  # of all the time, for the first four at once


def command(name: str, seconds: float | None, folder: Path | None) -> list[str]:
    """The command that trains one part."""
    words = [sys.executable, "-m", "course_lib", "train", name]
    words += ["--seconds", f"{seconds:.0f}"] if seconds else []
    return [*words, "--folder", str(folder / name)] if folder else words


def run(names: list[str], seconds: list, folder: Path | None) -> None:
    """Train these at once; SystemExit where one of them fails."""
    # several busy processes of all threads each would wait for one another
    threads = str(max(1, (os.cpu_count() or 1) // len(names)))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
    started = [
        subprocess.Popen(command(name, each, folder), cwd=ROOT, env=environment)
        for name, each in zip(names, seconds, strict=True)
    ]
    failed = [n for n, process in zip(names, started, strict=True) if process.wait() != 0]
    if failed:
        raise SystemExit(f"{', '.join(failed)} failed: mend it and give the command again.")


def main():
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, help="for all parts; by default their steps")
    parser.add_argument("--together", action="store_true", help="the small nets at once")
    parser.add_argument("--folder", type=Path, help="for checkpoints; by default the cache")
    args = parser.parse_args()
    total, small = args.seconds, list(PARTS)
    if args.together:
        share = total and TOGETHER * total
        run(small, [share] * len(small), args.folder)
    else:
        for name in small:
            run([name], [total and PARTS[name] * total], args.folder)
    last = total and (1 - TOGETHER if args.together else SHARE_OF_LAST) * total
    run([LAST], [last], args.folder)
    from course_lib.weights import list_shipped

    list_shipped(*small, LAST)  # what trained at once may have written over one another


if __name__ == "__main__":
    main()
