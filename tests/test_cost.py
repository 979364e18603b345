"""What a call costs, against what can be counted by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.metrics.cost import cost_of


def test_a_product_and_a_convolution_are_counted():
    a, b = torch.randn(7, 50), torch.randn(50, 11)
    work, seconds = cost_of(lambda: a @ b)
    assert work * 1e9 == pytest.approx(2 * 7 * 50 * 11) and seconds > 0
    layer, x = nn.Conv2d(3, 8, 3, padding=1), torch.randn(2, 3, 10, 10)
    assert cost_of(lambda: layer(x))[0] * 1e9 == pytest.approx(2 * 2 * 8 * 3 * 9 * 100)


def test_attention_is_counted_and_no_gradient_is_kept():
    q = torch.randn(1, 2, 16, 8, requires_grad=True)
    answers = []
    work, _ = cost_of(lambda: answers.append(F.scaled_dot_product_attention(q, q, q)), 2)
    assert work * 1e9 == pytest.approx(2 * 2 * 2 * 16 * 16 * 8)
    assert len(answers) == 3 and not answers[0].requires_grad
