"""The recipes of the PixelCNN and of the VAEs: cut and gone on, measured, and sampled."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from contracts import MakerContract
from runs import cut_at
from safetensors.torch import load_file

from course_lib import runs, weights
from course_lib.draws import Draws
from course_lib.errors import CourseError
from course_lib.metrics import YARDSTICKS, Yardstick
from course_lib.models import PixelCNNConfig, VAEConfig
from course_lib.recipes import maker as maker_of
from course_lib.recipes import pixelcnn_fashion, recipe, vae, vae_fashion, vae_fashion_binary
from course_lib.recipes.vae import VaeLeg
from course_lib.runs import Leg, begin, run
from course_lib.weights import save_weights

TINY_VAE = VAEConfig(latent_dim=2, widths=(8, 8), blocks=1, emb_dim=8)
TINY_BINARY = replace(TINY_VAE, classes=0, likelihood="bernoulli", components=3)
TINY = {
    "pixelcnn-fashion": replace(
        pixelcnn_fashion.RECIPE,
        config=PixelCNNConfig(channels=32, dilations=(1, 2), mixtures=2, dropout=0.1),
        batch_size=8,
        legs=(Leg(4),),
    ),
    "vae-fashion": replace(
        vae_fashion.RECIPE, config=TINY_VAE, batch_size=8, legs=(VaeLeg(4),)
    ),
    "vae-fashion-binary": replace(
        vae_fashion_binary.RECIPE,
        config=TINY_BINARY,
        batch_size=8,
        legs=(VaeLeg(4, warmup=2),),
        k=3,
    ),
}


@pytest.fixture
def data(monkeypatch):
    """64 images and labels in Fashion-MNIST's place, on the CPU in float32."""
    images = torch.randint(0, 256, (64, 28, 28), dtype=torch.uint8).numpy()
    labels = (torch.arange(64) % 10).numpy()
    for module in (pixelcnn_fashion, vae, vae_fashion, vae_fashion_binary):
        if hasattr(module, "fashion_mnist"):
            monkeypatch.setattr(module, "fashion_mnist", lambda split: (images, labels))
        if hasattr(module, "default_device"):
            monkeypatch.setattr(module, "default_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(runs, "default_device", lambda: torch.device("cpu"))
    monkeypatch.setenv("MARBLE_PRECISION", "float32")


@pytest.mark.parametrize("name", TINY)
def test_a_run_is_one_run_however_it_is_cut(name, data, tmp_path, monkeypatch):
    """Within the warm-up of the KL term and after it; the figures are on the card."""
    tiny, quiet = TINY[name], {"log": lambda line: None}
    run(tiny, folder=tmp_path / "whole", out=tmp_path / "a", **quiet)
    for step in (1, 3):
        with monkeypatch.context() as patch:
            cut_at(patch, step)
            with pytest.raises(KeyboardInterrupt):
                run(tiny, folder=tmp_path / "cut", out=tmp_path / "b", **quiet)
        torch.manual_seed(step)
    run(tiny, folder=tmp_path / "cut", out=tmp_path / "b", **quiet)
    first, second = (load_file(tmp_path / out / f"{name}.safetensors") for out in "ab")
    assert all(torch.equal(first[key], second[key]) for key in first | second)
    card = json.loads((tmp_path / "a" / f"{name}.json").read_text())
    likelihood = card["figures"]["likelihood"]
    assert likelihood["protocol"]
    found = likelihood["nats" if "binary" in name else "bits_per_dim"]
    assert 1 < found < 2000


@pytest.mark.parametrize("name", TINY)
def test_a_longer_leg_goes_on_from_the_weights(name, data):
    tiny = replace(TINY[name], legs=(TINY[name].legs[0],) * 2)
    _, first = begin(tiny)
    _, second = begin(tiny, 2, start=first.result)
    for a, b in zip(first.result.parameters(), second.result.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_shipped_nets_are_small():
    for name, most in (("pixelcnn-fashion", 2e6), ("vae-fashion", 2e6)):
        _, begun = begin(recipe(name))
        assert sum(p.numel() for p in begun.result.parameters()) <= most


# ---- binarised images


def test_pixels_are_white_as_often_as_they_are_bright():
    x = torch.linspace(-1, 1, 11).view(1, 1, 1, 11).expand(4000, 1, 1, 11)
    drawn = vae_fashion_binary.binarised(x, Draws(0))
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    p = (x[0] + 1) / 2
    assert ((drawn.mean(dim=0) - x[0]).abs() <= 10 * (p * (1 - p) / 4000).sqrt()).all()


def test_training_draws_anew_and_the_test_set_once(data):
    kind, draws = TINY["vae-fashion-binary"], Draws(0)
    x, labels = torch.zeros(2, 1, 28, 28), torch.zeros(2, dtype=torch.long)
    (one, none), (two, _) = kind.see(x, labels, draws), kind.see(x, labels, draws)
    assert none is None and not torch.equal(one, two)
    first = vae_fashion_binary.binary_images()
    assert torch.equal(first, vae_fashion_binary.binary_images())


def test_the_warm_up_counts_the_kl_less(data):
    """At step s of a warm-up of w the loss is that of beta = s / w; after it, of k draws."""
    tiny = TINY["vae-fashion-binary"]
    setting, begun = begin(tiny)
    net = begun.result
    batch = torch.zeros(4, 1, 28, 28), torch.zeros(4, dtype=torch.long)

    def terms(k):
        draws = Draws(9)
        x, _ = tiny.see(*batch, draws)
        return net(x, draws, None, k)

    with torch.no_grad():
        for step, beta in ((1, 0.5), (2, 1.0)):
            setting.draws.generator.manual_seed(9)
            found = tiny.loss_on(net, net, setting)(batch, step)["loss"]
            expected = (beta * net.kl(terms(1)) - terms(1).log_lik[:, 0]).mean() / 784
            torch.testing.assert_close(found, expected)
        setting.draws.generator.manual_seed(9)
        found = tiny.loss_on(net, net, setting)(batch, 3)["loss"]
        bound = terms(3).log_weights.logsumexp(dim=1) - torch.tensor(3.0).log()
        torch.testing.assert_close(found, -bound.mean() / 784)


# ---- makers


@pytest.fixture
def tiny_weights(tmp_path, monkeypatch):
    """Tiny untrained nets under the names that are shipped, and a yardstick as small."""
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (300, 28, 28), dtype=np.uint8)
    toy = Yardstick(
        "fashion-mnist",
        "",
        (1, 28, 28),
        lambda split: images,
        lambda x: torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1),
        small=200,
    )
    monkeypatch.setitem(YARDSTICKS, "fashion-mnist", toy)
    monkeypatch.setenv("MARBLE_PRECISION", "float32")
    for name, tiny in TINY.items():
        torch.manual_seed(0)
        _, begun = begin(tiny)
        with torch.no_grad():
            for parameter in begun.result.parameters():
                parameter += 0.1 * torch.randn(parameter.shape).to(parameter)
        save_weights(begun.result, tmp_path / name, {"recipe": name})


class Family(MakerContract):
    """A contract on a maker of tiny weights."""

    name = ""

    @pytest.fixture(autouse=True)
    def with_weights(self, tiny_weights):
        pass

    def maker(self):
        return maker_of(self.name, batch_size=3)


class TestPixelCNN(Family):
    name = "pixelcnn-fashion"
    n = 5

    def test_every_pixel_is_a_call(self):
        assert self.maker().cost == {"calls": 784}


class TestVAE(Family):
    name = "vae-fashion"


class TestBinaryVAE(Family):
    name = "vae-fashion-binary"

    def test_an_image_is_of_what_was_asked(self):
        with pytest.raises(CourseError, match="knows no classes"):
            self.maker().make(2, cond=[0, 1])
