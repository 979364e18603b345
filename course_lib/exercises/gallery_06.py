"""The broken GANs of lesson 06: eight games on one cloud of Normal points, seven of them with
a wrong line, and the numbers that give them away.

The generator is a matrix and a shift, the discriminator a quadratic form, so that the right
end is known: W W^T is the data's covariance, and no point can be told from another.
"""

import functools
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.draws import Draws, mixed_seed
from course_lib.exercises.matching import Bug, Matching, listed
from course_lib.models.gan import truncate

A = ((0.5, 0.0), (0.3, 0.4))  # the data are A z, around 0
START = (0.8, -0.6)  # where the fakes are at first
BATCH, STEPS, WATCHED = 128, 900, 300  # points, steps, and how many of the last are looked at
RATE, GAMMA, FOREIGN_GAMMA = 0.05, 0.3, 10.0
SHOWN = 0.7  # the limit of the noise that bug 8 shows
NAMES = ("pushed", "G by D", "D by G", "new noise", "mean off", "swing", "spread")

BUGS = {
    1: Bug("nothing is wrong", "has every number in place"),
    2: Bug(
        "the critic's logits are clamped below at 0",
        "gives many fakes a gradient of exactly 0: whatever it rejects gets no push",
    ),
    3: Bug(
        "the noise's generator is seeded anew in each step",
        "draws the same noise in every step: nothing new after the first",
    ),
    4: Bug(
        "fakes not detached in the critic's loss, gradients cleared once a round",
        "lets the critic's loss into the generator's step, where the two nearly cancel",
    ),
    5: Bug(
        "the critic's gradients not cleared after the generator's step",
        "lets the generator's loss into the critic's step",
    ),
    6: Bug(
        "the penalty takes the gradient of the logits' mean, not of their sum",
        "has a penalty B^2 times too small, so that the players circle: its mean swings",
    ),
    7: Bug(
        "gamma 30 times as large, copied from a net of another size",
        "has a critic so flat that every push is tiny: steady, and far from the data",
    ),
    8: Bug(
        "noise truncated at 0.7, shown as the model's samples",
        "shows too narrow a cloud although the game went well",
    ),
}


@dataclass
class Players:
    """The weights of both nets, float64."""

    W: Tensor = field(default_factory=lambda: 0.25 * torch.eye(2, dtype=torch.float64))
    b: Tensor = field(default_factory=lambda: torch.tensor(START, dtype=torch.float64))
    P: Tensor = field(default_factory=lambda: torch.zeros(2, 2, dtype=torch.float64))
    v: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    c: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def __post_init__(self):
        for weight in (*self.generator, *self.critic):
            weight.requires_grad_()

    @property
    def generator(self) -> list[Tensor]:
        """What the generator may move."""
        return [self.W, self.b]

    @property
    def critic(self) -> list[Tensor]:
        """What the critic may move."""
        return [self.P, self.v, self.c]

    def make(self, z: Tensor) -> Tensor:
        """Noise [n, 2] to points [n, 2]."""
        return z @ self.W.T + self.b

    def logit(self, x: Tensor) -> Tensor:
        """Points [n, 2] to logits [n]."""
        return ((x @ self.P) * x).sum(dim=1) + x @ self.v + self.c


def gallery_data(n: int, draws: Draws) -> Tensor:
    """n real points [n, 2]."""
    z = draws.normal(torch.empty(n, 2, dtype=torch.float64))
    return z @ torch.tensor(A, dtype=torch.float64).T


def _length(gradients) -> float:
    squares = [g.square().sum() for g in gradients if g is not None]
    return torch.stack(squares).sum().sqrt().item() if squares else 0.0


