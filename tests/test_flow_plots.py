"""The figures of lesson 03: what they show, and that they are drawn."""

import pytest
import torch
from torch.distributions import Normal

from course_lib.widgets import flow_plots as plots

pytestmark = pytest.mark.usefixtures("closed")


def test_a_frame_a_curve_all_alike_in_size():
    xs = torch.linspace(-5, 5, 101, dtype=torch.float64)
    curves = [0.5 * xs, xs, 2 * xs]
    bell = Normal(0.0, 1.0)
    densities = [bell.log_prob(k * xs).exp() * k for k in (0.5, 1, 2)]
    frames = plots.curve_frames(xs, curves, densities)
    assert len(frames) == 3 and len({frame.shape for frame in frames}) == 1
    assert (frames[0] != frames[2]).any()


def test_a_frame_a_stage_on_the_way():
    points = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    circles = torch.randn(3, 10, 2, generator=torch.Generator().manual_seed(1))
    frames = plots.way_frames([points, 0.5 * points], [circles, 0.5 * circles])
    assert len(frames) == 2 and (frames[0] != frames[1]).any()


def test_floors_have_a_line_and_dots_a_spread():
    times = torch.tensor([0.0, 0.5, 1.0])
    found = {0.5: [1.0, 0.8, 0.3], 1.0: [1.0, 2.0, 1.0]}
    axis = plots.show_floors(times, found, lambda t, s: s * t).axes[0]
    assert len(axis.get_lines()) == 4
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        "s = 0.5",
        "s = 1.0",
    ]
