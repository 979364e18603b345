"""Does a better text encoder help more than a larger U-Net, here? Three encoders, two sizes of
U-Net, several seeds; equal images for all; by hand.

    python benchmarks/encoder_or_unet.py [--seeds 0 1 2] [--images 45000] [--keep]
    python benchmarks/encoder_or_unet.py --table

Cut it and call it again: it goes on where it was. Each run leaves rows in
encoder_or_unet.jsonl: one of its training, one for each guidance on 256 held-out pairs, one on
pictures of concepts that were in no training here. The nets themselves are not kept, unless
--keep says so. Two or three minutes a run on one core of its own.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from course_lib.checkpoint import load_state, save_state
from course_lib.data import cache_folder
from course_lib.data.emoji import FOLDER, STYLES, Emoji, prompts_of
from course_lib.device import default_device, device_name, place, precision, precision_name
from course_lib.diffusion import LatentCodec, denoiser_from
from course_lib.draws import Draws
from course_lib.metrics import YARDSTICKS, Moments, frechet_distance
from course_lib.metrics.clip_score import clip_score, picture_figures
from course_lib.models import CLIP, TextUNet, TextUNetConfig
from course_lib.optim import Muon
from course_lib.recipes.emoji_data import RowBatches, on_device, to_images
from course_lib.recipes.sampling import Sampling, diffusion_batches, guided_by
from course_lib.recipes.sd_emoji import (
    AUTOENCODER,
    CLIP_NAME,
    JUDGE,
    RECIPE,
    STYLE_JUDGE,
    all_latents,
    codec_of,
)
from course_lib.runs import Leg, Setting, parameters_of
from course_lib.text import tokenizer
from course_lib.training import Ema, Phase, train, warmup_flat_decay
from course_lib.weights import load_weights, read_card
from course_lib.widgets.claim_plots import (
    claim_rows,
    claim_table,
    curve,
    error_of,
    guidances,
)

ROWS = Path(__file__).with_suffix(".jsonl")
ENCODERS = ("bag of words", "MiniLM", "tower")
# few enough things that a short training learns to tell them apart: 557 concepts
CATEGORIES = ("animals-nature", "food-drink", "objects")
SIZES = {"small": (32, 64), "large": (64, 128)}  # widths of the U-Net's two levels
GUIDANCES = (1, 1.5, 2, 3, 5, 10)
WIDTH = 64  # of the two tokens that a U-Net looks at
BATCH, LR = 64, 5e-3
STEPS, N = 8, 256  # of the sampler; pictures a row
SAVE_EVERY = 60  # seconds between checkpoints
NOTHING = -1  # in the place of a concept and a style: no prompt


def _scaled(vectors: Tensor) -> Tensor:
    """Vectors [B, dim] with numbers of mean square 1, so that no encoder speaks louder."""
    return F.normalize(vectors, dim=1) * vectors.shape[1] ** 0.5


class Bag(nn.Module):
    """A text as the mean of one learnt vector a token, of length sqrt(dim): concepts [B] to
    [B, dim].
    """

    def __init__(self, captions: list[str], dim: int = WIDTH):
        super().__init__()
        tokens = tokenizer().encode_all(captions)
        known, places = tokens.unique(return_inverse=True)  # only what occurs has a vector
        self.table = nn.Embedding(len(known), dim)
        self.dim = dim
        inside = (tokens != tokenizer().start) & (tokens != tokenizer().end)
        self.register_buffer("tokens", places)
        self.register_buffer("share", inside / inside.sum(dim=1, keepdim=True))

    def forward(self, concept: Tensor) -> Tensor:
        words = self.table(self.tokens[concept])  # [B, L, dim]
        return _scaled((self.share[concept][..., None] * words).sum(dim=1))


class Lookup(nn.Module):
    """Frozen vectors of texts, centred, of length sqrt(dim): concepts [B] to [B, dim]."""

    def __init__(self, vectors: Tensor):
        super().__init__()
        vectors = vectors.float() - vectors.float().mean(dim=0)
        self.register_buffer("vectors", _scaled(vectors))
        self.dim = vectors.shape[1]

    def forward(self, concept: Tensor) -> Tensor:
        return self.vectors[concept]


class Steered(nn.Module):
    """A U-Net and what it is told: x_t [B, 4, 16, 16], t [B] and (concept, style) cond [B, 2]
    to a prediction of x_t's shape. It sees the latent folded to [B, 16, 8, 8]: three times the
    images a second, for as many parameters.

    The U-Net looks at two tokens: the encoder's vector of the concept's caption, brought to
    its width, and a learnt vector of the style. So only the first differs between encoders.
    """

    def __init__(self, encoder: nn.Module, config: TextUNetConfig):
        super().__init__()
        self.encoder, self.net = encoder, TextUNet(config)
        self.text = nn.Linear(encoder.dim, config.context_dim)
        self.style = nn.Embedding(len(STYLES), config.context_dim)
        self.empty = nn.Parameter(torch.zeros(2, config.context_dim))

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        concept, style = cond.clamp(min=0).unbind(dim=1)
        told = torch.stack([self.text(self.encoder(concept)), self.style(style)], dim=1)
        dropped = (cond[:, :1] == NOTHING)[..., None]
        told = torch.where(dropped, self.empty.to(told), told)
        return F.pixel_shuffle(self.net(F.pixel_unshuffle(x_t, 2), t, told), 2)


@dataclass(frozen=True)
class Trial:
    """One training: which encoder, how large a U-Net, which seed, how many images."""

    encoder: str
    size: str
    seed: int
    images: int

    @property
    def name(self) -> str:
        """Of its checkpoint."""
        return f"{self.encoder}-{self.size}-{self.seed}".replace(" ", "-")

    @property
    def key(self) -> dict:
        """What every row of it begins with."""
        return {"encoder": self.encoder, "size": self.size, "seed": self.seed}

    @property
    def steps(self) -> int:
        """Of training."""
        return self.images // BATCH


@dataclass(frozen=True)
class Bench:
    """What all trials share: data, latents, what to paint, the judges."""

    data: Emoji
    cond: Tensor  # [N, 2], the concept and the style of each image
    latents: Tensor  # [N, 4, 16, 16]
    codec: LatentCodec
    clip: CLIP
    judges: tuple
    reference: Moments | None  # of all held-out pairs of these categories
    rows: np.ndarray  # the images that are trained on
    crowds: dict[str, np.ndarray]  # name -> the images whose prompts are painted
    device: torch.device


def captions_of(data: Emoji) -> list[str]:
    """The text that all three encoders read: name and tags, English, no style."""
    return [c.name + (": " + ", ".join(c.tags) if c.tags else "") for c in data.concepts]


def spread(rows: np.ndarray, n: int) -> np.ndarray:
    """n of the rows at most, evenly, since they lie style after style."""
    n = min(n, len(rows))
    return rows[np.linspace(0, len(rows) - 1, n).round().astype(int)]


def split_of(data: Emoji, n: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The images that are trained on, and n at most of each crowd whose prompts are
    painted.
    """
    new = np.array([concept.held_out for concept in data.concepts])[data.concept]
    asked = np.array([c.category in CATEGORIES for c in data.concepts])[data.concept]
    crowds = {
        "held-out pairs": spread(np.flatnonzero(asked & data.held_out & ~new), n),
        "unseen concepts": spread(np.flatnonzero(asked & new), n),
    }
    return np.flatnonzero(asked & ~data.held_out & ~new), crowds


