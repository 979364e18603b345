"""The game of a generator and a discriminator: pairings, penalties, and the two losses.

Logits are the discriminator's: above 0 for real. A pairing is a loss for each player, of the
logits of real and fake images, to be made small.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.draws import Draws
from course_lib.errors import CourseError


@dataclass(frozen=True)
class Pairing:
    """What each player minimises: functions of the logits (real [B], fake [B]) to [B]."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]


def _classify(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real) + F.softplus(fake)


PAIRINGS = {
    # each fake against a real one (Jolicoeur-Martineau 2018; Huang et al. 2024, eq. 2)
    "relativistic": Pairing(
        lambda real, fake: F.softplus(fake - real), lambda real, fake: F.softplus(real - fake)
    ),
    # the game of Goodfellow et al. 2014, eq. 1: log(1 - D) is to fall
    "saturating": Pairing(_classify, lambda real, fake: -F.softplus(fake)),
    # its section 3: log D is to rise
    "non-saturating": Pairing(_classify, lambda real, fake: F.softplus(-fake)),
    "hinge": Pairing(
        lambda real, fake: F.relu(1 - real) + F.relu(1 + fake), lambda real, fake: -fake
    ),
}


def squared_slopes(discriminator: Callable, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [B] and |gradient by the image|^2 [B], through which a loss can be led back.

    On real images its mean is R1, on fake ones R2 (Mescheder et al. 2018, eqs. 9 and 10). In
    float32 whatever the autocast around: the squares of small numbers are summed here.
    """
    with torch.autocast(x.device.type, enabled=False), torch.enable_grad():
        x = x.detach().float().requires_grad_()
        logits = discriminator(x, cond)
        # images don't see each other, so the sum's gradient holds each logit's own
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return logits, slope.square().flatten(1).sum(dim=1)


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """A block in which a module passes gradients on but gathers none."""
    flags = [(p, p.requires_grad) for p in module.parameters()]
    module.requires_grad_(False)
    try:
        yield module
    finally:
        for p, flag in flags:
            p.requires_grad_(flag)


def cosine_fall(start: float, end: float, progress: float) -> float:
    """From start to end as progress goes from 0 to 1, level at both."""
    return end + (start - end) * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2


class BurnInAdam(torch.optim.Adam):
    """Adam without momentum, its memory of squared gradients lengthening from beta2 0.9 to
    0.99 over the first `burn_in` steps (Huang et al. 2024, appendix D).

    The count is in the groups, so that state_dict has it and a resumed run goes on.
    """

    def __init__(self, params, lr: float, burn_in: int):
        super().__init__(params, lr=lr, betas=(0.0, 0.9))
        for group in self.param_groups:
            group.update(burn_in=burn_in, taken=0)

    def step(self, closure=None):
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            progress = group["taken"] / group["burn_in"]
            group["betas"] = (0.0, cosine_fall(0.9, 0.99, progress))
            group["taken"] += 1
        return super().step(closure)


class Game:
    """The two losses of a GAN; owns no weights. Batches are (images, classes).

    gamma: step -> the penalties' weight; gamma / 2 (R1 + R2) is added to the discriminator's
    loss (Huang et al. 2024, eq. 6). draws: the generator's noise. lazy: the penalties, which
    cost more than all the rest, are taken at every lazy-th step alone, and lazy times as heavy
    (Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", section 3.1).
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        draws: Draws,
        gamma: Callable[[int], float] = lambda step: 1.0,
        pairing: str = "relativistic",
        lazy: int = 1,
    ):
        if pairing not in PAIRINGS:
            raise CourseError(
                f"There is no pairing {pairing!r}; there are: {', '.join(PAIRINGS)}."
            )
        self.generator, self.discriminator = generator, discriminator
        self.draws, self.gamma, self.pairing = draws, gamma, PAIRINGS[pairing]
        self.lazy = lazy

    def _fakes(self, x: Tensor, cond: Tensor) -> Tensor:
        noise = x.new_empty(len(x), self.generator.config.z_dim)
        return self.generator(self.draws.normal(noise), cond)

    def discriminator_loss(self, batch, step: int) -> dict[str, Tensor]:
        """Tell the batch from fakes of its classes: "loss", "pairing", "gap", and, where they
        are taken, "r1" and "r2".
        """
        x, cond = batch
        with torch.no_grad():
            fakes = self._fakes(x, cond)
        # one pass for both kinds: the net has no layer that looks across a batch
        both, conds = torch.cat([x.float(), fakes.float()]), torch.cat([cond, cond])
        punished = step % self.lazy == 0
        if punished:
            logits, slopes = squared_slopes(self.discriminator, both, conds)
        else:
            logits = self.discriminator(both, conds).float()
        real, fake = logits.chunk(2)
        pairing = self.pairing.discriminator(real, fake).mean()
        found = {"pairing": pairing, "gap": (real - fake).mean()}
        if not punished:
            return {"loss": pairing, **found}
        r1, r2 = (part.mean() for part in slopes.chunk(2))
        weight = self.lazy * self.gamma(step) / 2
        return {"loss": pairing + weight * (r1 + r2), **found, "r1": r1, "r2": r2}

    def generator_loss(self, batch, step: int = 0) -> dict[str, Tensor]:
        """Make fakes that the discriminator, which is held still, takes for real: "loss"."""
        x, cond = batch
        fakes = self._fakes(x, cond)
        with frozen(self.discriminator), torch.autocast(x.device.type, enabled=False):
            fake = self.discriminator(fakes.float(), cond)
            with torch.no_grad():
                real = self.discriminator(x.float(), cond)
        return {"loss": self.pairing.generator(real, fake).mean()}
