"""One run for every recipe: cut at any moment, by steps or by the clock, it is one run."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from runs import cut_at
from safetensors.torch import load_file

from course_lib import runs, training
from course_lib.errors import CourseError
from course_lib.legs import leg_card
from course_lib.models import ClassifierConfig
from course_lib.recipes import fashion_classifier
from course_lib.runs import Leg, begin, fingerprint, run
from course_lib.weights import sha256

TINY = dataclasses.replace(
    fashion_classifier.RECIPE,
    config=ClassifierConfig(widths=(4, 4), features=8),
    batch_size=16,
    legs=(Leg(6, flat=0.2),),
)


@pytest.fixture
def data(monkeypatch):
    """64 images and their labels in Fashion-MNIST's place, on the CPU in float32."""
    images = torch.randint(0, 256, (64, 28, 28), dtype=torch.uint8).numpy()
    labels = (torch.arange(64) % 10).numpy()
    monkeypatch.setattr(fashion_classifier, "fashion_mnist", lambda split: (images, labels))
    monkeypatch.setattr(runs, "default_device", lambda: torch.device("cpu"))
    monkeypatch.setenv("MARBLE_PRECISION", "float32")


def tensors(folder: Path) -> dict:
    return {
        name: tensor.tolist()
        for name, tensor in load_file(folder / f"{TINY.name}.safetensors").items()
    }


def card(folder: Path) -> dict:
    return json.loads((folder / f"{TINY.name}.json").read_text(encoding="utf-8"))


def test_the_classifier_goes_on_where_it_was_cut(data, tmp_path, monkeypatch):
    """Its dropout draws from the global generator, which is the run's too."""
    run(TINY, folder=tmp_path / "whole", out=tmp_path / "a", log=lambda line: None)
    with monkeypatch.context() as patch:
        cut_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run(TINY, folder=tmp_path / "cut", out=tmp_path / "b", log=lambda line: None)
    told = []
    torch.manual_seed(77)
    run(TINY, folder=tmp_path / "cut", out=tmp_path / "b", log=told.append)
    assert "going on at step" in told[0]
    assert tensors(tmp_path / "a") == tensors(tmp_path / "b")
    made = card(tmp_path / "a")
    assert made["figures"].keys() == {"test_accuracy", "valid_accuracy"}
    assert (made["recipe"], made["precision"]) == ("fashion-classifier", "float32")
    assert made["images_seen"] == 6 * 16


def test_a_card_names_the_accelerator(data, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "device_name", lambda device: f"Fast {device.type}")
    run(TINY, steps=1, folder=tmp_path, out=tmp_path, log=lambda line: None)
    assert card(tmp_path)["machine"].startswith("Fast cpu, ")
    assert (
        card(tmp_path)["command"] == "python -m course_lib train fashion-classifier --steps 1"
    )


def test_a_run_by_the_clock(data, tmp_path, monkeypatch):
    """Progress is the clock's: ten ticks of a second make ten steps, also in two pieces."""
    now = [0.0]

    def tick():
        now[0] += 1.0
        return now[0]

    rates = []

    def train(*args, **options):
        monkeypatch.setattr(training.time, "monotonic", tick)
        for done in training.train(*args, **options):
            rates.append(done.progress)
            yield done

    monkeypatch.setattr(runs, "train", train)
    run(TINY, seconds=10.0, folder=tmp_path / "f", out=tmp_path, log=lambda line: None)
    assert rates == pytest.approx([k / 10 for k in range(1, 10)])
    made = card(tmp_path)
    (leg,) = made["legs"]
    assert (leg["steps"], leg["asked_seconds"], leg["images"]) == (9, 10.0, 9 * 16)
    assert made["command"].endswith("train fashion-classifier --seconds 10")


def test_what_was_spent_counts(data, tmp_path):
    """A piece that begins after its time is over makes no step."""
    recipe = dataclasses.replace(TINY)
    _, this = runs.begin(recipe)
    steps = training.train(this.phases, this.batches, 9, seconds=5.0, spent=5.0)
    assert list(steps) == []
    first = next(training.train(this.phases, this.batches, 9, seconds=1e6, spent=5e5))
    assert 0.5 <= first.progress < 0.6


