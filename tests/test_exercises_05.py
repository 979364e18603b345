"""Lesson 05's graders against other ways to say the same (what every lesson's graders do:
test_grader.py).
"""

import math

import pytest
import torch
from contracts import AnswersContract

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


# ---------------------------------------------------------------- a table of slips

EMBED, LOSS, FLOOR, DROP, STEP, GUIDE = (
    lesson.TIME_EMBEDDING,
    lesson.NOISE_LOSS,
    lesson.FLOOR,
    lesson.DROP_LABELS,
    lesson.REVERSE_STEP,
    lesson.GUIDANCE,
)


def waves(exponent, join=lambda a: torch.cat([a.cos(), a.sin()], dim=1)):
    """A reader's embedding, in float32 all the way."""
    return lambda t, dim: join(
        t[:, None] * 10_000 ** exponent(torch.arange(dim // 2), dim // 2)
    )


def loss(
    signal="alpha[t]", noise="sigma[t]", fed="x_t", label="eps", last=".mean(dim=(1, 2, 3))"
):
    """A reader's Algorithm 1 from its pieces of text."""
    text = (
        "lambda predict, alpha, sigma, x0, t, eps, v=lambda a: a.reshape(-1, 1, 1, 1): (\n"
        f"    (lambda x_t: (predict({fed}, t) - {label}).square(){last})\n"
        f"    (v({signal}) * x0 + v({noise}) * eps)\n)"
    )
    return eval(text, {"torch": torch})  # our own text, to keep the table readable


def bare(axes):
    """The factors shaped by an index of None."""

    def attempt(predict, alpha, sigma, x0, t, eps):
        x_t = alpha[t][axes] * x0 + sigma[t][axes] * eps
        return ((predict(x_t, t) - eps) ** 2).mean(dim=(1, 2, 3))

    return attempt


def step(spread, gain="kept ** 0.5", share="(1 - kept) / (1 - b_t) ** 0.5"):
    """A reader's line 4 from its pieces of text; b_t and b_s are alpha-bar."""
    text = f"lambda x_t, eps, z, b_t, b_s, kept: (x_t - {share} * eps) / ({gain}) + ({spread}) * z"
    line = eval(text, {"torch": torch})
    return lambda x_t, eps, z, b_t, b_s: line(x_t, eps, z, b_t, b_s, b_t / b_s)


def ddim(x_t, eps, z, b_t, b_s):
    return b_s**0.5 * (x_t - (1 - b_t) ** 0.5 * eps) / b_t**0.5 + (1 - b_s) ** 0.5 * eps


def ddim_of(fresh):
    """A reader's DDIM that puts back noise of its own."""
    return lambda x_t, eps, z, b_t, b_s: (
        b_s**0.5 * (x_t - (1 - b_t) ** 0.5 * eps) / b_t**0.5 + (1 - b_s) ** 0.5 * fresh(x_t)
    )


def noise(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def swapped_ddim(read, put):
    """A reader's DDIM with alpha and sigma the wrong way round."""

    def step(x_t, eps, z, b_t, b_s):
        a_t, s_t, a_s, s_s = b_t**0.5, (1 - b_t) ** 0.5, b_s**0.5, (1 - b_s) ** 0.5
        x0 = (x_t - a_t * eps) / s_t if read else (x_t - s_t * eps) / a_t
        return s_s * x0 + a_s * eps if put else a_s * x0 + s_s * eps

    return step


def drop_in_place(labels, null_class, u):
    labels[u < 0.1] = null_class
    return labels


def drop_a_copy(labels, null_class, u):
    labels = labels.clone()
    labels[u < 0.1] = null_class
    return labels


TILDE = "((1 - kept) * (1 - b_s) / (1 - b_t)) ** 0.5"
SLIPS = [
    (EMBED, waves(lambda j, h: j / h), "a minus is missing in the exponent"),
    (EMBED, lambda t, dim: waves(lambda j, h: j / h)(t.double(), dim), "a minus is missing"),
    (EMBED, waves(lambda j, h: -j / (h - 1)), "division by dim / 2 - 1"),
    (EMBED, waves(lambda j, h: -j / (2 * h)), "j is divided by dim"),
    (EMBED, waves(lambda j, h: -2 * j / h), "The exponents reach 2"),
    (
        EMBED,
        waves(lambda j, h: -j / h, lambda a: torch.cat([a.sin(), a.cos()], dim=1)),
        "The sines come first",
    ),
    (
        EMBED,
        waves(lambda j, h: -j / h, lambda a: torch.stack([a.sin(), a.cos()], -1).flatten(1)),
        "column by column",
    ),
    (
        EMBED,
        waves(lambda j, h: -j / h, lambda a: torch.cat([a.cos(), a.sin()])),
        "stacked as rows",
    ),
    (EMBED, lambda t, dim: t * 10_000 ** (-torch.arange(dim // 2) / (dim // 2)), "t[:, None]"),
    (LOSS, loss(last=".mean(dim=(1, 2, 3)).sqrt()"), "A root is taken of the mean"),
    (LOSS, loss(signal="alpha[t].sqrt()"), "A root too many"),
    (LOSS, loss(signal="alpha[t].sqrt()", noise="sigma[t].sqrt()"), "A root too many"),
    (LOSS, loss(noise="(1 - alpha[t]).sqrt()"), "1 - alpha is no variance"),
    (LOSS, loss(signal="alpha[t - 1]", noise="sigma[t - 1]"), "time t - 1"),
    (LOSS, loss(signal="alpha[t - 1]"), "time t - 1"),
    (LOSS, loss(label="torch.randn_like(eps)"), "noise is drawn inside"),
    (LOSS, loss(fed="x0"), "fed the clean image"),
    (LOSS, loss(signal="sigma[t]", noise="alpha[t]"), "The tables are exchanged"),
    (LOSS, loss(label="x0"), "compares with the image"),
    (LOSS, loss(last=".mean()"), "averages over the whole batch"),
    (LOSS, loss(signal="alpha[t] ** 2", noise="sigma[t] ** 2"), "are variances"),
    (LOSS, bare((..., None, None)), "alpha[t][:, None, None, None]"),
    (LOSS, bare((...,)), "multiplying the last axis"),
    (LOSS, lambda predict, alpha, sigma, x0, t, eps: predict(x0), "predict(x_t, t)"),
    (FLOOR, lambda b, s2: (1 - b) / (b * s2 + 1 - b), "the mean square of the best guess"),
    (FLOOR, lambda b, s2: s2 * (1 - b) / (b * s2 + 1 - b), "the floor for the picture"),
    (FLOOR, lambda b, s2: b**2 * s2 / (b**2 * s2 + 1 - b**2), "alpha_bar is squared here"),
    (FLOOR, lambda b, s2: b * s2**2 / (b * s2**2 + 1 - b), "here it was squared"),
    (FLOOR, lambda b, s2: b * s2 / (s2 + 1 - b), "compare each factor"),
    (FLOOR, lambda b, s2: b * s2.mul_(1.0) / s2.mul_(b).add_(1 - b), "writes into its own"),
    (FLOOR, lambda b, s2: torch.sqrt(b) * s2, "Of a number x take x ** 0.5"),
    (DROP, lambda labels, null, u: torch.where(u < 0.1, 10, labels), "The 10 is written in"),
    (DROP, lambda labels, null, u: null if u < 0.1 else labels, "chooses image by image"),
    (DROP, drop_in_place, "writes into its own argument, `labels`"),
    (
        DROP,
        lambda labels, null, u: torch.where(torch.rand(len(labels)) < 0.1, null, labels),
        "u is the chance",
    ),
    (DROP, lambda labels, null, u: torch.where(u < 0.1, labels, null), "inverted"),
    (DROP, lambda labels, null, u: labels * (u >= 0.1), "0 is a class"),
    (DROP, lambda labels, null, u: torch.where(u < 0.1, null, labels.float()), "integers"),
    (STEP, step("(1 - b_t) ** 0.5"), "The paper's sigma_t is another"),
    (STEP, step("(1 - b_s) ** 0.5"), "all the noise that x_s has"),
    (STEP, ddim, "This is DDIM's step: it puts back"),
    (STEP, lambda x, eps, z, b_t, b_s: ddim(x, eps, z, b_t, 1.0), "the guess of x_0"),
    (STEP, ddim_of(lambda x: torch.randn(x.shape)), "Noise is drawn inside the step"),
    (STEP, ddim_of(lambda x: noise(*x.shape, seed=77)), "Noise is drawn inside the step"),
    (
        STEP,
        lambda x, eps, z, b_t, b_s: (
            b_s**0.5 * (x - (1 - b_t) ** 0.5 * eps) / b_t**0.5 + (1 - b_s) ** 0.5 * z
        ),
        "DDIM's step with fresh noise",
    ),
    (STEP, swapped_ddim(False, True), "exchanged where x_s is put together"),
    (STEP, swapped_ddim(True, False), "exchanged where x_0 is read off x_t"),
    (STEP, swapped_ddim(True, True), "DDIM's step with alpha and sigma exchanged:"),
    (STEP, step(TILDE, share="(1 - kept) / b_t ** 0.5"), "exchanged under eps"),
    (STEP, step(TILDE, gain="b_t ** 0.5"), "undoes one step"),
    (STEP, step(TILDE, gain="kept"), "divided by 1 - beta"),
    (STEP, step(TILDE, share="(1 - b_t) ** 0.5"), "all of the noise at once"),
    (STEP, step(TILDE.replace(" ** 0.5", "")), "the fresh noise's variance"),
    (STEP, step("(1 - kept) ** 0.5"), "the paper's other choice"),
    (STEP, step("0"), "the fresh noise is missing"),
    (STEP, step("torch.sqrt(1 - kept)"), "Of a number x take x ** 0.5"),
    (GUIDE, lambda u, c, s: u + s * (u - c), "the wrong way round"),
    (GUIDE, lambda u, c, s: u + (s - 1) * (c - u), "At scale 1 this is the uncond"),
    (GUIDE, lambda u, c, s: c + (s - 1) * (u - c), "the wrong way round"),
    (GUIDE, lambda u, c, s: (1 + s) * c - s * u, "the paper's w"),
    (GUIDE, lambda u, c, s: s * c - (1 - s) * u, "not scale - 1"),
    (GUIDE, lambda u, c, s: torch.lerp(c, u, s), "The two are exchanged"),
    (GUIDE, lambda u, c, s: u.add_(s * (c - u)), "writes into its own argument, `u`"),
    (GUIDE, lambda u, c, s: s * (c - u), "Only the difference is left"),
]


def step_by_posterior(x_t, eps, z, b_t, b_s):
    """The library's posterior: c_t, c_0 and beta-tilde."""
    x0, kept = (x_t - (1 - b_t) ** 0.5 * eps) / b_t**0.5, b_t / b_s
    c_t, c_0 = kept**0.5 * (1 - b_s) / (1 - b_t), b_s**0.5 * (1 - kept) / (1 - b_t)
    return c_t * x_t + c_0 * x0 + ((1 - kept) * (1 - b_s) / (1 - b_t)) ** 0.5 * z


def in_place_on_a_copy(uncond, cond, scale):
    out = cond.clone()
    out -= uncond
    out *= scale
    out += uncond
    return out


RIGHT = [
    (EMBED, waves(lambda j, h: -j / h)),
    (
        EMBED,
        lambda t, dim: torch.stack(
            [
                torch.cos(t * 10_000 ** (-j / (dim // 2)) - (torch.pi / 2 if late else 0))
                for late in (False, True)
                for j in range(dim // 2)
            ],
            dim=1,
        ),
    ),
    (
        EMBED,
        lambda t, dim: (
            torch.view_as_real(
                torch.exp(1j * t[:, None] * torch.logspace(0, -4, dim // 2 + 1)[:-1])
            )
            .transpose(1, 2)
            .flatten(1)
        ),
    ),
    (LOSS, loss()),
    (LOSS, bare((..., None, None, None))),
    (LOSS, loss(last=".sum(dim=(1, 2, 3)) / x0[0].numel()")),
    (LOSS, loss(last=".flatten(1).mean(-1)")),
    (FLOOR, lambda b, s2: 1 / (1 + (1 - b) / (b * s2))),
    (FLOOR, lambda b, s2: torch.stack([b * s / (b * s + 1 - b) for s in s2]).float()),
    (FLOOR, lambda b, s2: 1 - (1 - b) / (1 - b + s2 * b)),
    (DROP, drop_a_copy),
    (DROP, lambda labels, null, u: torch.where(u >= 0.1, labels, torch.tensor(null))),
    (DROP, lambda labels, null, u: labels + (null - labels) * (u < 0.1)),
    (
        DROP,
        lambda labels, null, u: torch.tensor(
            [null if chance < 0.1 else label for label, chance in zip(labels, u, strict=True)]
        ),
    ),
    (STEP, step(TILDE)),
    (STEP, step_by_posterior),
    (STEP, lambda *case: step(TILDE)(*(a.double() for a in case[:3]), *case[3:]).float()),
    (GUIDE, in_place_on_a_copy),
    (GUIDE, lambda u, c, s: c + (s - 1) * (c - u)),
    (GUIDE, lambda u, c, s: s * c + (1 - s) * u),
    (GUIDE, lambda u, c, s: torch.stack([u, c], -1) @ torch.tensor([1.0, 0.0]) + s * (c - u)),
]


class TestAnswers(AnswersContract):
    """The usual slips, and right answers in other words."""

    slips, right = SLIPS, RIGHT
