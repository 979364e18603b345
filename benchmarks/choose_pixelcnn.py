"""Bits per dimension of small PixelCNNs after as many images: train one variant, append a row.

    python benchmarks/choose_pixelcnn.py NAME '{"channels": 32}' --lr 5e-3 --steps 400

Each row of choose_pixelcnn.jsonl: what was changed, images seen, bits per dimension on the
first 500 validation images by the EMA's weights, process seconds.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch

from course_lib.data import fashion_batches
from course_lib.device import place
from course_lib.models import PixelCNN, PixelCNNConfig, mixture_log_prob
from course_lib.models.pixelcnn import CausalBlock, levels_of
from course_lib.optim import Muon
from course_lib.recipes.pixelcnn_fashion import bits_per_dim
from course_lib.training import Ema, Phase, train, warmup_flat_decay


def tanh_gate(self, h):
    """The gate of van den Oord et al. 2016, eq. 2."""
    value, gate = h.chunk(2, dim=1)
    return self.dropout(torch.tanh(value) * torch.sigmoid(gate))


def main():
    """Train and measure the variant that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("config", type=json.loads)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--tanh", action="store_true")
    args = parser.parse_args()
    if args.tanh:
        CausalBlock.gate = tanh_gate
    torch.manual_seed(0)
    config = {key: tuple(v) if isinstance(v, list) else v for key, v in args.config.items()}
    net = place(PixelCNN(PixelCNNConfig(**config)), "cpu")
    ema = Ema(net)

    def loss(batch):
        x, labels = batch
        log_probs = mixture_log_prob(net(x, labels), levels_of(x))
        return {"loss": -log_probs.mean() / math.log(2)}

    scale = warmup_flat_decay(warmup=50, flat=0.4)
    phase = Phase("p", net, loss, Muon(net, lr=args.lr), ema, scale)
    began = time.process_time()
    for _ in train(phase, fashion_batches(args.batch, 0), args.steps):
        pass
    seconds = time.process_time() - began
    row = {
        "name": args.name,
        "config": args.config,
        "lr": args.lr,
        "parameters": sum(p.numel() for p in net.parameters()),
        "images": args.steps * args.batch,
        "process_seconds": round(seconds),
        "bits_per_dim": round(bits_per_dim(ema.module, "valid", 500), 4),
    }
    print(json.dumps(row), flush=True)
    with open(Path(__file__).with_suffix(".jsonl"), "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
