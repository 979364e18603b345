"""Lesson 04's fourth exercise: how uncertain x_s is when x_t is known."""

from collections.abc import Callable

from course_lib.diffusion.samplers import posterior
from course_lib.diffusion.schedule import Schedule
from course_lib.exercises.grader import Exercise

# ---- 4: the right variance


def right_variance(schedule: Schedule, t: int, s: int, std: float) -> float:
    """Var[x_s | x_t] for data Normal(0, std^2), by the law of total variance."""
    _, c_0, small, _ = posterior(schedule, t, s)
    return small + c_0**2 * _unknown(schedule, t, std)


def _unknown(schedule: Schedule, t: int, std: float) -> float:
    """Var[x_0 | x_t] for data Normal(0, std^2)."""
    alpha, sigma = schedule.alpha[t].item(), schedule.sigma[t].item()
    return std**2 * sigma**2 / (alpha**2 * std**2 + sigma**2)


def _variance_like(rule: Callable) -> Callable:
    """rule(c_0, small, large, unknown, std) as a wrong turn."""

    def wrong(schedule, t, s, std):
        _, c_0, small, large = posterior(schedule, t, s)
        return rule(c_0, small, large, _unknown(schedule, t, std), std)

    return wrong


def _times_of(schedule: Schedule, t: int) -> tuple[float, float]:
    return schedule.alpha[t].item(), schedule.sigma[t].item()


def _unrooted(schedule, t, s, std):
    _, c_0, small, _ = posterior(schedule, t, s)
    alpha, sigma = _times_of(schedule, t)
    return small + c_0**2 * std**2 * sigma / (alpha * std**2 + sigma)


def _with_c_t(schedule, t, s, std):
    c_t, _, small, _ = posterior(schedule, t, s)
    return small + c_t**2 * _unknown(schedule, t, std)


def _seen_at_s(schedule, t, s, std):
    _, c_0, small, _ = posterior(schedule, t, s)
    return small + c_0**2 * _unknown(schedule, s, std)


VARIANCE = Exercise(
    "right_variance",
    right_variance,
    [
        (Schedule.linear(), t, s, std)
        for t, s in ((1000, 900), (600, 500), (300, 100))
        for std in (0.2, 0.5, 2.0)
    ],
    [
        (
            _variance_like(lambda c_0, small, large, unknown, std: small),
            "That is beta-tilde, right only where x_0 is known. It isn't: add what the "
            "denoiser can't know, "
            "c_0^2 Var[x_0 | x_t].",
        ),
        (
            _variance_like(lambda c_0, small, large, unknown, std: large),
            "That is beta, right only for data of spread 1.",
        ),
        (
            _variance_like(lambda c_0, small, large, unknown, std: small + c_0 * unknown),
            "x_0 enters the mean as c_0 * x_0, so its variance enters with c_0 *squared*.",
        ),
        (
            _variance_like(lambda c_0, small, large, unknown, std: small + unknown),
            "Var[x_0 | x_t] is right, but only c_0 * x_0 enters x_s: its variance comes with "
            "c_0^2.",
        ),
        (
            _variance_like(lambda c_0, small, large, unknown, std: small + c_0**2 * std**2),
            "That uses std^2, what was unknown before x_t was seen. Having seen it, less is: "
            "std^2 sigma^2 / (alpha^2 std^2 + sigma^2).",
        ),
        (
            _unrooted,
            "Nearly: in Var[x_0 | x_t] both alpha and sigma are squared.",
        ),
        (
            _variance_like(
                lambda c_0, small, large, unknown, std: (small + c_0**2 * unknown) ** 0.5
            ),
            "That is the standard deviation; the variance is asked for.",
        ),
        (
            _with_c_t,
            "c_t is x_t's factor, and x_t is known. What is not known is x_0, whose factor is "
            "c_0: posterior gives c_t first, then c_0.",
        ),
        (
            _seen_at_s,
            "Var[x_0 | x_t] is taken at s here. What has been seen is x_t: alpha and sigma of "
            "t.",
        ),
        (
            _variance_like(lambda c_0, small, large, unknown, std: large + c_0**2 * unknown),
            "The second part is right. The first is `small`, what is uncertain even if x_0 "
            "were known; `large` counts some of the second part already.",
        ),
        (
            _variance_like(lambda c_0, small, large, unknown, std: c_0**2 * unknown),
            "That is the second part alone: even where x_0 is known there is `small`.",
        ),
    ],
    "Right: no dial is needed where this is known.",
    rtol=1e-5,
    advice="small + c_0^2 Var[x_0 | x_t], with alpha and sigma of t",
)
