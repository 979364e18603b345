"""The command line: what it writes and prints, and that what a user can mend is said in one
sentence.
"""

import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from course_lib import __main__ as cli
from course_lib import recipes, runs, weights
from course_lib.data import assets
from course_lib.diffusion import SAMPLERS, Step
from course_lib.draws import ImageDraws
from course_lib.errors import CourseError
from course_lib.metrics import YARDSTICKS, Maker, Yardstick, measure, yardsticks
from course_lib.models import ClassifierConfig, FashionClassifier, UNet, UNetConfig
from course_lib.recipes import ddpm_fashion, maker
from course_lib.recipes.ddpm_fashion import DdpmLeg
from course_lib.runs import Flag, Recipe
from course_lib.training import TrainingDiverged
from course_lib.weights import save_weights, shipped

ROOT = Path(__file__).resolve().parent.parent
TINY = UNetConfig(widths=(16, 32), blocks=1, head_dim=16, emb_dim=24)


def forget():
    """Empty what is kept of nets and features from call to call."""
    for cached in (
        yardsticks._feature_net,
        yardsticks._real,
        yardsticks._reference,
        yardsticks._floor,
    ):
        cached.cache_clear()


@pytest.fixture
def untrained(tmp_path, monkeypatch):
    """Tiny untrained nets under the shipped names, and 3,000 images of noise, dark to bright,
    for Fashion-MNIST.
    """
    folder = tmp_path / "weights"
    monkeypatch.setattr(weights, "WEIGHTS", folder)
    torch.manual_seed(0)
    net = UNet(TINY)
    torch.nn.init.normal_(net.head[2].weight, std=0.1)
    reading = {"schedule": {"name": "cosine", "T": 1000}, "target": "v"}
    for name, module in (("ddpm-fashion", net), (ddpm_fashion.BEST.guide, UNet(TINY))):
        card = {"name": name, "recipe": "ddpm-fashion", "reading": reading}
        save_weights(module, folder / name, card)
    classifier = FashionClassifier(ClassifierConfig(widths=(4, 4), features=8))
    torch.nn.init.normal_(
        classifier.project.weight, std=100
    )  # else its features hardly differ
    card = {"name": "fashion-classifier", "recipe": "fashion-classifier"}
    save_weights(classifier, folder / "fashion-classifier", card)
    rng = np.random.default_rng(0)
    data = {
        split: (np.linspace(1, 255, 3000) * rng.random((28, 28, 3000))).T.astype(np.uint8)
        for split in ("train", "test")
    }
    monkeypatch.setattr(yardsticks, "fashion_mnist", lambda split: (data[split], None))
    forget()
    yield folder
    forget()


def one_line(text: str) -> str:
    assert text.count("\n") == 1 and text.endswith("\n"), text
    return text.strip()


# ---- sample


def test_sample_npz(untrained, tmp_path, capsys):
    out = tmp_path / "x.npz"
    assert (
        cli.main(["sample", "ddpm-fashion", "--n", "13", "--calls", "3", "--out", str(out)])
        == 0
    )
    assert str(out) in one_line(capsys.readouterr().out)
    found = np.load(out)
    assert sorted(found) == ["images", "labels"]
    assert (found["images"].shape, found["images"].dtype) == ((13, 28, 28), np.uint8)
    assert found["labels"].tolist() == [i % 10 for i in range(13)]
    assert found["images"].std() > 0


def test_sample_is_the_seeds_alone(untrained, tmp_path):
    def run(name, *more):
        cli.main(
            [
                "sample",
                "ddpm-fashion",
                "--n",
                "6",
                "--calls",
                "2",
                "--out",
                str(tmp_path / name),
                *more,
            ]
        )
        return np.load(tmp_path / name)["images"]

    first = run("a.npz")
    torch.manual_seed(5)
    assert np.array_equal(run("b.npz"), first)
    assert not np.array_equal(run("c.npz", "--seed", "1"), first)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "heun", "dpmpp_2m", "unipc"])
def test_every_sampler_with_a_label_and_guidance(untrained, tmp_path, sampler):
    out = tmp_path / "x.npz"
    more = ["--sampler", sampler, "--label", "7", "--guidance", "2"]
    assert (
        cli.main(
            ["sample", "ddpm-fashion", "--n", "2", "--calls", "3", "--out", str(out), *more]
        )
        == 0
    )
    assert np.load(out)["labels"].tolist() == [7, 7]


