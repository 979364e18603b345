"""Every layer of the flows by one contract; change of variables; what dequantisation claims."""

import copy
import dataclasses
import inspect
import math

import contracts
import pytest
import torch
from torch import nn

from course_lib.data import fashion_mnist, to_float
from course_lib.draws import Draws
from course_lib.models import dequantise, flow, patches, tarflow
from course_lib.models.dequantise import UniformDequantise, VariationalDequantise
from course_lib.models.flow import (
    ActNorm,
    Coupling,
    CouplingNet,
    InvertibleConv,
    Split,
    Squeeze,
    channel_mask,
    checkerboard,
    multi_scale,
)
from course_lib.models.invertible import Inverse, Sequence, normal_log_prob
from course_lib.models.spline import rational_quadratic, spline_parameters
from course_lib.models.tarflow import CausalBlock, Patches, Regroup, TarFlow, TarFlowConfig
from course_lib.weights import load_weights

SMALL = TarFlowConfig(
    size=6, patch=2, blocks=2, layers=2, width=16, head_dim=8, bins=4, classes=3
)
PLAIN = dataclasses.replace(SMALL, bins=0)
SQUARE = (4, 2, 2)  # C, H, W
TOKENS = (SMALL.tokens, SMALL.token_dim)


def coupling(mask: torch.Tensor, C: int = 4, classes: int = 3) -> Coupling:
    """A coupling with a small net."""
    return Coupling(CouplingNet(C, 8, classes=classes), mask)


LAYERS = {
    "coupling, checkerboard": (lambda: coupling(checkerboard(2, 2)), SQUARE),
    "coupling, channels": (lambda: coupling(channel_mask(4)), SQUARE),
    "coupling without classes": (lambda: coupling(channel_mask(4), classes=0), SQUARE),
    "squeeze": (Squeeze, (1, 4, 4)),
    "inverse of squeeze": (lambda: Inverse(Squeeze()), SQUARE),
    "actnorm": (lambda: ActNorm(4), SQUARE),
    "1x1 convolution": (lambda: InvertibleConv(4), SQUARE),
    "inverse of actnorm": (lambda: Inverse(ActNorm(4)), SQUARE),
    "split": (lambda: Split(coupling(channel_mask(2), 2)), SQUARE),
    "sequence": (
        lambda: Sequence([Squeeze(), ActNorm(4), coupling(channel_mask(4))]),
        (1, 4, 4),
    ),
    "two scales": (lambda: multi_scale(1, 2, 1, 8, classes=3), (1, 4, 4)),
    "patches": (lambda: Patches(2, 6), (1, 6, 6)),
    "regroup": (Regroup, TOKENS),
    "causal block": (lambda: CausalBlock(SMALL, backward=False), TOKENS),
    "causal block, first": (lambda: CausalBlock(SMALL, backward=False, first=True), TOKENS),
    "causal block, backward": (lambda: CausalBlock(SMALL, backward=True), TOKENS),
    "causal block without splines": (lambda: CausalBlock(PLAIN, backward=True), TOKENS),
    "TarFlow": (lambda: TarFlow(SMALL), (1, 6, 6)),
}


def stirred(layer: nn.Module, by: float = 0.1) -> nn.Module:
    """A layer whose every parameter has moved away from its start, in float64, eval mode."""
    for parameter in layer.parameters():
        parameter.data += by * torch.randn_like(parameter)
    return layer.double().eval()


@pytest.mark.parametrize("name", LAYERS)
class TestLayers(contracts.FlowLayerContract):
    @pytest.fixture
    def layer(self, name):
        return stirred(LAYERS[name][0]())

    @pytest.fixture
    def shape(self, name):
        return LAYERS[name][1]

    @pytest.fixture
    def cond(self, name):
        return torch.tensor([0, 2, 1])


def test_no_layer_is_left_out():
    """Whatever has an inverse is held to the contract above; dequantisation, which forgets,
    to tests of its own.
    """
    held = {type(module) for make, _ in LAYERS.values() for module in make().modules()}
    for room in (flow, patches, tarflow):
        for name, kind in inspect.getmembers(room, inspect.isclass):
            if not issubclass(kind, nn.Module) or kind.__module__ == dequantise.__name__:
                continue
            if hasattr(kind, "inverse"):
                assert kind in held, f"{room.__name__}.{name} stands in no row of LAYERS"


