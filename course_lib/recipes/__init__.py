"""One file a shipped model: its config, and the run that made its weights."""

import importlib

# name on the command line -> module
RECIPES = {
    "ddpm-fashion": "course_lib.recipes.ddpm_fashion",
    "fashion-classifier": "course_lib.recipes.fashion_classifier",
}


def recipe(name: str):
    """The module of a recipe; ValueError names the ones there are."""
    if name not in RECIPES:
        raise ValueError(f"There is no recipe {name!r}; there are: {', '.join(RECIPES)}.")
    return importlib.import_module(RECIPES[name])
