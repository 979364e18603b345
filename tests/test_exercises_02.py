"""Lesson 02's graders take a reader's own ways to write it, and its broken autoencoders show
their signs (what every lesson's graders do: test_grader.py).
"""

import functools
import math

import pytest
import torch
from contracts import AnswersContract, RightContract, SlipsContract

from course_lib.exercises import gallery_02 as wall
from course_lib.exercises import lesson_02 as lesson

BUGGED = [number for number in lesson.BUGS if number != 1]


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- a reader's own ways to write
# it


class TestDrawInOtherWords(RightContract):
    """A draw in other words."""

    exercise = lesson.DRAW
    right = [
        lambda mean, log_std, eps: eps * torch.exp(log_std) + mean,
        lambda mean, log_std, eps: torch.addcmul(mean, log_std.exp(), eps),
        lambda mean, log_std, eps: mean + (2 * log_std).exp().sqrt() * eps,
    ]


def test_a_draw_without_its_gradient():
    for cut in (
        lambda mean, log_std, eps: (mean + log_std.exp() * eps).detach(),
        lambda mean, log_std, eps: mean + log_std.exp().detach() * eps,
        lambda mean, log_std, eps: mean.data + log_std.exp() * eps,
    ):
        verdict = lesson.DRAW(cut)
        assert verdict.state == "wrong" and "no gradient comes back" in verdict.text


def test_a_draw_without_its_mean_is_not_taken_for_a_cut_gradient():
    verdict = lesson.DRAW(lambda mean, log_std, eps: log_std.exp() * eps)
    assert verdict.state == "wrong" and "The mean is missing" in verdict.text


def through_numpy(mean, log_std, eps):
    """No gradient can come back."""
    return torch.from_numpy(mean.numpy() + log_std.exp().numpy() * eps.numpy())


class TestDrawThatStopsOrSpoils(SlipsContract):
    """A draw that stops or spoils."""

    exercise = lesson.DRAW
    slips = [
        (through_numpy, "no gradient comes back"),
        (lambda mean, log_std, eps: mean.add_(log_std.exp() * eps), "writes into its own"),
        (lambda mean, log_std, eps: eps.mul_(log_std.exp()).add_(mean), "writes into its own"),
        (lambda mean, log_std, eps: mean + log_std.exp().item() * eps, ".item() takes one"),
        (lambda mean, log_std, eps: mean + math.exp(log_std) * eps, "take one number"),
        (lambda mean, log_std, eps: mean + log_std.exp() @ eps, "it is *"),
    ]


def test_a_draw_with_noise_of_its_own():
    def own(mean, log_std, eps):
        return mean + log_std.exp() * torch.randn_like(mean)

    verdict = lesson.DRAW(own)
    assert verdict.state == "wrong" and "use the eps that is given" in verdict.text


class TestKlInOtherWords(RightContract):
    """The KL in other words."""

    exercise = lesson.KL
    right = [
        lambda m, s: -0.5 * (1 + (s**2).log() - m**2 - s**2).sum(-1),
        lambda m, s: torch.distributions.kl_divergence(
            torch.distributions.Normal(m, s), torch.distributions.Normal(0.0, 1.0)
        ).sum(1),
    ]


class TestKlThatStopsOrSpoils(SlipsContract):
    """A KL that stops or spoils."""

    exercise = lesson.KL
    slips = [
        (lambda m, s: (0.5 * (m**2 + s**2 - 1) - math.log(s)).sum(1), "take one number"),
        (lambda m, s: (0.5 * (m ^ 2 + s ^ 2 - 1) - s.log()).sum(1), "^ is no power"),
        (
            lambda m, s: (0.5 * (m**2 + s**2 - 1) - s.detach().log()).sum(1),
            "the gradients in mean and std are not",
        ),
        (
            lambda m, s: (0.5 * (m.square_() + s**2 - 1) - s.log()).sum(1),
            "writes into its own",
        ),
    ]


def test_the_kl_is_its_integral():
    z = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    mean, std = torch.tensor([[0.7], [-1.5]]), torch.tensor([[0.4], [1.3]])
    for m, s, found in zip(mean, std, lesson.KL.solution(mean, std), strict=True):
        q = torch.distributions.Normal(m.double(), s.double())
        gap = q.log_prob(z) - torch.distributions.Normal(0.0, 1.0).log_prob(z)
        summed = torch.trapezoid(q.log_prob(z).exp() * gap, z)
        assert found.item() == pytest.approx(summed.item(), abs=1e-5)