def test_masks():
    assert checkerboard(3, 4)[0, 0].tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]
    assert channel_mask(4).flatten().tolist() == [1, 1, 0, 0]


def test_a_coupling_keeps_what_its_mask_keeps():
    layer = stirred(coupling(checkerboard(2, 2)))
    x = torch.randn(3, *SQUARE).double()
    z, _ = layer(x, torch.tensor([0, 1, 2]))
    kept = checkerboard(2, 2).bool().expand(x.shape)
    assert torch.equal(z[kept], x[kept])
    assert (z[~kept] != x[~kept]).all()


def test_actnorm_is_set_by_the_first_training_batch_alone():
    layer, x = ActNorm(3), 5 + 3 * torch.randn(64, 3, 4, 4)
    z, _ = layer.train()(x)
    std, mean = torch.std_mean(z, dim=(0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(std, torch.ones(3), atol=1e-5, rtol=0)
    assert torch.equal(layer(2 * x)[0], (2 * x + layer.shift) * layer.log_scale.exp())
    again = ActNorm(3)
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again.train()(x)[0], z)


def test_the_density_through_a_curve_integrates_to_1():
    """Change of variables against quadrature, in one dimension."""
    x = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    parameters = torch.randn(spline_parameters(6), dtype=torch.float64).expand(len(x), -1)
    u, affine = 1.7 * x - 0.4, math.log(1.7)
    z, log_slope = rational_quadratic(u, parameters)
    density = (normal_log_prob(z[:, None]) + log_slope + affine).exp()
    assert math.isclose(torch.trapezoid(density, x).item(), 1, abs_tol=1e-7)
    # and its distribution function is the Normal's at z
    half = x <= 0.3
    below = torch.trapezoid(density[half], x[half]).item()
    expected = torch.distributions.Normal(0.0, 1.0).cdf(z[half][-1]).item()
    assert math.isclose(below, expected, abs_tol=1e-6)


def test_a_spline_and_its_inverse():
    torch.manual_seed(1)
    parameters = 2 * torch.randn(500, spline_parameters(5), dtype=torch.float64)
    x = 2.5 * torch.randn(500, dtype=torch.float64)
    x = x.requires_grad_()
    y, log_slope = rational_quadratic(x, parameters)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slope, slope.log(), rtol=0, atol=1e-9)
    back, minus = rational_quadratic(y, parameters, inverse=True)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)
    torch.testing.assert_close(minus, -log_slope, rtol=0, atol=1e-7)
    assert (x.abs() > 4).any()  # the lines outside were looked at
    # nowhere so flat that float32 would not find the way back
    steep = 20 * torch.randn(20_000, spline_parameters(8))
    at = 3 * torch.randn(20_000)
    there, _ = rational_quadratic(at, steep)
    again, _ = rational_quadratic(there, steep, inverse=True)
    assert (again - at).abs().max() < 1e-3
    straight, flat = rational_quadratic(x, torch.zeros_like(parameters))
    torch.testing.assert_close(straight, x)
    torch.testing.assert_close(flat, torch.zeros_like(flat), rtol=0, atol=1e-12)


@pytest.fixture
def levels() -> torch.Tensor:
    """Images of 256 levels, the two ends among them."""
    x = torch.randint(256, (6, 1, 5, 5))
    x[0, 0, 0, :2] = torch.tensor([0, 255])
    return x / 127.5 - 1


