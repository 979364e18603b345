"""Lesson 04's graders take a reader's own ways to write it (what every lesson's graders do:
test_grader.py).
"""

import math

import pytest
import torch
from contracts import AnswersContract

from course_lib import Schedule, gaussian_denoiser, points_denoiser, sample_ddim
from course_lib.diffusion import posterior
from course_lib.exercises import lesson_04 as lesson

BUGGED = [number for number in lesson.BUGS if number != 1]


# ---------------------------------------------------------------- a reader's own ways to write
# it


def test_schedule_by_a_loop():
    def by_loop(beta):
        alpha = [1.0]
        for b in beta.tolist():
            alpha.append(alpha[-1] * math.sqrt(1 - b))
        return torch.tensor(
            [alpha, [math.sqrt(max(1 - a * a, 0)) for a in alpha]], dtype=torch.float64
        )

    assert lesson.SCHEDULE(by_loop)
    alpha, sigma = lesson.SCHEDULE.solution(
        torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    )
    torch.testing.assert_close(alpha, Schedule.linear().alpha)
    torch.testing.assert_close(sigma, Schedule.linear().sigma)


def by_hand(x_t, alpha, sigma, points, largest_first: bool):
    """The denoiser point by point; without the largest exponent taken off first, all weights
    can underflow.
    """
    rows = []
    for x in x_t:
        exponents = torch.stack(
            [-(x - alpha * p).square().sum() / (2 * sigma**2) for p in points]
        )
        w = torch.exp(exponents - exponents.max() if largest_first else exponents)
        rows.append((w[:, None] * points).sum(0) / w.sum())
    return torch.stack(rows)


def test_exact_denoiser_by_hand():
    assert lesson.DENOISER(lambda *case: by_hand(*case, largest_first=True))

    def in_float64(x_t, alpha, sigma, points):
        return by_hand(x_t.double(), alpha, sigma, points.double(), largest_first=False).to(
            x_t.dtype
        )

    assert lesson.DENOISER(in_float64)
    schedule, points = Schedule.linear(), torch.randn(5, 2)
    x_t = torch.randn(3, 2)
    alpha, sigma = schedule.at(400, x_t)
    mine = lesson.DENOISER.solution(x_t, alpha, sigma, points)
    torch.testing.assert_close(
        mine, points_denoiser(schedule, points)(x_t, 400)[0], atol=1e-5, rtol=1e-5
    )


def test_exact_denoiser_that_underflows():
    """Section 5 takes it to t = 20, where on a third of the plane all weights are 0 in
    float32.
    """

    def with_a_little_more(x_t, alpha, sigma, points):
        w = torch.exp(-(torch.cdist(x_t, alpha * points) ** 2) / (2 * sigma**2))
        return w @ points / (w.sum(1, keepdim=True) + 1e-8)

    for naive in (lambda *case: by_hand(*case, largest_first=False), with_a_little_more):
        verdict = lesson.DENOISER(naive)
        assert verdict.state == "wrong"
        assert "torch.softmax" in verdict.text


def test_schedule_in_two_parts_or_in_numpy():
    def in_two(beta):
        alpha, sigma = lesson.SCHEDULE.solution(beta)
        return alpha, sigma

    assert "a tuple of 2 tensors; torch.stack" in lesson.SCHEDULE(in_two).text
    assert (
        "torch.from_numpy"
        in lesson.SCHEDULE(lambda beta: lesson.SCHEDULE.solution(beta).numpy()).text
    )


def test_paths_as_a_list():
    for exercise in (lesson.CARVE, lesson.HEUN):
        assert (
            "a list of 5 tensors; torch.stack"
            in exercise(lambda *case, e=exercise: list(e.solution(*case))).text
        )