def moments_of(data: Emoji, rows: np.ndarray) -> Moments:
    """Those of real images, in the judge's features."""
    return Moments.of(
        YARDSTICKS["emoji"].features(to_images(torch.from_numpy(data.images[rows])))
    )


def bench(folder: Path, n: int = N) -> Bench:
    """Load everything; the latents are made once and kept in the folder."""
    device = default_device()
    data, pixels = on_device(device)
    codec = codec_of(load_weights(AUTOENCODER, device=device))
    path = folder / f"latents-{read_card(AUTOENCODER)['sha256'][:12]}.pt"
    if not path.exists():
        torch.save(all_latents(codec, pixels).cpu(), path)
    latents = torch.load(path, weights_only=True).to(device)
    rows, crowds = split_of(data, n)
    reference = moments_of(data, split_of(data, len(data.concept))[1]["held-out pairs"])
    cond = torch.from_numpy(np.stack([data.concept, data.style], axis=1)).to(device)
    clip = load_weights(CLIP_NAME, device=device)
    judges = tuple(load_weights(name, device=device) for name in (JUDGE, STYLE_JUDGE))
    return Bench(data, cond, latents, codec, clip, judges, reference, rows, crowds, device)


@torch.no_grad()
def encoder_of(name: str, data: Emoji, clip: CLIP) -> nn.Module:
    """One of lesson 07's three, each one vector a concept."""
    if name == "bag of words":
        return Bag(captions_of(data))
    if name == "MiniLM":
        return Lookup(load_file(FOLDER / "minilm.safetensors")["vectors"])
    tokens = tokenizer().encode_all(captions_of(data)).to(next(clip.parameters()).device)
    return Lookup(torch.cat([clip.embed_texts(part).cpu() for part in tokens.split(256)]))


