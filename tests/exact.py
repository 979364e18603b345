"""Oracles: what the library must answer, worked out another way and with none of its code.

Everything is float64. A schedule is only read through its two tables, alpha and sigma.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal


def mixture(
    means: Tensor, std: float, weights: Tensor, alpha: float = 1.0, sigma: float = 0.0
) -> MixtureSameFamily:
    """The law of alpha * x_0 + sigma * eps for x_0 from a mixture of Normal(means[k], std^2):
    means [K, D].
    """
    spread = math.sqrt((alpha * std) ** 2 + sigma**2)
    parts = Independent(Normal(alpha * means, torch.full_like(means, spread)), 1)
    return MixtureSameFamily(Categorical(weights), parts)


def by_score(
    x_t: Tensor, law: MixtureSameFamily, alpha: float, sigma: float
) -> tuple[Tensor, Tensor]:
    """(x0, eps) from the gradient of the log density of x_t [B, D]: eps = -sigma * score
    (Tweedie); alpha above 0.
    """
    x_t = x_t.detach().requires_grad_(True)
    score = torch.autograd.grad(law.log_prob(x_t).sum(), x_t)[0]
    eps = -sigma * score
    return ((x_t - sigma * eps) / alpha).detach(), eps.detach()


def by_enumeration(
    x_t: list[float], points: list[list[float]], alpha: float, sigma: float
) -> list[float]:
    """E[x_0 | x_t] when x_0 is one of `points`, each as likely: Bayes' rule in plain Python,
    point by point.
    """
    exponents = [
        -sum((a - alpha * b) ** 2 for a, b in zip(x_t, point, strict=True)) / (2 * sigma**2)
        for point in points
    ]
    most = max(exponents)
    likelihoods = [math.exp(e - most) for e in exponents]
    total = sum(likelihoods)
    return [
        sum(w * point[d] for w, point in zip(likelihoods, points, strict=True)) / total
        for d in range(len(points[0]))
    ]


def by_quadrature(x_t: Tensor, law: MixtureSameFamily, alpha: float, sigma: float) -> Tensor:
    """E[x_0 | x_t] in one dimension as a ratio of two integrals over x_0 from -8 to 8: x_t [B,
    1] to [B, 1].
    """
    grid = torch.linspace(-8, 8, 32_001, dtype=torch.float64)
    prior = law.log_prob(grid[:, None])  # [G]
    log_joint = prior - (x_t - alpha * grid).square() / (2 * sigma**2)  # [B, G]
    joint = (log_joint - log_joint.amax(dim=1, keepdim=True)).exp()
    return (joint @ grid / joint.sum(dim=1))[:, None]


def gaussian_at(schedule, t: int, mean, std, z: Tensor) -> Tensor:
    """The probability flow's point at time t, z standard deviations above the mean, for data
    Normal(mean, std^2).

    For Normal data the flow keeps z, so this is the whole exact map from any time to any
    other.
    """
    alpha, sigma = schedule.alpha[t].item(), schedule.sigma[t].item()
    return alpha * mean + (alpha**2 * std**2 + sigma**2) ** 0.5 * z


def mixture_quantile(u: Tensor, law: MixtureSameFamily) -> Tensor:
    """Where a one-dimensional mixture's distribution function reaches u [N], by bisection:
    [N].
    """
    shares, parts = law.mixture_distribution.probs, law.component_distribution.base_dist
    low, high = torch.full_like(u, -20.0), torch.full_like(u, 20.0)
    for _ in range(80):
        middle = (low + high) / 2
        below = (shares * parts.cdf(middle[:, None, None]).squeeze(-1)).sum(dim=1) < u
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def ddpm_moments(
    schedule,
    times: list[int],
    mean: float,
    std: float,
    variance: str,
    start: tuple[float, float] = (0.0, 1.0),
) -> tuple[float, float]:
    """Mean and variance of what DDPM with the exact denoiser of Normal(mean, std^2) makes of
    x_T ~ Normal(*start).

    By the law of total variance: each step is the conditioning of two jointly Normal numbers,
    and each is affine.
    """
    m, v = start
    for t, s in zip(times[:-1], times[1:], strict=True):
        a_t, a_s = schedule.alpha[t].item(), schedule.alpha[s].item()
        s2_t, s2_s = schedule.sigma[t].item() ** 2, schedule.sigma[s].item() ** 2
        keep = a_t / a_s
        added = s2_t - keep**2 * s2_s  # x_t = keep * x_s + Normal(0, added)
        gain = keep * s2_s / s2_t  # Cov(x_s, x_t) / Var(x_t), given x_0
        # E[x_0 | x_t] = mean + slope * (x_t - a_t * mean)
        slope = a_t * std**2 / (a_t**2 * std**2 + s2_t)
        # E[x_s | x_t, x_0] = a_s x_0 + gain (x_t - a_t x_0), with E[x_0 | x_t] put for x_0
        factor = (a_s - gain * a_t) * slope + gain
        shift = (a_s - gain * a_t) * (mean - slope * a_t * mean)
        noise = 0.0 if s == 0 else (s2_s - gain**2 * s2_t if variance == "small" else added)
        m, v = factor * m + shift, factor**2 * v + noise
    return m, v


def loss_floor(target: tuple[float, float], alpha: float, sigma: float, std: float) -> float:
    """The least mean squared error of any predictor of a * x_0 + b * eps from x_t, for data
    Normal(0, std^2).

    It is the posterior variance, by the formula for two jointly Normal numbers: Var(y) -
    Cov(y, x_t)^2 / Var(x_t).
    """
    a, b = target
    covariance = a * alpha * std**2 + b * sigma
    return a**2 * std**2 + b**2 - covariance**2 / (alpha**2 * std**2 + sigma**2)
