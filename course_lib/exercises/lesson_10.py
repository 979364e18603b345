"""The exercises of lesson 10: a yardstick's floor, precision and recall, the likelihood of a
mixture, and a comparison at equal seconds. The last two stand in
compare_10.py, the reports in gallery_10.py.
"""

import math

import torch
from torch import Tensor

from course_lib.exercises.compare_10 import MIXTURE, SECONDS, best_within, mixture_bits
from course_lib.exercises.gallery_10 import BUGS, GALLERY, NAMES, gallery, report, rival
from course_lib.exercises.grader import Exercise
from course_lib.metrics import frechet_distance

__all__ = [
    "BUGS",
    "FLOOR",
    "GALLERY",
    "MIXTURE",
    "NAMES",
    "NEIGHBOURS",
    "SECONDS",
    "best_within",
    "floor_of",
    "gallery",
    "mixture_bits",
    "precision_and_recall",
    "report",
    "rival",
]


def _points(n: int, d: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, d, generator=generator, dtype=torch.float64) + shift


# ---- 1: the floor


def floor_of(train: Tensor, test: Tensor, n: int, draws: int = 5) -> float:
    """The mean Fréchet distance of `draws` lots of n real training images from the test
    images: features train [N, D], in random order, and test [M, D].
    """
    lots = train[: n * draws].split(n)
    return sum(frechet_distance(lot, test) for lot in lots) / draws


def _pooled(train: Tensor, test: Tensor, n: int, draws: int) -> float:
    return frechet_distance(train[: n * draws], test)


def _among_themselves(train: Tensor, test: Tensor, n: int, draws: int) -> float:
    lots = train[: n * draws].split(n)
    pairs = [(i, j) for i in range(draws) for j in range(i)]
    return sum(frechet_distance(lots[i], lots[j]) for i, j in pairs) / len(pairs)


def _means_alone(train: Tensor, test: Tensor, n: int, draws: int) -> float:
    lots = train[: n * draws].split(n)
    return sum((lot.mean(0) - test.mean(0)).square().sum().item() for lot in lots) / draws


def _to_a_small_test_set(train: Tensor, test: Tensor, n: int, draws: int) -> float:
    lots = train[: n * draws].split(n)
    return sum(frechet_distance(lot, test[:n]) for lot in lots) / draws


def _of_test_images(train: Tensor, test: Tensor, n: int, draws: int) -> float:
    return frechet_distance(test[:n], test)


FLOOR = Exercise(
    "floor_of",
    floor_of,
    [
        (_points(400, 4, 0), _points(300, 4, 1), 50, 5),
        (_points(300, 3, 2, 2.0, 1.0), _points(200, 3, 3, 2.0, 1.0), 40, 4),
    ],
    [
        (
            lambda train, test, n, draws: frechet_distance(train[:n], test),
            "That is one lot, and may be a lucky one. Take the mean over `draws` lots, none "
            "of "
            "whose images is in another.",
        ),
        (
            _pooled,
            "That puts all lots into one crowd, n * draws large: its floor is lower. Measure "
            "each lot of n by itself.",
        ),
        (
            lambda *case: floor_of(*case) * case[3],
            "That is the sum over the lots: divide by their number.",
        ),
        (
            _among_themselves,
            "Those are distances between lots of training images. A model is held against the "
            "test images, so the floor is too.",
        ),
        (
            _to_a_small_test_set,
            "The lots are right, but n is the number of made images. The reference stays "
            "whole: "
            "all of `test`.",
        ),
        (
            _of_test_images,
            "Those are the reference's own images: no model that has not seen them could be "
            "as "
            "near. Take training images.",
        ),
        (
            _means_alone,
            "Only the means are compared. The spreads count too: let frechet_distance do it.",
        ),
        (
            lambda *case: math.sqrt(floor_of(*case)),
            "frechet_distance is a squared distance already, and the table shows it so: no "
            "root.",
        ),
        (
            lambda train, test, n, draws: min(
                frechet_distance(lot, test) for lot in train[: n * draws].split(n)
            ),
            "That is the luckiest lot. The floor is their mean.",
        ),
    ],
    "Right: no model can be expected to come below it, and none above it is perfect.",
    rtol=1e-6,
    advice="split n * draws rows into lots of n, and take the mean of their distances",
)


