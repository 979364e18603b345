"""Lesson 09's graders against other ways to say the same, and against the library's samplers."""

import math

import pytest
import torch
from contracts import AnswersContract

from course_lib import Denoiser, Schedule, final, gaussian_denoiser, guided, sample_ddim
from course_lib.exercises import gallery_09 as gallery
from course_lib.exercises import lesson_09 as lesson
from course_lib.layers import CrossAttention


def test_look_is_the_library_s_attention():
    layer = CrossAttention(8, 6, 1)
    x, context = torch.randn(1, 5, 8), torch.randn(1, 4, 6)
    with torch.no_grad():
        mine = lesson.LOOK.solution(layer.q(x)[0], layer.k(context)[0], layer.v(context)[0])
        torch.testing.assert_close(layer.out(mine), layer(x, context)[0])
        one = layer(x, context[:, :1])[0]
    torch.testing.assert_close(one, one[:1].expand(5, -1))  # whatever the queries


def test_look_by_the_fused_form_and_by_hand():
    def by_hand(q, k, v):
        w = (q @ k.T / math.sqrt(q.shape[1])).exp()
        return (w / w.sum(1, keepdim=True)) @ v

    assert lesson.LOOK(by_hand)
    assert lesson.LOOK(
        lambda *qkv: torch.nn.functional.scaled_dot_product_attention(*(a[None] for a in qkv))[
            0
        ]
    )


@pytest.mark.parametrize("w", [0.0, 1.0, 3.0, 8.0])
def test_guidance_of_two_gaussians_samples_the_law(w):
    """DDIM in so many steps that its own error is small, from noise on a grid of quantiles."""
    plan, (m_u, m_c, s) = Schedule.cosine(), (-0.5, 0.7, 0.4)

    def denoise(x_t, t, cond):
        mean = torch.where(cond > 0, m_c, m_u).reshape(-1, 1)
        return gaussian_denoiser(plan, mean, s)(x_t, t)

    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    z = torch.special.ndtri(u)[:, None]
    steer = guided(denoise, 0.0, w)
    found = final(sample_ddim(steer, plan, z, plan.times(1000), torch.ones(1000)))
    mean, std = lesson.LAW.solution(m_u, m_c, s, w).tolist()
    assert found.mean().item() == pytest.approx(mean, abs=2e-3)
    assert found.std().item() == pytest.approx(std, abs=4e-3)


def test_whole_is_the_library_s_guided_ddim():
    case = lesson.WHOLE.cases[0]
    tower, net, decode, _, _, tokens, empty, z, times, scale = case
    plan = Schedule(case[3].double(), case[4].double())
    steer = guided(Denoiser(net, plan, "v"), tower(empty)[0], scale)
    theirs = final(sample_ddim(steer, plan, z, times, tower(tokens)))
    torch.testing.assert_close(lesson.WHOLE.solution(*case), decode(theirs).clamp(-1, 1))


def test_whole_in_another_hand():
    def mine(tower, net, decode, alpha, sigma, tokens, empty, z, times, scale):
        states = torch.cat([tower(tokens), tower(empty).repeat(len(tokens), 1, 1)])
        for t, s in zip(times, times[1:], strict=False):
            both = net(torch.cat([z, z]), torch.tensor([t] * (2 * len(z))), states)
            c, u = both.chunk(2)
            v = torch.lerp(u, c, scale)
            angle = torch.atan2(sigma[s], alpha[s]) - torch.atan2(sigma[t], alpha[t])
            z = torch.cos(angle) * z + torch.sin(angle) * v  # the step as a turn
        return decode(z).clip(-1, 1)

    assert lesson.WHOLE(mine)

    def by_number(tower, net, decode, alpha, sigma, tokens, empty, z, times, scale):
        return decode(net(z, times[0], tower(tokens)))

    assert "a tensor [B], one a picture" in lesson.WHOLE(by_number).text

    def narrow(tower, net, decode, alpha, sigma, tokens, empty, z, times, scale):
        return decode(net(z, torch.full((len(z),), times[0]), tower(empty)))

    assert "expand the empty prompt's" in lesson.WHOLE(narrow).text


@pytest.mark.parametrize("strength", [0.0, 0.05, 0.35, 1.0])
def test_begin_says_what_is_run(strength):
    times = list(range(10, -1, -1))
    left = len(times) - 1 - lesson.first_step(times, strength)
    assert left == int(10 * strength)


