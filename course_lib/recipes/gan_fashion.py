"""A class-conditional GAN of Fashion-MNIST, after R3GAN (Huang et al. 2024)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.adversarial import BurnInAdam, Game, cosine_fall
from course_lib.data import Batches, fashion_mnist
from course_lib.data.fashion import RAW_SHA256
from course_lib.device import place
from course_lib.errors import CourseError
from course_lib.metrics.measure import Maker
from course_lib.models import Discriminator, GanConfig, Generator, truncate
from course_lib.recipes.conditions import LABEL_FLAG, labels_of
from course_lib.runs import Flag, Leg, Recipe, Run, Setting, parameters_of
from course_lib.training import Ema, Phase, warmup_flat_decay
from course_lib.weights import read_card

TRUNCATION_FLAG = Flag(
    "--truncation",
    {"type": float, "help": "the most that a number of the noise may be; 2.5 or less shows"},
)


def labels_to_make(n: int, classes: int, cond=None) -> Tensor:
    """The classes [n] of images; a generator knows no "no class": CourseError."""
    labels = labels_of(n, classes, cond)
    if labels.max() == classes:
        raise CourseError(f"This generator takes classes from 0 to {classes - 1} alone.")
    return labels


@dataclass(frozen=True, kw_only=True)
class GanRecipe(Recipe):
    """Relativistic pairing with R1 and R2, whose weight falls during the burn-in."""

    gamma: tuple[float, float] = (0.5, 0.05)  # of the penalties, before and after the burn-in
    burn_in: int = 1500  # steps
    warmup: int = 100  # steps
    pairing: str = "relativistic"

    shared = False  # a penalty takes gradients of gradients, which Accelerate does not share

    def about(self) -> dict:
        return {
            "what": "Class-conditional GAN of Fashion-MNIST, relativistic with R1 and R2 "
            "penalties; the EMA's generator.",
            "data": "Fashion-MNIST, the 55,000 training images",
            "data_sha256": RAW_SHA256,
        }

    def build(self, setting: Setting) -> Run:
        generator, judge = Generator(self.config), Discriminator(self.config)
        if setting.start is not None:  # the discriminator is not kept, and learns again
            generator.load_state_dict(setting.start.state_dict())
        # not compiled: the compiler knows no gradient of a gradient
        generator, judge = (place(net, setting.device) for net in (generator, judge))

        def gamma(step: int) -> float:
            return cosine_fall(*self.gamma, step / self.burn_in)

        game = Game(generator, judge, setting.draws, gamma, self.pairing)
        phases = [
            self._phase("discriminator", judge, game.discriminator_loss, setting.leg),
            self._phase("generator", generator, game.generator_loss, setting.leg),
        ]
        phases[1].ema = Ema(generator)
        batches = Batches(*fashion_mnist("train"), self.batch_size, setting.seed)
        return Run(phases, batches, phases[1].ema.module)

    def _phase(self, name: str, net: nn.Module, loss, leg: Leg) -> Phase:
        optimizer = BurnInAdam(net.parameters(), self.lr, self.burn_in)
        scale = warmup_flat_decay(self.warmup, flat=leg.flat)
        # no cut of gradients: the penalties keep them small
        return Phase(name, net, loss, optimizer, None, scale, clip=math.inf)

    def flags(self) -> tuple[Flag, ...]:
        return (TRUNCATION_FLAG, LABEL_FLAG)

    def conditions(self, n: int, *, label: int | None = None):
        return None if label is None else [label] * n

    def maker(
        self,
        module: Generator,
        name: str,
        *,
        truncation: float | None = None,
        batch_size: int = 256,
    ) -> Maker:
        """truncation: the limit of `truncate`; None leaves the noise as it is."""
        config, device = module.config, next(module.parameters()).device
        if truncation is not None and not truncation > 0:
            raise CourseError(f"A truncation is above 0, not {truncation}.")

        @torch.no_grad()
        def batches(n: int, seed: int, cond=None, start: int = 0):
            labels = labels_to_make(n, config.classes, cond)
            generator = torch.Generator().manual_seed(seed)
            z = torch.randn(n, config.z_dim, generator=generator)
            z = z if truncation is None else truncate(z, truncation)
            for i in range(start, n, batch_size):
                told = labels[i : i + batch_size]
                x = module(z[i : i + batch_size].to(device), told.to(device))
                yield x.clamp(-1, 1).float().cpu(), told

        return Maker(
            name=name,
            shape=(config.channels, config.side, config.side),
            yardstick="fashion-mnist",
            cost={"calls": 1, "truncation": truncation},
            batches=batches,
            weights=(read_card(name)["sha256"],),
            parameters=parameters_of(module),
        )


RECIPE = GanRecipe(
    name="gan-fashion",
    config=GanConfig(widths=(256, 192, 96)),
    batch_size=256,
    lr=5e-4,
    legs=(Leg(12_000, flat=0.5),),
)
