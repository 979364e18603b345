"""Weights files: what goes in comes out, what is damaged or foreign gets a sentence, and no
file can carry code.
"""

import hashlib
import json
import math
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from course_lib import Schedule, weights
from course_lib import __main__ as cli
from course_lib.configs import from_plain
from course_lib.errors import CourseError
from course_lib.files import written_whole
from course_lib.models import MODELS, ClassifierConfig, FashionClassifier, UNet, UNetConfig
from course_lib.weights import (
    WeightsError,
    list_shipped,
    listed,
    load_denoiser,
    load_weights,
    read_card,
    save_weights,
    shipped,
    verify,
    without_memory,
    write_card,
)

SHIPPED_FILES = sorted(weights.WEIGHTS.iterdir())
CONFIG = UNetConfig(widths=(16, 32), blocks=1, head_dim=16, emb_dim=24)


def random_unet() -> UNet:
    net = UNet(CONFIG)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    return net


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of shipped weights of the test's own."""
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    return tmp_path


def sentence(error) -> str:
    """The message, which must be one line of plain words."""
    text = str(error.value)
    assert "\n" not in text
    assert "Traceback" not in text
    return text


# ---- round trips


def test_round_trip_is_exact(tmp_path):
    net = random_unet()
    path = save_weights(net, tmp_path / "net", {"seed": 3})
    assert path == tmp_path / "net.safetensors"
    loaded = load_weights(UNet, path, device="cpu")
    assert loaded.config == CONFIG
    assert not loaded.training
    assert list(loaded.state_dict()) == list(net.state_dict())
    for name, value in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_float16_at_rest_is_float32_in_use(tmp_path):
    net = random_unet()
    half, full = (
        save_weights(net, tmp_path / "half", {}, dtype=torch.float16),
        save_weights(net, tmp_path / "full", {}),
    )
    assert half.stat().st_size < 0.6 * full.stat().st_size
    for name, value in load_weights(UNet, half, device="cpu").state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, net.state_dict()[name].half().float())


def test_buffers_and_counters_survive(tmp_path):
    net = FashionClassifier(ClassifierConfig(widths=(8, 8), features=12))
    for _ in range(3):
        net(torch.randn(4, 1, 28, 28))  # moves the running means and counts the batches
    path = save_weights(net, tmp_path / "net", {}, dtype=torch.float16)
    loaded = load_weights(FashionClassifier, path, device="cpu")
    counters = {
        name: value for name, value in loaded.state_dict().items() if "num_batches" in name
    }
    assert {(value.item(), value.dtype) for value in counters.values()} == {(3, torch.int64)}
    torch.testing.assert_close(
        loaded.stages[0][1].running_mean, net.stages[0][1].running_mean, rtol=1e-3, atol=1e-4
    )


def test_channels_last_weights_are_stored_as_any_other(tmp_path):
    net = random_unet()
    plain = save_weights(net, tmp_path / "plain", {})
    other = save_weights(net.to(memory_format=torch.channels_last), tmp_path / "other", {})
    assert parts_of(plain) == parts_of(other)


def parts_of(path):
    """A safetensors file's header and the bytes of its tensors; the order of names within the
    header is not fixed.
    """
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:start]), data[start:]


def test_by_name_from_the_folder(folder):
    save_weights(random_unet(), folder / "mine", {"seed": 3})
    assert shipped() == ["mine"]
    assert isinstance(load_weights("mine", device="cpu"), UNet)
    verify("mine")


def test_a_name_with_dots_is_one_model_of_its_own(tmp_path):
    for name in ("lr-0.1", "lr-0.3.safetensors"):
        save_weights(random_unet(), tmp_path / name, {"of": name})
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["lr-0.1.json", "lr-0.1.safetensors", "lr-0.3.json", "lr-0.3.safetensors"]


