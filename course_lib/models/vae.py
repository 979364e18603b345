"""Variational autoencoder: one Normal draw, from which all pixels are made together."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.draws import Draws

LOG_2PI = math.log(2 * math.pi)


def normal_log_prob(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log Normal(x; mean, std^2), number by number; std is a standard deviation."""
    return -0.5 * ((x - mean) / std).square() - torch.log(std) - 0.5 * LOG_2PI


def kl_to_standard(mean: Tensor, std: Tensor) -> Tensor:
    """KL(Normal(mean, std^2) || Normal(0, 1)) in nats, summed over the last axis (Kingma &
    Welling 2014, appendix B): [..., L] to [...].
    """
    return (0.5 * (mean.square() + std.square() - 1) - torch.log(std)).sum(dim=-1)


class Gaussian(nn.Module):
    """Every number is Normal around the decoder's, with one learnt standard deviation for all
    (Rybkin et al. 2021).

    At its best that deviation is the root of the mean squared error, so it says how exact the
    decoder is, and sets how much the squared error counts against the KL term.
    """

    def __init__(self, std: float = 0.3):
        super().__init__()
        self.log_std = nn.Parameter(torch.tensor(math.log(std)))

    def mean(self, out: Tensor) -> Tensor:
        """The expected picture of the decoder's output."""
        return out

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        """log density of x [B, ...] given out [B, n, ...]: [B, n], in nats."""
        x, std = x.float().unsqueeze(1), self.log_std.exp()
        return normal_log_prob(x, out.float(), std).flatten(2).sum(dim=2)

    def draw(self, out: Tensor, draws: Draws) -> Tensor:
        """A picture drawn from the likelihood, not its mean."""
        return out + self.log_std.exp() * draws.normal(out)


class Bernoulli(nn.Module):
    """Every number is -1 or 1, and the decoder gives the log odds of 1."""

    def mean(self, out: Tensor) -> Tensor:
        """The expected picture: 2 p - 1."""
        return torch.tanh(out / 2)

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        """log p of x [B, ...], all -1 or 1, given out [B, n, ...]: [B, n], in nats."""
        x, out = x.float().unsqueeze(1), out.float()
        return F.logsigmoid(x * out).flatten(2).sum(dim=2)

    def draw(self, out: Tensor, draws: Draws) -> Tensor:
        """A picture drawn from the likelihood, not its mean."""
        u = draws.uniform(*out.shape).to(out.device)
        return (u < torch.sigmoid(out)).to(out.dtype) * 2 - 1


class StandardNormal(nn.Module):
    """The prior Normal(0, 1) of every latent number."""

    def log_prob(self, z: Tensor) -> Tensor:
        """z [..., L] to nats [...]."""
        return (-0.5 * (z.square() + LOG_2PI)).sum(dim=-1)

    def draw(self, z: Tensor, draws: Draws) -> Tensor:
        """Latents of z's shape [B, L]."""
        return draws.normal(z)


class NormalMixture(nn.Module):
    """A learnt prior: K Normals with weights, means and spreads of their own (cf. Tomczak &
    Welling 2018, section 3.2).
    """

    def __init__(self, K: int, latent_dim: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(K))
        self.means = nn.Parameter(torch.randn(K, latent_dim))
        self.log_stds = nn.Parameter(torch.zeros(K, latent_dim))

    def log_prob(self, z: Tensor) -> Tensor:
        """z [..., L] to nats [...]; the squares are multiplied out, so that no [..., K, L] is
        ever held.
        """
        with torch.autocast(z.device.type, enabled=False):
            z, inverse = z.float(), torch.exp(-2 * self.log_stds)  # [K, L]
            squares = z.square() @ inverse.T - 2 * z @ (self.means * inverse).T
            rest = (self.means.square() * inverse + 2 * self.log_stds + LOG_2PI).sum(dim=1)
            return torch.logsumexp(
                self.logits.log_softmax(dim=0) - 0.5 * (squares + rest), dim=-1
            )

    def draw(self, z: Tensor, draws: Draws) -> Tensor:
        """Latents of z's shape [B, L]."""
        edges = self.logits.softmax(dim=0).cumsum(dim=0)[:-1]
        k = torch.searchsorted(edges, draws.uniform(len(z)).to(z.device), right=True)
        return self.means[k] + self.log_stds[k].exp() * draws.normal(z)


class Terms(NamedTuple):
    """What a VAE says of images [B, ...] at k draws of z each."""

    log_lik: Tensor  # log p(x | z), [B, k]
    log_ratio: Tensor  # log q(z | x) - log p(z), [B, k]; its mean is the KL divergence
    mean: Tensor  # of q(z | x), [B, L]
    std: Tensor

    @property
    def log_weights(self) -> Tensor:
        """log of p(x, z) / q(z | x), [B, k]. The mean of these is the bound; the mean of their
        exponentials is p(x).
        """
        return self.log_lik - self.log_ratio


