"""A VAE of Fashion-MNIST in grey, told the class: for pictures."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.data import to_float
from course_lib.data.fashion import fashion_mnist
from course_lib.device import default_device, place
from course_lib.draws import Draws
from course_lib.models import ConvVAE, VAEConfig
from course_lib.recipes.conditions import Labelled, drop_labels
from course_lib.recipes.vae import VaeLeg, VaeRecipe, bound_on


@dataclass(frozen=True, kw_only=True)
class GreyRecipe(Labelled, VaeRecipe):
    """Pixels Normal around the decoder's, with one learnt deviation for all."""

    drop: float = 0.1  # of the labels, so that the same net knows pictures of no class

    def about(self) -> dict:
        what = "Class-conditional VAE of Fashion-MNIST in grey, one learnt deviation for all "
        return {"what": what + "pixels; the EMA's weights.", **super().about()}

    def see(self, x: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        return x, drop_labels(labels, self.config.classes, draws, self.drop)

    def figures(self, module: ConvVAE) -> dict:
        vae, k = place(module, default_device()), 100
        images, labels = fashion_mnist("test")
        x, cond = to_float(images), torch.as_tensor(labels.astype("int64"))
        if next(vae.parameters()).device.type == "cpu":
            x, cond = x[:1000], cond[:1000]
        nats = bound_on(vae, x, k, cond).mean().item()
        # a grey level's share is nearly its density times the width of its bin; the bins of
        # black and white are open, so theirs is more, and this errs on the high side
        bits = -(nats / x[0].numel() + math.log(2 / 255)) / math.log(2)
        protocol = (
            f"upper bound: importance-weighted, k = {k}, density times 2/255, told the class, "
            f"the first {len(x):,} test images"
        )
        return {
            "likelihood": {"bits_per_dim": round(bits, 4), "protocol": protocol},
            "sigma": round(vae.likelihood.log_std.exp().item(), 4),
        }


RECIPE = GreyRecipe(
    name="vae-fashion",
    config=VAEConfig(latent_dim=16),  # chosen in benchmarks/choose_vae.md
    batch_size=256,
    lr=3e-3,
    legs=(VaeLeg(1_687, flat=0.4),),
    weight_decay=0.0,  # it would pull the learnt deviation away from its best
)
