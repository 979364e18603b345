"""How pictures are measured, the same way for every family of models."""

from course_lib.metrics.fashion import fashion_features
from course_lib.metrics.frechet import Moments, frechet_distance

__all__ = ["Moments", "fashion_features", "frechet_distance"]