def test_sample_png(untrained, tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    out = tmp_path / "x.png"
    assert (
        cli.main(["sample", "ddpm-fashion", "--n", "64", "--calls", "1", "--out", str(out)])
        == 0
    )
    grid = image.open(out)
    assert grid.mode == "L"
    assert min(grid.size) >= 8 * 28  # 64 images as 8 by 8
    assert np.asarray(grid).std() > 0


@pytest.mark.parametrize(
    ("command", "option", "file", "says"),
    [
        ("sample", "--out", "nowhere/x.npz", "There is no folder .*nowhere for x.npz"),
        (
            "sample",
            "--out",
            "x.pgn",
            "x.pgn is no picture that can be written: .* .png or .npz",
        ),
        ("sample", "--out", "x", "x is no picture that can be written"),
        ("sample", "--out", "x.qoi", "x.qoi is no picture that can be written"),
        ("evaluate", "--checkpoint", "nowhere/x", "There is no folder .*nowhere for x"),
        ("evaluate", "--checkpoint", ".", "cannot be written .*it is a folder"),
        ("sample", "--out", "a" * 300 + ".npz", "cannot be written"),
    ],
)
def test_where_it_goes_is_looked_at_before_the_work(
    monkeypatch, tmp_path, capsys, command, option, file, says
):
    monkeypatch.setattr(Maker, "checked", lambda *_, **__: pytest.fail("images were made"))
    assert cli.main([command, "ddpm-fashion", option, str(tmp_path / file)]) == 1
    assert re.search(says, one_line(capsys.readouterr().err))


@pytest.mark.parametrize("encoding", ["cp932", "ascii"])
def test_help_where_a_letter_is_lacking(encoding):
    """As in a redirect on Windows, whose output may lack the letters of Fréchet's name."""
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-m", "course_lib", "--help"], cwd=ROOT, env=env, capture_output=True
    )
    assert done.returncode == 0 and not done.stderr and b"evaluate" in done.stdout


def test_a_file_may_be_called_as_a_model_is(monkeypatch):
    """Then its name stands behind an option, and the model is another word."""
    monkeypatch.setattr("course_lib.weights.shipped", lambda: ["a", "b"])
    for words in (["--checkpoint", "a", "b"], ["b", "--out", "a"], ["--n", "2", "b"]):
        assert cli._named(["evaluate", *words]) == "b"


# ---- evaluate