def test_the_fingerprint_is_the_recipe(monkeypatch):
    """Every field counts, whatever a family adds; the length and the legs to come do not."""
    base = fingerprint(TINY, 1, None, "float32")
    longer = dataclasses.replace(TINY, legs=(Leg(9, flat=0.2), Leg(5)))
    assert fingerprint(longer, 1, None, "float32") == base
    for change in (
        {"config": ClassifierConfig(widths=(4, 8), features=8)},
        {"batch_size": 8},
        {"lr": 1e-4},
        {"seed": 1},
        {"legs": (Leg(6, flat=0.3),)},
        {"weight_decay": 0.0},
        {"smoothing": 0.2},
    ):
        assert fingerprint(dataclasses.replace(TINY, **change), 1, None, "float32") != base
    assert fingerprint(TINY, 1, None, "bfloat16") != base
    assert fingerprint(TINY, 1, "ab" * 32, "float32") != base
    with monkeypatch.context() as patch:
        parts = {"parts": {"an-autoencoder": "0" * 64}}
        patch.setattr(type(TINY), "about", lambda self: parts)
        assert fingerprint(TINY, 1, None, "float32") != base
    plain = json.loads(base)
    assert (plain["smoothing"], plain["config"]["widths"]) == (0.1, [4, 4])


def test_a_run_stays_in_the_precision_that_it_began_in(data, tmp_path, monkeypatch):
    """On another machine, or a later version, that would choose another."""
    with monkeypatch.context() as patch:
        cut_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            run(TINY, folder=tmp_path, out=tmp_path / "out", log=lambda line: None)
    monkeypatch.delenv("MARBLE_PRECISION")
    monkeypatch.setattr(runs, "precision", lambda device: torch.bfloat16)
    run(TINY, folder=tmp_path, out=tmp_path / "out", log=lambda line: None)
    assert card(tmp_path / "out")["precision"] == "float32"
    monkeypatch.setenv("MARBLE_PRECISION", "bfloat16")
    with pytest.raises(CourseError, match="was made by another run"):
        run(TINY, folder=tmp_path, out=tmp_path / "out", log=lambda line: None)


def test_lengths_that_are_none(tmp_path):
    for how, says in (
        ({"steps": 0}, "1 or more steps, not 0"),
        ({"steps": -3}, "1 or more steps, not -3"),
        ({"seconds": 0.0}, "more than 0 seconds"),
        ({"seconds": float("nan")}, "more than 0 seconds, not nan"),
        ({"seconds": float("inf")}, "more than 0 seconds, not inf"),
        ({"seconds": 1.0, "steps": 1}, "not both"),
    ):
        with pytest.raises(CourseError, match=says):
            run(TINY, folder=tmp_path, out=tmp_path, **how)
    assert list(tmp_path.iterdir()) == []