class TestLikelihoodInOtherWords(RightContract):
    """The likelihood in other words."""

    exercise = lesson.LOG_LIK
    right = [
        lambda x, out, sigma: (
            torch.distributions.Normal(out, sigma).log_prob(x).flatten(1).sum(1)
        ),
        lambda x, out, sigma: (
            -0.5 * ((x - out) / sigma) ** 2 - torch.log(sigma * math.sqrt(2 * math.pi))
        ).sum(dim=(1, 2, 3)),
        lambda x, out, sigma: torch.stack(
            [
                torch.distributions.Normal(b, sigma).log_prob(a).sum()
                for a, b in zip(x, out, strict=True)
            ]
        ),
    ]


@pytest.mark.parametrize(
    "cut", [lambda sigma: math.log(sigma), lambda sigma: sigma.detach().log()]
)
@pytest.mark.filterwarnings("ignore:Converting a tensor")
def test_a_likelihood_that_leaves_sigma_untaught(cut):
    """Its values are right, and a learnt sigma would run off."""

    def attempt(x, out, sigma):
        rest = cut(sigma) + 0.5 * math.log(2 * math.pi)
        return (-((x - out) ** 2) / (2 * sigma**2) - rest).flatten(1).sum(1)

    verdict = lesson.LOG_LIK(attempt)
    assert verdict.state == "wrong" and "not math.log(sigma)" in verdict.text


def test_the_weight_by_trial():
    """Two losses are proportional at every error and every KL."""
    a, b, D, L = 3.0, 0.7, 50, 4
    beta = lesson.WEIGHT.solution(a, b, D, L)
    ratios = {
        round((a * error / D + b * kl / L) / (error / 2 + beta * kl), 9)
        for error, kl in ((1.0, 2.0), (5.0, 0.3), (0.2, 40.0))
    }
    assert len(ratios) == 1
    assert lesson.WEIGHT(lambda a, b, D, L: (b / L) / (2 * a / D))


def test_weights_from_the_wild():
    beta = lesson.WEIGHT.solution
    assert beta(784, 16, 784, 16) == pytest.approx(0.5)  # no half
    assert 2 * beta(500, 2, 1024, 2) == pytest.approx(2.048)  # a cross-entropy is whole


class TestBoundInOtherWords(RightContract):
    """The bound in other words."""

    exercise = lesson.IW_BOUND
    right = [
        lambda w: (w - math.log(w.shape[-1])).logsumexp(-1),
        lambda w: w.double().exp().mean(1).log().float(),
        lambda w: w.max(1).values + (w - w.max(1, keepdim=True).values).exp().mean(1).log(),
    ]


class TestBoundThatStopsOrIsNoNumber(SlipsContract):
    """A bound that stops or is no number."""

    exercise = lesson.IW_BOUND
    slips = [
        (lambda w: torch.logsumexp(w), "dim=1"),
        (lambda w: w.logsumexp(1) - math.log(w.shape), "k is log_w.shape[1]"),
        (lambda w: w.logsumexp(1) - torch.log(w.shape[1]), "math.log(...)"),
        (lambda w: torch.log(w.mean(1)), "takes a log twice"),
        (lambda w: w.log().mean(1), "no second log"),
    ]


def test_one_draw_is_the_plain_bound_and_more_are_higher():
    log_w = randn(1000, 16, seed=3)
    means = [
        lesson.IW_BOUND.solution(log_w.reshape(-1, k)).mean().item() for k in (1, 2, 4, 16)
    ]
    assert means == sorted(means)
    assert means[0] == pytest.approx(log_w.mean().item(), abs=1e-6)


# ---------------------------------------------------------------- the gallery


@functools.cache
def found(bug: int, seed: int = 0) -> dict[str, float]:
    """The five numbers of a broken autoencoder."""
    return wall.broken_vae(bug, seed=seed).numbers()


def test_the_gallery_s_data_are_exactly_what_is_said():
    x = wall.gallery_data(500)
    variances = torch.tensor([*wall.STRONG, *[wall.NOISE] * (wall.D - wall.L)]).double()
    torch.testing.assert_close(x.T @ x / 500, torch.diag(variances))
    torch.testing.assert_close(x.mean(dim=0), torch.zeros(wall.D).double())


