"""Super-resolution of emoji, 16 x 16 to 64 x 64: draws of what a thumbnail leaves open."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from course_lib.data.emoji import RAW_SHA256, SIDE, emoji
from course_lib.device import (
    autocast,
    default_device,
    place,
    precision,
    to_device,
)
from course_lib.diffusion import FRESH, SAMPLERS, denoiser_from, final
from course_lib.draws import Draws, ImageDraws
from course_lib.errors import CourseError
from course_lib.metrics.frechet import Moments, frechet_distance
from course_lib.metrics.measure import Maker
from course_lib.metrics.psnr import psnr
from course_lib.metrics.yardsticks import EMOJI
from course_lib.models.superres import SuperRes, SuperResConfig, enlarge, shrink
from course_lib.optim import Muon
from course_lib.recipes.emoji_autoencoder import mixed_channels
from course_lib.recipes.emoji_data import RowBatches, on_device, to_images
from course_lib.recipes.makers import maker_from, start_noise
from course_lib.recipes.sampling import Sampling
from course_lib.runs import Flag, Leg, Recipe, Run, Setting
from course_lib.training import Ema, Phase, warmup_flat_decay
from course_lib.weights import load_weights, read_card

DIRECT = "emoji-superres-direct"
CALLS = 20
BEST = Sampling("dpmpp_2m")
FLAGS = (
    Flag("--calls", {"type": int, "default": CALLS, "help": f"of the net an image ({CALLS})"}),
    Flag("--sampler", {"metavar": "NAME", "help": f"how it samples ({BEST.sampler})"}),
)


def shifted(x: Tensor, draws: Draws, most: int = 3) -> Tensor:
    """Images moved by whole pixels and half of them mirrored, so that nothing is blurred; the
    edge is repeated: x [B, C, H, W] to the same.
    """
    B, _, H, W = x.shape
    by = (draws.integers(2 * most + 1, B, 2) - most).to(x.device)
    rows = (torch.arange(H, device=x.device) + by[:, :1]).clamp(0, H - 1)  # [B, H]
    columns = (torch.arange(W, device=x.device) + by[:, 1:]).clamp(0, W - 1)
    turned = (draws.uniform(B, 1) < 0.5).to(x.device)
    columns = torch.where(turned, columns.flip(1), columns)
    image = torch.arange(B, device=x.device)[:, None, None]
    found = x[image, :, rows[:, :, None], columns[:, None, :]]  # [B, H, W, C]
    return found.permute(0, 3, 1, 2)


def as_v(alpha: Tensor, sigma: Tensor, most: float = 25.0) -> Tensor:
    """The weight that makes an error in x0 count as one in v, 1 / sigma^2, up to `most`: [B]
    to [B]. (x0 = alpha x_t - sigma v, so the one is sigma times the other.)
    """
    return (1 / sigma**2).clamp(max=most)


def rows_for(n: int, cond=None) -> Tensor:
    """Which emoji's thumbnails n pictures are made from, int64 [n]: by default those of the
    held-out pairs, in turn.
    """
    data = emoji()
    if cond is None:
        held = torch.from_numpy(data.rows("test"))
        return held[torch.arange(n) % len(held)]
    rows = torch.as_tensor(cond)
    if rows.shape != (n,) or rows.is_floating_point() or rows.min() < 0:
        raise CourseError(f"Give {n} numbers of emoji, of 0 to {len(data.concept) - 1}.")
    if rows.max() >= len(data.concept):
        raise CourseError(
            f"There is no emoji {rows.max()}: the last is {len(data.concept) - 1}."
        )
    return rows.long()


def pictures(rows: Tensor) -> Tensor:
    """The emoji of these rows [n] in [-1, 1]: [n, 3, 64, 64]."""
    return to_images(torch.from_numpy(emoji().images[rows.numpy()]))


def compared(images: Tensor, real: Tensor) -> dict:
    """What came back against what was there: mean PSNR in dB, and the Fréchet distance."""
    crowd = Moments.of(EMOJI.features(images))
    reference = EMOJI.reference(len(images))
    return {
        "psnr": round(psnr(images, real).mean().item(), 3),
        "fd": round(frechet_distance(crowd, reference), 4),
    }


@dataclass(frozen=True, kw_only=True)
class SuperResRecipe(Recipe):
    """Diffusion of what bicubic leaves out, told the thumbnail."""

    schedule: dict = field(default_factory=lambda: {"name": "cosine", "T": 1000})
    # not v: a net of few channels cannot hand the noise of 48 folded pixels through
    target: str = "x0"
    begins_as: str | None = DIRECT  # at time T it is that net already

    def reading(self) -> dict:
        """How the net's answer is read, for the card."""
        return {"schedule": self.schedule, "target": self.target}

    def about(self) -> dict:
        name = self.begins_as
        parts = {name: read_card(name)["sha256"]} if name else {}
        return {
            "what": "Super-resolution of emoji, 16x16 to 64x64: a diffusion net that is told "
            "the thumbnail and draws what bicubic leaves out; the EMA's weights.",
            "data": "Captioned emoji, the 9,326 training pairs",
            "data_sha256": RAW_SHA256,
            "reading": self.reading(),
            **({"parts": parts} if parts else {}),
        }

    def build(self, setting: Setting) -> Run:
        if setting.start is None and self.begins_as:
            setting = replace(setting, start=load_weights(self.begins_as, device="cpu"))
        net, device = setting.begun(SuperRes(self.config)), setting.device
        forward = self.loss_on(setting.prepare(net), setting.draws)
        data, pixels = on_device(device)

        def loss(rows: Tensor) -> dict[str, Tensor]:
            x = shifted(to_images(pixels[rows]), setting.draws)
            x = mixed_channels(x, setting.draws)
            return forward(net.residual(x), shrink(x, self.config.factor))

        scale = warmup_flat_decay(flat=setting.leg.flat)
        phase = Phase(self.name, net, loss, Muon(net, lr=self.lr), Ema(net), scale)
        batches = RowBatches(data.rows("train"), self.batch_size, setting)
        return Run([phase], batches, phase.ema.module)

    def loss_on(self, net, draws: Draws) -> Callable:
        """(residual [B, 3, 64, 64], thumb [B, 3, 16, 16]) to {"loss": [], ...}."""
        denoise = denoiser_from(net, self.reading(), weight=as_v)
        return lambda residual, thumb: denoise.loss(residual, thumb, draws=draws)

    def flags(self) -> tuple[Flag, ...]:
        return FLAGS

    def way(self, module: SuperRes, sampling: Sampling, calls: int) -> tuple[Callable, dict]:
        """(noise, thumb, the images' draws) -> residuals, and what a picture costs."""
        denoise = denoiser_from(module, self.reading())
        plan = denoise.schedule
        times = plan.times(sampling.steps(calls, plan.T))

        def draw(noise: Tensor, thumb: Tensor, draws: ImageDraws) -> Tensor:
            fresh = {"draws": draws} if sampling.sampler in FRESH else {}
            return final(
                SAMPLERS[sampling.sampler](denoise, plan, noise, times, thumb, **fresh)
            )

        return draw, sampling.cost(calls, plan)

    def batches_of(self, module: SuperRes, draw: Callable, batch_size: int) -> Callable:
        """The `batches` of a Maker whose pictures are of thumbnails of the data set."""
        device = next(module.parameters()).device

        def batches(n: int, seed: int, cond=None, start: int = 0):
            rows = rows_for(n, cond)
            noise = start_noise(n, seed, 3, SIDE, SIDE)
            for i in range(start, n, batch_size):
                told = rows[i : i + batch_size]
                thumb = shrink(pictures(told), self.config.factor)
                x, thumb = to_device((noise[i : i + batch_size], thumb), device)
                draws = ImageDraws(seed, range(i, i + len(x)))
                with torch.no_grad(), autocast(device):
                    residual = draw(x, thumb, draws).float()
                yield module.picture(residual, thumb).cpu(), told

        return batches

    def maker(
        self, module: SuperRes, name: str, *, calls: int = CALLS, batch_size=64, sampler=None
    ) -> Maker:
        draw, cost = self.way(module, Sampling(sampler or BEST.sampler), calls)
        return maker_from(
            module,
            name,
            shape=(3, SIDE, SIDE),
            yardstick="emoji",
            cost=cost,
            batches=self.batches_of(module, draw, batch_size),
            precision=precision(next(module.parameters()).device),
        )

    def figures(self, module: SuperRes) -> dict:
        """On every held-out pair, beside bicubic."""
        module = place(module, default_device())
        rows = rows_for(int(emoji().held_out.sum()))
        real = pictures(rows)
        thumb = shrink(real, self.config.factor)
        draw, cost = self.way(module, BEST, CALLS)
        made = torch.cat([x for x, _ in self.batches_of(module, draw, 64)(len(rows), 0)])
        off = (shrink(made, self.config.factor) - thumb).abs().max().item()
        return {
            **compared(made, real),
            **cost,
            "thumbnail_off_by": float(f"{off:.1e}"),
            "fd_floor": round(EMOJI.floor(len(rows)), 4),
            "bicubic": compared(enlarge(thumb, self.config.factor), real),
            "n": len(rows),
        }


RECIPE = SuperResRecipe(
    name="emoji-superres",
    config=SuperResConfig(),
    batch_size=64,
    lr=2e-3,
    legs=(Leg(1_400, flat=0.4),),
)