def test_a_second_look_put_together_is_ddim():
    """alpha_s mean(x0) + sigma_s mean(eps) is the first stroke again, and the hint says why."""

    def put_together(denoise, schedule, x, times):
        path = [x]
        for t, s in zip(times, times[1:], strict=False):
            (x0, eps), (alpha, sigma) = denoise(path[-1], t), schedule.at(s, x)
            ahead = alpha * x0 + sigma * eps
            if s > 0:
                again = denoise(ahead, s)
                ahead = alpha * (x0 + again[0]) / 2 + sigma * (eps + again[1]) / 2
            path.append(ahead)
        return torch.stack(path)

    verdict = lesson.HEUN(put_together)
    assert verdict.state == "wrong"
    assert (
        "holds for the second call as well" in verdict.text
        and "*movement* from x_t" in verdict.text
    )


@pytest.mark.parametrize("name", ["CARVE", "HEUN"])
def test_samplers_by_hand(name):
    def ddim(denoise, schedule, x, times):
        path = [x]
        for t, s in zip(times, times[1:], strict=False):
            x0, eps = denoise(path[-1], t)
            path.append(float(schedule.alpha[s]) * x0 + float(schedule.sigma[s]) * eps)
        return torch.stack(path)

    def heun(denoise, schedule, x, times):
        path = [x]
        for t, s in zip(times, times[1:], strict=False):
            x, da, ds = (
                path[-1],
                schedule.alpha[s] - schedule.alpha[t],
                schedule.sigma[s] - schedule.sigma[t],
            )
            x0, eps = denoise(x, t)
            ahead = x + da * x0 + ds * eps
            if s > 0:
                again = denoise(ahead, s)
                ahead = x + da * (x0 + again[0]) / 2 + ds * (eps + again[1]) / 2
            path.append(ahead)
        return torch.stack(path)

    assert getattr(lesson, name)(ddim if name == "CARVE" else heun)


def test_carve_is_the_library_s_ddim():
    schedule, points, x = Schedule.cosine(), torch.randn(5, 2), torch.randn(6, 2)
    denoise, times = points_denoiser(schedule, points), schedule.times(9)
    path = lesson.carve(denoise, schedule, x, times)
    steps = [step.x_t for step in sample_ddim(denoise, schedule, x, times)]
    torch.testing.assert_close(path, torch.stack(steps))


def test_carving_a_normal_is_a_product():
    """On Normal data a DDIM stroke multiplies the distance from alpha * mean by one number."""
    schedule, mean, std = Schedule.flow(), 0.5, 0.4
    x, times = torch.randn(4, 1, dtype=torch.float64), schedule.times(4)
    factor = 1.0
    for t, s in zip(times[:-1], times[1:], strict=True):
        (a_t, s_t), (a_s, s_s) = (
            (schedule.alpha[k].item(), schedule.sigma[k].item()) for k in (t, s)
        )
        factor *= (a_s * a_t * std**2 + s_s * s_t) / (a_t**2 * std**2 + s_t**2)
    end = lesson.carve(gaussian_denoiser(schedule, mean, std), schedule, x, times)[-1]
    torch.testing.assert_close(end, mean + factor * (x - schedule.alpha[-1] * mean))


@pytest.mark.parametrize(("std", "bound"), [(1.0, "large"), (1e-6, "small")])
def test_variance_has_the_two_known_ends(std, bound):
    schedule = Schedule.linear()
    _, _, small, large = posterior(schedule, 600, 500)
    assert lesson.right_variance(schedule, 600, 500, std) == pytest.approx(
        {"small": small, "large": large}[bound]
    )


# ---------------------------------------------------------------- the gallery


def test_gallery_right():
    assert lesson.GALLERY(dict(lesson.GALLERY.key))
    assert sorted(lesson.GALLERY.key.values()) == sorted(lesson.BUGS)


def test_gallery_awaits():
    assert lesson.GALLERY({}).state == "awaits"
    assert lesson.GALLERY(dict.fromkeys(lesson.GALLERY.key, ...)).state == "awaits"


def test_gallery_names_the_moment():
    first = next(iter(lesson.GALLERY.key))
    verdict = lesson.GALLERY({**lesson.GALLERY.key, first: 2})
    assert verdict.state == "wrong"
    assert (
        verdict.text.startswith("7 of 8 right")
        and lesson.BUGS[2].sign in verdict.text
        and "mean" in verdict.text
    )
    assert "no line" in lesson.GALLERY({**lesson.GALLERY.key, first: 9}).text


