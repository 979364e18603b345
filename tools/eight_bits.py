"""Store shipped weights in eight bits a number, a scale a row: half of float16, by hand.

    python tools/eight_bits.py NAME ... [--measure]

Rewrites NAME.safetensors, its card (hash, bytes, "stored") and the course's list. What it
prints is how far the numbers moved. With --measure the card's figures are measured again, on
what is stored now; without, the figures are those of the weights before, and the card says so.
"""

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from course_lib.recipes import recipe_of  # noqa: E402
from course_lib.weights import (  # noqa: E402
    WEIGHTS,
    list_shipped,
    load_weights,
    read_card,
    save_weights,
    write_card,
)

STORED = "eight bits a number, a scale a row"
BEFORE = "; figures measured in float16"


def shrink(name: str, measure: bool = False) -> dict:
    """Store one shipped model in eight bits: its card, written already. "moved" is the root of
    the mean squared change of the numbers over their own, in the worst tensor.
    """
    before, card = load_weights(name, device="cpu"), read_card(name)
    stale = "figures" in card and not measure
    card = {**card, "stored": STORED + (BEFORE if stale else "")}
    path = save_weights(before, WEIGHTS / name, card, dtype=torch.int8)
    list_shipped(name)
    after, card = load_weights(name, device="cpu"), read_card(name)
    if measure:
        card["figures"] = recipe_of(name).figures(after)
        write_card(path, card)
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    moved = [((a - b).norm() / a.norm().clamp(min=1e-12)).item() for a, b in pairs]
    return {**card, "moved": max(moved)}


def main():
    """Store what the command line names, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--measure", action="store_true", help="the card's figures again")
    options = parser.parse_args()
    for name in options.names:
        size = read_card(name)["bytes"]
        card = shrink(name, options.measure)
        print(
            f"{name}: {size:,} bytes to {card['bytes']:,}; moved {card['moved']:.4f} at most"
        )


if __name__ == "__main__":
    main()
