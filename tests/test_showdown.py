"""All families on one table: the rows come from the cards, the anchors are what they say."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from course_lib import __main__ as cli
from course_lib import anchors, showdown, weights
from course_lib.data import to_float
from course_lib.data.fashion import fashion_mnist
from course_lib.errors import CourseError
from course_lib.metrics import measure
from course_lib.recipes import recipe

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def table():
    return showdown.table()


# ---- the anchors


@pytest.mark.parametrize("name", anchors.ANCHORS)
def test_an_anchor_makes_the_same_pictures_however_it_is_cut(name):
    maker = anchors.ANCHORS[name].maker()
    whole, shown = maker.make(300, seed=3)
    assert whole.shape == (300, 1, 28, 28) and shown.shape == (300,)
    assert torch.equal(maker.make(20, seed=3)[0], whole[:20])
    later = next(maker.batches(300, 3, None, 256))[0]
    assert torch.equal(later, whole[256:])
    assert not torch.equal(maker.make(20, seed=4)[0], whole[:20])


def test_copies_are_copies_and_test_images_are_none_of_the_reference():
    train, test = (fashion_mnist(split)[0] for split in ("train", "test"))

    def found(name, n):
        return {x.numpy().tobytes() for x in anchors.ANCHORS[name].maker().make(n)[0]}

    def known(images):
        return {x.numpy().tobytes() for x in to_float(images)}

    assert found("training images", 500) <= known(train)
    few = found("64 training images", 500)
    assert len(few) <= 64 and few <= known(train)
    rest = known(test[2048:])
    assert found("test images", 500) <= rest
    with pytest.raises(CourseError, match="7952 such pictures"):
        anchors.ANCHORS["test images"].maker().make(8000)
    with pytest.raises(CourseError, match="ask for no classes"):
        anchors.ANCHORS["blur"].maker().make(2, cond=[1, 2])


def test_the_blur_is_a_gaussian_of_its_sigma():
    point = torch.zeros(1, 2, 31, 31, dtype=torch.float64)
    point[:, :, 15, 15] = 1
    out = anchors.blurred(point, 1.5)
    at = torch.arange(31.0, dtype=torch.float64) - 15
    assert torch.allclose(out.sum((2, 3)), torch.ones(1, 2).double())
    for axis in (2, 3):
        assert ((out.sum(axis) * at**2).sum(-1) - 1.5**2).abs().max() < 0.01
    flat = torch.full((1, 1, 9, 9), 0.3)
    torch.testing.assert_close(anchors.blurred(flat), flat)


def test_the_matched_normal_has_the_pixels_moments_and_its_bound_is_one():
    generator = torch.Generator().manual_seed(0)
    base = torch.randint(60, 180, (400, 1, 1), generator=generator)
    grain = torch.randint(0, 40, (400, 28, 28), generator=generator)
    images = (base + grain).to(torch.uint8)
    model = anchors.MatchedNormal(images)
    drawn = model.sample(torch.randn(20_000, 784, generator=generator))
    levels = (drawn.flatten(1).double() + 1) * 127.5
    flat = images.flatten(1).double()
    assert (levels.mean(0) - flat.mean(0)).abs().max() < 2
    assert abs(levels.mean(1).std() / flat.mean(1).std() - 1) < 0.02
    # its bound against the mean log-density over draws of the noise
    law = torch.distributions.MultivariateNormal(model.mean, scale_tril=model.root)
    x = images[:3].flatten(1).double()
    u = torch.rand(2000, 3, 784, generator=generator, dtype=torch.float64)
    nats = law.log_prob(x + u)
    error = nats.std(dim=0) / len(u) ** 0.5
    assert ((nats.mean(dim=0) - model.log_prob(images[:3])).abs() < 5 * error).all()


# ---- the table


def test_every_family_and_every_anchor_has_its_rows(table):
    names = [row["name"] for row in table["rows"]]
    assert names[: len(anchors.ANCHORS)] == list(anchors.ANCHORS)
    calls = [row["calls"] for row in table["rows"] if row["name"] == "ddpm-fashion"]
    assert calls == [1000, 50, 20, 10]
    assert {"pixelcnn-fashion", "vae-fashion", "vae-fashion-binary", "flow-fashion"} <= set(
        names
    )
    assert not any(re.search(r"\d+k$|emoji|classifier", name) for name in names)
    assert set(names) == {*anchors.ANCHORS, *showdown.models()}


def test_what_a_row_says_is_what_the_card_says(table):
    for row in table["rows"]:
        if row["name"] in anchors.ANCHORS:
            assert row["parameters"] == row["calls"] == 0
            continue
        card = weights.read_card(row["name"])
        kept = [
            r
            for r in card["figures"]["rows"]
            if (r["n"], r["calls"], r["seed"], r["fd"]) == (2048, row["calls"], 0, row["fd"])
        ]
        assert len(kept) == 1 or row["fd"] is None
        assert row["parameters"] == card["parameters"]
        assert row["bits_per_dim"] == card["figures"].get("likelihood", {}).get("bits_per_dim")
        assert (row["bits_per_dim"] or row["nats"] or 0) == 0 or row["protocol"]


def test_ways_have_error_bars(table):
    over = showdown.over_seeds()
    ways = [(row["name"], row["calls"]) for row in over]
    rows = {(row["name"], row["calls"]): row for row in table["rows"] if row["calls"]}
    assert set(ways) == {key for key in rows if key[1] < showdown.DEAREST}
    assert len(set(ways)) == len(ways)
    for way, row in zip(ways, over, strict=True):
        assert row["n"] == 2048 and 1 <= len(row["fd"]) <= len(showdown.SEEDS)
        assert row["fd"][0] == rows[way]["fd"]  # the table's own seed is the first
        assert len(set(row["fd"])) == len(row["fd"]) and max(row["fd"]) < 1.5 * min(row["fd"])
    # where weights were shipped anew, `showdown --measure` brings their bars back
    assert len({row["name"] for row in over if len(row["fd"]) > 1}) >= 4


def test_a_way_whose_weights_have_changed_is_measured_again(monkeypatch, tmp_path):
    kept = json.loads(showdown.RECORD.read_text(encoding="utf-8"))
    for row in kept["seeds"]:
        row["weights"] = ["0" * 64]
    path = tmp_path / "showdown.json"
    path.write_text(json.dumps(kept), encoding="utf-8")
    monkeypatch.setattr(showdown, "RECORD", path)
    assert {len(r["fd"]) for r in showdown.over_seeds() if "vae" in r["name"]} == {1}


def test_the_recorded_anchors_are_measured_again(table):
    """On another machine the last digits may differ."""
    for row in table["rows"]:
        if row["name"] in ("training images", "blur"):
            found = measure(anchors.ANCHORS[row["name"]].maker(), 2048)
            assert found["fd"] == pytest.approx(row["fd"], rel=0.02)
            assert found["knn_recall"] == pytest.approx(row["knn_recall"], abs=0.02)


def test_the_yardstick_sees_what_the_lesson_says(table):
    rows = {(row["name"], row["calls"]): row for row in table["rows"]}
    copies, real = rows["training images", 0], rows["test images", 0]
    assert copies["fd"] < 1.3 * copies["fd_floor"] and real["fd"] < 1.3 * real["fd_floor"]
    few = rows["64 training images", 0]
    assert few["knn_precision"] > 0.8 and few["knn_recall"] < 0.05
    for name in ("blur", "matched Normal", "chimera"):
        assert rows[name, 0]["fd"] > 40 * real["fd_floor"]
    assert rows["pixelcnn-fashion", 784]["bits_per_dim"] < rows["chimera", 0]["bits_per_dim"]


def test_showdown_json_and_its_other_faces(capsys, table):
    assert cli.main(["showdown", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found == table
    assert cli.main(["showdown"]) == 0
    words = capsys.readouterr().out
    assert "network" in words and "PixelCNN".lower() in words
    assert all(len(line) < 160 for line in words.splitlines())
    assert cli.main(["showdown", "--markdown"]) == 0
    assert capsys.readouterr().out.strip() == showdown.markdown(table["rows"])


def test_the_readme_has_the_table(table):
    """Each of its lines is one of the command's; what is shipped later is added there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = showdown.markdown(table["rows"]).splitlines()
    start = readme.index(lines[0])
    shown = readme[start:].split("\n\n")[0].splitlines()
    assert len(shown) >= 2 + len(anchors.ANCHORS) + 4
    assert set(shown) <= set(lines)