def test_right_sampler_has_the_right_moments():
    found = lesson.moments(lesson.broken_sampler(1, n=4000))
    assert found["mean"] == pytest.approx(0, abs=0.05)
    assert found["spread"] == pytest.approx(1, abs=0.05)
    assert found["mode width"] == pytest.approx(1, abs=0.1)
    assert found["correlation"] == pytest.approx(0, abs=0.05)
    assert found["centre"] == pytest.approx(1, abs=0.2)


# what each bug does, as its `sign` says, and what it leaves alone
SIGNS = {
    2: lambda m: m["mean"] > 1,
    3: lambda m: m["mode width"] < 0.6 and m["centre"] > 2,
    4: lambda m: (
        m["mode width"] > 1.3 and abs(m["spread"] - 1) < 0.05 and abs(m["centre"] - 1) < 0.2
    ),
    5: lambda m: (
        m["centre"] > 1.7 and abs(m["mode width"] - 1) < 0.15 and m["correlation"] < 0.5
    ),
    6: lambda m: m["spread"] < 0.75 and m["mode width"] > 0.6,
    7: lambda m: m["correlation"] > 0.99,
    8: lambda m: m["spread"] > 1.2 and m["centre"] < 0.2,
}


@pytest.mark.parametrize("bug", BUGGED)
@pytest.mark.parametrize("seed", [0, 3])
def test_each_bug_shows_its_sign(bug, seed):
    found = lesson.moments(lesson.broken_sampler(bug, seed=seed))
    assert SIGNS[bug](found), found


@pytest.mark.parametrize("bug", BUGGED)
def test_each_sign_belongs_to_one_bug(bug):
    others = [
        lesson.moments(lesson.broken_sampler(other)) for other in lesson.BUGS if other != bug
    ]
    assert not any(SIGNS[bug](found) for found in others)


# ---------------------------------------------------------------- a table of slips

SCHEDULE, DENOISER, CARVE, HEUN, VARIANCE = (
    lesson.SCHEDULE,
    lesson.DENOISER,
    lesson.CARVE,
    lesson.HEUN,
    lesson.VARIANCE,
)


def bars(beta):
    return torch.cat([torch.ones(1), torch.cumprod(1 - beta, 0)])


def walk(look, move=lambda x0, eps, x, plan, t, s: plan.alpha[s] * x0 + plan.sigma[s] * eps):
    """A reader's DDIM with another look, or another move."""

    def carve(denoise, schedule, x, times):
        path = [x]
        for i in range(len(times) - 1):
            t, s = times[i], times[i + 1]
            x0, eps = look(denoise, x, t, s)
            x = move(x0, eps, x, schedule, t, s)
            path.append(x)
        return torch.stack(path)

    return carve


def right_look(denoise, x, t, s):
    return denoise(x, t)


def pops(denoise, schedule, x, times):
    path, t = [x], times.pop(0)
    while times:
        s = times.pop(0)
        x0, eps = denoise(x, t)
        x = schedule.alpha[s] * x0 + schedule.sigma[s] * eps
        path.append(x)
        t = s
    return torch.stack(path)


def never_updated(denoise, schedule, x, times):
    path = [x]
    for t, s in zip(times, times[1:], strict=False):
        x0, eps = denoise(x, t)
        path.append(schedule.alpha[s] * x0 + schedule.sigma[s] * eps)
    return torch.stack(path)


def no_last_noise(denoise, schedule, x, times):
    path = walk(right_look)(denoise, schedule, x, times)
    path[-1] = denoise(path[-2], times[-2])[0]
    return path


def divided(denoise, schedule, x, times):
    """x0 from eps, also where alpha is 0."""

    def look(denoise, x, t, s):
        eps = denoise(x, t)[1]
        return (x - schedule.sigma[t] * eps) / schedule.alpha[t], eps

    return walk(look)(denoise, schedule, x, times)


