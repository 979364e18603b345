"""The figures of lesson 06: what they show, and that they are drawn."""

import math

import numpy as np
import pytest
import torch

from course_lib.toy_games import (
    PlaneDiscriminator,
    PlaneGenerator,
    Ring,
    dirac_field,
    dirac_rates,
    js_divergence,
    look,
)
from course_lib.widgets import game_plots as plots

pytestmark = pytest.mark.usefixtures("closed")


def all_alike(frames: list[np.ndarray]) -> bool:
    return len({frame.shape for frame in frames}) == 1 and frames[0].dtype == np.uint8


def test_frames_of_the_best_critic():
    clouds = torch.rand(3, 40).double().softmax(dim=1)
    distance = js_divergence(clouds[:1], clouds)
    shifts = torch.linspace(0, 1, 3)
    frames = plots.critic_frames(torch.linspace(0, 1, 40), clouds, shifts, distance)
    assert len(frames) == 3 and all_alike(frames) and (frames[0] != frames[1]).any()


def test_frames_of_a_game():
    torch.manual_seed(0)
    G, D = PlaneGenerator(), PlaneDiscriminator()
    looks = [look(title, G, D, lambda s: -s) for title in ("before", "after")]
    frames = plots.game_frames(looks, torch.zeros(3, 2))
    assert len(frames) == 2 and all_alike(frames)


def test_frames_of_a_phase_portrait():
    frames = plots.portrait_frames(dirac_field, [0.0, 1.0], dirac_rates, seconds=2.0)
    assert len(frames) == 2 and all_alike(frames) and (frames[0] != frames[1]).any()


def test_walks_keep_a_circle_round_and_a_brake_at_its_rate():
    """Close to rest, where the field is linear."""
    path = plots._walks(lambda a, b: dirac_field(a, b, 0.0), [(1e-4, 0.0)], 20.0)
    torch.testing.assert_close(
        path.norm(dim=2), torch.full_like(path[..., 0], 1e-4), rtol=0.01, atol=0
    )
    path = plots._walks(lambda a, b: dirac_field(a, b, 3.0), [(1e-4, 0.0)], 20.0)
    slowest = dirac_rates(3.0).real.max().item()
    found = math.log(path[-1].norm() / path[200].norm()) / 10.0
    assert found == pytest.approx(slowest, rel=0.02)


def test_clouds_say_how_many_modes_they_found():
    ring = Ring(modes=4)
    figure = plots.show_clouds(
        {"all": ring.centres, "one": ring.centres[:1].expand(9, 2)}, ring
    )
    assert [axis.get_title() for axis in figure.axes] == ["all: 4 of 4", "one: 1 of 4"]
    assert not any(axis.texts for axis in figure.axes)


def test_a_cloud_outside_the_picture_is_said_to_be_there():
    (axis,) = plots.show_clouds({"off": torch.full((9, 2), 6.0)}, Ring(modes=4)).axes
    assert axis.get_title() == "off: 0 of 4" and "(6.0, 6.0)" in axis.texts[0].get_text()


def test_instruments_have_a_line_a_run_and_the_floor():
    run = {"step": [1, 2], "modes": [0, 3], "gradient": [1.0, 0.1], "critic": [1.2, 1.3]}
    figure = plots.show_instruments({"a": run, "b": run}, 2 * math.log(2))
    assert [len(axis.lines) for axis in figure.axes] == [2, 2, 3]
