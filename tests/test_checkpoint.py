"""A run's state: what it holds, that a run goes on from it to the bit, and what is said of a
file that is not it.
"""

import os
import random
import subprocess
import sys
import time
import types
from pathlib import Path

import pair
import pytest
import torch
from torch import nn

from course_lib import Ema, Muon, Phase, files, load_state, save_state, train
from course_lib.checkpoint import load_plain, plain_state, read_state
from course_lib.errors import CourseError

ROOT = Path(__file__).resolve().parent.parent


def phase_of(module: nn.Module, name: str = "net", ema: bool = True, optimizer=None) -> Phase:
    """The module learns to give 1."""
    return Phase(
        name,
        module,
        lambda batch: {"loss": (module(batch) - 1).square().mean()},
        optimizer or torch.optim.AdamW(module.parameters(), lr=0.05),
        Ema(module) if ema else None,
    )


def linear(**options) -> Phase:
    return phase_of(nn.Linear(2, 1), **options)


ONES = [torch.ones(3, 2)] * 100


def weights(phase: Phase) -> dict:
    return {
        "module": plain_state(phase.module),
        "ema": plain_state(phase.ema.module),
    }


def assert_same(a, b):
    """Nested dicts and lists of tensors, bit for bit."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif not isinstance(a, dict | list):
        assert a == b
    else:
        assert len(a) == len(b)
        for key in a if isinstance(a, dict) else range(len(a)):
            assert_same(a[key], b[key])


# ---- to the bit


STEPS, KILLS = 30, 2


def start(folder: Path) -> subprocess.Popen:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environ |= {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(ROOT / "tests" / "pair.py"), str(folder), str(STEPS)]
    return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)


def lines(folder: Path) -> list[str]:
    """The whole lines of the log: a kill may cut the last one short."""
    path = folder / "losses.txt"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def test_two_phases_killed_at_random_and_resumed_are_the_unbroken_run(tmp_path):
    """Two nets with dropout, two optimizers, every second turn, noise of the run's own."""
    folders = {name: tmp_path / name for name in ("unbroken", "killed")}
    for folder in folders.values():
        folder.mkdir()
    pair.main(folders["unbroken"], STEPS)
    expected = dict(line.split(" ", 1) for line in lines(folders["unbroken"]))
    assert len(expected) == STEPS

    seed = random.SystemRandom().randrange(2**32)
    print(f"moments of the kills from seed {seed}")  # pytest shows it if the test fails
    moments = random.Random(seed)
    for _ in range(KILLS):
        goal = len(lines(folders["killed"])) + moments.randrange(1, 9)
        process = start(folders["killed"])
        while process.poll() is None and len(lines(folders["killed"])) < goal:
            time.sleep(0.001)
        time.sleep(moments.random() * 0.01)
        process.kill()
        process.communicate()
        log = folders["killed"] / "losses.txt"
        if log.exists() and log.read_bytes()[-1:] not in (b"\n", b""):
            with open(log, "a") as file:
                file.write(" cut\n")
    process = start(folders["killed"])
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    logged = [line.split(" ", 1) for line in lines(folders["killed"]) if "cut" not in line]
    assert {step for step, _ in logged} == set(expected)
    for step, rest in logged:
        assert rest == expected[step], f"step {step} differs from the unbroken run"
    assert_same(*(torch.load(folder / "weights.pt") for folder in folders.values()))


