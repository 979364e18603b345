"""The training loop: what it yields and when, the average of the weights, the stops, and
resuming after a real kill.
"""

import copy
import functools
import math
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pair
import pytest
import runs
import torch
from torch import nn

from course_lib import Ema, Phase, Schedule, device, load_state, save_state, training
from course_lib import runs as course_runs
from course_lib.draws import Draws
from course_lib.errors import CourseError
from course_lib.recipes import ddpm_fashion
from course_lib.recipes.diffusion import drop_labels
from course_lib.training import (
    TrainingDiverged,
    train,
    warmup_flat_decay,
)

ROOT = Path(__file__).resolve().parent.parent


class Scalar(nn.Module):
    """One number that is to be learnt."""

    def __init__(self, value: float = 0.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([value]))


def scalar_phase(module=None, lr=0.1, name="main", **options) -> Phase:
    """w is pulled to the batch's mean: the loss is the mean of (w - batch)^2."""
    module = module or Scalar()
    optimizer = options.pop("optimizer", None) or torch.optim.SGD(module.parameters(), lr=lr)
    return Phase(
        name,
        module,
        lambda batch: {"loss": (module.w - batch).square().mean()},
        optimizer,
        **options,
    )


class Counting:
    """Endless batches [2] around the number of the batch, with a state."""

    def __init__(self):
        self.step = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.step += 1
        return torch.tensor([self.step - 0.5, self.step + 0.5])

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


# ---- the loop


def test_yields_after_the_optimizers_step():
    phase = scalar_phase(clip=1e9)
    w, seen = 0.0, []
    for done in train(phase, Counting(), 5):
        mean = done.step  # of batch k
        loss, gradient = (w - mean) ** 2 + 0.25, 2 * (w - mean)
        w -= 0.1 * gradient
        assert phase.module.w.item() == pytest.approx(w, rel=1e-6)  # already moved
        assert done.loss == pytest.approx(loss, rel=1e-6)
        assert done.grad_norm == pytest.approx(abs(gradient), rel=1e-6)
        assert done.lr == pytest.approx(0.1)
        assert not done.losses["main"]["loss"].requires_grad
        seen.append((done.step, done.progress))
    assert seen == [(k, k / 5) for k in range(1, 6)]


def test_nothing_runs_before_it_is_asked_for():
    phase, batches = scalar_phase(), Counting()
    steps = train(phase, batches, 5)
    assert batches.step == 0
    next(steps)
    assert batches.step == 1
    steps.close()
    assert batches.step == 1


def test_gradients_do_not_add_up_over_steps():
    phase = scalar_phase(clip=1e9, lr=0.0)
    norms = [done.grad_norm for done in train(phase, iter(lambda: torch.ones(2), None), 3)]
    assert norms == [2.0, 2.0, 2.0]


def test_the_gradients_norm_is_cut_and_reported_uncut():
    phase = scalar_phase(lr=1.0, clip=0.5)
    done = next(iter(train(phase, [torch.full((2,), 100.0)], 1)))
    assert done.grad_norm == pytest.approx(200)
    assert phase.module.w.item() == pytest.approx(0.5, rel=1e-4)


def test_all_that_the_loss_returns_is_reported():
    module = Scalar()

    def loss(batch):
        return {"loss": module.w.square().sum(), "part": module.w + 3, "t": torch.arange(4)}

    phase = Phase("net", module, loss, torch.optim.SGD(module.parameters(), lr=0.1))
    done = next(iter(train([phase], [0], 1)))
    assert set(done.losses) == {"net"}
    assert set(done.losses["net"]) == {"loss", "part", "t"}
    assert done.losses["net"]["part"].item() == 3


def test_the_module_is_in_training_mode():
    class Moody(Scalar):
        def mood(self):
            return self.training

    module, moods = Moody().eval(), []
    phase = scalar_phase(module)
    phase.loss = lambda batch: moods.append(module.mood()) or {"loss": module.w.sum()}
    for _ in train(phase, Counting(), 3):
        module.eval()  # a caller who draws samples between steps
    assert moods == [True] * 3


def test_the_learning_rate_is_the_scales():
    calls = []

    def scale(step, progress):
        calls.append((step, progress))
        return (step + 1) / 4

    phase = scalar_phase(lr=0.2, lr_scale=scale)
    rates = [done.lr for done in train(phase, Counting(), 4)]
    assert rates == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert calls == [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75)]
    assert phase.optimizer.param_groups[0]["lr"] == pytest.approx(0.2)