def test_several_processes(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(CourseError, match="fashion-classifier trains in one process"):
        run(TINY, folder=tmp_path)
    from course_lib.recipes.ddpm_fashion import RECIPE

    with pytest.raises(CourseError, match="A run by the clock trains in one process"):
        run(RECIPE, seconds=5.0, folder=tmp_path)


def test_a_shipped_file_made_again_is_listed(data, tmp_path, monkeypatch):
    """By default a run writes where the course's own weights are, and the list follows."""
    from course_lib import weights

    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    monkeypatch.setattr(runs, "WEIGHTS", tmp_path)
    run(TINY, folder=tmp_path / "run", log=lambda line: None)
    assert weights.listed() == {
        TINY.name: weights.sha256(tmp_path / f"{TINY.name}.safetensors")
    }
    weights.verify(TINY.name)


@pytest.fixture
def with_snapshot(monkeypatch):
    """TINY, which keeps its weights of step 2."""
    monkeypatch.setattr(type(TINY), "snapshots", lambda self: {"early": 2})


def test_a_run_that_is_cut_leaves_what_is_shipped_as_it_was(
    data, with_snapshot, tmp_path, monkeypatch
):
    """A snapshot goes where the weights go with them, and not hours before."""
    from course_lib import weights

    monkeypatch.setattr(weights, "WEIGHTS", tmp_path / "w")
    monkeypatch.setattr(runs, "WEIGHTS", tmp_path / "w")
    where, quiet = {"folder": tmp_path / "run"}, {"log": lambda line: None}
    run(TINY, **where, **quiet)
    assert weights.listed().keys() == {TINY.name, "early"}
    other = dataclasses.replace(TINY, seed=1)
    with monkeypatch.context() as patch:
        cut_at(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            run(other, folder=tmp_path / "other", **quiet)
    for name in ("early", TINY.name):
        weights.verify(name)
    before = weights.listed()["early"]
    run(other, folder=tmp_path / "other", **quiet)
    assert weights.listed()["early"] != before
    weights.verify("early")


def test_snapshots_beyond_a_runs_end_are_not_shipped(data, with_snapshot, tmp_path):
    quiet = {"log": lambda line: None}
    run(TINY, steps=1, folder=tmp_path / "run", out=tmp_path / "a", **quiet)
    assert not (tmp_path / "a/early.json").exists()
    run(TINY, steps=4, folder=tmp_path / "run", out=tmp_path / "a", **quiet)
    assert (tmp_path / "a/early.json").exists()
    start = tmp_path / "a" / f"{TINY.name}.safetensors"
    more = {"steps": 2, "start": start, "folder": tmp_path / "run", "out": tmp_path / "b"}
    run(TINY, **more, **quiet)
    assert not (tmp_path / "b/early.json").exists()


def test_the_shipped_folder_by_any_name_is_listed(data, tmp_path, monkeypatch):
    from course_lib import weights

    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    monkeypatch.setattr(runs, "WEIGHTS", tmp_path)
    monkeypatch.chdir(tmp_path)
    run(TINY, steps=1, folder=tmp_path / "run", out=".", log=lambda line: None)
    assert weights.listed().keys() == {TINY.name}


def test_a_log_of_an_earlier_run_counts_for_nothing(data, tmp_path):
    """Its checkpoint was removed, as a refused one's owner is told to; the log lay there."""
    for before in (1e3, 0.5):
        (tmp_path / "leg-1.jsonl").write_text(
            "".join(json.dumps({"step": k, "seconds": before * k}) + "\n" for k in range(9))
        )
        run(TINY, folder=tmp_path, out=tmp_path, log=lambda line: None)
        assert card(tmp_path)["legs"][0]["seconds"] < 100
        rows = [json.loads(x) for x in (tmp_path / "leg-1.jsonl").read_text().split("\n") if x]
        assert [row["step"] for row in rows] == [6]
        for left in tmp_path.glob("leg-*"):
            left.unlink()


def test_a_run_by_the_clock_is_not_made_shorter(data, tmp_path):
    where = {"folder": tmp_path, "out": tmp_path, "log": lambda line: None}
    run(TINY, steps=4, **where)
    (tmp_path / "leg-1.jsonl").write_text(json.dumps({"step": 4, "seconds": 90.0}))
    with pytest.raises(CourseError, match="has taken 90 seconds already: ask for as many"):
        run(TINY, seconds=20.0, **where)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 1e308])
def test_a_rate_that_is_none(tmp_path, rate):
    with pytest.raises(CourseError, match="The learning rate is a number above 0, 100 at"):
        run(TINY, lr=rate, folder=tmp_path)


def test_processes_that_go_on_keep_dropout_of_their_own(data, tmp_path):
    """A checkpoint holds the first one's random state alone."""
    begun = runs.begin(TINY)[1]
    generators = [torch.Generator()]
    runs.save_state(tmp_path / "s", 3, begun.phases, begun.batches, generators, run="x")
    found = []
    for rank in (0, 1, 2):
        setting, this = runs.begin(TINY)
        setting.draws.rank, setting.draws.world = rank, 3
        assert runs._take_up(tmp_path / "s", this, setting, "x", lambda line: None) == 3
        found.append(torch.rand(1).item())
    assert len(set(found)) == 3