def test_gallery_right_awaits_and_wrong(monkeypatch):
    assert lesson.GALLERY(dict(lesson.GALLERY.key))
    assert sorted(lesson.GALLERY.key.values()) == sorted(lesson.BUGS)
    assert lesson.GALLERY({}).state == "awaits"
    assert lesson.GALLERY(dict.fromkeys(lesson.GALLERY.key, ...)).state == "awaits"
    first = next(iter(lesson.GALLERY.key))
    verdict = lesson.GALLERY({**lesson.GALLERY.key, first: 7})
    assert verdict.state == "wrong" and verdict.text.startswith("7 of 8 right")
    assert lesson.BUGS[7].sign in verdict.text and "grain" in verdict.text
    for odd in (9, "3", [3]):
        verdict = lesson.GALLERY({**lesson.GALLERY.key, first: odd})
        assert verdict.state == "wrong" and "no number of a line" in verdict.text
    for odd in (None, [3, 7, 2, 5, 8, 1, 4, 6]):
        verdict = lesson.GALLERY(odd)
        assert verdict.state == "wrong" and "dict" in verdict.text


def healthy(m: dict, but: str = "") -> bool:
    """All numbers but one are about what they should be."""
    at = dict(zip(lesson.NAMES, (0, 1, 1, 1, 1), strict=True))
    return all(abs(m[k] - at[k]) < 0.15 for k in at if k != but)


# what each bug does, as its `sign` says, and what it leaves alone
SIGNS = {
    1: healthy,
    2: lambda m: 1.15 < m["KL / best"] < 1.4 and abs(m["2nd axis"] - 1) < 0.2,
    3: lambda m: m["KL / best"] < 0.3 and m["2nd axis"] < 0.4,
    4: lambda m: 1 < m["bound - log p"] < 3 and 0.4 < m["KL / best"] < 0.8,
    5: lambda m: m["codes"] < 0.5 and m["2nd axis"] > 3,
    6: lambda m: m["KL / best"] > 3 and m["bound - log p"] > 3,
    7: lambda m: m["grain"] < 0.1 and healthy(m, but="grain"),
    8: lambda m: m["bound - log p"] < -200 and healthy(m, but="bound - log p"),
}


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("bug", lesson.BUGS)
def test_each_bug_shows_its_sign_and_no_other(bug, seed):
    assert [k for k in SIGNS if SIGNS[k](found(bug, seed))] == [bug], found(bug, seed)


def test_a_right_one_reports_no_more_than_its_likelihood_and_four_do():
    above = [bug for bug in lesson.BUGS if found(bug)["bound - log p"] > 0.5]
    assert above == [3, 4, 5, 6]


# ---------------------------------------------------------------- a table of slips

KL, DRAW, LOG_LIK, WEIGHT, BOUND = (
    lesson.KL,
    lesson.DRAW,
    lesson.LOG_LIK,
    lesson.WEIGHT,
    lesson.IW_BOUND,
)


HALF = 0.5 * math.log(2 * math.pi)


def density(x, out, sigma, log=lambda s: s.log(), pi=HALF):
    return (-((x - out) ** 2) / (2 * sigma**2) - log(sigma) - pi).flatten(1).sum(1)


def in_a_row(log_w):
    return torch.stack([row.max() + (row - row.max()).exp().mean().log() for row in log_w])


