"""Schedules, denoisers, samplers: the part of diffusion that owns no weights."""

from course_lib.diffusion.codec import Codec, LatentCodec, PixelCodec
from course_lib.diffusion.denoiser import TARGETS, Denoise, Denoiser
from course_lib.diffusion.exact import gaussian_denoiser, mixture_denoiser, points_denoiser
from course_lib.diffusion.guidance import autoguided, clipped, guided
from course_lib.diffusion.samplers import (
    SAMPLERS,
    Step,
    final,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_heun,
    sample_unipc,
)
from course_lib.diffusion.schedule import Schedule

__all__ = [
    "SAMPLERS",
    "TARGETS",
    "Codec",
    "Denoise",
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
    "mixture_denoiser",
    "points_denoiser",
    "sample_ddim",
    "sample_ddpm",
    "sample_dpmpp_2m",
    "sample_heun",
    "sample_unipc",
]
