"""Games small enough to be seen whole: closed forms against autograd, quadrature and steps, and
runs that find their modes or lose them.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal

from course_lib.adversarial import PAIRINGS
from course_lib.draws import Draws
from course_lib.toy_games import (
    PlaneDiscriminator,
    PlaneGenerator,
    PlayerConfig,
    Ring,
    best_discriminator,
    dirac_field,
    dirac_rates,
    gradient_norm,
    instruments,
    js_divergence,
    look,
    play,
    pushes,
)


def weights(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).softmax(dim=-1)


# ---- two densities


def test_no_discriminator_is_better_than_the_best():
    """Gradient descent on a table of logits ends at p / (p + q), with the loss 2 ln 2 - 2 JS."""
    p, q = weights(2, 12)
    logits = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12)

    def loss():
        optimizer.zero_grad()
        value = (p * F.softplus(-logits) + q * F.softplus(logits)).sum()
        value.backward()
        return value

    optimizer.step(loss)
    best = best_discriminator(p, q)
    torch.testing.assert_close(torch.sigmoid(logits.detach()), best, rtol=1e-4, atol=1e-4)
    expected = 2 * math.log(2) - 2 * js_divergence(p, q).item()
    assert loss().item() == pytest.approx(expected, abs=1e-8)


def test_empty_bins():
    p, q = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 1.0, 0]])
    assert best_discriminator(p, q).tolist() == [1, 1, 0, 0.5]
    assert js_divergence(p, q).item() == pytest.approx(math.log(2))
    assert js_divergence(p, p).item() == 0


def test_js_is_symmetric_and_between_0_and_log_2():
    p, q = weights(2, 50, 7)
    found = js_divergence(p, q)
    assert found.shape == (50,)
    torch.testing.assert_close(found, js_divergence(q, p))
    assert (found > 0).all() and (found < math.log(2)).all()


def test_the_saturating_pull_is_the_slope_of_twice_js():
    """What lesson 06 draws: two Normals a distance m apart, and the best critic's pull."""
    grid = torch.linspace(-12, 18, 6001, dtype=torch.float64)

    def bins(m):
        law = Normal(torch.tensor(m, dtype=torch.float64), 1.0)
        p = law.log_prob(grid).exp()
        return p / p.sum()

    for m in (0.7, 2.0, 4.0):
        logit = m**2 / 2 - m * grid
        pull = (bins(m) * torch.sigmoid(logit)).sum().item() * m
        up, down = (js_divergence(bins(0.0), bins(m + h)).item() for h in (1e-4, -1e-4))
        assert (up - down) / 1e-4 == pytest.approx(pull, rel=1e-4)


# ---- the Dirac-GAN


def dirac_losses(theta, psi, gamma):
    """Critic's and generator's, with the library's pairing and R1 at the real point 0."""
    pairing = PAIRINGS["saturating"]
    real, fake = 0 * psi, psi * theta
    loss = pairing.discriminator(real, fake) + gamma / 2 * psi**2
    return loss, pairing.generator(real, fake)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
def test_the_field_is_both_players_gradient(gamma):
    theta, psi = (
        torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.8, -1.3)
    )
    critic, generator = dirac_losses(theta, psi, gamma)
    (down_psi,) = torch.autograd.grad(critic, psi, retain_graph=True)
    (down_theta,) = torch.autograd.grad(generator, theta)
    speeds = dirac_field(theta.detach(), psi.detach(), gamma)
    torch.testing.assert_close(torch.stack(speeds), -torch.stack([down_theta, down_psi]))


@pytest.mark.parametrize("gamma", [0.0, 0.4, 1.0, 2.5])
def test_rates_are_the_jacobians_eigenvalues(gamma):
    place = torch.zeros(2, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda at: torch.stack(dirac_field(at[0], at[1], gamma)), place
    )
    found = torch.linalg.eigvals(jacobian)
    rates = dirac_rates(gamma)
    torch.testing.assert_close(found.sum(), rates.sum())
    torch.testing.assert_close(found.prod(), rates.prod())


def test_fastest_at_twice_the_slope():
    slowest = {gamma: dirac_rates(gamma).real.max().item() for gamma in (0.5, 0.9, 1, 1.1, 3)}
    assert min(slowest, key=slowest.get) == 1 and slowest[1] == pytest.approx(-0.5)


