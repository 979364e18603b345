"""Lesson 02's first two exercises: a KL divergence, and the draw of a latent."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise, other_end
from course_lib.exercises.habits_02 import (
    IN_PLACE,
    NO_POWER,
    ONE_NUMBER,
    changes_arguments,
    cuts_gradient,
    normal,
)
from course_lib.models.vae import kl_to_standard

# ---------------------------------------------------------------- 1: the KL divergence


def _bent_kl(inside: Callable, reduce: Callable | None = None) -> Callable:
    """A KL divergence with another term, or another sum, than the right one."""

    def kl(mean: Tensor, std: Tensor) -> Tensor:
        terms = inside(mean, std)
        return terms.sum(dim=1) if reduce is None else reduce(terms)

    return kl


def _right_terms(mean: Tensor, std: Tensor) -> Tensor:
    return 0.5 * (mean.square() + std.square() - 1) - std.log()


_ONE_CODE = (normal(4, 3, seed=6), (0.6 * normal(4, 3, seed=7)).exp())

KL = Exercise(
    "kl_to_prior",
    kl_to_standard,
    [
        _ONE_CODE,
        (normal(2, 5, seed=8), 0.3 * torch.ones(2, 5)),
    ],
    [
        (
            lambda mean, std: _right_terms(mean, std),
            "Right for each latent by itself. Independent numbers' divergences add up: sum "
            "over the last axis, one number a picture is left.",
        ),
        (
            _bent_kl(_right_terms, lambda terms: terms.mean(dim=1)),
            "A mean over the latents where a sum belongs: the bound would pay for one latent "
            "of L only.",
        ),
        (
            _bent_kl(_right_terms, lambda terms: terms.sum()),
            "The batch is summed too. Keep one number a picture: sum(dim=1).",
        ),
        (
            _bent_kl(_right_terms, lambda terms: terms.sum(dim=0)),
            "That sums over the batch, dim=0. Sum over the latents, dim=1.",
        ),
        (
            lambda mean, std: _right_terms(mean, std).sum(dim=1, keepdim=True),
            "The values are right, but keepdim=True keeps the axis: [B] is asked for.",
        ),
        (
            lambda mean, std: _right_terms(mean, std).mean(),
            "That is a mean over all. Independent latents' divergences add up, sum(dim=1), "
            "and one number a picture is kept.",
        ),
        (
            _bent_kl(lambda mean, std: 0.5 * (mean.square() + std.square() - 1)),
            "- log std is missing: without it a q as narrow as you like would cost nothing "
            "more.",
        ),
        (
            _bent_kl(
                lambda mean, std: 0.5 * (mean.square() + std.square() - 1 - std.log().square())
            ),
            "The log is squared, where the log *of the square* is meant: log std^2 is 2 log "
            "std.",
        ),
        (
            _bent_kl(lambda mean, std: 0.5 * (mean.square() + std.square() + 1) - std.log()),
            "The sign of 1: it is taken off, so that the prior's own divergence is 0.",
        ),
        (
            _bent_kl(lambda mean, std: 0.5 * (mean.square() + std.square() - 1 - 2 * std)),
            "std stands where its log belongs.",
        ),
        (
            _bent_kl(lambda mean, std: -_right_terms(mean, std)),
            "The sign is turned: a KL divergence is never below 0.",
        ),
        (
            _bent_kl(lambda mean, std: mean.square() + std.square() - 1 - 2 * std.log()),
            "Twice too large: the half of the Normal's exponent is missing.",
        ),
        (
            _bent_kl(lambda mean, std: 0.5 * (mean.square() + std.square() - 1 - std.log())),
            "log std counts once, or log std^2 with a half: here its half is missing. (The "
            "formulas in papers often have log of the variance.)",
        ),
        (
            _bent_kl(lambda mean, std: 0.5 * (mean.square() + std - 1 - std.log())),
            "This takes std for the variance: square it where the formula has sigma^2.",
        ),
        (
            _bent_kl(lambda mean, std: 0.5 * (mean.square() + std.square()) - std.log()),
            "The -1 is missing, so the divergence of the prior from itself is not 0. Try "
            "mean 0 and std 1.",
        ),
        (
            _bent_kl(lambda mean, std: 0.5 * (mean.square() + (2 * std).exp() - 1) - std),
            "This takes std for its logarithm. Here std itself is given: square it, and take "
            "its log.",
        ),
        (
            _bent_kl(lambda mean, std: 0.5 * (mean.square() + std.square() - 1) + std.log()),
            "The sign of log std is turned: a narrow q, with std below 1, must cost more, so "
            "it is - log std.",
        ),
        (
            _bent_kl(lambda mean, std: 0.5 * (mean + std.square() - 1) - std.log()),
            "The mean is not squared: codes at -2 and at 2 are equally far from the prior.",
        ),
        (
            _bent_kl(lambda mean, std: 0.5 * (std.square() - 1) - std.log()),
            "The mean is missing: a code far from 0 would cost nothing.",
        ),
        (
            _bent_kl(lambda mean, std: 0.5 * (mean.square() + std.square()) - 1 - std.log()),
            "The -1 belongs inside the bracket, with the half. Try mean 0 and std 1.",
        ),
        (
            _bent_kl(lambda mean, std: 0.5 * (mean.square() + std.square() - 1) - std.log2()),
            "That is the log to base 2, which counts in bits. Nats want the natural "
            "logarithm: .log().",
        ),
        (
            _bent_kl(
                lambda mean, std: 0.5 * ((mean.square() + 1) / std.square() - 1) + std.log()
            ),
            "This is KL(prior || q), the other way round. Here q comes first: the average is "
            "over draws from q.",
        ),
    ],
    "Right: 0 for the prior itself, and never below.",
    rtol=1e-5,
    habits=[
        (changes_arguments(_ONE_CODE), IN_PLACE),
        (
            cuts_gradient(kl_to_standard, _ONE_CODE),
            "The values are right, but the gradients in mean and std are not: stay with "
            "PyTorch's functions (no NumPy, no .detach(), no .item()).",
        ),
    ],
    known_errors=[ONE_NUMBER, NO_POWER],
)

# ---------------------------------------------------------------- 2: the sampling trick


def draw_latent(mean: Tensor, log_std: Tensor, eps: Tensor) -> Tensor:
    """z = mean + std * eps, all [B, L]: a draw that gradients pass through."""
    return mean + log_std.exp() * eps


def _own_noise(attempt: Callable) -> bool:
    """Whether the same arguments give another draw."""
    case = (normal(3, 2, seed=1), normal(3, 2, seed=2), normal(3, 2, seed=3))
    one, two = (attempt(*(a.clone() for a in case)) for _ in range(2))
    return one.shape == case[0].shape and other_end(one, two)


_ONE_DRAW = (normal(3, 2, seed=1), normal(3, 2, seed=2), normal(3, 2, seed=3))

DRAW = Exercise(
    "draw_latent",
    draw_latent,
    [
        (normal(4, 3, seed=0), 0.5 * normal(4, 3, seed=1), normal(4, 3, seed=2)),
        (normal(2, 1, seed=3), normal(2, 1, seed=4) - 1, normal(2, 1, seed=5)),
    ],
    [
        (
            lambda mean, log_std, eps: mean + log_std * eps,
            "log_std is the logarithm of the standard deviation: take its exp first.",
        ),
        (
            lambda mean, log_std, eps: mean + (2 * log_std).exp() * eps,
            "exp(2 log_std) is the variance. A draw needs the standard deviation: the spread "
            "of std * eps is std.",
        ),
        (
            lambda mean, log_std, eps: mean + (log_std / 2).exp() * eps,
            "The half belongs to a log *variance*. Here the log of the standard deviation is "
            "given, so it is exp(log_std).",
        ),
        (
            lambda mean, log_std, eps: mean + eps,
            "The spread is 1 for every picture: eps is to be multiplied by the standard "
            "deviation.",
        ),
        (
            lambda mean, log_std, eps: mean,
            "That is the mean, not a draw: without the noise this is a plain autoencoder.",
        ),
        (
            lambda mean, log_std, eps: log_std.exp() * eps,
            "The mean is missing: every picture's draws would lie around 0.",
        ),
        (
            lambda mean, log_std, eps: mean * log_std.exp() * eps,
            "The mean is to be added, not multiplied: the noise lies around it.",
        ),
        (
            lambda mean, log_std, eps: mean - log_std.exp() * eps,
            "As good a draw, since -eps is as likely as eps; but the formula above has a "
            "plus: add the noise.",
        ),
        (
            lambda mean, log_std, eps: mean + log_std.exp() + eps,
            "The deviation is added, where it is to multiply the noise.",
        ),
        (
            lambda mean, log_std, eps: mean + (log_std * eps).exp(),
            "exp takes log_std alone: std first, then times eps.",
        ),
        (
            lambda mean, log_std, eps: mean + eps / log_std.exp(),
            "Divided by the deviation: a wide q must draw widely, so multiply.",
        ),
        (
            lambda mean, log_std, eps: (eps - mean) / log_std.exp(),
            "That is the way back, from a draw to its noise: z = mean + std * eps.",
        ),
        (
            lambda mean, log_std, eps: mean + log_std.abs() * eps,
            "abs makes log_std positive, but no deviation: take its exp.",
        ),
        (
            lambda mean, log_std, eps: mean + torch.nn.functional.softplus(log_std) * eps,
            "Softplus also makes numbers positive, but here the logarithm is given, and only "
            "exp undoes it.",
        ),
        (
            lambda mean, log_std, eps: mean + 10**log_std * eps,
            "10 to the power log_std undoes a logarithm to base 10. Here it is the natural "
            "one: exp.",
        ),
        (
            lambda mean, log_std, eps: mean + 2**log_std * eps,
            "2 to the power log_std undoes a logarithm to base 2. Here it is the natural one: "
            "exp.",
        ),
        (
            lambda mean, log_std, eps: mean * eps + log_std.exp(),
            "Mean and deviation are exchanged: the deviation multiplies eps, the mean is "
            "added.",
        ),
        (
            lambda mean, log_std, eps: mean + (1 + log_std) * eps,
            "1 + log_std is exp(log_std) only near 0: take the exp.",
        ),
        (
            lambda mean, log_std, eps: mean + log_std.exp() * eps[:1],
            "All pictures got the first one's noise: eps has a row for each.",
        ),
        (
            lambda mean, log_std, eps: (mean + eps) * log_std.exp(),
            "The mean is multiplied as well: scale the noise first, then add the mean.",
        ),
    ],
    "Right: the randomness comes from outside, and gradients pass through mean and deviation.",
    rtol=1e-5,
    habits=[
        (
            _own_noise,
            "Two calls with the same eps give two answers: use the eps that is given, it is "
            "already a standard Normal draw.",
        ),
        (changes_arguments(_ONE_DRAW), IN_PLACE),
        (
            cuts_gradient(draw_latent, _ONE_DRAW),
            "The values are right, but no gradient comes back to mean and log_std: leave out "
            ".detach(), .data, .item(), NumPy and torch.no_grad().",
        ),
    ],
    known_errors=[
        ONE_NUMBER,
        ("converted to Scalar", ".item() takes one number, and it would cut the gradient."),
        (
            "shapes cannot be multiplied",
            "@ multiplies matrices. Number by number it is *.",
        ),
    ],
)
