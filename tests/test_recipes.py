"""Which recipe a weights file belongs to, and what a recipe says of itself and of its nets."""

import dataclasses
import json

import pytest

from course_lib import load_denoiser, weights
from course_lib.errors import CourseError
from course_lib.recipes import (
    RECIPES,
    ddpm_fashion,
    fashion_classifier,
    maker,
    recipe,
    recipe_of,
)
from course_lib.recipes.sampling import AutoguidedSampling
from course_lib.runs import Flag, Recipe
from course_lib.weights import WeightsError, load_weights, read_card, shipped


def test_a_file_belongs_to_the_recipe_that_its_card_names():
    made_by = ddpm_fashion.RECIPE
    assert recipe_of("ddpm-fashion") is recipe_of("ddpm-fashion-10k") is made_by
    assert recipe_of("fashion-classifier") is fashion_classifier.RECIPE
    for name in ("ddpm", "ddpm-fashionable", "10k", ""):
        with pytest.raises(CourseError, match=f"no shipped model '{name}'"):
            recipe_of(name)
        with pytest.raises(
            CourseError, match=f"no recipe '{name}'; there are: ddpm-fashion, "
        ):
            recipe(name)


def test_a_card_that_names_no_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    (tmp_path / "mine.json").write_text('{"sha256": "0"}')
    with pytest.raises(CourseError, match="The card of mine names no recipe"):
        recipe_of("mine")


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_file_has_a_recipe_that_built_its_net(name):
    kind = recipe_of(name)
    assert load_weights(name, device="cpu").config == kind.config
    if "reading" in read_card(name):
        shipped_as, read_as = load_denoiser(name, device="cpu"), kind.reading()
        assert read_card(name)["reading"] == read_as
        assert shipped_as.target == read_as["target"]
        assert shipped_as.schedule.T == 1000


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_value(name):
    """Frozen, of plain data, and found by its own name."""
    kind = recipe(name)
    assert isinstance(kind, Recipe) and kind.name == name
    plain = json.loads(json.dumps(dataclasses.asdict(kind)))
    assert plain["config"] and plain["legs"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind.lr = 1.0
    for flag in kind.flags():
        assert isinstance(flag, Flag) and flag.name.startswith("--")
    try:
        about = kind.about()
    except WeightsError as missing:  # a net that it is trained with is not shipped yet
        pytest.skip(str(missing))
    for key in ("what", "data", "data_sha256"):
        assert about[key]


def test_the_best_way_costs_no_more_than_it_may():
    kind = ddpm_fashion.RECIPE
    for name in ("ddpm-fashion", "ddpm-fashion-10k"):
        for calls in (1, 20, 1000):
            way = kind.best(name, calls)
            assert 1 <= way.calls(way.steps(calls)) <= calls


def test_what_makes_no_images_says_so():
    with pytest.raises(CourseError, match="fashion-classifier makes no images"):
        maker("fashion-classifier")


def test_absurd_numbers_are_no_way_of_sampling():
    for name in ("guidance", "guide_scale"):
        for value in (float("nan"), float("inf"), -float("inf"), 1e39, 101.0):
            with pytest.raises(CourseError, match=f"{name} is a number from -100 to 100, not"):
                AutoguidedSampling(**{name: value})
        assert getattr(AutoguidedSampling(**{name: -3.0}), name) == -3.0