def begun(trial: Trial, bench: Bench) -> tuple[Phase, RowBatches, Draws]:
    """A trial at its beginning. Nets of one size and seed begin equal, see the same images in
    the same order with the same noise, and differ in the encoder alone.
    """
    torch.manual_seed(trial.seed)
    config = TextUNetConfig(
        channels=16,
        widths=SIZES[trial.size],
        blocks=1,
        attention=(False, True),
        heads=4,
        context_dim=WIDTH,
        groups=8,
    )
    unet = TextUNet(config)
    module = Steered(encoder_of(trial.encoder, bench.data, bench.clip), config)
    module.net.load_state_dict(unet.state_dict())
    module = place(module, bench.device)
    draws = Draws(trial.seed)
    denoise = denoiser_from(module, RECIPE.reading())

    def loss(rows: Tensor) -> dict[str, Tensor]:
        dropped = (draws.uniform(len(rows), 1) < RECIPE.drop).to(rows.device)
        cond = bench.cond[rows].masked_fill(dropped, NOTHING)
        return denoise.loss(bench.latents[rows], cond, draws=draws)

    scale = warmup_flat_decay(warmup=50)
    phase = Phase("unet", module, loss, Muon(module, lr=LR), Ema(module), scale)
    leg = Leg(trial.steps)
    setting = Setting(leg, 1, trial.seed, bench.device, draws, lambda module: module)
    return phase, RowBatches(bench.rows, BATCH, setting), draws


def trained(trial: Trial, bench: Bench, folder: Path) -> tuple[nn.Module, dict]:
    """The trial's averaged net, from where its checkpoint stands, and its row."""
    phase, batches, draws = begun(trial, bench)
    path, kind = folder / f"{trial.name}.pt", f"{trial} {SIZES[trial.size]} {BATCH} {LR}"
    start = 0
    if path.exists():
        start = load_state(path, phase, batches, [draws.generator], run=kind)
    began, saved, losses, step = time.process_time(), time.time(), [], start
    for done in train(phase, batches, trial.steps, start=start):
        step, losses = done.step, [*losses[-99:], done.loss]
        if time.time() - saved > SAVE_EVERY:
            save_state(path, step, phase, batches, [draws.generator], run=kind)
            saved = time.time()
    seconds = time.process_time() - began
    module = phase.ema.module
    row = {
        **trial.key,
        "row": "training",
        "images": trial.steps * BATCH,
        "unet_parameters": parameters_of(module.net),
        "encoder_parameters": parameters_of(module.encoder),
        "threads": torch.get_num_threads(),
        "machine": device_name(bench.device),
        "precision": precision_name(phase.precision or precision(bench.device)),
    }
    if step > start:
        save_state(path, step, phase, batches, [draws.generator], run=kind)
        # of a run that was cut, the pace of its last piece
        whole = seconds * trial.steps / (step - start)
        row |= {"processor_seconds": round(whole), "loss": round(sum(losses) / len(losses), 4)}
    return module, row


def painted(module: nn.Module, cond: Tensor, guidance: float, codec: LatentCodec) -> Tensor:
    """A picture [3, 64, 64] for each of cond [n, 2], from the same noise in every trial."""
    denoise = denoiser_from(module, RECIPE.reading())
    sampling = Sampling("dpmpp_2m", guidance=guidance)
    batches = diffusion_batches(
        guided_by(denoise, sampling, NOTHING),
        denoise.schedule,
        sampling,
        STEPS,
        (4, 16, 16),
        device=cond.device,
        conditions=lambda n, shown: shown,
        decode=lambda z: codec.decode(z).clamp(-1, 1),
        batch_size=64,
    )
    return torch.cat([images for images, _ in batches(len(cond), 0, cond)])


