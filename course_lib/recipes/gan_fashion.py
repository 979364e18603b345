"""A class-conditional GAN of Fashion-MNIST, after R3GAN (Huang et al. 2024)."""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from course_lib.adversarial import BurnInAdam, Game, cosine_fall
from course_lib.data import Batches, fashion_mnist
from course_lib.data.fashion import TRAINED_ON
from course_lib.device import place
from course_lib.errors import CourseError
from course_lib.metrics.measure import Maker
from course_lib.models import Discriminator, GanConfig, Generator, truncate
from course_lib.recipes.conditions import Labelled, labels_of
from course_lib.recipes.makers import batches_of, maker_from, start_noise
from course_lib.runs import Flag, Leg, Recipe, Run, Setting
from course_lib.training import Ema, Phase, warmup_flat_decay

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
class GanRecipe(Labelled, Recipe):
    """Relativistic pairing with R1 and R2, whose weight falls during the burn-in."""

    gamma: tuple[float, float] = (0.5, 0.05)  # of the penalties, before and after the burn-in
    burn_in: int = 1500  # steps
    warmup: int = 100  # steps
    pairing: str = "relativistic"
    lazy: int = 1  # steps from one turn of the penalties to the next

    shared = False  # a penalty takes gradients of gradients, which Accelerate does not share

    def about(self) -> dict:
        return {
            "what": "Class-conditional GAN of Fashion-MNIST, relativistic with R1 and R2 "
            "penalties; the EMA's generator.",
            **TRAINED_ON,
        }

    def build(self, setting: Setting) -> Run:
        # not compiled: the compiler knows no gradient of a gradient
        generator = setting.begun(Generator(self.config))
        # that of an earlier leg is not kept: it learns again
        judge = place(Discriminator(self.config), setting.device)

        def gamma(step: int) -> float:
            return cosine_fall(*self.gamma, step / self.burn_in)

        game = Game(generator, judge, setting.draws, gamma, self.pairing, self.lazy)
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
        return (TRUNCATION_FLAG, *super().flags())

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
        if truncation is not None and not 0 < truncation < math.inf:
            raise CourseError(f"A truncation is a number above 0, not {truncation}.")

        def noise(n: int, seed: int) -> Tensor:
            z = start_noise(n, seed, config.z_dim)
            return z if truncation is None else truncate(z, truncation)

        def paint(z: Tensor, labels: Tensor) -> Tensor:
            return module(z.to(device), labels.to(device)).clamp(-1, 1)

        return maker_from(
            module,
            name,
            shape=(config.channels, config.side, config.side),
            cost={"calls": 1, "truncation": truncation},
            batches=batches_of(
                paint,
                lambda n, cond: labels_to_make(n, config.classes, cond),
                batch_size,
                noise,
            ),
        )


RECIPE = GanRecipe(
    name="gan-fashion",
    config=GanConfig(widths=(192, 96), fold=2),  # chosen in benchmarks/choose_gan.md
    batch_size=64,
    lr=5e-4,
    legs=(Leg(8_000, flat=0.5),),
    lazy=4,
)