def asked_once(denoise, schedule, x, times):
    (x0, eps), path = denoise(x, times[0]), [x]
    for s in times[1:]:
        path.append(schedule.alpha[s] * x0 + schedule.sigma[s] * eps)
    return torch.stack(path)


def two_looks(average, where=lambda x, ahead: ahead):
    """A reader's Heun with another use of the two looks."""

    def carve_heun(denoise, schedule, x, times):
        path = [x]
        for t, s in zip(times, times[1:], strict=False):
            da = schedule.alpha[s] - schedule.alpha[t]
            ds = schedule.sigma[s] - schedule.sigma[t]
            one = denoise(x, t)
            ahead = x + da * one[0] + ds * one[1]
            if s > 0:
                x0, eps = average(one, denoise(where(x, ahead), s))
                ahead = x + da * x0 + ds * eps
            x = ahead
            path.append(x)
        return torch.stack(path)

    return carve_heun


def swapped_heun(throughout):
    """A reader's Heun that unpacks schedule.at the wrong way round, here or everywhere."""

    def carve_heun(denoise, schedule, x, times):
        path = [x]
        for t, s in zip(times, times[1:], strict=False):
            a, b = schedule.at(t, x), schedule.at(s, x)
            x0, eps = denoise(x, t)
            ahead = b[1] * x0 + b[0] * eps
            if s > 0:
                a, b = (a[::-1], b[::-1]) if throughout else (a, b)
                two = denoise(ahead, s)
                ahead = x + (b[0] - a[0]) * (x0 + two[0]) / 2
                ahead = ahead + (b[1] - a[1]) * (eps + two[1]) / 2
            x = ahead
            path.append(x)
        return torch.stack(path)

    return carve_heun


def mean_of(one, two):
    return (one[0] + two[0]) / 2, (one[1] + two[1]) / 2


def variance(schedule, t, s, std, which=1, at=None):
    a, b = (
        table[t if at is None else at].item() for table in (schedule.alpha, schedule.sigma)
    )
    c, small = posterior(schedule, t, s)[which], posterior(schedule, t, s)[2]
    return small + c**2 * std**2 * b**2 / (a**2 * std**2 + b**2)


def in_place(x_t, alpha, sigma, points):
    points *= alpha
    return torch.softmax(-(torch.cdist(x_t, points) ** 2) / 2 / sigma**2, 1) @ (points / alpha)


