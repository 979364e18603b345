"""Schedules, denoisers, samplers: the part of diffusion that trains no weights."""

from course_lib.diffusion.codec import Codec, LatentCodec, PixelCodec
from course_lib.diffusion.condition import map_cond
from course_lib.diffusion.denoiser import TARGETS, Denoise, Denoiser, stratified_times
from course_lib.diffusion.exact import gaussian_denoiser, mixture_denoiser, points_denoiser
from course_lib.diffusion.guidance import (
    autoguided,
    classifier_guided,
    clipped,
    guided,
    guided_in_parts,
)
from course_lib.diffusion.reading import denoiser_from, schedule_from
from course_lib.diffusion.samplers import (
    FRESH,
    SAMPLERS,
    Step,
    final,
    posterior,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_heun,
    sample_unipc,
)
from course_lib.diffusion.schedule import Schedule

__all__ = [
    "FRESH",
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
    "classifier_guided",
    "clipped",
    "denoiser_from",
    "final",
    "gaussian_denoiser",
    "guided",
    "guided_in_parts",
    "map_cond",
    "mixture_denoiser",
    "points_denoiser",
    "posterior",
    "sample_ddim",
    "sample_ddpm",
    "sample_dpmpp_2m",
    "sample_heun",
    "sample_unipc",
    "schedule_from",
    "stratified_times",
]
