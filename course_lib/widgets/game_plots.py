"""The figures of lesson 06: games in the plane, a game of two numbers, and runs side by side.

Each takes numbers that the lesson has computed, and draws.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.toy_games import Look, Ring, best_discriminator
from course_lib.widgets.plots import BLUE, GREEN, GREY, ORANGE, RED, frames_of

SIDE = 3.0  # of the square shown: -SIDE .. SIDE


def critic_frames(
    grid: Tensor, clouds: Tensor, shifts: Tensor, distance: Tensor
) -> list[np.ndarray]:
    """One picture for each of K fakes: both densities with the best critic's answer, and how
    far apart the two are.

    grid [N]; clouds: probabilities [K, N], of which the first are the real ones; distance [K],
    in nats, over shifts [K].
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=[1.5, 1])
    heights = clouds / clouds.max()
    left.fill_between(grid, heights[0], color=BLUE, alpha=0.4, label="real")
    moving = left.fill_between(grid, 0 * grid, color=ORANGE, alpha=0.5, label="fake")
    (answer,) = left.plot([], [], "--", color="black", label="best critic")
    left.set(xlabel="x", ylim=(0, 1.35), yticks=[0, 0.5, 1])
    left.set_ylabel("D, and densities (scaled)")
    left.legend(loc="upper center", ncol=3)  # above the curves, which reach 1
    right.plot(shifts, distance, color=GREEN)
    (dot,) = right.plot([], [], "o", color=GREEN, markersize=11)
    right.axhline(np.log(2), color=GREY, linestyle=":")
    right.set(xlabel="shift", ylabel="JS (nats)", title="dotted: log 2")

    def draw(k: int):
        moving.set_data(grid, 0 * grid, heights[k])
        answer.set_data(grid, best_discriminator(clouds[0], clouds[k]))
        dot.set_data([shifts[k]], [distance[k]])

    return frames_of(figure, draw, range(len(shifts)))


def game_frames(looks: Sequence[Look], real: Tensor) -> list[np.ndarray]:
    """One picture for each look: D as a heat map with the real points [n, 2] and the fakes'
    pushes on it; beside it the generator's warped grid.
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.6), sharex=True, sharey=True)
    extent = (-SIDE, SIDE, -SIDE, SIDE)
    heat = left.imshow(
        looks[0].chance, origin="lower", extent=extent, cmap="PuOr", vmin=0, vmax=1
    )
    figure.colorbar(heat, ax=left, shrink=0.8, label="D: chance of real")
    for axis in (left, right):
        axis.scatter(*real.T, s=5, color="black", label="real", zorder=2)
        axis.set(xlim=(-SIDE, SIDE), ylim=(-SIDE, SIDE), xlabel="$x_1$", aspect="equal")
    left.set_ylabel("$x_2$")
    right.set_title("the generator's grid")
    fakes = [
        a.scatter([], [], s=16, color=GREEN, label="fake", zorder=3) for a in (left, right)
    ]
    zero = np.zeros(len(looks[0].fakes))
    arrows = left.quiver(
        *looks[0].fakes.T, zero, zero, angles="xy", scale_units="xy", scale=1, width=0.006
    )
    lines = [right.plot([], [], color=BLUE, linewidth=0.8)[0] for _ in looks[0].grid]
    right.legend(loc="upper right", frameon=True)

    def draw(k: int):
        now = looks[k]
        heat.set_data(now.chance)
        for dots in fakes:
            dots.set_offsets(now.fakes)
        arrows.set_offsets(now.fakes)
        arrows.set_UVC(*_shown(now.push).T)
        for line, points in zip(lines, now.grid, strict=True):
            line.set_data(*points.T)
        left.set_title(now.title)

    return frames_of(figure, draw, range(len(looks)))


def _shown(push: Tensor) -> Tensor:
    """Arrows [n, 2] of at most unit length, whose order of size can still be seen."""
    length = push.norm(dim=1, keepdim=True)
    return push / (length + 0.5)


def _walks(field: Callable, starts: Sequence, seconds: float, step: float = 0.05) -> Tensor:
    """Paths of a field from starts by the midpoint rule: [steps, starts, 2]."""
    place = torch.tensor(starts, dtype=torch.float64)
    path = [place]
    for _ in range(round(seconds / step)):
        half = place + step / 2 * torch.stack(field(*place.T), dim=1)
        place = place + step * torch.stack(field(*half.T), dim=1)
        path.append(place)
    return torch.stack(path)


def _eigenvalue_plane(axis, every: Tensor):
    """The plane with the paths of all eigenvalues, complex [gammas, 2]; two dots to move."""
    for k in range(2):
        axis.plot(every[:, k].real, every[:, k].imag, color=GREY, linewidth=1)
    axis.axvline(0, color="black", linewidth=1)
    axis.set(xlabel="real part: below 0 dies away", ylabel="imaginary part: turns")
    axis.set(xlim=(every.real.min().item() - 0.1, 0.25), ylim=(-0.65, 0.65))
    return axis.plot([], [], "o", color=RED, markersize=11)[0]


def portrait_frames(
    field: Callable, gammas: Sequence[float], rates: Callable, seconds: float = 30.0
) -> list[np.ndarray]:
    """A phase portrait for each gamma, with three paths; beside it the eigenvalues.

    field: (theta, psi, gamma) -> the two speeds. rates: gamma -> complex [2].
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2), width_ratios=[1.25, 1])
    axis = torch.linspace(-2, 2, 15, dtype=torch.float64)
    theta, psi = torch.meshgrid(axis, axis, indexing="xy")
    arrows = left.quiver(theta, psi, 0 * theta, 0 * psi, color=GREY, scale=18, width=0.004)
    starts = [(1.6, 0.0), (-1.0, 0.8), (0.4, -1.5)]
    paths = [left.plot([], [], color=c)[0] for c in (BLUE, RED, GREEN)]
    left.plot(*zip(*starts, strict=True), "o", color="black", markersize=5)
    left.plot(0, 0, "+", color="black", markersize=14)
    left.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
    left.set(xlabel="θ: where the fake is", ylabel="ψ: the critic's slope")
    dots = _eigenvalue_plane(right, torch.stack([rates(g) for g in gammas]))

    def draw(gamma: float):
        speed = torch.stack(field(theta, psi, gamma))
        speed = speed / (speed.norm(dim=0) + 0.3)
        arrows.set_UVC(*speed)
        walks = _walks(lambda a, b: field(a, b, gamma), starts, seconds)
        for line, path in zip(paths, walks.unbind(1), strict=True):
            line.set_data(*path.T)
        now = rates(gamma)
        dots.set_data(now.real, now.imag)
        left.set_title(f"γ = {gamma:g}")
        right.set_title(f"slowest: exp({now.real.max().item() + 0.0:.2f} t)")

    return frames_of(figure, draw, gammas)