@pytest.mark.parametrize("cut", [1, 2, 7])
def test_dropout_goes_on_from_the_global_generator(tmp_path, cut):
    whole = pair.Pair()
    losses = [done.losses for done in train(whole.phases, whole.batches, 9)]
    half = pair.Pair()
    for done in train(half.phases, half.batches, 9):
        if done.step == cut:
            save_state(tmp_path / "state.pt", cut, *half.parts)
            break
    torch.manual_seed(99)
    other = pair.Pair(seed=0)
    torch.randn(17)  # another process would not share the global generator
    assert load_state(tmp_path / "state.pt", *other.parts) == cut
    rest = [done.losses for done in train(other.phases, other.batches, 9, start=cut)]
    assert_same(losses[cut:], rest)
    assert_same(whole.g.state_dict(), other.g.state_dict())
    assert_same(whole.d.state_dict(), other.d.state_dict())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_dropout_on_a_gpu_goes_on_from_its_generator(tmp_path):
    def fresh():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(2, 64), nn.Dropout(0.5), nn.Linear(64, 1)).cuda()
        return phase_of(net)

    whole, half = fresh(), fresh()
    torch.manual_seed(2)
    expected = [(done.loss, done.grad_norm) for done in train(whole, ONES, 8)]
    torch.manual_seed(2)
    list(train(half, ONES, 3))
    save_state(tmp_path / "state.pt", 3, half)
    other = fresh()
    torch.manual_seed(77)
    assert load_state(tmp_path / "state.pt", other) == 3
    rest = [(done.loss, done.grad_norm) for done in train(other, ONES, 8, start=3)]
    assert rest == expected[3:]
    assert_same(weights(whole), weights(other))


# ---- torch.compile's wrapper


def forms(module: nn.Module) -> dict[str, nn.Module]:
    """A module bare, wrapped as a whole, and with a wrapped part; the compiler itself is not
    needed.
    """
    whole = torch.compile(module, backend="eager")
    part = nn.Sequential(torch.compile(module[0], backend="eager"), *module[1:])
    return {"bare": module, "wrapped": whole, "in part": part}


@pytest.mark.parametrize("saved", ["bare", "wrapped", "in part"])
@pytest.mark.parametrize("loaded", ["bare", "wrapped", "in part"])
def test_compiled_or_not_a_run_goes_on_alike(tmp_path, saved, loaded):
    def fresh(form):
        torch.manual_seed(3)
        return phase_of(
            forms(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)))[form]
        )

    whole = fresh("bare")
    list(train(whole, ONES, 6))
    first = fresh(saved)
    list(train(first, ONES, 3))
    save_state(tmp_path / "state.pt", 3, first)
    keys = read_state(tmp_path / "state.pt")["phases"][0]["module"].keys()
    assert list(keys) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    second = fresh(loaded)
    load_state(tmp_path / "state.pt", second)
    list(train(second, ONES, 6, start=3))
    assert_same(weights(whole), weights(second))


def test_the_average_of_a_wrapped_module_is_the_bare_one():
    module = nn.Linear(2, 1)
    ema = Ema(torch.compile(module, backend="eager"))
    assert type(ema.module) is nn.Linear
    module.weight.data.fill_(3)
    ema.update()
    assert torch.equal(ema.module.weight, module.weight)


def test_load_plain_is_as_strict_as_torch():
    with pytest.raises(RuntimeError, match="Missing key"):
        load_plain(nn.Linear(2, 1), {"_orig_mod.weight": torch.zeros(1, 2)})


# ---- the precision


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_resumed_run_keeps_its_precision(tmp_path, monkeypatch, precision):
    """Also where this machine would choose another: the device, not the run, changed."""
    path, name = tmp_path / "state.pt", str(precision).removeprefix("torch.")
    monkeypatch.delenv("MARBLE_PRECISION", raising=False)
    phase = linear()
    list(train(phase, ONES, 3, precision=precision))
    save_state(path, 3, phase)
    assert read_state(path)["precision"] == name

    other, seen = linear(), []
    load_state(path, other)
    assert other.precision == precision
    inner = other.loss
    other.loss = lambda batch: seen.append(other.module(batch).dtype) or inner(batch)
    list(train(other, ONES, 5, start=3))
    assert seen == [precision] * 2
    list(train(other, ONES, 6, start=5, precision=precision))  # the same may be said again
    another = {torch.float32: torch.bfloat16, torch.bfloat16: torch.float32}[precision]
    with pytest.raises(CourseError, match=f"net was computed in {name} up to step 6"):
        next(train(other, ONES, 9, start=6, precision=another))
    monkeypatch.setenv("MARBLE_PRECISION", name)
    assert load_state(path, linear()) == 3
    monkeypatch.setenv("MARBLE_PRECISION", str(another).removeprefix("torch."))
    with pytest.raises(
        CourseError, match=f"was computed in {name}, and MARBLE_PRECISION says"
    ):
        load_state(path, linear())


