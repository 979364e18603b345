"""The exercises of lesson 02. Here: the weight that a loss implies, and the bound of several
draws. The KL divergence and the draw of a latent stand in terms_02.py, the likelihood in
likelihood_02.py, the broken autoencoders of its last section in gallery_02.py.
"""

import math

import torch
from torch import Tensor

from course_lib.exercises.gallery_02 import BUGS, GALLERY, NAMES, gallery, gallery_data
from course_lib.exercises.grader import Exercise
from course_lib.exercises.habits_02 import normal
from course_lib.exercises.likelihood_02 import LOG_LIK
from course_lib.exercises.terms_02 import DRAW, KL

__all__ = [
    "BUGS",
    "DRAW",
    "GALLERY",
    "IW_BOUND",
    "KL",
    "LOG_LIK",
    "NAMES",
    "WEIGHT",
    "gallery",
    "gallery_data",
]


# ---------------------------------------------------------------- 4: which beta is this?


def implied_beta(a: float, b: float, D: int, L: int) -> float:
    """The beta of the loss a * (squared error averaged over D pixels) + b * (KL averaged over
    L latents), read as a multiple of (squared error summed) / 2 + beta * (KL summed).
    """
    return b * D / (2 * a * L)


WEIGHT = Exercise(
    "implied_beta",
    implied_beta,
    [(1.0, 1.0, 784, 16), (784.0, 8.0, 784, 8), (500.0, 3.0, 1024, 2)],
    [
        (
            lambda a, b, D, L: b * D / (a * L),
            "The half is missing: the log-likelihood has half the squared error.",
        ),
        (
            lambda a, b, D, L: 2 * b * D / (a * L),
            "The half went to the wrong side: the loss has a / D whole squared errors, which "
            "are 2 a / D halves.",
        ),
        (
            lambda a, b, D, L: 2 * a * L / (b * D),
            "Upside down: beta is the KL's share over that of the halved squared error.",
        ),
        (
            lambda a, b, D, L: b * D / (2 * a),
            "The KL was averaged over L latents: of the summed KL it holds b / L.",
        ),
        (
            lambda a, b, D, L: b * D * L / (2 * a),
            "A mean over L latents is the sum *divided* by L.",
        ),
        (
            lambda a, b, D, L: b / (2 * a * L),
            "The squared error was averaged over D pixels: of the sum it holds a / D.",
        ),
        (
            lambda a, b, D, L: b / (2 * a * L * D),
            "D is on the wrong side: the squared error's share is a / D, and beta divides by "
            "that share.",
        ),
        (
            lambda a, b, D, L: b * L / (2 * a * D),
            "Both means stand the wrong way up: a mean over D is the sum *divided* by D, so "
            "the halved error's share is 2 a / D, and the KL's b / L.",
        ),
        (
            lambda a, b, D, L: a * L / (b * D),
            "Upside down, and without the half: beta is the KL's share, b / L, over that of "
            "the halved squared error.",
        ),
        (
            lambda a, b, D, L: b * D / 2 * a * L,
            "Python multiplies and divides from left to right, so a and L stand on top: write "
            "/ (2 * a * L).",
        ),
        (
            lambda a, b, D, L: b * D // (2 * a * L),
            "// cuts off what is behind the point: divide with /.",
        ),
        (
            lambda a, b, D, L: D / L,
            "a and b are missing, and the half: the KL's share is b / L, that of the halved "
            "error 2 a / D.",
        ),
        (
            lambda a, b, D, L: a * D / (2 * b * L),
            "a and b are exchanged: a weighs the error, b the KL.",
        ),
        (
            lambda a, b, D, L: b / a,
            "Both means and the half are missing: of the summed error the loss holds a / D, "
            "of its half 2 a / D, and of the summed KL b / L.",
        ),
        (
            lambda a, b, D, L: b * D / a,
            "The half is missing, and the KL's mean: of the summed KL the loss holds b / L.",
        ),
        (
            lambda a, b, D, L: D / (2 * L),
            "a and b are missing: this is their beta only where they are equal.",
        ),
        (
            lambda a, b, D, L: b / (2 * a),
            "The two means are missing: they divide the error by D and the KL by L.",
        ),
    ],
    "Right: the next cell reads some losses from the wild with it.",
    advice="bring the loss into the form (error summed) / 2 + beta * (KL summed)",
)

# ---------------------------------------------------------------- 5: k draws instead of one


def iw_bound(log_w: Tensor) -> Tensor:
    """log of the mean of k weights (Burda et al. 2016, eq. 8): log_w [B, k] to nats [B]."""
    return torch.logsumexp(log_w, dim=1) - math.log(log_w.shape[1])


def _naive(log_w: Tensor) -> Tensor:
    return log_w.exp().mean(dim=1).log()


