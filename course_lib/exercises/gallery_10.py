"""Lesson 10's gallery: eight reports on one model, of which seven compare it unfairly.

The model is a Normal of eight "features", as real pictures have a standard one, so that every
figure is that of an honest measurement of a dishonest set-up, and takes milliseconds.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.matching import Bug, Matching, listed
from course_lib.metrics import frechet_distance, precision_recall

D, N, M = 8, 400, 1000  # features; pictures of a measurement; real ones of a split
MEAN, STD = 0.1, 0.85  # of the model, in each feature; real pictures have 0 and 1
MS = 2.0  # milliseconds a network call
# reported, then looked up again: real pictures through the same measurement, with its n and
# with four times as many, and the model against validation pictures
NAMES = ("distance", "floor", "floor, 4 n", "on valid", "precision", "recall", "ms a call")

BUGS = {
    1: Bug("nothing is wrong", "agrees with the rival in all but the last digits"),
    2: Bug(
        "a quarter of the pictures",
        "raises the distance and the floor alike, and with four times as many the floor falls "
        "to the rival's",
    ),
    3: Bug(
        "test images were among its training images, and it has learnt them by heart",
        "is far nearer to the test images than real ones are, and than it is to the "
        "validation images",
    ),
    4: Bug(
        "pictures were resized by another library before the features were taken",
        "gives real pictures a distance too, however many there are",
    ),
    5: Bug(
        "guidance and seed were the best of 200 tries by the test images",
        "has a better distance to the test images than to the validation images, and a "
        "modest one",
    ),
    6: Bug(
        "the seconds were taken on another machine",
        "has the rival's figures but for the time of a call, of the same net",
    ),
    7: Bug("precision and recall are swapped", "has the rival's shares in the other order"),
    8: Bug(
        "noise of temperature 0.8 in sampling, and not a word of it",
        "raises precision, costs recall, and worsens the distance, with the floor as it was",
    ),
}


def _normal(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, D, generator=generator, dtype=torch.float64)


def model(n: int, seed: int, temperature: float = 1.0) -> Tensor:
    """Features [n, D] of n pictures of the model that all reports are about."""
    return MEAN + STD * temperature * _normal(n, seed)


def _as_is(x: Tensor) -> Tensor:
    return x


def _resized(x: Tensor) -> Tensor:
    return 0.8 * x + 0.2


def _by_heart(n: int, seed: int) -> Tensor:
    rows = torch.randperm(M, generator=torch.Generator().manual_seed(seed))[:n]
    return _normal(M, 1)[rows] + 0.02 * _normal(n, seed)


def _seed_chosen(test: Tensor) -> int:
    return min(range(1000, 1200), key=lambda seed: frechet_distance(model(N, seed), test))


def report(bug: int, seed: int = 100) -> dict[str, float]:
    """The numbers of one report, by NAMES: two of rival and model, with one of the BUGS."""
    test, valid = _normal(M, 1), _normal(M, 2)
    n = N // 4 if bug == 2 else N
    change: Callable = _resized if bug == 4 else _as_is

    def make(seed: int) -> Tensor:
        if bug == 3:
            return _by_heart(n, seed)
        return change(model(n, seed, 0.8 if bug == 8 else 1.0))

    def floor(n: int) -> float:
        draws = [change(_normal(n, seed)) for seed in range(20, 25)]
        return sum(frechet_distance(x, test) for x in draws) / len(draws)

    shown = make(_seed_chosen(test) if bug == 5 else seed)
    shares = precision_recall(test, shown)
    if bug == 7:
        shares = shares[::-1]
    fresh = frechet_distance(make(seed + 1), valid)
    values = (frechet_distance(shown, test), floor(n), floor(4 * n), fresh, *shares)
    return dict(zip(NAMES, (*values, MS / 3 if bug == 6 else MS), strict=True))


# who hangs where
_HUNG = {"A": 5, "B": 2, "C": 7, "D": 4, "E": 1, "F": 3, "G": 8, "H": 6}


def rival() -> dict[str, float]:
    """The numbers of the rival, as good a model, measured rightly."""
    return report(1, seed=300)


def gallery() -> dict[str, dict[str, float]]:
    """The reports' numbers under their letters."""
    return {letter: report(bug) for letter, bug in _HUNG.items()}


GALLERY = Matching(
    "The stack of reports",
    _HUNG,
    BUGS,
    praise="In all but the one learnt by heart the model is exactly as good as its rival.",
    evidence=lambda bug: listed(report(bug)),
)
