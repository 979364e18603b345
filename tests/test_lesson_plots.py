"""The figures of lessons 07 to 09 show the numbers that they are given."""

import numpy as np
import pytest
import torch

from course_lib.widgets.crowd_plots import floor_figure, to_infinity_figure
from course_lib.widgets.latent_plots import (
    bells_figure,
    codecs_figure,
    learning_figure,
    spread_figure,
)

pytestmark = pytest.mark.usefixtures("closed")


def names(axis) -> list[str]:
    return axis.get_legend_handles_labels()[1]


def test_a_floor_has_dots_and_lines():
    sizes = [50, 100, 200]
    figure = floor_figure(sizes, {"a": [3, 2, 1], "b": [6, 4, 2]}, {"law": [3, 1.5, 0.75]})
    (axis,) = figure.axes
    assert names(axis) == ["a", "b", "law"]
    np.testing.assert_allclose(axis.lines[2].get_ydata(), [3, 1.5, 0.75])
    assert axis.get_xscale() == axis.get_yscale() == "log"


def test_a_line_is_drawn_on_to_no_floor():
    sizes = [100, 200, 400]
    made = {name: [end + 8 / n for n in sizes] for name, end in (("real", 0), ("soft", 0.3))}
    figure, ends = to_infinity_figure(sizes, made)
    assert ends["real"] == pytest.approx(0, abs=1e-12) and ends["soft"] == pytest.approx(0.3)
    assert figure.axes[0].lines[3].get_ydata()[0] == pytest.approx(0.3)


def test_a_learning_curve_is_smoothed_and_keeps_its_place():
    figure = learning_figure(list(range(20)), 32, {"PCA": 5.0, "shipped": 1.0})
    curve, *levels = figure.axes[0].lines
    # the mean of steps 1 to 9 stands at the fifth
    assert curve.get_xdata()[0] == 5 * 32 and curve.get_ydata()[0] == 4
    assert [level.get_ydata()[0] for level in levels] == [5.0, 1.0]
    assert names(figure.axes[0])[1:] == ["PCA, held-out", "shipped, held-out"]


def test_spreads_and_where_signal_and_noise_are_equal():
    latents = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    curve = torch.linspace(4.5, -4.5, 10)
    figure = spread_figure(
        latents, torch.zeros(4), torch.ones(4), lambda s: curve + s, [1, 2, 3]
    )
    left, right = figure.axes
    assert [name[:9] for name in names(left)[:4]] == [f"channel {c}" for c in (1, 2, 3, 4)]
    assert names(right) == [
        f"spread {s}.00: equal at t = {t}" for s, t in ((1, 6), (2, 7), (3, 8))
    ]


def test_each_codec_has_its_letter_and_its_five_figures():
    figures = dict(zip("pbcsl", (30.5, 0.1, 0.9, 1.02, 4.3), strict=True))
    hung = {letter: (torch.zeros(3, 3, 8, 8), figures) for letter in "ABCDEFGH"}
    axes = codecs_figure(hung, shown=[0, 2]).axes
    assert [axis.get_title() for axis in axes] == list("ABCDEFGH")
    assert "PSNR 30.5" in axes[0].get_xlabel() and "largest 4.3" in axes[0].get_xlabel()


def test_bells_stand_where_their_means_are():
    bells = {"no prompt": (-0.5, 0.4), "prompt": (0.5, 0.4), "your law": (1.5, 0.8)}
    axis = bells_figure(torch.zeros(10), bells, "w = 2").axes[0]
    for line, (mean, std) in zip(axis.lines, bells.values(), strict=True):
        x, y = line.get_data()
        assert x[y.argmax()] == pytest.approx(mean, abs=0.02)
        assert y.max() == pytest.approx(1 / (std * (2 * np.pi) ** 0.5), rel=1e-3)
    assert names(axis) == list(bells)
