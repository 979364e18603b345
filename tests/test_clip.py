"""CLIP: its loss against closed forms, its towers' promises, and the measures by a judge."""

import math

import pytest
import torch
import torch.nn.functional as F

from course_lib.metrics.clip_score import concept_ranks, recall_at, style_accuracy
from course_lib.models import (
    CLIP,
    CLIPConfig,
    ImageClassifier,
    ImageClassifierConfig,
    ImageConfig,
    TextConfig,
)
from course_lib.models.clip import contrastive_loss
from course_lib.recipes.emoji_clip import says_the_same

CONFIG = CLIPConfig(
    TextConfig(40, 10, 16, 2, 2, end=1), ImageConfig(widths=(8, 16), groups=4), dim=12
)


def clip() -> CLIP:
    torch.manual_seed(0)
    return CLIP(CONFIG).eval()


def test_loss_of_two_pairs_in_closed_form():
    # two images at an angle of theta, each with its own text in its place: the cosines are 1
    # and cos(theta), so the loss is log(1 + exp(-scale (1 - cos(theta))))
    theta, scale = 0.7, 5.0
    images = torch.tensor([[1.0, 0.0], [math.cos(theta), math.sin(theta)]])
    expected = math.log1p(math.exp(-scale * (1 - math.cos(theta))))
    assert contrastive_loss(images, images, scale).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("B", [2, 7, 64])
def test_chance_is_log_b(B):
    vectors = torch.ones(B, 1)
    assert contrastive_loss(vectors, vectors, 3.0).item() == pytest.approx(math.log(B))


def test_texts_that_say_the_same_share_the_target():
    concept, style = torch.tensor([4, 4, 5]), torch.tensor([0, 1, 0])
    same = says_the_same(concept, style, torch.tensor([True, False, True]))
    # image 0 is told by its own text and by text 1, which names no style; image 1 by its own
    assert same.tolist() == [[True, True, False], [False, True, False], [False, False, True]]
    images = F.normalize(torch.randn(3, 4), dim=1)
    texts = F.normalize(torch.randn(3, 4), dim=1)
    logits = 2.0 * images @ texts.T
    rows, columns = logits.log_softmax(1), logits.log_softmax(0)
    to_texts = -((rows[0, 0] + rows[0, 1]) / 2 + rows[1, 1] + rows[2, 2]) / 3
    to_images = -(columns[0, 0] + (columns[0, 1] + columns[1, 1]) / 2 + columns[2, 2]) / 3
    found = contrastive_loss(images, texts, 2.0, same)
    torch.testing.assert_close(found, (to_texts + to_images) / 2)


def test_loss_is_in_float32_under_autocast():
    vectors = F.normalize(torch.randn(8, 16), dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = contrastive_loss(vectors, vectors, 100.0)
    torch.testing.assert_close(found, contrastive_loss(vectors, vectors, 100.0))


def test_unit_vectors_and_gradients_everywhere():
    net = clip().train()
    tokens = torch.randint(2, 40, (3, 10))
    tokens[:, 5:] = 1
    images, texts = net(torch.randn(3, 3, 64, 64), tokens)
    for vectors in (images, texts):
        assert vectors.shape == (3, 12)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    contrastive_loss(images, texts, net.scale).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_what_comes_after_the_end_changes_no_text():
    net = clip()
    tokens = torch.tensor([[0, 7, 8, 1, 1, 1, 1, 1, 1, 1], [0, 7, 8, 1, 9, 1, 5, 6, 7, 8]])
    with torch.no_grad():
        one, other = net.embed_texts(tokens)
    torch.testing.assert_close(one, other)


def test_the_scale_stops_at_a_hundred():
    net = clip()
    with torch.no_grad():
        net.log_scale.fill_(9.0)
    assert net.scale.item() == pytest.approx(100, rel=1e-4)


def test_ranks_and_recall():
    expected = torch.eye(4)
    vectors = F.normalize(
        torch.tensor([[1.0, 0, 0, 0], [0.9, 0.5, 0, 0], [0.3, 0.2, 0.1, 0.9], [1.0, 1, 1, 1]]),
        dim=1,
    )
    ranks = concept_ranks(vectors, torch.tensor([0, 1, 2, 3]), expected)
    assert ranks.tolist() == [0, 1, 3, 3]  # of equals the right one counts last
    assert recall_at(ranks, 1) == 0.25 and recall_at(ranks, 2) == 0.5


def test_style_accuracy_counts():
    torch.manual_seed(0)
    judge = ImageClassifier(
        ImageClassifierConfig(ImageConfig(widths=(8,), groups=4), 3)
    ).eval()
    images = torch.rand(20, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        guesses = judge(((images + 1) * 127.5).round() / 127.5 - 1).argmax(dim=1)
    assert style_accuracy(judge, images, guesses) == 1
    assert style_accuracy(judge, images, (guesses + 1) % 3) == 0
