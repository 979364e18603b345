"""Lesson 04's graders take a reader's own ways to write it (what every lesson's graders do:
test_grader.py).
"""

import math

import pytest
import torch

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
        "holds for the second look as well" in verdict.text
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
