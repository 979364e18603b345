"""Games that are small enough to be seen whole: two densities, one number against one number,
and points in the plane on a ring of hills.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_lib.adversarial import Game
from course_lib.draws import Draws

# ---- two densities


def best_discriminator(p: Tensor, q: Tensor) -> Tensor:
    """The chance that a point is real where real ones have density p and fakes q, of any
    shape: p / (p + q) (Goodfellow et al. 2014, eq. 2); 1/2 where there is neither.
    """
    total = p + q
    return torch.where(total > 0, p / total.where(total > 0, 1), 0.5)


def js_divergence(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence in nats of probabilities p and q [..., N], which sum to 1 over
    the last axis: the mean of their KL divergences to the half-and-half mixture. 0 to ln 2.
    """
    m = (p + q) / 2

    def kl(a: Tensor) -> Tensor:
        # 0 log 0 is 0, and m is above 0 wherever a is
        return torch.xlogy(a, torch.where(a > 0, a / m.where(m > 0, 1), 1)).sum(dim=-1)

    return (kl(p) + kl(q)) / 2


# ---- one number against one number


def dirac_field(theta: Tensor, psi: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Where both players of the Dirac-GAN are pushed: (d theta / dt, d psi / dt).

    The real thing is the number 0, the fake one theta, the critic's logit psi * x. The critic
    minimises softplus(0) + softplus(psi theta) + gamma / 2 psi^2, with R1 alone; the generator
    -softplus(psi theta) (Mescheder et al. 2018, definition 2.1).
    """
    D = torch.sigmoid(psi * theta)  # the chance that the critic gives the fake
    return psi * D, -theta * D - gamma * psi


def dirac_rates(gamma: float, slope: float = 0.5) -> Tensor:
    """The two eigenvalues of the field's Jacobian at rest, complex128 [2]:
    -gamma / 2 +- sqrt(gamma^2 / 4 - slope^2) (Mescheder et al. 2018; Huang et al. 2024,
    lemma B.4).

    slope: how strongly each player feels the other at rest, 1/2 for every pairing made of
    softplus. A real part below 0 dies away, an imaginary one turns.
    """
    half = torch.tensor(gamma / 2, dtype=torch.complex128)
    root = torch.sqrt(half**2 - slope**2)
    return torch.stack([-half + root, -half - root])


# ---- points in the plane


@dataclass(frozen=True)
class Ring:
    """A mixture of Normals, evenly weighted, whose centres lie on a circle."""

    modes: int = 16
    radius: float = 2.0
    std: float = 0.05
    reach: float = 0.25  # a point counts for a mode when it is at most so far from its centre

    @property
    def centres(self) -> Tensor:
        """The modes' centres: [modes, 2]."""
        turn = torch.arange(self.modes) * (2 * math.pi / self.modes)
        return self.radius * torch.stack([turn.cos(), turn.sin()], dim=1)

    def sample(self, n: int, draws: Draws) -> Tensor:
        """n points: [n, 2]."""
        which = draws.integers(self.modes, n)
        return self.centres[which] + self.std * draws.normal(torch.empty(n, 2))

    def hits(self, points: Tensor) -> Tensor:
        """How many of points [n, 2] lie within reach of each mode: int64 [modes]."""
        distance, nearest = torch.cdist(points, self.centres).min(dim=1)
        return torch.bincount(nearest[distance <= self.reach], minlength=self.modes)

    def found(self, points: Tensor, share: float = 0.25) -> int:
        """How many modes get at least `share` of the points that an even split of all n would
        give them.
        """
        return int((self.hits(points) >= share * len(points) / self.modes).sum())


@dataclass(frozen=True)
class PlayerConfig:
    """The size of a `PlaneGenerator` and of a `PlaneDiscriminator`."""

    z_dim: int = 2  # numbers of noise a point
    width: int = 64  # of each hidden layer
    layers: int = 2  # hidden ones


def _layers(inputs: int, outputs: int, config: PlayerConfig) -> nn.Sequential:
    widths = [inputs, *[config.width] * config.layers]
    net = nn.Sequential()
    for a, b in zip(widths[:-1], widths[1:], strict=True):
        net.extend([nn.Linear(a, b), nn.LeakyReLU(0.2)])
    return net.append(nn.Linear(widths[-1], outputs))


class PlaneGenerator(nn.Module):
    """Noise z [B, z_dim] to points [B, 2]; `cond`, which `Game` gives, is ignored."""

    def __init__(self, config: PlayerConfig = PlayerConfig()):
        super().__init__()
        self.config, self.net = config, _layers(config.z_dim, 2, config)

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.net(z)


class PlaneDiscriminator(nn.Module):
    """Points [B, 2] to a logit [B] each, above 0 for real; `cond` is ignored."""

    def __init__(self, config: PlayerConfig = PlayerConfig()):
        super().__init__()
        self.net = _layers(2, 1, config)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.net(x)[:, 0]


def gradient_norm(module: nn.Module) -> float:
    """The length of all gradients that a module's parameters hold, 0 where there are none."""
    squares = [p.grad.square().sum() for p in module.parameters() if p.grad is not None]
    return torch.stack(squares).sum().sqrt().item() if squares else 0.0


# ---- a look at a game in the plane


def pushes(loss: Callable[[Tensor], Tensor], logit: Callable, points: Tensor) -> Tensor:
    """Which way each of points [n, 2] is pushed by a generator's loss of its logit [n]: the
    negative gradient, [n, 2].
    """
    points = points.detach().requires_grad_()
    with torch.enable_grad():
        total = loss(logit(points)).sum()
    return -torch.autograd.grad(total, points)[0]


@dataclass(frozen=True)
class Look:
    """What a picture of a game in the plane shows."""

    title: str
    chance: Tensor  # [n, n], D over the square, row 0 at the bottom
    grid: Tensor  # [lines, points, 2], a grid of noise as the generator warps it
    fakes: Tensor  # [m, 2]
    push: Tensor  # [m, 2], of each fake


def look(
    title: str,
    generator: nn.Module,
    discriminator: nn.Module,
    loss: Callable[[Tensor], Tensor],
    *,
    side: float = 3.0,
    fakes: int = 40,
    seed: int = 0,
) -> Look:
    """A look at a game: D over [-side, side]^2, the warped grid, some fakes and their pushes.

    loss: logits to the generator's loss of each. The fakes' noise is the same at every look.
    """
    axis = torch.linspace(-side, side, 81)
    square = torch.cartesian_prod(axis, axis).flip(1)  # (x, y), y the row
    lines, along = torch.linspace(-2, 2, 9), torch.linspace(-2, 2, 41)
    across = torch.cartesian_prod(lines, along).view(9, 41, 2)
    z = Draws(seed).normal(torch.empty(fakes, generator.config.z_dim))
    with torch.no_grad():
        chance = torch.sigmoid(discriminator(square)).view(81, 81)
        grid = generator(torch.cat([across, across.flip(2)]))
        points = generator(z)
    return Look(title, chance, grid, points, pushes(loss, discriminator, points))


# ---- a whole game on a ring


@torch.no_grad()
def instruments(ring: Ring, generator: nn.Module, discriminator: nn.Module) -> dict:
    """What 2,000 fakes and as many real points say, always from the same noise: "modes" found,
    the "fullest" mode's number (-1 where no fake lies on any), and the "critic"'s
    cross-entropy in nats, 2 ln 2 where it can't tell.
    """
    fake = generator(Draws(5).normal(torch.empty(2000, generator.config.z_dim)))
    real = ring.sample(2000, Draws(6))
    loss = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake)).mean()
    hits = ring.hits(fake)
    fullest = int(hits.argmax()) if hits.any() else -1
    return {"modes": ring.found(fake), "fullest": fullest, "critic": loss.item()}


