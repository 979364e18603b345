"""Lesson 03's graders take a reader's own ways to write it, and its broken flows show their
signs (what every lesson's graders do: test_grader.py).
"""

import functools
import math

import pytest
import torch
from contracts import AnswersContract, RightContract

from course_lib.exercises import gallery_03 as wall
from course_lib.exercises import lesson_03 as lesson
from course_lib.models.dequantise import UniformDequantise
from course_lib.models.flow import ActNorm, Coupling, channel_mask


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- a reader's own ways to write
# it


class TestLogDeterminantInOtherWords(RightContract):
    """The log determinant in other words."""

    exercise = lesson.AFFINE
    right = [
        lambda x, s: torch.full((len(x),), (x.shape[2] * x.shape[3] * s.sum()).item()),
        lambda x, s: s[None, :, None, None].expand_as(x).flatten(1).sum(1),
        lambda x, s: (torch.ones_like(x) * s.exp()[:, None, None]).log().sum(dim=(1, 2, 3)),
    ]


def test_the_log_determinant_is_the_librarys():
    layer, x = ActNorm(3).eval(), randn(2, 3, 4, 4)
    layer.log_scale.data.copy_(randn(1, 3, 1, 1, seed=1))
    solved = lesson.AFFINE.solution(x, layer.log_scale.data.flatten())
    torch.testing.assert_close(layer(x)[1], solved)


def by_where(z, mask, net):
    s, b = net(torch.where(mask.bool(), z, 0.0))
    return torch.where(mask.bool(), z, (z - b) / s.exp())


def masked_both(z, mask, net):
    s, b = (part * (1 - mask) for part in net(z * mask))
    return (z - b) * torch.exp(-s)


class TestInverseInOtherWords(RightContract):
    """The inverse in other words."""

    exercise = lesson.UNDO
    right = [by_where, masked_both]


def test_the_inverse_is_the_librarys():
    class Net(torch.nn.Module):
        def forward(self, kept, cond=None):
            s, b = lesson.small_net(kept.flatten(1))
            return torch.cat([s, b], dim=1)[..., None, None]

    layer, z = Coupling(Net(), channel_mask(4), most=1e6), randn(3, 4)
    mine = lesson.UNDO.solution(z, channel_mask(4).flatten(), lesson.small_net)
    theirs, _ = layer.inverse(z[..., None, None])
    torch.testing.assert_close(theirs.flatten(1), mine, rtol=1e-4, atol=1e-4)


class TestNoiseInOtherWords(RightContract):
    """The noise in other words."""

    exercise = lesson.NOISE
    right = [
        lambda levels, a: torch.zeros(len(levels)) + levels.shape[1] * math.log(a / 128),
        lambda levels, a: -(torch.zeros_like(levels) + math.log(128 / a)).sum(1),
    ]


def test_the_noise_is_the_librarys():
    x = torch.randint(256, (3, 1, 2, 5)) / 127.5 - 1
    _, logdet = UniformDequantise(0.3)(x)
    torch.testing.assert_close(logdet, lesson.NOISE.solution(x.flatten(1), 0.3))


def by_parts(t, s):
    cov, var = t - (1 - t) * s**2, (1 - t) ** 2 * s**2 + t**2
    return 1 + s**2 - cov**2 / var


def test_the_floor_in_other_words():
    assert lesson.FLOOR(by_parts)


@pytest.mark.parametrize("s", [0.5, 1.0, 3.0])
def test_the_floor_is_what_the_best_line_leaves_and_its_mean_s_pi_half(s):
    fine = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    mean = torch.trapezoid(lesson.FLOOR.solution(fine, s), fine).item()
    assert mean == pytest.approx(s * math.pi / 2, abs=1e-5)
    x0, eps = 2 + s * randn(200_000, seed=1).double(), randn(200_000, seed=2).double()
    t = 0.3
    (var, cov), (_, d) = torch.cov(torch.stack([(1 - t) * x0 + t * eps, eps - x0]))
    floor = lesson.FLOOR.solution(torch.tensor([t]), s).item()
    assert (d - cov**2 / var).item() == pytest.approx(floor, rel=0.02)


def test_the_papers_time_gets_its_own_hint():
    verdict = lesson.FLOOR(lambda t, s: lesson.FLOOR.solution(1 - t, s))
    assert verdict.state == "wrong" and "papers' time" in verdict.text


# ---------------------------------------------------------------- the gallery


@functools.cache
def found(bug: int) -> dict[str, float]:
    """The five numbers of a broken flow."""
    return wall.broken_flow(bug).numbers()


