"""Fréchet distance of small GANs after as many seconds: train one variant, append its rows.

    python benchmarks/choose_gan.py NAME --config '{"widths": [192, 96], "fold": 2}' --rows 2

Each row of choose_gan.jsonl: what was changed, images seen, process seconds in training, the
distance of 2,048 of the EMA's images from the validation images, and the mean of the
discriminator's gap over the last hundred steps. The rate is held flat: what is compared is the
climb, and a cut run is a run.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from course_lib.metrics.frechet import Moments, frechet_distance
from course_lib.metrics.yardsticks import YARDSTICKS
from course_lib.recipes.gan_fashion import RECIPE
from course_lib.runs import Leg, begin
from course_lib.training import train

STEPS = 10**6  # none is reached


@torch.no_grad()
def distance(generator) -> float:
    """From 2,048 images to as many of the validation split: no test image chooses anything."""
    yardstick, draws = YARDSTICKS["fashion-mnist"], torch.Generator().manual_seed(1)
    z = torch.randn(2048, generator.config.z_dim, generator=draws)
    labels = torch.arange(2048) % generator.config.classes
    images = torch.cat(
        [generator(*part) for part in zip(z.split(256), labels.split(256), strict=True)]
    )
    crowd = Moments.of(yardstick.features(images.clamp(-1, 1)))
    return frechet_distance(crowd, yardstick.reference(2048, "valid"))


def main():
    """Train and measure the variant that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--recipe", type=json.loads, default={})
    parser.add_argument("--seconds", type=float, default=240, help="a row")
    parser.add_argument("--rows", type=int, default=2)
    args = parser.parse_args()
    config = {key: tuple(v) if isinstance(v, list) else v for key, v in args.config.items()}
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in args.recipe.items()}
    recipe = replace(RECIPE, **{"batch_size": 64, **values}, legs=(Leg(STEPS, flat=1.0),))
    recipe = replace(recipe, config=replace(recipe.config, **config))
    _, run = begin(recipe)
    spent, began, gaps, rows = 0.0, time.process_time(), [], 0
    for done in train(run.phases, run.batches, STEPS):
        gaps = [*gaps[-99:], done.losses["discriminator"]["gap"]]
        if spent + time.process_time() - began < args.seconds * (rows + 1):
            continue
        spent, rows = spent + time.process_time() - began, rows + 1
        row = {
            "name": args.name,
            "config": args.config,
            "recipe": args.recipe,
            "parameters": sum(p.numel() for p in run.result.parameters()),
            "images": done.step * recipe.batch_size,
            "process_seconds": round(spent),
            "distance": round(distance(run.result), 3),
            "gap": round(float(torch.tensor([float(gap) for gap in gaps]).mean()), 3),
        }
        print(json.dumps(row), flush=True)
        with open(Path(__file__).with_suffix(".jsonl"), "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if rows == args.rows:
            return
        began = time.process_time()


if __name__ == "__main__":
    main()
