"""One file a shipped model: its values, its net, its phases, its maker."""

import importlib

from course_lib.errors import CourseError

# name on the command line -> module, whose RECIPE it is
RECIPES = {
    "ddpm-fashion": "course_lib.recipes.ddpm_fashion",
    "fashion-classifier": "course_lib.recipes.fashion_classifier",
    "pixelcnn-fashion": "course_lib.recipes.pixelcnn_fashion",
    "vae-fashion": "course_lib.recipes.vae_fashion",
    "vae-fashion-binary": "course_lib.recipes.vae_fashion_binary",
    "flow-fashion": "course_lib.recipes.flow_fashion",
    "gan-fashion": "course_lib.recipes.gan_fashion",
    # text to image, in the order in which they are trained
    "emoji-autoencoder": "course_lib.recipes.emoji_autoencoder",
    "emoji-clip": "course_lib.recipes.emoji_clip",
    "emoji-judge": "course_lib.recipes.emoji_judge",
    "emoji-style": "course_lib.recipes.emoji_style",
    "emoji-style-guide": "course_lib.recipes.emoji_style_guide",
    # on its own: a tenth of the concepts is kept from it in every style
    "emoji-clip-unseen": "course_lib.recipes.emoji_clip_unseen",
    "sd-emoji": "course_lib.recipes.sd_emoji",
    # the decoder of a thumbnail; the second begins as the first
    "emoji-superres-direct": "course_lib.recipes.emoji_superres_direct",
    "emoji-superres": "course_lib.recipes.emoji_superres",
}


def check_recipe(name: str):
    """CourseError for a name that no recipe has."""
    if name not in RECIPES:
        raise CourseError(f"There is no recipe {name!r}; there are: {', '.join(RECIPES)}.")


def recipe(name: str):
    """A recipe by its name; CourseError names the ones there are."""
    check_recipe(name)
    return importlib.import_module(RECIPES[name]).RECIPE


def recipe_of(weights: str):
    """The recipe that made a shipped weights file, a snapshot's too: its card names it."""
    from course_lib.weights import read_card

    made_by = read_card(weights).get("recipe")
    if made_by is None:
        raise CourseError(f"The card of {weights} names no recipe: train it again.")
    return recipe(made_by)


def maker(weights: str, module=None, **options):
    """The Maker of a shipped model: `maker("ddpm-fashion", calls=20).make(8, seed=1)`.

    module: its net, where it is loaded already. options: those of its recipe's `flags`.
    """
    from course_lib.weights import load_weights

    kind = recipe_of(weights)
    if not kind.makes_images:
        raise CourseError(f"{weights} makes no images.")
    module = load_weights(weights) if module is None else module
    return kind.maker(module, weights, **options)
