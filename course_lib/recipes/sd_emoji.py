"""Text to image, whole: Stable Diffusion's architecture, small, on captioned emoji."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.data.emoji import (
    RAW_SHA256,
    SIDE,
    Emoji,
    emoji,
    prompts_of,
    style_of,
    without_style,
)
from course_lib.device import default_device, place, precision
from course_lib.diffusion import (
    LatentCodec,
    Schedule,
    classifier_guided,
    denoiser_from,
    guided_in_parts,
)
from course_lib.diffusion.guidance import parts_asked
from course_lib.draws import Draws
from course_lib.errors import CourseError
from course_lib.metrics.clip_score import beside_real, each_beside_real
from course_lib.metrics.measure import Maker
from course_lib.models import Autoencoder, TextTower, TextUNet, TextUNetConfig
from course_lib.optim import Muon
from course_lib.recipes.emoji_data import RowBatches, caption_table, on_device, to_images
from course_lib.recipes.makers import maker_from
from course_lib.recipes.sampling import Sampling, check_scale, diffusion_batches
from course_lib.runs import Flag, Leg, Recipe, Run, Setting
from course_lib.text import tokenizer
from course_lib.training import Ema, Phase, warmup_flat_decay
from course_lib.weights import load_weights, read_card, shipped

AUTOENCODER, CLIP_NAME, JUDGE, STYLE_JUDGE, STYLE_GUIDE = (
    "emoji-autoencoder",
    "emoji-clip",
    "emoji-judge",
    "emoji-style",
    "emoji-style-guide",
)
# the share of a schedule's times up to which the guide is asked; there it is right in two of
# three, and ever less beyond
LATEST = 0.65


@dataclass(frozen=True)
class TextSampling(Sampling):
    """A way of making pictures from prompts: `guidance` for all that a prompt says, or where
    `style_guidance` is given, for what it says before the style, and that for the style
    (`guided_in_parts`: three calls a look). rescale is the share of the contrast, which
    guidance adds, that is taken back. With a classifier_scale other than 0 a classifier of
    noised latents leads towards the style too (`classifier_guided`).
    """

    style_guidance: float | None = None
    rescale: float = 0.0
    classifier_scale: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        check_scale("classifier_scale", self.classifier_scale)
        if self.style_guidance is not None:
            check_scale("style_guidance", self.style_guidance)
        if not 0 <= self.rescale <= 1:
            raise CourseError(f"rescale is a share from 0 to 1, not {self.rescale}.")

    @property
    def scales(self) -> tuple[float, float]:
        """For what a prompt says before its style, and for the style."""
        style = self.guidance if self.style_guidance is None else self.style_guidance
        return self.guidance, style

    @property
    def calls_a_look(self) -> int:
        return len(parts_asked(self.scales, self.rescale))


BEST = TextSampling("dpmpp_2m", guidance=3.0, rescale=0.7, classifier_scale=30.0)
CALLS = 40  # 20 steps with guidance
FLAGS = (
    Flag("--calls", {"type": int, "default": CALLS, "help": f"of the net an image ({CALLS})"}),
    Flag("--sampler", {"metavar": "NAME", "help": f"how it samples ({BEST.sampler})"}),
    Flag(
        "--guidance",
        {
            "type": float,
            "help": f"1 is plain, more obeys ({BEST.guidance:g}); given alone nothing is "
            "rescaled, and no classifier asked",
        },
    ),
    Flag(
        "--style-guidance",
        {
            "type": float,
            "help": "another for the style alone: three calls a step",
        },
    ),
    Flag(
        "--rescale",
        {
            "type": float,
            "help": "share of guidance's contrast that is taken back, 0 to 1 (without "
            f"--guidance: {BEST.rescale:g})",
        },
    ),
    Flag(
        "--classifier-scale",
        {
            "type": float,
            "help": f"how far {STYLE_GUIDE} leads towards the style (without --guidance: "
            f"{BEST.classifier_scale:g})",
        },
    ),
    Flag("--prompt", {"help": "what all pictures are to show"}, cond=True),
    Flag(
        "--prompts",
        {"type": Path, "metavar": "FILE", "help": "a picture for each of its lines"},
        cond=True,
    ),
)


def codec_of(autoencoder: Autoencoder) -> LatentCodec:
    """The space that is diffused: an autoencoder's latents, of mean 0 and spread 1."""
    return LatentCodec(autoencoder, autoencoder.latent_mean, autoencoder.latent_std)


@torch.no_grad()
def all_latents(codec: LatentCodec, pixels: Tensor, batch_size: int = 256) -> Tensor:
    """Images uint8 [N, 3, 64, 64] to latents [N, latent, h, w], in float32."""
    parts = pixels.split(batch_size)
    return torch.cat([codec.encode(to_images(part)).contiguous() for part in parts])


def text_states(tower: TextTower, tokens: Tensor) -> Tensor:
    """Tokens [B, L] to what the U-Net looks at, [B, L, width], in float32 whatever the
    autocast around: the same in training and sampling.
    """
    with torch.no_grad(), torch.autocast(tokens.device.type, enabled=False):
        return tower(tokens)


