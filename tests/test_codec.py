"""Codecs: what the moments of an autoencoder's latents do, where they live, and what they are."""

import pytest
import torch
from torch import nn

from course_lib import LatentCodec, PixelCodec
from course_lib.errors import CourseError


class Halves(nn.Module):
    """A stand-in for an autoencoder: latents are pixels, stretched by a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))

    def encode(self, x):
        return x * self.weight.to(x.dtype)

    def decode(self, z):
        return z / self.weight.to(z.dtype)


def test_pixels_are_left_alone():
    x = torch.randn(2, 3, 4, 4)
    assert PixelCodec().encode(x) is x
    assert PixelCodec().decode(x) is x


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (0.5, 2.0),
        (torch.tensor([0.1, 0.2, -0.3]), torch.tensor([1.0, 2.0, 4.0])),
        (0.0, torch.tensor([1.0, 2.0, 4.0])),
        (torch.tensor([0.1, 0.2, -0.3]).reshape(3, 1, 1), 0.18215),
    ],
)
def test_by_the_formula_and_back(mean, std):
    codec, x = LatentCodec(Halves(), mean, std), torch.randn(2, 3, 5, 4)
    z = codec.encode(x)
    for c in range(3):
        m, s = (
            float(q.flatten()[c]) if torch.is_tensor(q) and q.numel() > 1 else float(q)
            for q in (mean, std)
        )
        torch.testing.assert_close(z[:, c], (3 * x[:, c] - m) / s)
    torch.testing.assert_close(codec.decode(z), x)


def test_latents_are_not_clipped():
    x = 50 * torch.randn(2, 3, 4, 4)
    codec = LatentCodec(Halves(), 1.0, 0.5)
    assert codec.encode(x).abs().max() > 100
    torch.testing.assert_close(codec.decode(codec.encode(x)), x, rtol=1e-5, atol=1e-4)


def test_moments_move_with_the_module():
    codec = LatentCodec(Halves(), 0.5, torch.tensor([1.0, 2.0, 4.0]))
    assert {name for name, _ in codec.named_buffers()} == {"mean", "std"}
    assert {name for name, _ in codec.named_parameters()} == {"autoencoder.weight"}
    codec = codec.to("meta")
    assert codec.mean.is_meta
    assert codec.std.is_meta


def test_a_state_dict_brings_its_moments():
    """One number a channel into a codec made with the defaults, in memory or without."""
    codec = LatentCodec(
        Halves(), torch.tensor([0.1, 0.2, -0.3]), torch.tensor([1.0, 2.0, 4.0])
    )
    x = torch.randn(2, 3, 4, 4)
    other = LatentCodec(Halves())
    other.load_state_dict(codec.state_dict())
    assert torch.equal(other.encode(x), codec.encode(x))
    with torch.device("meta"):
        third = LatentCodec(Halves())
    third.load_state_dict(codec.state_dict(), assign=True)
    assert torch.equal(third.encode(x), codec.encode(x))
    nested = nn.ModuleDict({"codec": LatentCodec(Halves())})
    nested.load_state_dict(nn.ModuleDict({"codec": codec}).state_dict())
    assert torch.equal(nested["codec"].encode(x), codec.encode(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_latents_have_the_dtype_of_the_autoencoders(dtype):
    codec, x = (
        LatentCodec(Halves(), 0.5, torch.tensor([1.0, 2.0, 4.0])),
        torch.randn(2, 3, 4, 4),
    )
    z = codec.encode(x.to(dtype))
    assert z.dtype == codec.decode(z).dtype == dtype


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (0.0, 0.0),
        (0.0, -1.0),
        (0.0, float("nan")),
        (0.0, float("inf")),
        (float("nan"), 1.0),
        (0.0, torch.tensor([1.0, 0.0, 1.0])),
    ],
)
def test_a_spread_is_positive(mean, std):
    with pytest.raises(CourseError, match="std: a number above 0"):
        LatentCodec(Halves(), mean, std)
    state = LatentCodec(Halves()).state_dict()
    state |= {"mean": torch.as_tensor(mean), "std": torch.as_tensor(std)}
    with pytest.raises(CourseError, match="std: a number above 0"):
        LatentCodec(Halves()).load_state_dict(state)