# ---- the ring


def test_a_ring_finds_its_own_modes_and_no_others():
    ring = Ring(modes=8)
    points = ring.sample(4000, Draws(0))
    assert ring.found(points) == 8
    assert ring.hits(points).sum() == 4000  # 0.25 is five standard deviations
    assert ring.found(ring.centres[3].expand(100, 2)) == 1
    assert ring.found(torch.zeros(100, 2)) == 0
    assert ring.hits(torch.zeros(100, 2)).tolist() == [0] * 8


def test_a_mode_counts_from_a_quarter_of_its_due():
    ring = Ring(modes=4)
    for n, modes in ((6, 1), (7, 2)):  # of 100 points an even split gives each 25
        points = torch.cat([ring.centres[0].expand(100 - n, 2), ring.centres[1].expand(n, 2)])
        assert ring.found(points) == modes


def test_shapes_of_the_players():
    config = PlayerConfig(z_dim=3, width=8, layers=1)
    generator, discriminator = PlaneGenerator(config), PlaneDiscriminator(config)
    x = generator(torch.randn(5, 3))
    assert x.shape == (5, 2) and discriminator(x).shape == (5,)
    assert gradient_norm(generator) == 0
    discriminator(x).sum().backward()
    squares = [p.grad.square().sum() for p in generator.parameters()]
    assert gradient_norm(generator) == pytest.approx(sum(squares).sqrt().item())


# ---- a look


def test_pushes_are_downhill_and_each_point_has_its_own():
    points = torch.randn(6, 2)
    found = pushes(lambda s: F.softplus(-s), lambda x: 3 * x[:, 0], points)
    expected = 3 * torch.sigmoid(-3 * points[:, 0])  # up the logit, with strength 1 - D
    torch.testing.assert_close(found[:, 0], expected)
    assert (found[:, 1] == 0).all() and not points.requires_grad


def test_a_look_shows_d_over_the_square_and_moves_nothing():
    torch.manual_seed(0)
    generator = PlaneGenerator()
    seen = look("now", generator, lambda x: x[:, 0] + 2 * x[:, 1], lambda s: -s, side=2.0)
    assert seen.chance.shape == (81, 81)
    corner = torch.sigmoid(torch.tensor(2.0 + 2 * -2.0))  # right end of the bottom row
    torch.testing.assert_close(seen.chance[0, -1], corner)
    assert seen.grid.shape == (18, 41, 2) and seen.fakes.shape == seen.push.shape == (40, 2)
    torch.testing.assert_close(seen.push, torch.tensor([1.0, 2.0]).expand(40, 2))
    assert all(p.grad is None for p in generator.parameters())


# ---- whole games


def test_a_log_of_a_game():
    ring = Ring()
    generator, log = play(ring, "relativistic", 0.1, steps=50, lead=3)
    assert log["step"] == [25, 50] and set(log) == {
        *("step", "gradient", "modes", "fullest", "critic")
    }
    assert instruments(ring, generator, PlaneDiscriminator())["modes"] == log["modes"][-1]
    _, again = play(ring, "relativistic", 0.1, steps=50, lead=3)
    assert again == log


def test_a_slow_critic_collapses_to_one_place_after_another():
    _, log = play(Ring(), "non-saturating", rates=(2e-4, 2e-3), steps=500)
    assert max(log["modes"][-8:]) <= 5
    assert len(set(log["fullest"])) >= 5  # and not to one of them for good


def test_the_fullest_mode():
    ring = Ring(modes=4)
    for place, number in ((ring.centres[2], 2), (torch.zeros(2), -1)):
        generator = PlaneGenerator()
        nn.init.zeros_(generator.net[-1].weight)
        generator.net[-1].bias.data = place.clone()
        assert instruments(ring, generator, PlaneDiscriminator())["fullest"] == number


def test_a_critic_of_equal_rate_does_not():
    _, log = play(Ring(), "non-saturating", steps=500)
    assert min(log["modes"][-4:]) >= 10


def test_a_critic_that_wins_leaves_no_gradient():
    _, log = play(
        Ring(), "saturating", rates=(5e-3, 1e-2), steps=50, start=6.0, lead=200, plain=True
    )
    assert max(log["modes"]) == 0 and max(log["gradient"]) < 1e-2 and max(log["critic"]) < 0.05
