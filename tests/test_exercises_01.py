"""Lesson 01's graders take a reader's own ways to write it (what every lesson's graders do:
test_grader.py), and each bug of the gallery shows what it is said to show.
"""

import math

import pytest
import torch
from contracts import AnswersContract
from torch import nn

from course_lib.draws import Draws
from course_lib.exercises import lesson_01 as lesson
from course_lib.exercises import pixel_bugs as bugs
from course_lib.models import PixelCNN, PixelCNNConfig
from course_lib.models.independent import total_correlation
from course_lib.models.pixel_sampling import sample
from course_lib.models.pixelcnn import draw_levels

# ---------------------------------------------------------------- a reader's own ways to write
# it


def test_a_mask_by_loops_in_whole_numbers():
    def by_loops(kind, size):
        mask, c = torch.zeros(size, size, dtype=torch.int64), size // 2
        for i in range(size):
            for j in range(size):
                if i < c or (i == c and j < c) or (kind == "B" and i == j == c):
                    mask[i, j] = 1
        return mask

    assert lesson.MASK(by_loops)
    assert lesson.MASK(lambda kind, size: by_loops(kind, size).bool())


def test_a_mask_by_the_order_of_reading():
    def by_order(kind, size):
        order = torch.arange(size * size).view(size, size)
        centre = size * size // 2
        return (order <= centre if kind == "B" else order < centre).float()

    assert lesson.MASK(by_order)


def test_masked_layers_of_the_right_mask_are_causal():
    torch.manual_seed(0)
    x = torch.randn(1, 1, 9, 9, requires_grad=True)
    h = x
    for kind in ("A", "B", "B"):
        conv = nn.Conv2d(h.shape[1], 4, 3, padding=1)
        conv.weight.data *= lesson.causal_mask(kind, 3)
        h = conv(h)
    h[0, :, 4, 4].sum().backward()
    assert (x.grad.flatten()[4 * 9 + 4 :] == 0).all()
    assert x.grad[0, 0, 4, 3] != 0 and x.grad[0, 0, 3, 5] != 0


def test_who_moves_an_answer_by_backward_and_by_jacobian():
    def by_backward(net, x, row, column):
        total = 0
        for number in range(3):
            y = x.detach().clone().requires_grad_(True)
            net(y)[0, number, row, column].backward()
            total = total + y.grad.abs()
        return total[0, 0]

    def by_jacobian(net, x, row, column):
        J = torch.autograd.functional.jacobian(lambda y: net(y)[0, :, row, column], x)
        return J.abs().sum(dim=(0, 1, 2))

    assert lesson.FIELD(by_backward)
    assert lesson.FIELD(by_jacobian)


def test_who_moves_an_answer_without_a_graph_or_with_a_freed_one():
    def no_gradient(net, x, row, column):
        return torch.autograd.grad(net(x)[0, 0, row, column], x)[0][0, 0]

    def freed(net, x, row, column):
        x = x.clone().requires_grad_(True)
        numbers = net(x)[0, :, row, column]
        return sum(torch.autograd.grad(number, x)[0][0, 0].abs() for number in numbers)

    assert "requires_grad_(True)" in lesson.FIELD(no_gradient).text
    assert "retain_graph=True" in lesson.FIELD(freed).text


def test_the_field_sees_what_a_sum_hides():
    net = lambda x: torch.cat([x, -x], dim=1)  # noqa: E731
    field = lesson.moved_by(net, torch.zeros(1, 1, 3, 3), 1, 1)
    assert field[1, 1] == 2 and field.sum() == 2


def test_painting_by_numbers():
    def by_numbers(net, uniforms):
        B, H, W = uniforms.shape
        flat = torch.zeros(B, H * W)
        for i in range(H * W):
            out = net(flat.view(B, 1, H, W)).flatten(2)
            flat[:, i] = 2 * draw_levels(out[..., i], uniforms.flatten(1)[:, i]) / 255 - 1
        return flat.view(B, 1, H, W)

    assert lesson.PAINT(by_numbers)


def test_painting_is_the_library_s_sampler():
    torch.manual_seed(0)
    net = PixelCNN(PixelCNNConfig(channels=32, dilations=(1,), mixtures=3)).eval()
    u = Draws(0).uniform(2, 6, 5)
    with torch.no_grad():
        mine = lesson.paint(net, u)
    assert torch.equal(mine, sample(net, u, cached=False))


