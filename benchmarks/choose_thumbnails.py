"""Lesson 06's live game on thumbnails, in other settings, for as many seconds of one thread.

    python benchmarks/choose_thumbnails.py NAME --config '{"widths": [96], "fold": 2}'

Each row of choose_thumbnails.jsonl: what was changed, pictures seen, and of 1,000 pictures of
the EMA, enlarged: the share that the classifier says to be of the class asked for, and the
Fréchet distance from as many enlarged real thumbnails; "real" is the row of real ones.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from course_lib.adversarial import BurnInAdam, Game, cosine_fall
from course_lib.data import Batches, fashion_mnist, to_float
from course_lib.draws import Draws
from course_lib.metrics import YARDSTICKS, frechet_distance
from course_lib.models import Discriminator, GanConfig, Generator
from course_lib.training import Ema, Phase, train
from course_lib.weights import load_weights

LESSON = {"start": 7, "widths": (64, 32), "blocks": 1, "expand": 1, "group": 16, "z_dim": 32}
GAME = {"pairing": "relativistic", "gamma": (0.5, 0.05), "lazy": 4}
PLAN = {"size": 64, "lr": 1e-3, "burn_in": 250}


@torch.no_grad()
def examined(images, labels) -> dict:
    """The two figures of thumbnails [n, 1, 14, 14] of classes [n]."""
    images = F.interpolate(images, 28, mode="bilinear").clamp(-1, 1)
    judge, yardstick = load_weights("fashion-classifier"), YARDSTICKS["fashion-mnist"]
    right = (judge(images).argmax(dim=1) == labels).float().mean().item()
    real = F.avg_pool2d(to_float(fashion_mnist("test")[0][:1000]), 2)
    real = F.interpolate(real, 28, mode="bilinear")
    far = frechet_distance(yardstick.features(images), yardstick.features(real))
    return {"right": round(right, 3), "distance": round(far, 3)}


def of_real() -> dict:
    """The row of real thumbnails, of other test images."""
    images, labels = (part[5000:6000] for part in fashion_mnist("test"))
    return examined(
        F.avg_pool2d(to_float(images), 2), torch.from_numpy(labels.astype("int64"))
    )


def played(config: dict, game: dict, plan: dict, seconds: float, seed: int) -> dict:
    """A game of so many seconds of the process; the rate falls in the second half of them."""
    torch.manual_seed(seed)
    config = GanConfig(**config)
    painter, critic = Generator(config), Discriminator(config)
    start, end = game["gamma"]

    def gamma(step: int) -> float:
        return cosine_fall(start, end, step / plan["burn_in"])

    rules = Game(painter, critic, Draws(seed), gamma, game["pairing"], lazy=game["lazy"])
    began, ema = time.process_time(), Ema(painter)

    def rate(step: int, progress: float) -> float:
        return max(min(1.0, 2 * (1 - (time.process_time() - began) / seconds)), 0.01)

    def player(name, net, loss, ema=None):
        optimizer = BurnInAdam(net.parameters(), plan["lr"], plan["burn_in"])
        return Phase(name, net, loss, optimizer, ema, rate, clip=math.inf)

    phases = [
        player("critic", critic, rules.discriminator_loss),
        player("generator", painter, rules.generator_loss, ema),
    ]
    batches = (
        (F.avg_pool2d(x, 2), y)
        for x, y in Batches(*fashion_mnist("train"), plan["size"], seed)
    )
    for done in train(phases, batches, 10**6, precision=torch.float32):
        steps = done.step
        if time.process_time() - began > seconds:
            break
    z, labels = Draws(4).normal(torch.empty(1000, config.z_dim)), torch.arange(1000) % 10
    with torch.no_grad():
        images = ema.module(z, labels)
    return {"steps": steps, "pictures": steps * plan["size"], "images": images}


def main():
    """Play and measure the variant that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    for part in ("config", "game", "plan"):
        parser.add_argument(f"--{part}", type=json.loads, default={})
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", help="a PNG file of 100 of the pictures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    row = {"name": args.name}
    if args.name == "real":
        row |= of_real()
    else:
        found = played(
            LESSON | args.config, GAME | args.game, PLAN | args.plan, args.seconds, args.seed
        )
        images = found.pop("images")
        row |= {"config": args.config, "game": args.game, "plan": args.plan}
        row |= {"seconds": args.seconds, "seed": args.seed} | found
        row |= examined(images, torch.arange(1000) % 10)
        if args.sheet:
            import matplotlib.pyplot as plt

            from course_lib.widgets.plots import tile

            sheet = tile(images[:100], 10).repeat(3, 0).repeat(3, 1)
            plt.imsave(args.sheet, sheet, cmap="gray")
    print(json.dumps(row), flush=True)
    with open(Path(__file__).with_suffix(".jsonl"), "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
