"""Whatever makes images can be sampled, measured and shown: a toy of ten lines in grey and in
colour, and the shipped recipe with a tiny net.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from contracts import MakerContract
from safetensors.torch import save_file

from course_lib import weights
from course_lib.draws import ImageDraws
from course_lib.errors import CourseError
from course_lib.metrics import YARDSTICKS, Maker, Yardstick, measure
from course_lib.metrics.measure import _put_down, _take_up, with_row
from course_lib.models import ClassifierConfig, FashionClassifier, UNet, UNetConfig
from course_lib.recipes import maker as maker_of
from course_lib.recipes.conditions import labels_of
from course_lib.weights import save_weights


def pixel_maker(means: torch.Tensor, spread: float = 0.3) -> Maker:
    """The first maker of all: pixels that know nothing of each other, drawn from the mean
    image of a class [classes, C, H, W].
    """

    def batches(n, seed, cond=None, start=0):
        for i in range(start, n, 4):
            labels = labels_of(n, len(means) - 1, cond)[i : i + 4]
            noise = ImageDraws(seed, range(i, i + len(labels))).normal(means[labels])
            yield (means[labels] + spread * noise).clamp(-1, 1), labels

    shape = tuple(means.shape[1:])
    return Maker(
        name="pixels", shape=shape, yardstick="toy", cost={"calls": 1}, batches=batches
    )


def toy(shape: tuple[int, int, int]) -> tuple[torch.Tensor, Yardstick]:
    """Mean images of four classes, and a yardstick of pictures that are a little like them:
    its features are the means of the picture's quarters.
    """
    rng = np.random.default_rng(0)
    means = rng.uniform(60, 200, (4, *shape))
    classes = rng.integers(0, 4, 300)
    images = (means[classes] + rng.normal(0, 30, (300, *shape))).clip(0, 255).astype(np.uint8)
    images = images[:, 0] if shape[0] == 1 else images

    def embed(x):
        return torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)

    yardstick = Yardstick("toy", "", shape, lambda split: images, embed, small=200)
    return torch.as_tensor(means / 127.5 - 1, dtype=torch.float32), yardstick


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 6)], ids=["grey", "colour"])
class TestPixels(MakerContract):
    @pytest.fixture(autouse=True)
    def with_shape(self, shape, monkeypatch):
        self.means, yardstick = toy(shape)
        monkeypatch.setitem(YARDSTICKS, "toy", yardstick)

    def maker(self):
        return pixel_maker(self.means)


@pytest.fixture
def tiny_nets(tmp_path, monkeypatch):
    """A tiny untrained net, and a guide, under the shipped names."""
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    reading = {"schedule": {"name": "cosine", "T": 1000}, "target": "v"}
    for seed, name in enumerate(("ddpm-fashion", "ddpm-fashion-250k")):
        torch.manual_seed(seed)
        net = UNet(UNetConfig(widths=(16, 32), blocks=1, head_dim=16, emb_dim=24))
        with torch.no_grad():
            for parameter in net.parameters():  # none at 0, so that time and class count
                parameter += 0.1 * torch.randn(parameter.shape)
        save_weights(net, tmp_path / name, {"recipe": "ddpm-fashion", "reading": reading})
    monkeypatch.setitem(
        YARDSTICKS, "fashion-mnist", replace(toy((1, 28, 28))[1], name="fashion-mnist")
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"sampler": "ddpm"}, {"sampler": "heun", "guidance": 2.0}, {"calls": 20}],
    ids=["few calls", "fresh noise", "guided", "led away"],
)
class TestDiffusion(MakerContract):
    @pytest.fixture(autouse=True)
    def with_options(self, options, tiny_nets):
        self.options = {"calls": 4, "batch_size": 4, **options}

    def maker(self):
        return maker_of("ddpm-fashion", **self.options)


# ---- figures of its own


def test_a_maker_may_add_figures_of_its_own(monkeypatch, tmp_path):
    """Means over all images, whole or taken up from a checkpoint; none for other wishes."""
    means, yardstick = toy((1, 8, 8))
    monkeypatch.setitem(YARDSTICKS, "toy", yardstick)
    asked = []

    def more(images, start):
        asked.append(start)
        numbers = start + torch.arange(len(images))
        return {"number": numbers, "number_real": 0.0 * numbers}

    maker = replace(pixel_maker(means), more=more)
    figures = measure(maker, 10)
    assert (figures["number"], figures["number_real"]) == (4.5, 0)
    assert asked == [0, 4, 8]
    path = tmp_path / "checkpoint"
    assert measure(maker, 8, checkpoint=path)["number"] == 3.5
    again = measure(maker, 12, checkpoint=path)
    assert again["number"] == 5.5 and asked[-1] == 8
    assert "number" not in measure(maker, 8, cond=[1] * 8)
    rows = with_row(with_row([], figures), {**figures, "number": 5.0})
    assert [row["number"] for row in rows] == [5.0]  # found, and so no setting


# ---- what is wrong


def test_an_evaluation_whose_hash_lost_its_name(tmp_path):
    """It is none of an earlier version, which had no hash."""
    features, path = torch.randn(6, 3), tmp_path / "kept"
    _put_down(path, "so", features, 1.5, {})
    _take_up(path, "so", 6, features[:0])
    path.write_bytes(path.read_bytes().replace(b'"sha256"', b'"sha246"'))
    with pytest.raises(CourseError, match="nothing is known of 'sha246'"):
        _take_up(path, "so", 6, features[:0])


@pytest.mark.parametrize("seconds", ["-5", "nan", "inf", "x", ""])
def test_an_evaluation_that_took_no_time_that_there_is(tmp_path, seconds):
    features, path = torch.randn(6, 3), tmp_path / "kept"
    save_file({"features": features}, path, {"made": "so", "seconds": seconds, "sums": "{}"})
    with pytest.raises(CourseError, match="kept is no checkpoint of an evaluation .*another"):
        _take_up(path, "so", 6, features[:0])


def test_a_guide_makes_the_same_images(tiny_nets, tmp_path):
    net = FashionClassifier(ClassifierConfig(widths=(4, 4), features=8))
    reading = {"schedule": {"name": "cosine", "T": 1000}, "target": "v"}
    save_weights(net, tmp_path / "other", {"recipe": "ddpm-fashion", "reading": reading})
    with pytest.raises(CourseError, match="other can't guide ddpm-fashion"):
        maker_of("ddpm-fashion", calls=4, guide="other")


def test_what_comes_out_is_looked_at(monkeypatch):
    """A maker that breaks down is neither shown nor measured."""
    means, yardstick = toy((1, 8, 8))
    monkeypatch.setitem(YARDSTICKS, "toy", yardstick)
    means[2, 0, 3, 3] = float("nan")
    broken = pixel_maker(means)
    for act in (lambda: broken.make(4), lambda: measure(broken, 4)):
        with pytest.raises(CourseError, match="pixels made values that are not finite"):
            act()
    broken.make(2)  # the first two classes are whole


def test_a_row_replaces_its_like_alone():
    def row(fd, **more):
        return {"name": "m", "fd": fd, "fd_floor": 0.1, "n": 8, "calls": 1, "seed": 0} | more

    rows = []
    for figures in (
        row(0.5, n=16),
        row(0.4, calls=20, sampler="ddim", guide=None),
        row(0.3, calls=10, sampler="ddim", guide=None),
        row(0.2, calls=10, sampler="ddim", guide="weaker", precision="float32"),
        row(0.25, calls=10, sampler="ddim", guide="weaker", precision="bfloat16"),
        row(0.6, temperature=0.9),
        row(0.7),
    ):
        rows = with_row(rows, {**figures, "parameters": 3, "seconds_per_image": 0.1})
    assert not any({"name", "parameters", "seconds_per_image"} & row.keys() for row in rows)
    found = {
        (row["n"], row["calls"], row.get("guide"), row.get("temperature")) for row in rows
    }
    assert len(rows) == len(found) == 6
    assert sorted(row["fd"] for row in rows) == [0.25, 0.3, 0.4, 0.5, 0.6, 0.7]
    by_calls = [row["calls"] for row in rows if row.get("sampler") and not row["guide"]]
    assert by_calls == [10, 20]


def test_labels():
    assert labels_of(5, 3).tolist() == [0, 1, 2, 0, 1]
    assert labels_of(2, 3, [3, 0]).tolist() == [3, 0]  # 3: no class
    for cond in ([0, 1], [0, 1, 4], [0, 1, -1], [0.5, 1, 2], [[0], [1], [2]], ["bag"] * 3):
        with pytest.raises(CourseError, match="labels must be 3 classes from 0 to 2"):
            labels_of(3, 3, cond)


def test_images_whose_precision_differs_are_not_mixed(monkeypatch, tmp_path):
    means, yardstick = toy((1, 8, 8))
    monkeypatch.setitem(YARDSTICKS, "toy", yardstick)
    made = replace(pixel_maker(means), precision="bfloat16")
    monkeypatch.setenv("MARBLE_PRECISION", "float32")  # its maker says what it computes in
    assert measure(made, 4, checkpoint=tmp_path / "kept")["precision"] == "bfloat16"
    with pytest.raises(CourseError, match="holds images made in another way"):
        measure(pixel_maker(means), 8, checkpoint=tmp_path / "kept")


def test_figures_of_other_judges_are_not_mixed(monkeypatch, tmp_path):
    """A mean is of all images: features without figures, or with other judges', are not gone
    on from.
    """
    means, yardstick = toy((1, 8, 8))
    monkeypatch.setitem(YARDSTICKS, "toy", yardstick)
    plain = pixel_maker(means)
    judged = replace(
        plain, more=lambda images, start: {"score": torch.ones(len(images))}, judges=("a",)
    )
    for number, (first, second) in enumerate(
        [(plain, judged), (judged, replace(judged, judges=("b",))), (judged, plain)]
    ):
        measure(first, 4, checkpoint=tmp_path / f"kept-{number}")
        with pytest.raises(CourseError, match="holds images made in another way"):
            measure(second, 8, checkpoint=tmp_path / f"kept-{number}")
    measure(judged, 4, checkpoint=tmp_path / "whole")
    assert measure(judged, 8, checkpoint=tmp_path / "whole")["score"] == 1
