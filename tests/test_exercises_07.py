"""Lesson 07's graders take a reader's own ways to write it, and name the usual slips."""

import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from contracts import AnswersContract

from course_lib.data.emoji import FOLDER, emoji
from course_lib.exercises import lesson_07 as lesson
from course_lib.metrics import frechet_distance

EXERCISES = [lesson.MERGE, lesson.CONTRASTIVE, lesson.RECALL, lesson.FRECHET]
# ---------------------------------------------------------------- written otherwise


def test_merge_in_a_while_loop():
    def mine(ids, new):
        row, counts = ids.tolist(), {}
        for pair in zip(row, row[1:], strict=False):
            counts[pair] = counts.get(pair, 0) + 1
        best = max(counts, key=counts.get)
        i, out = 0, []
        while i < len(row):
            pair = tuple(row[i : i + 2])
            out.append(new if pair == best else row[i])
            i += 2 if pair == best else 1
        return torch.tensor(out)

    assert lesson.MERGE(mine)


def test_contrastive_by_logsumexp():
    def mine(images, texts, log_scale):
        s = log_scale.exp() * images @ texts.T
        right = s.diagonal()
        return ((s.logsumexp(1) - right).mean() + (s.logsumexp(0) - right).mean()) / 2

    assert lesson.CONTRASTIVE(mine)


def test_contrastive_must_train_the_temperature():
    def mine(images, texts, log_scale):
        return lesson.contrastive(images, texts, log_scale.item())

    assert "no gradient reaches log_scale" in lesson.CONTRASTIVE(mine).text


def test_contrastive_of_two_is_a_softplus():
    """Two images on two texts at angles with cosines a (own) and b (other)."""
    turn = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    a, b = 0.8, 0.6
    texts = torch.tensor([[a, b], [b, a]])
    loss = lesson.contrastive(turn, texts, math.log(5.0))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-5 * (a - b))), rel=1e-6)


def test_chance_is_log_b():
    same = F.normalize(torch.ones(9, 4), dim=1)
    assert lesson.contrastive(same, same, 3.0).item() == pytest.approx(math.log(9))


def test_recall_by_sorting():
    def mine(images, texts, own, k):
        order = (images @ texts.T).argsort(dim=1, descending=True)[:, :k]
        return sum(int(o in row) for o, row in zip(own, order, strict=True)) / len(own)

    assert lesson.RECALL(mine)


def test_frechet_1d_is_the_library_s():
    for a, b in lesson.FRECHET.cases:
        expected = frechet_distance(a[:, None], b[:, None])
        assert lesson.frechet_1d(a, b).item() == pytest.approx(expected)


# ---------------------------------------------------------------- the gallery


def test_gallery_grades():
    assert lesson.GALLERY(dict(lesson.GALLERY.key))
    assert sorted(lesson.GALLERY.key.values()) == sorted(lesson.BUGS)
    assert lesson.GALLERY({}).state == "awaits"
    verdict = lesson.GALLERY({**lesson.GALLERY.key, "A": 2})
    assert verdict.text.startswith("6 of 7 right") and lesson.BUGS[2].sign in verdict.text
    assert "no line" in lesson.GALLERY({**lesson.GALLERY.key, "A": 9}).text


def test_minilm_vectors_are_unit_rows():
    from safetensors.torch import load_file

    vectors = load_file(FOLDER / "minilm.safetensors")["vectors"]
    assert vectors.shape == (len(emoji().concepts), 384) and vectors.dtype == torch.float16
    torch.testing.assert_close(
        vectors.float().norm(dim=1), torch.ones(len(vectors)), atol=2e-3, rtol=0
    )


# ---------------------------------------------------------------- a table of slips

MERGE, CONTRASTIVE, RECALL, FRECHET = EXERCISES


def merged(count=lambda row: Counter(zip(row, row[1:], strict=False)), put=lambda new: [new]):
    """A reader's merge with the pairs counted, or replaced, in another way."""

    def merge(ids, new):
        row, i, out = ids.tolist(), 0, []
        pair = count(row).most_common(1)[0][0]
        while i < len(row):
            if tuple(row[i : i + 2]) == pair:
                out, i = out + put(new), i + 2
            else:
                out, i = [*out, row[i]], i + 1
        return torch.tensor(out)

    return merge


def loss(logits, own=torch.arange, reduction="mean"):
    """A reader's contrastive loss with other logits, or other targets."""

    def both(images, texts, log_scale):
        s = logits(images, texts, log_scale)
        y = own(len(s))
        one = F.cross_entropy(s, y, reduction=reduction)
        return (one + F.cross_entropy(s.T, y, reduction=reduction)) / 2

    return both


def usual(images, texts, log_scale):
    return log_scale.exp() * images @ texts.T