@dataclass(frozen=True)
class InnerConfig:
    """A config within a config."""

    width: int = 3
    scales: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class OuterConfig:
    """A config with all that a config may hold."""

    inner: InnerConfig = InnerConfig()
    stages: tuple[InnerConfig, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    name: str = "net"
    dropout: float = 0.0
    bias: bool = True
    top: int | None = None


class Nested(nn.Module):
    """A module with such a config, a shared weight, and a buffer that no file holds."""

    def __init__(self, config: OuterConfig = OuterConfig()):
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.inner.width, config.inner.width, bias=config.bias)
        self.norm = nn.BatchNorm1d(config.inner.width)
        table = torch.arange(config.inner.width).float()
        self.register_buffer("table", table, persistent=False)


@pytest.fixture
def nested(monkeypatch):
    monkeypatch.setitem(MODELS, "Nested", (Nested, OuterConfig))


def test_a_config_comes_back_as_what_it_was(nested, tmp_path):
    config = OuterConfig(
        InnerConfig(4, (0.5, 2.0)),
        (InnerConfig(), InnerConfig(5)),
        ((1, 2), (3, 4)),
        "a name",
        1,  # a whole number where a float stands
        False,
        7,
    )
    path = save_weights(Nested(config), tmp_path / "net", {})
    loaded = load_weights(Nested, path, device="cpu").config
    assert loaded == config
    assert isinstance(loaded.stages[1], InnerConfig) and isinstance(loaded.pairs[0], tuple)
    assert hash(loaded) == hash(config)
    path = save_weights(Nested(), tmp_path / "other", {})
    assert load_weights(Nested, path, device="cpu").config == OuterConfig()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"inner": {"width": "3"}}, "width is '3', not a int"),
        ({"inner": {"width": 3.0}}, "width is 3.0, not a int"),
        ({"inner": {"width": True}}, "width is True, not a int"),
        ({"inner": {"width": 10**30}}, "which is no size"),
        ({"inner": {"scales": [math.nan]}}, "scales is nan, not a finite number"),
        ({"inner": {"scales": [math.inf]}}, "scales is inf, not a finite number"),
        ({"inner": {"wide": 3}}, "a InnerConfig has no wide"),
        ({"inner": 3}, "inner is 3, not a InnerConfig"),
        ({"stages": 3}, "stages is 3, not a list"),
        ({"pairs": [[1, 2, 3]]}, "pairs has 3 values, not 2"),
        ({"top": "all"}, "top is 'all', not a int"),
        ([], r"config is \[\], not a OuterConfig"),
    ],
)
def test_a_config_is_looked_at_before_a_net_is_built(nested, tmp_path, data, says):
    from safetensors.torch import save_file

    with pytest.raises(CourseError, match=says):
        from_plain(OuterConfig, data)
    path = tmp_path / "net.safetensors"
    metadata = {"model": "Nested", "config": json.dumps(data)}
    save_file({"weight": torch.zeros(2)}, path, metadata)
    with pytest.raises(WeightsError, match=f"another version of Nested: .*{says}"):
        load_weights(Nested, path, device="cpu")


@pytest.mark.parametrize(
    ("widths", "says"),
    [
        ([2**13, 2**13], "does not fit its own config"),
        ([2**22, 2**22], "does not fit its own config"),
    ],
    ids=["2 GB", "600 TB"],
)
def test_a_net_too_large_for_its_file_takes_no_memory(tmp_path, widths, says):
    """A small file that claims a huge net is refused before memory is given."""
    from safetensors.torch import save_file

    path = tmp_path / "net.safetensors"
    config = json.dumps({"widths": widths, "blocks": 1, "attention": 0})
    save_file({"weight": torch.zeros(2)}, path, {"model": "UNet", "config": config})
    with pytest.raises(WeightsError, match=says) as error:
        load_weights(UNet, path, device="cpu")
    sentence(error)


def test_a_module_is_built_without_memory_and_filled_from_the_file(nested, tmp_path):
    with without_memory():
        empty = Nested()
    assert {value.device.type for value in empty.parameters()} == {"meta"}
    assert empty.table.tolist() == [0, 1, 2]  # what no file holds is real
    assert nn.Linear(2, 2).weight.device.type == "cpu"
    before = torch.get_rng_state()
    net = Nested()
    net.norm.running_mean.fill_(3)
    path = save_weights(net, tmp_path / "net", {}, dtype=torch.float16)
    torch.set_rng_state(before)
    loaded = load_weights(Nested, path, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)  # no weight was drawn to be thrown away
    assert loaded.table.tolist() == [0, 1, 2]
    assert loaded.norm.running_mean.tolist() == [3, 3, 3]
    assert torch.equal(loaded.linear.weight, net.linear.weight.half().float())
    half = load_weights(Nested, path, device="cpu", dtype=torch.float16)
    assert half.linear.weight.dtype == half.norm.running_mean.dtype == torch.float16
    assert half.norm.num_batches_tracked.dtype == torch.int64


