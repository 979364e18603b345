"""A gallery of broken pixel models on a small world whose likelihood is known.

The world: 12 x 12 pictures of 256 levels, every pixel a discretised logistic around a weighted
sum of its left and its upper neighbour. The exact model scores its entropy, the floor; a bug
shows in what is measured.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.exercises.matching import Bug, Matching
from course_lib.models.pixelcnn import draw_levels, mixture_log_prob, mixture_table

SIDE = 12
LEFT, ABOVE, SCALE = 0.6, 0.38, 0.2  # of the world


BUGS = {
    1: Bug("nothing is wrong", "has nothing to be seen: the floor, a sum of 1, no leak"),
    2: Bug(
        "mask B in the first layer, where A belongs",
        "reads the pixel itself, and so falls below the floor",
    ),
    3: Bug(
        "the vertical stack reads the horizontal one",
        "reads later pixels, and so falls below the floor",
    ),
    4: Bug(
        "a density of the continuous logistic, where a level's probability belongs",
        "has 256 numbers that sum to far more than 1",
    ),
    5: Bug(
        "bins of black and white closed like the others",
        "has probabilities that sum to less than 1",
    ),
    6: Bug(
        "batch normalisation left in training mode",
        "gives a picture other numbers alone than beside others",
    ),
    7: Bug(
        "nats printed as bits",
        "is below the floor with no leak and a sum of 1: only the unit is left",
    ),
    8: Bug(
        'the checkpoint with the larger loss kept, as the one of "higher likelihood"',
        "is above the floor, and nothing else is wrong",
    ),
    9: Bug(
        "the sampler calls the net once, on the empty picture",
        "has the right likelihood, and samples whose neighbours know nothing of each other",
    ),
}

HUNG = {"A": 7, "B": 3, "C": 9, "D": 5, "E": 1, "F": 8, "G": 2, "H": 6, "I": 4}


def neighbour(x: Tensor, down: int, right: int) -> Tensor:
    """The pixel that stands `down` rows above and `right` columns to the left (to the right,
    below 0); 0 outside.
    """
    H, W = x.shape[-2:]
    padded = F.pad(x, (max(right, 0), max(-right, 0), down, 0))
    start = max(-right, 0)
    return padded[..., :H, start : start + W]


def params(bug: int, x: Tensor) -> Tensor:
    """The model's mixture (of one logistic) for x [B, 1, H, W]: [B, 3, H, W]."""
    left, above = neighbour(x, 0, 1), neighbour(x, 1, 0)
    mean, scale = LEFT * left + ABOVE * above, SCALE
    if bug == 2:
        mean, scale = 0.1 * mean + 0.9 * x, SCALE / 5
    if bug == 3:  # least squares on 2,000 pictures, given the right neighbour too
        mean = 0.45 * left + 0.19 * above + 0.38 * neighbour(x, 0, -1)
        scale = 0.88 * SCALE
    if bug == 6:
        mean = mean - 0.5 * mean.mean(dim=0, keepdim=True)
    if bug == 8:
        scale = 4 * SCALE
    return torch.cat(
        [torch.zeros_like(mean), mean, torch.full_like(mean, math.log(scale))], dim=1
    )


def log_prob(bug: int, params: Tensor, levels: Tensor) -> Tensor:
    """What the code reports for levels [B, 1, H, W]: [B, H, W], "nats"."""
    if bug not in (4, 5):
        return mixture_log_prob(params, levels)
    _, mean, log_scale = params.chunk(3, dim=1)
    z, inverse = levels / 127.5 - 1 - mean, torch.exp(-log_scale)
    if bug == 4:
        s = z * inverse
        return (F.logsigmoid(s) + F.logsigmoid(-s) - log_scale)[:, 0]
    share = torch.sigmoid((z + 1 / 255) * inverse) - torch.sigmoid((z - 1 / 255) * inverse)
    return share.clamp(min=1e-12).log()[:, 0]


def draw(bug: int, n: int, seed: int = 0) -> Tensor:
    """n pictures from the model with this bug, pixel by pixel: [n, 1, 12, 12] in [-1, 1]."""
    u = torch.rand(n, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    x = torch.zeros(n, 1, SIDE, SIDE)
    once = params(bug, x)
    for row in range(SIDE):
        for column in range(SIDE):
            out = once if bug == 9 else params(bug, x)
            level = draw_levels(out[:, :, row, column], u[:, row, column])
            x[:, 0, row, column] = level / 127.5 - 1
    return x


def _leak(bug: int, x: Tensor) -> str:
    """Which pixels move the distribution of the one in the middle that should not."""
    x = x.clone().requires_grad_(True)
    row = column = SIDE // 2
    params(bug, x)[0, 1, row, column].backward()
    moved = x.grad[0, 0].flatten() != 0
    here = row * SIDE + column
    if moved[here + 1 :].any():
        return "later pixels"
    return "itself" if moved[here] else "none"


def symptoms(bug: int, n: int = 200) -> dict[str, float | str]:
    """What is measured of a model with this bug, on n pictures of the world and n of its own.

    bits: the reported bits a pixel above the exact model's. total: the mean sum of the 256
    probabilities. leak: what a pixel's distribution depends on and must not. alone: how far
    a picture's means move when it is no longer one of a batch. neighbours: the correlation of
    samples' neighbours over the world's.
    """
    x = draw(1, n, seed=1)
    levels = (x + 1) * 127.5
    out = params(bug, x)
    unit = 1.0 if bug == 7 else math.log(2)
    exact = -mixture_log_prob(params(1, x), levels).mean().item() / math.log(2)
    if bug in (4, 5):
        every = torch.arange(256).float().view(256, 1, 1, 1)
        where = params(bug, x[:1])
        table = log_prob(bug, where.expand(256, -1, -1, -1), every.expand(-1, 1, SIDE, SIDE))
        total = table.exp().sum(dim=0).mean().item()
    else:
        total = mixture_table(out[:8]).exp().sum(dim=1).mean().item()
    return {
        "bits": -log_prob(bug, out, levels).mean().item() / unit - exact,
        "total": total,
        "leak": _leak(bug, x[:2]),
        "alone": (params(bug, x[:1])[0, 1] - out[0, 1]).abs().max().item(),
        "neighbours": _likeness(draw(bug, n)) / _likeness(x),
    }


def _likeness(x: Tensor) -> float:
    """The correlation of pixels with their right neighbours."""
    pairs = torch.stack([x[..., :-1].flatten(), x[..., 1:].flatten()])
    return torch.corrcoef(pairs)[0, 1].nan_to_num().item()


def gallery(n: int = 4) -> dict[str, tuple[Tensor, dict]]:
    """What hangs under each letter: n samples, and the symptoms."""
    return {letter: (draw(bug, n), symptoms(bug)) for letter, bug in HUNG.items()}


def told(found: Mapping[str, float | str]) -> str:
    """Symptoms as a text of two lines."""
    return (
        f"bits {found['bits']:+.2f}, sum {found['total']:.3g}, alone {found['alone']:.2f}\n"
        f"leak: {found['leak']}, neighbours {found['neighbours']:.2f}"
    )


GALLERY = Matching(
    "The gallery",
    HUNG,
    BUGS,
    "A number below the floor is never good news.",
    lambda bug: told(symptoms(bug)).replace("\n", ", "),
)
