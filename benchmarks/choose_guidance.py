"""How sd-emoji is guided, by the judges on training pairs or held-out ones; by hand.

    python benchmarks/choose_guidance.py [--ways 3 3,6 3,6,0.7] [--pairs held-out] [--n 1055]

A way is one scale; or two, for what a prompt says before its style and for the style; and as a
third number the share of the contrast that is taken back. A JSON line for each: CLIP score,
style and concept, each beside the real pictures' own, and the Fréchet distance in the judge's
features. Chosen is by training pairs, measured by held-out ones; n of them are spread evenly.
For 1,055 pictures some quarter of an hour on one core, seconds on a GPU.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from course_lib.data.emoji import emoji, prompts_of
from course_lib.device import default_device
from course_lib.metrics import YARDSTICKS, Moments, frechet_distance
from course_lib.metrics.clip_score import beside_real
from course_lib.recipes import maker
from course_lib.recipes.sd_emoji import JUDGE, STYLE_JUDGE, TextSampling
from course_lib.weights import load_weights

WAYS = "1 1.5 3 6 3,3,0.7 3,6 2,6,0.7 3,6,0.7 2,8,0.7"
PAIRS = {"training": "train", "held-out": "test"}


def way(text: str) -> dict:
    """ "3,6,0.7" as options of a maker."""
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) > 3:
        raise argparse.ArgumentTypeError(f"{text}: one number to three")
    return dict(zip(("guidance", "style_guidance", "rescale"), numbers, strict=False))


def main():
    """Measure one way after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ways", type=way, nargs="+", default=[*map(way, WAYS.split())])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", choices=PAIRS, default="training")
    parser.add_argument("--n", type=int, default=132)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = emoji().rows(PAIRS[args.pairs])
    # spread over all of them, since they lie style after style
    rows = rows[np.linspace(0, len(rows) - 1, args.n).round().astype(int)]
    prompts = prompts_of(emoji(), rows)
    net = load_weights("sd-emoji")
    judges = [load_weights(name, device=default_device()) for name in (JUDGE, STYLE_JUDGE)]
    ruler = YARDSTICKS["emoji"]
    for options in args.ways:
        calls = TextSampling(**options).calls(args.steps)
        began = time.perf_counter()
        painter = maker("sd-emoji", net, **options, calls=calls, batch_size=64)
        images, _ = painter.make(len(rows), args.seed, prompts)
        seconds = time.perf_counter() - began
        distance = frechet_distance(Moments.of(ruler.features(images)), ruler.reference(2))
        figures = {**painter.cost, **beside_real(*judges, images, rows)}
        figures |= {"fd": round(distance, 4), "seconds": round(seconds, 1)}
        print(json.dumps({**figures, "pairs": args.pairs, "n": len(rows)}), flush=True)


if __name__ == "__main__":
    main()