def test_a_compiled_net_is_saved_as_any_other(tmp_path):
    """torch.compile's wrapper puts _orig_mod. before every name."""
    net = random_unet()
    plain = save_weights(net, tmp_path / "plain", {})
    wrapped = torch.compile(net)
    assert any(key.startswith("_orig_mod.") for key in wrapped.state_dict())
    other = save_weights(wrapped, tmp_path / "other", {})
    assert parts_of(plain) == parts_of(other)
    load_weights(UNet, other, device="cpu")


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30], ids=["nan", "inf", "too large"])
def test_what_is_not_finite_is_not_written(tmp_path, value):
    """1e30 is a number in float32, and none in float16."""
    net = random_unet()
    with torch.no_grad():
        net.stem.weight[0, 0, 0, 0] = value
    with pytest.raises(WeightsError, match="stem.weight holds values that are not finite"):
        save_weights(net, tmp_path / "net", {}, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


# ---- how it is read


def test_a_denoiser_is_read_as_its_card_says(folder):
    net = random_unet()
    for name, target in (("scaled_linear", "eps"), ("flow", "flow")):
        reading = {"schedule": {"name": name, "T": 50}, "target": target}
        save_weights(net, folder / name, {"recipe": "mine", "reading": reading})
        denoise = load_denoiser(name, device="cpu")
        assert denoise.target == target
        assert torch.equal(denoise.schedule.alpha, getattr(Schedule, name)(50).alpha)
        assert torch.equal(denoise.net.stem.weight, net.stem.weight)
        with safe_open(folder / f"{name}.safetensors", framework="pt") as file:
            assert json.loads(file.metadata()["reading"]) == reading
            assert json.loads(file.metadata()["recipe"]) == "mine"


def test_what_is_no_denoiser_says_so(folder):
    save_weights(random_unet(), folder / "mine", {})
    with pytest.raises(WeightsError, match="mine is no denoiser: its card says nothing"):
        load_denoiser("mine", device="cpu")
    for schedule, says in (
        ({"name": "square"}, "no schedule 'square'; there are: linear, scaled_linear, cosine"),
        ({"T": 3}, "no schedule None"),
        ({"name": "from_betas", "betas": [1]}, "no schedule 'from_betas'"),
    ):
        save_weights(
            random_unet(), folder / "mine", {"reading": {"schedule": schedule, "target": "v"}}
        )
        with pytest.raises(CourseError, match=says) as error:
            load_denoiser("mine", device="cpu")
        sentence(error)


# ---- the card


def test_card_has_hash_size_and_what_it_was_given(tmp_path):
    path = save_weights(
        random_unet(), tmp_path / "net", {"seed": 3, "data": "Fashion-MNIST — real"}
    )
    text = path.with_suffix(".json").read_text(encoding="utf-8")
    card = json.loads(text)
    assert card == {
        "seed": 3,
        "data": "Fashion-MNIST — real",
        "file": "net.safetensors",
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert "—" in text  # as a person reads it
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "net.json",
        "net.safetensors",
    ]  # nothing left over


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    import safetensors.torch

    path = save_weights(random_unet(), tmp_path / "net", {})
    before = path.read_bytes()

    def cut(tensors, part, metadata):
        Path(part).write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(safetensors.torch, "save_file", cut)
    with pytest.raises(KeyboardInterrupt):
        save_weights(random_unet(), tmp_path / "net", {})
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.json", "net.safetensors"]
    monkeypatch.undo()
    load_weights(UNet, path, device="cpu")


def test_what_a_killed_process_left_is_swept_after_an_hour(tmp_path):
    old, fresh, other = (
        tmp_path / name for name in ("net.txt.1.part", "net.txt.2.part", "nest.txt.1.part")
    )
    for left in (old, fresh, other):
        left.touch()
    for left in (old, other):
        os.utime(left, (time.time() - 7200,) * 2)
    with written_whole(tmp_path / "net.txt") as part:
        part.write_text("whole")
    assert (tmp_path / "net.txt").read_text() == "whole"
    assert (old.exists(), fresh.exists(), other.exists()) == (False, True, True)


# ---- what is wrong


def test_damage_is_noticed_by_the_hash(folder):
    path = save_weights(random_unet(), folder / "mine", {})
    list_shipped("mine")
    good = path.read_bytes()
    for bad in (good[:-1], good[:-50] + bytes([good[-50] ^ 1]) + good[-49:], b""):
        path.write_bytes(bad)
        for act in (lambda: load_weights("mine", device="cpu"), lambda: verify("mine")):
            with pytest.raises(WeightsError) as error:
                act()
            text = sentence(error)
            assert str(path) in text
            assert hashlib.sha256(bad).hexdigest() in text
            assert hashlib.sha256(good).hexdigest() in text
            assert "git checkout -- weights/mine.safetensors" in text


@pytest.mark.parametrize(
    "change",
    [
        lambda good: good[:100],
        lambda good: good[:-7],
        lambda good: b"not a weights file",
        lambda good: b"",
    ],
    ids=["header cut", "data cut", "text", "empty"],
)
def test_damage_in_a_file_of_ones_own(tmp_path, change):
    path = save_weights(random_unet(), tmp_path / "net", {})
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(WeightsError, match="no whole safetensors file") as error:
        load_weights(UNet, path, device="cpu")
    assert str(path) in sentence(error)


def test_missing(folder):
    with pytest.raises(
        WeightsError, match=f"no weights file {re.escape(str(folder / 'gone.safetensors'))}"
    ):
        load_weights(UNet, folder / "gone.safetensors")
    with pytest.raises(WeightsError, match="no shipped model 'gone'; there are: none"):
        load_weights("gone")
    save_weights(random_unet(), folder / "mine", {})
    with pytest.raises(WeightsError, match="no shipped model 'gone'; there are: mine"):
        read_card("gone")
    (folder / "mine.safetensors").unlink()
    with pytest.raises(
        WeightsError, match="mine.safetensors is missing. Get it again: git checkout"
    ) as error:
        load_weights("mine")
    sentence(error)


def test_a_half_of_a_pair_is_missed(folder):
    save_weights(random_unet(), folder / "mine", {})
    (folder / "mine.json").unlink()
    assert shipped() == ["mine"]
    for act in (lambda: load_weights("mine"), lambda: verify("mine")):
        with pytest.raises(
            WeightsError,
            match="mine.json is missing. Get it again: git checkout -- weights/mine.json, or",
        ) as error:
            act()
        assert "move mine.safetensors elsewhere" in sentence(error)


def test_what_is_listed_is_missed(folder):
    """Every file of the course's list must be there, and one error names all that are not."""
    names = ["ddpm-fashion", "ddpm-fashion-10k", "fashion-classifier"]
    for name in names:
        save_weights(random_unet(), folder / name, {})
    list_shipped(*names)
    for path in [*folder.glob("*.json"), *folder.glob("*.safetensors")]:
        path.unlink()
    assert shipped() == names
    with pytest.raises(
        WeightsError, match="are missing from .*Get them again: git checkout -- weights$"
    ) as error:
        verify(names[0])
    assert all(
        f"{name}.{kind}" in sentence(error)
        for name in names
        for kind in ("json", "safetensors")
    )
    for name in names:
        for kind in ("json", "safetensors"):
            (folder / f"{name}.{kind}").write_text("{}")
    (folder / "fashion-classifier.json").unlink()
    with pytest.raises(
        WeightsError,
        match=r"-classifier.json is missing.*checkout -- weights/fashion-classifier.json$",
    ):
        verify("fashion-classifier")


def test_the_list_decides_and_not_the_card(folder, capsys):
    """Weights put in place of shipped ones, card and all, are noticed; one's own are not
    anyone's business.
    """
    save_weights(random_unet(), folder / "theirs", {})
    list_shipped("theirs")
    assert list(listed()) == ["theirs"]
    verify("theirs")
    save_weights(random_unet(), folder / "theirs", {})
    save_weights(random_unet(), folder / "mine", {})
    verify("mine")
    with pytest.raises(WeightsError, match="is damaged: .* SHA256SUMS says") as error:
        load_weights("theirs", device="cpu")
    assert "git checkout -- weights/theirs.safetensors" in sentence(error)
    list_shipped("theirs")
    verify("theirs")
    for text in ("what is this", "ab  x.safetensors"):
        (folder / "SHA256SUMS").write_text(text)
        with pytest.raises(WeightsError, match="SHA256SUMS is damaged. Get it again") as error:
            shipped()
        sentence(error)
        assert cli.main(["sample", "theirs"]) == 1  # a sentence, no trace
        assert "SHA256SUMS is damaged" in capsys.readouterr().err


def test_the_list_is_what_sha256sum_writes():
    text = (weights.WEIGHTS / "SHA256SUMS").read_text(encoding="utf-8")
    names = sorted(path.name for path in weights.WEIGHTS.glob("*.safetensors"))
    assert text == "".join(
        f"{hashlib.sha256((weights.WEIGHTS / name).read_bytes()).hexdigest()}  {name}\n"
        for name in names
    )


def test_verify_on_the_command_line_misses_a_card(folder, capsys):
    from course_lib.__main__ import main

    for path in SHIPPED_FILES:
        if path.name != "fashion-classifier.json":
            os.symlink(path, folder / path.name)
    assert main(["verify"]) == 1
    shown = capsys.readouterr()
    assert "fashion-classifier.json is missing" in shown.err and "whole" not in shown.out


def test_wrong_class(tmp_path):
    path = save_weights(random_unet(), tmp_path / "net", {})
    with pytest.raises(WeightsError, match="holds a UNet, not a FashionClassifier") as error:
        load_weights(FashionClassifier, path, device="cpu")
    sentence(error)


def test_a_class_alone_does_not_say_which_file():
    with pytest.raises(WeightsError, match="which file holds the UNet"):
        load_weights(UNet)


def test_foreign_files(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "foreign.safetensors"
    for metadata in (None, {"model": "Other"}, {"format": "pt"}):
        save_file({"weight": torch.zeros(2)}, path, metadata)
        with pytest.raises(WeightsError, match="holds a (None|Other), not a UNet") as error:
            load_weights(UNet, path, device="cpu")
        sentence(error)
    good = json.dumps({"widths": [16], "blocks": 1, "head_dim": 16, "emb_dim": 24})
    for metadata, says in (
        ({"model": "UNet", "config": good}, "does not fit its own config"),
        ({"model": "UNet", "config": json.dumps({"breadth": 3})}, "another version of UNet"),
        ({"model": "UNet", "config": "{broken"}, "another version of UNet"),
        ({"model": "UNet"}, "another version of UNet"),
    ):
        save_file({"weight": torch.zeros(2)}, path, metadata)
        with pytest.raises(WeightsError, match=says) as error:
            load_weights(UNet, path, device="cpu")
        sentence(error)


def test_a_broken_card(folder):
    save_weights(random_unet(), folder / "mine", {})
    good = json.loads((folder / "mine.json").read_text())
    entries = {"recipe": [], "figures": [], "legs": {}, "reading": 3, "training_seconds": "x"}
    wrong = [json.dumps({**good, key: value}) for key, value in entries.items()]
    wrong += [json.dumps({**good, "figures": {k: [3]}}) for k in ("rows", "likelihood")]
    texts = ("{", "[]", "[1]", '{"name": "mine"}', "[" * 100_000, "1" * 5000, *wrong)
    for text in texts:
        (folder / "mine.json").write_text(text)
        with pytest.raises(WeightsError, match="mine.json .*: make it again, or") as error:
            load_weights("mine")
        sentence(error)
    list_shipped("mine")
    with pytest.raises(WeightsError, match="git checkout -- weights/mine.json") as error:
        load_weights("mine")


def test_a_card_that_can_not_be_written_is_found_before_a_file_is_touched(folder):
    path = save_weights(random_unet(), folder / "mine", {"seed": 3})
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    loop = {}
    loop["loop"] = loop
    for entry in (np.float32(0.5), {1, 2}, b"x", "\ud800", {(1, 2): 3}, loop):
        for save in (
            lambda card: save_weights(random_unet(), path, card),
            lambda card: write_card(path, card),
        ):
            with pytest.raises(
                CourseError, match="mine.* cannot be written .*no file"
            ) as error:
                save({"fd": entry})
            sentence(error)
            assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


def test_a_card_that_says_another_reading_than_the_file_is_refused(folder):
    reading = {"schedule": {"name": "cosine", "T": 50}, "target": "v"}
    save_weights(random_unet(), folder / "mine", {"reading": reading})
    card = read_card("mine")
    for change in ({"target": "eps"}, {"schedule": {"name": "cosine", "T": 60}}):
        write_card(folder / "mine", {**card, "reading": {**reading, **change}})
        with pytest.raises(WeightsError, match="read in another way than its card") as error:
            load_denoiser("mine", device="cpu")
        sentence(error)
    write_card(folder / "mine", card)
    assert load_denoiser("mine", device="cpu").schedule.T == 50


def test_a_save_that_was_killed_between_weights_and_card_is_told(folder):
    """Where the two are one's own, no checkout brings them back."""
    save_weights(random_unet(), folder / "mine", {})
    (folder / "mine.safetensors").write_bytes(
        save_weights(random_unet(), folder / "other", {}).read_bytes()
    )
    with pytest.raises(WeightsError, match="A save of it was cut.* make it again") as error:
        load_weights("mine", device="cpu")
    sentence(error)


def test_a_full_disk_leaves_both_as_they_were(folder, monkeypatch):
    import safetensors.torch

    path = save_weights(random_unet(), folder / "mine", {"seed": 3})
    before = {each.name: each.read_bytes() for each in folder.iterdir()}

    def full(tensors, part, metadata):
        Path(part).write_bytes(b"half of it")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(CourseError, match="cannot be written .*No space left") as error:
            save_weights(random_unet(), path, {})
        sentence(error)
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before
    (folder / "taken.safetensors").mkdir()
    with pytest.raises(CourseError, match="taken.safetensors cannot be written .*a folder"):
        save_weights(random_unet(), folder / "taken", {})
    assert sorted(each.name for each in folder.iterdir()) == [
        *sorted(before),
        "taken.safetensors",
    ]


def test_a_folder_is_no_weights_file(tmp_path):
    with pytest.raises(
        WeightsError, match="no whole safetensors file .*it is a fold"
    ) as error:
        load_weights(UNet, tmp_path, device="cpu")
    assert str(tmp_path) in sentence(error)


def unsealed(path):
    """A weights file as earlier versions wrote it: no hash in it, its card beside it."""
    with safe_open(path, framework="pt") as file:
        said = {key: value for key, value in file.metadata().items() if key != "sha256"}
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}
    save_file(tensors, path, said)
    weights.write_card(path, {"sha256": weights.sha256(path)})
    return tensors, said


def test_an_older_file_bears_what_its_card_beside_says(tmp_path):
    """It holds no hash of its own; the card's was looked at in the course's folder alone."""
    path = save_weights(UNet(CONFIG), tmp_path / "net", {})
    unsealed(path)
    load_weights(UNet, path, device="cpu")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="net.json is another file's: its SHA-256 .* Copy"):
        load_weights(UNet, path, device="cpu")
    path.with_suffix(".json").write_text("[")
    with pytest.raises(WeightsError, match="net.json is damaged .* or take it away"):
        load_weights(UNet, path, device="cpu")
    path.with_suffix(".json").unlink()
    load_weights(UNet, path, device="cpu")  # nothing is left that could know


