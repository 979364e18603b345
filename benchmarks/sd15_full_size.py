"""Stable Diffusion 1.5's exact configuration with random weights, ours beside diffusers'.

    python benchmarks/sd15_full_size.py FOLDER            # 4.3 GB there, 12 GiB of memory

Needs diffusers and transformers (requirements-test.txt). The first call writes FOLDER with
their pipeline. Then, a JSON line each:
- "walk": five steps of DDIM with guidance by both, in float32: the largest gap of the last
  latents as a share of the largest of theirs;
- "unet": seconds of a forward pass on a latent of 64 x 64, by turns, the median of each;
- "memory": the most that `python -m course_lib sd` takes at half precision for a picture.

The forward passes want a machine that does nothing else.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import diffusers
import transformers
from test_peer_sd15 import their_autoencoder, their_text, their_unet
from test_sd15_folder import LETTERS, write_pipeline

from course_lib.interop import sd15

TEXTS, NEGATIVE = ["a robot, a cat"], "a red house"


def their_tokenizer():
    """CLIP's numbers of words and its last two; the words between are never met."""
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    size = sd15.PARTS["text_encoder"][1].vocabulary
    words += [f"<|{i}|>" for i in range(len(words), size - 2)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77
    )


def write_folder(folder: Path):
    """The pipeline as diffusers writes it, every weight at its random start."""
    torch.manual_seed(0)
    makers = {"unet": their_unet, "vae": their_autoencoder, "text_encoder": their_text}
    parts = {part: make(sd15.PARTS[part][1]).eval() for part, make in makers.items()}
    write_pipeline(folder, parts, their_tokenizer())


@torch.no_grad()
def walk(ours, pipe, side: int) -> dict:
    """Five steps by both from one noise, with one table of alphas for both."""
    z = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(1))
    table = ours.sampling.schedule().alpha.float() ** 2
    pipe.scheduler.alphas_cumprod = table[1:]
    pipe.scheduler.final_alpha_cumprod = table[1]
    expected = pipe(
        TEXTS,
        negative_prompt=[NEGATIVE],
        latents=z.clone(),
        num_inference_steps=5,
        guidance_scale=7.5,
        output_type="latent",
        height=8 * side,
        width=8 * side,
    ).images
    *_, last = ours.steps(z, TEXTS, steps=5, guidance=7.5, negative=NEGATIVE)
    shown = pipe.vae.decode(expected / pipe.vae.config.scaling_factor).sample.clamp(-1, 1)
    return {
        "latent": [side, side],
        "gap": ((last.x_t - expected).abs().max() / expected.abs().max()).item(),
        "spread": expected.std().item(),
        "gap_of_picture": (ours.decode(last.x_t) - shown).abs().max().item(),
    }


@torch.no_grad()
def forward_seconds(ours, theirs, rounds: int) -> dict:
    """By turns, so that what else the machine does falls on both."""
    x, cond = torch.randn(1, 4, 64, 64), torch.randn(1, 77, 768)
    t = torch.tensor([501])
    calls = {"ours": lambda: ours(x, t, cond), "theirs": lambda: theirs(x, t, cond).sample}
    seconds = {name: [] for name in calls}
    for _ in range(rounds + 1):  # the first is a warm-up
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    found = {name: round(statistics.median(each[1:]), 3) for name, each in seconds.items()}
    return {**found, "ratio": round(found["theirs"] / found["ours"], 3), "rounds": rounds}


def peak_memory(folder: Path, size: int) -> dict:
    """Of the command in a process of its own: the most resident memory, in GiB."""
    words = ["sd", "--weights", folder, "--prompt", "a cat", "--out", folder / "x.png"]
    words += ["--steps", "2", "--size", size, "--precision", "bfloat16"]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "course_lib", *map(str, words)], check=True)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    seconds = round(time.perf_counter() - began, 1)
    return {"size": size, "steps": 2, "peak_gib": round(most, 2), "seconds": seconds}


def main():
    """Write the folder where it is not there yet, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=64, help="of the walk's latent")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if not (args.folder / "model_index.json").exists():
        write_folder(args.folder)
    # before the nets are in this process, whose pages are shared with nobody
    print(json.dumps({"memory": peak_memory(args.folder, 512)}), flush=True)
    ours = sd15.load(args.folder)
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(args.folder)
    pipe.scheduler = diffusers.DDIMScheduler.from_pretrained(args.folder / "scheduler")
    about = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    unet = forward_seconds(ours.unet, pipe.unet, args.rounds)
    print(json.dumps({"unet": unet, **about}), flush=True)
    print(json.dumps({"walk": walk(ours, pipe, args.side)}), flush=True)


if __name__ == "__main__":
    main()
