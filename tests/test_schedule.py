"""The schedules: the contract of all, and each one's own formula."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from contracts import SCHEDULES, ScheduleContract

from course_lib import (
    SAMPLERS,
    TARGETS,
    Denoiser,
    Schedule,
    clipped,
    final,
    gaussian_denoiser,
    mixture_denoiser,
    sample_ddim,
)
from course_lib.errors import CourseError


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


def table(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("alpha", "sigma"),
    [
        ((1, math.nan, 0), (0, 0.5, 1)),
        ((1, 0.5, 0), (0, math.nan, 1)),
        ((1, 0.5, 0), (0, 0.5, math.inf)),
        ((1, 0.5, 0.7), (0, 0.5, 1)),
        ((1, 0.5, -0.1), (0, 0.5, 1)),
        ((1, 0.5, 0), (0, 0.5, 0.4)),
        ((0.9, 0.5, 0), (0, 0.5, 1)),
        ((1, 0.5, 0), (0.1, 0.5, 1)),
        ((1, 0, 0), (0, 0, 1)),
    ],
)
def test_tables_that_do_not_lead_from_image_to_noise(alpha, sigma):
    with pytest.raises(CourseError, match="never rising.*never falling.*Look at alpha"):
        Schedule(table(*alpha), table(*sigma))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Schedule.linear(10, 0.01, 2.0),
        lambda: Schedule.linear(10, -0.01, 0.02),
        lambda: Schedule.linear(10, math.nan, 0.02),
        lambda: Schedule.scaled_linear(10, 0.01, 2.0),
        lambda: Schedule.scaled_linear(10, -0.01, 0.02),
        lambda: Schedule.from_betas([0.1, math.inf]),
        lambda: Schedule.from_betas([]),
        lambda: Schedule.from_betas([[0.1, 0.2]]),
    ],
)
def test_betas_that_are_no_variances(make):
    with pytest.raises(CourseError, match="Betas are .* from 0 to 1, not"):
        make()


@pytest.mark.parametrize("T", [0, -3, 2.5, True, math.nan])
def test_lengths_that_are_none(T):
    for make in (Schedule.linear, Schedule.scaled_linear, Schedule.cosine, Schedule.flow):
        with pytest.raises(CourseError, match="T of 1 or more whole steps, not"):
            make(T)


def test_from_betas_by_a_plain_product():
    """Their t is ours minus one: betas[0] leads to time 1. A beta of 0 stays, one of 1 ends."""
    betas = [0.1, 0.0, 0.3, 1.0, 0.5]
    schedule, kept = Schedule.from_betas(betas), 1.0
    assert schedule.T == 5
    for t, beta in enumerate(betas, 1):
        kept *= 1 - beta
        assert schedule.alpha[t].item() == pytest.approx(math.sqrt(kept), abs=1e-15)
        assert schedule.sigma[t].item() == pytest.approx(math.sqrt(1 - kept), abs=1e-15)
    single = Schedule.from_betas(torch.tensor(betas, dtype=torch.float32))
    assert single.alpha.dtype == torch.float64
    torch.testing.assert_close(single.alpha, schedule.alpha, rtol=0, atol=1e-7)


def test_scaled_linear_is_stable_diffusions():
    schedule = Schedule.scaled_linear()
    beta = 1 - (schedule.alpha[1:] / schedule.alpha[:-1]) ** 2
    assert beta[[0, -1]].tolist() == pytest.approx([0.00085, 0.012])
    assert beta[499].sqrt() == pytest.approx(
        0.00085**0.5 + 499 / 999 * (0.012**0.5 - 0.00085**0.5)
    )
    assert schedule.alpha[-1] == pytest.approx(0.0683, abs=5e-5)


NO_TIMES = {
    "below": -1,
    "above": 11,
    "float": 3.0,
    "bool": True,
    "none": None,
    "text": "3",
    "tensor below": torch.tensor([3, -1]),
    "tensor above": torch.tensor([3, 11]),
    "float tensor": torch.tensor([3.0]),
    "bool tensor": torch.tensor([True]),
    "matrix": torch.tensor([[3]]),
    "numpy float": np.float64(3),
    "numpy bool": np.True_,
}


@pytest.mark.parametrize("t", NO_TIMES.values(), ids=NO_TIMES)
def test_one_sentence_says_what_a_time_is(t):
    schedule, x = Schedule.cosine(10), torch.zeros(2, 3)
    sentence = "A time on this schedule is a whole number from 0 to 10, or a tensor"
    net = [gaussian_denoiser(schedule, 0.0, 1.0), mixture_denoiser(schedule, x, 1.0)]
    net += [Denoiser(lambda x, t, c: x, schedule, target) for target in TARGETS]
    for denoise in (*net, clipped(net[0], schedule)):
        with pytest.raises(CourseError, match=sentence):
            denoise(x, t)
    with pytest.raises(CourseError, match=sentence):
        schedule.add_noise(x, t, x)
    with pytest.raises(CourseError, match=sentence):
        schedule.at(t, x)
    for sampler in SAMPLERS.values():
        for times in ([9, 5, t], [t, 5, 0], [9, t, 0]):
            seen = []
            with pytest.raises(CourseError, match=sentence):
                final(sampler(lambda *a: seen.append(a) or (x, x), schedule, x, times))  # noqa: B023
            assert seen == []  # nobody is called before all times are known


def test_times_of_every_whole_kind():
    schedule, x = Schedule.cosine(10), torch.zeros(2, 3)
    for kind in (torch.uint8, torch.int16, torch.int32, torch.int64):
        alpha, _ = schedule.at(torch.tensor([1, 0], dtype=kind), x)
        torch.testing.assert_close(
            alpha[:, 0].double(), schedule.alpha[[1, 0]], rtol=1e-6, atol=0
        )
    assert schedule.at(torch.tensor([], dtype=torch.long), x[:0])[0].shape == (0, 1)
    for times in (np.array([9, 5, 0]), torch.tensor([9, 5, 0]), range(9, -1, -3)):
        steps = list(sample_ddim(lambda x, t, c: (x, x), schedule, x, times))
        assert [step.t for step in steps] == [int(t) for t in times]
        assert all(type(step.t) is int for step in steps)


@pytest.mark.parametrize("n", [2.5, True, "3", None])
def test_steps_are_counted(n):
    with pytest.raises(CourseError, match="takes 1 to 10 steps, not"):
        Schedule.cosine(10).times(n)
    assert Schedule.cosine(10).times(np.int64(2)) == [10, 5, 0]


def test_bytes_are_no_images():
    """alpha in uint8 would be 0 but at time 0."""
    x = torch.zeros(2, 3, dtype=torch.uint8)
    with pytest.raises(CourseError, match="floating-point images.*not to torch.uint8"):
        Schedule.cosine(10).add_noise(x, 3, x)


def test_tables_are_float64_copies_on_the_cpu():
    alpha, sigma = torch.tensor([1, 0.8, 0.5]), torch.tensor([0, 0.6, 0.9])
    schedule = Schedule(alpha, sigma)
    assert schedule.alpha.dtype == schedule.sigma.dtype == torch.float64
    double = alpha.double()
    schedule = Schedule(double, sigma.double())
    double.zero_()
    assert schedule.alpha[0] == 1