def test_lost_bits_in_numpy_terms_and_by_kl():
    def by_kl(joint):
        product = torch.ones_like(joint)
        for i in range(joint.ndim):
            others = [axis for axis in range(joint.ndim) if axis != i]
            product = product * joint.sum(dim=others, keepdim=True)
        return torch.where(joint > 0, joint * (joint / product).log2(), 0.0).sum()

    def by_loop(joint):
        def H(p):
            return -sum(q * math.log2(q) for q in p.flatten().tolist() if q > 0)

        shape = joint.shape
        own = [joint.movedim(i, 0).reshape(shape[i], -1).sum(1) for i in range(len(shape))]
        return torch.tensor(sum(map(H, own)) - H(joint))

    assert lesson.LOST(by_kl)
    assert lesson.LOST(by_loop)
    assert "torch.tensor" in lesson.LOST(lambda joint: [1.0]).text


def test_a_bit_is_lost_in_the_lesson_s_toy():
    toy = torch.tensor([[0.0, 0.5], [0.5, 0.0]], dtype=torch.float64)
    assert total_correlation(toy).item() == pytest.approx(1, abs=1e-6)


def test_agreement_is_what_is_counted():
    z, e1, e2 = Draws(0).normal(torch.zeros(3, 100_000))
    for rho in (0.2, 0.7, 0.95):
        u1, u2 = (rho**0.5 * z + (1 - rho) ** 0.5 * e for e in (e1, e2))
        share = ((u1 > 0) == (u2 > 0)).double().mean().item()
        assert share == pytest.approx(lesson.agreement(rho), abs=0.008)


# ---------------------------------------------------------------- usual slips


def mask_of(fill):
    """A mask by a function that fills zeros, given the centre's place."""

    def mask(kind, size):
        m, c = torch.zeros(size, size), size // 2
        fill(m, c, kind == "B")
        return m

    return mask


def _no_left(m, c, b):
    m[:c] = 1
    m[c, c] = b


def _too_far(m, c, b):
    m[:c] = 1
    m[c, : c + 1 + b] = 1


MASKS = {
    "own diagonal": lambda k, size: torch.ones(size, size).tril(-1 if k == "A" else 0),
    "on the left are drawn": mask_of(_no_left),
    "one pixel too far": mask_of(_too_far),
    "are swapped: 1 is": lambda k, size: 1 - lesson.causal_mask(k, size),
    "Nothing is hidden": lambda k, size: torch.ones(size, size),
    "in one row": lambda k, size: lesson.causal_mask(k, size).flatten(),
    "Kind A is right": lambda k, size: lesson.causal_mask("A", size),
    "off by up to": lambda k, size: lesson.causal_mask(k, size) / 2,
    "size // 2": lambda k, size: torch.zeros(size, size)[: size / 2],
}


def gradients(join, numbers=lambda out, row, column: out[0, :, row, column]):
    """A field made of all gradients [numbers, H, W]."""

    def field(net, x, row, column):
        x = x.clone().requires_grad_(True)
        found = numbers(net(x), row, column)
        each = [torch.autograd.grad(n, x, retain_graph=True)[0][0, 0] for n in found]
        return join(torch.stack(each))

    return field


def at_once(net, x, row, column):
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(net(x)[0, :, row, column], x)[0].abs()[0, 0]


def a_tuple(net, x, row, column):
    x = x.clone().requires_grad_(True)
    numbers = net(x)[0, :, row, column]
    return sum(torch.autograd.grad(n, x, retain_graph=True).abs() for n in numbers)


def cloned_late(net, x, row, column):
    x.requires_grad_(True)
    n, x = net(x)[0, 0, row, column], x.clone()
    return torch.autograd.grad(n, x)[0][0, 0]


def of_sizes(net, x, row, column):
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(net(x)[0, :, row, column].abs().sum(), x)[0].abs()[0, 0]


FIELDS = {
    "sizes are missing": gradients(lambda g: g.sum(0)),
    "squares": gradients(lambda g: (g**2).sum(0)),
    "largest gradient": gradients(lambda g: g.amax(0)),
    "largest size": gradients(lambda g: g.abs().amax(0)),
    "size of the *numbers*": of_sizes,
    "along the row": gradients(lambda g: g.abs().sum(0), lambda o, r, c: o[0, r, c]),
    "root of the squares' sum": gradients(lambda g: g.norm(dim=0)),
    "counts the numbers": gradients(lambda g: (g.abs() > 0).sum(0)),
    "one number at a time": at_once,
    "returns a tuple": a_tuple,
    "clone first": cloned_late,
}