def test_a_run_that_made_no_step_has_no_precision_yet(tmp_path):
    save_state(tmp_path / "state.pt", 0, linear())
    phase = linear()
    assert load_state(tmp_path / "state.pt", phase) == 0
    assert phase.precision is None


# ---- what is no such file


def cut(path: Path, keep: float):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: cut(path, 0.5),
    "nearly whole": lambda path: cut(path, 0.99),
    "text": lambda path: path.write_text("not a checkpoint"),
    "missing": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
    "a module's weights": lambda path: torch.save(nn.Linear(1, 1).state_dict(), path),
    "an older version's": lambda path: torch.save({"run": "", "step": 3, "phases": []}, path),
    "a whole module": lambda path: torch.save(nn.Linear(1, 1), path),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_gets_one_sentence_with_the_mend(tmp_path, damage):
    path = tmp_path / "state.pt"
    save_state(path, 3, linear())
    DAMAGE[damage](path)
    with pytest.raises(CourseError) as caught:
        load_state(path, linear())
    said = str(caught.value)
    assert str(path) in said and "remove that file" in said and "\n" not in said
    assert caught.value.__cause__ is None


def other_net() -> Phase:
    return phase_of(nn.Linear(2, 5))


@pytest.mark.parametrize(
    ("saved", "loaded", "says"),
    [
        (([linear()],), ([other_net()],), "does not fit this run .*size mismatch"),
        (
            (linear(),),
            (phase_of(nn.Linear(2, 1, bias=False)),),
            "does not fit.*Unexpected key",
        ),
        (
            (linear(),),
            (linear(ema=False),),
            "an average of net: True, and is loaded with False",
        ),
        (
            (linear(ema=False),),
            (linear(),),
            "an average of net: False, and is loaded with True",
        ),
        ((linear(),), (linear(), pair.Pair().batches), "with batches: False"),
        ((linear(), pair.Pair().batches), (linear(),), "with batches: True"),
        ((linear(), None, [torch.Generator()]), (linear(),), "with generators: 1, and .* 0"),
        ((linear(),), (linear(name="d"),), r"holds the phases \['net'\], not \['d'\]"),
    ],
)
def test_other_parts_are_refused_by_name(tmp_path, saved, loaded, says):
    save_state(tmp_path / "state.pt", 3, *saved)
    with pytest.raises(CourseError, match=says) as caught:
        load_state(tmp_path / "state.pt", *loaded)
    assert str(tmp_path / "state.pt") in str(caught.value)


def test_another_runs_checkpoint_is_refused(tmp_path):
    save_state(tmp_path / "state.pt", 3, linear(), run="this one")
    assert load_state(tmp_path / "state.pt", linear(), run="this one") == 3
    for run in ("", "that one"):
        with pytest.raises(CourseError, match=r"checkpoint of another run \(this one\)"):
            load_state(tmp_path / "state.pt", linear(), run=run)


def test_the_optimizers_state_travels(tmp_path):
    """Muon's momenta and AdamW's in one run: as in pair, but looked at."""
    both = pair.Pair()
    list(train(both.phases, both.batches, 4))
    save_state(tmp_path / "state.pt", 4, *both.parts)
    other = pair.Pair()
    load_state(tmp_path / "state.pt", *other.parts)
    assert isinstance(other.phases[0].optimizer, Muon)
    for a, b in zip(both.phases, other.phases, strict=True):
        assert a.optimizer.state_dict()["state"]
        assert_same(a.optimizer.state_dict()["state"][0], b.optimizer.state_dict()["state"][0])


