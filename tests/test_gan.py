"""Generator, discriminator and their game: penalties against autograd, and who moves when."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.adversarial import (
    PAIRINGS,
    BurnInAdam,
    Game,
    cosine_fall,
    frozen,
    squared_slopes,
)
from course_lib.checkpoint import load_state, save_state
from course_lib.data import Batches
from course_lib.draws import Draws
from course_lib.models import Discriminator, GanConfig, Generator, truncate
from course_lib.training import Ema, Phase, train

SMALL = GanConfig(
    z_dim=4, start=2, widths=(16, 8), blocks=1, group=16, emb_dim=8, classes=3
)  # images of 4x4


def stirred(net: nn.Module) -> nn.Module:
    """A net whose every parameter has moved: a block's last convolution starts at zero."""
    for parameter in net.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return net


@pytest.fixture
def pair() -> tuple[Generator, Discriminator]:
    return stirred(Generator(SMALL)), stirred(Discriminator(SMALL))


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return 2 * torch.rand(6, 1, 4, 4) - 1, torch.tensor([0, 1, 2, 0, 1, 2])


def copied(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def moved(net: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(value, before[k]) for k, value in net.state_dict().items())


def test_shapes(pair, batch):
    generator, judge = pair
    x, cond = batch
    fakes = generator(torch.randn(6, 4), cond)
    assert fakes.shape == x.shape
    assert SMALL.side == 4 and GanConfig().side == 28
    assert judge(x, cond).shape == (6,)


def test_folded_images_are_as_large():
    """A folding net works at half the places a side and knows every pixel."""
    config = replace(SMALL, fold=2)
    generator, judge = Generator(config), Discriminator(config)
    x, cond = torch.randn(3, 1, 8, 8, requires_grad=True), torch.arange(3)
    assert (
        generator(torch.randn(3, 4), cond).shape == x.shape == (3, 1, config.side, config.side)
    )
    judge(x, cond).sum().backward()
    assert (x.grad != 0).all()


def test_what_ships_fits():
    """At rest in float16 a generator takes 6 MB at most."""
    parameters = sum(p.numel() for p in Generator().parameters())
    assert 2 * parameters < 6e6
    assert Generator()(torch.randn(2, 64), torch.tensor([0, 9])).shape == (2, 1, 28, 28)


def test_a_block_starts_as_nothing_and_keeps_the_variance():
    """Blocks are the identity at first, so images and logits start at about unit size."""
    torch.manual_seed(0)
    generator, judge, cond = Generator(), Discriminator(), torch.arange(200) % 10
    for block in (m for net in (generator, judge) for m in net.modules()):
        if hasattr(block, "narrow"):
            assert block.narrow.weight.abs().max() == 0
    with torch.no_grad():
        x = generator(torch.randn(200, 64), cond)
        assert 0.2 < x.std() < 2
        assert judge(torch.randn(200, 1, 28, 28), cond).std() < 3


def test_the_class_counts(pair, batch):
    generator, judge = pair
    x, cond = batch
    z, other = torch.randn(6, 4), (cond + 1) % 3
    assert not torch.allclose(generator(z, cond), generator(z, other))
    assert not torch.allclose(judge(x, cond), judge(x, other))


def test_images_of_a_batch_dont_see_each_other(pair, batch):
    _, judge = pair
    x, cond = batch
    alone = torch.cat([judge(x[i : i + 1], cond[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(judge(x, cond), alone)


class TestPairings:
    real, fake = torch.tensor([0.3, -1.2, 2.0]), torch.tensor([-0.4, 0.9, 2.5])

    def test_relativistic(self):
        pairing = PAIRINGS["relativistic"]
        gap = self.real - self.fake
        expected = -torch.sigmoid(gap).log()  # the real one is the likelier of the two
        torch.testing.assert_close(pairing.discriminator(self.real, self.fake), expected)
        torch.testing.assert_close(
            pairing.generator(self.real, self.fake), -torch.sigmoid(-gap).log()
        )
        shifted = pairing.discriminator(self.real + 7, self.fake + 7)
        torch.testing.assert_close(shifted, expected)

    def test_the_game_of_2014(self):
        D_real, D_fake = torch.sigmoid(self.real), torch.sigmoid(self.fake)
        for name in ("saturating", "non-saturating"):
            torch.testing.assert_close(
                PAIRINGS[name].discriminator(self.real, self.fake),
                -(D_real.log() + (1 - D_fake).log()),
            )
        saturating = PAIRINGS["saturating"].generator(self.real, self.fake)
        torch.testing.assert_close(saturating, (1 - D_fake).log())
        other = PAIRINGS["non-saturating"].generator(self.real, self.fake)
        torch.testing.assert_close(other, -D_fake.log())

    def test_gradients_by_the_logit(self):
        """Saturating: -D, gone where a fake is rejected; non-saturating: D - 1."""
        fake = self.fake.clone().requires_grad_()
        D = torch.sigmoid(fake.detach())
        for name, expected in (("saturating", -D), ("non-saturating", D - 1)):
            loss = PAIRINGS[name].generator(self.real, fake).sum()
            torch.testing.assert_close(torch.autograd.grad(loss, fake)[0], expected)

    def test_hinge(self):
        pairing = PAIRINGS["hinge"]
        loss = pairing.discriminator(self.real, self.fake)
        torch.testing.assert_close(loss, torch.tensor([0.7 + 0.6, 2.2 + 1.9, 3.5]))
        torch.testing.assert_close(pairing.generator(self.real, self.fake), -self.fake)

    @pytest.mark.parametrize("name", PAIRINGS)
    def test_each_player_pulls_its_own_way(self, name):
        real, fake = (each.clone().requires_grad_() for each in (self.real, self.fake))
        pairing = PAIRINGS[name]
        d_real, d_fake = torch.autograd.grad(
            pairing.discriminator(real, fake).sum(), [real, fake]
        )
        assert (d_real <= 0).all() and (d_fake >= 0).all()
        assert (torch.autograd.grad(pairing.generator(real, fake).sum(), fake)[0] <= 0).all()


class TestPenalties:
    def test_of_a_linear_discriminator(self):
        """D(x) = <w, x>: the squared slope is |w|^2, and its gradient by w is 2 w."""
        w = torch.randn(1, 4, 4, requires_grad=True)
        x = torch.randn(5, 1, 4, 4)
        logits, slopes = squared_slopes(lambda x, cond: (x * w).sum(dim=(1, 2, 3)), x, None)
        torch.testing.assert_close(logits, (x * w).sum(dim=(1, 2, 3)))
        torch.testing.assert_close(slopes, w.square().sum().expand(5))
        torch.testing.assert_close(torch.autograd.grad(slopes.mean(), w)[0], 2 * w)

    def test_against_autograds_jacobian(self, pair, batch):
        judge, (x, cond) = pair[1], batch
        _, slopes = squared_slopes(judge, x, cond)
        for i in range(len(x)):
            jacobian = torch.autograd.functional.jacobian(
                lambda one, i=i: judge(one, cond[i : i + 1]), x[i : i + 1]
            )
            torch.testing.assert_close(slopes[i], jacobian.square().sum())

    def test_gradient_of_the_penalty_against_finite_differences(self, pair, batch):
        judge, (x, cond) = pair[1].double(), batch
        # squared_slopes is float32 by design: its own formula again, in float64
        x = x.double().requires_grad_()
        weights = list(judge.parameters())

        def penalty():
            (slope,) = torch.autograd.grad(judge(x, cond).sum(), x, create_graph=True)
            return slope.square().flatten(1).sum(dim=1).mean()

        exact = torch.autograd.grad(penalty(), weights, allow_unused=True)
        judge.float()
        _, slopes = squared_slopes(judge, x.detach().float(), cond)
        found = torch.autograd.grad(slopes.mean(), list(judge.parameters()), allow_unused=True)
        for a, b in zip(exact, found, strict=True):
            if a is not None:
                torch.testing.assert_close(a.float(), b, rtol=1e-3, atol=1e-4)
        judge.double()
        for weight, slope in zip(weights, exact, strict=True):
            if slope is None:  # biases behind the last kink do not move a slope
                continue
            at, h = slope.flatten().abs().argmax().item(), 1e-6
            with torch.no_grad():
                weight.flatten()[at] += h
            up = penalty().item()
            with torch.no_grad():
                weight.flatten()[at] -= 2 * h
            down = penalty().item()
            with torch.no_grad():
                weight.flatten()[at] += h
            numeric = (up - down) / (2 * h)
            assert math.isclose(numeric, slope.flatten()[at].item(), rel_tol=1e-4)

    def test_half_precision_leaves_them_be(self, pair, batch):
        """Under autocast, gradients of gradients and all, the same numbers to the bit."""
        generator, judge = pair
        plain = Game(generator, judge, Draws(0)).discriminator_loss(batch, 1)
        _, exact = squared_slopes(judge, *batch)
        with torch.autocast("cpu", torch.bfloat16):
            _, slopes = squared_slopes(judge, *batch)
            losses = Game(generator, judge, Draws(0)).discriminator_loss(batch, 1)
        assert slopes.dtype == losses["loss"].dtype == torch.float32
        assert torch.equal(slopes, exact)
        assert torch.equal(losses["r1"], plain["r1"])  # R2's fakes are made in half precision
        losses["loss"].backward()
        assert all(torch.isfinite(p.grad).all() for p in judge.parameters())

    def test_the_discriminators_loss_adds_up(self, pair, batch):
        generator, judge = pair
        x, cond = batch
        game = Game(generator, judge, Draws(3), gamma=lambda step: 0.5 * step)
        losses = game.discriminator_loss(batch, 4)
        with torch.no_grad():
            fakes = generator(Draws(3).normal(torch.empty(6, 4)), cond)
        r1, r2 = (squared_slopes(judge, each, cond)[1].mean() for each in (x, fakes))
        pairing = F.softplus(judge(fakes, cond) - judge(x, cond)).mean()
        torch.testing.assert_close(losses["r1"], r1)
        torch.testing.assert_close(losses["r2"], r2)
        torch.testing.assert_close(losses["pairing"], pairing)
        torch.testing.assert_close(losses["loss"], pairing + 2.0 / 2 * (r1 + r2))

    def test_lazy_penalties_come_seldom_and_weigh_more(self, pair, batch):
        """Over a round of steps they weigh as much as without."""
        games = [Game(*pair, Draws(3), gamma=lambda step: 0.5, lazy=lazy) for lazy in (1, 4)]
        plain, lazy = (game.discriminator_loss(batch, 4) for game in games)
        penalty, heavier = (each["loss"] - each["pairing"] for each in (plain, lazy))
        torch.testing.assert_close(heavier, 4 * penalty)
        for step in (1, 2, 3):
            losses = games[1].discriminator_loss(batch, step)
            assert "r1" not in losses and torch.equal(losses["loss"], losses["pairing"])


def phases_of(pair, draws) -> list[Phase]:
    """Two phases as the recipe has them."""
    generator, judge = pair
    game = Game(generator, judge, draws, gamma=lambda step: cosine_fall(1.0, 0.1, step / 4))
    return [
        Phase(
            "discriminator",
            judge,
            game.discriminator_loss,
            BurnInAdam(judge.parameters(), 1e-2, 4),
        ),
        Phase(
            "generator",
            generator,
            game.generator_loss,
            BurnInAdam(generator.parameters(), 1e-2, 4),
            Ema(generator),
        ),
    ]


class TestPhases:
    def test_a_generators_step_moves_no_weight_of_the_discriminator(self, pair, batch):
        generator, judge = pair
        phases = phases_of(pair, Draws(0))
        before = copied(generator), copied(judge)
        for _ in train(phases[1:], iter([batch]), 1, precision=torch.float32):
            assert moved(generator, before[0]) and not moved(judge, before[1])
        assert all(p.grad is None and p.requires_grad for p in judge.parameters())

    def test_a_discriminators_step_moves_no_weight_of_the_generator(self, pair, batch):
        generator, judge = pair
        phases = phases_of(pair, Draws(0))
        before = copied(generator), copied(judge)
        for _ in train(phases[:1], iter([batch]), 1, precision=torch.float32):
            assert moved(judge, before[1]) and not moved(generator, before[0])
        assert all(p.grad is None for p in generator.parameters())

    def test_frozen_passes_gradients_on_and_gives_the_flags_back(self, pair, batch):
        judge, (x, cond) = pair[1], batch
        judge.embed.weight.requires_grad_(False)
        x.requires_grad_()
        with frozen(judge):
            judge(x, cond).sum().backward()
        assert x.grad.abs().sum() > 0
        assert all(p.grad is None for p in judge.parameters())
        flags = {name: p.requires_grad for name, p in judge.named_parameters()}
        assert not flags.pop("embed.weight") and all(flags.values())

    def test_two_phases_resumed_are_the_same_to_the_bit(self, tmp_path):
        images = torch.randint(256, (24, 4, 4), dtype=torch.uint8)
        labels = torch.arange(24) % 3

        def begun():
            torch.manual_seed(5)
            draws = Draws(2)
            pair = stirred(Generator(SMALL)), stirred(Discriminator(SMALL))
            return pair, phases_of(pair, draws), Batches(images, labels, 6, 0), draws

        pair, phases, batches, draws = begun()
        for done in train(phases, batches, 6, precision=torch.float32):
            if done.step == 3:
                save_state(tmp_path / "state.pt", 3, phases, batches, [draws.generator])
        again, phases2, batches2, draws2 = begun()
        start = load_state(tmp_path / "state.pt", phases2, batches2, [draws2.generator])
        rest = train(phases2, batches2, 6, start=start, precision=torch.float32)
        last = list(rest)[-1]
        assert start == 3 and last.step == 6
        for whole, resumed in zip(pair, again, strict=True):
            assert not moved(resumed, copied(whole))
        assert not moved(phases2[1].ema.module, copied(phases[1].ema.module))
        assert phases2[0].optimizer.param_groups[0]["taken"] == 6
        assert last.losses["generator"]["loss"] == done.losses["generator"]["loss"]


def test_burn_in_lengthens_adams_memory():
    weight = nn.Parameter(torch.ones(3))
    optimizer = BurnInAdam([weight], 1e-2, burn_in=10)
    seen = []
    for _ in range(13):
        weight.grad = torch.ones(3)
        optimizer.step()
        seen.append(optimizer.param_groups[0]["betas"])
    assert all(beta1 == 0 for beta1, _ in seen)
    betas = [beta2 for _, beta2 in seen]
    assert betas[0] == 0.9 and math.isclose(betas[5], 0.945)
    assert betas == sorted(betas) and math.isclose(betas[-1], 0.99)
    other = BurnInAdam([nn.Parameter(torch.ones(3))], 1e-2, burn_in=10)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["taken"] == 13


def test_cosine_fall():
    assert cosine_fall(2.0, 1.0, -1) == cosine_fall(2.0, 1.0, 0) == 2
    assert cosine_fall(2.0, 1.0, 1) == cosine_fall(2.0, 1.0, 5) == 1
    assert math.isclose(cosine_fall(2.0, 1.0, 0.5), 1.5)


class TestTruncate:
    def test_the_law_is_the_truncated_normals(self):
        z = torch.randn(200_000, dtype=torch.float64)
        for limit in (0.5, 2.0):
            cut = truncate(z, limit)
            assert cut.abs().max() <= limit
            law = torch.distributions.Normal(0.0, 1.0)
            for at in (-0.4, 0.0, 0.3):
                ends = law.cdf(torch.tensor([-limit, at, limit], dtype=torch.float64))
                expected = ((ends[1] - ends[0]) / (ends[2] - ends[0])).item()
                assert abs((cut < at).double().mean().item() - expected) < 0.006

    def test_ranks_stay_and_a_wide_limit_changes_nothing(self):
        z = torch.randn(1000)
        assert torch.equal(truncate(z, 0.7).argsort(), z.argsort())
        torch.testing.assert_close(truncate(z, 12.0), z)
        extremes = truncate(torch.tensor([-30.0, 0.0, 30.0]), 1.5)
        torch.testing.assert_close(extremes, torch.tensor([-1.5, 0.0, 1.5]))

    def test_a_limit_that_is_none(self):
        with pytest.raises(ValueError, match="above 0"):
            truncate(torch.zeros(2), 0.0)