def painted(pixel, draw=lambda out, u, r, c: draw_levels(out[:, :, r, c], u[:, r, c])):
    """Painting with its two lines in other words."""

    def paint(net, uniforms):
        B, H, W = uniforms.shape
        x = torch.zeros(B, 1, H, W)
        for row in range(H):
            for column in range(W):
                x[:, 0, row, column] = pixel(draw(net(x), uniforms, row, column))
        return x

    return paint


def ready(level):
    return level / 127.5 - 1


def whole(net, uniforms):
    draw_levels(net(torch.zeros_like(uniforms)[:, None])[:, :, 0, 0], uniforms)


def flat(net, uniforms):
    draw_levels(net(torch.zeros_like(uniforms)[:, None])[0, :, 0, 0], uniforms[:, 0, 0])


PAINTS = {
    "from 0 to 1": painted(lambda level: level / 255),
    "from 0 to 2": painted(lambda level: level / 127.5),
    "not by 128": painted(lambda level: level / 128 - 1),
    "the negative": painted(lambda level: 1 - level / 127.5),
    "its distribution's mean": painted(
        lambda m: m, lambda out, u, r, c: out[:, 1, r, c].clamp(-1, 1)
    ),
    "chance comes from elsewhere": lambda net, u: lesson.paint(net, torch.rand(u.shape)),
    "writes into its own argument, `u`": lambda net, u: (lesson.paint(net, u), u.zero_())[0],
    "these are levels": lambda net, u: (lesson.paint(net, u) + 1) * 127.5,
    "first one's distributions": painted(
        ready, lambda out, u, r, c: draw_levels(out[:1, :, r, c], u[:, r, c])
    ),
    "first one's numbers": painted(
        ready, lambda out, u, r, c: draw_levels(out[:, :, r, c], u[:1, r, c])
    ),
    "up to H": painted(ready, lambda out, u, r, c: draw_levels(out[:, :, c, r], u[:, r, c])),
    "bottom to the top": lambda net, u: lesson.paint(
        lambda x: net(x.flip(2)).flip(2), u.flip(1)
    ).flip(2),
    "one pixel of every picture": whole,
    "with an axis for the pictures": flat,
}


def bits(p):
    return -torch.special.xlogy(p, p).sum() / math.log(2)


def own(joint, i):
    return joint.sum(dim=[axis for axis in range(joint.ndim) if axis != i])


def sum_of_own(joint):
    return sum(bits(own(joint, i)) for i in range(joint.ndim))


LOSTS = {
    "Right for two variables": lambda j: bits(j.sum(0)) + bits(j.sum(1)) - bits(j),
    "taken off, not added": lambda j: sum_of_own(j) + bits(j),
    "here it was multiplied": lambda j: (sum_of_own(j) - bits(j)) * math.log(2) ** 2,
    "base 10": lambda j: (sum_of_own(j) - bits(j)) * math.log10(2),
    "H(x) alone, and 0 log 0": lambda j: -(j * j.log2()).sum(),
    "all cases are alike": lambda j: math.log2(j.numel()) - bits(j),
    "One part is in nats": lambda j: sum_of_own(j) * math.log(2) - bits(j),
}

SLIPS = [
    pytest.param(exercise, slip, words, id=f"{exercise.name}: {words}")
    for exercise, slips in (
        (lesson.MASK, MASKS),
        (lesson.FIELD, FIELDS),
        (lesson.PAINT, PAINTS),
        (lesson.LOST, LOSTS),
    )
    for words, slip in slips.items()
]


def by_halves(kind, size):
    mask, c = torch.ones(size, size), size // 2
    mask[c, c + (kind == "B") :] = 0
    mask[c + 1 :] = 0
    return mask


def by_jacrev(net, x, row, column):
    return torch.func.jacrev(lambda y: net(y)[0, :, row, column])(x).abs().sum((0, 1, 2))


def by_hand_reset(net, x, row, column):
    x = x.detach().clone().requires_grad_()
    total = torch.zeros_like(x)
    for number in net(x)[0, :, row, column]:
        x.grad = None
        number.backward(retain_graph=True)
        total += x.grad.abs()
    return total[0, 0].double()


