"""Recall of never-seen concepts after as many steps: train one variant of the small CLIP's
recipe, append a row.

    python benchmarks/choose_unseen.py NAME --batch 512 --steps 180 --set '{"lr": 1e-3}'
    python benchmarks/choose_unseen.py NAME --adamw --set '{"lr": 3e-3}'

Each row of choose_unseen.jsonl: what was changed, parameters, images seen, process seconds,
and, by the EMA's weights, how often a picture of a validation concept finds it first and
within five, among the 87 of them. The test concepts stay out of the choice.
"""

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from course_lib.data.emoji import emoji
from course_lib.models import ImageConfig
from course_lib.recipes.emoji_clip_unseen import RECIPE, UnseenRecipe, among, concepts_of
from course_lib.runs import Leg, begin, parameters_of
from course_lib.training import train


@dataclass(frozen=True, kw_only=True)
class AdamWRecipe(UnseenRecipe):
    """The same by AdamW; gains, biases and the temperature don't decay."""

    def optimizer(self, net) -> torch.optim.Optimizer:
        """AdamW at CLIP's own betas."""
        weights = [p for p in net.parameters() if p.ndim > 1]
        rest = [p for p in net.parameters() if p.ndim <= 1]
        groups = [{"params": weights}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(
            groups, lr=self.lr, betas=(0.9, 0.98), weight_decay=self.weight_decay
        )


def main():
    """Train and measure the variant that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--image", type=json.loads, default={}, help="of the image tower")
    parser.add_argument("--set", type=json.loads, default={}, help="of the recipe")
    parser.add_argument("--adamw", action="store_true")
    parser.add_argument("--batch", type=int, default=RECIPE.batch_size)
    parser.add_argument("--steps", type=int, default=180)
    args = parser.parse_args()
    image = replace(RECIPE.config.image, **args.image)
    image = ImageConfig(**{**vars(image), "widths": tuple(image.widths)})
    kind = AdamWRecipe if args.adamw else UnseenRecipe
    recipe = kind(
        name=RECIPE.name,
        config=replace(RECIPE.config, image=image),
        batch_size=args.batch,
        legs=(Leg(args.steps, flat=RECIPE.legs[0].flat),),
        **{"lr": RECIPE.lr, **args.set},
    )
    _, run = begin(recipe)
    began = time.process_time()
    for _ in train(run.phases, run.batches, args.steps):
        pass
    seconds, data = time.process_time() - began, emoji()
    valid = concepts_of(data, "valid")
    row = {
        "name": args.name,
        **{key: getattr(args, key) for key in ("image", "set", "adamw", "batch")},
        "parameters": parameters_of(run.result),
        "images": args.steps * args.batch,
        "process_seconds": round(seconds),
        **among(run.result.eval(), data, valid, valid),
    }
    print(json.dumps(row), flush=True)
    with open(Path(__file__).with_suffix(".jsonl"), "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