SLIPS = [
    (SCHEDULE, lambda b: torch.stack([bars(b), 1 - bars(b)]), "two square roots are missing"),
    (SCHEDULE, lambda b: torch.stack([bars(b), (1 - bars(b)).sqrt()]), "alpha-bar, the prod"),
    (SCHEDULE, lambda b: torch.stack([bars(b).sqrt(), 1 - bars(b)]), "its own square"),
    (
        SCHEDULE,
        lambda b: torch.stack([bars(b), (1 - bars(b) ** 2).sqrt()]),
        "alpha is its square root",
    ),
    (
        SCHEDULE,
        lambda b: torch.stack([bars(b).sqrt(), (1 - bars(b)).sqrt()])[:, 1:],
        "index 0",
    ),
    (SCHEDULE, lambda b: torch.stack([(1 - bars(b)).sqrt(), bars(b).sqrt()]), "exchanged"),
    (SCHEDULE, lambda b: torch.stack([bars(b).sqrt(), (1 - bars(b)).sqrt()], 1), "in columns"),
    (
        SCHEDULE,
        lambda b: torch.stack([bars(b).sqrt(), math.sqrt(1 - bars(b))]),
        "a tensor of many",
    ),
    (DENOISER, in_place, "writes into its own argument, `points`"),
    (
        DENOISER,
        lambda x, a, s, p: torch.exp(-(torch.cdist(x, a * p) ** 2) / (2 * s**2)) @ p,
        "The weights don't sum to 1",
    ),
    (
        DENOISER,
        lambda x, a, s, p: torch.softmax(-(torch.cdist(x, a * p) ** 2) / 2 * s**2, 1) @ p,
        "divides by 2 and then multiplies",
    ),
    (
        DENOISER,
        lambda x, a, s, p: torch.softmax(-((x - a * p) ** 2) / (2 * s**2), 1) @ p,
        "two shapes don't fit",
    ),
    (
        DENOISER,
        lambda x, a, s, p: torch.softmax(-(torch.cdist(x, a * p) ** 2) / (2 * s**2), 1) * p,
        "two shapes don't fit",
    ),
    (
        DENOISER,
        lambda x, a, s, p: (
            torch.softmax(-(torch.cdist(x, a * p) ** 2) / (2 * torch.sqrt(1 - a**2) ** 2), 1)
            @ p
        ),
        "x ** 0.5",
    ),
    (CARVE, walk(lambda denoise, x, t, s: denoise(x, s)), "denoise(x, s) is told"),
    (CARVE, walk(lambda denoise, x, t, s: denoise(x, max(s, 1))), "max(s, 1)"),
    (
        CARVE,
        walk(right_look, lambda x0, eps, x, p, t, s: p.alpha[t] * x0 + p.sigma[t] * eps),
        "The step ends at s",
    ),
    # seen where times rise alone, as in the walk to the noise
    (CARVE, no_last_noise, "off by up to"),
    (
        CARVE,
        lambda *case: walk(right_look)(*case[:3], sorted(case[3], reverse=True)),
        "off by up to",
    ),
    (CARVE, divided, "carve gives nan"),
    (CARVE, never_updated, "x is never updated"),
    (CARVE, asked_once, "asked once, before the loop"),
    (CARVE, pops, "writes into its own argument, `times`"),
    (
        CARVE,
        walk(
            right_look,
            lambda x0, eps, x, p, t, s: p.alpha[s] * x0 + p.sigma[s] * torch.randn_like(x),
        ),
        "fresh noise is drawn",
    ),
    (
        CARVE,
        walk(
            right_look,
            lambda x0, eps, x, p, t, s: (
                p.alpha[s] * x0
                + p.sigma[s]
                * torch.randn(x.shape, generator=torch.Generator().manual_seed(t)).to(x)
            ),
        ),
        "Fresh noise is drawn, the same in each call",
    ),
    (HEUN, swapped_heun(True), "exchanged throughout"),
    (HEUN, swapped_heun(False), "exchanged where the first step ends"),
    (
        HEUN,
        two_looks(mean_of, lambda x, ahead: ahead + torch.randn_like(x)),
        "Two calls give two paths",
    ),
    (
        HEUN,
        two_looks(
            lambda one, two: (
                two[0],
                torch.randn(two[1].shape, generator=torch.Generator().manual_seed(1)),
            )
        ),
        "Fresh noise is drawn, the same in each call",
    ),
    (
        CARVE,
        walk(right_look, lambda x0, eps, x, p, t, s: p.sigma[s] * x0 + p.alpha[s] * eps),
        "the other way round",
    ),
    (
        CARVE,
        walk(right_look, lambda x0, eps, x, p, t, s: p.alpha[s] * x0 + p.sigma[t] * eps),
        "the noise still at t",
    ),
    (
        CARVE,
        walk(right_look, lambda x0, eps, x, p, t, s: p.alpha[t] * x0 + p.sigma[s] * eps),
        "the image isn't brought up to alpha[s]",
    ),
    (
        CARVE,
        walk(
            lambda denoise, x, t, s: (denoise(x, t), 0.5), lambda x0, eps, x, p, t, s: 0.5 * x0
        ),
        "is unpacked, x0, eps",
    ),
    (HEUN, two_looks(lambda one, two: (mean_of(one, two)[0], one[1])), "the noises are not"),
    (HEUN, two_looks(lambda one, two: (one[0], mean_of(one, two)[1])), "the images are not"),
    (HEUN, two_looks(mean_of, where=lambda x, ahead: x), "The second call is at x again"),
    (HEUN, two_looks(lambda one, two: two), "Only the second call is used"),
    (HEUN, two_looks(lambda one, two: one), "That is DDIM"),
    (HEUN, two_looks(lambda one, two: (one[0] + two[0], one[1] + two[1])), "divide by 2"),
    (VARIANCE, lambda *case: variance(*case, which=0), "c_t is x_t's factor"),
    (VARIANCE, lambda plan, t, s, std: variance(plan, t, s, std, at=s), "is taken at s here"),
    (VARIANCE, lambda *case: variance(*case) ** 0.5, "the standard deviation"),
    (
        VARIANCE,
        lambda plan, t, s, std: torch.sqrt(variance(plan, t, s, std)),
        "Of a number x take x ** 0.5",
    ),
    (VARIANCE, lambda plan, t, s, std: posterior(plan, t, s)[2], "That is beta-tilde"),
    (VARIANCE, lambda plan, t, s, std: posterior(plan, t, s)[3], "That is beta, right only"),
    (VARIANCE, lambda *case: 1.001 * variance(*case), "0.1 % of the right"),
]