def test_inpainting_keeps_what_is_known():
    plan = Schedule.cosine()
    known, z = torch.randn(1, 4, 4, 4).double(), torch.randn(1, 4, 4, 4).double()
    mask = torch.tensor([0.0, 1.0, 1.0, 0.0]).double().expand(1, 1, 4, 4)
    inner = gaussian_denoiser(plan, 0.3, 0.5)

    def denoise(x_t, t, cond=None):
        alpha, sigma = plan.at(t, x_t)
        x0, eps = lesson.KEEP.solution(x_t, inner(x_t, t)[0], known, mask, alpha, sigma)
        torch.testing.assert_close(alpha * x0 + sigma * eps, x_t)
        return x0, eps

    made = final(sample_ddim(denoise, plan, z, plan.times(10)))
    free = final(sample_ddim(inner, plan, z, plan.times(10)))
    torch.testing.assert_close(made, mask * free + (1 - mask) * known)


# ---------------------------------------------------------------- the gallery


def toy_parts() -> gallery.Parts:
    """Pictures are latents' first channel, and a prompt is a mean of Normal data."""
    plan = Schedule.cosine()

    def net(x_t, t, states):
        t = int(t[0])
        x0, eps = gaussian_denoiser(plan, states.mean(), 0.5)(x_t, t)
        return plan.alpha[t] * eps - plan.sigma[t] * x0

    return gallery.Parts(
        tower=lambda tokens: tokens.double()[..., None],
        net=net,
        encode=lambda x: 2 * x[..., ::2, ::2],
        decode=lambda z: z.repeat_interleave(2, -1).repeat_interleave(2, -2) / 2,
        mean=torch.tensor(0.1).double(),
        std=torch.tensor(0.3).double(),
        alpha=plan.alpha,
        sigma=plan.sigma,
    )


@pytest.fixture(scope="module")
def readings():
    torch.manual_seed(0)
    parts, times = toy_parts(), Schedule.cosine().times(8)
    picture = torch.rand(1, 1, 8, 8).double().sub(0.5).repeat_interleave(1, 1)
    picture = picture[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2)
    mask = torch.zeros(1, 1, 8, 8).double()
    mask[..., 4:] = 1
    noise = torch.randn(1, 1, 4, 4).double()
    tokens, empty = torch.tensor([[1.0]]), torch.tensor([[0.0]])
    return {
        bug: gallery.readings(
            gallery.evidence(bug, parts, tokens, empty, noise, picture, mask, times),
            picture,
            mask,
        )
        for bug in gallery.BUGS
    }


def test_each_bug_leaves_its_sign(readings):
    right = readings[1]
    assert right["outside moves"] == 0 < right["guidance moves"]
    assert readings[7]["guidance moves"] == pytest.approx(0, abs=1e-9)
    assert readings[5]["image to image moves"] == pytest.approx(0, abs=1e-9)
    assert right["image to image moves"] > 0.05
    assert readings[3]["latent spread"] == right["latent spread"]
    assert readings[3]["image to image moves"] != right["image to image moves"]
    assert abs(readings[2]["latent spread"] / right["latent spread"] - 1) > 0.05
    assert readings[6]["guidance moves"] != pytest.approx(right["guidance moves"], rel=0.05)
    same = {key: value for key, value in readings[4].items() if key != "outside moves"}
    assert same == {key: right[key] for key in same}


def test_gallery_right():
    assert gallery.GALLERY(dict(gallery.GALLERY.key))
    assert sorted(gallery.GALLERY.key.values()) == sorted(gallery.BUGS)


def test_gallery_awaits_and_names_what_speaks_against():
    key = gallery.GALLERY.key
    assert gallery.GALLERY({}).state == "awaits"
    assert gallery.GALLERY(dict.fromkeys(key, ...)).state == "awaits"
    first = next(iter(key))
    other = next(number for number in gallery.BUGS if number != key[first])
    verdict = gallery.GALLERY({**key, first: other})
    assert verdict.text.startswith("6 of 7 right") and gallery.BUGS[other].sign in verdict.text
    assert "no line" in gallery.GALLERY({**key, first: 9}).text


# ---------------------------------------------------------------- a table of slips

LOOK, LAW, WHOLE, BEGIN, KEEP = (
    lesson.LOOK,
    lesson.LAW,
    lesson.WHOLE,
    lesson.BEGIN,
    lesson.KEEP,
)


def whole(
    lead=lambda c, u, w: u + w * (c - u),
    read=lambda a, s, z, v: (a * z - s * v, s * z + a * v),
    move=lambda alpha, sigma, t, s, x0, eps: alpha[s] * x0 + sigma[s] * eps,
    end=lambda picture: picture.clamp(-1, 1),
    at=lambda t, s: t,
):
    """A reader's whole model with one part in other words."""

    def text_to_image(tower, net, decode, alpha, sigma, tokens, empty, z, times, scale):
        cond, null = tower(tokens), tower(empty).repeat(len(tokens), 1, 1)
        for t, s in zip(times, times[1:], strict=False):
            told = torch.full((len(z),), at(t, s))
            v = lead(net(z, told, cond), net(z, told, null), scale)
            z = move(alpha, sigma, t, s, *read(alpha[t], sigma[t], z, v))
        return end(decode(z))

    return text_to_image


