"""Fréchet distance per CPU minute: train one variant of the diffusion recipe for a budget,
measure, append a row.

    python benchmarks/choose_net.py --minutes 5 --variant base '{"widths": [48, 96]}' ...

The budget is CPU time of two cores (process time over two), so that other work on the machine
does not count against a variant. Each row of choose_net.jsonl: what was changed from BASE,
images seen, distance in 20 DDIM calls.
"""

import argparse
import json
import math
import os
import time
from functools import partial
from pathlib import Path

import torch

from course_lib.data import fashion_batches, fashion_mnist, to_float
from course_lib.device import autocast, place
from course_lib.diffusion import (
    Denoiser,
    Schedule,
    clipped,
    final,
    sample_ddim,
    stratified_times,
)
from course_lib.draws import Draws
from course_lib.metrics import YARDSTICKS, fashion_features, frechet_distance
from course_lib.models import UNet, UNetConfig
from course_lib.optim import Muon
from course_lib.recipes.ddpm_fashion import min_snr
from course_lib.training import Ema, Phase, train, warmup_flat_decay

FASHION = YARDSTICKS["fashion-mnist"]
BASE = {
    "widths": [64, 128],
    "blocks": 2,
    "attention": 1,
    "fold": 2,
    "emb_dim": 256,
    "optimizer": "muon",
    "lr": 2e-3,
    "batch": 64,
    "target": "v",
    "schedule": "cosine",
    "weight": None,
    "times": "uniform",
    "drop": 0.1,
    "flat": 0.4,
    "gamma": 6.94,
}
WEIGHTINGS = {
    None: None,
    "min-snr-5": min_snr,
    "min-snr-5, at least 0.2": partial(min_snr, least=0.2),
    "mid": lambda alpha, sigma: 4 * alpha * sigma,
    "soft-mid": lambda alpha, sigma: 0.5 + alpha * sigma,
}


def logit_normal_times(mean: float, spread: float):
    """Times whose logit is Normal (Esser et al. 2024, section 3.1), stratified."""

    def times(B, T, draws):
        u = (torch.arange(B) + draws.uniform(B)) / B
        z = math.sqrt(2) * torch.erfinv(2 * u.clamp(1e-4, 1 - 1e-4) - 1)
        return (1 + torch.sigmoid(mean + spread * z) * T).long().clamp(1, T)

    return times


def build(v):
    torch.manual_seed(0)
    config = UNetConfig(
        fold=v["fold"],
        widths=tuple(v["widths"]),
        blocks=v["blocks"],
        attention=v["attention"],
        emb_dim=v["emb_dim"],
    )
    net = place(UNet(config), "cpu")
    if v["optimizer"] == "muon":
        optimizer = Muon(net, lr=v["lr"])
    else:
        optimizer = torch.optim.AdamW(
            net.parameters(), lr=v["lr"], betas=(0.9, 0.99), weight_decay=0.0
        )
    return net, optimizer


def evaluate(net, schedule, target, calls, n=2048):
    denoise = clipped(Denoiser(net, schedule, target), schedule)
    generator = torch.Generator().manual_seed(1)
    images = []
    for _ in range(n // 256):
        x = torch.randn(256, 1, 28, 28, generator=generator).to(
            memory_format=torch.channels_last
        )
        labels = torch.arange(256) % 10
        with autocast("cpu"):
            images.append(
                final(sample_ddim(denoise, schedule, x, schedule.times(calls), labels))
            )
    features, reference = fashion_features(torch.cat(images)), FASHION.reference
    return {  # a choice is made by the first
        f"fd_{calls}_valid": round(frechet_distance(features, reference(n, "valid")), 3),
        f"fd_{calls}": round(frechet_distance(features, reference(n)), 3),
    }


@torch.no_grad()
def small_times(denoise, times=(4, 20), n=256):
    """The error in the noise at times that few calls never look at, on validation images."""
    images, labels = fashion_mnist("valid")
    x0, cond, errors = to_float(images[:n]), torch.as_tensor(labels[:n].astype("int64")), {}
    for t in times:
        eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(t))
        with autocast("cpu"):
            errors[f"eps_error_{t}"] = (
                (denoise(denoise.schedule.add_noise(x0, t, eps), t, cond)[1] - eps)
                .square()
                .mean()
            )
    return {name: round(error.item(), 4) for name, error in errors.items()}


def trial(change: dict, minutes: float):
    v = {**BASE, **change}
    net, optimizer = build(v)
    schedule = getattr(Schedule, v["schedule"])()
    times = stratified_times
    if v["times"] != "uniform":
        times = logit_normal_times(*v["times"])
    denoiser = Denoiser(net, schedule, v["target"], WEIGHTINGS[v["weight"]], times)
    draws = Draws(0)
    ema = Ema(net, v["gamma"])

    def loss(batch):
        x0, labels = batch
        drop = draws.uniform(len(labels)) < v["drop"]
        return denoiser.loss(x0, torch.where(drop, net.config.null_class, labels), draws=draws)

    # the budget in steps is found as the run goes: progress by CPU time spent
    start = time.process_time()
    budget = minutes * 120
    by_progress = warmup_flat_decay(flat=v["flat"])

    def lr_scale(step, _):
        return by_progress(step, min(1.0, (time.process_time() - start) / budget))

    phase = Phase("unet", net, loss, optimizer, ema, lr_scale)
    wall = time.time()
    steps = train(phase, fashion_batches(v["batch"], 0), 10**9)
    step = next(done for done in steps if time.process_time() - start > budget)
    row = {
        "change": change,
        "minutes": minutes,
        "parameters": sum(p.numel() for p in net.parameters()),
        "images": step.step * v["batch"],
        "images_per_s": round(step.step * v["batch"] / (minutes * 60), 1),
        "wall_s": round(time.time() - wall),
        "loss": round(step.loss, 4),
        "threads": torch.get_num_threads(),
        **evaluate(ema.module, schedule, v["target"], 20),
        **small_times(Denoiser(ema.module, schedule, v["target"])),
    }
    return row, ema.module


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("changes", nargs="+", help="JSON of what to change from BASE")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument(
        "--threads", type=int, help="1: two trials side by side, on a core each"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    for text in args.changes:
        pid = os.fork()  # a fresh process a trial: CPU time and patched times start anew
        if pid == 0:
            row, _ = trial(json.loads(text), args.minutes)
            with open(args.out, "a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