def judged(bench: Bench, images: Tensor, crowd: str) -> dict:
    """What the judges say of pictures of a crowd's prompts; the nonsense score is with the
    captions of other pictures.
    """
    rows = bench.crowds[crowd]
    texts = prompts_of(bench.data, np.roll(rows, len(rows) // 2))
    figures = picture_figures(*bench.judges, images, rows)
    figures["clip_score_nonsense"] = clip_score(bench.judges[0], images, texts).mean().item()
    if crowd == "held-out pairs":  # whose own pictures the reference is
        moments = Moments.of(YARDSTICKS["emoji"].features(images))
        figures["fd"] = frechet_distance(moments, bench.reference)
    return {key: round(value, 4) for key, value in figures.items()} | {"n": len(rows)}


def real_rows(bench: Bench) -> Iterator[dict]:
    """The artists' own pictures, by the same judges, with the distance's floor."""
    for crowd, rows in bench.crowds.items():
        images = to_images(torch.from_numpy(bench.data.images[rows]))
        row = {"row": "real", "crowd": crowd, **judged(bench, images, crowd)}
        if "fd" in row:  # of training pictures: those painted are a part of the reference
            order = torch.randperm(len(bench.rows), generator=torch.Generator().manual_seed(0))
            lots = order[: 5 * len(rows)].split(len(rows))
            far = [
                frechet_distance(moments_of(bench.data, bench.rows[lot]), bench.reference)
                for lot in lots
            ]
            row["fd"] = round(sum(far) / len(far), 4)
        yield row


def measured(
    trial: Trial, module: nn.Module, bench: Bench, done: list[dict]
) -> Iterator[dict]:
    """The rows of a trained net that are not done yet."""
    wanted = [("unseen concepts", 3), *(("held-out pairs", w) for w in GUIDANCES)]
    for crowd, guidance in wanted:
        key = {**trial.key, "row": "figures", "crowd": crowd, "guidance": guidance}
        if any(key.items() <= row.items() for row in done):
            continue
        images = painted(module, bench.cond[bench.crowds[crowd]], guidance, bench.codec)
        yield {**key, "steps": STEPS, **judged(bench, images, crowd)}


def read_rows(path: Path) -> list[dict]:
    """What is done already; a last line that was cut short counts for nothing."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def append(path: Path, row: dict):
    """Write a row, and show it."""
    print(json.dumps(row), flush=True)
    cut = path.exists() and not path.read_bytes().endswith(b"\n")
    with open(path, "a", encoding="utf-8") as file:
        file.write("\n" * cut + json.dumps(row) + "\n")


def run(trial: Trial, bench: Bench, folder: Path, path: Path, keep: bool):
    """Train and measure one trial, or what is left of it."""
    done = [row for row in read_rows(path) if trial.key.items() <= row.items()]
    if sum(row["row"] == "figures" for row in done) == len(GUIDANCES) + 1:
        return
    module, row = trained(trial, bench, folder)
    if not any(each["row"] == "training" for each in done):
        append(path, row)
    for row in measured(trial, module.eval(), bench, done):
        append(path, row)
    if not keep:
        (folder / f"{trial.name}.pt").unlink(missing_ok=True)


def table(rows: list[dict]) -> str:
    """Every net and guidance as a line of a table: means over the seeds, with the standard
    error of the first two.
    """
    keys = ("clip_score", "fd", "style_accuracy", "concept_recall_at_5")
    lines = ["| encoder | U-Net | guidance | CLIP score | FD | style | concept within 5 |"]
    lines += ["|---" * 7 + "|"]
    for encoder in ENCODERS:
        for size in SIZES:
            found = {key: curve(rows, encoder, size, key) for key in keys}
            for k, guidance in enumerate(guidances(rows)):
                cells = [f"{found[key][:, k].mean():.3f}" for key in keys]
                for i in (0, 1):
                    cells[i] += f" +- {error_of(found[keys[i]][:, k]):.3f}"
                lines.append(f"| {encoder} | {size} | {guidance:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    """Run every trial that is not done, a whole seed after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=45_000)
    parser.add_argument("--out", type=Path, default=ROWS)
    parser.add_argument("--keep", action="store_true", help="the trained nets")
    parser.add_argument("--table", action="store_true", help="print what is there, no more")
    args = parser.parse_args()
    if args.table:
        rows = claim_rows(args.out)
        print(table(rows), claim_table(rows), sep="\n\n")
        return
    folder = (cache_folder() or Path(".")) / "runs" / "encoder-or-unet"
    folder.mkdir(parents=True, exist_ok=True)
    shared = bench(folder)
    if not any(row["row"] == "real" for row in read_rows(args.out)):
        for row in real_rows(shared):
            append(args.out, row)
    trials = Trial(ENCODERS[0], "small", 0, args.images)
    for seed in args.seeds:
        for size in SIZES:
            for encoder in ENCODERS:
                trial = replace(trials, seed=seed, size=size, encoder=encoder)
                run(trial, shared, folder, args.out, args.keep)


if __name__ == "__main__":
    main()