def seeded_like(x):
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(3))


def weights(q, k):
    return (q @ k.T / math.sqrt(q.shape[1])).softmax(1)


def begun(
    run=lambda n, w: int(n * w),
    at=lambda n, run: n - run,
    mix=lambda a, s, z, e: a * z + s * e,
):
    """A reader's begin with another count, another place, or another mix."""

    def begin(z0, eps, alpha, sigma, times, strength):
        n = len(times) - 1
        t = times[at(n, run(n, strength))]
        return mix(alpha[t], sigma[t], z0, eps)

    return begin


def kept(
    put=lambda x0, known, m: m * x0 + (1 - m) * known,
    eps=lambda x_t, x0, a, s: (x_t - a * x0) / s,
):
    """A reader's keep_outside with one of its lines in other words."""

    def keep(x_t, x0, known, mask, alpha, sigma):
        x0 = put(x0, known, mask)
        return torch.stack([x0, eps(x_t, x0, alpha, sigma)])

    return keep


def kept_in_place(x_t, x0, known, mask, alpha, sigma):
    outside = (mask == 0).expand_as(x0)
    x0[outside] = known[outside]
    return torch.stack([x0, (x_t - alpha * x0) / sigma])


TABLE = [
    (LOOK, lambda q, k, v: (q @ k.T / len(k) ** 0.5).softmax(1) @ v, "number of tokens"),
    (LOOK, lambda q, k, v: (q @ k.T / len(q) ** 0.5).softmax(1) @ v, "number of places"),
    (LOOK, lambda q, k, v: (q @ k.T * q.shape[1] ** 0.5).softmax(1) @ v, "where it divides"),
    (LOOK, lambda q, k, v: (q @ k.T / 8**0.5).exp() @ v, "The weights don't sum to 1"),
    (LOOK, lambda q, k, v: weights(q, v) @ k, "are exchanged"),
    (LOOK, lambda q, k, v: v[(q @ k.T).argmax(1)], "The best token's value alone"),
    (LOOK, lambda q, k, v: weights(q, k) @ v + q, "The query is added"),
    (LOOK, lambda q, k, v: (q @ k.T / torch.sqrt(q.shape[1])) @ v, "Of a number x take"),
    (LOOK, lambda q, k, v: (q @ k).softmax(1) @ v, "@ multiplies matrices"),
    (LAW, lambda u, c, s, w: torch.tensor([u + w * (u - c), s]), "the wrong way round"),
    (LAW, lambda u, c, s, w: torch.tensor([u + (w - 1) * (c - u), s]), "the whole w"),
    (LAW, lambda u, c, s, w: torch.tensor([u + w * c, s]), "not m_c itself"),
    (LAW, lambda u, c, s, w: torch.tensor([c, s]), "at w = 1 alone"),
    (LAW, lambda u, c, s, w: torch.tensor([u + w * (c - u), s**2]), "not the variance"),
    (LAW, lambda u, c, s, w: torch.tensor([s, u + w * (c - u)]), "in the wrong order"),
    (LAW, lambda u, c, s, w: (u + w * (c - u), s), "torch.tensor makes a tensor"),
    (WHOLE, whole(at=lambda t, s: s), "The net is told s"),
    (WHOLE, whole(read=lambda a, s, z, v: (a * z + s * v, s * z - a * v)), "signs of v"),
    (WHOLE, whole(read=lambda a, s, z, v: (v, (z - a * v) / s)), "read as the picture"),
    (WHOLE, whole(read=lambda a, s, z, v: ((z - s * v) / a, v)), "read as noise"),
    (WHOLE, whole(move=lambda al, sg, t, s, x0, e: x0), "for the next latent"),
    (WHOLE, whole(move=lambda al, sg, t, s, x0, e: al[s] * x0 + sg[t] * e), "still at t"),
    (WHOLE, whole(move=lambda al, sg, t, s, x0, e: sg[s] * x0 + al[s] * e), "in the step"),
    (
        WHOLE,
        whole(move=lambda al, sg, t, s, x0, e: al[s] * x0 + sg[s] * torch.randn_like(e)),
        "fresh noise is drawn",
    ),
    (
        WHOLE,
        whole(move=lambda al, sg, t, s, x0, e: al[s] * x0 + sg[s] * seeded_like(e)),
        "Fresh noise is drawn, the same in each call",
    ),
    (
        WHOLE,
        whole(read=lambda a, s, z, v: (s * z - a * v, a * z + s * v)),
        "exchanged where v is read",
    ),
    (
        WHOLE,
        whole(
            read=lambda a, s, z, v: (s * z - a * v, a * z + s * v),
            move=lambda al, sg, t, s, x0, e: sg[s] * x0 + al[s] * e,
        ),
        "or alpha and sigma throughout",
    ),
    (
        BEGIN,
        begun(mix=lambda a, s, z, e: a * z + s * seeded_like(e)),
        "drawn inside, the same in each call",
    ),
    (WHOLE, whole(lambda c, u, w: w * c), "The second look is missing"),
    (WHOLE, whole(lambda c, u, w: w * (c - u)), "Only the difference is left"),
    (WHOLE, whole(lambda c, u, w: u), "The prompt is not in it"),
    (WHOLE, whole(end=lambda x: (x.clamp(-1, 1) + 1) / 2), "in [0, 1]"),
    (WHOLE, whole(end=lambda x: x), "All but the last touch"),
    (BEGIN, begun(at=lambda n, run: run), "Inverted"),
    (BEGIN, begun(at=lambda n, run: n - run - 1), "One step too early"),
    (BEGIN, begun(at=lambda n, run: n - run + 1), "One step too late"),
    (BEGIN, begun(mix=lambda a, s, z, e: s * z + a * e), "alpha and sigma are exchanged"),
    (BEGIN, begun(mix=lambda a, s, z, e: a * z), "dimmed and gets no noise"),
    (BEGIN, begun(mix=lambda a, s, z, e: a * z + s * torch.randn_like(e)), "drawn inside"),
    (BEGIN, begun(run=lambda n, w: n * w), "counted in whole steps"),
    (BEGIN, begun(run=lambda n, w: round(n * w)), "is rounded"),
    (
        BEGIN,
        lambda z0, e, al, sg, ts, w: al[int(1000 * w)] * z0 + sg[int(1000 * w)] * e,
        "a share of the *steps*",
    ),
    (KEEP, kept_in_place, "writes into its own argument, `x0`"),
    (KEEP, kept(eps=lambda x_t, x0, a, s: (x_t - x0) / s), "alpha is missing in eps"),
    (KEEP, kept(eps=lambda x_t, x0, a, s: (x_t - s * x0) / a), "exchanged in eps"),
    (KEEP, kept(eps=lambda x_t, x0, a, s: (a * x0 - x_t) / s), "The sign of eps"),
    (KEEP, kept(put=lambda x0, known, m: m * x0 + known), "is added too"),
    (KEEP, kept(put=lambda x0, known, m: known), "All of the guess is replaced"),
    (KEEP, kept(put=lambda x0, known, m: x0), "The known picture is not put in"),
    (KEEP, lambda *case: kept()(*case).flip(0), "in the wrong order"),
]

