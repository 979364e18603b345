"""A classifier of the style of a noised latent: it leads `sd-emoji` towards a style."""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.data.emoji import TRAINED_ON, emoji
from course_lib.device import autocast, default_device, place
from course_lib.diffusion import schedule_from, stratified_times
from course_lib.draws import Draws, mixed_seed
from course_lib.models import NoisyClassifier, NoisyClassifierConfig
from course_lib.recipes.emoji_data import RowBatches, moved, on_device, to_images
from course_lib.recipes.sd_emoji import AUTOENCODER, all_latents, codec_of
from course_lib.runs import Leg, Recipe, Run, Setting
from course_lib.training import Ema, Phase, warmup_flat_decay
from course_lib.weights import load_weights, read_card

COPIES = 9  # number of a stream of its own, beside a run's


@dataclass(frozen=True, kw_only=True)
class StyleGuideRecipe(Recipe):
    """Cross-entropy with smoothed labels on latents with noise of all levels."""

    schedule: dict = field(default_factory=lambda: {"name": "cosine", "T": 1000})
    weight_decay: float = 0.05
    smoothing: float = 0.05  # of the labels
    copies: int = 6  # latents of each image: its own, the others of it mirrored and moved
    autoencoder: str = AUTOENCODER

    def about(self) -> dict:
        return {
            "what": "Classifier of the seven styles of captioned emoji on noised latents of "
            f"{self.autoencoder}: it leads sd-emoji towards a style (classifier guidance); "
            "the EMA's weights.",
            **TRAINED_ON,
            "parts": {self.autoencoder: read_card(self.autoencoder)["sha256"]},
            "schedule": self.schedule,  # the noise that it knows; it denoises nothing
        }

    def build(self, setting: Setting) -> Run:
        net, draws, device = (
            setting.begun(NoisyClassifier(self.config)),
            setting.draws,
            setting.device,
        )
        forward = setting.prepare(net)
        data, pixels = on_device(device)
        rows = data.rows("train")
        plan, style = (
            schedule_from(self.schedule),
            torch.from_numpy(data.style[rows]).to(device),
        )
        latents = self.latents(pixels[torch.from_numpy(rows).to(device)], setting)

        def loss(places: Tensor) -> dict[str, Tensor]:
            copy = draws.integers(self.copies, len(places)).to(device)
            t = stratified_times(len(places), plan.T, draws).to(device)
            z = latents[copy, places].float()
            x_t = plan.add_noise(z, t, draws.normal(z))
            logits = forward(x_t, t).float()
            found = F.cross_entropy(logits, style[places], label_smoothing=self.smoothing)
            return {"loss": found}

        optimizer = torch.optim.AdamW(
            net.parameters(), lr=self.lr, weight_decay=self.weight_decay
        )
        scale = warmup_flat_decay(flat=setting.leg.flat)
        phase = Phase(self.name, net, loss, optimizer, Ema(net), scale)
        batches = RowBatches(np.arange(len(rows)), self.batch_size, setting)
        return Run([phase], batches, phase.ema.module)

    @torch.no_grad()
    def latents(self, pixels: Tensor, setting: Setting) -> Tensor:
        """The latents of so many copies of each image: uint8 [N, 3, 64, 64] to float16
        [copies, N, C, h, w]. They are made once: the encoder costs more than the classifier.
        """
        codec = codec_of(load_weights(self.autoencoder, device=pixels.device))
        draws = Draws(mixed_seed(setting.seed, COPIES))

        def encoded(part: Tensor, change: bool) -> Tensor:
            x = to_images(part)
            # every style may be mirrored; colours are part of a style, so they stay
            flip = torch.ones(len(x), dtype=torch.bool)
            x = moved(x, draws, flip=flip, zoom=0.05, turn=3) if change else x
            with autocast(x.device):
                return codec.encode(x).half()

        return torch.stack(
            [
                torch.cat([encoded(part, copy > 0) for part in pixels.split(256)])
                for copy in range(self.copies)
            ]
        )

    @torch.no_grad()
    def figures(self, module: NoisyClassifier) -> dict:
        """The share of held-out latents whose style is named, at three levels of noise."""
        data, device = emoji(), default_device()
        rows, guide = data.rows("test"), place(module, device).eval()
        codec = codec_of(load_weights(self.autoencoder, device=device))
        pixels = torch.from_numpy(np.array(data.images[rows])).to(device)
        z = all_latents(codec, pixels).cpu()
        eps, plan = Draws(0).normal(z), schedule_from(self.schedule)
        style, found = torch.from_numpy(data.style[rows]), {}
        for t in (0, 300, 600):
            times = torch.full((len(z),), t)
            x_t = plan.add_noise(z, times, eps).to(device)
            parts = zip(x_t.split(256), times.to(device).split(256), strict=True)
            named = torch.cat([guide(*part).argmax(dim=1) for part in parts]).cpu()
            found[f"style_accuracy_t{t}"] = round((named == style).float().mean().item(), 4)
        return found


RECIPE = StyleGuideRecipe(
    name="emoji-style-guide",
    config=NoisyClassifierConfig(),
    batch_size=192,
    lr=2e-3,
    legs=(Leg(3_500, flat=0.3),),
)