def test_each_group_keeps_its_own_rate():
    module = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(
        [{"params": [module.weight], "lr": 0.1}, {"params": [module.bias], "lr": 0.01}], lr=1.0
    )
    phase = Phase(
        "net",
        module,
        lambda b: {"loss": module(b).square().mean()},
        optimizer,
        lr_scale=lambda s, p: 0.5,
    )
    for _ in range(2):  # a second run of the same phase scales the same rates
        list(train(phase, [torch.ones(1, 2)] * 2, 2))
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
            [0.05, 0.005]
        )


def test_warmup_flat_decay():
    scale = warmup_flat_decay(warmup=10, flat=0.4, end=0.01)
    assert [scale(k, 0.0) for k in range(12)] == pytest.approx(
        [*(k / 10 for k in range(1, 11)), 1, 1]
    )
    assert [scale(1000, p) for p in (0.1, 0.4, 0.7, 1.0)] == pytest.approx([1, 1, 0.505, 0.01])
    assert warmup_flat_decay(flat=0.0, end=0.0)(1000, 0.25) == pytest.approx(0.75)


def test_warmup_flat_decay_without_one_of_its_parts():
    no_rise = warmup_flat_decay(warmup=0, flat=0.5)
    assert [no_rise(step, 0.0) for step in range(3)] == [1, 1, 1]
    no_fall = warmup_flat_decay(warmup=2, flat=1.0)
    assert [no_fall(9, p) for p in (0.0, 0.99, 1.0)] == [1, 1, 1]
    assert warmup_flat_decay(0, 1.0)(0, 1.0) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"warmup": -1},
        {"flat": 1.1},
        {"flat": -0.1},
        {"flat": float("nan")},
        {"end": -1.0},
        {"end": float("inf")},
    ],
    ids=str,
)
def test_warmup_flat_decay_of_what_can_not_be(wrong):
    with pytest.raises(CourseError, match="warmup of 0 steps or more, flat from 0 to 1"):
        warmup_flat_decay(**wrong)


def test_batches_that_end():
    steps = train(scalar_phase(), [torch.ones(2)] * 3, 10)
    assert [next(steps).step for _ in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="batches ended after 3 steps of 10"):
        next(steps)


def test_no_steps_left_to_do():
    assert list(train(scalar_phase(), Counting(), 5, start=5)) == []


def test_a_budget_of_seconds(monkeypatch):
    """By a clock of the test's own: each step takes 1 s of 10."""
    clock = iter(range(1000))
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(clock)))
    phase = scalar_phase(lr=1.0, lr_scale=lambda step, progress: 1 - progress)
    done = list(train(phase, Counting(), 10_000, seconds=10))
    assert len(done) == 9
    assert [step.progress for step in done] == pytest.approx([k / 10 for k in range(1, 10)])
    assert [step.lr for step in done] == pytest.approx(
        [1 - k / 10 for k in range(1, 10)]
    )  # it comes down in time


def test_a_budget_that_is_not_used_up():
    assert len(list(train(scalar_phase(), Counting(), 5, seconds=1e6))) == 5


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_budget_of_nothing(seconds):
    with pytest.raises(CourseError, match="more than 0 seconds"):
        next(train(scalar_phase(), Counting(), 5, seconds=seconds))


def test_a_loss_may_ask_for_the_step():
    """By its signature, read once: a second place that must be filled, or one named step."""
    module, heard = Scalar(), []

    def told(*args, **named):
        heard.append((len(args), *args[1:], *named.values()))
        return {"loss": module.w.sum()}

    class Whole:
        def __call__(self, batch, step):
            return told(batch, step)

    kinds = {
        lambda batch: told(batch): [(1,), (1,)],
        lambda batch, step: told(batch, step): [(2, 3), (2, 4)],
        lambda batch, k: told(batch, k): [(2, 3), (2, 4)],
        lambda batch, step=None: told(batch, step): [(2, 3), (2, 4)],
        lambda batch, *, step: told(batch, step=step): [(1, 3), (1, 4)],
        lambda batch, noise=7: told(batch, noise): [(2, 7), (2, 7)],
        lambda *batch: told(*batch): [(1,), (1,)],
        functools.partial(lambda net, batch, step: told(batch, step), module): [
            (2, 3),
            (2, 4),
        ],
        functools.partial(lambda net, batch: told(batch), module): [(1,), (1,)],
        Whole(): [(2, 3), (2, 4)],
    }
    for loss, expected in kinds.items():
        heard.clear()
        phase = scalar_phase(module)
        phase.loss = loss
        list(train(phase, Counting(), 4, start=2))
        assert heard == expected


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (torch.zeros(3), r"not a tensor \[3\]"),
        (0.5, "not a float"),
        ({}, "not {}"),
        ({"mse": torch.zeros([])}, r"not {mse: \[\]}"),
        ({"loss": torch.zeros(3)}, r"not {loss: \[3\]}"),
        ({"loss": 0.5}, "not {loss: 0.5}"),
    ],
    ids=str,
)
def test_what_is_no_loss_gets_a_sentence(returned, says):
    phase = scalar_phase()
    phase.loss = lambda batch: returned
    with pytest.raises(CourseError, match=f'main: a loss returns a dict .*"loss".*{says}'):
        next(train(phase, Counting(), 5))


