"""What the recipes of the two VAEs have in common."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.data import Batches
from course_lib.data.fashion import RAW_SHA256, fashion_mnist
from course_lib.device import autocast, place
from course_lib.draws import Draws, ImageDraws
from course_lib.metrics.measure import Maker
from course_lib.models import ConvVAE
from course_lib.optim import Muon
from course_lib.recipes.conditions import labels_of
from course_lib.runs import Leg, Recipe, Run, Setting, parameters_of
from course_lib.training import Ema, Phase, warmup_flat_decay
from course_lib.weights import read_card

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
        return {"data": "Fashion-MNIST, the 55,000 training images", "data_sha256": RAW_SHA256}

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
        vae = ConvVAE(self.config)
        if setting.start is not None:
            vae.load_state_dict(setting.start.state_dict())
        vae = place(vae, setting.device)
        loss = self.loss_on(vae, setting.prepare(vae), setting)
        optimizer = Muon(vae, lr=self.lr, weight_decay=self.weight_decay)
        scale = warmup_flat_decay(flat=setting.leg.flat)
        phase = Phase(self.name, vae, loss, optimizer, Ema(vae), scale)
        shard = setting.draws.rank, setting.draws.world
        batches = Batches(*fashion_mnist("train"), self.batch_size, setting.seed, shard=shard)
        return Run([phase], batches, phase.ema.module)

    def labels(self, n: int, cond=None) -> Tensor:
        """The classes [n] that pictures are to be of."""
        return labels_of(n, self.config.classes, cond)

    def maker(self, module: nn.Module, name: str, *, batch_size: int = 256) -> Maker:
        """Mean pictures of latents from the prior, in one call of the decoder."""
        device = next(module.parameters()).device

        def batches(n: int, seed: int, cond=None, start: int = 0):
            labels = self.labels(n, cond)
            for i in range(start, n, batch_size):
                told = labels[i : i + batch_size]
                draws = ImageDraws(seed, range(i, i + len(told)))
                with torch.no_grad(), autocast(device):
                    x = module.sample(len(told), draws, told.to(device))
                yield x.float().cpu(), told

        return Maker(
            name=name,
            shape=SHAPE,
            yardstick="fashion-mnist",
            cost={"calls": 1},
            batches=batches,
            weights=(read_card(name)["sha256"],),
            parameters=parameters_of(module),
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
