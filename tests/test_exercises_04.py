"""Lesson 04's graders take a reader's own ways to write it (what every lesson's graders do: test_grader.py)."""

import math

import pytest
import torch

from course_lib import Schedule, gaussian_denoiser, points_denoiser, sample_ddim
from course_lib.exercises import diffusion as lesson

BUGGED = [number for number in lesson.BUGS if number != 1]


# ---------------------------------------------------------------- a reader's own ways to write it


def test_schedule_by_a_loop():
    def by_loop(beta):
        alpha = [1.0]
        for b in beta.tolist():
            alpha.append(alpha[-1] * math.sqrt(1 - b))
        return torch.tensor([alpha, [math.sqrt(max(1 - a * a, 0)) for a in alpha]], dtype=torch.float64)

    assert lesson.SCHEDULE(by_loop)
    alpha, sigma = lesson.SCHEDULE.solution(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    torch.testing.assert_close(alpha, Schedule.linear().alpha)
    torch.testing.assert_close(sigma, Schedule.linear().sigma)


def test_exact_denoiser_by_hand():
    def by_hand(x_t, alpha, sigma, points):
        rows = []
        for x in x_t:
            w = torch.stack([torch.exp(-(x - alpha * p).square().sum() / (2 * sigma**2)) for p in points])
            rows.append((w[:, None] * points).sum(0) / w.sum())
        return torch.stack(rows)

    assert lesson.DENOISER(by_hand)
    schedule, points = Schedule.linear(), torch.randn(5, 2)
    x_t = torch.randn(3, 2)
    alpha, sigma = schedule.at(400, x_t)
    mine = lesson.DENOISER.solution(x_t, alpha, sigma, points)
    torch.testing.assert_close(mine, points_denoiser(schedule, points)(x_t, 400)[0], atol=1e-5, rtol=1e-5)


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
            x, da, ds = path[-1], schedule.alpha[s] - schedule.alpha[t], schedule.sigma[s] - schedule.sigma[t]
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
        (a_t, s_t), (a_s, s_s) = ((schedule.alpha[k].item(), schedule.sigma[k].item()) for k in (t, s))
        factor *= (a_s * a_t * std**2 + s_s * s_t) / (a_t**2 * std**2 + s_t**2)
    end = lesson.carve(gaussian_denoiser(schedule, mean, std), schedule, x, times)[-1]
    torch.testing.assert_close(end, mean + factor * (x - schedule.alpha[-1] * mean))


@pytest.mark.parametrize(("std", "bound"), [(1.0, "large"), (1e-6, "small")])
def test_variance_has_the_two_known_ends(std, bound):
    schedule = Schedule.linear()
    _, _, small, large = lesson._posterior(schedule, 600, 500)
    assert lesson.right_variance(schedule, 600, 500, std) == pytest.approx({"small": small, "large": large}[bound])


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
    assert verdict.text.startswith("7 of 8 right") and lesson.BUGS[2].sign in verdict.text and "mean" in verdict.text
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
    4: lambda m: m["mode width"] > 1.3 and abs(m["spread"] - 1) < 0.05 and abs(m["centre"] - 1) < 0.2,
    5: lambda m: m["centre"] > 1.7 and abs(m["mode width"] - 1) < 0.15 and m["correlation"] < 0.5,
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
    others = [lesson.moments(lesson.broken_sampler(other)) for other in lesson.BUGS if other != bug]
    assert not any(SIGNS[bug](found) for found in others)
