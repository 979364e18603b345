"""Lesson 06's graders take a reader's own ways to write it, and its broken games show their
signs (what every lesson's graders do: test_grader.py).
"""

import math

import pytest
import torch
import torch.nn.functional as F
from contracts import AnswersContract

from course_lib.adversarial import PAIRINGS, squared_slopes
from course_lib.exercises import gallery_06 as wall
from course_lib.exercises import lesson_06 as lesson
from course_lib.toy_games import dirac_rates

# ---------------------------------------------------------------- a reader's own ways to write
# it


def js_by_entropies(p, q):
    m = (p + q) / 2
    h = [-torch.xlogy(a, a).sum(-1) for a in (m, p, q)]
    return h[0] - (h[1] + h[2]) / 2


def js_by_where(p, q):
    m, total = (p + q) / 2, 0
    for a in (p, q):
        ratio = torch.where(a > 0, a / m, 1.0)
        total = total + (a * ratio.log()).sum(dim=-1) / 2
    return total


def js_by_nansum(p, q):
    m = (p + q) / 2
    return ((p * (p / m).log()).nansum(-1) + (q * (q / m).log()).nansum(-1)) / 2


def test_the_loss_is_the_librarys():
    fake = torch.linspace(-4, 4, 9)
    expected = PAIRINGS["non-saturating"].generator(fake, fake).mean()
    torch.testing.assert_close(lesson.LOSS.solution(fake), expected)


def rate_by_complex(gamma, slope):
    return (-gamma / 2 + (complex(gamma**2 / 4 - slope**2)) ** 0.5).real


def rate_by_matrix(gamma, slope):
    return torch.linalg.eigvals(torch.tensor([[0.0, slope], [-slope, -gamma]])).real.max()


def rate_by_cases(gamma, slope):
    inside = gamma**2 / 4 - slope**2
    return -gamma / 2 if inside < 0 else -gamma / 2 + math.sqrt(inside)


def penalty_by_ones(discriminator, x):
    x = x.clone().requires_grad_(True)
    logits = discriminator(x)
    slope = torch.autograd.grad(logits, x, torch.ones_like(logits), create_graph=True)[0]
    return slope.pow(2).reshape(len(x), -1).sum(1).mean()


def penalty_in_place(discriminator, x):
    x.requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return slope.square().sum() / len(x)


def test_the_penalty_is_the_librarys():
    x = torch.randn(4, 1, 3, 3)
    slopes = squared_slopes(lambda x, cond: lesson.bowl(x), x, None)[1]
    torch.testing.assert_close(lesson.PENALTY.solution(lesson.bowl, x), slopes.mean())


def cut(discriminator, x):
    """A penalty that moves no weight."""
    return penalty_by_ones(discriminator, x).detach()


def no_request(discriminator, x):
    return torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)[0].square().mean()


def no_sum(discriminator, x):
    x = x.requires_grad_()
    return torch.autograd.grad(discriminator(x), x, create_graph=True)[0].square().mean()


def too_late(discriminator, x):
    x = x.requires_grad_()
    total = discriminator(x).sum()
    return torch.autograd.grad(total, x.detach().requires_grad_())[0].square().sum()


ROOT = "max(..., 0)"  # the hint for a root of less than 0