def test_the_true_probabilities_are_those_of_rounded_normals():
    """One pixel's marginal, by the Normal's distribution function."""
    law = torch.distributions.Normal(wall.MEAN[0], torch.tensor(wall.STD[0]).double())
    levels = torch.arange(-10, 71, dtype=torch.float64)
    exact = law.cdf(levels + 0.5) - law.cdf(levels - 0.5)
    gap = (exact * (law.log_prob(levels) - exact.log())).sum()
    assert gap.abs() < 0.001


def test_a_reported_density_has_its_area():
    """By importance, from a wide Normal: the numbers' shortcut is the integral."""
    for bug in (1, 4, 6, 7):
        flow = wall.broken_flow(bug)
        z = randn(40_000, wall.D, seed=3).double()
        y = 1.3 * z @ flow.M.T + flow.c
        proposal = (
            -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)
            - wall.D * math.log(1.3)
            - torch.linalg.slogdet(flow.M)[1]
        )
        area = (flow.reported(y) - proposal).exp().mean().item()
        assert area == pytest.approx(found(bug)["area"], rel=0.05)


def test_gallery_right_awaits_and_wrong():
    assert lesson.GALLERY(dict(lesson.GALLERY.key))
    assert sorted(lesson.GALLERY.key.values()) == sorted(lesson.BUGS)
    assert lesson.GALLERY({}).state == "awaits"
    assert lesson.GALLERY(dict.fromkeys(lesson.GALLERY.key, ...)).state == "awaits"
    first = next(iter(lesson.GALLERY.key))
    verdict = lesson.GALLERY({**lesson.GALLERY.key, first: 4})
    assert verdict.state == "wrong" and verdict.text.startswith("7 of 8 right")
    assert lesson.BUGS[4].sign in verdict.text and "round trip" in verdict.text
    assert "no line" in lesson.GALLERY({**lesson.GALLERY.key, first: 9}).text


def healthy(m: dict, *but: str) -> bool:
    """All numbers but these are about what they should be."""
    at = dict(zip(lesson.NAMES, (-0.35, 1, 0, 0, 1), strict=True))
    return all(abs(m[k] - at[k]) < 0.1 for k in at if k not in but)


TRIP, SPREAD, REPORTED, AREA = "round trip", "spread", "reported - log P", "area"
# what each bug does, as its `sign` says, and what it leaves alone
SIGNS = {
    1: healthy,
    2: lambda m: m[TRIP] > 5 and m[SPREAD] < 0.5 and healthy(m, TRIP, SPREAD),
    3: lambda m: m[TRIP] > 5 and healthy(m, TRIP),
    4: lambda m: 0.5 < m[REPORTED] < 4 * math.log(2) and healthy(m, REPORTED),
    5: lambda m: m["mean"] < -0.3 and m[REPORTED] < -0.7 and healthy(m, "mean", REPORTED),
    6: lambda m: m[AREA] > 5 and healthy(m, AREA, REPORTED),
    7: lambda m: abs(m[AREA] - (0.5 / 0.45) ** 4) < 0.01 and healthy(m, AREA, REPORTED),
    8: lambda m: abs(m[SPREAD] - 0.7) < 0.05 and healthy(m, SPREAD),
}


@pytest.mark.parametrize("bug", lesson.BUGS)
def test_each_bug_shows_its_sign_and_no_other(bug):
    assert [k for k in SIGNS if SIGNS[k](found(bug))] == [bug], found(bug)


def test_three_report_more_than_the_truth():
    assert [bug for bug in lesson.BUGS if found(bug)["reported - log P"] > 0] == [4, 6, 7]


# ---------------------------------------------------------------- a table of slips

AFFINE, UNDO, NOISE, FLOOR = (
    lesson.AFFINE,
    lesson.UNDO,
    lesson.NOISE,
    lesson.FLOOR,
)


def same(x, number):
    return number * torch.ones(len(x))


def undone(rest):
    """A reader's inverse with its last factor as given: rest(z, s, b)."""

    def undo(z, mask, net):
        s, b = net(mask * z)
        return mask * z + (1 - mask) * rest(z, s, b)

    return undo


def undone_in_place(z, mask, net):
    s, b = net(mask * z)
    free = mask == 0
    z[:, free] = ((z - b) * (-s).exp())[:, free]
    return z


def each(number):
    return lambda levels, a: torch.full((len(levels),), number(levels, a))