def in_float32(beta):
    return torch.stack([bars(beta.float()).sqrt(), (1 - bars(beta.float())).sqrt()])


def roots_first(beta):
    alpha = torch.cat([torch.ones(1), torch.cumprod((1 - beta.float()).sqrt(), 0)])
    return torch.stack([alpha, (1 - alpha**2).sqrt()])


def through_x_t(x0, eps, x, plan, t, s):
    """The step as the paper writes it, from x_t."""
    a_t, a_s = plan.alpha[t], plan.alpha[s]
    if a_t == 0:
        return a_s * x0 + plan.sigma[s] * eps
    return a_s / a_t * (x - plan.sigma[t] * eps) + plan.sigma[s] * eps


RIGHT = [
    (SCHEDULE, in_float32),
    (SCHEDULE, roots_first),
    (SCHEDULE, lambda b: torch.stack([torch.exp(bars(b).log() / 2), torch.sqrt(1 - bars(b))])),
    (
        DENOISER,
        lambda x, a, s, p: (
            torch.softmax(-((x[:, None] - a * p[None]) ** 2).sum(-1) / 2 / s / s, dim=-1) @ p
        ),
    ),
    (
        DENOISER,  # the square multiplied out: what doesn't depend on the point drops out
        lambda x, a, s, p: torch.einsum(
            "bn,nd->bd", ((x @ p.T * a - a * a * (p * p).sum(1) / 2) / s**2).softmax(1), p
        ),
    ),
    (
        DENOISER,
        lambda x, a, s, p: (
            torch.softmax(-(torch.cdist(x.double(), a * p.double()) ** 2) / (2 * s**2), 1)
            @ p.double()
        ).float(),
    ),
    (CARVE, walk(right_look)),
    (CARVE, walk(right_look, through_x_t)),
    (
        CARVE,
        walk(
            right_look,
            lambda x0, eps, x, p, t, s: (
                x + (p.alpha[s] - p.alpha[t]) * x0 + (p.sigma[s] - p.sigma[t]) * eps
            ),
        ),
    ),
    (CARVE, lambda denoise, plan, x, times: pops(denoise, plan, x, list(times))),
    (HEUN, two_looks(mean_of)),
    (HEUN, lambda d, plan, x, times: two_looks(mean_of)(d, plan, x.clone(), list(times))),
    (VARIANCE, variance),
    (
        VARIANCE,
        lambda plan, t, s, std: torch.tensor(variance(plan, t, s, std)),
    ),
    (
        VARIANCE,
        lambda plan, t, s, std: (
            posterior(plan, t, s)[2]
            + posterior(plan, t, s)[1] ** 2
            / (plan.alpha[t] ** 2 / plan.sigma[t] ** 2 + std**-2)
        ),
    ),
]


class TestAnswers(AnswersContract):
    """The usual slips, and right answers in other words."""

    slips, right = SLIPS, RIGHT
