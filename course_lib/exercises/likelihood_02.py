"""Lesson 02's third exercise: the log-likelihood of a picture under Normal pixels."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise
from course_lib.exercises.habits_02 import NO_POWER, ONE_NUMBER, cuts_gradient, normal
from course_lib.models.vae import LOG_2PI, normal_log_prob

# ---------------------------------------------------------------- 3: log p(x | z)


def log_lik(x: Tensor, out: Tensor, sigma: Tensor) -> Tensor:
    """log Normal(x; out, sigma^2), summed over a picture's pixels: [B, ...] to nats [B]."""
    D = x[0].numel()
    error = (x - out).square().flatten(1).sum(dim=1)
    return -error / (2 * sigma**2) - D * torch.log(sigma) - 0.5 * D * LOG_2PI


def _density(x: Tensor, out: Tensor, sigma: Tensor) -> Tensor:
    """Each pixel's own log-density, not summed."""
    return normal_log_prob(x, out, sigma)


def _counted(n: Callable) -> Callable:
    """The constants counted n(x) times in place of once a pixel."""

    def bent(x: Tensor, out: Tensor, sigma: Tensor) -> Tensor:
        extra = n(x) - x[0].numel()
        return log_lik(x, out, sigma) - extra * (torch.log(sigma) + 0.5 * LOG_2PI)

    return bent


def _errors(x: Tensor, out: Tensor) -> Tensor:
    return (x - out).square().flatten(1).sum(dim=1)


def _bent_lik(error=1.0, logs=1.0, pi=1.0, power=2, reduce="sum", sign=1.0) -> Callable:
    """The log-likelihood with any of its parts bent."""

    def bent(x: Tensor, out: Tensor, sigma: Tensor) -> Tensor:
        D = x[0].numel()
        squares = (x - out).square().flatten(1).sum(dim=1)
        total = -error * squares / (2 * sigma**power) - logs * D * sigma.log()
        total = sign * (total - pi * 0.5 * D * LOG_2PI)
        return {"sum": total, "mean": total / D, "batch": total.mean()}[reduce]

    return bent


def _repeated(x: Tensor, out: Tensor, sigma: Tensor) -> Tensor:
    D = x[0].numel()
    return log_lik(x, out, sigma) - (D - 1) * D * (torch.log(sigma) + 0.5 * LOG_2PI)


def _only_pi_repeated(x: Tensor, out: Tensor, sigma: Tensor) -> Tensor:
    D = x[0].numel()
    return log_lik(x, out, sigma) - (D - 1) * 0.5 * D * LOG_2PI


