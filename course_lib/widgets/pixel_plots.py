"""The figures of lesson 01: what a pixel looks at, a picture that grows, ends for a beginning,
crowds of features, two pixels that agree, and the gallery of bugs.

Each takes numbers that the lesson has computed, and draws.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.models.independent import entropy
from course_lib.widgets.plots import BLUE, GREY, ORANGE, PALETTE, RED, frames_of, tile


def _not_yet(picture: Tensor, k: int) -> Tensor:
    """A picture [H, W] with everything from the k-th pixel on as grey."""
    order = torch.arange(picture.numel()).view(picture.shape)
    return torch.where(order < k, picture, 0.0)


def growing(picture: Tensor, moments: Sequence[int]) -> Tensor:
    """A picture [1, H, W] after so many of its pixels, in the order in which one reads:
    [len(moments), 1, H, W]; grey is not drawn yet.
    """
    return torch.stack([_not_yet(picture[0], k)[None] for k in moments])


def show_fields(fields: Mapping[str, Tensor], row: int, column: int):
    """What the answer at (row, column) depends on, [H, W] for each title: |gradient| on a log
    scale over six decades; exact zeros stay grey.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(fields), figsize=(3.4 * len(fields), 3.5))
    for axis, (title, seen) in zip(np.atleast_1d(axes), fields.items(), strict=True):
        shown = torch.where(seen > 0, (seen / seen.max()).clamp(min=1e-6).log10(), torch.nan)
        axis.set_facecolor("#bbbbbb")
        axis.imshow(shown, cmap="viridis", vmin=-6, vmax=0)
        axis.plot(column, row, "s", color=RED, markersize=6)
        axis.set(title=title, xticks=[], yticks=[])
    return figure


def show_answers(
    picture: Tensor, levels: Tensor, curves: Mapping[str, tuple[tuple[int, int], Tensor]]
):
    """Distributions [256] of some pixels {name: ((row, column), p)}, on a log scale beside
    their picture [H, W]; the levels [H, W] that really stand there are dotted.
    """
    import matplotlib.pyplot as plt

    widths = [1, *[1.3] * len(curves)]
    figure, axes = plt.subplots(1, len(widths), figsize=(12, 2.9), width_ratios=widths)
    axes[0].imshow(picture, vmin=-1, vmax=1)
    axes[0].set_axis_off()
    named = zip(axes[1:], curves.items(), PALETTE, strict=False)
    for axis, (name, (place, p)), colour in named:
        axes[0].plot(*place[::-1], "s", color=colour, markersize=8, markeredgecolor="white")
        axis.axvline(levels[place].item(), color="black", linestyle=":", linewidth=1.5)
        # an edge as well, for one level alone is no pixel wide
        axis.bar(
            np.arange(256), np.asarray(p), width=1, color=colour, edgecolor=colour, linewidth=1
        )
        axis.set(yscale="log", ylim=(1e-5, 1.5), xlim=(-6, 261), xlabel="level")
        axis.set_title(f"{name}: sum {p.sum():.4f},\n{entropy(p):.1f} bits", fontsize=13)
    axes[1].set_ylabel("probability (log scale)")
    return figure


def show_ladder(curve: Sequence[float], batch: int, lines: Mapping[str, float], seen: int = 0):
    """A training curve in bits per dimension under the lines of simpler guesses; `seen`
    pictures were trained on before it begins.
    """
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 3.8))
    axis.plot(seen + batch * np.arange(1, len(curve) + 1), curve, color="#bbd6e8", linewidth=1)
    width = min(25, len(curve))
    smooth = np.convolve(curve, np.ones(width) / width, mode="valid")
    places = seen + batch * (np.arange(len(smooth)) + (width + 1) / 2)
    axis.plot(places, smooth, color=BLUE, label=f"yours, mean of {width} steps")
    for (name, height), colour in zip(
        lines.items(), (GREY, ORANGE, PALETTE[2], RED), strict=False
    ):
        axis.axhline(height, color=colour, linestyle="--", label=name)
    axis.set(xlabel="training pictures seen", ylabel="bits per dimension")
    axis.set(xlim=(0, None), ylim=(2, 8.9))
    axis.legend(fontsize=10, loc="upper right", bbox_to_anchor=(1, 0.86))
    return figure


