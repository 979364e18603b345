"""All at once: the exact table of two pixels, and what independence costs."""

import torch
from torch.distributions import Categorical

from course_lib.models.independent import IndependentPixels, entropy, total_correlation

# two pixels of two levels, two classes: a picture is all black or all white, mostly
PICTURES = torch.tensor([[0.45, 0.05], [0.05, 0.45]], dtype=torch.float64)


def test_the_lost_bits_of_two_pixels_are_the_total_correlation():
    h = -(0.9 * torch.log2(torch.tensor(0.45)) + 0.1 * torch.log2(torch.tensor(0.05))).double()
    expected = 2.0 - h  # two fair coins, less the joint's entropy
    found = total_correlation(PICTURES)
    assert abs(found - expected) < 1e-6
    product = torch.full((2, 2), 0.25, dtype=torch.float64)
    kl = (PICTURES * (PICTURES / product).log2()).sum()
    assert abs(found - kl) < 1e-12
    assert total_correlation(product) == 0


def test_total_correlation_of_more_variables():
    joint = torch.rand(3, 2, 4, dtype=torch.float64)
    joint = joint / joint.sum()
    a, b, c = joint.sum((1, 2)), joint.sum((0, 2)), joint.sum((0, 1))
    product = a[:, None, None] * b[:, None] * c
    kl = (joint * (joint / product).log2()).sum()
    assert abs(total_correlation(joint) - kl) < 1e-12
    p = torch.tensor([0.5, 0.25, 0.25, 0.0], dtype=torch.float64)
    assert entropy(p) == 1.5
    torch.testing.assert_close(
        entropy(joint.flatten()),
        Categorical(joint.flatten()).entropy() / torch.log(torch.tensor(2.0)).double(),
    )


def test_one_variable_alone_loses_nothing():
    for p in ([0.5, 0.25, 0.25], [0.2, 0.8], [1.0]):
        assert total_correlation(torch.tensor(p, dtype=torch.float64)) == 0
    column = torch.tensor([[0.5], [0.5]], dtype=torch.float64)  # the other one never varies
    assert total_correlation(column) == 0


def chimera() -> tuple[torch.Tensor, torch.Tensor]:
    """Two pixels: class 0 is black, class 1 white; 100 pictures each."""
    images = torch.tensor([0, 255], dtype=torch.uint8).repeat_interleave(100)
    labels = torch.tensor([0, 1]).repeat_interleave(100)
    return images[:, None, None].expand(200, 1, 2), labels


def test_a_class_each_is_exact_and_their_mixture_makes_chimeras():
    images, labels = chimera()
    net = IndependentPixels.fit(images, labels, classes=2, count=1e-6)
    assert (net.log_prob(images, labels).abs() < 1e-4).all()
    uniforms = torch.rand(4000, 1, 2)
    either = torch.tensor([0.5, 0.5]).expand(4000, 2)
    drawn = net.sample(uniforms, either)[:, 0, 0]
    mixed = (drawn[:, 0] != drawn[:, 1]).double().mean()
    assert abs(mixed - 0.5) < 5 * 0.5 / 4000**0.5  # half of the pictures are of neither class
    # the lost bit: sum of the pixels' entropies is 2, of the pictures 1
    bits = -net.log_prob(images, torch.tensor([0.5, 0.5]).expand(200, 2)) / torch.log(
        torch.tensor(2.0)
    )
    assert ((bits - 2).abs() < 1e-3).all()


def test_the_table_is_the_frequencies():
    images, labels = torch.randint(256, (50, 3, 4), dtype=torch.uint8), torch.arange(50) % 10
    net = IndependentPixels.fit(images, labels, count=0.5)
    mine = images[labels == 7]
    share = (mine[:, 1, 2] == mine[0, 1, 2]).sum() + 0.5
    found = net(torch.tensor([7]))[0, 1, 2, mine[0, 1, 2].long()].exp()
    torch.testing.assert_close(found, (share / (len(mine) + 128)).float())
    torch.testing.assert_close(net(torch.arange(10)).exp().sum(dim=-1), torch.ones(10, 3, 4))
    assert net.sample(torch.rand(6, 3, 4), torch.arange(6)).shape == (6, 1, 3, 4)
    torch.testing.assert_close(net(torch.eye(10)), net(torch.arange(10)), rtol=1e-4, atol=1e-4)
