"""The exercises of lesson 06: the divergence behind the best critic, the generator's loss, how
fast a game comes to rest (in rates_06.py), and the penalty. The broken GANs of its last
section stand in gallery_06.py.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.adversarial import squared_slopes
from course_lib.exercises.gallery_06 import BUGS, GALLERY, NAMES, gallery, gallery_data
from course_lib.exercises.grader import Exercise
from course_lib.exercises.rates_06 import RATE, slowest_rate
from course_lib.toy_games import js_divergence

__all__ = [
    "BUGS",
    "GALLERY",
    "JS",
    "LOSS",
    "NAMES",
    "PENALTY",
    "RATE",
    "gallery",
    "gallery_data",
    "slowest_rate",
]


def _randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- 1: Jensen-Shannon


def _kl(a: Tensor, b: Tensor) -> Tensor:
    return (torch.xlogy(a, a) - torch.xlogy(a, b)).sum(dim=-1)


def _plain(a: Tensor, b: Tensor) -> Tensor:
    return (a * (a / b).log()).sum(dim=-1)


def _halves(p: Tensor, q: Tensor, each: Callable = _kl) -> Tensor:
    m = (p + q) / 2
    return (each(p, m) + each(q, m)) / 2


_FULL = _randn(2, 3, 6, seed=0).double().softmax(dim=2)
_HOLES = torch.tensor(
    [[[0.5, 0.0, 0.5, 0.0], [0.0, 0.2, 0.8, 0.0]], [[0.25, 0.75, 0, 0], [0, 0, 0.5, 0.5]]],
    dtype=torch.float64,
)

JS = Exercise(
    "js",
    js_divergence,
    # pairs of rows, and one pair alone: the lesson gives both
    [(_FULL[0], _FULL[1]), (_HOLES[0], _HOLES[1]), (_FULL[0][0], _FULL[1][0])],
    [
        (
            lambda p, q: _halves(p, q, _plain),
            "An empty bin gives 0 * log 0 = nan. It should count as 0: torch.xlogy(a, b) is "
            "a * log b with that rule.",
        ),
        (
            lambda p, q: 2 * math.log(2) - 2 * js_divergence(p, q),
            "That is the critic's best loss. Here the divergence itself is wanted.",
        ),
        (
            lambda p, q: js_divergence(p, q) / math.log(2),
            "That is in bits. Nats here: its largest value is then ln 2.",
        ),
        (
            lambda p, q: js_divergence(p, q).sqrt(),
            "That is the Jensen-Shannon distance (as in SciPy): its square is the divergence.",
        ),
        (
            lambda p, q: 2 * js_divergence(p, q),
            "The two KL divergences are averaged: the half is missing.",
        ),
        (
            lambda p, q: (_kl(p, p + q) + _kl(q, p + q)) / 2,
            "Below 0: the mixture must sum to 1, so it is (p + q) / 2.",
        ),
        (
            lambda p, q: -js_divergence(p, q),
            "The sign is turned: KL(p || m) is the sum of p log(p / m).",
        ),
        (
            lambda p, q: _kl(p, q),
            "That is KL(p || q), which is infinite where q has an empty bin. Compare each "
            "with the mixture m, which has none where p or q has something.",
        ),
        (
            lambda p, q: (_kl(p, q) + _kl(q, p)) / 2,
            "Both ways is not enough: each is to be compared with the mixture (p + q) / 2.",
        ),
        (
            lambda p, q: _kl(p, (p + q) / 2),
            "That is the first half: KL(q || m) is missing.",
        ),
        (
            lambda p, q: js_divergence(p, q) / p.shape[-1],
            "A mean over the bins, where a divergence sums over them.",
        ),
        (
            lambda p, q: js_divergence(p, q).sum(),
            "All pairs are added up: sum over the last axis alone, one number a pair.",
        ),
    ],
    "Right: 0 where the two agree, ln 2 where they don't overlap, and finite in between.",
    rtol=1e-6,
    advice="average KL(p || m) and KL(q || m), m = (p + q) / 2, with sums over the last axis",
)

# ---------------------------------------------------------------- 2: the generator's loss


def generator_loss(fake: Tensor) -> Tensor:
    """The non-saturating loss of logits [B]: the mean of -log D, a number (Goodfellow et al.
    2014, section 3).
    """
    return F.softplus(-fake).mean()


LOSS = Exercise(
    "generator_loss",
    generator_loss,
    [(2 * _randn(7, seed=1),), (torch.tensor([-200.0, -3.0, 0.5, 40.0]),)],
    [
        (
            lambda fake: -torch.sigmoid(fake).log().mean(),
            "The formula is right, but where D is 0 to the computer its log is infinite, and "
            "that is where the push is needed most. F.softplus takes the logit itself.",
        ),
        (
            lambda fake: -(torch.sigmoid(fake) + 1e-8).log().mean(),
            "A small number added to D stops the infinity, and the gradient with it: for a "
            "logit of -200 it is exactly 0. F.softplus takes the logit itself.",
        ),
        (
            lambda fake: -torch.sigmoid(fake).clamp(1e-7, 1 - 1e-7).log().mean(),
            "A clamped D has a gradient of exactly 0 at the fakes that are rejected. "
            "F.softplus takes the logit itself.",
        ),
        (
            lambda fake: F.binary_cross_entropy(torch.sigmoid(fake), torch.ones_like(fake)),
            "binary_cross_entropy cuts the log at -100; "
            "F.binary_cross_entropy_with_logits and F.softplus take the logit itself.",
        ),
        (
            lambda fake: -F.softplus(fake).mean(),
            "That is log(1 - D), the saturating loss: its push is D, nothing where D rejects.",
        ),
        (
            lambda fake: F.softplus(fake).mean(),
            "That is the critic's side, -log(1 - D): minimised, it drives the fakes to where "
            "they are rejected most.",
        ),
        (
            lambda fake: -F.softplus(-fake).mean(),
            "The sign is turned: a loss falls, so it is *minus* the log of D.",
        ),
        (
            lambda fake: F.softplus(-fake).sum(),
            "Summed over the batch: the mean is wanted, so that a larger batch is no "
            "stronger push.",
        ),
        (
            lambda fake: F.softplus(-fake),
            "The values are right, one a fake; their mean is wanted, one number.",
        ),
        (
            lambda fake: -fake.mean(),
            "That is the generator's loss of the hinge and Wasserstein games. Here D is a "
            "chance, sigmoid(logit), and its log is taken.",
        ),
        (
            lambda fake: -torch.sigmoid(fake).mean(),
            "The log is missing: without it the slope is D (1 - D), nothing at both ends.",
        ),
    ],
    "Right, and for a logit of -200 too.",
    rtol=1e-5,
    habits=[
        (
            lambda attempt: not attempt(torch.zeros(3, requires_grad=True)).requires_grad,
            "The value is right, but no gradient leads back to the fakes: no .detach() and no "
            "torch.no_grad() here, for the generator learns by it.",
        ),
    ],
    advice="minus the mean of log sigmoid(fake)",
)

# ---------------------------------------------------------------- 4: the penalty


def penalty(discriminator: Callable, x: Tensor) -> Tensor:
    """The mean over images x [B, ...] of |gradient of the logit by the image|^2, a number."""
    return squared_slopes(lambda x, cond: discriminator(x), x, None)[1].mean()


def bowl(x: Tensor) -> Tensor:
    """A discriminator for the grader's cases: points or images [B, ...] to logits [B]."""
    flat = x.flatten(1)
    weights = torch.linspace(0.5, 1.5, flat.shape[1], dtype=x.dtype)
    return (weights * flat.square()).sum(dim=1) + (flat * flat.roll(1, dims=1)).sin().sum(
        dim=1
    )


