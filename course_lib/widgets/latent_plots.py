"""Figures of lessons 08 and 09: learning curves, spreads of latents, codecs side by side, and
a guided law.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor

from course_lib.widgets.plots import BLUE, GREEN, GREY, ORANGE, RED, tile

CHANNELS = (BLUE, RED, GREEN, ORANGE)


def learning_figure(curve: Sequence[float], batch: int, levels: Mapping[str, float]):
    """A training's squared error over the pictures seen, smoothed over nine steps of `batch`
    pictures, and held-out levels as dashed lines.
    """
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 3))
    smooth = np.convolve(curve, np.ones(9) / 9, "valid")
    seen = batch * np.arange(5, 5 + len(smooth))
    axis.plot(seen, smooth, color=BLUE, label="yours, training")
    for (name, level), colour in zip(levels.items(), ("black", GREEN), strict=False):
        axis.axhline(level, color=colour, linestyle="--", label=f"{name}, held-out")
    axis.set(xlabel="pictures seen", ylabel="squared error", yscale="log")
    axis.legend()
    return figure


def spread_figure(
    latents: Tensor,
    mean: Tensor,
    std: Tensor,
    log_snr: Callable[[float], Tensor],
    spreads: Sequence[float],
):
    """Left: latents [B, 4, h, w] channel by channel as they are, and all of them normalised by
    mean and std [4]. Right: log_snr(spread), at t = 1, 2, ..., of three spreads, with a dot
    where signal and noise are equal.
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6))
    look = {"range": (-9, 9), "density": True}
    for c, colour in enumerate(CHANNELS):
        one = latents[:, c].flatten()
        label = f"channel {c + 1}: {std[c]:.1f}"
        left.hist(one, 120, histtype="step", color=colour, label=label, **look)
    normal = (latents - mean[:, None, None]) / std[:, None, None]
    left.hist(normal.flatten(), 120, color=GREY, alpha=0.35, label="normalised", **look)
    left.set(xlabel="latent", ylabel="density", yticks=[])
    left.set_title("spread, channel by channel")
    left.legend(fontsize=9)
    for spread, colour in zip(spreads, ("black", RED, ORANGE), strict=True):
        found = log_snr(spread)
        equal = int((found > 0).sum())
        t, label = np.arange(1, len(found) + 1), f"spread {spread:.2f}: equal at t = {equal}"
        right.plot(t, found, color=colour, label=label)
        right.plot(equal, 0, "o", color=colour)
    right.set(xlabel="t", ylabel="log SNR (nats)", ylim=(-12, 12))
    right.legend(fontsize=10)
    return figure


def codecs_figure(
    hung: Mapping[str, tuple[Tensor, Mapping[str, float]]], shown: Sequence[int]
):
    """Under each letter what a codec made of pictures [B, 3, H, W], of which some are shown,
    and its five figures.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(12, 8.6))
    for axis, (letter, (back, found)) in zip(axes.flat, hung.items(), strict=True):
        axis.imshow(tile(back[list(shown)], 2))
        axis.set(xticks=[], yticks=[], title=letter)
        p, bright, contrast, spread, largest = found.values()
        text = f"PSNR {p:.1f}, brighter by {bright:z.2f}\ncontrast {contrast:.2f}\n"
        text += f"latents: spread {spread:.2f}, largest {largest:.1f}"
        axis.set_xlabel(text, fontsize=11)
    return figure


def bells_figure(samples: Tensor, bells: Mapping[str, tuple[float, float]], title: str):
    """A histogram of samples [N], and Normal densities of (mean, standard deviation)."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 3))
    axis.hist(samples.numpy(), bins=60, range=(-3, 5), density=True, color=BLUE, alpha=0.5)
    looks, grid = ((GREY, ":"), (ORANGE, "--"), (RED, "-")), np.linspace(-3, 5, 400)
    for (label, (mean, std)), (colour, dashes) in zip(bells.items(), looks, strict=False):
        bell = np.exp(-(((grid - mean) / std) ** 2) / 2) / std / (2 * np.pi) ** 0.5
        axis.plot(grid, bell, dashes, color=colour, label=label)
    axis.set(ylim=(0, 1.1), xlabel="x", ylabel="density", title=title)
    axis.legend()
    return figure
