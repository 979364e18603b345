"""The order in which the parts are trained on one accelerator, with commands that do nothing."""

import pytest

from tools import on_gpu
from tools.on_gpu import PARTS, train


class Trained:
    """A process that ends at its second look."""

    def __init__(self, code: int):
        self.returncode, self.looks = code, 0

    def poll(self):
        self.looks += 1
        return self.returncode if self.looks > 1 else None


@pytest.fixture
def story(monkeypatch):
    """What happened, in order: (what, name); parts named in `fails` end with exit code 1."""
    happened, fails = [], set()

    def start(name, seconds, folder, carry_on):
        happened.append(("start", name, seconds))
        return Trained(int(name in fails))

    monkeypatch.setattr(on_gpu, "start", start)
    monkeypatch.setattr(on_gpu, "take_in", lambda name, made: happened.append(("in", name)))
    monkeypatch.setattr(on_gpu.time, "sleep", lambda seconds: None)
    return happened, fails


def begun(happened) -> list[str]:
    return [name for what, name, *_ in happened if what == "start"]


def test_every_part_is_made_once_and_none_before_what_it_reads(story, tmp_path):
    happened, _ = story
    ended = train(list(PARTS), 100.0, tmp_path, at_once=3)
    assert set(ended.values()) == {"made"} and ended.keys() == PARTS.keys()
    assert sorted(begun(happened)) == sorted(PARTS)
    for name, part in PARTS.items():
        first = happened.index(("start", name, part.share * 100.0))
        for other in part.after:  # made and taken in
            assert happened.index(("in", other)) < first


def test_only_so_many_at_once_and_in_the_order_asked(story, tmp_path):
    happened, _ = story
    names = ["vae-fashion", "flow-fashion", "gan-fashion", "pixelcnn-fashion"]
    train(names, None, tmp_path, at_once=1)
    assert happened == [
        step for name in names for step in (("start", name, None), ("in", name))
    ]
    happened.clear()
    train(names[::-1], None, tmp_path, at_once=2)
    assert begun(happened) == names[::-1]
    running = most = 0
    for what, *_ in happened:
        running += 1 if what == "start" else -1
        most = max(most, running)
    assert most == 2


def test_what_needs_a_part_that_failed_is_left_out(story, tmp_path):
    happened, fails = story
    fails.add("emoji-clip")
    ended = train(["sd-emoji", "emoji-clip", "emoji-judge", "vae-fashion"], None, tmp_path)
    assert ended.pop("sd-emoji").startswith("left out")
    assert ended == {"emoji-clip": "exit 1", "emoji-judge": "made", "vae-fashion": "made"}
    assert "sd-emoji" not in begun(happened)
    assert ("in", "emoji-clip") not in happened


def test_a_part_alone_takes_the_others_weights_as_they_are(story, tmp_path):
    happened, _ = story
    assert train(["sd-emoji"], None, tmp_path) == {"sd-emoji": "made"}
    assert begun(happened) == ["sd-emoji"]


def test_the_parts_are_recipes_and_wait_for_what_these_name():
    from course_lib.metrics import YARDSTICKS
    from course_lib.recipes import RECIPES, recipe

    assert PARTS.keys() <= RECIPES.keys()
    for name, part in PARTS.items():
        read = set(recipe(name).about().get("parts", {}))
        if name.startswith("emoji-superres"):  # their distances are in the judge's features
            read.add(YARDSTICKS["emoji"].net)
        assert read <= set(part.after), f"{name} reads {read - set(part.after)} too"


def test_a_part_is_taken_in_whole_and_listed(tmp_path, monkeypatch):
    from course_lib import weights

    made, shipped = tmp_path / "made", tmp_path / "weights"
    made.mkdir(), shipped.mkdir()
    monkeypatch.setattr(weights, "WEIGHTS", shipped)
    (made / "vae-fashion.safetensors").write_bytes(b"numbers")
    (made / "vae-fashion.json").write_text("{}")
    on_gpu.take_in("vae-fashion", made)
    assert (shipped / "vae-fashion.safetensors").read_bytes() == b"numbers"
    assert weights.listed() == {
        "vae-fashion": weights.sha256(made / "vae-fashion.safetensors")
    }
    assert {path.name for path in shipped.iterdir()} == {
        "vae-fashion.safetensors",
        "vae-fashion.json",
        "SHA256SUMS",
    }


@pytest.mark.parametrize("carry_on", [False, True])
def test_each_part_is_the_command_that_makes_it(monkeypatch, tmp_path, carry_on):
    """A further leg is asked for on the weights that ship, by the same command."""
    commands = []
    monkeypatch.setattr(
        on_gpu.subprocess, "Popen", lambda command, **_: commands.append(command)
    )
    on_gpu.start("gan-fashion", 60.0, tmp_path, carry_on)
    (words,) = commands
    assert words[1:7] == ["-m", "course_lib", "train", "gan-fashion", "--seconds", "60"]
    assert ("--from" in words) == carry_on
    if carry_on:
        assert words[-1] == (tmp_path / "from" / "gan-fashion.safetensors").as_posix()


def test_a_further_leg_started_again_goes_on_from_the_same_weights(tmp_path, monkeypatch):
    """Its end takes the place of the shipped weights: from those it would be one leg more."""
    shipped = tmp_path / "weights"
    shipped.mkdir()
    monkeypatch.setattr(on_gpu, "ROOT", tmp_path)
    for ending in (".json", ".safetensors"):
        (shipped / f"gan-fashion{ending}").write_text("first")
    found = [on_gpu.begun_from("gan-fashion", tmp_path / "runs")]
    for ending in (".json", ".safetensors"):
        (shipped / f"gan-fashion{ending}").write_text("second")
    found.append(on_gpu.begun_from("gan-fashion", tmp_path / "runs"))
    assert found == ["runs/from/gan-fashion.safetensors"] * 2  # from where it is run
    for ending in (".json", ".safetensors"):
        assert (tmp_path / "runs/from" / f"gan-fashion{ending}").read_text() == "first"


def test_the_tests_that_check_a_device_are_there():
    for name in on_gpu.TESTS:
        assert (on_gpu.ROOT / name).is_file(), name


def test_a_further_leg_has_a_length(monkeypatch):
    monkeypatch.setattr("sys.argv", ["on_gpu.py", "--carry-on"])
    with pytest.raises(SystemExit):
        on_gpu.main()
