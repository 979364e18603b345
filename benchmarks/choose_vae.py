"""Bounds of the binary VAE after as many steps: train one variant of its recipe, append a row.

    python benchmarks/choose_vae.py NAME --lr 5e-3 --k 4 --config '{"components": 1}'

Each row of choose_vae.jsonl: what was changed, images seen, process seconds, and in nats an
image of the first 200 validation images, by the EMA's weights: the bound, its KL term, and the
importance-weighted bound with 100 draws.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from course_lib.device import autocast
from course_lib.draws import Draws
from course_lib.recipes.vae import VaeLeg
from course_lib.recipes.vae_fashion_binary import RECIPE, binary_images
from course_lib.runs import begin
from course_lib.training import train


def main():
    """Train and measure the variant that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--lr", type=float, default=RECIPE.lr)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--k", type=int, default=1)
    parser.add_argument("--steps", type=int, default=130)
    args = parser.parse_args()
    recipe = replace(
        RECIPE,
        config=replace(RECIPE.config, **args.config),
        batch_size=args.batch,
        lr=args.lr,
        k=args.k,
        legs=(VaeLeg(args.steps, warmup=args.steps // 4),),
    )
    _, run = begin(recipe)
    began = time.process_time()
    for _ in train(run.phases, run.batches, args.steps):
        pass
    seconds, x = time.process_time() - began, binary_images("valid")[:200]
    with torch.no_grad(), autocast():
        log_lik, kl = run.result.elbo(x, Draws(0))
        tight = run.result.iw_bound(x, 100, Draws(0), chunk=10)
    row = {
        "name": args.name,
        "config": args.config,
        "lr": args.lr,
        "k": args.k,
        "images": args.steps * args.batch,
        "process_seconds": round(seconds),
        "bound": round((log_lik - kl).mean().item(), 2),
        "kl": round(kl.mean().item(), 2),
        "bound_of_100": round(tight.mean().item(), 2),
    }
    print(json.dumps(row), flush=True)
    with open(Path(__file__).with_suffix(".jsonl"), "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
