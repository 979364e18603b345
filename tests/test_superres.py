"""The decoder of thumbnails: what it promises of every picture, and its two recipes, tiny."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from course_lib import weights
from course_lib.data.emoji import emoji
from course_lib.draws import Draws
from course_lib.errors import CourseError
from course_lib.metrics import YARDSTICKS
from course_lib.metrics.psnr import psnr
from course_lib.models import SuperRes, SuperResConfig
from course_lib.models.superres import enlarge, fit, project, repeat, shrink
from course_lib.recipes import emoji_superres, recipe
from course_lib.runs import begin, run
from course_lib.weights import load_weights

TINY = SuperResConfig(width=8, inner=8, blocks=1, emb_dim=8)
NAMES = ("emoji-superres", "emoji-superres-direct")


def awake(config=TINY) -> SuperRes:
    """A net whose layers that start as zero say something."""
    torch.manual_seed(0)
    net = SuperRes(config)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return net.eval()


# ---------------------------------------------------------------- fitting a thumbnail


def test_shrink_is_the_mean_of_squares_and_repeat_its_pseudo_inverse():
    x, thumb = torch.randn(2, 3, 8, 12).double(), torch.randn(2, 3, 2, 3).double()
    torch.testing.assert_close(shrink(x)[1, 2, 0, 1], x[1, 2, :4, 4:8].mean())
    torch.testing.assert_close(shrink(repeat(thumb)), thumb)
    with pytest.raises(CourseError, match="multiples of 4"):
        shrink(torch.zeros(1, 3, 10, 8))


def test_project_fits_and_is_the_nearest_that_does():
    x, thumb = torch.randn(2, 3, 8, 8).double(), torch.randn(2, 3, 2, 2).double()
    found = project(x, thumb)
    torch.testing.assert_close(shrink(found), thumb, rtol=0, atol=1e-12)
    torch.testing.assert_close(project(found, thumb), found)
    for _ in range(5):  # what is moved is at right angles to all that fit
        other = project(torch.randn(2, 3, 8, 8).double(), thumb)
        assert ((found - x) * (other - found)).sum().abs() < 1e-9
    torch.testing.assert_close(
        project(x, torch.zeros(2, 3, 4, 4).double(), 2), x - repeat(shrink(x, 2), 2)
    )


def test_fit_keeps_the_thumbnail_and_the_range():
    """Of pictures, of white, and of what overshoots."""
    real = torch.from_numpy(np.array(emoji().images[::400])).float() / 127.5 - 1
    thumb = shrink(real)
    for x in (real, enlarge(thumb), 3 * torch.randn(real.shape), real + 0.5):
        found = fit(x, thumb)
        assert found.abs().max() <= 1 + 1e-6
        torch.testing.assert_close(shrink(found), thumb, rtol=0, atol=2e-6)
    torch.testing.assert_close(fit(real, thumb), real, rtol=0, atol=2e-6)


# ---------------------------------------------------------------- the net


def test_every_answer_shrinks_to_its_thumbnail():
    net, real = awake(), torch.rand(2, 3, 16, 16) * 2 - 1
    thumb = shrink(real)
    for residual in (net.mean(thumb), 5 * torch.randn(real.shape)):
        x = net.picture(residual, thumb)
        torch.testing.assert_close(shrink(x), thumb, rtol=0, atol=2e-6)
        assert x.shape == real.shape and x.abs().max() <= 1 + 1e-6


def test_the_residual_is_what_bicubic_leaves_out():
    net, real = awake(), torch.rand(2, 3, 16, 16) * 1.9 - 0.95
    residual = net.residual(real)
    torch.testing.assert_close(shrink(residual), torch.zeros(2, 3, 4, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(net.picture(residual, shrink(real)), real, rtol=0, atol=1e-5)


def test_the_net_sees_all_that_it_is_told():
    net = awake()
    x_t, thumb, t = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 4, 4), torch.tensor([3, 700])
    found = net(x_t, t, thumb)
    assert found.shape == x_t.shape
    for other in (net(x_t + 1, t, thumb), net(x_t, t + 50, thumb), net(x_t, t, thumb + 1)):
        assert (other - found).abs().max() > 1e-3
    alone = net.mean(thumb, T=700)
    torch.testing.assert_close(alone[1:], net(0 * x_t, t, thumb)[1:], rtol=0, atol=1e-5)


def test_a_new_net_answers_with_its_base():
    net, thumb = SuperRes(TINY), torch.rand(1, 3, 4, 4) - 0.5
    assert torch.equal(net.mean(thumb), torch.zeros(1, 3, 16, 16))
    torch.testing.assert_close(shrink(net.base(thumb)), thumb, rtol=0, atol=1e-6)


def test_psnr_is_what_a_saved_picture_has():
    real = torch.zeros(3, 1, 4, 4)
    images = torch.stack([real[0] + 0.2, real[0] + 9, real[0] + 1e-4])
    found = psnr(images, real)
    assert abs(found[0] - 20) < 0.2 and abs(found[1] - 10 * np.log10(4)) < 0.1
    assert found[2] > 40
    with pytest.raises(ValueError, match="against"):
        psnr(images[:1], real)


# ---------------------------------------------------------------- the recipes


@pytest.fixture
def few(monkeypatch, tmp_path):
    """Every fortieth image, an empty folder of weights, and a yardstick as small."""
    data = emoji()
    rows = np.arange(0, len(data.concept), 40)
    parts = {
        key: getattr(data, key)[rows] for key in ("images", "concept", "style", "held_out")
    }
    small = replace(data, **parts)
    for module in ("emoji_data", "emoji_superres"):
        monkeypatch.setattr(f"course_lib.recipes.{module}.emoji", lambda: small)
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr("course_lib.runs.WEIGHTS", tmp_path / "weights")
    toy = replace(
        YARDSTICKS["emoji"],
        images=lambda split: np.concatenate([small.images[small.rows(split)]] * 2),
        embed=lambda x: torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1),
    )
    monkeypatch.setattr(emoji_superres, "EMOJI", toy)
    monkeypatch.setitem(YARDSTICKS, "emoji", toy)
    monkeypatch.setenv("MARBLE_PRECISION", "float32")
    return small


def shrunk(name: str, **options):
    """A recipe of a tiny net that begins from nothing."""
    return replace(recipe(name), config=TINY, begins_as=None, **options)


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_one_trains_is_shipped_and_makes_pictures(few, name, tmp_path):
    tiny, folder = shrunk(name, batch_size=8), tmp_path / "weights"
    run(tiny, steps=2, folder=tmp_path / name, out=folder, log=lambda row: None)
    figures = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["figures"]
    assert figures["n"] == few.held_out.sum()
    assert figures["thumbnail_off_by"] < 1e-5 and figures["fd_floor"] > 0
    assert {"psnr", "fd"} <= figures["bicubic"].keys()
    module = load_weights(name, device="cpu")
    assert module.config == TINY
    options = {"calls": 2} if name == NAMES[0] else {}
    maker = tiny.maker(module, name, batch_size=2, **options)
    assert maker.cost["calls"] == (2 if options else 1)
    images, rows = maker.make(5, 3)
    assert images.shape == (5, 3, 64, 64)
    assert few.held_out[rows.numpy()].all()
    thumb = shrink(emoji_superres.pictures(rows))
    torch.testing.assert_close(shrink(images), thumb, rtol=0, atol=2e-6)
    alone, _ = maker.make(1, 3)
    torch.testing.assert_close(alone, images[:1], rtol=0, atol=1e-4)
    asked, told = maker.make(2, 0, [0, 5])
    assert told.tolist() == [0, 5] and asked.shape == (2, 3, 64, 64)
    for wrong in ([0], [0, 10**6], [0.5, 1], [-1, 0]):
        with pytest.raises(CourseError):
            maker.make(2, 0, wrong)


@pytest.mark.parametrize("name", NAMES)
def test_no_held_out_pair_is_drawn(few, name):
    _, made = begin(shrunk(name, batch_size=16))
    seen = torch.cat([next(made.batches) for _ in range(3 * len(few.concept) // 16)])
    assert not few.held_out[seen.numpy()].any()


def test_shifts_are_by_whole_pixels():
    x = torch.rand(6, 3, 16, 16)
    found = emoji_superres.shifted(x, Draws(0), most=2)
    assert found.shape == x.shape
    for one, as_it_was in zip(found, x, strict=True):  # the middle is a piece of the picture
        middle = one[:, 4:12, 4:12]
        places = [
            source[:, i : i + 8, j : j + 8]
            for source in (as_it_was, as_it_was.flip(2))
            for i in range(2, 7)
            for j in range(2, 7)
        ]
        assert any(torch.equal(middle, place) for place in places)
    still = emoji_superres.shifted(x, Draws(1), most=0)
    assert all(
        torch.equal(a, b) or torch.equal(a, b.flip(2)) for a, b in zip(still, x, strict=True)
    )


def test_the_direct_loss_is_the_squared_error_of_the_mean():
    kind, net = recipe("emoji-superres-direct"), awake()
    real = torch.rand(3, 3, 16, 16) * 2 - 1
    thumb = shrink(real)
    found = kind.loss_on(net, Draws(0))(net.residual(real), thumb)["loss"]
    expected = (net.mean(thumb) - net.residual(real)).square().mean()
    torch.testing.assert_close(found, expected)


def test_the_weights_are_small():
    for name in NAMES:
        _, made = begin(recipe(name))
        assert 2 * sum(p.numel() for p in made.result.parameters()) <= 3e6


def test_the_drawing_net_begins_as_the_direct_one():
    """So its first answer at the last time is that net's."""
    kind = recipe("emoji-superres")
    _, made = begin(kind)
    direct = load_weights("emoji-superres-direct", device="cpu")
    thumb = torch.rand(1, 3, 8, 8) - 0.5
    found = made.result.cpu().float().mean(thumb)
    torch.testing.assert_close(found, direct.mean(thumb))
    assert kind.about()["parts"] == {
        "emoji-superres-direct": weights.read_card("emoji-superres-direct")["sha256"]
    }
    assert "parts" not in recipe("emoji-superres-direct").about()


def test_an_error_in_x0_is_weighted_as_one_in_v():
    angle = torch.tensor([0.3, 0.8, 1.5])
    alpha, sigma = angle.cos(), angle.sin()
    x0, v, off = 0.4, -0.7, 0.01
    x_t = alpha * x0 + sigma * (v + sigma * x0) / alpha  # v = alpha eps - sigma x0
    wrong = alpha * x_t - sigma * (v + off)
    error = (wrong - (alpha * x_t - sigma * v)).square()
    expected = torch.full((3,), off**2)
    torch.testing.assert_close(emoji_superres.as_v(alpha, sigma) * error, expected)
    assert emoji_superres.as_v(alpha, torch.tensor([1e-3])) == 25