def by_clones(net, uniforms):
    B, H, W = uniforms.shape
    x = uniforms.new_zeros(B, 1, H, W)
    for i in range(H * W):
        (r, c), x = divmod(i, W), x.clone()
        x[:, :, r, c] = (
            draw_levels(net(x)[..., r, c], uniforms[:, r, c])[:, None] - 127.5
        ) / 127.5
    return x


RIGHT = [
    (lesson.MASK, by_halves),
    (
        lesson.MASK,
        lambda k, s: (torch.arange(s * s) < s * s // 2 + (k == "B")).view(s, s).double(),
    ),
    (lesson.FIELD, by_jacrev),
    (lesson.FIELD, by_hand_reset),
    (lesson.PAINT, by_clones),
    (lesson.PAINT, painted(lambda level: (2 * level - 255) / 255)),
    (lesson.LOST, lambda j: sum_of_own(j) - bits(j)),
    (lesson.LOST, lambda j: (sum_of_own(j) - bits(j)).float()),
    (lesson.LOST, lambda j: -(j.clamp(min=1e-300).log2() * j).sum().neg() + sum_of_own(j)),
]


class TestAnswers(AnswersContract):
    """The usual slips, and right answers in other words."""

    slips, right = SLIPS, RIGHT


# ---------------------------------------------------------------- the gallery


@pytest.fixture(scope="module")
def found():
    """The symptoms of every bug."""
    return {bug: bugs.symptoms(bug) for bug in bugs.BUGS}


SIGNS = {
    1: lambda s: (
        abs(s["bits"]) < 0.01
        and s["leak"] == "none"
        and s["alone"] == 0
        and abs(s["neighbours"] - 1) < 0.1
        and abs(s["total"] - 1) < 1e-3
    ),
    2: lambda s: s["leak"] == "itself" and s["bits"] < -1,
    3: lambda s: s["leak"] == "later pixels" and -1 < s["bits"] < -0.05,
    4: lambda s: s["total"] > 100 and s["bits"] < -6,
    5: lambda s: s["total"] < 0.97 and s["bits"] > 0.1,
    6: lambda s: s["alone"] > 0.1,
    7: lambda s: s["bits"] < -1 and s["leak"] == "none" and abs(s["total"] - 1) < 1e-3,
    8: lambda s: s["bits"] > 0.5 and abs(s["total"] - 1) < 1e-3,
    9: lambda s: abs(s["neighbours"]) < 0.1 and abs(s["bits"]) < 0.01,
}


@pytest.mark.parametrize("bug", bugs.BUGS)
def test_each_bug_shows_its_sign_and_no_other_does(bug, found):
    assert [other for other in bugs.BUGS if SIGNS[bug](found[other])] == [bug]


def test_the_third_bug_s_numbers_are_the_least_squares_ones():
    x = bugs.draw(1, 2000, seed=5)
    near = [bugs.neighbour(x, *place) for place in ((0, 1), (1, 0), (0, -1))]
    inner = (..., slice(1, None), slice(1, -1))
    A = torch.stack([pixel[inner].flatten() for pixel in near], dim=1)
    fitted = torch.linalg.lstsq(A, x[inner].flatten()[:, None]).solution.flatten()
    assert fitted.tolist() == pytest.approx([0.45, 0.19, 0.38], abs=0.03)


def test_gallery_right():
    assert lesson.GALLERY(dict(lesson.GALLERY.key))
    assert sorted(lesson.GALLERY.key.values()) == sorted(lesson.BUGS)


def test_gallery_awaits():
    assert lesson.GALLERY({}).state == "awaits"
    assert lesson.GALLERY(dict.fromkeys(lesson.GALLERY.key, ...)).state == "awaits"


def test_gallery_names_the_symptom():
    first = next(iter(lesson.GALLERY.key))
    verdict = lesson.GALLERY({**lesson.GALLERY.key, first: 4})
    assert verdict.state == "wrong"
    assert verdict.text.startswith("8 of 9 right") and lesson.BUGS[4].sign in verdict.text
    assert "leak: none" in verdict.text
    for odd in (12, "7", [7]):
        assert "no line" in lesson.GALLERY({**lesson.GALLERY.key, first: odd}).text
    assert "takes a dict" in lesson.GALLERY([1, 2, 3]).text


def test_gallery_hangs_samples_and_symptoms():
    hung = lesson.gallery(n=2)
    assert list(hung) == list("ABCDEFGHI")
    for drawn, symptoms in hung.values():
        assert drawn.shape == (2, 1, 12, 12) and drawn.abs().max() <= 1
        assert lesson.told(symptoms).count("\n") == 1
