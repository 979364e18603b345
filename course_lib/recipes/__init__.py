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


def recipe_of(weights: str):
    """The module of the recipe that made a weights file, its snapshots included:
    "ddpm-fashion-10k" is ddpm-fashion's.

    A recipe that makes pictures by diffusion has IMAGE_SHAPE, schedule(), denoiser(net) and
    best_sampling(name, calls).
    """
    made = [name for name in RECIPES if weights == name or weights.startswith(f"{name}-")]
    return recipe(max(made, key=len) if made else weights)