def test_finished_weights_are_carried_on(data, tmp_path):
    """A leg more on a weights file makes what a recipe of two legs makes."""
    quiet = {"log": lambda line: None}
    two = dataclasses.replace(TINY, legs=(*TINY.legs, Leg(4, flat=0.2)))
    run(two, folder=tmp_path / "two", out=tmp_path / "a", **quiet)
    run(TINY, folder=tmp_path / "one", out=tmp_path / "one", **quiet)
    start = tmp_path / "one" / f"{TINY.name}.safetensors"
    out = {"folder": tmp_path / "one", "out": tmp_path / "b"}
    run(TINY, steps=4, start=start, **out, **quiet)
    assert tensors(tmp_path / "a") == tensors(tmp_path / "b")
    made = card(tmp_path / "b")
    assert [leg["steps"] for leg in made["legs"]] == [6, 4]
    assert made["images_seen"] == 10 * 16
    assert made["command"].endswith(f"--steps 4 --from {start}")
    other = dataclasses.replace(TINY, seed=1)
    run(other, folder=tmp_path / "other", out=tmp_path / "other", **quiet)
    with pytest.raises(CourseError, match="made by another run"):  # of other weights
        run(TINY, steps=4, start=tmp_path / "other" / start.name, **out, **quiet)


def test_a_leg_has_its_own_batches_and_rate(data, tmp_path):
    how = {"folder": tmp_path / "run", "out": tmp_path / "out", "log": lambda line: None}
    run(TINY, **how)
    start = tmp_path / "out" / f"{TINY.name}.safetensors"
    run(TINY, steps=2, start=start, batch_size=4, lr=1e-4, **how)
    first, second = card(tmp_path / "out")["legs"]
    assert (first["batch_size"], first["images"], first["lr"]) == (16, 96, TINY.lr)
    assert (second["batch_size"], second["images"], second["lr"]) == (4, 8, 1e-4)
    made = card(tmp_path / "out")
    assert made["command"].endswith("--batch-size 4 --lr 0.0001") and made["batch_size"] == 4
    for wrong, says in (({"batch_size": 0}, "1 or more images"), ({"lr": 0.0}, "above 0")):
        with pytest.raises(CourseError, match=says):
            run(TINY, **wrong, **how)


def test_what_cannot_be_carried_on(data, tmp_path):
    def carry(start, **how):
        run(TINY, start=start, folder=tmp_path, out=tmp_path, log=lambda line: None, **how)

    lonely = tmp_path / "x.safetensors"
    with pytest.raises(CourseError, match="how long to carry on"):
        carry(lonely)
    lonely.write_bytes(b"")
    with pytest.raises(CourseError, match="with its card beside it"):
        carry(lonely, steps=1)
    card = {"recipe": "flow-fashion", "legs": [], "sha256": sha256(lonely)}
    lonely.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(CourseError, match="made by flow-fashion"):
        carry(lonely, steps=1)


def test_weights_without_legs_are_not_asked_to_be_removed(data, tmp_path):
    """They may be shipped ones, a snapshot's for example."""
    start = tmp_path / "snapshot.safetensors"
    start.write_bytes(b"")
    card = {"recipe": TINY.name, "sha256": sha256(start)}
    start.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(CourseError, match="carry on from weights whose card") as caught:
        run(TINY, start=start, folder=tmp_path, out=tmp_path, steps=1)
    assert "remove" not in str(caught.value)


def test_no_two_streams_of_a_run_are_one(data):
    """Leg 2 of seed 0 drew what leg 1 of seed 1 drew, and a net began with the numbers that
    the first noise was made of.
    """
    numbers, twice = [], dataclasses.replace(TINY, legs=(TINY.legs[0],) * 2)
    for seed in (0, 1):
        for number in (1, 2):
            setting, _ = begin(dataclasses.replace(twice, seed=seed), number)
            numbers += [setting.seed, setting.draws.generator.initial_seed()]
            numbers.append(torch.initial_seed())
    assert len(set(numbers)) == 12


