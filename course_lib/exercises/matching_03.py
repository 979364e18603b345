"""The last exercise of lesson 03: how far the loss of flow matching can fall."""

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise


def matching_floor(t: Tensor, s: float) -> Tensor:
    """The least mean squared error of predicting eps - x_0 from x_t = (1 - t) x_0 + t eps, for
    x_0 from N(m, s^2): t [n] in [0, 1] to [n].
    """
    return s**2 / ((1 - t) ** 2 * s**2 + t**2)


FLOOR = Exercise(
    "matching_floor",
    matching_floor,
    [
        (torch.linspace(0.05, 0.9, 7, dtype=torch.float64), 0.5),
        (torch.linspace(0.1, 0.95, 5, dtype=torch.float64), 2.0),
    ],
    [
        (
            lambda t, s: s**2 / ((1 - t) ** 2 + t**2 * s**2),
            "Right in the papers' time, where 0 is noise. Here, as in Schedule.flow, t = 0 is "
            "the picture: swap t and 1 - t.",
        ),
        (
            lambda t, s: torch.full_like(t, 1 + s**2),
            "That is the variance of eps - x_0 when nothing is known. x_t says something of "
            "it: take off covariance squared over the variance of x_t.",
        ),
        (
            lambda t, s: 1 + s**2 - (t - (1 - t) * s**2) / ((1 - t) ** 2 * s**2 + t**2),
            "The covariance is to be squared before it is divided by the variance of x_t.",
        ),
        (
            lambda t, s: (t - (1 - t) * s**2) ** 2 / ((1 - t) ** 2 * s**2 + t**2),
            "That is the part that is explained. The floor is what is left of 1 + s^2.",
        ),
        (
            lambda t, s: 1 + s**2 - (t + (1 - t) * s**2) ** 2 / ((1 - t) ** 2 * s**2 + t**2),
            "The covariance of eps - x_0 with (1 - t) x_0 + t eps is t *minus* (1 - t) s^2.",
        ),
        (
            lambda t, s: s / ((1 - t) ** 2 * s + t**2),
            "s is the standard deviation; the variance is its square.",
        ),
        (
            lambda t, s: s**2 / ((1 - t) ** 2 * s + t**2),
            "s is the standard deviation: x_t's variance has s^2.",
        ),
        (
            lambda t, s: 1 / ((1 - t) ** 2 * s**2 + t**2),
            "At t = 1 all noise is known and the picture is not: the floor is s^2 there, so "
            "s^2 is on top.",
        ),
        (
            lambda t, s: 1 + s**2 - (t - (1 - t) * s**2) ** 2,
            "The covariance squared is to be divided by the variance of x_t.",
        ),
        (
            lambda t, s: 1 - (t - (1 - t) * s**2) ** 2 / ((1 - t) ** 2 * s**2 + t**2),
            "The variance of eps - x_0 is 1 + s^2: both are unknown before x_t is seen.",
        ),
        (
            lambda t, s: (1 - t) ** 2 * s**2 + t**2,
            "That is the variance of x_t.",
        ),
        (
            lambda t, s: s**2 / ((1 - t) * s**2 + t),
            "The variance of x_t has (1 - t) and t squared.",
        ),
        (
            lambda t, s: (s**2 / ((1 - t) ** 2 * s**2 + t**2)).sqrt(),
            "That is a standard deviation: the loss is the squared error, without the root.",
        ),
        (
            lambda t, s: (1 - t) ** 2 * s**2 / ((1 - t) ** 2 * s**2 + t**2),
            "That is the floor of predicting eps. A velocity's error is larger: eps - x_0 = "
            "(eps - x_t) / (1 - t).",
        ),
        (
            lambda t, s: t**2 * s**2 / ((1 - t) ** 2 * s**2 + t**2),
            "That is the floor of predicting x_0. A velocity's error is larger: eps - x_0 = "
            "(x_t - x_0) / t.",
        ),
    ],
    "Right: at t = 0 only the noise is unknown, 1, and at t = 1 only the picture, s^2.",
    rtol=1e-5,
    advice="take covariance squared over variance off 1 + s^2",
)
