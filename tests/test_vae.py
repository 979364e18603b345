"""The VAE: its bounds against grids, closed forms and one SVD."""

import math

import pytest
import torch
from torch import nn

from course_lib.data import fashion_mnist, to_float
from course_lib.draws import Draws, ImageDraws
from course_lib.models import VAE, ConvVAE, VAEConfig
from course_lib.models.vae import (
    Bernoulli,
    Gaussian,
    NormalMixture,
    StandardNormal,
    kl_to_standard,
    normal_log_prob,
    small_vae,
)

TINY = VAEConfig(latent_dim=3, widths=(8, 16), blocks=1, emb_dim=8)


def linear_vae(D: int, L: int, std: float = 0.5) -> VAE:
    return VAE(nn.Linear(D, 2 * L), nn.Linear(L, D), L, Gaussian(std))


# ---- a latent of one number: everything on a grid

GRID = torch.linspace(-8, 8, 4001, dtype=torch.float64)


def narrow_encoder() -> nn.Module:
    """An untrained encoder of two numbers whose posteriors lie well within GRID."""
    encoder = nn.Linear(2, 2)
    with torch.no_grad():
        encoder.weight.mul_(0.5)
        encoder.bias.copy_(torch.tensor([0.2, -0.3]))
    return encoder


def on_a_grid(vae: VAE, x: torch.Tensor):
    """log p(x) and the posterior's log density on GRID, by quadrature: [B], [B, G]."""
    z = GRID.float()[None, :, None].expand(len(x), -1, 1)
    with torch.no_grad():
        joint = (vae.log_likelihood(x, z) + vae.prior.log_prob(z)).double()
    step = GRID[1] - GRID[0]
    evidence = joint.logsumexp(dim=1) + step.log()
    return evidence, joint - evidence[:, None]


@pytest.mark.parametrize("prior", [None, 3])
def test_the_bound_is_the_evidence_less_the_kl_to_the_true_posterior(prior):
    decoder = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2))
    prior = None if prior is None else NormalMixture(prior, 1)
    vae = VAE(narrow_encoder(), decoder, 1, Gaussian(0.6), prior)
    x = torch.randn(3, 2)
    evidence, posterior = on_a_grid(vae, x)
    N = 200_000
    with torch.no_grad():
        terms = vae(x, Draws(0), None, N)
        mean, std = vae.posterior(x)
    bounds = terms.log_weights.double()
    error = bounds.std(dim=1) / math.sqrt(N)
    log_q = normal_log_prob(GRID, mean.double(), std.double())  # [B, G]
    gap = (log_q.exp() * (log_q - posterior)).sum(dim=1)
    gap = gap * (GRID[1] - GRID[0])
    assert (gap > 0).all()
    assert (bounds.mean(dim=1) <= evidence).all()
    assert ((evidence - bounds.mean(dim=1) - gap).abs() < 5 * error + 1e-4).all()
    if prior is None:
        torch.testing.assert_close(
            terms.log_ratio.mean(dim=1), kl_to_standard(mean, std), rtol=0.02, atol=0.01
        )


def test_the_importance_weighted_bound_rises_to_the_evidence():
    decoder = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 2))
    vae, x = VAE(narrow_encoder(), decoder, 1, Gaussian(0.6)), torch.randn(1, 2)
    evidence, _ = on_a_grid(vae, x)
    many = x.expand(400, 2)
    with torch.no_grad():
        means = [vae.iw_bound(many, k, Draws(k)).double().mean() for k in (1, 10, 100)]
        close = vae.iw_bound(x, 100_000, Draws(7), chunk=10_000)
    assert means[0] < means[1] < means[2] < evidence + 0.01
    assert (close - evidence).abs() < 0.02


def test_chunks_of_draws_do_not_change_the_bound():
    vae, x = small_vae(2, 16, side=4), torch.rand(3, 1, 4, 4) * 2 - 1
    with torch.no_grad():
        mean, std = vae.posterior(x)
        whole = vae(x, Draws(4), None, 7).log_weights
        draws = Draws(5)
        parts = torch.cat([vae(x, draws, None, n).log_weights for n in (3, 3, 1)], dim=1)
        found = vae.iw_bound(x, 7, Draws(5), chunk=3)
    assert whole.shape == parts.shape == (3, 7)
    torch.testing.assert_close(found, parts.logsumexp(dim=1) - math.log(7))