def test_a_hash_whose_name_is_damaged_makes_no_older_file(tmp_path):
    path = save_weights(UNet(CONFIG), tmp_path / "net", {})
    data = path.read_bytes().replace(b'"sha256"', b'"sha246"')
    path.write_bytes(data)
    path.with_suffix(".json").unlink()
    with pytest.raises(WeightsError, match="net.* is damaged: nothing is known of 'sha246'"):
        load_weights(UNet, path, device="cpu")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_older_file_without_a_card_has_finite_numbers_at_least(tmp_path, value):
    path = save_weights(UNet(CONFIG), tmp_path / "net", {})
    tensors, said = unsealed(path)
    path.with_suffix(".json").unlink()
    key = next(key for key in tensors if key.endswith("weight"))
    tensors[key].view(-1)[3] = value
    save_file(tensors, path, said)
    with pytest.raises(WeightsError, match=f"{key} holds values that are not finite"):
        load_weights(UNet, path, device="cpu")


def test_a_flipped_bit_is_found_without_a_card(tmp_path):
    """The file holds the hash of what it says, its config among it."""
    path = save_weights(random_unet(), tmp_path / "net", {})
    path.with_suffix(".json").unlink()
    good = path.read_bytes()
    for place in (len(good) - 1, len(good) // 2, good.index(b'emb_dim\\": 24') + 13):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(WeightsError) as error:
            load_weights(UNet, path, device="cpu")
        sentence(error)
    path.write_bytes(good)
    load_weights(UNet, path, device="cpu")


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": 3000},
        {"blocks": -1},
        {"attention": 2**24},
        {"attention": 10**8},
        {"widths": [32, 20000, 20000]},
        {"widths": []},
        {"widths": [0, 0]},
        {"widths": [16] * 3000},
        {"fold": 2**12},
        {"head_dim": 0},
        {"emb_dim": 2**24},
        {"classes": 2**24},
    ],
    ids=str,
)
def test_a_config_is_compared_with_the_file_before_it_is_given_memory(tmp_path, change):
    """No more parameters are made than the file has tensors, and those as shapes alone."""
    from safetensors.torch import load_file, save_file

    path = save_weights(random_unet(), tmp_path / "net", {})
    config = {"widths": [16, 32], "blocks": 1, "head_dim": 16, "emb_dim": 24, **change}
    tensors, metadata = load_file(path), {"model": "UNet", "config": json.dumps(config)}
    save_file(tensors, path, metadata)
    made, register = [], nn.Module.register_parameter

    def counted(self, name, parameter):
        register(self, name, parameter)
        made.append(None if parameter is None else parameter.device.type)

    nn.Module.register_parameter = counted
    try:
        with pytest.raises(WeightsError) as error:
            load_weights(UNet, path, device="cpu")
    finally:
        nn.Module.register_parameter = register
    sentence(error)
    assert set(made) <= {"meta", None} and len(made) <= 4 * len(tensors)


