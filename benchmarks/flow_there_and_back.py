"""The error of inverse after forward of flow-fashion, image by image, on the test images.

    python benchmarks/flow_there_and_back.py FILE.pt --n 10000 --json ROW.json

Takes the images 50 at a time until there are n, and goes on from FILE where it was cut or
where fewer were asked for. An image comes in as the flow sees it: its grey levels dequantised
by the flow's own noise (seeded batch by batch) to y in [-1, 1), float32, and so it comes back;
inside of the flow and between all is float64. With --rounded the latents between are rounded
to float32, which shows what that would cost. The error of an image is the greatest of its 784
pixels' |back - y|. A step of 8 bits is 1/128 in y; `wrong_levels` counts the pixels that come
back as another grey level.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from course_lib.data import fashion_mnist, to_float
from course_lib.device import default_device
from course_lib.draws import Draws, mixed_seed
from course_lib.files import written_whole
from course_lib.models import TarFlow
from course_lib.weights import load_weights

AT_ONCE = 50  # images
STEP = 1 / 128  # of y, in [-1, 1): one of 256 grey levels
BOUND = 1e-4


@torch.no_grad()
def one_batch(
    flow: TarFlow, x: Tensor, cond: Tensor, number: int, rounded: bool = False
) -> tuple[Tensor, int]:
    """The error [B] of each of the images x [B, 1, 28, 28], and how many levels changed."""
    y, _ = flow.dequantise(x, Draws(mixed_seed(0, number)))
    z, _ = flow(y, cond)
    back, _ = flow.inverse(z.float() if rounded else z, cond)
    assert y.dtype == back.dtype == torch.float32
    levels, _ = flow.dequantise.inverse(back)
    wrong = ((levels - x).abs() > STEP / 2).sum().item()
    return (back - y).abs().flatten(1).amax(dim=1).cpu().double(), wrong


def summed_up(state: dict) -> dict:
    """The figures so far: greatest, median and quantiles of the images' errors."""
    errors = state["errors"]
    return {
        "images": len(errors),
        "greatest": errors.max().item(),
        "greatest_in_8_bit_steps": errors.max().item() / STEP,
        "worst_image": errors.argmax().item(),
        "median": errors.median().item(),
        "99_in_100_below": errors.quantile(0.99).item(),
        "all_under_1e-4": bool(errors.max() < BOUND),
        "wrong_levels": state["wrong"],
        "seconds_of_a_core": round(state["seconds"]),
    }


def main():
    """Take batches of images until there are as many as were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--rounded", action="store_true", help="latents in float32 between")
    parser.add_argument("--json", type=Path, help="writes the figures here too")
    args = parser.parse_args()
    device = default_device()
    flow = load_weights("flow-fashion", device=device)
    images, labels = (
        torch.from_numpy(part[: args.n].copy()) for part in fashion_mnist("test")
    )
    state = {"errors": torch.zeros(0, dtype=torch.float64), "wrong": 0, "seconds": 0.0}
    if args.file.exists():
        state = torch.load(args.file, weights_only=True)
    if state.setdefault("rounded", args.rounded) != args.rounded:
        parser.error(f"{args.file} was begun with{'out' * args.rounded} --rounded")
    starts = range(len(state["errors"]), min(args.n, len(images)), AT_ONCE)
    for start in tqdm(starts, "batches of 50"):
        began, part = time.process_time(), slice(start, start + AT_ONCE)
        x, cond = to_float(images[part]).to(device), labels[part].long().to(device)
        errors, wrong = one_batch(flow, x, cond, start // AT_ONCE, args.rounded)
        state["errors"] = torch.cat([state["errors"], errors])
        state["wrong"] += wrong
        state["seconds"] += time.process_time() - began
        with written_whole(args.file) as path:
            torch.save(state, path)
        tqdm.write(f"{len(state['errors'])} images: {state['errors'].max():.2e}")
    text = json.dumps(summed_up(state), indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
