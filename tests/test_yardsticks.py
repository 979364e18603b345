"""The yardstick: what it does to images first, its two protocols, and its floor."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from course_lib.data import to_float, to_uint8
from course_lib.errors import CourseError
from course_lib.metrics import YARDSTICKS, Moments, Yardstick, fashion_features, yardsticks

SHAPES = {"grey": (1, 8, 8), "colour": (3, 8, 8)}


def pixels(x: torch.Tensor) -> torch.Tensor:
    """Features that are pixels."""
    assert len(x) <= yardsticks.BATCH
    return x.flatten(1)


def ruler(shape=(1, 8, 8), embed=pixels, images=None, small=2048) -> Yardstick:
    return Yardstick("ruler", "", shape, images or (lambda split: None), embed, small)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_features_see_what_a_saved_picture_would_show(shape, monkeypatch):
    monkeypatch.setattr(yardsticks, "BATCH", 7)
    images = 1.5 * torch.randn(20, *shape)
    found = ruler(shape).features(images)
    assert found.shape == (20, images[0].numel())
    as_saved = to_float(to_uint8(images))
    torch.testing.assert_close(found, as_saved.flatten(1), rtol=0, atol=1e-6)
    torch.testing.assert_close(ruler(shape).features(as_saved), found, rtol=0, atol=1e-6)
    assert not found.requires_grad


def test_features_are_float32_whatever_the_autocast_around():
    net = torch.nn.Linear(64, 9)
    measured = ruler(embed=lambda x: net(x.flatten(1)))
    images = torch.randn(5, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = measured.features(images)
    assert torch.equal(found, measured.features(images))


@pytest.mark.parametrize("shape", [(20, 8, 8), (20, 3, 8, 8), (20, 1, 32, 32)])
def test_features_of_other_shapes(shape):
    with pytest.raises(ValueError, match=r"ruler takes images \[N, 1, 8, 8\]"):
        ruler().features(torch.zeros(shape))


def numbered(split: str) -> np.ndarray:
    """2x2 images that carry their own number: 4 bytes are enough for 55,000."""
    counts = {"test": 10_000, "valid": 5_000, "train": 55_000}
    numbers = np.arange(counts[split], dtype="<u4")
    return numbers.view(np.uint8).reshape(-1, 2, 2)


def number_of(x: torch.Tensor) -> torch.Tensor:
    """The number that an image carries: [N, 1]."""
    bytes_ = ((x.double() + 1) * 127.5).round().flatten(1)
    return bytes_ @ torch.tensor([[1.0], [256.0], [65536.0], [2.0**24]]).double()


def of_numbers(count: int) -> Moments:
    return Moments.of(torch.arange(count).double()[:, None])


def test_the_two_protocols():
    """Small: the first 2,048 test images; full: all 10,000."""
    measured = ruler((1, 2, 2), number_of, numbered)
    for n, size in ((2, 2048), (64, 2048), (2048, 2048), (2049, 10_000), (10_000, 10_000)):
        found, expected = measured.reference(n), of_numbers(size)
        assert found.n == expected.n
        torch.testing.assert_close(found.mean, expected.mean)
        torch.testing.assert_close(found.scatter, expected.scatter)
    assert measured.reference(5000, "valid").n == 5_000
    assert replace(measured, small=10).reference(11).n == 10_000


def test_the_floor_is_the_mean_of_draws_of_n_training_images(monkeypatch):
    drawn = []

    def distance(a, b):
        drawn.append((a, b))
        return float(len(drawn))

    monkeypatch.setattr(yardsticks, "frechet_distance", distance)
    measured = ruler((1, 2, 2), number_of, numbered)
    for n in (2, 2048, 10_000):
        drawn.clear()
        assert measured.floor(n) == 3.0  # of 1, 2, 3, 4 and 5
        assert [a.shape for a, _ in drawn] == [(n, 1)] * 5
        assert len(torch.cat([a for a, _ in drawn]).unique()) == 5 * n  # no image twice
        assert all(b is measured.reference(n) for _, b in drawn)
    first = torch.cat([a for a, _ in drawn])
    drawn.clear()
    torch.manual_seed(99)
    replace(measured, name="the same again").floor(10_000)
    # the same images on every machine
    assert torch.equal(torch.cat([a for a, _ in drawn]), first)
    with pytest.raises(
        CourseError, match="5 draws of 20000 images are not to be had from 55000"
    ):
        measured.floor(20_000)


def test_fashion_mnist_is_measured_by_the_classifier():
    fashion = YARDSTICKS["fashion-mnist"]
    assert (fashion.net, fashion.shape) == ("fashion-classifier", (1, 28, 28))
    assert fashion_features(torch.zeros(3, 1, 28, 28)).shape == (3, 128)
    assert all(name == measured.name for name, measured in YARDSTICKS.items())