class _Weighted(torch.nn.Module):
    """A discriminator with a weight, that a penalty must be able to move."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return bowl(self.weight * x)


def _moves_nothing(attempt: Callable) -> bool:
    net = _Weighted()
    found = attempt(net, _randn(3, 2, seed=4))
    return not found.requires_grad


def _slopes(discriminator: Callable, x: Tensor, share: float = 1.0) -> Tensor:
    x = x.detach().requires_grad_()
    total = discriminator(x).sum() * share
    return torch.autograd.grad(total, x, create_graph=True)[0].flatten(1)


PENALTY = Exercise(
    "penalty",
    penalty,
    [(bowl, _randn(5, 2, seed=2)), (bowl, _randn(3, 1, 3, 4, seed=3))],
    [
        (
            lambda d, x: _slopes(d, x).norm(dim=1).mean(),
            "That is the mean length. R1 is the mean of its *square*.",
        ),
        (
            lambda d, x: (_slopes(d, x).norm(dim=1) - 1).square().mean(),
            "That is WGAN-GP's penalty, which wants a slope of 1. R1 and R2 want 0.",
        ),
        (
            lambda d, x: _slopes(d, x).square().mean(),
            "A mean over the pixels too. Sum the squares of an image's pixels, then take the "
            "mean over the batch.",
        ),
        (
            lambda d, x: _slopes(d, x).square().sum(),
            "Summed over the batch as well: take the mean over it, after the sum over pixels.",
        ),
        (
            lambda d, x: _slopes(d, x, 1 / len(x)).square().sum(dim=1).mean(),
            "The gradient of the logits' *mean* is B times too small for each image, and its "
            "square B^2 times: take the gradient of the sum.",
        ),
        (
            lambda d, x: _slopes(d, x, 1 / len(x)).square().sum(),
            "The gradient of the logits' *mean* is B times too small for each image, and its "
            "square B^2 times: take the gradient of the sum.",
        ),
        (
            lambda d, x: _slopes(d, x).square().sum(dim=1),
            "The values are right, one an image; their mean is wanted, one number.",
        ),
        (
            lambda d, x: _slopes(d, x).mean(dim=0).square().sum(),
            "The gradients are averaged before they are squared: images with opposite slopes "
            "cancel. Square each image's own.",
        ),
        (
            lambda d, x: _slopes(d, x).sum(dim=1).square().mean(),
            "The pixels' slopes are added before they are squared: square each, then sum.",
        ),
        (
            lambda d, x: _slopes(d, x).square().sum(dim=1).mean() / 2,
            "The half belongs to gamma: the loss has gamma / 2 times this.",
        ),
        (
            lambda d, x: d(x).square().mean(),
            "That punishes large logits. What is to be small is their slope by the image: "
            "torch.autograd.grad.",
        ),
    ],
    "Right: a number that the critic's weights can be led through.",
    rtol=1e-4,
    habits=[
        (
            _moves_nothing,
            "The value is right, but it leads back to no weight of the critic, so it can't "
            "change it: torch.autograd.grad(..., create_graph=True), and no .item().",
        ),
    ],
    known_errors=[
        (
            "does not require grad",
            "The gradient is by the images, so they must ask for one first: "
            "x = x.detach().requires_grad_().",
        ),
        (
            "grad can be implicitly created only for scalar outputs",
            "autograd.grad wants one number: the logits' sum. Images don't see one another, "
            "so each gets its own logit's gradient.",
        ),
        (
            "appears to not have been used in the graph",
            "x was replaced after the logits were computed: first "
            "x = x.detach().requires_grad_(), then discriminator(x).",
        ),
    ],
    advice="the gradient of the logits' sum by x, squared, summed over each image, averaged",
)
