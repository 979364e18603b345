"""The figures of lesson 01: what they show, and that they are drawn."""

import pytest
import torch

from course_lib.widgets import pixel_plots as plots

pytestmark = pytest.mark.usefixtures("closed")


def picture(H: int = 4, W: int = 5) -> torch.Tensor:
    return torch.linspace(-1, 1, H * W).view(1, H, W)


def test_a_growing_picture_is_grey_from_its_next_pixel_on():
    x = picture()
    grown = plots.growing(x, [0, 7, 20])
    assert grown.shape == (3, 1, 4, 5)
    assert (grown[0] == 0).all() and torch.equal(grown[2], x)
    assert torch.equal(grown[1].flatten()[:7], x.flatten()[:7])
    assert (grown[1].flatten()[7:] == 0).all()


def test_frames_of_growth_and_of_agreement():
    table = torch.rand(256, 20)
    frames = plots.growth_frames(picture(), table / table.sum(0), [0, 9, 20])
    assert len(frames) == 3 and len({frame.shape for frame in frames}) == 1
    u = torch.randn(2, 2000)
    assert len(plots.agreement_frames(lambda rho: u, lambda rho: 0.5, [0, 1])) == 2


def test_each_figure_has_its_parts():
    seen = torch.rand(4, 5)
    seen[2:] = 0
    assert len(plots.show_fields({"a": seen, "b": seen}, 2, 1).axes) == 2
    p = torch.full((256,), 1 / 256)
    levels = torch.zeros(4, 5, dtype=torch.uint8)
    curves = {"corner": ((0, 0), p), "other": ((1, 2), p)}
    axes = plots.show_answers(picture()[0], levels, curves).axes
    assert len(axes) == 3 and "corner" in axes[1].get_title() and "8.0" in axes[1].get_title()
    lines = plots.show_ladder([4.0, 3.0, 2.0], 16, {"eight": 8.0}, 480).axes[0].get_lines()
    assert len(lines) == 3
    assert lines[0].get_xdata().tolist() == [496, 512, 528]
    ends = picture().expand(6, 1, 4, 5) * torch.rand(6, 1, 1, 1)
    assert len(plots.show_ends(picture(), ends, seen).axes) == 6  # two of them colour bars
    crowds = {"one": torch.randn(50, 3), "other": torch.randn(40, 3)}
    assert len(plots.show_crowds(crowds).axes[0].get_lines()) == 2
    hung = dict.fromkeys("ABCD", (ends[:2], "a caption"))
    assert len(plots.show_gallery(hung).axes) == 6