def test_a_phase_may_have_its_turn_every_few_steps():
    d, g, heard = Scalar(1.0), Scalar(1.0), []

    def g_loss(batch, step):
        heard.append(step)
        return {"loss": g.w.sum()}

    sgd = torch.optim.SGD(g.parameters(), lr=1.0)
    scale = lambda step, progress: step + 1.0  # noqa: E731
    turns = [scalar_phase(d, name="d"), Phase("g", g, g_loss, sgd, Ema(g), scale, every=3)]
    seen, places = [], []
    for done in train(turns, Counting(), 10):
        seen.append(list(done.losses))
        places.append(g.w.item())
        assert done.lr == pytest.approx(0.1) and done.loss == done.losses["d"]["loss"]
    assert heard == [3, 6, 9]
    assert seen == [["d", "g"] if k % 3 == 0 else ["d"] for k in range(1, 11)]
    # by 3, 6 and 9: lr_scale counts the run's steps
    assert places == pytest.approx([1, 1, -2, -2, -2, -8, -8, -8, -17, -17], rel=1e-5)
    assert turns[1].ema.step == 3


@pytest.mark.parametrize(
    "phases",
    [
        lambda: [],
        lambda: [scalar_phase(every=2)],
        lambda: [scalar_phase(), scalar_phase()],
    ],
    ids=["none", "the first not at every step", "two of one name"],
)
def test_phases_that_make_no_run(phases):
    with pytest.raises(ValueError, match="one phase or more, each with a name of its own"):
        next(train(phases(), Counting(), 5))


@pytest.mark.parametrize("every", [0, -1, 1.5])
def test_turns_that_can_not_be(every):
    with pytest.raises(ValueError, match="every is a whole number from 1"):
        scalar_phase(every=every)


def test_a_phase_moves_no_weight_of_a_net_that_its_loss_runs_through():
    """A GAN's generator learns through the discriminator, and the other way round; weight
    decay and momentum must not move the one on the other's turn either.
    """
    both, before = pair.Pair(), {}
    loss_of = {"d": both.d_loss, "g": both.g_loss}
    nets = {"d": both.d, "g": both.g}

    def watched(name, batch, step):
        other = {"d": "g", "g": "d"}[name]
        before[other] = copy.deepcopy(nets[other].state_dict())
        made = loss_of[name](batch, step) if name == "g" else loss_of[name](batch)
        if name == "d":  # not detached: its loss too runs through the generator
            made["loss"] = made["loss"] + both.d(both.fake(4)).square().mean()
        return made

    for phase in both.phases:
        phase.loss = functools.partial(watched, phase.name)
        phase.every, step = 1, phase.optimizer.step

        def checked(name=phase.name, step=step):
            other = {"d": "g", "g": "d"}[name]
            own = copy.deepcopy(nets[name].state_dict())
            step()
            now = nets[other].state_dict()
            assert all(torch.equal(now[key], value) for key, value in before[other].items())
            assert any(not torch.equal(nets[name].state_dict()[k], v) for k, v in own.items())

        phase.optimizer.step = checked
    assert len(list(train(both.phases, both.batches, 5))) == 5


