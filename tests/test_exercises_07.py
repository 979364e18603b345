"""Lesson 07's graders take a reader's own ways to write it, and name the usual slips."""

import math

import pytest
import torch
import torch.nn.functional as F

from course_lib.data.emoji import FOLDER, emoji
from course_lib.exercises import lesson_07 as lesson
from course_lib.metrics import frechet_distance

EXERCISES = [lesson.MERGE, lesson.CONTRASTIVE, lesson.RECALL, lesson.FRECHET, lesson.BIAS]
SLIPS = [(e, *turn) for e in EXERCISES for turn in e.wrong_turns]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_library_is_right(exercise):
    assert exercise(exercise.solution)


@pytest.mark.parametrize(("exercise", "wrong", "hint"), SLIPS, ids=lambda v: str(v)[:30])
def test_each_slip_has_its_own_hint(exercise, wrong, hint):
    verdict = exercise(wrong)
    assert verdict.state == "wrong"
    assert verdict.text == hint


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


def test_bias_of_the_mean_term():
    generator = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(lesson.BIAS.cases[0][0])
    a, b = (
        (torch.randn(4000, n, 3, generator=generator, dtype=torch.float64) @ root.T).mean(1)
        for n in (10, 40)
    )
    found = (a - b).square().sum(1)
    expected = lesson.mean_bias(lesson.BIAS.cases[0][0], 10, 40).item()
    assert abs(found.mean().item() - expected) < 4 * found.std().item() / math.sqrt(4000)


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
