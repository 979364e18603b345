"""TarFlow on Fashion-MNIST: exact log-likelihoods, class-conditional."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.data import Batches, fashion_mnist, to_float
from course_lib.data.fashion import CLASSES, TRAINED_ON
from course_lib.device import default_device, place
from course_lib.draws import Draws
from course_lib.errors import CourseError
from course_lib.metrics.measure import Maker
from course_lib.models import TarFlow, TarFlowConfig
from course_lib.optim import Muon
from course_lib.recipes.conditions import Labelled, drop_labels, labels_of
from course_lib.recipes.makers import batches_of, maker_from, start_noise
from course_lib.runs import Flag, Leg, Recipe, Run, Setting
from course_lib.training import Ema, Phase, warmup_flat_decay

# shoes all point to the left; what is left over may as well hang the other way round
SIDED = ("sandal", "sneaker", "ankle boot")
FEW = 500  # test images that the card's figures are measured on where there is no GPU
TEMPERATURE_FLAG = Flag(
    "--temperature",
    {"type": float, "default": 1.0, "help": "of the noise: below 1, likelier images (1)"},
)


def mirror(x: Tensor, labels: Tensor, draws: Draws) -> Tensor:
    """Mirror half of the images whose class has no side: x [B, C, H, W], labels [B]."""
    sided = torch.tensor([name in SIDED for name in CLASSES], device=x.device)[labels]
    flip = (draws.uniform(len(x)) < 0.5).to(x.device) & ~sided
    return torch.where(flip[:, None, None, None], x.flip(3), x)


class BitsPerDim(nn.Module):
    """The loss as one module's forward, so that gradients can be shared among processes."""

    def __init__(self, flow: TarFlow):
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, cond: Tensor, draws: Draws) -> Tensor:
        nats = -self.flow.log_prob(x, cond, draws)
        return nats / (x[0].numel() * math.log(2))  # [B]


@torch.no_grad()
def likelihood(flow: TarFlow, split: str = "test", most: int | None = None) -> dict:
    """Bits a dimension of a split, given each image's own class, and the greatest error of
    inverse after forward: float32 images, with one draw of the dequantisation's noise.
    """
    images, labels = (torch.from_numpy(part[:most].copy()) for part in fashion_mnist(split))
    device, bits, draws = next(flow.parameters()).device, BitsPerDim(flow), Draws(0)
    parts, worst = [], 0.0
    for x, cond in zip(to_float(images).split(500), labels.long().split(500), strict=True):
        x, cond = x.to(device), cond.to(device)
        state = draws.generator.get_state()
        parts.append(bits(x, cond, draws).cpu().double())
        draws.generator.set_state(state)  # the same noise again, for the way back
        y, _ = flow.dequantise(x, draws)
        back, _ = flow.inverse(flow(y, cond)[0], cond)
        worst = max(worst, (back - y).abs().max().item())
    each = torch.cat(parts)
    noise = f"{flow.config.dequantise} dequantisation with one draw"
    inside = "float32" if device.type == "mps" else "float64"
    return {
        "likelihood": {
            "bits_per_dim": round(each.mean().item(), 4),
            "standard_error": round((each.std() / len(each) ** 0.5).item(), 4),
            "protocol": f"{len(each):,} {split} images, 28x28, 256 levels, {noise} (an upper "
            "bound), class given, float32",
        },
        "round_trip_error": worst,
        "round_trip_protocol": f"the greatest of inverse after forward, {len(each):,} {split} "
        f"images, float32 in and out, {inside} in the flow and between",
    }


@dataclass(frozen=True, kw_only=True)
class FlowRecipe(Labelled, Recipe):
    """Maximum likelihood of images mirrored by class, with Muon inside the transformers."""

    betas: tuple[float, float] = (0.9, 0.95)  # of Adam, on the rest
    weight_decay: float = 0.01
    warmup: int = 300  # steps
    drop: float = 0.1  # of the labels, so that the flow is a model without classes too

    def about(self) -> dict:
        return {
            "what": "Class-conditional TarFlow of Fashion-MNIST: causal transformers over "
            "patches with splines; the EMA's weights.",
            **TRAINED_ON,
            "data": f"{TRAINED_ON['data']}, all but shoes mirrored too",
        }

    def build(self, setting: Setting) -> Run:
        flow, draws = setting.begun(TarFlow(self.config)), setting.draws
        for layer in flow.transformer_layers:  # all alike: compiled once, in seconds
            place(layer, setting.device, compiled=True)
        bits = setting.prepare(BitsPerDim(flow))

        def loss(batch) -> dict[str, Tensor]:
            x, labels = batch
            cond = drop_labels(labels, self.config.null_class, draws, self.drop)
            per_image = bits(mirror(x, labels, draws), cond, draws)
            return {"loss": per_image.mean(), "per_image": per_image}

        optimizer = Muon(
            flow,
            lr=self.lr,
            betas=self.betas,
            weight_decay=self.weight_decay,
            matrices=flow.matrices,
        )
        scale = warmup_flat_decay(self.warmup, flat=setting.leg.flat)
        phase = Phase(self.name, flow, loss, optimizer, Ema(flow), scale)
        data = fashion_mnist("train")
        batches = Batches(*data, self.batch_size, setting.seed, shard=draws.shard)
        return Run([phase], batches, phase.ema.module)

    def figures(self, module: TarFlow) -> dict:
        device = default_device()
        flow = copy.deepcopy(module).to(device).eval()
        # all of them would take a CPU half an hour; the protocol says how many there were
        most = FEW if device.type == "cpu" else None
        return likelihood(flow, most=most)

    def flags(self) -> tuple[Flag, ...]:
        return (TEMPERATURE_FLAG, *super().flags())

    def maker(
        self, module: TarFlow, name: str, *, temperature: float = 1.0, batch_size: int = 256
    ) -> Maker:
        """temperature: a factor on the noise."""
        if not 0 <= temperature <= 100:
            raise CourseError(f"A temperature is a number from 0 to 100, not {temperature}.")
        device, config = next(module.parameters()).device, module.config

        def noise(n: int, seed: int) -> Tensor:
            return start_noise(n, seed, *module.latent_shape)

        def paint(z: Tensor, labels: Tensor) -> Tensor:
            return module.sample(z.to(device), labels.to(device), temperature)

        return maker_from(
            module,
            name,
            shape=(config.channels, config.size, config.size),
            cost={"calls": module.calls, "temperature": temperature},
            batches=batches_of(
                paint, lambda n, cond: labels_of(n, config.classes, cond), batch_size, noise
            ),
        )


RECIPE = FlowRecipe(
    name="flow-fashion",
    config=TarFlowConfig(),  # chosen in benchmarks/choose_flow.md
    batch_size=128,
    lr=3e-3,
    legs=(Leg(6_079, flat=0.3),),
)