LN2 = math.log(2)
TABLE = [
    (
        AFFINE,
        lambda x, s: same(x, x.shape[2] * x.shape[3] * s.abs().sum()),
        "abs takes the signs",
    ),
    (AFFINE, lambda x, s: (x * s[:, None, None]).sum((1, 2, 3)), "x is not in a log-det"),
    (
        AFFINE,
        lambda x, s: (x * s.exp()[:, None, None]).abs().log().sum((1, 2, 3)),
        "the scaled im",
    ),
    (AFFINE, lambda x, s: same(x, x.shape[2] * s.sum()), "Only one side"),
    (AFFINE, lambda x, s: same(x, 28 * 28 * s.sum()), "784 pixels are counted"),
    (AFFINE, lambda x, s: same(x, x.numel() * s.sum()), "off by up to"),
    (AFFINE, lambda x, s: same(x, s.sum()), "count it H W times"),
    (UNDO, undone_in_place, "writes into its own argument, `z`"),
    (UNDO, undone(lambda z, s, b: (z - s) * (-b).exp()), "are exchanged"),
    (UNDO, undone(lambda z, s, b: z * (-s).exp()), "the shift is not"),
    (UNDO, undone(lambda z, s, b: (z - b) / (-s).exp()), "scales once more"),
    (UNDO, undone(lambda z, s, b: z - b), "the scale is not"),
    (
        UNDO,
        lambda z, m, net: m * z + (z - net(m * z)[1]) * (-net(m * z)[0]).exp(),
        "The kept half is counted twice",
    ),
    (UNDO, lambda z, m, net: z * net(m * z), "a tuple stands where a tensor is meant"),
    (
        NOISE,
        lambda levels, a: torch.full(levels.shape, math.log(a / 128)),
        "each pixel by itself",
    ),
    (NOISE, each(lambda levels, a: levels.numel() * math.log(a / 128)), "the whole batch"),
    (NOISE, each(lambda levels, a: len(levels) * math.log(a / 128)), "counts the pictures"),
    (
        NOISE,
        each(lambda levels, a: levels.shape[1] * math.log(a / 127.5)),
        "each is 1/128 wide",
    ),
    (NOISE, each(lambda levels, a: levels.shape[1] * math.log(a * 128)), "not a * 128"),
    (NOISE, each(lambda levels, a: levels.shape[1] * math.log2(a / 128)), "in bits"),
    (NOISE, lambda levels, a: levels.shape[1] * torch.log(a / 128), "Of a number x take"),
    (FLOOR, lambda t, s: s**2 / ((1 - t) ** 2 * s + t**2), "variance has s^2"),
    (FLOOR, lambda t, s: 1 / ((1 - t) ** 2 * s**2 + t**2), "s^2 is on top"),
    (
        FLOOR,
        lambda t, s: 1 + s**2 - (t - (1 - t) * s**2) ** 2,
        "to be divided by the variance",
    ),
    (FLOOR, lambda t, s: (1 - t) ** 2 * s**2 + t**2, "That is the variance of x_t"),
    (
        FLOOR,
        lambda t, s: 1 - (t - (1 - t) * s**2) ** 2 / ((1 - t) ** 2 * s**2 + t**2),
        "is 1 + s^2",
    ),
    (FLOOR, lambda t, s: s**2 / (t**2 * s**2 + (1 - t) ** 2), "papers' time"),
    (
        FLOOR,
        lambda t, s: s**2 / ((1 - t) ** 2 * s**2 + t.square_()),
        "writes into its own argument, `t`",
    ),
]

RIGHT = [
    (AFFINE, lambda x, s: torch.einsum("c,bchw->b", s, torch.ones_like(x))),
    (AFFINE, lambda x, s: (x[0, 0].numel() * s.double().sum()).repeat(len(x))),
    (AFFINE, lambda x, s: same(x, x.shape[-1] * x.shape[-2] * s.exp().prod().log())),
    (UNDO, undone(lambda z, s, b: (z - b) / s.exp())),
    (UNDO, lambda z, mask, net: undone_in_place(z.clone(), mask, net)),
    (
        UNDO,
        lambda z, mask, net: undone(lambda z, s, b: (z - b) * torch.exp(-s))(
            z.double(), mask, net
        ),
    ),
    (NOISE, each(lambda levels, a: -levels.shape[1] * (math.log(128) - math.log(a)))),
    (NOISE, lambda levels, a: torch.tensor([math.log(a / 128) * len(row) for row in levels])),
    (
        NOISE,
        lambda levels, a: (
            -torch.distributions.Uniform(0, a / 128).log_prob(torch.zeros_like(levels)).sum(1)
        ),
    ),
    (FLOOR, lambda t, s: 1 / ((1 - t) ** 2 + (t / s) ** 2)),
    (FLOOR, lambda t, s: (s * s / ((1 - t) ** 2 * s * s + t * t)).float()),
    (FLOOR, lambda t, s: torch.stack([(s / torch.hypot((1 - x) * s, x)) ** 2 for x in t])),
]


class TestAnswers(AnswersContract):
    """The usual slips, and right answers in other words."""

    slips, right = TABLE, RIGHT
