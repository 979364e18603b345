"""Marble: a library of small, real generative models of images, and the tools to train, sample
and measure them.
"""

import importlib

__version__ = "0.1.0"

# Where each public name lives; it is imported when it is first asked for, so that `import
# course_lib` costs nothing.
_HOMES = {
    "course_lib.device": ["autocast", "default_device", "place", "precision"],
    "course_lib.diffusion": [
        "SAMPLERS",
        "TARGETS",
        "Codec",
        "Denoiser",
        "LatentCodec",
        "PixelCodec",
        "Schedule",
        "Step",
        "autoguided",
        "clipped",
        "final",
        "gaussian_denoiser",
        "guided",
        "map_cond",
        "mixture_denoiser",
        "points_denoiser",
        "sample_ddim",
        "sample_ddpm",
        "sample_dpmpp_2m",
        "sample_heun",
        "sample_unipc",
    ],
    "course_lib.data": ["Batches", "to_float", "to_uint8"],
    "course_lib.data.fashion": ["CLASSES", "fashion_mnist"],
    "course_lib.draws": ["Draws", "ImageDraws"],
    "course_lib.metrics": ["fashion_features", "frechet_distance", "measure"],
    "course_lib.models": [
        "MODELS",
        "VAE",
        "ConvVAE",
        "FashionClassifier",
        "PixelCNN",
        "PixelCNNConfig",
        "UNet",
        "UNetConfig",
        "VAEConfig",
    ],
    "course_lib.optim": ["Muon"],
    "course_lib.checkpoint": ["load_state", "save_state"],
    "course_lib.training": ["Ema", "Phase", "TrainStep", "train"],
    "course_lib.weights": ["load_denoiser", "load_weights", "save_weights"],
    "course_lib.widgets": ["Scrubber"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str):
    if name not in _HOME_OF:
        raise AttributeError(
            f"course_lib has no {name!r}; its public names are {', '.join(__all__)}."
        )
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__():
    return [*globals(), *__all__]