# ---- closed forms


def test_importance_weights_against_a_closed_form():
    """z ~ N(0, 1), x = z + N(0, s^2): every weight is N(z) N(x; z) / q(z), and with the true
    posterior for q all of them are p(x) = N(x; 0, 1 + s^2).
    """
    s, x = 0.7, torch.tensor([[0.3], [-1.2]])
    encoder = nn.Linear(1, 2)
    decoder = nn.Linear(1, 1)
    with torch.no_grad():
        encoder.weight.copy_(torch.tensor([[1 / (1 + s**2)], [0.0]]))
        encoder.bias.copy_(torch.tensor([0.0, 0.5 * math.log(s**2 / (1 + s**2))]))
        decoder.weight.fill_(1.0)
        decoder.bias.zero_()
    vae = VAE(encoder, decoder, 1, Gaussian(s))
    weights = vae(x, Draws(0), None, 50).log_weights
    expected = normal_log_prob(x, torch.tensor(0.0), torch.tensor(1 + s**2).sqrt())
    torch.testing.assert_close(weights, expected.expand(2, 50), rtol=0, atol=1e-5)
    log_lik, kl = vae.elbo(x, Draws(1))
    assert log_lik.shape == kl.shape == (2,)
    torch.testing.assert_close(kl, kl_to_standard(*vae.posterior(x)))
    for k in (1, 20):
        torch.testing.assert_close(
            vae.iw_bound(x, k, Draws(2)), expected[:, 0], rtol=0, atol=1e-5
        )


def test_a_linear_vae_reaches_probabilistic_pca():
    """Tipping & Bishop 1999: the best likelihood of x = W z + b + noise is one SVD away."""
    D, L, N = 5, 2, 500
    data = torch.randn(N, L) @ torch.randn(L, D) * 1.5 + 0.4 * torch.randn(N, D) + 1
    eigen = torch.linalg.eigvalsh(torch.cov(data.T.double(), correction=0)).flip(0)
    noise = eigen[L:].mean()
    log_det = eigen[:L].log().sum() + (D - L) * noise.log()
    best = -0.5 * (D * math.log(2 * math.pi) + log_det + D)  # nats an example
    vae = linear_vae(D, L)
    optimizer = torch.optim.Adam(vae.parameters(), lr=0.02, betas=(0.9, 0.99))
    draws = Draws(0)
    for step in range(1500):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * (1 - step / 1500)
        log_lik, kl = vae.elbo(data, draws)
        optimizer.zero_grad()
        (kl - log_lik).mean().backward()
        optimizer.step()
    with torch.no_grad():
        terms = vae(data, draws, None, 200)
        bound = (terms.log_lik.mean(dim=1) - vae.kl(terms)).double().mean()
    assert best - 0.05 < bound < best + 0.02  # the bound is tight: q may be the posterior
    assert abs(vae.likelihood.log_std.exp().item() - noise.sqrt()) < 0.02


def test_the_best_deviation_is_the_root_of_the_mean_squared_error():
    x, out = torch.randn(6, 1, 4, 4), torch.randn(6, 1, 1, 4, 4)
    best = (x.unsqueeze(1) - out).square().mean().sqrt().item()
    found = [Gaussian(best * f).log_prob(x, out).sum() for f in (0.9, 1.0, 1.1)]
    assert found[1] > max(found[0], found[2])


def test_likelihoods_against_torch():
    x, out = torch.randn(3, 1, 2, 2), torch.randn(3, 4, 1, 2, 2)
    normal = torch.distributions.Normal(out, 0.5).log_prob(x.unsqueeze(1))
    torch.testing.assert_close(Gaussian(0.5).log_prob(x, out), normal.sum(dim=(2, 3, 4)))
    signs = torch.sign(x)
    coin = torch.distributions.Bernoulli(logits=out)
    expected = coin.log_prob((signs.unsqueeze(1).expand_as(out) + 1) / 2)
    torch.testing.assert_close(Bernoulli().log_prob(signs, out), expected.sum(dim=(2, 3, 4)))
    torch.testing.assert_close(Bernoulli().mean(out), 2 * coin.probs - 1)
    drawn = Bernoulli().draw(out.expand(3, 4, 1, 2, 2).repeat(2000, 1, 1, 1, 1), Draws(0))
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    seen = drawn.view(2000, 3, 4, 1, 2, 2).mean(dim=0)
    assert (seen - Bernoulli().mean(out)).abs().max() < 5 / math.sqrt(2000)
    spread = Gaussian(0.5).draw(torch.zeros(10_000), Draws(0)).std()
    assert abs(spread - 0.5) < 0.02