def test_a_record_that_is_gone(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(showdown, "RECORD", tmp_path / "none.json")
    assert cli.main(["showdown"]) == 1
    assert "showdown --measure" in capsys.readouterr().err


def test_evaluate_says_the_likelihood_of_every_family_that_has_one(capsys):
    for name in ("vae-fashion", "vae-fashion-binary"):
        assert cli.main(["evaluate", name, "--n", "16", "--json"]) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        likelihood = weights.read_card(name)["figures"]["likelihood"]
        assert likelihood.items() <= found.items()
        assert found["protocol"] and ("bits_per_dim" in found) != ("nats" in found)
        assert 0 <= found["knn_precision"] <= 1 and 0 <= found["knn_recall"] <= 1


def test_all_cards_keep_a_likelihood_in_one_place():
    """Not beside it, nor in a row."""
    some = 0
    for name in weights.listed():
        figures = weights.read_card(name).get("figures", {})
        apart = {"bits_per_dim", "nats", "protocol"}
        assert not apart & figures.keys()
        assert not any(apart & row.keys() for row in figures.get("rows", []))
        some += "likelihood" in figures
    assert some >= 4


def test_a_tiny_record_is_made(monkeypatch, tmp_path):
    """All of `--measure`, with what takes minutes made small."""
    monkeypatch.setattr(showdown, "RECORD", tmp_path / "showdown.json")
    monkeypatch.setattr(showdown, "models", lambda: ["vae-fashion"])
    monkeypatch.setattr(showdown, "ANCHORS", {"chimera": anchors.ANCHORS["chimera"]})
    monkeypatch.setattr(showdown, "_anchor_card", lambda name: {"figures": {}})

    def quick(made, n, seed):
        return {**measure(made, 16, seed=seed), "n": n}

    monkeypatch.setattr(showdown, "measure", quick)
    kept = showdown.record(log=lambda line: None)
    assert [row["seed"] for row in kept["seeds"]] == [1, 2]
    (over,) = showdown.over_seeds()
    assert over["name"] == "vae-fashion" and len(over["fd"]) == 3
    (timed,) = kept["seconds"]
    assert timed["name"] == "vae-fashion" and 0 < timed["seconds_per_image"] < 1
    rows = showdown.table()["rows"]
    assert [row["name"] for row in rows] == ["chimera", "vae-fashion"]
    assert rows[0]["fd"] is None and math.isfinite(rows[1]["fd"])
    assert "chimera" in showdown.text(rows)
    assert recipe("vae-fashion").ways() == ({},)
