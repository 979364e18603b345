"""Which recipe a weights file belongs to, and what a recipe says of its nets."""

import pytest

from course_lib.recipes import (
    RECIPES,
    ddpm_fashion,
    fashion_classifier,
    recipe,
    recipe_of,
    sampling,
)
from course_lib.weights import load_weights, shipped


def test_a_snapshot_belongs_to_the_run_that_it_was_taken_from():
    assert recipe_of("ddpm-fashion") is recipe_of("ddpm-fashion-10k") is ddpm_fashion
    assert recipe_of("fashion-classifier") is fashion_classifier
    for name in ("ddpm", "ddpm-fashionable", "10k", ""):
        with pytest.raises(ValueError, match=f"no recipe '{name}'; there are: ddpm-fashion, "):
            recipe_of(name)


def test_the_longest_name_decides(monkeypatch):
    monkeypatch.setitem(RECIPES, "ddpm-fashion-latent", RECIPES["fashion-classifier"])
    assert recipe_of("ddpm-fashion-latent-10k") is fashion_classifier
    assert recipe_of("ddpm-fashion-50k") is ddpm_fashion


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_file_has_a_recipe_that_built_its_net(name):
    kind = recipe_of(name)
    assert load_weights(name, device="cpu").config == kind.CONFIG
    if kind is ddpm_fashion:
        assert kind.IMAGE_SHAPE == (kind.CONFIG.channels, 28, 28)
        for calls in (1, 20, 1000):
            way = sampling.best_sampling(name, calls)
            assert 1 <= way.calls(way.steps(calls)) <= calls


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_run(name):
    assert callable(recipe(name).run)
    assert recipe(name).NAME == name
