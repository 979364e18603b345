"""The networks: the shapes that their docstrings promise, what they start as, and that every
parameter learns.
"""

import dataclasses
import math

import pytest
import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.layers import (
    Attention,
    Downsample,
    ResBlock,
    Upsample,
    time_embedding,
    zero_init,
)
from course_lib.models import MODELS, ClassifierConfig, FashionClassifier, UNet, UNetConfig

TINY = UNetConfig(widths=(16, 32), blocks=1, head_dim=16, emb_dim=24)
CONFIGS = {
    "tiny": TINY,
    "no_fold": dataclasses.replace(TINY, fold=1, widths=(16, 16, 32)),
    "fold4": dataclasses.replace(TINY, fold=4, widths=(16,)),
    "colour": dataclasses.replace(TINY, channels=3),
    "unconditional": dataclasses.replace(TINY, classes=0),
    "deep": dataclasses.replace(TINY, blocks=2, attention=2),
    "no_attention": dataclasses.replace(TINY, attention=0),
}


def awake(module: nn.Module) -> nn.Module:
    """The module with noise in every parameter: layers that start at zero would hide what lies
    before them.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def assert_every_parameter_learns(module: nn.Module, output: torch.Tensor):
    (output * torch.randn_like(output)).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert torch.isfinite(parameter.grad).all(), (
            f"{name} has a gradient that is not finite"
        )
        assert parameter.grad.abs().max() > 0, f"{name} has gradient zero"


# ---- layers


def test_time_embedding_by_the_closed_form():
    t, dim = torch.tensor([0, 1, 17, 1000]), 8
    found = time_embedding(t, dim)
    assert (found.shape, found.dtype) == ((4, 8), torch.float32)
    for row, time in zip(found.tolist(), t.tolist(), strict=True):
        for i in range(dim // 2):
            angle = time / 10_000 ** (i / (dim // 2))
            assert row[i] == pytest.approx(math.cos(angle), abs=1e-4)
            assert row[i + dim // 2] == pytest.approx(math.sin(angle), abs=1e-4)


def test_near_times_look_alike_and_far_ones_do_not():
    """The similarity of two times depends on their distance alone, and is the mean of
    cos(distance * frequency).

    Sines and cosines along rows in place of columns, a known slip, gives neighbours 0.2 to
    0.3.
    """
    e = time_embedding(torch.arange(0, 1000), 64)
    similarity = e @ e.T / 32
    assert similarity.diagonal().sub(1).abs().max() < 1e-5
    for gap in (1, 5, 100, 600):
        expected = sum(math.cos(gap / 10_000 ** (i / 32)) for i in range(32)) / 32
        assert (similarity.diagonal(gap) - expected).abs().max() < 1e-3
    assert similarity.diagonal(1).min() > 0.95
    assert similarity.diagonal(600).max() < 0.6


def test_time_embedding_takes_ints_floats_and_no_odd_width():
    assert torch.equal(
        time_embedding(torch.tensor([3]), 6), time_embedding(torch.tensor([3.0]), 6)
    )
    assert not torch.equal(
        time_embedding(torch.tensor([3.5]), 6), time_embedding(torch.tensor([3.0]), 6)
    )
    with pytest.raises(ValueError, match="even number of columns, not 7"):
        time_embedding(torch.tensor([3]), 7)


def test_zero_init():
    layer = zero_init(nn.Conv2d(2, 3, 3))
    assert all((parameter == 0).all() for parameter in layer.parameters())


@pytest.mark.parametrize(("channels_in", "channels_out"), [(16, 16), (16, 32)])
def test_res_block(channels_in, channels_out):
    block, x, emb = (
        ResBlock(channels_in, channels_out, 12),
        torch.randn(3, channels_in, 6, 4),
        torch.randn(3, 12),
    )
    assert block(x, emb).shape == (3, channels_out, 6, 4)
    assert torch.equal(block(x, emb), block.skip(x))  # starts as nothing but its skip
    awake(block)
    assert not torch.allclose(block(x, emb), block(x, emb + 1))
    assert_every_parameter_learns(block, block(x, emb))


def test_attention_is_the_formula():
    """Against the definition, pixel by pixel and head by head; and it starts as nothing."""
    attention, x = Attention(32, head_dim=16), torch.randn(2, 32, 3, 2)
    assert torch.equal(attention(x), x)
    awake(attention)
    q, k, v = attention.qkv(attention.norm(x)).flatten(2).chunk(3, dim=1)  # [B, C, HW] each
    h = torch.zeros_like(v)
    for b in range(2):
        for head in (slice(0, 16), slice(16, 32)):
            for i in range(6):
                scores = torch.stack(
                    [(q[b, head, i] * k[b, head, j]).sum() / 4 for j in range(6)]
                )
                h[b, head, i] = sum(w * v[b, head, j] for j, w in enumerate(scores.softmax(0)))
    expected = x + attention.out(h.reshape(2, 32, 3, 2))
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)
    assert_every_parameter_learns(attention, attention(x))
    with pytest.raises(ValueError, match="32 channels into heads of 20"):
        Attention(32, head_dim=20)


def test_attention_does_not_mind_the_order_of_pixels():
    attention, x = awake(Attention(16, head_dim=16)), torch.randn(2, 16, 1, 12)
    order = torch.randperm(12)
    torch.testing.assert_close(
        attention(x[..., order]), attention(x)[..., order], rtol=1e-4, atol=1e-5
    )


def test_down_and_up():
    x = torch.randn(2, 5, 6, 4)
    assert Downsample(5, 7)(x).shape == (2, 7, 3, 2)
    assert Upsample(5, 7)(x).shape == (2, 7, 12, 8)


# ---- the U-Net


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
class TestUNet:
    def net(self, config):
        return awake(UNet(config)).eval()

    def inputs(self, config, B=3):
        x = torch.randn(B, config.channels, 28, 28)
        cond = torch.arange(B) % config.classes if config.classes else None
        return x, torch.tensor([1, 500, 1000])[:B], cond

    def test_shape(self, config):
        x, t, cond = self.inputs(config)
        net = self.net(config)
        assert net(x, t, cond).shape == x.shape
        assert net(x, t).shape == x.shape
        step = config.fold * 2 ** (len(config.widths) - 1)
        assert net(x[:, :, :step, : 2 * step], t, cond).shape == (
            3,
            config.channels,
            step,
            2 * step,
        )

    def test_starts_as_zero(self, config):
        x, t, cond = self.inputs(config)
        assert (UNet(config)(x, t, cond) == 0).all()

    def test_every_parameter_learns(self, config):
        x, t, cond = self.inputs(config)
        net = self.net(config)
        assert_every_parameter_learns(net, net(x, t, cond))

    def test_fresh_net_wakes_up_in_a_few_steps(self, config):
        """Its last layers start at zero and block the gradient of those before them, but only
        at first.
        """
        net, (x, t, cond) = UNet(config), self.inputs(config)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        for _ in range(3):
            optimizer.zero_grad()
            (net(x, t, cond) - x).square().mean().backward()
            optimizer.step()
        still = [
            name
            for name, parameter in net.named_parameters()
            if parameter.grad.abs().max() == 0
        ]
        assert still == []

    def test_an_image_does_not_depend_on_its_batch(self, config):
        x, t, cond = self.inputs(config)
        net = self.net(config)
        whole = net(x, t, cond)
        for i in range(3):
            alone = net(x[i : i + 1], t[i : i + 1], None if cond is None else cond[i : i + 1])
            torch.testing.assert_close(alone[0], whole[i], rtol=1e-4, atol=1e-5)

    def test_eval_is_repeatable_and_leaves_its_input_alone(self, config):
        x, t, cond = self.inputs(config)
        before, net = x.clone(), self.net(config)
        assert torch.equal(net(x, t, cond), net(x, t, cond))
        assert torch.equal(
            net.train()(x, t, cond), net.eval()(x, t, cond)
        )  # nothing random in it, either
        assert torch.equal(x, before)

    def test_is_told_the_time(self, config):
        x, t, cond = self.inputs(config)
        net = self.net(config)
        assert not torch.allclose(net(x, t, cond), net(x, t // 2, cond))
        assert torch.equal(net(x, t, cond), net(x, t.float(), cond))


def test_no_condition_is_the_null_class():
    net, x, t = awake(UNet(TINY)), torch.randn(2, 1, 28, 28), torch.tensor([5, 900])
    assert TINY.null_class == 10
    null = torch.full((2,), TINY.null_class)
    assert torch.equal(net(x, t), net(x, t, null))
    others = [net(x, t, torch.full((2,), label)) for label in range(10)]
    assert not any(torch.allclose(other, net(x, t)) for other in others)
    with pytest.raises(IndexError):
        net(x, t, torch.full((2,), 11))


def test_the_net_of_the_lessons():
    config = UNetConfig()
    assert (config.channels, config.classes, config.null_class) == (1, 10, 10)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.fold = 1
    net = UNet(config)
    assert net.config is config
    assert net(
        torch.randn(2, 1, 28, 28), torch.tensor([1, 1000]), torch.tensor([0, 10])
    ).shape == (2, 1, 28, 28)


# ---- the classifier

SMALL = ClassifierConfig(widths=(8, 8), features=12)


@pytest.mark.parametrize("config", [ClassifierConfig(), SMALL], ids=["shipped", "small"])
def test_classifier_shapes(config):
    net, x = FashionClassifier(config).eval(), torch.randn(4, 1, 28, 28)
    assert net(x).shape == (4, config.classes)
    features = net.features(x)
    assert features.shape == (4, config.features)
    assert features.min() >= 0
    torch.testing.assert_close(net(x), net.head(features))
    assert FashionClassifier(config).config == config


def test_classifier_learns_everywhere_and_is_still_in_eval():
    net, x = FashionClassifier(SMALL), torch.randn(8, 1, 28, 28)
    assert_every_parameter_learns(net, net(x))
    assert not torch.equal(net(x), net(x))  # dropout
    net.eval()
    assert torch.equal(net(x), net(x))
    torch.testing.assert_close(
        net(x)[2:3], net(x[2:3]), rtol=1e-4, atol=1e-5
    )  # batch norm uses what it has learnt


def test_models_table():
    assert {"UNet", "FashionClassifier", "PixelCNN", "ConvVAE", "TextUNet"} <= set(MODELS)
    for name, (model, config) in MODELS.items():
        assert model.__name__ == name
        assert dataclasses.is_dataclass(config)
        assert config.__dataclass_params__.frozen


@pytest.mark.parametrize(
    ("shape", "step"),
    [
        ((2, 1, 30, 30), 4),
        ((2, 1, 28, 30), 4),
        ((2, 1, 30, 28), 4),
        ((2, 1, 2, 2), 4),
        ((2, 1, 0, 28), 4),
        ((0, 1, 28, 28), 4),
        ((2, 3, 28, 28), 4),
        ((1, 28, 28), 4),
    ],
)
def test_sizes_that_do_not_fit(shape, step):
    """30x30 broke off in the middle of the net, and a batch of 0 lost its fold."""
    net = UNet(TINY)
    assert net.config.step == step
    with pytest.raises(
        CourseError, match=rf"\[B, 1, H, W\], one or more.*multiples of {step} \(4, 8"
    ):
        net(torch.zeros(shape), torch.ones(shape[0], dtype=torch.long))
