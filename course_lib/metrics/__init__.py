"""How pictures are measured, the same way for every family of models."""

from course_lib.metrics.frechet import Moments, frechet_distance
from course_lib.metrics.measure import Maker, measure
from course_lib.metrics.neighbours import nearest, precision_recall
from course_lib.metrics.yardsticks import YARDSTICKS, Yardstick, fashion_features

__all__ = [
    "YARDSTICKS",
    "Maker",
    "Moments",
    "Yardstick",
    "fashion_features",
    "frechet_distance",
    "measure",
    "nearest",
    "precision_recall",
]