def test_two_phases_move_by_turns():
    """As in a GAN: each phase sees the same batch and what the other has just become, and
    moves its own net alone.
    """
    first, second, order = Scalar(1.0), Scalar(5.0), []

    def first_loss(batch):
        order.append(("first", batch.item(), second.w.item()))
        return {"loss": (first.w * batch - second.w.detach()).square().sum(), "real": second.w}

    def second_loss(batch):
        order.append(("second", batch.item(), first.w.item()))
        return {"loss": (first.w * second.w).sum()}

    phases = [
        Phase(
            "first", first, first_loss, torch.optim.SGD(first.parameters(), lr=0.25), clip=1e9
        ),
        Phase(
            "second",
            second,
            second_loss,
            torch.optim.SGD(second.parameters(), lr=0.5),
            Ema(second),
            clip=1e9,
        ),
    ]
    steps = train(phases, iter([torch.tensor(1.0), torch.tensor(2.0)]), 2)
    done = next(steps)
    assert first.w.item() == pytest.approx(1 - 0.25 * 2 * (1 - 5))  # 3
    assert second.w.item() == pytest.approx(5 - 0.5 * 3)  # by the first's new weight
    assert list(done.losses) == ["first", "second"]
    assert (done.loss, done.lr, done.grad_norm) == (16, 0.25, 8)  # the first phase's
    next(steps)
    assert order == [
        ("first", 1, 5),
        ("second", 1, 3),
        ("first", 2, 3.5),
        ("second", 2, pytest.approx(0.5)),
    ]
    assert phases[1].ema.step == 2


def test_the_second_phases_graph_does_not_leak_into_the_first():
    """A generator's loss reaches the discriminator; the gradients that it leaves there must
    not be used.
    """
    d, g = Scalar(1.0), Scalar(1.0)
    phases = [
        Phase(
            "d",
            d,
            lambda b: {"loss": 3 * d.w.sum()},
            torch.optim.SGD(d.parameters(), lr=1.0),
            clip=1e9,
        ),
        Phase(
            "g",
            g,
            lambda b: {"loss": 100 * (d.w * g.w).sum()},
            torch.optim.SGD(g.parameters(), lr=0.0),
            clip=1e9,
        ),
    ]
    norms = [done.grad_norm for done in train(phases, Counting(), 3)]
    assert norms == [3, 3, 3]
    assert d.w.item() == pytest.approx(1 - 9)


def test_precision_is_chosen_for_the_loss_alone():
    seen, module = [], nn.Linear(3, 3)

    def loss(batch):
        seen.append(module(batch).dtype)
        return {"loss": module(batch).float().square().mean()}

    phase = Phase("net", module, loss, torch.optim.SGD(module.parameters(), lr=0.1))
    for precision in (torch.float32, torch.bfloat16):
        list(train(phase, [torch.ones(2, 3)], 1, precision=precision))
    assert seen == [torch.float32, torch.bfloat16]
    assert module.weight.dtype == module.weight.grad.dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")
    list(train(phase, [torch.ones(2, 3)], 1))
    assert seen[-1] == device.precision("cpu")


# ---- divergence


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_stops_the_run(bad):
    phase = scalar_phase(lr=0.3, lr_scale=lambda step, progress: 0.5, ema=None)
    steps = train(
        phase, iter([torch.ones(2), torch.ones(2), torch.full((2,), bad), torch.ones(2)]), 10
    )
    next(steps), next(steps)
    before = phase.module.w.item()
    with pytest.raises(TrainingDiverged) as error:
        next(steps)
    text = str(error.value)
    for part in (
        "main: the loss became",
        "step 3",
        "learning rate 0.15",
        "Try a learning rate",
        "outside [-1, 1]",
    ):
        assert part in text
    assert phase.module.w.item() == before  # a checkpoint made now is still good
    assert list(steps) == []


def test_a_gradient_that_is_no_number_stops_the_run():
    """The square root of 0 has a loss of 0 and no gradient."""
    module = Scalar(0.0)
    phase = Phase(
        "net",
        module,
        lambda b: {"loss": module.w.sqrt().sum()},
        torch.optim.SGD(module.parameters(), lr=0.1),
    )
    with pytest.raises(
        TrainingDiverged,
        match="net: the gradient became inf at step 1 with learning rate 0.1",
    ):
        next(train(phase, Counting(), 5))
    assert module.w.item() == 0


# ---- the average of the weights