def show_clouds(clouds: Mapping[str, Tensor], ring: Ring):
    """Points [n, 2] over a ring's modes, side by side; filled are the modes that are found."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(clouds), figsize=(3 * len(clouds), 3.3), squeeze=False)
    for axis, (name, points) in zip(axes[0], clouds.items(), strict=True):
        enough = ring.hits(points) >= 0.25 * len(points) / ring.modes
        colours = [ORANGE if found else "white" for found in enough.tolist()]
        axis.scatter(*ring.centres.T, s=130, facecolors=colours, edgecolors=GREY, alpha=0.7)
        axis.scatter(*points.T, s=3, color=BLUE)
        axis.set(xlim=(-SIDE, SIDE), ylim=(-SIDE, SIDE), xticks=[], yticks=[], aspect="equal")
        axis.set_title(f"{name}: {int(enough.sum())} of {ring.modes}")
        middle = points.median(dim=0).values
        if middle.abs().max() > SIDE:  # nothing to be seen: say where it is
            place = ", ".join(f"{x:.1f}" for x in middle.tolist())
            axis.text(0, 0, f"fakes are at\n({place})", color=BLUE, ha="center", va="center")
    return figure


def show_instruments(runs: Mapping[str, Mapping[str, Sequence[float]]], floor: float):
    """Modes found, gradient norms and the critic's loss over the steps, a line a run.

    runs: name -> {"step", "modes", "gradient", "critic"}, lists of one length; floor: the
    critic's loss where it can't tell.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11.5, 3.2))
    for (name, run), style in zip(runs.items(), ("-", "--", ":", "-."), strict=False):
        for axis, key in zip(axes, ("modes", "gradient", "critic"), strict=True):
            axis.plot(run["step"], run[key], style, label=name)
    axes[0].set(ylabel="modes found", ylim=(-0.5, 16.5))
    axes[1].set(ylabel="generator's gradient", yscale="log")
    axes[2].set(ylabel="critic's loss (nats)", ylim=(0, 1.1 * floor))
    axes[2].axhline(floor, color=GREY, linestyle=":")
    for axis in axes:
        axis.set_xlabel("step")
    axes[0].legend()
    return figure
