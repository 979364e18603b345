"""How near a picture came back, pixel by pixel."""

import torch
from torch import Tensor

from course_lib.data import as_saved


def psnr(images: Tensor, real: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image against the real one, in dB: both [N, C, H, W]
    in [-1, 1], to [N].

    Images are clamped and rounded to 256 levels first, as a saved picture would be. The peak
    is 2, from black to white: 20 dB are a squared error of 0.04, 10 dB more a tenth of it.
    """
    if images.shape != real.shape:
        raise ValueError(f"Images {list(images.shape)} against real ones {list(real.shape)}.")
    error = (as_saved(images) - real).square().flatten(1).mean(dim=1)
    return 10 * torch.log10(4 / error.clamp(min=1e-7))
