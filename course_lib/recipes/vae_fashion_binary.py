"""A VAE of binarised Fashion-MNIST, without classes: for likelihood.

The convention of the published figures (VAE 228.7, VampPrior 227.35, Exemplar VAE 226.75
nats), as the public code of the Exemplar VAE (Norouzi et al. 2020) has it, which grew out of
that of the VampPrior (Tomczak & Welling 2018). A training pixel is drawn anew whenever it is
seen, white with its grey value / 255 as probability; validation and test images are drawn
once, with a fixed seed; the figure is the mean over the 10,000 test images of the
importance-weighted bound with 5,000 draws of z. There the first 50,000 images train and 10,000
validate, here 55,000 and 5,000; their draw of the test images is another than ours, on the
same terms.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from course_lib.data import to_float
from course_lib.data.fashion import fashion_mnist
from course_lib.device import default_device, place
from course_lib.draws import Draws
from course_lib.errors import CourseError
from course_lib.models import ConvVAE, VAEConfig
from course_lib.recipes.vae import VaeLeg, VaeRecipe, bound_on

TEST_SEED = 777  # of the one binarisation of the test images


def binarised(x: Tensor, draws: Draws) -> Tensor:
    """Every pixel 1 with its grey value (x + 1) / 2 as probability, else -1."""
    white = draws.uniform(*x.shape).to(x.device) < (x + 1) / 2
    return white.to(x.dtype) * 2 - 1


def binary_images(split: str = "test") -> Tensor:
    """A split's images, binarised once and for all: [N, 1, 28, 28], -1 and 1."""
    return binarised(to_float(fashion_mnist(split)[0]), Draws(TEST_SEED))


@dataclass(frozen=True, kw_only=True)
class BinaryRecipe(VaeRecipe):
    """Each pixel a coin of its own; a learnt prior; the bound with several draws."""

    draws_measured: ClassVar[int] = 5_000  # of z an image, for the figure; none of the run's

    def about(self) -> dict:
        what = (
            "VAE of binarised Fashion-MNIST without classes, a mixture as prior, trained on "
        )
        return {"what": what + f"the bound of {self.k} draws; the EMA's.", **super().about()}

    def see(self, x: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, None]:
        return binarised(x, draws), None

    def figures(self, module: ConvVAE) -> dict:
        """On a CPU only 100 images with 500 draws: all would take hours there."""
        vae, x, k = place(module, default_device()), binary_images(), self.draws_measured
        if next(vae.parameters()).device.type == "cpu":
            x, k = x[:100], min(k, 500)
        nats = -bound_on(vae, x, k)
        protocol = (
            f"importance-weighted bound, k = {k:,}, the first {len(x):,} test images, "
            f"binarised once with seed {TEST_SEED}; nats an image"
        )
        error = (nats.std() / len(nats) ** 0.5).item()
        found = {"nats": round(nats.mean().item(), 3), "standard_error": round(error, 3)}
        return {"likelihood": {**found, "protocol": protocol}}

    def labels(self, n: int, cond=None) -> Tensor:
        if cond is not None:
            raise CourseError(f"{self.name} knows no classes: ask vae-fashion for those.")
        return torch.full((n,), self.config.classes)


RECIPE = BinaryRecipe(
    name="vae-fashion-binary",
    config=VAEConfig(  # chosen in benchmarks/choose_vae.md
        latent_dim=40, classes=0, likelihood="bernoulli", components=100
    ),
    batch_size=256,
    lr=3e-3,
    legs=(VaeLeg(3_094, flat=0.4, warmup=2_000),),
    k=8,
)