def test_evaluate_json(untrained, capsys):
    """The last line is one JSON object with the keys that the course promises."""
    assert cli.main(["evaluate", "ddpm-fashion", "--n", "64", "--calls", "2", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    for key in ("name", "fd", "fd_floor", "n", "calls", "seconds_per_image", "parameters"):
        assert key in figures
    assert (figures["name"], figures["n"], figures["calls"]) == ("ddpm-fashion", 64, 2)
    assert figures["parameters"] == sum(
        parameter.numel() for parameter in UNet(TINY).parameters()
    )
    assert figures["fd"] > figures["fd_floor"] > 0
    assert figures["seconds_per_image"] > 0
    assert figures["reference"] == 2048  # the small protocol


def test_evaluate_in_words(untrained, capsys):
    assert cli.main(["evaluate", "ddpm-fashion", "--n", "32", "--calls", "1"]) == 0
    line = one_line(capsys.readouterr().out)
    for part in ("ddpm-fashion", "n = 32", "1 calls", "times as far"):
        assert part in line


def test_two_images_tell_nothing(untrained, capsys):
    """They were "0.66 times as far" as real ones."""
    assert cli.main(["evaluate", "ddpm-fashion", "--n", "2", "--calls", "1"]) == 0
    line = one_line(capsys.readouterr().out)
    assert "neither tells anything: 2 images are too few" in line and "2,048" in line
    assert "times as far" not in line


def test_a_great_number_is_refused_before_it_is_made(untrained, monkeypatch, capsys, tmp_path):
    """A list of a thousand million prompts took 8 GB."""
    monkeypatch.setattr(
        ddpm_fashion.DdpmRecipe, "conditions", lambda *_, **__: pytest.fail("a list was made")
    )
    out = str(tmp_path / "x.npz")
    many = ["--n", "1000000000"]
    assert cli.main(["sample", "ddpm-fashion", *many, "--label", "1", "--out", out]) == 1
    assert "1,000,000 at most" in one_line(capsys.readouterr().err)
    assert cli.main(["evaluate", "ddpm-fashion", *many]) == 1
    assert "are not to be had from 3000" in one_line(capsys.readouterr().err)


def test_long_work_shows_how_far_it_is(monkeypatch):
    """On a screen a bar; the features of many real images are long work too."""
    from course_lib.progress import progress

    seen = []
    monkeypatch.setattr(
        yardsticks, "progress", lambda parts, desc: seen.append(desc) or progress(parts)
    )
    ruler = Yardstick("x", "", (1, 2, 2), None, lambda x: x.flatten(1))
    assert ruler.features(torch.zeros(1500, 1, 2, 2), "1,500 real images").shape == (1500, 4)
    assert seen == ["1,500 real images"]
    screen = types.SimpleNamespace(isatty=lambda: True, write=seen.append, flush=lambda: None)
    monkeypatch.setattr(sys, "stderr", screen)
    bar = progress(range(3), desc="parts")
    assert not bar.disable and list(bar) == [0, 1, 2]
    monkeypatch.setattr(screen, "isatty", lambda: False)
    monkeypatch.setitem(sys.modules, "ipykernel", None)
    assert progress(range(3)).disable  # a notebook keeps no bars


def test_a_full_disk_leaves_the_pictures_that_were_there(
    untrained, tmp_path, monkeypatch, capsys
):
    image = pytest.importorskip("PIL.Image")
    for name, (owner, writer) in {
        "x.png": (image.Image, "save"),
        "x.npz": (np, "savez_compressed"),
    }.items():
        out = tmp_path / name
        command = ["sample", "ddpm-fashion", "--n", "1", "--calls", "1", "--out", str(out)]
        assert cli.main(command) == 0
        before = out.read_bytes()

        real = getattr(owner, writer)

        def full(*args, real=real, **options):
            if any(isinstance(each, io.BytesIO) for each in args):  # a trial in memory
                return real(*args, **options)
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(owner, writer, full)
            capsys.readouterr()
            assert cli.main(command) == 1
        assert "cannot be written (No space left" in one_line(capsys.readouterr().err)
        assert out.read_bytes() == before
        assert sorted(each.name for each in tmp_path.glob("x*")) == sorted(
            each for each in ("x.png", "x.npz") if (tmp_path / each).exists()
        )


def test_an_evaluation_checkpoint_is_looked_at(untrained, tmp_path):
    """Features of another shape, that are no numbers, sums of another kind, a flipped bit."""
    from safetensors.torch import save_file

    path = tmp_path / "kept"

    def evaluated(n=12):
        plain = maker("ddpm-fashion", calls=1, sampler="ddim", batch_size=4)
        return measure(plain, n, checkpoint=path)

    evaluated()
    good, features = path.read_bytes(), load_file(path)["features"]
    with safe_open(path, framework="pt") as file:
        kept = file.metadata()
    del kept["sha256"]
    texts = {"seconds": ("nan", "x"), "sums": ("[]", '{"a": NaN}', '{"a": "x"}', "3", "{")}
    cases = [({**kept, key: text}, features) for key in texts for text in texts[key]]
    for wrong in (
        features[:, :-1],
        features[0],
        features.T,
        features * math.nan,
        features.long(),
    ):
        cases.append((kept, wrong.contiguous()))
    for metadata, tensor in cases:
        save_file({"features": tensor}, path, metadata)
        with pytest.raises(CourseError, match="no checkpoint of an evaluation"):
            evaluated()
    path.write_bytes(good[:-3] + bytes([good[-3] ^ 1]) + good[-2:])
    with pytest.raises(CourseError, match="it holds other values than were saved"):
        evaluated()
    save_file({"features": features}, path, kept)  # of an earlier version
    evaluated()


def test_evaluate_counts_the_calls_that_it_is_given(untrained, monkeypatch):
    """Calls are calls of any net, with or without the class; Heun's come in pairs but for the
    last.
    """
    seen, load = [], weights.load_weights

    def counting(name, **where):
        net = load(name, device="cpu")
        net.register_forward_hook(lambda module, args, out: seen.append(len(out)))
        return net

    monkeypatch.setattr(weights, "load_weights", counting)
    guide = {"guide": ddpm_fashion.BEST.guide}
    for how, calls in (
        ({"sampler": "ddim"}, 7),
        ({"sampler": "ddpm"}, 7),
        ({"sampler": "dpmpp_2m"}, 7),
        ({"sampler": "heun"}, 7),
        ({"sampler": "ddim", "guidance": 3.0}, 6),
        ({"sampler": "ddim", "guidance": 0.0}, 7),
        ({"sampler": "dpmpp_2m", **guide}, 6),
        ({"sampler": "heun", **guide}, 6),
        ({"sampler": "ddim", **guide, "guide_scale": 1}, 7),
        ({"sampler": "ddim", **guide, "guide_scale": 0}, 7),
        ({"sampler": "ddim", "guidance": 2.0, **guide}, 6),
    ):
        made = maker("ddpm-fashion", calls=7, **how)
        seen.clear()
        made.make(5)
        assert seen == [5] * calls
        assert made.cost["calls"] == calls


def test_the_best_way_is_the_default_and_any_option_leaves_its_guide_out(untrained, capsys):
    def figures(*more, calls=20):
        assert (
            cli.main(
                [
                    "evaluate",
                    "ddpm-fashion",
                    "--n",
                    "8",
                    "--calls",
                    str(calls),
                    "--json",
                    *more,
                ]
            )
            == 0
        )
        return json.loads(capsys.readouterr().out)

    assert figures(calls=10)["guide"] is None  # few calls are better spent on steps
    best, found = ddpm_fashion.BEST, figures()
    assert (found["sampler"], found["guide"], found["guide_scale"]) == (
        best.sampler,
        best.guide,
        best.guide_scale,
    )
    assert figures("--sampler", "ddim")["guide"] is None
    plain = figures("--guidance", "1")  # its sampler stays, for none was named
    assert (plain["sampler"], plain["guide"]) == (best.sampler, None)
    assert figures("--guide", best.guide, "--guide-scale", "1.5")["guide_scale"] == 1.5


def test_an_image_is_the_same_in_a_run_of_any_length_and_from_any_start(untrained):
    for how in (
        {"sampler": "ddim"},
        {"sampler": "ddpm"},
        {"sampler": "dpmpp_2m", "guidance": 2.0},
    ):
        made = maker("ddpm-fashion", calls=2, batch_size=4, **how)
        whole, labels = made.make(10, seed=3)
        fewer, _ = made.make(8, seed=3)
        later = list(made.batches(10, 3, None, 4))
        assert torch.equal(fewer, whole[:8])
        assert torch.equal(torch.cat([images for images, _ in later]), whole[4:])
        assert torch.cat([part for _, part in later]).tolist() == labels[4:].tolist()
        cut = torch.cat([images for images, _ in made.batches(10, 3, None, 3)])
        torch.testing.assert_close(cut, whole[3:], rtol=0, atol=1e-4)


def test_two_seeds_share_neither_start_nor_fresh_noise(untrained, monkeypatch):
    """Every seed had the same fresh noise, and seed 1's was its own start."""
    starts, fresh = [], []

    def noted(denoise, schedule, x, times, cond, *, draws):
        starts.append(x)
        fresh.append(draws.normal(x))
        yield Step(0, x, x, x)

    monkeypatch.setitem(SAMPLERS, "ddpm", noted)
    for seed in (0, 1, 2, 2**31 - 1):
        maker("ddpm-fashion", calls=2, sampler="ddpm").make(8, seed=seed)
    streams = torch.stack(starts + fresh).flatten(1)  # [2 * seeds, 8 * 784]
    off_diagonal = torch.corrcoef(streams) - torch.eye(len(streams))
    assert off_diagonal.abs().max() < 5 / streams.shape[1] ** 0.5
    images = torch.cat(starts + fresh).flatten(1)
    assert (torch.corrcoef(images) - torch.eye(len(images))).abs().max() < 6 / 28


def test_evaluate_goes_on_from_its_checkpoint(untrained, tmp_path, monkeypatch):
    """Cut after any batch, and made longer: the same figures as in one piece, and no image
    made twice.
    """
    made = []

    def evaluate(n, checkpoint=None, cut=None, seed=0):
        plain = maker("ddpm-fashion", calls=2, sampler="ddpm", batch_size=4)

        def watched(*args, **options):
            for i, batch in enumerate(plain.batches(*args, **options)):
                if i == cut:
                    raise KeyboardInterrupt
                made.append(len(batch[0]))
                yield batch

        return measure(replace(plain, batches=watched), n, seed=seed, checkpoint=checkpoint)

    def same(a, b):
        return all(a[key] == pytest.approx(b[key]) for key in a if key != "seconds_per_image")

    short, long = evaluate(8), evaluate(16)
    path = tmp_path / "new" / "checkpoint"
    made.clear()
    assert same(evaluate(8, path), short)
    for cut in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            evaluate(16, path, cut)
    assert same(evaluate(16, path), long)
    assert made == [4] * 4
    assert same(evaluate(16, path), long)  # nothing left to do
    assert made == [4] * 4
    for other, says in (
        (lambda: evaluate(8, path), "holds 16 images already: ask for as many or more, not 8"),
        (lambda: evaluate(16, path, seed=1), 'holds images made in another way, .*"seed": 0'),
    ):
        with pytest.raises(ValueError, match=says):
            other()
    torch.manual_seed(
        3
    )  # another yardstick: its moments are not to be added to those of the first
    save_weights(
        FashionClassifier(ClassifierConfig(widths=(4, 4), features=8)),
        untrained / "fashion-classifier",
        {},
    )
    with pytest.raises(ValueError, match="holds images made in another way"):
        evaluate(16, path)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="is no checkpoint of an evaluation"):
        evaluate(16, path)
    assert path.read_bytes() == b"something else"


def test_the_card_keeps_a_row_for_each_way(untrained, capsys):
    for more in ([], ["--seed", "1"], [], ["--calls", "3"]):
        arguments = ["evaluate", "ddpm-fashion", "--n", "8", "--calls", "2", "--card", *more]
        assert cli.main(arguments) == 0
    card = weights.read_card("ddpm-fashion")
    rows = card["figures"]["rows"]
    assert [(row["calls"], row["seed"]) for row in rows] == [(2, 0), (2, 1), (3, 0)]
    assert all(row["fd"] > 0 and "name" not in row for row in rows)
    assert card["reading"]["target"] == "v"  # what was there stays
    weights.verify("ddpm-fashion")


# ---- a model's own flags


def shown_help(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "--help"])
    assert stop.value.code == 0
    return re.sub(r"\s+", " ", capsys.readouterr().out)


