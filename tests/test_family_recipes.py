"""The recipes of flow and GAN: a run of a few steps on tiny nets, its card, its maker."""

import dataclasses
import math

import contracts
import pytest
import torch

from course_lib import runs
from course_lib.checkpoint import load_state, save_state
from course_lib.data.fashion import CLASSES
from course_lib.draws import Draws
from course_lib.errors import CourseError
from course_lib.models import GanConfig, Generator, TarFlow, TarFlowConfig
from course_lib.recipes import flow_fashion, gan_fashion, makers, recipe
from course_lib.training import train
from course_lib.weights import load_weights, read_card

TINY = {
    "flow-fashion": TarFlowConfig(patch=7, blocks=2, layers=1, width=16, head_dim=8, bins=2),
    "gan-fashion": GanConfig(widths=(8, 8, 8), blocks=1, group=16, z_dim=16, emb_dim=4),
}
MODULES = {"flow-fashion": flow_fashion, "gan-fashion": gan_fashion}


@pytest.fixture
def tiny(monkeypatch):
    """name -> that recipe with a tiny net, on a few images of noise, on the CPU."""
    images = torch.randint(256, (40, 28, 28), dtype=torch.uint8).numpy()
    labels = (torch.arange(40) % 10).to(torch.uint8).numpy()
    monkeypatch.setattr(flow_fashion, "FEW", 8)
    for module in (flow_fashion, gan_fashion):
        monkeypatch.setattr(module, "fashion_mnist", lambda split: (images, labels))
    for place in (runs, flow_fashion):
        monkeypatch.setattr(place, "default_device", lambda: torch.device("cpu"))

    def make(name: str) -> runs.Recipe:
        small = dataclasses.replace(recipe(name), config=TINY[name], batch_size=10)
        monkeypatch.setattr(MODULES[name], "RECIPE", small)
        return small

    return make


@pytest.mark.parametrize("name", TINY)
def test_a_run_and_what_it_ships(name, tiny, tmp_path, monkeypatch):
    small = tiny(name)
    runs.run(small, steps=3, folder=tmp_path / "run", out=tmp_path, log=lambda row: None)
    monkeypatch.setattr("course_lib.weights.WEIGHTS", tmp_path)
    card = read_card(name)
    assert card["recipe"] == name and card["images_seen"] == 30
    module = load_weights(name, device="cpu")
    assert module.config == TINY[name]
    maker = small.maker(module, name)
    assert maker.shape == (1, 28, 28) and card["sha256"] in maker.weights
    images, labels = maker.make(12, seed=3)
    assert images.shape == (12, 1, 28, 28) and labels.tolist() == [*range(10), 0, 1]
    fewer, _ = small.maker(module, name, batch_size=5).make(7, seed=3)
    torch.testing.assert_close(fewer, images[:7], rtol=0, atol=1e-4)
    ninth, shown = small.maker(module, name).make(2, seed=3, cond=small.conditions(2, label=9))
    assert shown.tolist() == [9, 9] and not torch.equal(ninth, images[:2])
    if name == "flow-fashion":
        assert maker.cost["calls"] == 2 * 16
        figures = card["figures"]
        assert figures["round_trip_error"] < 1e-4
        assert "8 test images" in figures["likelihood"]["protocol"]
    else:
        assert maker.cost["calls"] == 1


class _Makers(contracts.MakerContract):
    """A recipe's maker of a tiny net whose weights have moved, as if it were shipped."""

    name = ""

    @pytest.fixture(autouse=True)
    def shipped(self, tiny, tmp_path, monkeypatch):
        small = tiny(self.name)
        module = {"flow-fashion": TarFlow, "gan-fashion": Generator}[self.name](small.config)
        for parameter in module.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
        monkeypatch.setattr(makers, "read_card", lambda name: {"sha256": 64 * "0"})
        self.made = small.maker(module.eval(), self.name, batch_size=3)

    def maker(self):
        return self.made


class TestFlowMaker(_Makers):
    name = "flow-fashion"


class TestGanMaker(_Makers):
    name = "gan-fashion"


@pytest.mark.parametrize("name", TINY)
def test_the_recipes_net_fits_at_rest(name):
    module = {"flow-fashion": TarFlow, "gan-fashion": Generator}[name](recipe(name).config)
    assert 2 * sum(p.numel() for p in module.parameters()) < 5.95e6


@pytest.mark.parametrize("name", TINY)
def test_a_cut_run_goes_on_to_the_same_weights(name, tiny, tmp_path):
    small = tiny(name)
    small = dataclasses.replace(small, legs=(runs.Leg(4),))

    def begun():
        setting, run = runs.begin(small)
        return run, (run.phases, run.batches, [setting.draws.generator])

    whole, parts = begun()
    for done in train(whole.phases, whole.batches, 4, precision=torch.float32):
        if done.step == 2:
            save_state(tmp_path / "state.pt", 2, *parts)
    again, parts = begun()
    start = load_state(tmp_path / "state.pt", *parts)
    for _ in train(again.phases, again.batches, 4, start=start, precision=torch.float32):
        pass
    for a, b in zip(
        whole.result.state_dict().values(), again.result.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


def test_shoes_are_never_mirrored_and_half_of_the_rest_is():
    labels = torch.arange(10).repeat(400)
    x = torch.zeros(4000, 1, 2, 2)
    x[..., 0] = 1.0
    turned = flow_fashion.mirror(x, labels, Draws(0))[:, 0, 0, 0] == 0
    for label, name in enumerate(CLASSES):
        share = turned[labels == label].double().mean().item()
        if name in ("sandal", "sneaker", "ankle boot"):
            assert share == 0
        else:
            assert 0.35 < share < 0.65


def test_the_likelihood_of_noise(monkeypatch):
    """Uniform noise has 8 bits a dimension, and no model of it has fewer."""
    images = torch.randint(256, (64, 28, 28), dtype=torch.uint8).numpy()
    labels = (torch.arange(64) % 10).to(torch.uint8).numpy()
    monkeypatch.setattr(flow_fashion, "fashion_mnist", lambda split: (images, labels))
    flow = TarFlow(dataclasses.replace(TINY["flow-fashion"], dequantise="uniform")).eval()
    found = flow_fashion.likelihood(flow)
    # a standard Normal of e times numbers that are uniform in [-1, 1], by hand
    nats = 0.5 * math.log(2 * math.pi) + math.e**2 / 6 - 1 + math.log(128)
    bits = found["likelihood"]["bits_per_dim"]
    assert abs(bits - nats / math.log(2)) < 0.03
    assert bits > 8
    assert found["round_trip_error"] < 1e-5


def test_options_that_cannot_be(tmp_path):
    flow, gan = (recipe(name) for name in TINY)
    for temperature in (-1.0, math.nan, math.inf, 1e39):
        with pytest.raises(CourseError, match="temperature"):
            flow.maker(TarFlow(TINY["flow-fashion"]), "x", temperature=temperature)
    for truncation in (0.0, math.nan, math.inf):
        with pytest.raises(CourseError, match="truncation"):
            gan.maker(Generator(TINY["gan-fashion"]), "x", truncation=truncation)
    with pytest.raises(CourseError, match="classes from 0 to 9"):
        gan_fashion.labels_to_make(2, 10, [10, 3])