@pytest.mark.parametrize("gamma", [0.0, 1.0, 6.94, 16.97])
def test_ema_is_the_power_law(gamma):
    """After n steps the k-th weights count k^(gamma + 1) - (k - 1)^(gamma + 1), over n^(gamma
    + 1).
    """
    module = Scalar().double()
    ema, values = Ema(module, gamma), torch.randn(60).double()
    for n, value in enumerate(values, 1):
        module.w.data.fill_(value)
        ema.update()
        k = torch.arange(n + 1).double() / n
        shares = (k ** (gamma + 1)).diff()
        assert shares.sum() == pytest.approx(1)
        assert ema.module.w.item() == pytest.approx(
            (shares * values[:n]).sum().item(), abs=1e-12
        )


def test_ema_of_a_tenth():
    """gamma = 6.94 spreads over 10 % of the run (Karras et al. 2024, section 3.1): the
    profile's own deviation.
    """
    n, gamma = 20_000, Ema(Scalar()).gamma
    k = torch.arange(n + 1).double() / n
    shares, middle = (k ** (gamma + 1)).diff(), (k[1:] + k[:-1]) / 2
    mean = (shares * middle).sum()
    assert ((shares * (middle - mean) ** 2).sum().sqrt()).item() == pytest.approx(
        0.1, abs=0.0005
    )


def test_ema_of_a_weight_that_two_layers_share():
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)).double()
    module[1].weight = module[0].weight
    ema, values = Ema(module, gamma=1.0), [3.0, 5.0, 8.0]
    for value in values:
        module[0].weight.data.fill_(value)
        ema.update()
    shares = [(k**2 - (k - 1) ** 2) / 9 for k in range(1, 4)]
    expected = sum(s * v for s, v in zip(shares, values, strict=True))
    assert ema.module[1].weight[0, 0].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("gamma", [-1.0, -2.0, float("nan")])
def test_ema_of_what_can_not_be(gamma):
    with pytest.raises(ValueError, match="gamma of an average is 0 or more"):
        Ema(Scalar(), gamma)


def test_ema_of_a_constant_is_that_constant():
    module = nn.Linear(3, 3)
    ema = Ema(module)
    for _ in range(7):
        ema.update()
    torch.testing.assert_close(ema.module.weight, module.weight)


def test_ema_is_a_copy_ready_for_use():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
    ema = Ema(module)
    assert not ema.module.training
    assert module.training
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())
    module(torch.randn(5, 2))
    module[0].weight.data.fill_(3)
    assert not torch.equal(ema.module[0].weight, module[0].weight)
    ema.update()
    assert torch.equal(
        ema.module[0].weight, module[0].weight
    )  # the first average is the weights themselves
    assert ema.module[1].num_batches_tracked == 1  # whole numbers are copied
    torch.testing.assert_close(ema.module[1].running_mean, module[1].running_mean)
    assert module[0].weight.requires_grad


def test_train_keeps_the_average():
    phase = scalar_phase(Scalar().double(), clip=1e9)
    phase.ema = Ema(phase.module, gamma=1.0)
    values = [phase.module.w.item() for _ in train(phase, (b.double() for b in Counting()), 6)]
    shares = [(k**2 - (k - 1) ** 2) / 36 for k in range(1, 7)]
    assert phase.ema.module.w.item() == pytest.approx(
        sum(s * v for s, v in zip(shares, values, strict=True))
    )


# ---- saving and resuming


def full_phase() -> Phase:
    """A phase with everything that has a state, and a loss that draws from a generator."""
    module = nn.Linear(1, 1)
    phase = Phase(
        "net", module, None, torch.optim.AdamW(module.parameters(), lr=0.05), Ema(module)
    )
    phase.lr_scale = warmup_flat_decay(warmup=3)
    return phase


def noisy(phase: Phase, generator: torch.Generator) -> Phase:
    def loss(batch):
        noise = torch.randn(2, 1, generator=generator)
        return {"loss": (phase.module(batch[:, None] + noise) - 1).square().mean()}

    phase.loss = loss
    return phase


@pytest.mark.parametrize("cut", [1, 7, 19])
def test_a_resumed_run_is_the_unbroken_one(tmp_path, cut):
    def fresh():
        torch.manual_seed(4)
        generator = torch.Generator().manual_seed(8)
        return noisy(full_phase(), generator), Counting(), generator

    phase, batches, generator = fresh()
    unbroken = [
        (done.step, done.loss, done.lr, done.grad_norm) for done in train(phase, batches, 20)
    ]
    broken = []
    half, batches, generator = fresh()
    for done in train(half, batches, 20):
        broken.append((done.step, done.loss, done.lr, done.grad_norm))
        if done.step == cut:
            save_state(tmp_path / "state.pt", done.step, half, batches, [generator])
            break
    torch.manual_seed(77)  # another process would not share the global generator
    other, batches, generator = noisy(full_phase(), generator), Counting(), torch.Generator()
    noisy(other, generator)
    start = load_state(tmp_path / "state.pt", other, batches, [generator])
    assert start == cut
    broken += [
        (done.step, done.loss, done.lr, done.grad_norm)
        for done in train(other, batches, 20, start=start)
    ]
    assert broken == unbroken
    for name, value in phase.ema.module.state_dict().items():
        assert torch.equal(other.ema.module.state_dict()[name], value)


