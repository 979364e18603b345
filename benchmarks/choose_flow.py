"""Train one variant of the flow from nothing for some minutes; measure bits a dimension.

    python benchmarks/choose_flow.py --seconds 240 --set bins=0 --set dequantise=uniform

Minutes of one core are too few for whole images, so variants run on the square of 8x8
pixels near the middle of the left edge, which has background, outline and cloth. One line a
variant goes to choose_flow.jsonl: the variant, images seen, and bits a dimension of the first
2,048 validation images (one draw of the dequantisation's noise).
"""

import argparse
import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from course_lib.data import fashion_batches, fashion_mnist, to_float
from course_lib.draws import Draws
from course_lib.models import TarFlow, TarFlowConfig
from course_lib.models.dequantise import UniformDequantise, VariationalDequantise
from course_lib.models.flow import multi_scale
from course_lib.models.invertible import normal_log_prob
from course_lib.models.tarflow import CausalBlock, Patches
from course_lib.optim import Muon
from course_lib.training import Ema, Phase, train, warmup_flat_decay

BASE = {"size": 8, "width": 64, "blocks": 2, "layers": 2, "dropout": 0.0}
CROP = (slice(None), slice(None), slice(10, 18), slice(4, 12))


class Glow(nn.Module):
    """The losing family: Glow's steps."""

    def __init__(self, steps: int = 8, width: int = 64, dequantise: str = "variational"):
        super().__init__()
        kinds = {"uniform": UniformDequantise, "variational": VariationalDequantise}
        self.dequantise = kinds[dequantise]()
        self.flow = multi_scale(1, 1, steps, width, classes=10)

    def log_prob(self, x, cond, draws=None):
        """As TarFlow.log_prob."""
        y, noise = self.dequantise(x, draws)
        z, logdet = self.flow(y, cond)
        return normal_log_prob(z) + logdet + noise


@torch.no_grad()
def bits(model, split: str = "valid", n: int = 2048) -> float:
    """Bits a dimension of a split's first n images."""
    images, labels = fashion_mnist(split)
    x, labels = to_float(images[:n])[CROP], torch.from_numpy(labels[:n].copy()).long()
    draws = Draws(0)
    parts = [
        model.log_prob(a, b, draws)
        for a, b in zip(x.split(256), labels.split(256), strict=True)
    ]
    return -torch.cat(parts).double().mean().item() / (x[0].numel() * math.log(2))


def main():
    """One variant, by the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="tarflow", choices=["tarflow", "glow"])
    parser.add_argument("--set", action="append", default=[], help="a config's field=value")
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--beta2", type=float, default=0.95)
    parser.add_argument("--plain", action="store_true", help="all blocks see patches as rows")
    parser.add_argument("--muon", action="store_true", help="Muon in place of AdamW")
    parser.add_argument("--note", default="")
    args = parser.parse_args()
    torch.manual_seed(0)
    changes = dict(pair.split("=") for pair in args.set)
    changes = {k: int(v) if v.isdigit() else v for k, v in changes.items()}
    if args.family == "glow":
        model = Glow(**changes)
    else:
        model = TarFlow(TarFlowConfig(**{**BASE, **changes}))
    if args.plain:
        kept = [x for x in model.flow.layers if isinstance(x, Patches | CausalBlock)]
        model.flow.layers = nn.ModuleList(kept)
    draws = Draws(1)

    def loss(batch):
        x, labels = batch
        per_image = -model.log_prob(x[CROP], labels, draws)
        return {"loss": per_image.mean() / (8 * 8 * math.log(2))}

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.lr, betas=(0.9, args.beta2), weight_decay=1e-4
    )
    if args.muon:
        optimizer = Muon(
            model,
            lr=args.lr,
            betas=(0.9, args.beta2),
            weight_decay=0.01,
            matrices=model.matrices,
        )
    phase = Phase("flow", model, loss, optimizer, Ema(model), warmup_flat_decay(50))
    start, last = time.time(), 0.0
    for done in train(phase, fashion_batches(args.batch, 0), 10**6, seconds=args.seconds):
        if time.time() - last > 20:
            last = time.time()
            print(done.step, f"{done.loss:.3f} norm {done.grad_norm:.2f}", flush=True)
    row = {
        "family": args.family,
        **changes,
        "lr": args.lr,
        "batch": args.batch,
        "beta2": args.beta2,
        "muon": args.muon,
        "plain": args.plain,
        "note": args.note,
        "parameters": sum(p.numel() for p in model.parameters()),
        "images": done.step * args.batch,
        "seconds": round(time.time() - start),
        "valid": round(bits(phase.ema.module), 4),
    }
    if args.family == "tarflow":
        row = {**row, "config": asdict(model.config)}
    print(json.dumps(row))
    with open(Path(__file__).with_name("choose_flow.jsonl"), "a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
