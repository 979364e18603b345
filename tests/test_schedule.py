"""The schedules: the contract of all, and each one's own formula."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from contracts import SCHEDULES, ScheduleContract

from course_lib import Schedule


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
class TestEverySchedule(ScheduleContract):
    """The library's own, long and short."""


@pytest.mark.parametrize("name", ["linear", "cosine", "linear20", "cosine20"])
def test_linear_and_cosine_preserve_variance(name):
    schedule = SCHEDULES[name]
    torch.testing.assert_close(
        schedule.alpha**2 + schedule.sigma**2,
        torch.ones(schedule.T + 1).double(),
        rtol=0,
        atol=1e-15,
    )


def test_linear_by_a_plain_product():
    schedule, product = Schedule.linear(), 1.0
    for k in range(1, 1001):
        beta = 1e-4 + (0.02 - 1e-4) * (k - 1) / 999
        product *= 1 - beta
        assert math.isclose(schedule.alpha[k].item(), math.sqrt(product), rel_tol=1e-12)
        assert math.isclose(schedule.sigma[k].item(), math.sqrt(1 - product), rel_tol=1e-9)
    assert schedule.alpha[-1] ** 2 == pytest.approx(
        4.036e-5, rel=1e-3
    )  # the usual alpha-bar at the end


def test_linear_with_few_steps_leaves_signal():
    """The bug of many small repositories: betas meant for 1000 steps kept for 50 or 200."""
    assert Schedule.linear(50).alpha[-1] ** 2 == pytest.approx(0.60, abs=0.005)
    assert Schedule.linear(200).alpha[-1] ** 2 == pytest.approx(0.13, abs=0.005)


def test_cosine_by_its_equation():
    schedule = Schedule.cosine()

    def f(t):  # Nichol & Dhariwal 2021, eq. 17: alpha-bar is f(t) / f(0)
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in range(1001):
        assert math.isclose(
            schedule.alpha[t].item() ** 2, f(t) / f(0), rel_tol=1e-9, abs_tol=1e-30
        )
    assert schedule.alpha[-1] == 0  # not 6e-17
    assert schedule.alpha[500] ** 2 == pytest.approx(
        0.494, abs=0.001
    )  # 0.70 would be a square forgotten


def test_flow_is_the_straight_line():
    schedule = Schedule.flow(4)
    assert schedule.alpha.tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert schedule.sigma.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_at_takes_all_kinds_of_time():
    schedule = Schedule.flow(4)
    x = torch.zeros(2, 3, 5, 5)
    for t in (3, np.int64(3), torch.tensor(3)):
        alpha, sigma = schedule.at(t, x)
        assert alpha.shape == sigma.shape == ()
        assert (alpha.item(), sigma.item()) == (0.25, 0.75)
    alpha, _ = schedule.at(torch.tensor([0, 4]), x)
    assert alpha.shape == (2, 1, 1, 1)
    assert alpha.flatten().tolist() == [1, 0]
    with pytest.raises(IndexError):
        schedule.at(5, x)


def test_a_schedule_stays_what_it_is():
    schedule = Schedule.cosine(10)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.alpha = schedule.sigma
    before = schedule.alpha.clone()
    alpha, _ = schedule.at(torch.arange(10), torch.zeros(10, 1, dtype=torch.float64))
    alpha.mul_(0)  # what a caller does with the answer stays his own affair
    assert torch.equal(schedule.alpha, before)
    twin = copy.deepcopy(schedule)
    assert torch.equal(twin.alpha, before)
    assert twin.T == 10


def test_first_used_under_inference_mode_then_trained_with():
    """A table made while gradients are off must not be unfit for backward ever after."""
    schedule = Schedule.cosine(10)
    with torch.inference_mode():
        schedule.at(3, torch.zeros(1))
    factor = torch.ones(1, requires_grad=True)
    schedule.add_noise(factor, 3, factor).sum().backward()
    assert factor.grad.item() == pytest.approx((schedule.alpha[3] + schedule.sigma[3]).item())


def test_shapes_that_are_no_schedule():
    ones = torch.ones(5).double()
    for alpha, sigma in ((ones, ones[:4]), (ones[None], ones[None]), (ones[:1], ones[:1])):
        with pytest.raises(ValueError, match="two vectors of one length"):
            Schedule(alpha, sigma)