class BrokenGame:
    """A run of the game with one of the BUGS in it, kept step by step."""

    def __init__(self, bug: int, seed: int = 0):
        self.bug, self.players = bug, Players()
        self.data, self.noise = Draws(mixed_seed(seed, 1)), Draws(mixed_seed(seed, 2))
        self.seed, self.means, self.watched = seed, [], []
        self.last_noise: Tensor | None = None
        for step in range(STEPS):
            numbers = self._round()
            if step >= STEPS - WATCHED:
                self.watched.append(numbers)
                self.means.append(self.players.b.detach().clone())

    def _z(self) -> Tensor:
        if self.bug == 3:
            self.noise = Draws(mixed_seed(self.seed, 2))
        return self.noise.normal(torch.empty(BATCH, 2, dtype=torch.float64))

    def _logit(self, x: Tensor) -> Tensor:
        logit = self.players.logit(x)
        return logit.clamp(min=0) if self.bug == 2 else logit

    def _penalty(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        logit = self._logit(x)
        total = logit.mean() if self.bug == 6 else logit.sum()
        (slope,) = torch.autograd.grad(total, x, create_graph=True)
        return slope.square().sum(dim=1).mean()

    def _step(self, weights: list[Tensor], leave: bool = False):
        with torch.no_grad():
            for weight in weights:
                if weight.grad is not None:
                    weight -= RATE * weight.grad
        for weight in [] if leave else weights:
            weight.grad = None

    def _round(self) -> tuple[float, ...]:
        """A step of each: shares of pushed fakes, of strange gradients and of new noise."""
        players, z = self.players, self._z()
        new = 1.0 if self.last_noise is None or not torch.equal(z, self.last_noise) else 0.0
        self.last_noise = z
        left = _length(w.grad for w in players.critic)  # of the generator's loss, if at all
        fake, real = players.make(z), gallery_data(BATCH, self.data)
        fake = fake if self.bug == 4 else fake.detach()
        gamma = FOREIGN_GAMMA if self.bug == 7 else GAMMA
        loss = F.softplus(-self._logit(real)).mean() + F.softplus(self._logit(fake)).mean()
        (loss + gamma / 2 * (self._penalty(real) + self._penalty(fake))).backward()
        strange = _length(w.grad for w in players.generator)
        self._step(players.critic)
        fake = players.make(z if self.bug == 3 else self._z())
        fake.retain_grad()
        F.softplus(-self._logit(fake)).mean().backward()
        pushed = (fake.grad.abs().sum(dim=1) > 0).double().mean().item()
        self._step(players.generator)
        if self.bug != 5:
            for weight in players.critic:
                weight.grad = None
        return pushed, strange, left, new

    def samples(self, n: int = 2000, seed: int = 9) -> Tensor:
        """What is shown as the model's samples: [n, 2]."""
        z = Draws(mixed_seed(seed)).normal(torch.empty(n, 2, dtype=torch.float64))
        with torch.no_grad():
            return self.players.make(truncate(z, SHOWN) if self.bug == 8 else z)

    def numbers(self) -> dict[str, float]:
        """The numbers of the gallery's table, by NAMES: 1, 0, 0, 1, 0, 0 and 1 at best."""
        std = gallery_std()
        pushed, strange, left, new = torch.tensor(self.watched).double().mean(dim=0).tolist()
        means = torch.stack(self.means) / std
        spread = (self.samples().std(dim=0) / std).mean().item()
        values = (
            pushed,
            strange,
            left,
            new,
            means.mean(dim=0).norm().item(),  # in the data's spreads, of the last steps' mean
            means.std(dim=0).norm().item(),  # and around it
            spread,
        )
        return dict(zip(NAMES, values, strict=True))


def gallery_std() -> Tensor:
    """The data's standard deviations: [2]."""
    return torch.tensor(A, dtype=torch.float64).square().sum(dim=1).sqrt()


@functools.cache
def broken_gan(bug: int) -> BrokenGame:
    """The game with one of the BUGS, played to its end (about a second)."""
    return BrokenGame(bug)


_HUNG = {"A": 4, "B": 8, "C": 1, "D": 6, "E": 3, "F": 7, "G": 2, "H": 5}  # who hangs where


def gallery() -> dict[str, BrokenGame]:
    """The eight games under their letters."""
    from tqdm.auto import tqdm

    bar = tqdm(_HUNG.items(), desc="eight games", leave=False)
    return {letter: broken_gan(bug) for letter, bug in bar}


GALLERY = Matching(
    "The gallery",
    _HUNG,
    BUGS,
    praise="No loss curve was needed.",
    evidence=lambda bug: listed(broken_gan(bug).numbers()),
)