def test_help_shows_the_flags_of_the_model(untrained, capsys):
    own = ("--calls", "--sampler", "--guidance", "--guide-scale", "--label")
    plain, named = shown_help(capsys, "sample"), shown_help(capsys, "sample", "ddpm-fashion")
    for flag in own:
        assert flag in named and flag not in plain
    assert "A model's own flags are shown where it is named" in plain
    assert "--label" not in shown_help(capsys, "evaluate", "ddpm-fashion-250k")
    assert "--calls" not in shown_help(capsys, "sample", "fashion-classifier")


def test_the_name_may_stand_anywhere(untrained, tmp_path):
    out = str(tmp_path / "x.npz")
    command = [
        "sample",
        "--n",
        "2",
        "--calls",
        "1",
        "--label",
        "3",
        "ddpm-fashion",
        "--out",
        out,
    ]
    assert cli.main(command) == 0
    assert np.load(out)["labels"].tolist() == [3, 3]


def test_a_flag_of_another_model_is_argparses(untrained, capsys):
    for arguments in (
        ["sample", "ddpm-fashion", "--temperature", "2"],
        ["evaluate", "ddpm-fashion", "--label", "2"],
        ["train", "ddpm-fashion", "--calls", "2"],
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 2
        assert f"{arguments[0]} has no {arguments[2]} 2" in capsys.readouterr().err


class Painter(Recipe):
    """A recipe of another family: told by texts, with a temperature, 784 calls an image."""

    def flags(self):
        return (
            Flag("--temperature", {"type": float, "default": 1.0}),
            Flag("--prompt", {}, cond=True),
        )

    def conditions(self, n, *, prompt=None):
        return None if prompt is None else [prompt] * n

    def maker(self, module, name, *, temperature):
        def batches(n, seed, cond=None, start=0):
            texts = cond or ["a shoe"] * n
            for i in range(start, n, 2):
                part = texts[i : i + 2]
                noise = ImageDraws(seed, range(i, i + len(part)))
                yield temperature * noise.normal(torch.empty(len(part), 3, 6, 5)), part

        cost = {"calls": 784, "temperature": temperature}
        return Maker(name=name, shape=(3, 6, 5), yardstick="texts", cost=cost, batches=batches)


def test_a_family_told_by_texts(untrained, monkeypatch, tmp_path, capsys):
    """The command line has no if on a family: flags, conditions and cost are the recipe's."""
    module = types.ModuleType("painter")
    module.RECIPE = Painter(name="painter", config=None, batch_size=1, lr=1.0, legs=())
    monkeypatch.setitem(sys.modules, "painter", module)
    monkeypatch.setitem(recipes.RECIPES, "painter", "painter")
    images = np.random.default_rng(0).integers(0, 255, (100, 3, 6, 5)).astype(np.uint8)
    ruler = Yardstick(
        "texts", "", (3, 6, 5), lambda split: images, lambda x: x.flatten(1)[:, ::9]
    )
    monkeypatch.setitem(YARDSTICKS, "texts", ruler)
    save_weights(UNet(TINY), untrained / "painter", {"name": "painter", "recipe": "painter"})
    out = tmp_path / "x.npz"
    command = ["sample", "painter", "--n", "3", "--out", str(out), "--temperature", "0.5"]
    assert cli.main([*command, "--prompt", "a red hat"]) == 0
    assert "3 images in 784 calls" in capsys.readouterr().out
    found = np.load(out)
    assert found["texts"].tolist() == ["a red hat"] * 3
    assert found["images"].shape == (3, 3, 6, 5)
    assert cli.main(["sample", "painter", "--n", "3", "--out", str(tmp_path / "x.png")]) == 0
    assert np.asarray(pytest.importorskip("PIL.Image").open(tmp_path / "x.png")).shape[2] == 3
    capsys.readouterr()
    command = ["evaluate", "painter", "--n", "6", "--json", "--card", "--temperature", "0.5"]
    assert cli.main(command) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["calls"], figures["temperature"]) == (784, 0.5)
    (row,) = weights.read_card("painter")["figures"]["rows"]
    assert row["temperature"] == 0.5


