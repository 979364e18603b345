"""The nets of text to image: the shapes that they promise, and what attention must do."""

import pytest
import torch

from course_lib.layers import AddedResBlock, CrossAttention, SpatialTransformer
from course_lib.models import Autoencoder, AutoencoderConfig, TextUNet, TextUNetConfig
from course_lib.recipes.emoji_autoencoder import kl_divergence, reconstruction_psnr

UNET = TextUNetConfig(4, (8, 16), 1, (True, False), 2, 1, 12, 4)
AUTOENCODER = AutoencoderConfig(widths=(8, 8, 16), blocks=1, groups=4)


def awake(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("attention", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("side", [8, 16])
def test_unet_keeps_the_shape_and_every_parameter_learns(attention, side):
    torch.manual_seed(0)
    config = TextUNetConfig(4, (8, 16), 1, attention, 2, 1, 12, 4)
    net = awake(TextUNet(config))
    x = torch.randn(2, 4, side, side)
    found = net(x, torch.tensor([1, 1000]), torch.randn(2, 5, 12))
    assert found.shape == x.shape
    (found * torch.randn_like(found)).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_unet_starts_at_zero_and_then_heeds_time_and_text():
    torch.manual_seed(0)
    net, x = TextUNet(UNET).eval(), torch.randn(2, 4, 8, 8)
    cond, t = torch.randn(2, 5, 12), torch.tensor([10, 10])
    with torch.no_grad():
        assert net(x, t, cond).abs().max() == 0
        awake(net)
        plain = net(x, t, cond)
        assert (net(x, t + 500, cond) - plain).abs().max() > 1e-3
        assert (net(x, t, -cond) - plain).abs().max() > 1e-3


def test_one_token_is_looked_at_wholly_whatever_asks():
    torch.manual_seed(0)
    attention = CrossAttention(16, 12, 4)
    token = torch.randn(2, 1, 12)
    with torch.no_grad():
        found = attention(torch.randn(2, 9, 16), token)
        torch.testing.assert_close(found, found[:, :1].expand_as(found))
        torch.testing.assert_close(found[:, 0], attention.out(attention.v(token))[:, 0])
        assert (attention.maps(torch.randn(2, 9, 16), token) == 1).all()


@pytest.mark.parametrize("context_dim", [12, 16])
def test_maps_are_what_attention_does(context_dim):
    torch.manual_seed(0)
    attention = CrossAttention(16, context_dim, 4)
    x, context = torch.randn(2, 9, 16), torch.randn(2, 5, context_dim)
    with torch.no_grad():
        maps = attention.maps(x, context)
        assert maps.shape == (2, 4, 9, 5)
        torch.testing.assert_close(maps.sum(dim=-1), torch.ones(2, 4, 9))
        values = attention.v(context).reshape(2, 5, 4, 4).transpose(1, 2)
        by_hand = attention.out((maps @ values).transpose(1, 2).reshape(2, 9, 16))
        torch.testing.assert_close(attention(x, context), by_hand, rtol=1e-4, atol=1e-5)


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="heads"):
        CrossAttention(10, 10, 4)


def test_blocks_start_as_nothing():
    torch.manual_seed(0)
    x = torch.randn(2, 8, 4, 4)
    block, reader = AddedResBlock(8, 8, 6, 4), SpatialTransformer(8, 12, 2, 4, 1)
    torch.testing.assert_close(block(x, torch.randn(2, 6)), x)
    torch.testing.assert_close(reader(x, torch.randn(2, 3, 12)), x)


def test_autoencoder_shapes_and_gradients():
    torch.manual_seed(0)
    net = awake(Autoencoder(AUTOENCODER))
    x, noise = torch.rand(2, 3, 64, 64) * 2 - 1, torch.randn(2, 4, 16, 16)
    back, mean, std = net(x, noise)
    assert back.shape == x.shape and mean.shape == std.shape == noise.shape
    assert net.config.folds == 4 and mean[0].numel() == 1024
    assert (std > 0).all()
    torch.testing.assert_close(net(x)[0], net.decode(net.encode(x)))
    torch.testing.assert_close(back, net.decode(mean + std * noise))
    (back.square().mean() + kl_divergence(mean, std)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_autoencoder_comes_to_know_its_latents_mean_and_spread():
    torch.manual_seed(0)
    net = Autoencoder(AUTOENCODER)
    z = torch.randn(64, 4, 16, 16) * torch.tensor([1.0, 2, 3, 4])[:, None, None] + 5
    for _ in range(1500):
        net.note_latents(z)
    torch.testing.assert_close(net.latent_mean, torch.full((4,), 5.0), rtol=0, atol=0.1)
    torch.testing.assert_close(net.latent_std, torch.tensor([1.0, 2, 3, 4]), rtol=0.02, atol=0)
    assert {"latent_mean", "latent_std"} <= net.state_dict().keys()


def test_kl_in_closed_form():
    normal, other = (torch.distributions.Normal(m, s) for m, s in ((0.0, 1.0), (0.7, 0.3)))
    found = kl_divergence(torch.full((3,), 0.7), torch.full((3,), 0.3))
    torch.testing.assert_close(found, torch.distributions.kl_divergence(other, normal))
    assert kl_divergence(torch.zeros(2), torch.ones(2)) == 0


def test_psnr_in_closed_form():
    class Darker(torch.nn.Module):
        def encode(self, x):
            return x

        def decode(self, z):
            return z - 10 / 127.5  # ten levels too dark

    images = torch.randint(50, 200, (3, 3, 8, 8), dtype=torch.uint8)
    expected = torch.tensor(20.0) * torch.log10(torch.tensor(255 / 10))
    torch.testing.assert_close(reconstruction_psnr(Darker(), images), expected.expand(3))