def test_states_of_two_phases(tmp_path):
    phases = [scalar_phase(Scalar(1.0), name="d"), scalar_phase(Scalar(2.0), name="g")]
    list(train(phases, Counting(), 3))
    save_state(tmp_path / "new" / "state.pt", 3, phases)  # the folder is made
    fresh = [scalar_phase(name="d"), scalar_phase(name="g")]
    assert load_state(tmp_path / "new" / "state.pt", fresh) == 3
    assert [phase.module.w.item() for phase in fresh] == [
        phase.module.w.item() for phase in phases
    ]
    with pytest.raises(ValueError, match=r"holds the phases \['d', 'g'\], not \['g', 'd'\]"):
        load_state(tmp_path / "new" / "state.pt", fresh[::-1])


@pytest.mark.parametrize("cut", ["while writing", "before renaming"])
def test_a_save_that_is_cut_leaves_the_old_state(tmp_path, monkeypatch, cut):
    phase, path = scalar_phase(), tmp_path / "state.pt"
    list(train(phase, Counting(), 2))
    save_state(path, 2, phase)
    before = path.read_bytes()

    def half(state, part):
        Path(part).write_bytes(before[: len(before) // 2])
        raise KeyboardInterrupt

    def stop(*args):
        raise KeyboardInterrupt

    target, name = (training.torch, "save") if cut == "while writing" else (os, "replace")
    monkeypatch.setattr(target, name, half if cut == "while writing" else stop)
    with pytest.raises(KeyboardInterrupt):
        save_state(path, 3, phase)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]  # nothing left over
    assert load_state(path, scalar_phase()) == 2
    save_state(path, 4, phase)
    assert load_state(path, scalar_phase()) == 4


def test_the_state_is_read_without_unpickling_code(tmp_path):
    """torch.load with weights_only: a file from elsewhere can hold numbers, not calls."""
    bait = tmp_path / "bait"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (bait,))

    torch.save({"step": Trap()}, tmp_path / "state.pt")
    with pytest.raises(Exception, match="[Ww]eights.only"):
        load_state(tmp_path / "state.pt", scalar_phase())
    assert not bait.exists()


STEPS, KILLS = 24, 2


def start_run(folder: Path) -> subprocess.Popen:
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [
        sys.executable,
        str(ROOT / "tests" / "runs.py"),
        "resume",
        str(folder),
        str(STEPS),
    ]
    return subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def lines(folder: Path) -> list[str]:
    """The whole lines of the log: a kill may cut the last one short."""
    path = folder / "losses.txt"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def test_killed_at_random_moments_and_resumed_the_losses_are_the_same(tmp_path, monkeypatch):
    """The real recipe in a process of its own, killed for good: every loss ever logged is bit
    for bit that of an unbroken run, those computed again after a resume among them.
    """
    monkeypatch.setattr(course_runs, "default_device", lambda: torch.device("cpu"))
    (tmp_path / "unbroken").mkdir()
    (tmp_path / "killed").mkdir()
    runs.resume(tmp_path / "unbroken", STEPS, save_every=STEPS)
    expected = dict(line.split(" ", 1) for line in lines(tmp_path / "unbroken"))
    assert len(expected) == STEPS

    seed = random.SystemRandom().randrange(2**32)
    print(f"moments of the kills from seed {seed}")  # pytest shows it if the test fails
    moments, kills = random.Random(seed), 0
    while kills < KILLS:
        already = len(lines(tmp_path / "killed"))
        process, ahead = start_run(tmp_path / "killed"), moments.randrange(1, 9)
        while process.poll() is None and len(lines(tmp_path / "killed")) < already + ahead:
            time.sleep(0.002)
        time.sleep(moments.random() * 0.03)  # in the middle of a step or of a save
        process.kill()  # SIGKILL
        process.communicate()
        kills += 1
        # a log line that was cut has no end; give it one, so that the next line does not grow
        # out of it
        if (tmp_path / "killed" / "losses.txt").read_bytes()[-1:] != b"\n":
            with open(tmp_path / "killed" / "losses.txt", "a") as file:
                file.write(" cut\n")
    process = start_run(tmp_path / "killed")
    _, errors = process.communicate()
    assert process.returncode == 0, errors

    logged = [line for line in lines(tmp_path / "killed") if "cut" not in line]
    assert {line.split(" ", 1)[0] for line in logged} == set(expected)
    for line in logged:
        step, rest = line.split(" ", 1)
        assert rest == expected[step], f"step {step} differs from the unbroken run"


