"""PixelCNN: what a pixel may look at, what its distribution sums to, and both samplers."""

import math

import pytest
import torch
from torch import nn

from course_lib.data import fashion_mnist, to_float
from course_lib.draws import Draws, ImageDraws
from course_lib.models import PixelCNN, PixelCNNConfig, mixture_log_prob
from course_lib.models.pixel_sampling import complete, influence, sample
from course_lib.models.pixelcnn import draw_levels, entropy_map, levels_of, mixture_table

SMALL = PixelCNNConfig(channels=32, dilations=(1, 2, 1), mixtures=4, dropout=0.0)


def awake(config=SMALL) -> PixelCNN:
    """A net in eval mode none of whose layers is zero."""
    net = PixelCNN(config).eval()
    for parameter in net.parameters():
        if parameter.abs().sum() == 0:
            nn.init.normal_(parameter, std=0.2)
    return net


def pictures(B: int, side: int = 8) -> torch.Tensor:
    return torch.randint(256, (B, 1, side, side)) / 127.5 - 1


# ---- causality


def jacobian(net: PixelCNN, x: torch.Tensor) -> torch.Tensor:
    """Whether any output of a pixel moves with an input: [H W outputs, H W inputs]."""
    H, W = x.shape[-2:]
    x = x.clone().requires_grad_(True)
    out = net(x, torch.tensor([3]))
    rows = []
    for i in range(H * W):
        weights = torch.randn(out.shape[1])
        (gradient,) = torch.autograd.grad(
            (out[0, :, i // W, i % W] * weights).sum(), x, retain_graph=True
        )
        rows.append(gradient.flatten())
    return torch.stack(rows)


def test_no_pixel_sees_itself_or_a_later_one_and_none_misses_an_earlier_one():
    J = jacobian(awake(), pictures(1, 7))
    later = torch.ones(49, 49, dtype=torch.bool).triu()  # itself and all after it
    assert (J[later] == 0).all()
    assert (J[~later] != 0).all()  # no blind spot


def test_a_later_pixel_changed_changes_the_params_by_exactly_0():
    net, x = awake(), pictures(2)
    with torch.no_grad():
        before = net(x)
        for y, column in ((0, 0), (3, 5), (7, 7)):
            other = x.clone()
            other[:, :, y, column] = -other[:, :, y, column]
            changed = (net(other) != before).any(dim=1).flatten(1).any(dim=0)
            assert not changed[: y * 8 + column + 1].any()
            assert changed[y * 8 + column + 1 :].any() or (y, column) == (7, 7)


def test_dropout_leaves_the_order_alone():
    net = awake(PixelCNNConfig(channels=32, dilations=(1, 1), dropout=0.5)).train()
    J = jacobian(net, pictures(1, 5))
    assert (J[torch.ones(25, 25, dtype=torch.bool).triu()] == 0).all()


def test_influence_is_the_field_of_a_pixel():
    net, x = awake(), pictures(3)
    field = influence(net, x, 4, 3, torch.tensor([0, 1, 2]))
    assert field.shape == (8, 8)
    assert (field.flatten()[: 4 * 8 + 3] > 0).all()
    assert (field.flatten()[4 * 8 + 3 :] == 0).all()
    assert all(parameter.grad is None for parameter in net.parameters())


# ---- the mixture


def test_the_mixture_sums_to_1_however_wide_or_narrow():
    params = torch.randn(6, 12, 3, 3) * 2
    params[0, 8:], params[1, 8:], params[2, 4:8] = -9, 4, 3.0  # narrow, wide, beyond white
    total = mixture_table(params).double().exp().sum(dim=1)
    assert total.shape == (6, 3, 3)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=2e-6)


def test_the_mixture_is_the_formula_in_float64():
    params, levels = torch.randn(5, 12, 2, 2), torch.randint(256, (5, 1, 2, 2)).float()
    levels[0, 0, 0], levels[1, 0, 0] = 0.0, 255.0
    weights, means, log_scales = params.double().chunk(3, dim=1)
    x = levels.double() / 127.5 - 1
    top = torch.sigmoid((x + 1 / 255 - means) * (-log_scales).exp())
    bottom = torch.sigmoid((x - 1 / 255 - means) * (-log_scales).exp())
    top, bottom = torch.where(levels == 255, 1.0, top), torch.where(levels == 0, 0.0, bottom)
    expected = (weights.softmax(dim=1) * (top - bottom)).sum(dim=1).log()
    found = mixture_log_prob(params, levels)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


def test_the_mixture_keeps_its_digits_and_gradients_far_out():
    params = torch.tensor([0.0, 0.9, -7.0]).view(1, 3, 1, 1).requires_grad_(True)
    found = mixture_log_prob(params, torch.full((1, 1, 1, 1), 10.0))
    found.sum().backward()
    assert torch.isfinite(found).all() and found < -1000
    assert torch.isfinite(params.grad).all()


def test_drawn_levels_have_the_tables_frequencies():
    params, N = torch.randn(1, 12), 40_000
    levels = draw_levels(params.expand(N, 12), torch.rand(N))
    p = mixture_table(params[..., None, None])[0, :, 0, 0].double().exp()
    found = torch.bincount(levels.long(), minlength=256) / N
    # five standard errors for each of the 256
    assert ((found - p).abs() <= 5 * (p * (1 - p) / N).sqrt() + 2 / N).all()
    assert draw_levels(params, torch.zeros(1)) == 0


def test_entropy_map():
    params = torch.zeros(2, 3, 2, 2)
    params[:, 1] = 128 / 127.5 - 1
    params[0, 2], params[1, 2] = -20.0, 6.0  # one level almost surely; the two ends
    bits = entropy_map(params)
    assert bits.shape == (2, 2, 2)
    assert (bits[0] < 0.3).all()
    assert ((bits[1] - 1).abs() < 0.1).all()


# ---- likelihood


def test_bytes_and_floats_are_the_same_picture():
    net, images = awake(), torch.randint(256, (3, 6, 6), dtype=torch.uint8)
    cond = torch.tensor([1, 2, 3])
    with torch.no_grad():
        found = net.log_prob(images, cond)
        assert found.shape == (3,)
        torch.testing.assert_close(found, net.log_prob(to_float(images), cond))
        torch.testing.assert_close(net(images, cond), net(to_float(images), cond))
        bits = net.bits_per_dim(images, cond)
    torch.testing.assert_close(bits, -found / (36 * math.log(2)))
    assert torch.equal(levels_of(to_float(images))[:, 0], images.float())


def test_all_pictures_of_a_tiny_world_have_probability_1():
    """Two pixels, 65,536 pictures: the chain rule leaves nothing over."""
    net = awake(PixelCNNConfig(channels=8, dilations=(1,), mixtures=2))
    table = torch.cartesian_prod(*[torch.arange(256, dtype=torch.uint8)] * 2).view(-1, 1, 1, 2)
    with torch.no_grad():
        total = sum(net.log_prob(part).double().exp().sum() for part in table.split(8192))
    assert abs(total - 1) < 1e-5


def test_no_condition_is_the_null_class():
    net, x = awake(), pictures(2)
    with torch.no_grad():
        assert torch.equal(net(x), net(x, torch.tensor([10, 10])))
        assert not torch.allclose(net(x), net(x, torch.tensor([0, 1])))


def test_gradients_reach_every_parameter():
    net = awake()
    loss = -(net.log_prob(pictures(4), torch.arange(4)) + net.log_prob(pictures(4))).sum()
    loss.backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_half_precision_at_rest_changes_the_bits_little():
    net = awake()
    images, labels = fashion_mnist("test")
    x, cond = to_float(images[:8]), torch.as_tensor(labels[:8].astype("int64"))
    with torch.no_grad():
        before = net.bits_per_dim(x, cond)
        rounded = net.half().float().bits_per_dim(x, cond)
    assert (before - rounded).abs().max() < 5e-3 * before.abs().max()


# ---- sampling


@pytest.mark.parametrize("B", [1, 2, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_cache_gives_the_same_pictures_to_the_bit(B, layout):
    net = awake().to(memory_format=layout)
    uniforms, cond = Draws(0).uniform(B, 9, 11), torch.arange(B)
    naive = sample(net, uniforms, cond, cached=False)
    cached = sample(net, uniforms, cond)
    assert naive.shape == (B, 1, 9, 11)
    assert torch.equal(naive, cached)
    assert torch.equal(naive, (levels_of(naive) / 127.5 - 1))  # grey levels
    assert naive.std() > 0.1


def test_the_cache_computes_one_value_a_layer_and_pixel(monkeypatch):
    """Counted, not timed: pixels that go through the horizontal stack's convolutions."""
    seen = []
    net = awake()
    for block in net.blocks:
        block.conv_h.register_forward_hook(lambda m, i, out: seen.append(out[0, 0].numel()))
    uniforms = Draws(0).uniform(2, 6, 6)
    sample(net, uniforms)
    cached, calls = sum(seen), len(seen)
    seen.clear()
    sample(net, uniforms, cached=False)
    assert calls == 36 * len(net.blocks)
    assert cached == 36 * len(net.blocks)
    assert sum(seen) == 36 * cached


def test_a_sample_is_what_its_own_distribution_says():
    """Given the finished picture, every pixel is the level that its uniform points at."""
    net, uniforms, cond = awake(), Draws(1).uniform(3, 6, 6), torch.tensor([0, 4, 9])
    x = sample(net, uniforms, cond)
    with torch.no_grad():
        params = net(x, cond)
    flat = params.permute(0, 2, 3, 1).flatten(0, 2)
    assert torch.equal(draw_levels(flat, uniforms.flatten()), levels_of(x).flatten())


def test_ends_for_a_known_top():
    net, uniforms = awake(), Draws(2).uniform(4, 8, 8)
    picture, cond = pictures(1)[0], torch.tensor([2] * 4)
    ends = complete(net, picture, 3, uniforms, cond)
    assert torch.equal(ends[:, :, :3], picture[:, :3].expand(4, 1, 3, 8))
    assert not torch.equal(ends[0, :, 3:], ends[1, :, 3:])
    whole = sample(net, uniforms, cond, known=ends, rows_known=3, cached=False)
    assert torch.equal(whole, ends)
    assert torch.equal(complete(net, picture, 8, uniforms, cond), picture.expand(4, 1, 8, 8))


def test_sampling_leaves_the_mode_and_the_gradients_alone():
    net = awake(PixelCNNConfig(channels=32, dilations=(1,), dropout=0.5))
    uniforms = Draws(3).uniform(2, 4, 4)
    quiet = sample(net, uniforms)
    net.train()
    assert torch.equal(sample(net, uniforms), quiet)  # no dropout
    assert net.training and torch.is_grad_enabled()


def test_an_image_depends_on_its_own_uniforms_alone():
    net, cond = awake(), torch.arange(4)
    together = sample(net, ImageDraws(5, range(4)).uniform(4, 6, 6), cond)
    apart = sample(net, ImageDraws(5, [2]).uniform(1, 6, 6), cond[2:3])
    assert torch.equal(together[2:3], apart)