def growth_frames(picture: Tensor, table: Tensor, places: Sequence[int]) -> list[np.ndarray]:
    """Frames of a picture [1, H, W] being drawn: at each of `places` what is there, and the
    distribution of the next pixel, from table [256, H W].
    """
    import matplotlib.pyplot as plt

    image, (H, W) = picture[0], picture.shape[1:]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=[1, 1.6])
    view = left.imshow(image, vmin=-1, vmax=1)
    (spot,) = left.plot([], [], "s", color=RED, markersize=6)
    left.set_axis_off()
    (curve,) = right.plot([], [], color="black")
    line = right.axvline(0, color=RED, linestyle=":")
    right.set(xlim=(-6, 261), ylim=(0, 1.05), xlabel="level of the next pixel (red: drawn)")
    right.set_ylabel("probability / highest")

    def draw(k: int):
        row, column = divmod(k, W)
        view.set_data(_not_yet(image, k))
        spot.set_data([column], [row])
        curve.set_data(torch.arange(256), table[:, k] / table[:, k].max())
        line.set_xdata([(image[row, column].item() + 1) * 127.5] * 2)
        right.set_title(f"{entropy(table[:, k]):.1f} bits open", fontsize=13)

    return frames_of(figure, draw, [min(k, H * W - 1) for k in places])


def show_ends(given: Tensor, ends: Tensor, bits: Tensor):
    """A beginning [1, H, W], ends for it [B, 1, H, W], their spread in levels, and how many
    bits [H, W] were open at each pixel.
    """
    import matplotlib.pyplot as plt

    B = len(ends)
    widths = [1, 3.05, 1.2, 1.2]
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.3), width_ratios=widths)
    axes[0].imshow(given[0], vmin=-1, vmax=1)
    axes[1].imshow(tile(ends, -(-B // 2)), vmin=0, vmax=1)
    spread = axes[2].imshow(127.5 * ends[:, 0].std(dim=0), cmap="magma", vmin=0)
    open_ = axes[3].imshow(bits, cmap="magma", vmin=0, vmax=8)
    titles = ("given", f"{B} ends", "spread (levels)", "entropy (bits)")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title)
        axis.set_axis_off()
    figure.colorbar(spread, ax=axes[2], shrink=0.8)
    figure.colorbar(open_, ax=axes[3], shrink=0.8)
    return figure


def show_crowds(crowds: Mapping[str, Tensor]):
    """Crowds of features [N, D] in the two directions in which all together are widest, each
    with its fitted Normal as an ellipse of two standard deviations.
    """
    import matplotlib.pyplot as plt

    together = torch.cat([crowd - crowd.mean(dim=0) for crowd in crowds.values()])
    directions = torch.linalg.eigh(together.T @ together).eigenvectors[:, -2:]
    turn = torch.linspace(0, 2 * torch.pi, 100)
    circle = 2 * torch.stack([turn.cos(), turn.sin()])
    figure, axis = plt.subplots(figsize=(7.5, 4))
    for (name, crowd), colour in zip(crowds.items(), (GREY, RED, BLUE), strict=False):
        flat = crowd @ directions
        axis.scatter(*flat.T, s=5, color=colour, alpha=0.35, linewidths=0)
        ellipse = flat.mean(0)[:, None] + torch.linalg.cholesky(torch.cov(flat.T)) @ circle
        axis.plot(*ellipse, color=colour, linewidth=3, label=name)
    axis.set(xlabel="features, widest direction", ylabel="second widest")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def agreement_frames(
    pairs: Callable[[float], Tensor], formula: Callable[[float], float], rhos: Sequence[float]
) -> list[np.ndarray]:
    """Frames over rho: the first 1,500 of pairs(rho) [2, N], blue where the signs agree; and
    the share that agrees, counted over all N, on the formula's curve.
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8))
    dots = left.scatter(*np.zeros((2, 1500)), s=6, linewidths=0)
    left.axhline(0, color=GREY, linewidth=1)
    left.axvline(0, color=GREY, linewidth=1)
    left.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", xlabel="u1", ylabel="u2")
    grid = np.linspace(0, 1, 300)
    right.plot(grid, [formula(r) for r in grid], color="black", label="formula")
    (dot,) = right.plot([], [], "o", color=RED, markersize=10, label="counted")
    right.set(xlabel="correlation rho", ylabel="share that agrees", ylim=(0.45, 1.03))
    right.legend(loc="upper left")

    def draw(rho: float):
        u = pairs(rho)
        agree = (u[0] > 0) == (u[1] > 0)
        dots.set_offsets(u[:, :1500].T)
        dots.set_color(np.where(agree[:1500], BLUE, ORANGE))
        dot.set_data([rho], [agree.float().mean()])

    return frames_of(figure, draw, rhos)


def show_gallery(hung: Mapping[str, tuple[Tensor, str]]):
    """Samples [n, 1, H, W] under letters, with a caption each; three a row."""
    import matplotlib.pyplot as plt

    rows = -(-len(hung) // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(12, 2.3 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for axis, (letter, (pictures, caption)) in zip(axes.flat, hung.items(), strict=False):
        axis.imshow(tile(pictures, len(pictures)), vmin=0, vmax=1)
        axis.set_title(letter)
        axis.set_xlabel(caption, fontsize=11)
    return figure