def style_log_prob(guide: nn.Module, x_t: Tensor, t: int | Tensor, asked: Tensor) -> Tensor:
    """log p(style | x_t) by a classifier of noised latents: x_t [B, C, h, w], asked int64 [B],
    the style's place, -1 where a prompt names none, to [B], 0 for those.
    """
    times = torch.as_tensor(t, device=x_t.device).expand(len(x_t))
    found = guide(x_t, times).float().log_softmax(dim=1)
    named = found.gather(1, asked.clamp(min=0)[:, None])[:, 0]
    return named.where(asked >= 0, 0.0)


def read_prompts(path: Path) -> list[str]:
    """The lines of a file, blank ones too: an empty prompt is one."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise CourseError(f"{path} cannot be read: {why}.") from None
    if not lines:
        raise CourseError(f"{path} holds no prompt: write one a line.")
    return lines


def prompts_for(n: int, cond=None) -> list[str]:
    """n prompts, by default those of the held-out pairs, in turn."""
    if cond is None:
        data = emoji()
        texts = prompts_of(data, data.rows("test"))
        return [texts[i % len(texts)] for i in range(n)]
    if isinstance(cond, str) or len(cond) != n or not all(isinstance(c, str) for c in cond):
        raise CourseError(f"Give {n} prompts, a text each.")
    return list(cond)


def judged(images: Tensor, start: int) -> dict[str, Tensor]:
    """What the judges say of pictures made for the held-out pairs in turn, from pair number
    `start` on: images [B, 3, 64, 64] to name -> float [B], the real pictures' own beside.
    """
    rows = emoji().rows("test")
    own = rows[(start + np.arange(len(images))) % len(rows)]
    return each_beside_real(*_judges(images.device, _digests()), images, own)


def _digests() -> tuple[str, ...]:
    """The SHA-256 of both judges; none where one is not there yet."""
    names = (JUDGE, STYLE_JUDGE)
    there = set(names) <= set(shipped())
    return tuple(read_card(name)["sha256"] for name in names) if there else ()


@lru_cache(maxsize=1)
def _judges(device: torch.device, digests: tuple[str, ...]) -> tuple:
    """Both judges; by their files' hashes, so that other files are read anew."""
    return tuple(load_weights(name, device=device) for name in (JUDGE, STYLE_JUDGE))