def test_a_module_that_could_not_be_loaded_again_is_not_saved(tmp_path):
    with pytest.raises(WeightsError, match="Linear.*MODELS"):
        save_weights(nn.Linear(2, 2), tmp_path / "net", {})
    assert list(tmp_path.iterdir()) == []


def test_no_pickle_is_ever_loaded(tmp_path):
    """A pickle under the right name is refused unread, and the module does not so much as name
    torch.load.
    """
    path, bait = tmp_path / "net.safetensors", tmp_path / "run"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (bait,))

    torch.save({"weight": Trap()}, path)
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        load_weights(UNet, path, device="cpu")
    assert not bait.exists()
    source = Path(weights.__file__).read_text(encoding="utf-8")
    assert "torch.load" not in source
    assert "pickle" not in source


# ---- what is shipped


@pytest.mark.parametrize("name", shipped())
def test_shipped_weights_are_whole_small_and_documented(name):
    verify(name)
    card = read_card(name)
    assert card["name"] == name
    assert card["bytes"] <= (34_000_000 if name == "sd-emoji" else 10_000_000)
    for key in ("what", "command", "data", "seed"):
        assert card[key] not in (None, ""), f"the card of {name} does not say its {key}"
    net = load_weights(name, device="cpu")
    assert all(
        torch.isfinite(value).all()
        for value in net.state_dict().values()
        if value.is_floating_point()
    )