def test_priors_against_torch():
    z = torch.randn(4, 6, 3)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=-1)
    torch.testing.assert_close(StandardNormal().log_prob(z), normal)
    prior = NormalMixture(5, 3)
    with torch.no_grad():
        prior.logits.normal_()
        prior.log_stds.normal_()
        parts = torch.distributions.Independent(
            torch.distributions.Normal(prior.means, prior.log_stds.exp()), 1
        )
        law = torch.distributions.MixtureSameFamily(
            torch.distributions.Categorical(logits=prior.logits), parts
        )
        torch.testing.assert_close(prior.log_prob(z), law.log_prob(z), rtol=1e-4, atol=1e-3)
        N = 40_000
        drawn = prior.draw(torch.zeros(N, 3), Draws(0))
        error = law.variance.sqrt() / math.sqrt(N)
        assert ((drawn.mean(dim=0) - law.mean).abs() < 5 * error).all()


# ---- the nets


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("components", [1, 4])
def test_shapes_and_gradients(likelihood, components):
    config = VAEConfig(3, (8, 16), 1, 8, likelihood=likelihood, components=components)
    vae = ConvVAE(config)
    x, cond = torch.randint(2, (4, 1, 28, 28)) * 2.0 - 1, torch.tensor([0, 3, 9, 10])
    mean, std = vae.posterior(x, cond)
    assert mean.shape == std.shape == (4, 3)
    assert (std > 0).all()
    assert vae.decode(mean, cond).shape == x.shape
    terms = vae(x, Draws(0), cond, 5)
    assert terms.log_lik.shape == terms.log_ratio.shape == terms.log_weights.shape == (4, 5)
    assert vae.kl(terms).shape == (4,)
    for parameter in vae.parameters():
        if parameter.abs().sum() == 0:
            nn.init.normal_(parameter, std=0.1)
    log_lik, kl = vae.elbo(x, Draws(1), cond)
    (kl - log_lik).sum().backward()
    vae.elbo(x, Draws(1))[0].sum().backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_no_condition_is_the_null_class():
    vae, x = ConvVAE(TINY).eval(), torch.randn(2, 1, 28, 28)
    null = torch.tensor([10, 10])
    with torch.no_grad():
        assert torch.equal(vae.posterior(x)[0], vae.posterior(x, null)[0])
        z = torch.randn(2, 3)
        assert torch.equal(vae.decode(z), vae.decode(z, null))


def test_samples_depend_on_their_own_seed_alone():
    for components in (1, 4):
        vae = ConvVAE(VAEConfig(3, (8, 16), 1, 8, components=components)).eval()
        with torch.no_grad():
            cond = torch.arange(5)
            together = vae.sample(5, ImageDraws(1, range(5)), cond)
            apart = vae.sample(2, ImageDraws(1, [3, 4]), cond[3:])
        torch.testing.assert_close(together[3:], apart, rtol=0, atol=1e-5)


def test_half_precision_at_rest_changes_the_bound_little():
    vae = ConvVAE(TINY).eval()
    x = to_float(fashion_mnist("test")[0][:8])
    with torch.no_grad():
        before = vae.iw_bound(x, 10, Draws(0))
        rounded = vae.half().float().iw_bound(x, 10, Draws(0))
    assert (before - rounded).abs().max() < 2e-3 * before.abs().max()


def test_the_smallest_net():
    vae = small_vae(2, 16, side=6, likelihood=Bernoulli())
    x = torch.randint(2, (4, 1, 6, 6)) * 2.0 - 1
    assert vae.sample(5, Draws(0)).shape == (5, 1, 6, 6)
    log_lik, kl = vae.elbo(x, Draws(0))
    (kl - log_lik).mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in vae.parameters())
