"""A PixelCNN of Fashion-MNIST at its 256 grey levels."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.data import Batches, to_float
from course_lib.data.fashion import TRAINED_ON, fashion_mnist
from course_lib.device import default_device, place
from course_lib.draws import ImageDraws
from course_lib.metrics.measure import Maker
from course_lib.models import PixelCNN, PixelCNNConfig, mixture_log_prob
from course_lib.models.pixel_sampling import sample
from course_lib.models.pixelcnn import levels_of
from course_lib.optim import Muon
from course_lib.recipes.conditions import Labelled, drop_labels, labels_of
from course_lib.recipes.makers import batches_of, maker_from
from course_lib.runs import Leg, Recipe, Run, Setting
from course_lib.training import Ema, Phase, warmup_flat_decay

SHAPE = (1, 28, 28)


@torch.no_grad()
def bits_per_dim(net: PixelCNN, split: str = "test", n: int | None = None) -> float:
    """Bits a pixel: the mean over the first n images of a split, each told its class."""
    images, labels = (part[:n] for part in fashion_mnist(split))
    device = next(net.parameters()).device
    x, cond = to_float(images), torch.as_tensor(labels.astype("int64"))
    parts = zip(x.split(250), cond.split(250), strict=True)
    bits = [net.bits_per_dim(a.to(device), b.to(device)).double().cpu() for a, b in parts]
    return torch.cat(bits).mean().item()


@dataclass(frozen=True, kw_only=True)
class PixelCNNRecipe(Labelled, Recipe):
    """Maximum likelihood of 8-bit pictures given their class, in bits a pixel."""

    drop: float = 0.1  # of the labels, so that the same net knows pictures of no class
    weight_decay: float = 0.02

    def about(self) -> dict:
        return {
            "what": "Class-conditional PixelCNN of Fashion-MNIST, 8 bits a pixel, mixtures of "
            "discretised logistics; the EMA's weights.",
            **TRAINED_ON,
        }

    def build(self, setting: Setting) -> Run:
        net, draws = setting.begun(PixelCNN(self.config), compiled=True), setting.draws
        params_of = setting.prepare(net)

        def loss(batch) -> dict[str, Tensor]:
            x, labels = batch
            cond = drop_labels(labels, self.config.classes, draws, self.drop)
            log_probs = mixture_log_prob(params_of(x, cond), levels_of(x))  # float32 inside
            return {"loss": -log_probs.mean() / math.log(2)}

        optimizer = Muon(net, lr=self.lr, weight_decay=self.weight_decay)
        scale = warmup_flat_decay(warmup=100, flat=setting.leg.flat)
        phase = Phase(self.name, net, loss, optimizer, Ema(net), scale)
        data = fashion_mnist("train")
        batches = Batches(*data, self.batch_size, setting.seed, shard=draws.shard)
        return Run([phase], batches, phase.ema.module)

    def figures(self, module: PixelCNN) -> dict:
        net = place(module, default_device())
        protocol = (
            "bits a pixel, 8-bit 28 x 28, told the class, float32, all 10,000 test images"
        )
        bits = round(bits_per_dim(net), 4)
        return {"likelihood": {"bits_per_dim": bits, "protocol": protocol}}

    def maker(self, module: nn.Module, name: str, *, batch_size: int = 256) -> Maker:
        """Pictures by the cached sampler: 784 calls an image, each for one pixel."""
        device, classes = next(module.parameters()).device, module.config.classes

        def paint(draws: ImageDraws, labels: Tensor) -> Tensor:
            uniforms = draws.uniform(len(labels), *SHAPE[1:])
            return sample(module, uniforms, labels.to(device))

        return maker_from(
            module,
            name,
            shape=SHAPE,
            cost={"calls": SHAPE[1] * SHAPE[2]},
            batches=batches_of(paint, lambda n, cond: labels_of(n, classes, cond), batch_size),
        )


RECIPE = PixelCNNRecipe(
    name="pixelcnn-fashion",
    config=PixelCNNConfig(),  # chosen in benchmarks/choose_pixelcnn.md
    batch_size=128,
    lr=3e-3,  # 7e-3 came to NaN after 2,000 steps in bfloat16
    legs=(Leg(5_796, flat=0.4),),
)
