"""Two exercises of lesson 10: what a mixture's likelihood is, and what a family shows for so
many seconds.
"""

import math

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise

# ---- 3: the likelihood of a mixture


def mixture_bits(log_p: Tensor, share: float, D: int) -> Tensor:
    """Bits a dimension of a mixture: with probability `share` the model draws, else each of
    the D pixels is one of 256 levels by a fair die. log_p [B]: the model's, in nats, of B
    images; to [B].
    """
    log_q = -D * math.log(256)
    mixed = torch.logaddexp(log_p + math.log(share), log_p * 0 + math.log(1 - share) + log_q)
    return -mixed / (D * math.log(2))


def _mixed(rule):
    """rule(log_p, log_q, share, D) in nats as bits a dimension."""
    return lambda log_p, share, D: (
        -rule(log_p, torch.full_like(log_p, -D * math.log(256)), share, D) / (D * math.log(2))
    )


def _right(log_p: Tensor, log_q: Tensor, share: float, D: int) -> Tensor:
    return torch.logaddexp(log_p + math.log(share), log_q + math.log(1 - share))


MIXTURE = Exercise(
    "mixture_bits",
    mixture_bits,
    [
        (torch.tensor([-1450.0, -1300.0, -2200.0], dtype=torch.float64), 0.01, 784),
        (torch.tensor([-9.0, -12.0, -40.0], dtype=torch.float64), 0.3, 2),
        (torch.tensor([-5000.0, -4347.0, -900.0], dtype=torch.float64), 0.5, 784),
    ],
    [
        (
            _mixed(lambda p, q, share, D: share * p + (1 - share) * q),
            "That is the mean of the logarithms. A mixture adds *probabilities*: the "
            "logarithm "
            "comes last.",
        ),
        (
            _mixed(lambda p, q, share, D: torch.logaddexp(p, q)),
            "The shares are missing: each log-probability gets the logarithm of its own.",
        ),
        (
            _mixed(lambda p, q, share, D: _right(p, q, 1 - share, D)),
            "The shares are swapped: `share` is the model's, the rest is the die's.",
        ),
        (
            _mixed(lambda p, q, share, D: p + math.log(share)),
            "That is the bound, all of the die's part left out. Where the die finds an image "
            "likelier than the model does, its part counts.",
        ),
        (
            _mixed(lambda p, q, share, D: (share * p.exp() + (1 - share) * q.exp()).log()),
            "exp(-1450) is 0 in any floating-point number. Stay with logarithms: "
            "torch.logaddexp.",
        ),
        (
            lambda *case: mixture_bits(*case) * math.log(2),
            "Those are nats: divide by ln 2.",
        ),
        (lambda *case: -mixture_bits(*case), "The sign: bits are *minus* the logarithm."),
        (
            lambda log_p, share, D: mixture_bits(log_p, share, D) * D,
            "That is bits an image: divide by D.",
        ),
        (
            _mixed(lambda p, q, share, D: _right(p, q / D, share, D)),
            "The die is thrown for each of D pixels: its log-probability is -D ln 256.",
        ),
        (
            _mixed(lambda p, q, share, D: _right(p, q * 0 - D * math.log(2), share, D)),
            "A pixel has 256 levels, and not two.",
        ),
        (
            _mixed(lambda p, q, share, D: _right(p, q, share**D, D) if D < 9 else p),
            "The coin is thrown once an image, not once a pixel.",
        ),
    ],
    "Right: a hundred times less likely, and hardly a bit to see of it.",
    rtol=1e-6,
    known_errors=[
        (
            "logaddexp(): argument",
            "torch.logaddexp adds two tensors: make the die's number one, "
            "torch.full_like(log_p, ...).",
        ),
    ],
    advice="log(share p + (1 - share) q), by torch.logaddexp",
)


# ---- 4: at equal seconds


def best_within(budget: Tensor, seconds: Tensor, distance: Tensor) -> Tensor:
    """The least distance to be had for at most so many seconds a picture: budget [B], and
    the ways' seconds [R] and distances [R], in any order, to [B]; inf where none is cheap
    enough.
    """
    allowed = seconds <= budget[:, None]  # [B, R]
    return distance.where(allowed, torch.inf).amin(dim=1)


def _dearest(budget: Tensor, seconds: Tensor, distance: Tensor) -> Tensor:
    order = seconds.argsort()
    count = (seconds <= budget[:, None]).sum(dim=1)
    found = distance[order][(count - 1).clamp(min=0)]
    return found.where(count > 0, torch.inf)


def _closest(budget: Tensor, seconds: Tensor, distance: Tensor) -> Tensor:
    return distance[(seconds - budget[:, None]).abs().argmin(dim=1)]


def _least(allowed, distance: Tensor) -> Tensor:
    return distance.where(allowed, torch.inf).amin(dim=1)


def _cheapest(budget: Tensor, seconds: Tensor, distance: Tensor) -> Tensor:
    first = distance[seconds.argmin()]
    return torch.where(budget >= seconds.min(), first, torch.inf)


SECONDS = Exercise(
    "best_within",
    best_within,
    [
        (
            torch.tensor([0.005, 0.01, 0.03, 0.06, 2.0]),
            torch.tensor([0.04, 0.02, 0.1, 0.01, 0.5]),
            torch.tensor([0.18, 0.22, 0.12, 0.31, 0.27]),
        ),
        (
            torch.tensor([1.0, 3.0, 2.0]),
            torch.tensor([1.0, 2.0, 2.5, 4.0]),
            torch.tensor([0.9, 0.5, 0.7, 0.2]),
        ),
    ],
    [
        (
            _dearest,
            "That is the dearest way that can be paid. More seconds are not always better: "
            "take "
            "the least distance of all that can be paid.",
        ),
        (
            _closest,
            "That is the way whose seconds are nearest to the budget, also when it costs "
            "more.",
        ),
        (
            lambda budget, seconds, distance: _least(seconds < budget[:, None], distance),
            "At most, and not less than: a way that costs just the budget can be paid.",
        ),
        (
            lambda budget, seconds, distance: _least(seconds >= budget[:, None], distance),
            "The comparison is turned round: those are the ways that cost as much or more.",
        ),
        (
            _cheapest,
            "That is the cheapest way, whatever the budget.",
        ),
        (
            lambda budget, seconds, distance: distance.min().expand(len(budget)),
            "That is the best way of all, whatever it costs.",
        ),
        (
            lambda budget, seconds, distance: distance.where(
                seconds <= budget[:, None], 0.0
            ).amin(dim=1),
            "A way that can't be paid counts 0 here, and wins every minimum: put inf in its "
            "place.",
        ),
        (
            lambda *case: best_within(*case).nan_to_num(posinf=0.0),
            "Where nothing can be paid the distance is not 0, the best of all, but inf.",
        ),
        (
            lambda budget, seconds, distance: seconds.where(
                seconds <= budget[:, None], torch.inf
            ).amin(dim=1),
            "Those are seconds. Ask for the distance of the ways that can be paid.",
        ),
    ],
    "Right: one budget, and each family shows the best that it has for it.",
    rtol=1e-6,
    advice="mask the ways that cost too much with inf, then take the minimum",
)