TABLE = [
    (KL, lambda m, s: 0.5 * (m**2 + s**2 - 1 - s.log() ** 2).sum(1), "The log is squared"),
    (KL, lambda m, s: (0.5 * (m**2 + s**2 - 1) - s.log()).sum(1, True), "keepdim=True"),
    (KL, lambda m, s: 0.5 * (m**2 + s**2 - 1 - 2 * s.log()).mean(), "a mean over all"),
    (KL, lambda m, s: 0.5 * (m**2 + s**2 + 1 - 2 * s.log()).sum(1), "The sign of 1"),
    (KL, lambda m, s: 0.5 * (m**2 + s**2 - 1 - 2 * s).sum(1), "std stands where its log"),
    (KL, lambda m, s: 0.5 * (m**2 + s**2 - 1).sum(1), "- log std is missing"),
    (KL, lambda m, s: (m**2 + s**2 - 1 - 2 * s.log()).sum(1), "Twice too large"),
    (DRAW, lambda m, ls, e: torch.normal(m, ls.exp()), "use the eps that is given"),
    (DRAW, lambda m, ls, e: m + 10**ls * e, "10 to the power"),
    (DRAW, lambda m, ls, e: m + 2**ls * e, "2 to the power"),
    (DRAW, lambda m, ls, e: m * e + ls.exp(), "are exchanged"),
    (DRAW, lambda m, ls, e: m + (1 + ls) * e, "only near 0"),
    (DRAW, lambda m, ls, e: m + ls.exp() * e[0], "the first one's noise"),
    (DRAW, lambda m, ls, e: m + torch.exp(0.5 * ls) * e, "belongs to a log *variance*"),
    (LOG_LIK, lambda *a: density(*a, pi=math.log(2 * math.pi)), "counts half in every pixel"),
    (LOG_LIK, lambda *a: density(*a, log=lambda s: 2 * s.log()), "not twice"),
    (LOG_LIK, lambda x, o, s: density(x, o, s**2), "once too often"),
    (LOG_LIK, lambda x, o, s: density(x, o, s.sqrt()), "takes sigma for the variance"),
    (LOG_LIK, lambda *a: density(*a)[:, None], "an axis is left over"),
    (LOG_LIK, lambda *a: density(*a).exp(), "This is the density itself"),
    (LOG_LIK, lambda *a: density(*a) / 16, "off by up to"),
    (WEIGHT, lambda a, b, D, L: b * D // (2 * a * L), "// cuts off"),
    (WEIGHT, lambda a, b, D, L: a * D / (2 * b * L), "a and b are exchanged"),
    (WEIGHT, lambda a, b, D, L: D / L, "a and b are missing, and the half"),
    (WEIGHT, lambda a, b, D, L: b * D / (a * L), "The half is missing"),
    (WEIGHT, lambda a, b, D, L: b * D / (2 * a), "averaged over L latents"),
    (WEIGHT, lambda a, b, D, L: torch.log(a), "Of a number x take"),
    (BOUND, lambda w: w.logsumexp(1, keepdim=True) - math.log(w.shape[1]), "keepdim=True"),
    (BOUND, lambda w: w.logsumexp(1) - w.shape[1], "it is log k"),
    (BOUND, lambda w: w.logsumexp(1) / math.log(w.shape[1]), "a division is a subtraction"),
    (BOUND, lambda w: w.log_softmax(1).mean(1), "A softmax makes the weights sum to 1"),
    (BOUND, lambda w: w.sum(1).exp().log(), "gives infinity"),
    (BOUND, lambda w: (w.exp_().mean(1)).log(), "Right on paper"),
    (
        BOUND,
        lambda w: w.sub_(math.log(w.shape[1])).logsumexp(1),
        "writes into its own argument",
    ),
]

RIGHT = [
    (KL, lambda m, s: 0.5 * torch.einsum("bl->b", m * m + s * s - 1 - 2 * torch.log(s))),
    (
        KL,
        lambda m, s: (0.5 * (m.double() ** 2 + s.double() ** 2 - 1) - s.double().log()).sum(
            -1
        ),
    ),
    (
        KL,
        lambda m, s: torch.stack(
            [(0.5 * (a * a + b * b - 1) - b.log()).sum() for a, b in zip(m, s, strict=True)]
        ),
    ),
    (DRAW, lambda m, ls, e: torch.lerp(m, m + e, ls.exp())),
    (DRAW, lambda m, ls, e: (m.clone().double() + ls.exp() * e).float()),
    (DRAW, lambda m, ls, e: m.clone().add_(ls.exp() * e)),
    (LOG_LIK, density),
    (LOG_LIK, lambda x, o, s: density(x.double(), o.double(), s.double())),
    (
        LOG_LIK,
        lambda x, o, s: torch.einsum(
            "bchw->b", -0.5 * ((x - o) / s) ** 2 - s.log() - 0.5 * math.log(2 * math.pi)
        ),
    ),
    (WEIGHT, lambda a, b, D, L: b / L / (2 * a / D)),
    (WEIGHT, lambda a, b, D, L: torch.tensor(0.5 * b * D / a / L)),
    (WEIGHT, lambda a, b, D, L: math.exp(math.log(b * D) - math.log(2 * a * L))),
    (BOUND, in_a_row),
    (BOUND, lambda w: torch.log(torch.exp(w.double()).mean(1))),
    (
        BOUND,
        lambda w: (
            torch.logaddexp(w[:, :1], w[:, 1:].logsumexp(1, True))[:, 0] - math.log(w.size(1))
        ),
    ),
]


class TestAnswers(AnswersContract):
    """The usual slips, and right answers in other words."""

    slips, right = TABLE, RIGHT