# ---- 2: precision and recall


def precision_and_recall(real: Tensor, made: Tensor, k: int = 3) -> Tensor:
    """[precision, recall] of features [N, D] against [M, D], by k nearest neighbours
    (Kynkäänniemi et al. 2019, eq. 2).
    """
    return _shares(real, made, k)


def _shares(real: Tensor, made: Tensor, k: int, skip: int = 1, own_ball: bool = False):
    """skip: how many of the nearest are the point itself; own_ball: the ball of the query
    counts in place of that of the point that it is held against.
    """

    def reach(points: Tensor) -> Tensor:
        return torch.cdist(points, points).sort(dim=1).values[:, k - 1 + skip]

    apart = torch.cdist(made, real)  # [M, N]
    to_real, to_made = reach(real), reach(made)
    if own_ball:
        to_real, to_made = to_made[:, None], to_real[None, :]
        inside = (apart <= to_real).any(1), (apart <= to_made).any(0)
    else:
        inside = (apart <= to_real).any(1), (apart <= to_made[:, None]).any(0)
    return torch.stack([each.double().mean() for each in inside])


def _mean_radius(real: Tensor, made: Tensor, k: int) -> Tensor:
    def reach(points):
        return torch.cdist(points, points).sort(dim=1).values[:, k].mean()

    apart = torch.cdist(made, real)
    inside = (apart <= reach(real)).any(1), (apart <= reach(made)).any(0)
    return torch.stack([each.double().mean() for each in inside])


def _unrooted(real: Tensor, made: Tensor, k: int) -> Tensor:
    def reach(points):
        return torch.cdist(points, points).square().sort(dim=1).values[:, k]

    apart = torch.cdist(made, real)
    inside = (apart <= reach(real)).any(1), (apart <= reach(made)[:, None]).any(0)
    return torch.stack([each.double().mean() for each in inside])


def _as_counts(real: Tensor, made: Tensor, k: int) -> Tensor:
    return _shares(real, made, k) * torch.tensor([len(made), len(real)])


def _in_all_balls(real: Tensor, made: Tensor, k: int) -> Tensor:
    """The mean over all pairs, where one ball is enough."""
    apart = torch.cdist(made, real)
    reach = [torch.cdist(p, p).sort(dim=1).values[:, k] for p in (real, made)]
    inside = (apart <= reach[0]), (apart <= reach[1][:, None])
    return torch.stack([each.double().mean() for each in inside])


NEIGHBOURS = Exercise(
    "precision_and_recall",
    precision_and_recall,
    [
        (_points(90, 3, 4), _points(60, 3, 5, 0.7, 0.6), 3),
        (_points(50, 2, 6), _points(80, 2, 7, 1.6), 1),
    ],
    [
        (
            lambda real, made, k: _shares(real, made, k).flip(0),
            "The two are swapped: precision is the share of *made* points that lie within a "
            "ball of a real one.",
        ),
        (
            lambda real, made, k: _shares(real, made, k, skip=0),
            "Each point's nearest neighbour is itself, at distance 0. Skip it: the k-th "
            "*other* "
            "one is at index k of the sorted distances.",
        ),
        (
            lambda real, made, k: _shares(real, made, k + 1),
            "That radius reaches the neighbour after the k-th.",
        ),
        (
            lambda real, made, k: _shares(real, made, k, own_ball=True),
            "You have drawn the ball around the point that is asked about. It belongs to the "
            "other crowd's point: a made image is real enough if it is in the ball of a real "
            "one.",
        ),
        (
            _mean_radius,
            "One radius for all. Each point has its own: small where the crowd is dense.",
        ),
        (
            _unrooted,
            "Radii squared and distances not, or the other way round: compare like with like.",
        ),
        (_as_counts, "Those are counts; precision and recall are shares of each crowd."),
        (
            _in_all_balls,
            "That is the mean over all pairs. One ball is enough: `any` over the other crowd, "
            "then the mean.",
        ),
        (
            lambda real, made, k: _shares(real, made, k)[:1].repeat(2),
            "Recall takes the *made* points' balls, and asks of the real points.",
        ),
    ],
    "Right: two questions in place of one number.",
    rtol=1e-6,
    advice="look at one ball: whose centre is it, and who is asked whether it is inside?",
)
