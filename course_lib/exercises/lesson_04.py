"""The exercises of lesson 04: each grader knows the answer from a formula, and the usual wrong
turns by their look.

The two samplers, `carve` and `carve_heun`, stand in samplers_04.py, the right variance in
variance_04.py, the broken samplers that hang in the gallery in gallery_04.py.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.gallery_04 import (
    BUGS,
    GALLERY,
    MODE_STD,
    MODES,
    broken_sampler,
    gallery,
    moments,
)
from course_lib.exercises.grader import Exercise
from course_lib.exercises.samplers_04 import CARVE, HEUN, carve, carve_heun
from course_lib.exercises.variance_04 import VARIANCE, right_variance

__all__ = [
    "BUGS",
    "CARVE",
    "DENOISER",
    "GALLERY",
    "HEUN",
    "MODES",
    "MODE_STD",
    "SCHEDULE",
    "VARIANCE",
    "broken_sampler",
    "carve",
    "carve_heun",
    "exact_x0",
    "gallery",
    "moments",
    "right_variance",
    "signal_and_noise",
]

# ---- 1: from small steps to one jump


def signal_and_noise(beta: Tensor) -> Tensor:
    """alpha and sigma of the jump to each time from the small steps' variances: beta [T] to
    [2, T + 1].
    """
    alpha_bar = torch.cat([torch.ones(1, dtype=beta.dtype), torch.cumprod(1 - beta, dim=0)])
    return torch.stack([alpha_bar.sqrt(), (1 - alpha_bar).sqrt()])


def _with_start(alpha: Tensor, sigma: Tensor) -> Tensor:
    return torch.stack(
        [torch.cat([alpha.new_ones(1), alpha]), torch.cat([sigma.new_zeros(1), sigma])]
    )


SCHEDULE = Exercise(
    "signal_and_noise",
    signal_and_noise,
    [
        (torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64),),
        (torch.tensor([0.5, 0.1, 0.3], dtype=torch.float64),),
    ],
    [
        (
            lambda beta: signal_and_noise(beta)[:, 1:],
            "Your T values are right, but index 0 is missing: it is the clean image, alpha = "
            "1 and sigma = 0.",
        ),
        (
            lambda beta: signal_and_noise(beta).square(),
            "These are alpha squared and sigma squared: two square roots are missing. "
            "Variances add, and x_t needs "
            "standard deviations.",
        ),
        (
            lambda beta: torch.stack(
                [signal_and_noise(beta)[0], signal_and_noise(beta)[1].square()]
            ),
            "alpha is right, sigma is its own square: 1 - alpha^2 is a variance, and x_t "
            "needs its root.",
        ),
        (
            lambda beta: torch.stack(
                [signal_and_noise(beta)[0].square(), signal_and_noise(beta)[1]]
            ),
            "sigma is right, but this alpha is alpha-bar, the product of (1 - beta): alpha "
            "is its square root.",
        ),
        (
            lambda beta: _with_start((1 - beta).sqrt(), beta.sqrt()),
            "These belong to one small step each: alpha for alpha-bar. The jump to t keeps "
            "the *product* of all steps "
            "up to t (torch.cumprod).",
        ),
        (
            lambda beta: _with_start(
                torch.cumprod((1 - beta).sqrt(), 0), torch.cumsum(beta, 0).sqrt()
            ),
            "alpha is right. The noise isn't the sum of all betas: what an early step added, "
            "later steps shrink too. "
            "What is left of the variance 1 is 1 - alpha^2.",
        ),
        (
            lambda beta: torch.stack(
                [signal_and_noise(beta)[0], 1 - signal_and_noise(beta)[0]]
            ),
            "alpha is right. alpha + sigma = 1 is the straight schedule's rule; here "
            "variances add: "
            "alpha^2 + sigma^2 = 1.",
        ),
        (
            lambda beta: torch.stack(
                [
                    signal_and_noise(beta)[0].square(),
                    (1 - signal_and_noise(beta)[0] ** 4).sqrt(),
                ]
            ),
            "Both follow from alpha-bar, the product of (1 - beta): alpha is its square root, "
            "the product of sqrt(1 - beta), and then sigma^2 is 1 - alpha^2.",
        ),
        (
            lambda beta: signal_and_noise(beta).flip(0),
            "The two rows are exchanged: alpha first, then sigma.",
        ),
        (
            lambda beta: signal_and_noise(beta).T,
            "The right numbers in columns. Two rows are asked for, [2, T + 1]: torch.stack "
            "without a dim.",
        ),
        (
            lambda beta: torch.cat(
                [signal_and_noise(beta)[:, 1:], torch.tensor([[1.0], [0.0]])], dim=1
            ),
            "The clean image, alpha = 1 and sigma = 0, stands at the end; it is index 0.",
        ),
        (
            lambda beta: _with_start(
                (1 - torch.cumsum(beta, 0)).sqrt(), torch.cumsum(beta, 0).sqrt()
            ),
            "The betas are summed. Each step multiplies what is left by its own 1 - beta: it "
            "is a product, torch.cumprod.",
        ),
        (
            lambda beta: _with_start(
                torch.cumprod((1 - beta).sqrt(), 0), (1 - torch.cumprod(beta, 0)).sqrt()
            ),
            "alpha is right. sigma^2 is 1 - alpha^2, with the product of 1 - beta, not of "
            "beta.",
        ),
    ],
    "Right: a thousand small steps are one jump now.",
    rtol=2e-5,  # float32's: sigma of the first steps is the root of a difference
)


# ---- 2: the exact denoiser


def exact_x0(x_t: Tensor, alpha: float, sigma: float, points: Tensor) -> Tensor:
    """E[x_0 | x_t] when the data are the points [N, D]: x_t [B, D] to [B, D], a softmax over
    squared distances.
    """
    distance = torch.cdist(x_t, alpha * points).square()  # [B, N]
    return torch.softmax(-distance / (2 * sigma**2), dim=1) @ points


def _weighted(score: Callable) -> Callable:
    """The same denoiser with another score [B, N] under the softmax."""
    return lambda x_t, alpha, sigma, points: (
        torch.softmax(score(x_t, alpha, sigma, points), dim=1) @ points
    )


def _nearest(x_t: Tensor, alpha: float, sigma: float, points: Tensor) -> Tensor:
    return points[torch.cdist(x_t, alpha * points).argmin(dim=1)]


def _over_rows(x_t: Tensor, alpha: float, sigma: float, points: Tensor) -> Tensor:
    distance = torch.cdist(x_t, alpha * points).square()
    return torch.softmax(-distance / (2 * sigma**2), dim=0) @ points


def _denoiser_cases() -> list[tuple]:
    generator = torch.Generator().manual_seed(4)
    points = torch.randn(7, 2, generator=generator)
    cases = [
        (torch.randn(5, 2, generator=generator), a, (1 - a**2) ** 0.5, points)
        for a in (0.3, 0.8, 0.95)
    ]
    # 25 sigma and more from all points: exp(-distance) is 0 in float32, as on a third of
    # section 5's plane at t = 20
    far = torch.tensor([[3.4, 0.1], [-2.6, -0.6], [1.1, -1.7], [-0.4, 2.2], [2.3, 2.1]])
    return [*cases, (far, (1 - 0.05**2) ** 0.5, 0.05, points)]


def _by_weights(x_t: Tensor, alpha: float, sigma: float, points: Tensor) -> Tensor:
    w = torch.exp(-torch.cdist(x_t, alpha * points).square() / (2 * sigma**2))
    return w @ points / w.sum(dim=1, keepdim=True)


_UNDERFLOW = (
    "Right where the noise is strong. Far from all points at sigma = 0.05 every weight "
    "exp(-distance) is so small that "
    "float32 keeps 0, and 0 / 0 is left. Hand the exponents to torch.softmax: it divides by "
    "the largest weight first."
)


DENOISER = Exercise(
    "exact_x0",
    exact_x0,
    _denoiser_cases(),
    [
        (
            _weighted(lambda x, a, s, p: -torch.cdist(x, a * p).square() / (2 * s)),
            "sigma for sigma^2: a Normal's exponent divides the squared distance by twice "
            "the *variance*.",
        ),
        (
            _weighted(lambda x, a, s, p: -torch.cdist(x, a * p).square() / s**2),
            "The 2 of 2 sigma^2 is missing: this is the softmax at half the temperature.",
        ),
        (
            _weighted(lambda x, a, s, p: -torch.cdist(x, a * p) / (2 * s**2)),
            "The distance isn't squared: the Normal's exponent has |x_t - alpha x_i|^2.",
        ),
        (
            _weighted(lambda x, a, s, p: -torch.cdist(x, p).square() / (2 * s**2)),
            "alpha is missing: x_t lies around alpha * x_i, so that is what it has to be "
            "compared with.",
        ),
        (
            _weighted(lambda x, a, s, p: torch.cdist(x, a * p).square() / (2 * s**2)),
            "The sign: far points got the large weights. exp(-distance) falls with distance.",
        ),
        (
            _over_rows,
            "The softmax runs over the wrong axis: each x_t's weights over the points must "
            "sum to 1 (dim=1).",
        ),
        (
            _nearest,
            "That is the nearest point, the most likely x_0. The denoiser is the weighted "
            "*mean* of all points.",
        ),
        (
            lambda x_t, alpha, sigma, points: alpha * exact_x0(x_t, alpha, sigma, points),
            "The weights are right, but they average alpha * x_i: the clean image is x_i "
            "itself.",
        ),
        (
            lambda x_t, alpha, sigma, points: (
                torch.exp(-torch.cdist(x_t, alpha * points).square() / (2 * sigma**2)) @ points
            ),
            "The weights don't sum to 1: a mean divides by their sum. torch.softmax does "
            "both, exp and the division.",
        ),
        (
            lambda x_t, alpha, sigma, points: exact_x0(x_t, alpha, sigma, points) / alpha,
            "The weights are right; the points they average are clean already, so nothing is "
            "to be divided by alpha.",
        ),
        (
            _weighted(lambda x, a, s, p: -torch.cdist(x, a * p).square() / 2),
            "sigma is missing: the squared distance is divided by 2 sigma^2, so that strong "
            "noise makes the weights alike.",
        ),
        (
            _weighted(
                lambda x, a, s, p: -torch.cdist(x, a * p).square() / 2 * s**2,
            ),
            "/ 2 * sigma**2 divides by 2 and then multiplies: write / (2 * sigma**2).",
        ),
        (_by_weights, _UNDERFLOW),
        (
            lambda *case: _by_weights(*case).nan_to_num(),
            _UNDERFLOW,
        ),  # as with 1e-8 added to the sum
    ],
    "Right: that is what a perfect network would answer for these data.",
    dtype_hint="The values are right, but x_t and points came in float32, and section 5 "
    "mixes your answer with them, "
    "which PyTorch will not: end with .to(x_t.dtype).",
)
