"""Which device and which precision, decided from what the hardware has and never by a clock;
and the states of the global generators.
"""

import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from course_lib import autocast, device, precision
from course_lib.errors import CourseError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def asked_afresh(monkeypatch):
    """No answer that another test left behind, and no pin of the user's."""
    monkeypatch.delenv("MARBLE_PRECISION", raising=False)
    device._precision.cache_clear()
    yield
    device._precision.cache_clear()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2", "avx512f", "avx512_bf16"}, torch.bfloat16),
        ({"avx2", "amx_bf16", "amx_tile"}, torch.bfloat16),
        ({"avx2", "avx512f", "amx_tile"}, torch.float32),
        ({"bf16", "asimd"}, torch.float32),  # an ARM: not measured
        (set(), torch.float32),
    ],
)
def test_the_processors_flags_decide(monkeypatch, flags, expected):
    monkeypatch.setattr(device, "_cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert precision("cpu") == expected
    with autocast("cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected
    with torch.autocast("cpu", torch.bfloat16), autocast("cpu"):  # the inner one counts
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_a_device_has_a_name(monkeypatch):
    """As people say it, for cards and for doctor."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda which: f"Card {which.index}")
    assert device.device_name("cuda:1") == "Card 1"
    assert "Apple" in device.device_name("mps")
    assert device.device_name("cpu") == device.platform.machine()


def test_a_torch_that_can_not_use_them_stays_in_float32(monkeypatch):
    monkeypatch.setattr(device, "_cpu_flags", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert precision("cpu") == torch.float32


def test_flags_are_those_of_linux_and_elsewhere_torchs(monkeypatch):
    text = "processor : 0\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor : 1\nflags : fpu\n"
    monkeypatch.setattr(device.Path, "read_text", lambda self, encoding: text)
    assert {"avx2", "avx512_bf16"} <= device._cpu_flags()

    def missing(self, encoding):
        raise FileNotFoundError(self)

    monkeypatch.setattr(device.Path, "read_text", missing)
    found = {"amx_bf16": True, "avx2": False, "cpu_name": "x", "num_sockets": 1}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert device._cpu_flags() == {"amx_bf16"}
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert device._cpu_flags() == frozenset()


def test_busy_or_not_every_fresh_process_chooses_alike():
    """Four at once on however few processors: each is the others' load."""
    code = "from course_lib import precision; print(precision('cpu'))"
    environ = {k: v for k, v in os.environ.items() if k != "MARBLE_PRECISION"}
    environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    several = [
        subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert {process.communicate()[0].strip() for process in several} == {str(precision("cpu"))}


def test_choosing_draws_nothing_and_asks_no_clock():
    before = torch.get_rng_state()
    precision("cpu")
    assert torch.equal(torch.get_rng_state(), before)
    assert not hasattr(device, "time")


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["cpu", "cuda", "mps"])
def test_a_setting_pins_it(monkeypatch, name, kind):
    monkeypatch.setenv("MARBLE_PRECISION", name)
    assert precision(kind) == device.pinned_precision() == getattr(torch, name)
    assert device.precision_name(precision(kind)) == name


@pytest.mark.parametrize("name", ["bf16", "float16", "BFLOAT16"])
def test_a_setting_that_is_none(monkeypatch, name):
    monkeypatch.setenv("MARBLE_PRECISION", name)
    with pytest.raises(CourseError, match=f"float32 or bfloat16, not '{name}'"):
        precision("cpu")
    monkeypatch.setenv("MARBLE_PRECISION", "")
    assert device.pinned_precision() is None


def test_the_global_generators_state_goes_and_comes(monkeypatch):
    state = device.random_state()
    drawn = torch.rand(5)
    torch.rand(100)
    device.set_random_state(state)
    assert torch.equal(torch.rand(5), drawn)
    # a state from a machine with a GPU is taken up without one, as far as it goes
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    device.set_random_state({"cpu": state["cpu"], "cuda": state["cpu"], "mps": state["cpu"]})
    assert torch.equal(torch.rand(5), drawn)


def test_a_gpus_generator_is_kept_where_one_is_in_use(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert set(device.random_state()) <= {"cpu", "mps"}  # none is woken up for it
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.arange(3))
    monkeypatch.setattr(torch.cuda, "set_rng_state", taken.append)
    state = device.random_state()
    assert torch.equal(state["cuda"], torch.arange(3))
    device.set_random_state(state)
    assert torch.equal(taken[0], state["cuda"])


def test_batches_keep_their_kind_on_the_way_to_a_device():
    Pair = namedtuple("Pair", "x cond")
    x, tokens, style = torch.ones(2, 3, 4, 4), torch.ones(2, 5).long(), torch.ones(2)
    moved = device.to_device(
        Pair(x, (tokens, {"style": [style]}, "text")), torch.device("cpu")
    )
    assert type(moved) is Pair
    assert moved.x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved.cond[0], tokens) and moved.cond[2] == "text"
    assert torch.equal(moved.cond[1]["style"][0], style)