def test_resumed_weights_are_those_of_the_unbroken_run(tmp_path, monkeypatch):
    """Also to the last bit, the average's too: 6 steps against 3, a new start, and 3."""
    monkeypatch.setattr(course_runs, "default_device", lambda: torch.device("cpu"))
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = runs.resume(tmp_path / "whole", 6)
    first, parts = runs.begun()
    for done in train(first.phases, first.batches, 6, precision=torch.float32):
        if done.step == 3:
            save_state(tmp_path / "parts" / "state.pt", 3, *parts)
            break
    second = runs.resume(tmp_path / "parts", 6)
    nets = (run.phases[0].module for run in (whole, second))
    for a, b in (nets, (whole.result, second.result)):
        for name, value in a.state_dict().items():
            assert torch.equal(b.state_dict()[name], value), name


# ---- the recipe


def test_a_tenth_of_the_labels_is_dropped(generator):
    labels = torch.arange(50_000) % 10
    dropped = drop_labels(labels, 10, Draws(generator))
    gone = dropped == 10
    assert torch.equal(dropped[~gone], labels[~gone])  # not inverted: nine tenths keep theirs
    assert abs(gone.double().mean().item() - 0.1) < 5 * math.sqrt(0.09 / 50_000)
    shards = [drop_labels(labels[25 * r : 25 * r + 25], 10, Draws(1, r, 2)) for r in range(2)]
    whole = drop_labels(labels[:50], 10, Draws(1))
    assert torch.equal(torch.cat(shards), whole)


def test_min_snr_is_the_papers_weight_for_v():
    plan = Schedule.cosine()
    alpha, sigma = plan.alpha[1:], plan.sigma[1:]
    snr = (alpha / sigma) ** 2
    weight = ddpm_fashion.min_snr(alpha, sigma)
    torch.testing.assert_close(weight, snr.clamp(max=5) / (snr + 1), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(
        ddpm_fashion.min_snr(alpha, sigma, 0.2), weight.clamp(min=0.2), rtol=0, atol=0
    )


@pytest.mark.parametrize("least", [0.0, 0.2, 1.0])
def test_a_leg_weights_by_min_snr_but_at_least_so_much(least, monkeypatch):
    """The first step of a leg: the same errors whatever the weight, and at 1 their plain mean."""
    monkeypatch.setattr(course_runs, "default_device", lambda: torch.device("cpu"))
    loss, errors = {}, {}
    for leg in (ddpm_fashion.DdpmLeg(10, least=1.0), ddpm_fashion.DdpmLeg(10, least=least)):
        run, _ = runs.begun(replace(runs.RECIPE, legs=(leg,)))
        first = next(train(run.phases, run.batches, 10, precision=torch.float32))
        done = first.losses[runs.RECIPE.name]
        loss[leg.least], errors[leg.least] = done["loss"].item(), done["per_image"]
    assert torch.equal(errors[1.0], errors[least])
    assert loss[1.0] == pytest.approx(errors[1.0].mean().item(), rel=1e-5)
    alpha, sigma = (
        part[done["t"]].float() for part in (Schedule.cosine().alpha, Schedule.cosine().sigma)
    )
    weight = torch.minimum(alpha**2, 5 * sigma**2).clamp(min=least)
    assert loss[least] == pytest.approx((weight * errors[least]).mean().item(), rel=1e-5)


def test_the_loss_falls_on_the_recipe(monkeypatch):
    """40 steps of a tiny net on squares, at the full rate from the start."""
    monkeypatch.setattr(course_runs, "default_device", lambda: torch.device("cpu"))
    run, _ = runs.begun()
    run.phases[0].lr_scale = None
    steps = train(run.phases, run.batches, 40, precision=torch.float32)
    losses = [done.loss for done in steps]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