def found(hit, nearness=lambda i, t: i @ t.T, k=lambda k: k):
    """A reader's recall with another test of the nearest, another nearness, or another k."""
    return lambda images, texts, own, n: (
        hit(nearness(images, texts).topk(k(n), dim=1).indices, own).double().mean().item()
    )


def among(near, own):
    return (near == own[:, None]).any(dim=1)


def means(a, b):
    return (a.mean() - b.mean()) ** 2


TABLE = [
    (
        MERGE,
        merged(lambda r: Counter(zip(r[::2], r[1::2], strict=False))),
        "Only every second",
    ),
    (MERGE, merged(lambda r: Counter(zip(r, r[2:], strict=False))), "two places apart"),
    (
        MERGE,
        merged(lambda r: Counter(tuple(sorted(p)) for p in zip(r, r[1:], strict=False))),
        "counted as one pair",
    ),
    (MERGE, merged(put=lambda new: [new, new]), "two new tokens"),
    (MERGE, merged(put=lambda new: []), "cut out"),
    (MERGE, lambda ids, new: merged()(ids, new).double(), "tokens are whole numbers"),
    (MERGE, lambda ids, new: merged()(ids, new).tolist(), "torch.tensor makes a tensor"),
    (CONTRASTIVE, lambda *case: -loss(usual)(*case), "minus the log already"),
    (CONTRASTIVE, loss(lambda *c: usual(*c).softmax(1)), "have been through a softmax"),
    (CONTRASTIVE, loss(lambda i, t, s: usual(i, i, s)), "compared with themselves"),
    (
        CONTRASTIVE,
        loss(usual, lambda n: torch.zeros(n, dtype=torch.long)),
        "The first text is",
    ),
    (CONTRASTIVE, loss(lambda i, t, s: i @ t.T + s), "The scale is missing, or is added"),
    (CONTRASTIVE, loss(lambda i, t, s: math.exp(-s) * i @ t.T), "not divided"),
    (RECALL, lambda *case: 100 * found(among)(*case), "These are percent"),
    (RECALL, lambda *case: 1 - found(among)(*case), "that is *not* found"),
    (
        RECALL,
        found(lambda near, own: among(near, torch.arange(len(own)))),
        "The number of the image is looked for",
    ),
    (RECALL, found(among, k=lambda k: max(k - 1, 1)), "One place too few"),
    (RECALL, found(among, k=lambda k: k + 1), "One place too many"),
    (RECALL, found(among, torch.cdist), "farthest"),
    (RECALL, found(lambda near, own: near == own[:, None]), "that is precision"),
    (RECALL, lambda images, texts, own, k: 0.0, "off by up to"),  # no hint for a zero
    (FRECHET, lambda a, b: means(a, b) + (a.var() * b.var()).sqrt(), "off by up to"),
    (FRECHET, lambda a, b: means(a, b) + a.var() + b.var() - 2 * a.var() * b.var(), "a root"),
    (FRECHET, lambda a, b: means(a, b) + (a.std() + b.std()) ** 2, "The spreads are added"),
    (FRECHET, lambda a, b: means(a, b) - (a.std() - b.std()) ** 2, "add up"),
    (FRECHET, lambda a, b: (a.std() - b.std()) ** 2, "The spreads only"),
    (
        FRECHET,
        lambda a, b: means(a, b) + (a.std(correction=0) - b.std(correction=0)) ** 2,
        "divided by N - 1",
    ),
    (FRECHET, lambda a, b: ((a - b) ** 2).mean(), "two shapes don't fit"),
]

RIGHT = [
    (MERGE, merged()),
    (MERGE, lambda ids, new: merged()(ids, new).int()),
    (
        MERGE,
        merged(
            lambda r: Counter(dict.fromkeys([], 0)) + Counter(zip(r[:-1], r[1:], strict=True))
        ),
    ),
    (CONTRASTIVE, loss(usual)),
    (CONTRASTIVE, loss(lambda i, t, s: usual(i.double(), t.double(), s))),
    (
        CONTRASTIVE,
        loss(lambda i, t, s: torch.einsum("id,jd->ij", s.exp() * i, t), torch.eye),
    ),
    (RECALL, found(among)),
    (RECALL, found(among, lambda i, t: -torch.cdist(i, t))),
    (
        RECALL,
        lambda i, t, own, k: (
            ((i @ t.T > (i * t[own]).sum(1, True) + 1e-6).sum(1) < k).float().mean()
        ),
    ),
    (FRECHET, lambda a, b: means(a, b) + a.var() + b.var() - 2 * (a.var() * b.var()).sqrt()),
    (FRECHET, lambda a, b: float(means(a, b) + (a.std() - b.std()) ** 2)),
    (FRECHET, lambda a, b: frechet_distance(a[:, None], b[:, None])),
]


class TestAnswers(AnswersContract):
    """The usual slips, and right answers in other words."""

    slips, right = TABLE, RIGHT
