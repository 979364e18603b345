"""The figures of lesson 05 take what the lesson has, and show what they say."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from course_lib.layers import time_embedding
from course_lib.widgets import diffusion_plots as plots

pytestmark = pytest.mark.usefixtures("closed")


def titles(figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes]


def test_each_true_time_has_a_curve():
    plots.wrong_times([2, 100, 800], {100: [1, 0.1, 0.9], 300: [1, 0.4, 0.5]})
    axis = plt.gcf().axes[0]
    assert [text.get_text() for text in axis.get_legend().texts] == [
        "true time 100",
        "true time 300",
    ]


def test_the_legend_covers_no_line():
    """Nor the dotted ones, which cross the whole height of the axes."""
    with plt.rc_context({"figure.constrained_layout.use": True}):  # as in the lessons
        plots.wrong_times([2, 100, 800], {100: [1, 0.1, 0.9], 600: [1, 0.4, 0.5]})
    figure = plt.gcf()
    figure.canvas.draw()
    axis = figure.axes[0]
    box = axis.get_legend().get_window_extent()
    assert not box.overlaps(axis.get_window_extent())
    assert box.x1 <= figure.bbox.x1, "and it is not cut off"


def test_the_embedding_beside_a_slip(capsys):
    rows = time_embedding(torch.arange(16), 16)
    plots.embedding_tables(rows, torch.randn(16, 16))
    near = (rows[:-1] * rows[1:]).sum(1) / (rows[:-1].norm(dim=1) * rows[1:].norm(dim=1))
    assert f"yours: cosine of two times; mean cosine of neighbours {near.mean():.2f}" in (
        capsys.readouterr().out
    )


def test_a_loss_and_its_floor():
    t = torch.tensor([40, 60, 990])
    step = {"loss": torch.tensor(0.3), "per_image": torch.tensor([0.2, 0.4, 0.1]), "t": t}
    plots.loss_and_floor([step] * 4, torch.linspace(1, 0, 1000), late=2)
    right = plt.gcf().axes[1]
    shown = dict(zip(*right.lines[0].get_data(), strict=True))
    assert shown[25] == pytest.approx(0.2), "t in (0, 50]"
    assert shown[75] == pytest.approx(0.4)
    assert shown[975] == pytest.approx(0.1)


def test_a_corridor_has_bars_of_two_standard_errors():
    miss = torch.rand(3, 16)
    plots.corridor([1, 10, 100], np.ones(3), np.zeros(3), {"training": miss, "test": miss})
    legend = plt.gcf().axes[0].get_legend()
    assert [text.get_text() for text in legend.texts][-1] == "net, test pictures"


def test_a_run_as_it_stands_is_closed():
    walls = {"best linear guess": 0.2, "copyist": 0.002}
    figure = plots.run_state([1.0, 0.5], walls, torch.zeros(10, 1, 28, 28), 64)
    assert not plt.get_fignums()
    assert "64 images seen" in titles(figure)


def test_the_denoise_module_names_its_inputs():
    picture = torch.zeros(1, 1, 28, 28)
    plots.denoise_module(picture, picture, picture, t=500, s=300, text="ankle boot")
    said = [text.get_text() for text in plt.gcf().axes[0].texts]
    assert '"ankle boot",  t = 500' in said
    assert "noise\npredictor" in said


def test_the_noise_inside_is_named_by_amount():
    plots.noise_inside([900, 500, 100], torch.ones(3, 2), [0.0, 1.0])
    assert [text.get_text() for text in plt.gcf().axes[0].texts] == [
        "fresh noise x 0",
        "fresh noise x 1",
    ]


def test_a_titled_sheet_is_a_picture():
    sheet = plots.titled_sheet(torch.zeros(20, 1, 28, 28), [f"class {k}" for k in range(10)])
    assert sheet.dtype == np.uint8 and sheet.ndim == 3 and sheet.shape[2] == 3
    assert (sheet < 128).any() and (sheet > 200).any()
    assert not plt.get_fignums()


def test_two_clouds_are_drawn_with_their_spread():
    cloud = torch.randn(4000, 2) * torch.tensor([2.0, 0.5])
    plots.two_clouds({"same": (cloud, cloud)}, {"same": 0.0})
    axis = plt.gcf().axes[0]
    assert axis.get_title() == "same: 0.00"
    ellipse = axis.patches[0]
    assert ellipse.width == pytest.approx(8, rel=0.1), "two deviations to each side"
    assert ellipse.height == pytest.approx(2, rel=0.1)
    assert min(ellipse.angle % 180, 180 - ellipse.angle % 180) < 5