class Scaled(nn.Linear):
    """A Linear with a learnt size: a weight of no axis, as a temperature is."""

    def __init__(self):
        super().__init__(2, 1)
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        return super().forward(x) * self.log_scale.exp()


@pytest.mark.parametrize(
    "kind", [lambda net: Muon(net, lr=0.05), lambda net: torch.optim.AdamW(net.parameters())]
)
def test_a_weight_that_is_a_single_number_travels(tmp_path, kind):
    """What an optimizer keeps of it has no axis either, and was taken for another thing."""
    one, other = (phase_of(net, optimizer=kind(net)) for net in (Scaled(), Scaled()))
    list(train(one, ONES, 3))
    save_state(tmp_path / "state.pt", 3, one)
    assert load_state(tmp_path / "state.pt", other) == 3
    assert_same(weights(one), weights(other))


OPTIMIZERS = {
    "muon": lambda net: Muon(net, lr=0.05),
    "adamw": lambda net: torch.optim.AdamW(net.parameters(), lr=0.05),
    "fused": lambda net: torch.optim.AdamW(net.parameters(), lr=0.05, fused=True),
    "one by one": lambda net: torch.optim.AdamW(net.parameters(), lr=0.05, foreach=False),
    "amsgrad": lambda net: torch.optim.AdamW(net.parameters(), lr=0.05, amsgrad=True),
    "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9),
    "two groups": lambda net: torch.optim.AdamW(
        [{"params": [net[0].bias]}, {"params": [net[0].weight, *net[2].parameters()]}],
        lr=0.05,
    ),
}


def small(optimizer: str) -> Phase:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 1))
    return phase_of(net, optimizer=OPTIMIZERS[optimizer](net))


@pytest.mark.parametrize(
    ("saved", "loaded"),
    [
        *((name, name) for name in OPTIMIZERS),
        ("fused", "adamw"),
        ("adamw", "fused"),
        ("one by one", "fused"),
    ],
)
def test_an_optimizer_goes_on_fused_or_not(tmp_path, saved, loaded):
    """To the bit in the same way of making a step, to rounding in another machine's; the way
    is the one that it was built with here.
    """
    squares = [torch.ones(3, 1, 4, 4)] * 8
    whole, one, other = small(loaded), small(saved), small(loaded)
    expected = [done.loss for done in train(whole, squares, 6, precision=torch.float32)]
    list(train(one, squares, 3, precision=torch.float32))
    save_state(tmp_path / "state.pt", 3, one)
    ways = [group.get("fused") for group in other.optimizer.param_groups]
    assert load_state(tmp_path / "state.pt", other) == 3
    assert [group.get("fused") for group in other.optimizer.param_groups] == ways
    rest = [done.loss for done in train(other, squares, 6, start=3)]
    if saved == loaded:
        assert rest == expected[3:]
    assert rest == pytest.approx(expected[3:], rel=1e-4)


@pytest.mark.parametrize("flag", ["capturable", "differentiable", "fused", "foreach"])
@pytest.mark.parametrize("value", [True, "x", None])
def test_how_a_step_is_made_is_not_read_from_a_file(tmp_path, monkeypatch, flag, value):
    """A capturable AdamW would stop at its first step on a CPU, with an AssertionError."""
    path, phase = tmp_path / "state.pt", linear()

    def change(state):
        optimizer_of(state)["param_groups"][0][flag] = value

    resealed(monkeypatch, path, change)
    assert load_state(path, phase) == 2
    list(train(phase, ONES, 4, start=2))
    assert phase.optimizer.param_groups[0][flag] is linear().optimizer.param_groups[0][flag]


# ---- what is in it


def test_every_flipped_bit_is_found(tmp_path):
    """Of forty flipped files, thirty-three were taken up."""
    path, dice = tmp_path / "state.pt", random.Random(0)
    phase = linear()
    list(train(phase, ONES, 2))
    save_state(path, 2, phase)
    good = path.read_bytes()
    for place in dice.sample(range(len(good) - 46), 40):
        path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        with pytest.raises(CourseError, match="no whole checkpoint .*its SHA-256 is not"):
            load_state(path, linear())
    path.write_bytes(good[:-46])  # all but the hash
    with pytest.raises(CourseError, match="no whole checkpoint .its end is missing"):
        load_state(path, linear())
    path.write_bytes(good)
    assert load_state(path, linear()) == 2


