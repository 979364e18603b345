"""How pictures are measured, the same way for every family of models."""

from course_lib.metrics.fashion import fashion_features
from course_lib.metrics.frechet import frechet_distance

__all__ = ["fashion_features", "frechet_distance"]