# ---- mistakes


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["sample", "ddpm-fashoin"],
            "no shipped model 'ddpm-fashoin'; there are: ddpm-fashion, ddpm-fashion-250k, "
            "fashion-classifier",
        ),
        (["sample", "ddpm-fashion", "--n", "0"], "1 or more images"),
        (["sample", "ddpm-fashion", "--n", "-3"], "1 or more images"),
        (["sample", "ddpm-fashion", "--calls", "0"], "1 or more calls"),
        (
            ["sample", "ddpm-fashion", "--sampler", "ddim", "--calls", "1001", "--n", "1"],
            "1 to 1000 steps, not 1001",
        ),
        (
            ["sample", "ddpm-fashion", "--guidance", "2", "--calls", "1"],
            "a step takes 2 network calls",
        ),
        (["sample", "ddpm-fashion", "--guide", "gone"], "no shipped model 'gone'"),
        (["sample", "ddpm-fashion", "--n", "2", "--label", "11"], "classes from 0 to 9"),
        (["sample", "ddpm-fashion", "--n", "2", "--label", "-1"], "classes from 0 to 9"),
        (
            ["sample", "ddpm-fashion", "--sampler", "euler"],
            "no sampler 'euler'; there are: ddpm, ddim, heun, ",
        ),
        (["evaluate", "gone"], "no shipped model 'gone'"),
        (["evaluate", "ddpm-fashion", "--n", "0"], "2 or more images, not 0"),
        (["evaluate", "ddpm-fashion", "--n", "1", "--calls", "1"], "N of 2 or more"),
        (["sample", "ddpm-fashion", "--guide-scale", "1.5"], "name it with --guide"),
        (["sample", "ddpm-fashion", "--seed", "-1"], "from 0 to 2^31 - 1, not -1"),
        (
            ["evaluate", "ddpm-fashion", "--n", "64", "--seed", str(2**31)],
            "from 0 to 2^31 - 1",
        ),
        (["train", "ddpm-fashion", "--steps", "0"], "1 or more steps, not 0"),
        (["train", "fashion-classifier", "--steps", "-5"], "1 or more steps, not -5"),
        (["train", "ddpm-fashion", "--seconds", "0"], "more than 0 seconds, not 0"),
        (["train", "ddpm-fashion", "--seconds", "nan"], "more than 0 seconds, not nan"),
        (["train", "ddpm-fashion", "--seconds", "inf"], "more than 0 seconds, not inf"),
        (
            ["train", "ddpm-fashion", "--seconds", "5", "--steps", "5"],
            "its --steps or its --seconds, not both",
        ),
        (["sample", "ddpm-fashion", "--guidance", "nan"], "guidance is a number from -100"),
        (["sample", "ddpm-fashion", "--guidance", "inf"], "guidance is a number from -100"),
        (["sample", "ddpm-fashion", "--guidance", "1e39"], "guidance is a number from -100"),
        (
            ["sample", "ddpm-fashion", "--guide", "ddpm-fashion-250k", "--guide-scale", "nan"],
            "guide_scale is a number from -100",
        ),
        (["evaluate", "ddpm-fashion", "--guidance=-inf"], "guidance is a number"),
        (["sample", "ddpm-fashion", "--n", str(10**12)], "1,000,000 at most"),
        (["sample", "gone", "--guidance", "2"], "no shipped model 'gone'"),
        (
            ["train", "ddpm-fashoin"],
            "no recipe 'ddpm-fashoin'; there are: ddpm-fashion, fashion-classifier",
        ),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_mistakes_get_a_sentence_and_exit_code_1(untrained, capsys, tmp_path, arguments, says):
    if arguments[0] == "sample":
        arguments = [*arguments, "--out", str(tmp_path / "x.npz")]
    assert cli.main(arguments) == 1
    shown = capsys.readouterr()
    assert says in one_line(shown.err)
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_a_classifier_does_not_sample(untrained, capsys, tmp_path):
    assert (
        cli.main(
            ["sample", "fashion-classifier", "--n", "2", "--out", str(tmp_path / "x.npz")]
        )
        == 1
    )
    assert "fashion-classifier makes no images" in one_line(capsys.readouterr().err)


