"""DDPM on Fashion-MNIST, class-conditional, and the early snapshots of the same run."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from course_lib.data import Batches, fashion_mnist
from course_lib.data.fashion import TRAINED_ON
from course_lib.diffusion import denoiser_from
from course_lib.models import UNet, UNetConfig
from course_lib.optim import Muon
from course_lib.recipes.diffusion import DiffusionRecipe
from course_lib.recipes.sampling import AutoguidedSampling
from course_lib.runs import Leg, Run, Setting
from course_lib.training import Ema, Phase, warmup_flat_decay


def min_snr(alpha: Tensor, sigma: Tensor, least: float = 0.0) -> Tensor:
    """Min-SNR weighting with gamma 5, for the target v (Hang et al. 2023, section 3.4): [B] to
    [B].

    Each error in v counts min(SNR, 5) / (SNR + 1), less where there is hardly any noise or
    hardly anything else, but nowhere less than `least`: without it the smallest times go
    untrained, and long samplings look there.
    """
    return torch.minimum(alpha**2, 5 * sigma**2).clamp(min=least)  # alpha^2 + sigma^2 = 1


@dataclass(frozen=True)
class DdpmLeg(Leg):
    """A leg, and the least weight that an error in v has at any time in it."""

    least: float = 0.2  # 1 weights all times alike


class DdpmRecipe(DiffusionRecipe):
    """A class-conditional diffusion net of Fashion-MNIST."""

    def about(self) -> dict:
        return {
            "what": "Class-conditional DDPM of Fashion-MNIST, target v on the cosine "
            "schedule; the EMA's weights.",
            **TRAINED_ON,
            "reading": self.reading(),
        }

    def snapshots(self) -> dict[str, int]:
        seen = {"10k": 10_000, "250k": 250_000}
        return {f"{self.name}-{key}": n // self.batch_size for key, n in seen.items()}

    def build(self, setting: Setting) -> Run:
        net, draws = setting.begun(UNet(self.config), compiled=True), setting.draws
        weight = partial(min_snr, least=setting.leg.least)
        denoise = denoiser_from(setting.prepare(net), self.reading(), weight=weight)
        phase = Phase(
            self.name,
            net,
            self.loss_on(denoise, draws),
            Muon(net, lr=self.lr),
            Ema(net),
            warmup_flat_decay(flat=setting.leg.flat),
        )
        data = fashion_mnist("train")
        batches = Batches(*data, self.batch_size, setting.seed, shard=draws.shard)
        return Run([phase], batches, phase.ema.module)

    def ways(self) -> tuple[dict, ...]:
        return tuple({"calls": calls} for calls in (1000, 50, 20, 10))

    def best(self, name: str, calls: int) -> AutoguidedSampling:
        """With few calls, steps are worth more than a guide."""
        return BEST if name == self.name and calls >= 20 else AutoguidedSampling(BEST.sampler)


RECIPE = DdpmRecipe(
    name="ddpm-fashion",
    config=UNetConfig(widths=(64, 128)),  # chosen in benchmarks/choose_net.md
    batch_size=64,
    lr=2e-3,
    legs=(  # why three: benchmarks/choose_net.md
        DdpmLeg(5_100, flat=0.76, least=1.0),
        DdpmLeg(23_000, least=0.0),
        DdpmLeg(16_000),
    ),
)
# chosen in benchmarks/choose_sampling.md
BEST = AutoguidedSampling("unipc", guide=f"{RECIPE.name}-250k", guide_scale=2.0)