LOG_LIK = Exercise(
    "log_lik",
    log_lik,
    [
        (normal(3, 1, 4, 4, seed=9), normal(3, 1, 4, 4, seed=10), torch.tensor(0.3)),
        (normal(2, 1, 3, 5, seed=11), normal(2, 1, 3, 5, seed=12), torch.tensor(1.7)),
    ],
    [
        (
            _bent_lik(error=2.0),
            "The squared error lacks its half: a Normal's exponent is (x - out)^2 / (2 "
            "sigma^2). Without it the KL term counts only half: beta is 1/2.",
        ),
        (
            _bent_lik(reduce="mean"),
            "A mean over the pixels, where log-probabilities of independent pixels *add up*. "
            "With it, one pixel stands against all the KL.",
        ),
        (
            _bent_lik(reduce="batch"),
            "The batch is averaged too. Keep one number a picture: [B].",
        ),
        (
            _bent_lik(sign=-1.0),
            "The sign is turned: this is the loss. The log-likelihood falls as the error "
            "grows.",
        ),
        (
            _bent_lik(logs=0.0),
            "-D log sigma is missing. A fixed sigma would forgive that; a learnt one runs off "
            "to infinity, where every error costs nothing.",
        ),
        (
            _bent_lik(logs=0.0, pi=0.0),
            "The squared error is right, the two logs of the Normal's density are missing: "
            "log sigma, and half of log 2 pi, in every pixel.",
        ),
        (
            _bent_lik(pi=0.0),
            "Half of log 2 pi in every pixel is missing. Training does not notice, but the "
            "number is no log-density.",
        ),
        (
            _bent_lik(pi=2.0),
            "log 2 pi counts half in every pixel: it is the log of sqrt(2 pi).",
        ),
        (
            _bent_lik(power=1),
            "sigma for sigma^2: the exponent divides by twice the *variance*.",
        ),
        (
            _bent_lik(logs=0.5),
            "log sigma counts once in every pixel; with a half it would be log sigma^2.",
        ),
        (
            _density,
            "Right for each pixel by itself. Independent pixels' log-densities add up: "
            ".flatten(1).sum(dim=1) leaves one number a picture.",
        ),
        (
            lambda x, out, sigma: _density(x, out, sigma).sum(),
            "The batch is summed too. Keep one number a picture: .flatten(1).sum(dim=1).",
        ),
        (
            _counted(lambda x: 1),
            "The two logs stand once a picture, where the sum over d has them in each of the "
            "D pixels.",
        ),
        (
            _counted(lambda x: x.numel()),
            "x.numel() counts the pixels of the whole batch. One picture has x[0].numel().",
        ),
        (
            _counted(lambda x: 784),
            "784 pixels are counted, and the pictures here are smaller: x[0].numel() counts "
            "those that there are.",
        ),
        (
            _bent_lik(logs=-1.0),
            "The sign of log sigma is turned: a wider Normal is lower, so it is - log sigma.",
        ),
        (
            _bent_lik(pi=-1.0),
            "The sign of log 2 pi is turned: that constant is taken off in every pixel.",
        ),
        (
            _bent_lik(power=-2),
            "/ 2 * sigma**2 divides by 2 and then multiplies: write / (2 * sigma**2).",
        ),
        (
            lambda x, out, sigma: log_lik(x, out, sigma.exp()),
            "This takes sigma for its logarithm. Here sigma itself is given.",
        ),
        (
            lambda x, out, sigma: -_errors(x, out),
            "That is the squared error alone, with the half, sigma and both logs missing.",
        ),
        (
            lambda x, out, sigma: -_errors(x, out) / 2,
            "That is half the squared error: the formula at sigma = 1, without its logs. Here "
            "sigma is given.",
        ),
        (
            lambda x, out, sigma: log_lik(x, out, sigma.square()),
            "This squares sigma once too often: sigma is the standard deviation, and its log "
            "counts once.",
        ),
        (
            lambda x, out, sigma: log_lik(x, out, sigma.sqrt()),
            "This takes sigma for the variance. It is the standard deviation: the exponent "
            "has sigma^2.",
        ),
        (
            _bent_lik(logs=2.0),
            "log sigma counts once in every pixel, not twice: it is half of log sigma^2.",
        ),
        (
            lambda x, out, sigma: log_lik(x, out, sigma)[:, None],
            "The values are right, but an axis is left over: [B] is asked for.",
        ),
        (
            lambda x, out, sigma: log_lik(x, out, sigma).exp(),
            "This is the density itself. Its log is asked for: 784 pixels' product is 0 or "
            "infinite in float32.",
        ),
        (
            _repeated,
            "The constants of all D pixels stand in every pixel and are then summed: D^2 of "
            "them. A public course had this one.",
        ),
        (
            _only_pi_repeated,
            "D log 2 pi stands in every pixel and is then summed: D^2 of them. A public "
            "course had this one.",
        ),
    ],
    "Right, in nats, with every constant: this number may be compared with other models'.",
    habits=[
        (
            cuts_gradient(
                log_lik,
                (
                    normal(3, 1, 4, 4, seed=9),
                    normal(3, 1, 4, 4, seed=10),
                    torch.tensor(0.3),
                ),
            ),
            "The values are right, but the gradient in out or in sigma is not, so that one "
            "learns nothing or the wrong thing: sigma.log(), not math.log(sigma), and no "
            ".item() or .detach().",
        ),
    ],
    known_errors=[ONE_NUMBER, NO_POWER],
)
