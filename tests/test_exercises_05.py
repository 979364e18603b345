"""Lesson 05's graders against other ways to say the same (what every lesson's graders do:
test_grader.py).
"""

import math

import pytest
import torch

from course_lib import Schedule, gaussian_denoiser
from course_lib.diffusion import posterior
from course_lib.draws import Draws
from course_lib.exercises import lesson_05 as lesson
from course_lib.layers import time_embedding
from course_lib.recipes.diffusion import drop_labels


def test_floor_is_the_exact_denoiser_s_error():
    plan, t, s = Schedule.linear(), 300, 0.7
    generator = torch.Generator().manual_seed(0)
    x0 = s * torch.randn(200_000, 1, generator=generator, dtype=torch.float64)
    eps = torch.randn(200_000, 1, generator=generator, dtype=torch.float64)
    guess = gaussian_denoiser(plan, 0.0, s)(plan.add_noise(x0, t, eps), t)[1]
    floor = lesson.FLOOR.solution(plan.alpha[t].item() ** 2, torch.tensor(s**2)).item()
    assert abs((guess - eps).square().mean().item() - floor) < 0.005
    assert abs((guess.square().mean() + (guess - eps).square().mean()).item() - 1) < 0.01


def test_embedding_is_the_formula():
    def by_hand(t, dim):
        rates = [10_000.0 ** (-j / (dim // 2)) for j in range(dim // 2)]
        return torch.tensor(
            [[f(float(n) * r) for f in (math.cos, math.sin) for r in rates] for n in t]
        )

    assert lesson.TIME_EMBEDDING(by_hand)
    assert lesson.TIME_EMBEDDING.solution is time_embedding


def test_loss_is_algorithm_1():
    alpha, sigma, x0, t, eps = lesson.NOISE_LOSS.cases[0][1:]
    mine = lesson.NOISE_LOSS.solution(
        lambda x_t, t: torch.zeros_like(x_t), alpha, sigma, x0, t, eps
    )
    torch.testing.assert_close(mine, torch.stack([e.square().sum() / 16 for e in eps]))
    perfect = lesson.NOISE_LOSS.solution(
        lambda x_t, t: (x_t - alpha[t, None, None, None] * x0) / sigma[t, None, None, None],
        alpha,
        sigma,
        x0,
        t,
        eps,
    )
    assert perfect.max() < 1e-10


def per_image(predict, alpha, sigma, x0, t, eps):
    """noise_loss, image by image."""
    losses = []
    for i in range(len(x0)):
        x_t = alpha[t[i]] * x0[i : i + 1] + sigma[t[i]] * eps[i : i + 1]
        losses.append((predict(x_t, t[i : i + 1]) - eps[i : i + 1]).square().mean())
    return losses


def test_loss_lets_gradients_through():
    assert lesson.NOISE_LOSS(lambda *case: torch.stack(per_image(*case)))
    blind = [
        lambda *case: torch.tensor([loss.item() for loss in per_image(*case)]),
        lambda *case: torch.stack(per_image(*case)).detach(),
        lambda *case: torch.from_numpy(torch.stack(per_image(*case)).numpy()),
        torch.no_grad()(lesson.NOISE_LOSS.solution),
        lambda predict, *case: lesson.NOISE_LOSS.solution(
            lambda *a: predict(*a).detach(), *case
        ),
    ]
    for attempt in blind:
        verdict = lesson.NOISE_LOSS(attempt)
        assert verdict.state == "wrong"
        assert verdict.text.startswith("No gradient comes out of this loss")


def test_embedding_takes_what_is_no_integer():
    """The one-pixel net has its greys embedded, too: a table looked up by t would stop there."""
    assert (
        lesson.TIME_EMBEDDING(lambda t, dim: time_embedding(torch.arange(1001), dim)[t]).state
        == "wrong"
    )


def test_drop_is_the_recipe_s():
    labels = torch.arange(1000) % 10
    u = torch.rand(1000, generator=torch.Generator().manual_seed(3))
    dropped = drop_labels(labels, 10, Draws(3))
    torch.testing.assert_close(lesson.DROP_LABELS.solution(labels, 10, u), dropped)


@pytest.mark.parametrize(("t", "s"), [(1000, 980), (500, 499), (40, 20), (20, 0)])
def test_reverse_step_is_the_library_s_posterior(t, s):
    plan = Schedule.linear()
    x_t, eps, z = (torch.randn(2, 1, 4, 4, dtype=torch.float64) for _ in range(3))
    x0 = (x_t - plan.sigma[t] * eps) / plan.alpha[t]
    c_t, c_0, small, _ = posterior(plan, t, s)
    mine = lesson.REVERSE_STEP.solution(
        x_t, eps, z, plan.alpha[t].item() ** 2, plan.alpha[s].item() ** 2
    )
    torch.testing.assert_close(
        mine, c_t * x_t + c_0 * x0 + small**0.5 * z, rtol=1e-9, atol=1e-9
    )


def test_drop_by_a_float_mask():
    verdict = lesson.DROP_LABELS(
        lambda labels, null, u: (u < 0.1).float() * null + (u >= 0.1).float() * labels
    )
    assert verdict.state == "wrong"
    assert "integers" in verdict.text
    assert lesson.DROP_LABELS(lambda labels, null, u: labels.masked_fill(u < 0.1, null))


def test_reverse_step_s_spread_is_named_by_beta_tilde():
    wrong, _ = lesson.REVERSE_STEP.wrong_turns[0]
    assert "sqrt(beta-tilde)" in lesson.REVERSE_STEP(wrong).text


def test_guidance_by_its_readers():
    assert lesson.GUIDANCE(torch.lerp)
    assert lesson.GUIDANCE(lambda uncond, cond, scale: uncond + scale * (cond - uncond))

    def branches(uncond, cond, scale):
        if scale == 1:
            return cond
        return uncond + scale * (cond - uncond)

    def by_float(uncond, cond, scale):
        return uncond + float(scale) * (cond - uncond)

    def by_item(uncond, cond, scale):
        return uncond + torch.as_tensor(scale).item() * (cond - uncond)

    for attempt in (branches, by_float, by_item):
        verdict = lesson.GUIDANCE(attempt)
        assert verdict.state == "wrong"
        assert "scale may be a tensor [B, 1, 1, 1]" in verdict.text


def test_guidance_ends():
    uncond, cond = torch.randn(3), torch.randn(3)
    assert torch.equal(lesson.GUIDANCE.solution(uncond, cond, 0.0), uncond)
    assert torch.equal(lesson.GUIDANCE.solution(uncond, cond, 1.0), cond)