IW_BOUND = Exercise(
    "iw_bound",
    iw_bound,
    [
        (normal(3, 5, seed=13),),
        (2 * normal(2, 8, seed=14) + 1,),
        (3 * normal(4, 7, seed=15) - 230,),  # a picture's: exp of it is 0 in float32
    ],
    [
        (
            _naive,
            "Right on paper. A picture has some -230 nats, exp(-230) is 0 in float32, and log "
            "0 is minus infinity: torch.logsumexp takes the largest exponent out first.",
        ),
        (
            lambda log_w: log_w.mean(dim=1),
            "That is the mean of the logs: the usual bound again, whatever k. The log of the "
            "*mean* of the weights is wanted.",
        ),
        (
            lambda log_w: torch.logsumexp(log_w, dim=1),
            "log k is missing: this is the log of the weights' sum, and would grow with k for "
            "nothing.",
        ),
        (
            lambda log_w: torch.logsumexp(log_w, dim=1) / log_w.shape[1],
            "The log is divided by k. The *sum* is to be divided, so in logs take log k off.",
        ),
        (
            lambda log_w: torch.logsumexp(log_w, dim=0) - math.log(log_w.shape[0]),
            "That is a mean over the pictures, dim=0. The draws are along dim=1.",
        ),
        (
            lambda log_w: iw_bound(log_w).mean(),
            "The pictures are averaged too: keep one number a picture, [B].",
        ),
        (
            lambda log_w: torch.logsumexp(log_w, dim=1) + math.log(log_w.shape[1]),
            "log k is added, where a mean divides by k: take it off.",
        ),
        (
            lambda log_w: torch.logsumexp(log_w, dim=1) - math.log(len(log_w)),
            "len(log_w) counts the pictures. The draws are log_w.shape[1].",
        ),
        (
            lambda log_w: torch.logsumexp(log_w, dim=1) - math.log2(log_w.shape[1]),
            "log2 among natural logarithms: nats want math.log.",
        ),
        (
            lambda log_w: iw_bound(log_w)[:, None],
            "The values are right, but keepdim=True keeps the axis: [B] is asked for.",
        ),
        (
            lambda log_w: torch.logsumexp(log_w, dim=1) - log_w.shape[1],
            "A mean divides by k, so in logs it is log k that is taken off, not k.",
        ),
        (
            lambda log_w: torch.logsumexp(log_w, dim=1) / math.log(log_w.shape[1]),
            "In logs a division is a subtraction: take log k off.",
        ),
        (
            lambda log_w: log_w.log_softmax(dim=1).mean(dim=1),
            "A softmax makes the weights sum to 1, and their size, which is the bound, is "
            "gone.",
        ),
        (
            lambda log_w: -iw_bound(log_w),
            "The sign is turned: this is the loss. The bound itself is wanted.",
        ),
        (
            lambda log_w: log_w.exp().sum(dim=1).log(),
            "Twice amiss: log k is missing, and exp(-230) is 0 in float32, so that the log "
            "becomes minus infinity. torch.logsumexp takes the largest exponent out first.",
        ),
        (
            lambda log_w: log_w.exp().mean(dim=1),
            "The mean of the weights is right; the bound is its log, and exp(-230) is 0 in "
            "float32: torch.logsumexp does both.",
        ),
        (
            lambda log_w: log_w.mean(dim=1).log(),
            "The logs of the weights are given, so this takes a log twice: first back to the "
            "weights with exp, then the mean, then the log (torch.logsumexp).",
        ),
        (
            lambda log_w: log_w.log().mean(dim=1),
            "log_w holds logs already: no second log.",
        ),
        (
            lambda log_w: (log_w.exp().mean(dim=1) + 1e-8).log(),
            "1e-8 hides the minus infinity, and everything else: exp(-230) is smaller by 90 "
            "digits. torch.logsumexp takes the largest exponent out first.",
        ),
        (
            lambda log_w: (log_w - log_w.max(dim=1, keepdim=True).values).exp().mean(1).log(),
            "The largest log weight was taken out and never put back: add it at the end.",
        ),
        (
            lambda log_w: (log_w.softmax(dim=1) * log_w).sum(dim=1),
            "That is a mean of the logs, weighted by the weights: not the log of their mean.",
        ),
        (
            lambda log_w: log_w.max(dim=1).values,
            "The largest weight alone: the others count as well, and the mean divides by k.",
        ),
    ],
    "Right, and it holds at -230 nats, where exp gives 0 in float32.",
    rtol=1e-5,
    known_errors=[
        ("logsumexp() missing", "logsumexp is to know its axis: dim=1, along the draws."),
        ("must be real number, not torch.Size", "shape is a tuple: k is log_w.shape[1]."),
        (
            "must be Tensor, not int",
            "log_w.shape[1] is a plain integer, and its log is math.log(...).",
        ),
    ],
)