def refused(tmp_path, **how) -> str:
    """What a run is refused with, before a step is made."""
    with pytest.raises(CourseError) as caught:
        run(TINY, **{"folder": tmp_path / "run", "out": tmp_path / "out", **how})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_shortened_run_takes_no_shipped_models_place_unasked(data, tmp_path, monkeypatch):
    """`verify` said that all was whole: the card was new too."""
    from course_lib import weights

    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    monkeypatch.setattr(runs, "WEIGHTS", tmp_path)
    run(TINY, folder=tmp_path / "run", log=lambda line: None)
    shipped = (tmp_path / f"{TINY.name}.safetensors").read_bytes()
    further = {"steps": 1, "start": tmp_path / f"{TINY.name}.safetensors"}
    for how in ({"steps": 1}, {"seconds": 1.0}, further):
        said = refused(tmp_path, out=None, **how)
        assert "the course ships: say where" in said and said.endswith("--out mine.")
    assert (tmp_path / f"{TINY.name}.safetensors").read_bytes() == shipped
    run(TINY, steps=1, folder=tmp_path / "short", out=tmp_path / "out", log=lambda line: None)


def test_a_leg_whose_card_is_damaged_or_of_other_weights(data, tmp_path):
    run(TINY, folder=tmp_path / "run", out=tmp_path / "out", log=lambda line: None)
    beside = tmp_path / "run" / "leg-1-6.json"
    good = json.loads(beside.read_text(encoding="utf-8"))
    fewer = {key: value for key, value in good.items() if key != "legs"}
    for text in ("[]", "[1]", "{", "3", "[" * 100_000, json.dumps(fewer)):
        beside.write_text(text)
        assert str(beside) in (said := refused(tmp_path)) and "to make that leg again" in said
    for key, wrong in (("run", []), ("legs", [3]), ("legs", [{"images": "x"}]), ("sha256", 3)):
        beside.write_text(json.dumps({**good, key: wrong}))
        assert str(beside) in refused(tmp_path)
    # a save that was killed between the two
    beside.write_text(json.dumps({**good, "sha256": "0" * 64}))
    assert "a save was cut between the two" in refused(tmp_path)
    beside.write_text(json.dumps(good))
    run(TINY, folder=tmp_path / "run", out=tmp_path / "out", log=lambda line: None)


def test_where_a_run_writes_is_tried_before_the_hours(data, tmp_path, monkeypatch):
    monkeypatch.setattr(type(TINY), "build", lambda *_: pytest.fail("a net was built"))
    (tmp_path / "file").touch()
    for how in ({"folder": tmp_path / "file" / "x"}, {"out": tmp_path / "file"}):
        assert "cannot be written" in refused(tmp_path, **how)
    (tmp_path / "out" / f"{TINY.name}.safetensors").mkdir(parents=True)
    assert "it is a folder" in refused(tmp_path)


def test_a_log_that_cannot_be_read_is_begun_anew(data, tmp_path):
    with (tmp_path / "leg-1.jsonl").open("wb") as log:
        log.write(
            b'\xff\n[1]\n3\n{"step": "x"}\n{"step": 0, "seconds": NaN}\n' + b"[" * 99_999
        )
    run(TINY, folder=tmp_path, out=tmp_path / "out", log=lambda line: None)
    assert card(tmp_path / "out")["training_seconds"] < 1e4


@pytest.mark.parametrize("value", [-5, float("nan"), float("inf"), True, "7", None])
@pytest.mark.parametrize("key", ["images", "seconds"])
def test_a_leg_that_took_no_amount_that_there_is(tmp_path, key, value):
    legs = [{"steps": 3, "images": 6, "seconds": 1.5} | {key: value}]
    path = tmp_path / "leg-1-3.safetensors"
    path.with_suffix(".json").write_text(json.dumps({"sha256": "0" * 64, "legs": legs}))
    with pytest.raises(CourseError, match="leg-1-3.json does not say which legs .* remove it"):
        leg_card(path)
