"""Which way of sampling gives the least distance for 10, 20 and 50 network calls? Chosen on
validation images.

    python benchmarks/choose_sampling.py --calls 20 '{}' '{"sampler": "dpmpp_2m", "guide":
    "ddpm-fashion-250k"}'

Each argument is JSON of a recipes.sampling.AutoguidedSampling. 2,048 samples of seed 1 against
the first 2,048 images of the validation split, so that neither the test images nor the noise
of the published figures has a say. Rows go to choose_sampling.jsonl.
"""

import argparse
import json
import time
from pathlib import Path

from course_lib.metrics import YARDSTICKS, fashion_features, frechet_distance
from course_lib.recipes import maker
from course_lib.recipes.sampling import AutoguidedSampling
from course_lib.weights import load_weights, read_card

NAME = "ddpm-fashion"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ways", nargs="+", help="JSON of an AutoguidedSampling")
    parser.add_argument("--calls", type=int, nargs="+", default=[20])
    parser.add_argument("--n", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    args = parser.parse_args()
    net, sha = load_weights(NAME), read_card(NAME)["sha256"]
    for way in (AutoguidedSampling(**json.loads(text)) for text in args.ways):
        for calls in args.calls:
            began = time.time()
            made = maker(NAME, net, calls=calls, sampling=way)
            images, _ = made.make(args.n, args.seed)
            row = {"weights": sha[:8], **made.cost}
            row |= {"n": args.n, "seed": args.seed, "seconds": round(time.time() - began)}
            row["fd_valid"] = round(
                frechet_distance(
                    fashion_features(images),
                    YARDSTICKS["fashion-mnist"].reference(args.n, "valid"),
                ),
                4,
            )
            print(json.dumps(row), flush=True)
            with open(args.out, "a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