def play(
    ring: Ring,
    pairing: str,
    gamma: float = 0.0,
    rates: tuple[float, float] = (2e-3, 2e-3),
    steps: int = 1000,
    seed: int = 0,
    *,
    start: float = 0.0,
    lead: int = 0,
    plain: bool = False,
    kind: type[Game] = Game,
) -> tuple[PlaneGenerator, dict[str, list[float]]]:
    """A game on a ring from its start: the generator, and every 25 steps its "step",
    "gradient" (the length of the generator's) and `instruments`, a list each.

    rates: the learning rates of critic and generator, both Adam's with beta1 0.5. start: how
    far off both coordinates of the fakes begin. lead: steps of the critic alone before the
    first. plain: gradient descent for the generator. kind: the game's class.
    """
    torch.manual_seed(seed)
    D, G, draws, log = PlaneDiscriminator(), PlaneGenerator(), Draws(seed + 1), []
    nn.init.constant_(G.net[-1].bias, start)
    game, nobody = kind(G, D, draws, lambda step: gamma, pairing), torch.zeros(128)
    adam_D = torch.optim.Adam(D.parameters(), rates[0], betas=(0.5, 0.99))
    adam_G = torch.optim.Adam(G.parameters(), rates[1], betas=(0.5, 0.99))
    turns = [
        (game.discriminator_loss, adam_D),
        (game.generator_loss, torch.optim.SGD(G.parameters(), rates[1]) if plain else adam_G),
    ]
    for step in tqdm(range(-lead, steps), desc=pairing, leave=False):
        points = ring.sample(128, draws), nobody
        for loss, optimizer in turns[: 1 if step < 0 else 2]:
            optimizer.zero_grad()
            loss(points, step)["loss"].backward()
            optimizer.step()
        if step >= 0 and (step + 1) % 25 == 0:
            found = instruments(ring, G, D)
            log.append({"step": step + 1, "gradient": gradient_norm(G), **found})
    return G, {key: [row[key] for row in log] for key in log[0]}