def test_damaged_weights_get_a_sentence(untrained, capsys, tmp_path):
    path = untrained / "ddpm-fashion.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert (
        cli.main(["sample", "ddpm-fashion", "--n", "1", "--out", str(tmp_path / "x.npz")]) == 1
    )
    assert "is damaged" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("name", ["gone/x.npz", "gone/x.png", "x.tiff9"])
def test_a_place_that_cannot_be_written_gets_a_sentence(untrained, capsys, tmp_path, name):
    assert (
        cli.main(
            [
                "sample",
                "ddpm-fashion",
                "--n",
                "1",
                "--calls",
                "1",
                "--out",
                str(tmp_path / name),
            ]
        )
        == 1
    )
    one_line(capsys.readouterr().err)


def test_an_evaluation_that_is_stopped_says_how_to_go_on(
    untrained, monkeypatch, capsys, tmp_path
):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Maker, "checked", stopped)
    assert (
        cli.main(["evaluate", "ddpm-fashion", "--n", "8", "--checkpoint", str(tmp_path / "x")])
        == 130
    )
    assert (
        one_line(capsys.readouterr().err)
        == f"stopped; the same command goes on from {tmp_path / 'x'}"
    )


def test_unknown_options_are_argparses(capsys):
    for arguments in ([], ["draw"], ["sample"], ["sample", "ddpm-fashion", "--n", "many"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 2
        assert "usage: python -m course_lib" in capsys.readouterr().err


def test_interrupted(untrained, monkeypatch, capsys):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Maker, "make", stopped)
    assert cli.main(["sample", "ddpm-fashion"]) == 130
    assert one_line(capsys.readouterr().err) == "stopped"


# ---- train and verify


@pytest.fixture
def train_command(untrained, tmp_path, monkeypatch):
    """`train ddpm-fashion` on a tiny net and blank images, as a function of the folder and
    more arguments.
    """
    images = torch.zeros(128, 28, 28, dtype=torch.uint8)
    tiny = replace(ddpm_fashion.RECIPE, config=TINY)
    monkeypatch.setattr(ddpm_fashion, "RECIPE", tiny)
    monkeypatch.setattr(
        ddpm_fashion.DdpmRecipe, "snapshots", lambda self: {"ddpm-fashion-10k": 2}
    )
    monkeypatch.setattr(
        ddpm_fashion,
        "fashion_mnist",
        lambda split: (images, torch.zeros(128, dtype=torch.int64)),
    )
    monkeypatch.setattr(runs, "default_device", lambda: torch.device("cpu"))

    def command(folder, *more):
        out = tmp_path / "out"
        arguments = [
            "train",
            "ddpm-fashion",
            "--folder",
            str(tmp_path / folder),
            "--out",
            str(out),
            *more,
        ]
        assert cli.main(arguments) == 0
        return out

    return command


def changed(monkeypatch, **fields):
    """Put another recipe in ddpm-fashion's place, which differs in these fields."""
    monkeypatch.setattr(ddpm_fashion, "RECIPE", replace(ddpm_fashion.RECIPE, **fields))


def test_train_writes_weights_cards_and_goes_on(train_command, monkeypatch, capsys):
    """The whole command: checkpoints, a log, a snapshot on the way, and going on after the
    end.
    """
    out = train_command("run", "--steps", "4")
    assert sorted(path.name for path in out.iterdir()) == [
        f"{name}.{kind}"
        for name in ("ddpm-fashion-10k", "ddpm-fashion")
        for kind in ("json", "safetensors")
    ]
    card = json.loads((out / "ddpm-fashion.json").read_text())
    assert (card["images_seen"], card["command"]) == (
        256,
        "python -m course_lib train ddpm-fashion --steps 4",
    )
    assert [(leg["steps"], leg["images"]) for leg in card["legs"]] == [(4, 256)]
    capsys.readouterr()
    train_command("run", "--steps", "6")
    assert "going on at step 4" in capsys.readouterr().out
    assert json.loads((out / "ddpm-fashion.json").read_text())["images_seen"] == 384
    monkeypatch.setattr(weights, "WEIGHTS", out)
    assert isinstance(weights.load_weights("ddpm-fashion-10k", device="cpu"), UNet)


def test_a_run_does_not_go_on_from_another(train_command, tmp_path, monkeypatch, capsys):
    """Fewer steps than are made, other settings, another net: a sentence each, and the weights
    stay as they are.
    """
    out = train_command("run", "--steps", "4")
    made = (out / "ddpm-fashion.json").read_text()

    def refused(*more) -> str:
        arguments = [
            "train",
            "ddpm-fashion",
            "--folder",
            str(tmp_path / "run"),
            "--out",
            str(out),
            *more,
        ]
        capsys.readouterr()
        assert cli.main(arguments) == 1
        assert (out / "ddpm-fashion.json").read_text() == made
        return one_line(capsys.readouterr().err)

    assert "has made 4 steps already" in refused("--steps", "3")
    changed(monkeypatch, legs=(DdpmLeg(8, least=1.0),))
    assert "leg-1.pt is the checkpoint of another run" in refused()
    changed(monkeypatch, config=UNetConfig(widths=(16, 16), blocks=1, head_dim=16, emb_dim=24))
    assert "leg-1.pt is the checkpoint of another run" in refused("--steps", "6")


def test_a_finished_leg_of_another_run_is_not_taken_over(
    train_command, tmp_path, monkeypatch, capsys
):
    legs = (DdpmLeg(2, least=1.0), DdpmLeg(1))
    changed(monkeypatch, legs=legs)
    train_command("run")

    def refused() -> str:
        capsys.readouterr()
        assert (
            cli.main(
                [
                    "train",
                    "ddpm-fashion",
                    "--folder",
                    str(tmp_path / "run"),
                    "--out",
                    str(tmp_path),
                ]
            )
            == 1
        )
        return one_line(capsys.readouterr().err)

    for name, value in (
        ("lr", 1e-3),
        ("drop", 0.5),
        ("seed", 1),
        ("batch_size", 32),
        ("target", "eps"),
        ("schedule", {"name": "linear"}),
        ("legs", (DdpmLeg(2), legs[1])),
    ):
        with monkeypatch.context() as patch:
            changed(patch, **{name: value})
            assert "leg-1-2.safetensors was made by another run: remove it" in refused(), name
    first = tmp_path / "run" / "leg-1-2.safetensors"
    card = json.loads(first.with_suffix(".json").read_text())
    torch.manual_seed(9)
    save_weights(UNet(TINY), first, card)  # made anew, with other weights
    assert "leg-2-1.safetensors was made by another run" in refused()
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_kill_between_weights_and_card_and_a_log_cut_short(train_command, tmp_path):
    def made(out: Path) -> tuple:
        card = json.loads((out / "ddpm-fashion.json").read_text())
        # the order of a safetensors header is not fixed, and a busy machine takes its time
        del card["sha256"], card["training_seconds"]
        for leg in card["legs"]:
            del leg["seconds"]
        return card, {
            name: tensor.tolist()
            for name, tensor in load_file(out / "ddpm-fashion.safetensors").items()
        }

    whole = made(train_command("run", "--steps", "4"))
    (tmp_path / "run" / "leg-1-4.json").unlink()  # killed just before it was written
    with open(tmp_path / "run" / "leg-1.jsonl", "a") as log:
        log.write('\n{"step": 3, "sec')  # a disk that was full
    assert made(train_command("run", "--steps", "4")) == whole


def test_several_processes_cannot_train_the_classifier(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main(["train", "fashion-classifier"]) == 1
    assert "in one process" in one_line(capsys.readouterr().err)


def test_a_later_leg_needs_the_weights_of_the_one_before_and_nothing_else(
    train_command, tmp_path, monkeypatch
):
    """Two legs; again from the first one's file in an empty folder: the same numbers, the same
    snapshot.
    """

    def tensors(
        path: Path,
    ) -> dict:  # not bytes: the order of a safetensors header is not fixed
        return {name: tensor.tolist() for name, tensor in load_file(path).items()}

    changed(monkeypatch, legs=(DdpmLeg(3, least=1.0), DdpmLeg(2, flat=0.5)))
    out = train_command("run")
    whole, snapshot = (
        tensors(out / "ddpm-fashion.safetensors"),
        (out / "ddpm-fashion-10k.json").read_text(),
    )
    card = json.loads((out / "ddpm-fashion.json").read_text())
    assert card["images_seen"] == 5 * 64
    assert [(leg["steps"], leg["flat"], leg["images"]) for leg in card["legs"]] == [
        (3, 0.4, 192),
        (2, 0.5, 128),
    ]
    assert card["training_seconds"] == sum(leg["seconds"] for leg in card["legs"])
    assert tensors(tmp_path / "run" / "leg-1-3.safetensors") != whole
    (tmp_path / "again").mkdir()
    for kind in ("json", "safetensors"):
        shutil.copy(tmp_path / "run" / f"leg-1-3.{kind}", tmp_path / "again")
    train_command("again")
    assert tensors(out / "ddpm-fashion.safetensors") == whole
    assert (out / "ddpm-fashion-10k.json").read_text() == snapshot
    (
        tmp_path / "again" / "leg-2-2.safetensors"
    ).unlink()  # cut before it was written, after the last checkpoint
    train_command("again")
    assert tensors(out / "ddpm-fashion.safetensors") == whole


def test_a_run_that_diverges_gets_a_sentence(monkeypatch, capsys):
    def run(*recipe, **options):
        raise TrainingDiverged("the loss became nan at step 3")

    monkeypatch.setattr(runs, "run", run)
    assert cli.main(["train", "fashion-classifier"]) == 1
    assert "nan at step 3" in one_line(capsys.readouterr().err)


def test_verify(untrained, monkeypatch, capsys):
    assert cli.main(["verify"]) == 0
    assert "3 weights files are whole" in one_line(capsys.readouterr().out)
    monkeypatch.setattr(assets, "ASSETS", untrained)
    assert cli.main(["verify"]) == 1
    assert "fashion-mnist.xz is not the file" in capsys.readouterr().err


# ---- as a user starts it


def course(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "course_lib", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=3600
    )


def test_from_the_shell_in_any_folder(tmp_path):
    done = course("sample", "no-such-model", cwd=tmp_path)
    assert done.returncode == 1
    assert "no shipped model 'no-such-model'" in one_line(done.stderr)
    assert done.stdout == ""


@pytest.mark.skipif(
    "ddpm-fashion" not in shipped(), reason="the trained weights are not here yet"
)
def test_shipped_model_from_the_shell(tmp_path):
    done = course(
        "sample", "ddpm-fashion", "--n", "20", "--calls", "2", "--out", "x.npz", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "x.npz")
    assert found["images"].shape == (20, 28, 28)
    assert found["images"].std() > 30  # pictures, not a grey sheet
