"""What the recipes of the two VAEs have in common."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.data import Batches
from course_lib.data.fashion import TRAINED_ON, fashion_mnist
from course_lib.device import autocast, precision
from course_lib.draws import Draws, ImageDraws
from course_lib.metrics.measure import Maker
from course_lib.models import ConvVAE
from course_lib.optim import Muon
from course_lib.recipes.conditions import labels_of
from course_lib.recipes.makers import batches_of, maker_from
from course_lib.runs import Leg, Recipe, Run, Setting
from course_lib.training import Ema, Phase, warmup_flat_decay

SHAPE = (1, 28, 28)


@dataclass(frozen=True)
class VaeLeg(Leg):
    """A leg, and how its loss begins."""

    # steps in which the KL term grows to its full weight: from the start at full weight, z is
    # worth less than it costs, and much of it is never used again
    warmup: int = 0


@dataclass(frozen=True, kw_only=True)
class VaeRecipe(Recipe):
    """A convolutional VAE: maximum of the bound, with one draw of z or with more."""

    k: int = 1  # draws of z in the bound, after the warm-up
    weight_decay: float = 0.02

    def see(self, x: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor | None]:
        """What the net is shown of a batch: pictures, and classes or None."""
        raise NotImplementedError

    def about(self) -> dict:
        return dict(TRAINED_ON)

    def loss_on(self, vae: ConvVAE, terms_of: nn.Module, setting: Setting):
        """The loss of a training step, nats a pixel: (batch, step) -> {"loss", "kl"}."""
        leg, draws = setting.leg, setting.draws

        def loss(batch, step: int) -> dict[str, Tensor]:
            x, cond = self.see(*batch, draws)
            warm = step <= leg.warmup
            terms = terms_of(x, draws, cond, 1 if warm else self.k)
            kl = vae.kl(terms)
            if warm or self.k == 1:
                weight = min(1.0, step / leg.warmup) if leg.warmup else 1.0
                bound = terms.log_lik.mean(dim=1) - weight * kl
            else:  # its gradient weighs the k draws by how likely each made x
                bound = terms.log_weights.logsumexp(dim=1) - math.log(self.k)
            return {"loss": -bound.mean() / x[0].numel(), "kl": kl.mean()}

        return loss

    def build(self, setting: Setting) -> Run:
        vae = setting.begun(ConvVAE(self.config))
        loss = self.loss_on(vae, setting.prepare(vae), setting)
        optimizer = Muon(vae, lr=self.lr, weight_decay=self.weight_decay)
        scale = warmup_flat_decay(flat=setting.leg.flat)
        phase = Phase(self.name, vae, loss, optimizer, Ema(vae), scale)
        data, shard = fashion_mnist("train"), setting.draws.shard
        batches = Batches(*data, self.batch_size, setting.seed, shard=shard)
        return Run([phase], batches, phase.ema.module)

    def labels(self, n: int, cond=None) -> Tensor:
        """The classes [n] that pictures are to be of."""
        return labels_of(n, self.config.classes, cond)

    def maker(self, module: nn.Module, name: str, *, batch_size: int = 256) -> Maker:
        """Mean pictures of latents from the prior, in one call of the decoder."""
        device = next(module.parameters()).device

        def paint(draws: ImageDraws, labels: Tensor) -> Tensor:
            with autocast(device):
                return module.sample(len(labels), draws, labels.to(device))

        batches = batches_of(paint, self.labels, batch_size)
        return maker_from(
            module,
            name,
            shape=SHAPE,
            cost={"calls": 1},
            batches=batches,
            precision=precision(device),
        )


@torch.no_grad()
def bound_on(
    vae: ConvVAE, x: Tensor, k: int, cond: Tensor | None = None, *, seed: int = 0
) -> Tensor:
    """The importance-weighted bound of x [N, 1, 28, 28] with k draws each: nats [N], float64.

    Runs on the net's device and draws there; nets in the device's precision, all that is
    summed in float32.
    """
    device, found = next(vae.parameters()).device, []
    draws = Draws(torch.Generator(device).manual_seed(seed))
    for i in range(0, len(x), 50):
        part = None if cond is None else cond[i : i + 50].to(device)
        with autocast(device):
            found.append(vae.iw_bound(x[i : i + 50].to(device), k, draws, part).double())
    return torch.cat(found).cpu()