RIGHT = [
    (
        LOOK,
        lambda q, k, v: torch.stack([torch.softmax(k @ x / len(x) ** 0.5, 0) @ v for x in q]),
    ),
    (
        LOOK,
        lambda q, k, v: torch.einsum(
            "nl,ld->nd", (torch.einsum("nd,ld->nl", q, k) * q.size(1) ** -0.5).softmax(1), v
        ),
    ),
    (LOOK, lambda q, k, v: weights(q.double(), k.double()) @ v.double()),
    (LAW, lambda u, c, s, w: torch.tensor([(1 - w) * u + w * c, s])),
    (LAW, lambda u, c, s, w: torch.tensor([c + (w - 1) * (c - u), s], dtype=torch.float64)),
    (
        LAW,
        lambda u, c, s, w: torch.stack(
            [torch.tensor(u).lerp(torch.tensor(c), w), torch.tensor(s)]
        ),
    ),
    (WHOLE, whole()),
    (WHOLE, whole(lambda c, u, w: (1 - w) * u + w * c)),
    (WHOLE, whole(end=lambda x: x.clone().clamp_(-1, 1))),
    (BEGIN, begun()),
    (BEGIN, begun(lambda n, w: math.floor(w * n), lambda n, run: -1 - run)),
    (BEGIN, begun(mix=lambda a, s, z, e: a.double() * z + s.double() * e)),
    (KEEP, kept()),
    (KEEP, kept(put=lambda x0, known, m: torch.where(m.bool(), x0, known))),
    (KEEP, lambda x_t, x0, *rest: kept_in_place(x_t, x0.clone(), *rest)),
]


class TestAnswers(AnswersContract):
    """The usual slips, and right answers in other words."""

    slips, right = TABLE, RIGHT
