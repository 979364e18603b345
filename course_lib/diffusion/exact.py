"""Denoisers that are formulas: what a perfect network would answer, for data whose density is
known.
"""

import torch
from torch import Tensor

from course_lib.diffusion.denoiser import Denoise
from course_lib.diffusion.schedule import Schedule


def gaussian_denoiser(
    schedule: Schedule, mean: float | Tensor, std: float | Tensor
) -> Denoise:
    """E[x_0 | x_t] for data Normal(mean, std^2), independent in each element; mean and std
    broadcast against x_t.
    """

    def denoise(x_t: Tensor, t: int | Tensor, cond=None) -> tuple[Tensor, Tensor]:
        alpha, sigma = schedule.at(t, x_t)
        variance = alpha**2 * std**2 + sigma**2  # of x_t
        residual = x_t - alpha * mean
        return mean + alpha * std**2 / variance * residual, sigma / variance * residual

    return denoise


def mixture_denoiser(
    schedule: Schedule,
    means: Tensor,
    std: float,
    weights: Tensor | None = None,
    labels: Tensor | None = None,
) -> Denoise:
    """E[x_0 | x_t] for a mixture of Normal(means[k], std^2): means [K, ...] to a denoiser for
    x_t [B, ...].

    weights [K] sum to 1 (even by default). labels [K] int, if given, let cond [B] choose the
    components of one class; a cond of -1 takes all of them.
    """
    K = len(means)
    weights = torch.full((K,), 1 / K) if weights is None else weights

    def exact(x_t: Tensor, t: int | Tensor, cond) -> tuple[Tensor, Tensor]:
        alpha, sigma = schedule.at(t, x_t)
        variance = alpha**2 * std**2 + sigma**2
        flat, centres = (
            x_t.reshape(len(x_t), -1),
            means.to(x_t).reshape(K, -1),
        )  # [B, D], [K, D]
        alpha, variance, sigma = (
            q.reshape(-1, 1) for q in (alpha, variance, sigma)
        )  # [B or 1, 1]
        distance = flat.square().sum(1, keepdim=True) - 2 * alpha * flat @ centres.T
        distance = distance + alpha**2 * centres.square().sum(
            1
        )  # [B, K], of x_t from each alpha * mean
        log_weight = weights.to(x_t).log() - distance / (2 * variance)
        if cond is not None and labels is not None:
            other = (labels.to(x_t.device)[None, :] != cond[:, None]) & (
                cond[:, None] >= 0
            )  # [B, K]
            log_weight = log_weight.masked_fill(other, -torch.inf)
        mean = log_weight.softmax(dim=1) @ centres  # [B, D], the expected component
        residual = flat - alpha * mean
        x0 = mean + alpha * std**2 / variance * residual
        return x0.reshape(x_t.shape), (sigma / variance * residual).reshape(x_t.shape)

    def denoise(x_t: Tensor, t: int | Tensor, cond=None) -> tuple[Tensor, Tensor]:
        with torch.autocast(
            x_t.device.type, enabled=False
        ):  # in bfloat16 its matrix products are not exact
            return exact(x_t, t, cond)

    return denoise


def points_denoiser(schedule: Schedule, points: Tensor) -> Denoise:
    """E[x_0 | x_t] when the data are just these points [N, ...]: a softmax over distances, the
    sigma as temperature.
    """
    return mixture_denoiser(schedule, points, std=0.0)
