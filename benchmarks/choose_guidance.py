"""How far to guide sd-emoji, by the judges on the held-out pairs; by hand.

    python benchmarks/choose_guidance.py [--guidance 1 2 3 4 6] [--calls 40] [--n 1055]

A JSON line for each: CLIP score, style and concept, each beside the real pictures' own, and
the Fréchet distance in the judge's features. Fewer than all pairs are spread evenly over them.
Some ten minutes a line on two cores, seconds on a GPU.
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
from course_lib.recipes.sd_emoji import JUDGE, STYLE_JUDGE
from course_lib.weights import load_weights


def main():
    """Measure one guidance after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guidance", type=float, nargs="+", default=[1, 1.5, 2, 3, 4, 6])
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--n", type=int, default=1055)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = emoji().rows("test")
    # spread over all of them, since they lie style after style
    rows = rows[np.linspace(0, len(rows) - 1, args.n).round().astype(int)]
    prompts = prompts_of(emoji(), rows)
    net = load_weights("sd-emoji")
    judges = [load_weights(name, device=default_device()) for name in (JUDGE, STYLE_JUDGE)]
    ruler = YARDSTICKS["emoji"]
    for guidance in args.guidance:
        calls = args.calls // 2 if guidance in (0, 1) else args.calls  # the same steps
        began = time.perf_counter()
        painter = maker("sd-emoji", net, guidance=guidance, calls=calls, batch_size=64)
        images, _ = painter.make(len(rows), args.seed, prompts)
        seconds = time.perf_counter() - began
        distance = frechet_distance(Moments.of(ruler.features(images)), ruler.reference(2))
        figures = {**painter.cost, **beside_real(*judges, images, rows)}
        figures |= {"fd": round(distance, 4), "seconds": round(seconds, 1), "n": len(rows)}
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