class VAE(nn.Module):
    """An encoder x -> [B, 2 L], a decoder z [N, L] -> a picture's parameters, a likelihood and
    a prior on z (Kingma & Welling 2014). Both nets may take a class as second argument.

    L is latent_dim. All bounds are in nats an image, summed over its numbers, never averaged.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        likelihood: nn.Module | None = None,
        prior: nn.Module | None = None,
    ):
        super().__init__()
        self.encoder, self.decoder, self.latent_dim = encoder, decoder, latent_dim
        self.likelihood = Gaussian() if likelihood is None else likelihood
        self.prior = StandardNormal() if prior is None else prior

    def posterior(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """q(z | x) as mean and standard deviation [B, L] each, float32."""
        out = self.encoder(x) if cond is None else self.encoder(x, cond)
        mean, log_std = out.float().chunk(2, dim=1)
        return mean, log_std.clamp(-7, 3).exp()

    def decode(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        """The mean picture of z [B, L]. It is no draw: the likelihood's noise is left out."""
        return self.likelihood.mean(self.decoded(z, cond))

    def decoded(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        """The decoder's own output: what the likelihood reads."""
        return self.decoder(z) if cond is None else self.decoder(z, cond)

    def log_likelihood(self, x: Tensor, z: Tensor, cond: Tensor | None = None) -> Tensor:
        """log p(x | z) of x [B, ...] and z [B, n, L], n latents for every image: [B, n]."""
        n = z.shape[1]
        out = self.decoded(
            z.flatten(0, 1), None if cond is None else cond.repeat_interleave(n)
        )
        return self.likelihood.log_prob(x, out.unflatten(0, z.shape[:2]))

    def forward(
        self, x: Tensor, draws: Draws, cond: Tensor | None = None, k: int = 1
    ) -> Terms:
        """Everything that the bounds are made of, at k draws of z from q(z | x)."""
        mean, std = self.posterior(x, cond)
        one_mean, one_std = mean[:, None], std[:, None]  # [B, 1, L]
        eps = draws.normal(one_mean.expand(-1, k, -1))
        z = one_mean + one_std * eps  # the sampling trick: gradients pass through both
        log_q = normal_log_prob(z, one_mean, one_std).sum(dim=2)
        log_ratio = log_q - self.prior.log_prob(z)
        return Terms(self.log_likelihood(x, z, cond), log_ratio, mean, std)

    def kl(self, terms: Terms) -> Tensor:
        """KL(q(z | x) || prior), [B]: exact under the standard Normal, else estimated at the
        drawn z.
        """
        if isinstance(self.prior, StandardNormal):
            return kl_to_standard(terms.mean, terms.std)
        return terms.log_ratio.mean(dim=1)

    def elbo(self, x: Tensor, draws: Draws, cond: Tensor | None = None):
        """The bound's two terms (Kingma & Welling 2014, eq. 7): log p(x | z) at one z from
        q(z | x), and KL(q || prior), [B] each. The bound is the first less the second.
        """
        terms = self(x, draws, cond)
        return terms.log_lik[:, 0], self.kl(terms)

    def iw_bound(
        self, x: Tensor, k: int, draws: Draws, cond: Tensor | None = None, chunk: int = 100
    ) -> Tensor:
        """The importance-weighted bound (Burda et al. 2016, eq. 8): log of the mean of k
        weights, [B]. It rises with k to log p(x); `chunk` draws are held at a time.
        """
        sizes = [min(chunk, k - done) for done in range(0, k, chunk)]
        logs = [self(x, draws, cond, n).log_weights.logsumexp(dim=1) for n in sizes]
        return torch.stack(logs).logsumexp(dim=0) - math.log(k)

    def sample(self, n: int, draws: Draws, cond: Tensor | None = None) -> Tensor:
        """Mean pictures of n latents from the prior: [n, ...]."""
        like = torch.zeros(n, self.latent_dim, device=next(self.parameters()).device)
        return self.decode(self.prior.draw(like, draws), cond)


def small_vae(latent_dim: int = 8, hidden: int = 256, side: int = 28, **parts) -> VAE:
    """The smallest VAE for pictures [B, 1, side, side]: one hidden layer in either net. parts:
    the likelihood, the prior.
    """
    pixels = side * side
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, hidden), nn.SiLU(), nn.Linear(hidden, 2 * latent_dim)
    )
    decoder = nn.Sequential(
        nn.Linear(latent_dim, hidden),
        nn.SiLU(),
        nn.Linear(hidden, pixels),
        nn.Unflatten(1, (1, side, side)),
    )
    return VAE(encoder, decoder, latent_dim, **parts)