def resealed(monkeypatch, path: Path, change) -> None:
    """A checkpoint with its state changed, and the hash of that."""
    phase, save = linear(), torch.save
    list(train(phase, ONES, 2))

    def changed(state, part):
        change(state)
        save(state, part)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", changed)
        save_state(path, 2, phase)


def test_a_checkpoint_of_an_earlier_version_has_no_hash_and_is_read(tmp_path, monkeypatch):
    path = tmp_path / "state.pt"
    resealed(monkeypatch, path, lambda state: state.pop("format"))
    path.write_bytes(path.read_bytes()[:-46])
    assert load_state(path, linear()) == 2


def optimizer_of(state) -> dict:
    return state["phases"][0]["optimizer"]


WRONG = {
    "a negative step": lambda state: state.update(step=-3),
    "no number of steps": lambda state: state.update(step=float("nan")),
    "a step that is true": lambda state: state.update(step=True),
    "a list of a run": lambda state: state.update(run=[]),
    "phases of another kind": lambda state: state.update(phases={}),
    "a phase of another kind": lambda state: state.update(phases=[3]),
    "no random state": lambda state: state.update(random={}),
    "a random state of floats": lambda state: state.update(random={"cpu": torch.zeros(3)}),
    "an average before the start": lambda state: state["phases"][0]["ema"].update(step=-1),
    "momenta of another shape": lambda state: optimizer_of(state)["state"][0].update(
        exp_avg=torch.zeros(2, 1)
    ),
    "momenta of no weight": lambda state: optimizer_of(state)["state"].update(
        {9: {"a": ONES[0]}}
    ),
    "a rate that is none": lambda state: optimizer_of(state)["param_groups"][0].update(
        initial_lr=float("nan")
    ),
    "betas that are none": lambda state: optimizer_of(state)["param_groups"][0].update(
        betas=[0.9]
    ),
    "weights in another order": lambda state: optimizer_of(state)["param_groups"][0].update(
        params=[1, 0]
    ),
    "a weight twice": lambda state: optimizer_of(state)["param_groups"][0].update(
        params=[0, 0]
    ),
    "a switch turned over": lambda state: optimizer_of(state)["param_groups"][0].update(
        amsgrad=True
    ),
    "a switch that is a number": lambda state: optimizer_of(state)["param_groups"][0].update(
        maximize=0
    ),
    "no group": lambda state: optimizer_of(state).update(param_groups=[]),
}


@pytest.mark.parametrize("what", WRONG)
def test_contents_are_looked_at_though_the_file_is_whole(tmp_path, monkeypatch, what):
    path = tmp_path / "state.pt"
    resealed(monkeypatch, path, WRONG[what])
    with pytest.raises(CourseError, match="remove .*that file") as caught:
        load_state(path, linear())
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_full_disk_gets_a_sentence_and_leaves_the_old_file(tmp_path, monkeypatch):
    """PyTorch says it with a RuntimeError of its own."""
    path = tmp_path / "state.pt"
    save_state(path, 3, linear())
    before = path.read_bytes()

    def full(state, part):
        Path(part).write_bytes(b"half of it")
        raise RuntimeError("[enforce fail at inline_container.cc:672] unexpected pos")

    monkeypatch.setattr(torch, "save", full)
    for free, says in ((2**30, ".enforce fail"), (2**12, "No space left on device")):
        disk = types.SimpleNamespace(free=free)
        monkeypatch.setattr(files.shutil, "disk_usage", lambda folder, disk=disk: disk)
        with pytest.raises(CourseError, match=f"cannot be written .{says}.*is untouched"):
            save_state(path, 4, linear())
    assert path.read_bytes() == before and [*tmp_path.iterdir()] == [path]
