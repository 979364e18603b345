"""Encoder or U-Net: the parts of the benchmark, its going on after a cut, and its figure."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib.data.emoji import emoji
from course_lib.errors import CourseError
from course_lib.models import TextUNetConfig
from course_lib.recipes.sd_emoji import RECIPE
from course_lib.widgets import claim_plots as plots

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def bench():
    """The benchmark's module; it lies in no package."""
    path = ROOT / "benchmarks" / "encoder_or_unet.py"
    spec = importlib.util.spec_from_file_location("encoder_or_unet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pytestmark = pytest.mark.usefixtures("closed")


# ---- the parts


def test_a_bag_knows_no_order_and_all_speak_equally_loud(bench):
    bag = bench.Bag(["cat with heart", "heart with cat", "heart"], dim=16)
    found = bag(torch.tensor([0, 1, 2]))
    torch.testing.assert_close(found[0], found[1])
    assert (found[0] - found[2]).abs().max() > 0.1
    lookup = bench.Lookup(7 + 3 * torch.randn(5, 12).half())
    for vectors in (found, lookup(torch.arange(5))):
        torch.testing.assert_close(vectors.square().mean(dim=1), torch.ones(len(vectors)))


def test_without_a_prompt_neither_concept_nor_style_counts(bench):
    """A net whose last layer is no longer zero, told two things and nothing."""
    torch.manual_seed(0)
    config = TextUNetConfig(
        channels=16,
        widths=(8, 8),
        blocks=1,
        attention=(False, True),
        heads=2,
        context_dim=8,
        groups=4,
    )
    net = bench.Steered(bench.Lookup(torch.randn(6, 5)), config)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, t = torch.randn(1, 4, 16, 16).expand(4, -1, -1, -1), torch.full((4,), 500)
    cond = torch.tensor([[1, 2], [1, 3], [4, 2], [bench.NOTHING] * 2])
    out = net(x, t, cond)
    assert out.shape == x.shape
    gaps = torch.cdist(out.flatten(1), out.flatten(1))
    assert (gaps + torch.eye(4) > 1e-4).all()  # each is told something else
    mixed = net(x[:2], t[:2], torch.tensor([[1, 2], [bench.NOTHING] * 2]))
    torch.testing.assert_close(mixed, out[[0, 3]])


def test_held_out_pairs_and_unseen_concepts_are_in_no_training(bench):
    data = emoji()
    new = np.array([concept.held_out for concept in data.concepts])[data.concept]
    rows, crowds = bench.split_of(data, 32)
    assert not data.held_out[rows].any() and not new[rows].any()
    assert data.held_out[crowds["held-out pairs"]].all()
    assert not new[crowds["held-out pairs"]].any() and new[crowds["unseen concepts"]].all()
    assert [len(crowd) for crowd in crowds.values()] == [32, 32]


# ---- a run, cut and gone on with


@pytest.fixture
def tiny(bench, monkeypatch):
    """Random latents, nets of two narrow levels, two pictures a row, no judge."""
    monkeypatch.setattr(bench, "SIZES", {"small": (8, 8)})
    monkeypatch.setattr(bench, "GUIDANCES", (1, 3))
    monkeypatch.setattr(bench, "BATCH", 4)
    monkeypatch.setattr(bench, "STEPS", 2)
    monkeypatch.setattr(
        bench, "judged", lambda shared, images, crowd: {"mean": images.mean().item()}
    )
    data = emoji()
    cond = torch.from_numpy(np.stack([data.concept, data.style], axis=1))
    draws = torch.Generator().manual_seed(0)
    latents = torch.randn(len(cond), 4, 16, 16, generator=draws)
    rows, crowds = bench.split_of(data, 2)

    class Decoder:
        def decode(self, z):
            return z[:, :3]

    cpu = torch.device("cpu")
    return bench.Bench(data, cond, latents, Decoder(), None, (), None, rows, crowds, cpu)


def test_a_cut_trial_goes_on_to_the_same_figures(bench, tiny, tmp_path, monkeypatch):
    trial = bench.Trial("bag of words", "small", 0, images=16)
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    bench.run(trial, tiny, tmp_path / "whole", whole, keep=False)
    assert not list((tmp_path / "whole").iterdir())  # the net is not kept

    monkeypatch.setattr(bench, "SAVE_EVERY", -1)  # a checkpoint after every step
    train = bench.train

    def killed(*args, **options):
        for done in train(*args, **options):
            yield done
            if done.step == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(bench, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        bench.run(trial, tiny, tmp_path / "cut", cut, keep=True)
    monkeypatch.setattr(bench, "train", train)
    bench.run(trial, tiny, tmp_path / "cut", cut, keep=True)
    found = [
        [row for row in bench.read_rows(path) if row["row"] == "figures"]
        for path in (whole, cut)
    ]
    assert found[0] == found[1] and len(found[0]) == 3
    before = cut.read_text(encoding="utf-8")
    bench.run(trial, tiny, tmp_path / "cut", cut, keep=True)  # nothing is left to do
    assert cut.read_text(encoding="utf-8") == before
    # a last row that was cut short is measured anew, and the net that was kept does it
    cut.write_text(before[: before.rindex("{") + 20], encoding="utf-8")
    bench.run(trial, tiny, tmp_path / "cut", cut, keep=True)
    again = [row for row in bench.read_rows(cut) if row["row"] == "figures"]
    assert again == found[0]


def test_nets_of_a_seed_begin_equal_but_for_the_encoder(bench, tiny):
    nets = [
        bench.begun(bench.Trial(name, "small", 1, 8), tiny)[0].module
        for name in ("bag of words", "MiniLM")
    ]
    for a, b in zip(nets[0].net.parameters(), nets[1].net.parameters(), strict=True):
        assert torch.equal(a, b)
    assert RECIPE.target == "v"


def test_the_table_has_a_line_a_net_and_guidance(bench):
    lines = bench.table(made_rows((0, 2))).splitlines()
    assert len(lines) == 2 + len(NETS) * 3
    last = "| tower | large | 10 | 0.111 +- 0.001 | 11.000 +- 0.000 | 0.500 | 0.100 |"
    assert lines[-1] == last


# ---- the figure

NETS = [(encoder, size) for encoder in plots.ENCODERS for size in plots.SIZES]


def made_rows(seeds=(0, 1), short=()) -> list[dict]:
    """Rows whose CLIP score is known: 0.1 for each better encoder, 0.01 for the larger net,
    0.001 for the seed.
    """
    rows = [{"row": "real", "crowd": plots.HELD, "clip_score": 0.7, "fd": 0.5}]
    for seed in seeds:
        for encoder, size in NETS:
            key = {"encoder": encoder, "size": size, "seed": seed}
            rows.append({"row": "training", **key, "processor_seconds": 10})
            score = 0.1 * list(plots.ENCODERS).index(encoder) + 0.01 * (size == "large")
            places = [(plots.NEW, 3), *((plots.HELD, w) for w in (1, 3, 10))]
            for crowd, w in places[: 2 if seed in short else None]:
                figures = {"clip_score": score + 0.001 * seed, "fd": 1.0 + w}
                figures |= {"style_accuracy": 0.5, "concept_recall_at_5": 0.1}
                rows.append(
                    {"row": "figures", **key, "crowd": crowd, "guidance": w, **figures}
                )
    return rows


def test_steps_are_paired_by_seed():
    rows = made_rows()
    found = plots.steps(rows, "clip_score")
    assert found["bag of words to MiniLM, small U-Net"] == pytest.approx([0.2, 0.2])
    assert found["small to large U-Net, tower"] == pytest.approx([0.01, 0.01])
    assert len(found) == 7
    assert plots.curve(rows, "tower", "small", "fd") == pytest.approx(
        np.array([[2, 4, 11]] * 2)
    )
    assert plots.error_of(np.array([[1.0], [3.0]])) == pytest.approx([1.0])
    assert plots.error_of(np.array([[1.0]])) == pytest.approx([0.0])
    assert plots.seconds_of(rows) == {"small": 10, "large": 10}
    assert "+0.200 +- 0.000" in plots.claim_table(rows)
    assert "+-" not in plots.claim_table(made_rows((0,)))  # one seed has no error


def test_a_net_that_is_not_through_is_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [r for r in made_rows() if r.get("size") != "large" or r["seed"] == 0]
    rows += made_rows((2,), short=(2,))[1:]
    path.write_text("\n".join(map(json.dumps, rows)) + '\n{"row": "fig')
    read = plots.claim_rows(path)
    assert plots.seeds_of(read, "tower", "small") == [0, 1]
    assert plots.seeds_of(read, "tower", "large") == [0]
    found = plots.steps(read, "clip_score")  # a step counts where both its ends are there
    assert found["small to large U-Net, tower"] == pytest.approx([0.01])
    assert len(found["bag of words to tower, small U-Net"]) == 2
    assert plots.claim_figure(read).axes[0].get_title().endswith("seeds: 1-2")
    path.write_text("\n".join(map(json.dumps, made_rows((0,), short=(0,))[:5])))
    with pytest.raises(CourseError, match="no whole run"):
        plots.claim_rows(path)
    with pytest.raises(CourseError, match="git checkout"):
        plots.claim_rows(tmp_path / "none.jsonl")


def test_the_figure_has_a_curve_a_net_and_a_row_a_step():
    figure = plots.claim_figure(made_rows())
    left, right = figure.axes
    assert len(left.containers) == len(NETS)
    assert len(right.get_yticklabels()) == 7
    for axis in figure.axes:
        assert axis.get_xlabel()


def test_the_shipped_rows_can_be_drawn():
    rows = plots.claim_rows()
    assert all(plots.seeds_of(rows, *net) for net in NETS)
    assert plots.claim_figure(rows).axes
    real = next(r for r in rows if r["row"] == "real" and r["crowd"] == plots.HELD)
    assert real["clip_score"] > 0.5 > real["clip_score_nonsense"]
