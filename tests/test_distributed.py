"""Two processes train as one does, at the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
STEPS = 4
ENVIRON = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",  # one device for both runs
    "ACCELERATE_USE_CPU": "true",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict]:
    """What one process and two processes made of the same run, by rank and world."""
    folder = tmp_path_factory.mktemp("runs")
    script = [str(ROOT / "tests" / "runs.py"), "whole", str(folder), str(STEPS)]
    launch = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
    ]  # what Accelerate launches with
    for command in (script, launch + script):
        done = subprocess.run(
            [sys.executable, *command],
            env=ENVIRON,
            capture_output=True,
            text=True,
            timeout=3600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    return {path.stem: torch.load(path, weights_only=True) for path in folder.glob("*.pt")}


def test_all_processes_took_part(results):
    assert set(results) == {"0-of-1", "0-of-2", "1-of-2"}


def test_each_process_saw_its_half(results):
    """The losses of the halves average to that of the whole, and their times make up the
    whole's.
    """
    one, first, second = (results[key]["history"] for key in ("0-of-1", "0-of-2", "1-of-2"))
    for (loss, _, t), (loss_0, _, t_0), (loss_1, _, t_1) in zip(
        one, first, second, strict=True
    ):
        assert len(t) == 64
        assert torch.equal(torch.cat([t_0, t_1]), t)
        assert loss_0 != loss_1
        assert (loss_0 + loss_1) / 2 == pytest.approx(loss, rel=1e-4)


def test_gradients_were_averaged(results):
    one, first, second = (results[key]["history"] for key in ("0-of-1", "0-of-2", "1-of-2"))
    for (_, norm, _), (_, norm_0, _), (_, norm_1, _) in zip(one, first, second, strict=True):
        assert norm_0 == pytest.approx(norm_1, rel=1e-6)
        assert norm_0 == pytest.approx(norm, rel=1e-3)


@pytest.mark.parametrize("which", ["net", "ema"])
def test_two_processes_end_where_one_does(results, which):
    """Both hold the same weights to the last bit; those of the single run differ by the order
    of its sums.
    """
    one, first, second = (results[key][which] for key in ("0-of-1", "0-of-2", "1-of-2"))
    start, whole = results["0-of-1"]["start"], 0.0
    for name, value in one.items():
        assert torch.equal(first[name], second[name])
        moved, moved_by_two = (
            value - start[name],
            first[name] - start[name],
        )  # a few ten-thousandths: compare no less
        assert (moved_by_two - moved).norm() <= 0.01 * moved.norm(), name
        whole += moved.square().sum().item()
    assert whole > 1e-6, "they have trained"
