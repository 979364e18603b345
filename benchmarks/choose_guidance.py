"""How sd-emoji is guided, by the judges on training pairs or held-out ones; by hand.

    python benchmarks/choose_guidance.py [--ways 3 3,6 3,3,0.7,30] [--pairs held-out]

A way is one scale; or two, for what a prompt says before its style and for the style; and as a
third number the share of the contrast that is taken back; as a fourth the scale of the style's
classifier. A JSON line for each: CLIP score,
style and concept, each beside the real pictures' own, and the Fréchet distance in the judge's
features. Chosen is by training pairs, measured by held-out ones; n of them are spread evenly.
For 1,055 pictures some quarter of an hour on one core, seconds on a GPU.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import Tensor

from course_lib.data.emoji import STYLES, emoji, prompt, prompts_of
from course_lib.device import default_device
from course_lib.metrics import YARDSTICKS, Moments, frechet_distance
from course_lib.metrics.clip_score import beside_real, image_vectors, text_vectors
from course_lib.models import CLIP
from course_lib.recipes import maker
from course_lib.recipes.emoji_data import to_images
from course_lib.recipes.sd_emoji import JUDGE, STYLE_JUDGE, TextSampling
from course_lib.weights import load_weights

WAYS = "1 1.5 3 6 3,3,0.7 3,6 2,6,0.7 3,6,0.7 2,8,0.7 3,3,0.7,10 3,3,0.7,30 3,3,0.7,60"
NUMBERS = ("guidance", "style_guidance", "rescale", "classifier_scale")
PAIRS = {"training": "train", "held-out": "test"}


def way(text: str) -> dict:
    """ "3,6,0.7" as options of a maker."""
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) > len(NUMBERS):
        raise argparse.ArgumentTypeError(f"{text}: one number to four")
    return dict(zip(NUMBERS, numbers, strict=False))


def style_vectors(clip: CLIP, rows: np.ndarray) -> Tensor:
    """The seven prompts for the concept of each row, one a style: unit vectors [n, 7, dim]."""
    data = emoji()
    concepts = [data.concepts[c] for c in data.concept[rows]]
    prompts = ([prompt(concept, style) for concept in concepts] for style in STYLES)
    return torch.stack([text_vectors(clip, texts) for texts in prompts], dim=1)


def style_by_clip(clip: CLIP, images: Tensor, rows: np.ndarray, texts: Tensor) -> float:
    """How often a CLIP names the right style: of the seven prompts for a picture's concept,
    `texts` of `style_vectors`, the nearest. It learnt from captions; the judge of style, and
    the classifier that leads, learnt to tell styles and nothing else.
    """
    found = (image_vectors(clip, images)[:, None] * texts).sum(dim=2).argmax(dim=1).cpu()
    return (found == torch.from_numpy(emoji().style[rows])).float().mean().item()


def main():
    """Measure one way after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ways", type=way, nargs="+", default=[*map(way, WAYS.split())])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", choices=PAIRS, default="training")
    parser.add_argument("--n", type=int, default=132)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = emoji().rows(PAIRS[args.pairs])
    # spread over all of them, since they lie style after style
    rows = rows[np.linspace(0, len(rows) - 1, args.n).round().astype(int)]
    prompts = prompts_of(emoji(), rows)
    net = load_weights("sd-emoji")
    judges = [load_weights(name, device=default_device()) for name in (JUDGE, STYLE_JUDGE)]
    ruler = YARDSTICKS["emoji"]
    own = to_images(torch.from_numpy(emoji().images[rows].copy()))
    styles = style_vectors(judges[0], rows)
    real = style_by_clip(judges[0], own, rows, styles)
    for options in args.ways:
        calls = TextSampling(**options).calls(args.steps)
        began = time.perf_counter()
        painter = maker("sd-emoji", net, **options, calls=calls, batch_size=64)
        images, _ = painter.make(len(rows), args.seed, prompts)
        seconds = time.perf_counter() - began
        distance = frechet_distance(Moments.of(ruler.features(images)), ruler.reference(2))
        figures = {**painter.cost, **beside_real(*judges, images, rows)}
        witness = style_by_clip(judges[0], images, rows, styles)
        figures |= {"style_by_clip": round(witness, 4), "style_by_clip_real": round(real, 4)}
        figures |= {"fd": round(distance, 4), "seconds": round(seconds, 1)}
        print(json.dumps({**figures, "pairs": args.pairs, "n": len(rows)}), flush=True)


if __name__ == "__main__":
    main()