@dataclass(frozen=True, kw_only=True)
class TextToImageRecipe(Recipe):
    """Latent diffusion steered by the frozen text tower of a CLIP."""

    # on latents of spread 1 the cosine spends its times about evenly over the noise levels
    # that matter, and it ends in noise alone; there only v says anything
    schedule: dict = field(default_factory=lambda: {"name": "cosine", "T": 1000})
    target: str = "v"
    drop: float = 0.1  # of the prompts, so that the same net learns to work without one
    bare: float = 0.1  # of the captions: they name no style
    captions: int = 4  # of each image in each language
    autoencoder: str = AUTOENCODER
    text: str = CLIP_NAME

    stored = torch.int8  # half the largest file; what it costs: benchmarks/eight_bits.md

    def reading(self) -> dict:
        """How the net's answer is read, for the card."""
        return {"schedule": self.schedule, "target": self.target}

    def about(self) -> dict:
        return {
            "what": "Text to image of captioned emoji, in English and Chinese: Stable "
            f"Diffusion's U-Net on the latents of {self.autoencoder}, steered by the text "
            f"tower of {self.text}; the EMA's weights.",
            "data": "Captioned emoji, the 9,326 training pairs",
            "data_sha256": RAW_SHA256,
            "parts": {
                name: read_card(name)["sha256"] for name in (self.autoencoder, self.text)
            },
            "reading": self.reading(),
        }

    def parts(self, device: torch.device) -> tuple[LatentCodec, TextTower]:
        """The two nets around the U-Net, frozen."""
        codec = codec_of(load_weights(self.autoencoder, device=device))
        return codec, load_weights(self.text, device=device).text

    def build(self, setting: Setting) -> Run:
        net, device = setting.begun(TextUNet(self.config)), setting.device
        codec, tower = self.parts(device)
        data, pixels = on_device(device)
        # those of held-out pairs are made too, and no row of RowBatches asks for them
        latents = all_latents(codec, pixels)
        denoise = denoiser_from(setting.prepare(net), self.reading())
        loss = self.loss_on(denoise, latents, self.prompts(data, tower, setting))
        scale = warmup_flat_decay(flat=setting.leg.flat)
        phase = Phase(
            self.name, net, loss(setting.draws), Muon(net, lr=self.lr), Ema(net), scale
        )
        batches = RowBatches(data.rows("train"), self.batch_size, setting)
        return Run([phase], batches, phase.ema.module)

    def prompts(self, data: Emoji, tower: TextTower, setting: Setting) -> Callable:
        """A function (rows, draws) -> token states [B, L, width] of a caption each, a share of
        them empty.
        """
        device = setting.device
        tokens = caption_table(data, self.captions, setting.seed, self.bare)[0].to(device)
        empty = tokenizer().encode("").to(device)

        def states(rows: Tensor, draws: Draws) -> Tensor:
            pick = draws.integers(tokens.shape[1], len(rows)).to(device)
            dropped = (draws.uniform(len(rows), 1) < self.drop).to(device)
            return text_states(tower, torch.where(dropped, empty, tokens[rows, pick].long()))

        return states

    def loss_on(self, denoise, latents: Tensor, states: Callable) -> Callable:
        """draws -> the loss of a training step: rows [B] -> {"loss", "per_image", "t"}."""

        def with_draws(draws: Draws) -> Callable:
            def loss(rows: Tensor) -> dict[str, Tensor]:
                return denoise.loss(latents[rows], states(rows, draws), draws=draws)

            return loss

        return with_draws

    def flags(self) -> tuple[Flag, ...]:
        return FLAGS

    def conditions(self, n: int, *, prompt: str | None = None, prompts: Path | None = None):
        if prompt is not None and prompts is not None:
            raise CourseError("Give one --prompt or a file of --prompts, not both.")
        if prompts is not None:
            return read_prompts(prompts)
        return None if prompt is None else [prompt] * n

    def painter(
        self, module: TextUNet, sampling: TextSampling, calls: int, batch_size: int
    ) -> tuple[Callable, dict]:
        """The `batches` of a Maker, and what a picture costs."""
        device, denoise = (
            next(module.parameters()).device,
            denoiser_from(module, self.reading()),
        )
        codec, tower = self.parts(device)
        plan, side = denoise.schedule, SIDE // codec.autoencoder.config.folds

        def states(texts: list[str]) -> Tensor:
            return text_states(tower, tokenizer().encode_all(texts).to(device))

        def told(texts: list[str]) -> tuple[tuple[Tensor, Tensor], Tensor]:
            whole = states(texts)
            style = [style_of(text) for text in texts]
            asked = torch.tensor([-1 if place is None else place for place in style])
            if 1 not in parts_asked(sampling.scales):  # nobody looks at it
                return (whole, whole), asked
            return (states([without_style(text) for text in texts]), whole), asked

        parts = guided_in_parts(
            denoise, states([""])[0], sampling.scales, plan, sampling.rescale
        )
        steer = self.led(parts, sampling.classifier_scale, plan, device)
        batches = diffusion_batches(
            steer,
            plan,
            sampling,
            sampling.steps(calls, plan.T),
            (module.config.channels, side, side),
            device=device,
            conditions=prompts_for,
            encode=told,
            decode=lambda z: codec.decode(z).clamp(-1, 1),
            batch_size=batch_size,
        )
        return batches, sampling.cost(calls, plan)

    def led(
        self, denoise: Callable, scale: float, plan: Schedule, device: torch.device
    ) -> Callable:
        """A denoiser led by the style's classifier, whose cond is (what it is told, style)."""
        # at scale 0 it isn't needed, and need not be there
        guide = load_weights(STYLE_GUIDE, device=device) if scale else None

        def log_prob(x_t: Tensor, t: int | Tensor, asked: Tensor) -> Tensor:
            return style_log_prob(guide, x_t, t, asked)

        return classifier_guided(denoise, log_prob, scale, plan, int(LATEST * plan.T))

    def maker(
        self, module: TextUNet, name: str, *, calls: int = CALLS, batch_size=64, **options
    ) -> Maker:
        asked = {key: value for key, value in options.items() if value is not None}
        if "guidance" not in asked:  # who gives one scale for all wants that alone
            best = ("guidance", "style_guidance", "rescale", "classifier_scale")
            asked = {key: getattr(BEST, key) for key in best} | asked
        sampling = TextSampling(**{"sampler": BEST.sampler, **asked})
        batches, cost = self.painter(module, sampling, calls, batch_size)
        guide = (STYLE_GUIDE,) if sampling.classifier_scale else ()
        made = maker_from(
            module,
            name,
            shape=(3, SIDE, SIDE),
            yardstick="emoji",
            cost=cost,
            batches=batches,
            beside=(self.autoencoder, self.text, *guide),
            precision=precision(next(module.parameters()).device),
        )
        judges = _digests()
        return replace(made, more=judged, judges=judges) if judges else made

    def figures(self, module: TextUNet) -> dict:
        """By the judges, on every held-out pair; none where a judge or the guide is not there
        yet.
        """
        if not (digests := _digests()) or STYLE_GUIDE not in shipped():
            return {}
        device, rows = default_device(), emoji().rows("test")
        judges = _judges(device, digests)
        batches, cost = self.painter(place(module, device), BEST, CALLS, 256)
        images = torch.cat([images for images, _ in batches(len(rows), 0)])
        return {**beside_real(*judges, images, rows), **cost, "n": len(rows)}


RECIPE = TextToImageRecipe(
    name="sd-emoji",
    config=TextUNetConfig(
        widths=(128, 192), attention=(True, True), heads=4, context_dim=192, groups=8
    ),
    batch_size=512,
    lr=1.2e-3,
    legs=(Leg(1_360),),
)