SLIPS = [
    (lesson.RATE, lambda gamma, slope: -gamma / 2 + math.sqrt(gamma**2 / 4 - slope**2), ROOT),
    (
        lesson.RATE,
        lambda gamma, slope: float(-gamma / 2 + (gamma**2 / 4 - slope**2) ** 0.5),
        ROOT,
    ),
    # with no float() around it nothing stops, and values alone look right
    (lesson.RATE, lambda gamma, slope: -gamma / 2 + (gamma**2 / 4 - slope**2) ** 0.5, ROOT),
    (lesson.RATE, lambda gamma, slope: dirac_rates(gamma, slope)[0], ROOT),
    # the lesson gives single distributions, too
    (lesson.JS, lambda p, q: js_by_entropies(p, q) + 0 * p.sum(dim=1), "Dimension out of"),
    (lesson.LOSS, lambda fake: F.softplus(-fake.detach()).mean(), "no gradient leads back"),
    (lesson.LOSS, torch.no_grad()(lambda fake: F.softplus(-fake).mean()), "no gradient"),
    (lesson.PENALTY, cut, "create_graph"),
    # errors of PyTorch's own
    (lesson.PENALTY, no_request, "ask for one first"),
    (lesson.PENALTY, no_sum, "the logits' sum"),
    (lesson.PENALTY, too_late, "replaced"),
]

RIGHT = [
    (lesson.JS, js_by_entropies),
    (lesson.JS, js_by_where),
    (lesson.JS, js_by_nansum),
    (lesson.LOSS, lambda fake: -F.logsigmoid(fake).mean()),
    (
        lesson.LOSS,
        lambda fake: F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake)),
    ),
    (lesson.LOSS, lambda fake: torch.logaddexp(torch.zeros_like(fake), -fake).mean()),
    (lesson.RATE, rate_by_complex),
    (lesson.RATE, rate_by_matrix),
    (lesson.RATE, rate_by_cases),
    (lesson.PENALTY, penalty_by_ones),
    (lesson.PENALTY, penalty_in_place),
]


class TestAnswers(AnswersContract):
    """The usual slips, and right answers in other words."""

    slips, right = SLIPS, RIGHT


# ---------------------------------------------------------------- the gallery


def healthy(m: dict, *but: str) -> bool:
    """All numbers but these are about what they should be."""
    at = dict(zip(lesson.NAMES, (1, 0, 0, 1, 0, 0, 1), strict=True))
    return all(abs(m[k] - at[k]) < 0.1 for k in at if k not in but)


# what each bug does, as its `sign` says
SIGNS = {
    1: lambda m: m["G by D"] == m["D by G"] == 0 and healthy(m),
    2: lambda m: m["pushed"] < 0.5,
    3: lambda m: m["new noise"] == 0,
    4: lambda m: m["G by D"] > 0.03,
    5: lambda m: m["D by G"] > 0.1,
    6: lambda m: m["swing"] > 0.3,
    7: lambda m: m["mean off"] > 0.4 and m["G by D"] == 0 and healthy(m, "mean off", "spread"),
    8: lambda m: m["spread"] < 0.6 and healthy(m, "spread"),
}


@pytest.mark.parametrize("bug", lesson.BUGS)
def test_each_bug_shows_its_sign_and_no_other(bug):
    found = wall.broken_gan(bug).numbers()
    assert all(math.isfinite(value) for value in found.values())
    signs = [k for k in SIGNS if SIGNS[k](found)]
    assert signs == [bug], found


@pytest.mark.parametrize("bug", [1, 6, 7])
def test_signs_do_not_hang_on_a_seed(bug):
    found = wall.BrokenGame(bug, seed=3).numbers()
    assert SIGNS[bug](found), found


def test_the_healthy_game_ends_at_the_datas_covariance():
    W = wall.broken_gan(1).players.W.detach()
    A = torch.tensor(wall.A, dtype=torch.float64)
    torch.testing.assert_close(W @ W.T, A @ A.T, rtol=0.15, atol=0.03)


def test_gallery_right_and_wrong():
    assert lesson.GALLERY(dict(lesson.GALLERY.key))
    assert sorted(lesson.GALLERY.key.values()) == sorted(lesson.BUGS)
    first = next(iter(lesson.GALLERY.key))
    verdict = lesson.GALLERY({**lesson.GALLERY.key, first: 6})
    assert verdict.state == "wrong" and verdict.text.startswith("7 of 8 right")
    assert lesson.BUGS[6].sign in verdict.text and "swing" in verdict.text