KINDS = {"uniform": UniformDequantise, "variational": VariationalDequantise}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_dequantised_levels_come_back(kind, dtype, levels):
    layer, x = stirred(KINDS[kind]()).to(dtype), levels.to(dtype)
    for seed in range(20):
        y, logdet = layer(x, Draws(seed))
        assert -1 <= y.min() and y.max() < 1
        back, minus = layer.inverse(y)
        torch.testing.assert_close(back, x, rtol=0, atol=1e-6)
        tolerance = 1e-5 if dtype == torch.float64 else 0.05
        torch.testing.assert_close(minus, -logdet, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_the_noises_density_integrates_to_1(kind):
    """exp(-logdet) is the density of y in its cell: by quadrature over one pixel's cell."""
    layer = stirred(KINDS[kind]())
    edge = 1e-4 if kind == "variational" else 0.0
    u = torch.linspace(edge * 1.02, 1 - edge * 1.02, 40_001, dtype=torch.float64)
    y = ((77 + u) / 128 - 1)[:, None, None, None]
    _, minus = layer.inverse(y)
    assert math.isclose(torch.trapezoid(minus.exp(), u / 128).item(), 1, abs_tol=1e-3)


def test_noise_of_less_width_pays_for_itself():
    """The exact density of cells filled to a fraction a gains ln(1 / a) nats a dimension, and
    the layer's logdet takes it back: the levels' own log-probability is what remains.
    """
    p = torch.rand(256, dtype=torch.float64)
    p = p / p.sum()
    x = torch.randint(256, (4, 1, 3, 3)).double() / 127.5 - 1
    at = ((x + 1) * 127.5).round().long()
    truth = p[at].log().flatten(1).sum(dim=1)
    for width in (1.0, 0.5, 0.1):
        y, logdet = UniformDequantise(width)(x, Draws(0))
        density = p[((y + 1) * 128).long()] * 128 / width  # of y, where the noise fills
        claimed = density.log().flatten(1).sum(dim=1)
        torch.testing.assert_close(claimed + logdet, truth)
        # who takes width 1 for granted is too good by ln(1 / width) a dimension
        careless = claimed + UniformDequantise(1.0)(x, Draws(0))[1]
        faked = torch.full_like(truth, 9 * math.log(1 / width))
        torch.testing.assert_close(careless - truth, faked)


@pytest.mark.parametrize("kind", KINDS)
def test_dequantisation_bounds_from_below(kind):
    """Jensen: the mean over the noise of log p(y) + logdet is at most log P(level), exactly
    known for one pixel and a Normal density.
    """
    law = torch.distributions.Normal(
        torch.tensor(0.1, dtype=torch.float64), torch.tensor(0.01, dtype=torch.float64)
    )
    level = 140
    ends = torch.tensor([level, level + 1.0], dtype=torch.float64) / 128 - 1
    exact = law.cdf(ends).diff().log().item()
    x = torch.full((40_000, 1, 1, 1), level / 127.5 - 1, dtype=torch.float64)
    y, logdet = stirred(KINDS[kind]())(x, Draws(0))
    each = law.log_prob(y).flatten() + logdet
    error = (each.std() / len(each) ** 0.5).item()
    assert each.mean().item() < exact + 4 * error
    # and the mean of the densities' ratio is the probability itself
    ratio = each.exp()
    miss = ratio.mean().item() - math.exp(exact)
    assert abs(miss) < 5 * (ratio.std() / len(ratio) ** 0.5).item()


def test_a_width_that_is_none():
    for width in (0.0, -1.0, 1.5):
        with pytest.raises(ValueError, match="width"):
            UniformDequantise(width)


class TestTarFlow:
    def test_a_patch_is_told_by_the_ones_before_it_alone(self):
        for backward in (False, True):
            block = stirred(CausalBlock(SMALL, backward))
            x, cond = torch.randn(1, *TOKENS).double(), torch.tensor([1])
            jacobian = torch.autograd.functional.jacobian(
                lambda x, block=block, cond=cond: block(x, cond)[0], x
            ).reshape(x.numel(), x.numel())
            other = jacobian.triu(1) if not backward else jacobian.tril(-1)
            assert other.abs().max() == 0
            assert (jacobian.tril(-1) if not backward else jacobian.triu(1)).abs().max() > 0

    def test_it_starts_as_a_stretch(self):
        flow = TarFlow(SMALL).eval()
        x = torch.rand(2, 1, 6, 6) - 0.5
        z, logdet = flow(x)
        torch.testing.assert_close(z.float(), math.e * Patches(2, 6)(x)[0])
        torch.testing.assert_close(logdet, torch.full((2,), 36.0), rtol=0, atol=1e-4)

    def test_the_class_counts_and_none_is_the_null_class(self):
        flow, x = stirred(TarFlow(SMALL)), torch.randn(2, 1, 6, 6).double()
        null = torch.full((2,), SMALL.null_class)
        assert torch.equal(flow(x)[0], flow(x, null)[0])
        assert not torch.allclose(flow(x)[0], flow(x, torch.tensor([0, 1]))[0])

    def test_log_prob_adds_up(self):
        flow = stirred(TarFlow(SMALL))
        x, cond = (
            torch.randint(256, (3, 1, 6, 6)).double() / 127.5 - 1,
            torch.tensor([0, 1, 2]),
        )
        y, noise = flow.dequantise(x, Draws(5))
        z, logdet = flow(y, cond)
        expected = normal_log_prob(z) + logdet + noise
        torch.testing.assert_close(flow.log_prob(x, cond, Draws(5)), expected)

    def test_samples_round_to_levels(self):
        flow = stirred(TarFlow(SMALL)).float()
        z, cond = torch.randn(4, *flow.latent_shape), torch.tensor([0, 1, 2, 0])
        x = flow.sample(z, cond)
        assert x.shape == (4, 1, 6, 6) and x.abs().max() <= 1
        level = flow.dequantise.inverse(flow.inverse(z, cond)[0])[0]
        rounded = ((x + 1) * 127.5).round() / 127.5 - 1
        torch.testing.assert_close(rounded, level, rtol=0, atol=1e-6)
        torch.testing.assert_close(flow.sample(z, cond, 0.5), flow.sample(0.5 * z, cond))
        assert flow.calls == 2 * 9

    def test_once_trained_it_computes_in_float64(self):
        """So float32 images come back, however much each patch amplifies what it is handed."""
        torch.manual_seed(0)
        flow, x = stirred(TarFlow(SMALL), by=0.15).float(), torch.rand(8, 1, 6, 6) * 2 - 1
        z, logdet = flow(x)
        assert z.dtype == torch.float64 and logdet.dtype == torch.float32
        exact, its = copy.deepcopy(flow).double()(x.double())
        assert torch.equal(z, exact) and torch.equal(logdet, its.float())
        for latents in (z, z.float()):
            back, minus = flow.inverse(latents)
            assert back.dtype == minus.dtype == torch.float32
        # latents that kept their digits: what is left is the images' own rounding
        assert (flow.inverse(z)[0] - x).abs().max() <= 2**-23
        assert flow.log_prob(x).dtype == torch.float32

    def test_the_shipped_flow_brings_pictures_back(self):
        """Of two classes, float32 in and out; benchmarks/flow_there_and_back.py looks at as
        many as one likes.
        """
        shipped = load_weights("flow-fashion", device="cpu")
        images, labels = (torch.from_numpy(part[:2].copy()) for part in fashion_mnist("test"))
        x, cond = to_float(images), labels.long()
        with torch.no_grad():
            y, _ = shipped.dequantise(x, Draws(0))
            z, logdet = shipped(y, cond)
            back, minus = shipped.inverse(z, cond)
            levels, _ = shipped.dequantise.inverse(back)
        assert y.dtype == back.dtype == torch.float32
        assert (back - y).abs().max() < 1e-6  # a grey level is 1/128
        torch.testing.assert_close(levels, x, rtol=0, atol=1e-6)
        torch.testing.assert_close(minus, -logdet, rtol=1e-5, atol=0)

    def test_half_precision_leaves_the_log_determinants_be(self):
        """Under autocast the maps stay float32, and each is undone under the same autocast."""
        flow = stirred(TarFlow(SMALL), by=0.05).float()
        x, cond = torch.rand(3, 1, 6, 6) * 2 - 1, torch.tensor([0, 1, 2])
        with torch.autocast("cpu", torch.bfloat16):
            z, logdet = flow(x, cond)
        exact, its = flow(x, cond)
        assert z.dtype == torch.float64 and logdet.dtype == torch.float32
        torch.testing.assert_close(z, exact, rtol=0, atol=0.2)
        torch.testing.assert_close(logdet, its, rtol=0, atol=0.5)
