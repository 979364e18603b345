"""The importance-weighted bound of vae-fashion-binary with ever more draws, on all images.

    python benchmarks/tight_bound.py FILE.pt --draws 500 --rows benchmarks/tight_bound.jsonl

Adds rounds of 50 draws an image until there are so many, and goes on from FILE where it was
cut or where fewer were asked for. Of each test image it keeps log(sum of p(x, z) / q(z | x))
alone, so the file is small, and the bound is that of Burda et al. 2016, eq. 8, at every k on
the way. Each round has draws of its own, mixed from its number.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from course_lib.device import autocast, default_device, precision, precision_name
from course_lib.draws import Draws, mixed_seed
from course_lib.files import written_whole
from course_lib.recipes.vae_fashion_binary import binary_images
from course_lib.weights import load_weights

A_ROUND = 50  # draws an image; a round is about a minute and a half of a core
AT_ONCE = 50  # images


@torch.no_grad()
def one_round(vae, x: Tensor, number: int) -> Tensor:
    """log(sum of p(x, z) / q(z | x)) over A_ROUND draws, of images [N, 1, 28, 28]: [N]."""
    device = next(vae.parameters()).device
    draws = Draws(torch.Generator(device).manual_seed(mixed_seed(0, number)))
    found = []
    for part in tqdm(x.split(AT_ONCE), f"round {number + 1}", leave=False):
        with autocast(device):
            terms = vae(part.to(device), draws, k=A_ROUND)
        found.append(terms.log_weights.double().logsumexp(dim=1))
    return torch.cat(found).cpu()


def main():
    """Add rounds until there are as many draws as were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--rows", type=Path)
    args = parser.parse_args()
    vae, x = load_weights("vae-fashion-binary", device=default_device()), binary_images()
    state = {"rounds": 0, "log_sum": torch.full((len(x),), -math.inf, dtype=torch.float64)}
    if args.file.exists():
        state = torch.load(args.file, weights_only=True)
    while state["rounds"] * A_ROUND < args.draws:
        began, number = time.perf_counter(), state["rounds"]
        log_sum = torch.logaddexp(state["log_sum"], one_round(vae, x, number))
        state = {"rounds": number + 1, "log_sum": log_sum}
        with written_whole(args.file) as path:
            torch.save(state, path)
        k = state["rounds"] * A_ROUND
        nats = math.log(k) - log_sum
        row = {
            "draws": k,
            "nats": round(nats.mean().item(), 3),
            "standard_error": round((nats.std() / len(nats) ** 0.5).item(), 3),
            "images": len(x),
            "precision": precision_name(precision()),
            "seconds": round(time.perf_counter() - began),
        }
        print(json.dumps(row), flush=True)
        if args.rows:
            with args.rows.open("a", encoding="utf-8") as rows:
                rows.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
