"""Denoisers that are formulas: what a perfect network would answer, for data whose density is
known.
"""

import torch
from torch import Tensor

from course_lib.diffusion.denoiser import Denoise
from course_lib.diffusion.schedule import Schedule, widened
from course_lib.errors import CourseError


def gaussian_denoiser(
    schedule: Schedule, mean: float | Tensor, std: float | Tensor
) -> Denoise:
    """E[x_0 | x_t] for data Normal(mean, std^2), independent in each element; mean and std
    broadcast against x_t.
    """

    def denoise(x_t: Tensor, t: int | Tensor, cond=None) -> tuple[Tensor, Tensor]:
        x = widened(x_t)
        alpha, sigma = schedule.at(t, x)
        variance = alpha**2 * std**2 + sigma**2  # of x_t
        # 0 for a point at t = 0, where the residual is as well
        variance = variance.where(variance > 0, 1)
        residual = x - alpha * mean
        x0 = mean + alpha * std**2 / variance * residual
        return x0.to(x_t.dtype), (sigma / variance * residual).to(x_t.dtype)

    return denoise


def _log_prior(weights: Tensor, labels: Tensor | None, cond, B: int) -> Tensor:
    """Log of each component's weight: [K], or [B, K] with -inf in all other classes."""
    log_weight = weights.log()
    if cond is None or labels is None:
        return log_weight
    cond = torch.as_tensor(cond, device=weights.device).expand(B)[:, None]
    other = (labels.to(weights.device)[None, :] != cond) & (cond >= 0)  # [B, K]
    log_weight = torch.where(other, -torch.inf, log_weight)
    empty = log_weight.amax(dim=1) == -torch.inf
    if empty.any():
        raise CourseError(
            f"The mixture has no component of class {cond[empty][0].item()}; its classes are "
            f"{sorted(set(labels.tolist()))}, and -1 takes all."
        )
    return log_weight


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
    components of one class; a cond of -1 takes all of them. CourseError for a class that has
    none.
    """
    K = len(means)
    weights = torch.full((K,), 1 / K) if weights is None else weights

    def denoise(x_t: Tensor, t: int | Tensor, cond=None) -> tuple[Tensor, Tensor]:
        with torch.autocast(x_t.device.type, enabled=False):  # bfloat16 products aren't exact
            x = widened(x_t)
            alpha, sigma = (q.reshape(-1, 1) for q in schedule.at(t, x))  # [B or 1, 1] each
            variance = alpha**2 * std**2 + sigma**2
            flat, centres = x.reshape(len(x), -1), means.to(x).reshape(K, -1)  # [B, D], [K, D]
            log_weight = _log_prior(weights.to(x), labels, cond, len(x))
            # [B, K], squared, of x_t from each alpha * mean
            distance = flat.square().sum(1, keepdim=True) - 2 * alpha * flat @ centres.T
            distance = distance + alpha**2 * centres.square().sum(1)
            # from the nearest, so that a small variance divides no large number; at variance 0
            # (a point, at t = 0) the nearest takes all
            distance = distance.masked_fill(log_weight == -torch.inf, torch.inf)
            distance = distance - distance.amin(dim=1, keepdim=True)
            tiny = torch.finfo(x.dtype).tiny
            log_weight = log_weight - distance / (2 * variance).clamp(min=tiny)
            mean = log_weight.softmax(dim=1) @ centres  # [B, D], the expected component
            residual = (flat - alpha * mean) / variance.where(variance > 0, 1)
            x0, eps = mean + alpha * std**2 * residual, sigma * residual
            return x0.reshape(x_t.shape).to(x_t.dtype), eps.reshape(x_t.shape).to(x_t.dtype)

    return denoise


def points_denoiser(schedule: Schedule, points: Tensor) -> Denoise:
    """E[x_0 | x_t] when the data are just these points [N, ...]: a softmax over distances, the
    sigma as temperature; at t = 0 the nearest of them.
    """
    return mixture_denoiser(schedule, points, std=0.0)
