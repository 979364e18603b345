# %% [markdown]
# # 04 The sculpture in the marble
#
# *The figure is already in the block. The sculptor takes away what does not belong to it.*
#
# In this lesson the sentence is meant literally. The block is a square of random numbers, the figure is a picture of a
# shoe, and what does not belong to the figure has a name: noise. After about an hour you can
#
# - jump from a picture to any noise level in one line, and show that this is the same as a thousand small steps,
# - say what a *perfect* denoiser answers, write it in three lines, and carve with it, without any network,
# - say why a network is asked for the noise and not for the picture, and where that choice hurts,
# - write the two samplers that most image generators use, and measure what each look at the block buys,
# - recognise seven real bugs by their picture and by four numbers,
# - say why a network that had learnt everything would be useless, and count whether ours has.
#
# Nothing is trained here: that is lesson 05. Five cells are stubs for you to write; what you write runs on in the cells
# after it. If you skip one, the library's version takes its place, so the page always runs.

# %%
import math
from collections.abc import Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from course_lib import TARGETS, Denoiser, Schedule, Scrubber, autocast, final, load_weights
from course_lib import gaussian_denoiser, points_denoiser, sample_ddim, sample_ddpm
from course_lib.data import CLASSES, fashion_mnist, to_float
from course_lib.diffusion.denoiser import Denoise
from course_lib.diffusion.samplers import Step, _noise  # two names that the shown pieces of the library use
from course_lib.exercises import diffusion as grade
from course_lib.recipes import ddpm_fashion
from course_lib.widgets.flipbook import Flipbook
from course_lib.widgets.plots import BLUE, GREEN, GREY, ORANGE, PALETTE, RED, frames_of, show_images, show_rows, tile, use_style

use_style()
net = load_weights("ddpm-fashion")
device = next(net.parameters()).device


def seeded(k):
    """A random generator with an owner: the same numbers each time."""
    return torch.Generator().manual_seed(k)


# %% [markdown]
# ## 0. Where we are going
#
# Read this picture from left to right. The **top row** starts as pure noise and ends as an ankle boot that nobody
# photographed. At each step a network was shown the square above and asked one question: *what in here does not belong
# to a boot?* Its answer is the **middle row**. Take the answer away and the **bottom row** is left: the boot that the
# network sees in the block. Look how early it sees one.

# %%
plan = ddpm_fashion.schedule()
see = ddpm_fashion.sampling_denoiser(net)
block = torch.randn(1, 1, 28, 28, generator=seeded(4)).to(device)
with autocast(device):
    steps = list(sample_ddim(see, plan, block, plan.times(16), torch.tensor([9], device=device)))

shown = steps[::2]
rows = {
    "the block\n$x_t$": torch.cat([step.x_t for step in shown]),
    "what doesn't belong\n$\\epsilon$": torch.cat([step.eps for step in shown]) / 3,
    "the figure in it\n$x_0$": torch.cat([step.x0 for step in shown]),
}
show_rows({name: row.cpu() for name, row in rows.items()}, [f"t = {step.t}" for step in shown]);

# %% [markdown]
# Every word of that caption is a question for this lesson. What is the noise schedule that $t$ counts on (section 1)?
# Can a step of noise be undone at all (2)? What is the right answer to the network's question (3)? Why ask for the noise
# (4)? How is one square carved into the next (5), how does it go wrong (6), how many strokes does it take (7)? And is the
# boot new (8)?
#
# ## 1. Into the block
#
# **How much noise hides a picture?** Five photographs that no network of ours has trained on. Drag from 0 to 1000, and
# remember the $t$ at which you could no longer tell the boot from the bag. We will come back to your number.

# %%
linear = Schedule.linear()  # DDPM's: 1000 small steps
test_images, test_labels = fashion_mnist("test")
picked = [int(np.flatnonzero(test_labels == k)[0]) for k in (9, 8, 2, 3, 5)]
x_0 = to_float(test_images[picked])  # [5, 1, 28, 28] in [-1, 1]
eps = torch.randn(x_0.shape, generator=seeded(0))

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.6), width_ratios=[2.4, 1])
picture = left.imshow(tile(x_0, 5), vmin=0, vmax=1)
left.set_axis_off()
for values, colour, name, place in ((linear.alpha, BLUE, "image", (470, 0.4)), (linear.sigma, RED, "noise", (430, 0.8))):
    right.plot(values, color=colour)
    right.text(*place, name, color=colour)
right.set(xlabel="t (small steps)", ylim=(0, 1.05), yticks=[0, 1])
line = right.axvline(0, color=GREY, linestyle=":")


def draw(t):
    picture.set_data(tile(linear.add_noise(x_0, t, eps), 5))
    line.set_xdata([t, t])
    left.set_title(f"t = {t}: {linear.alpha[t]:.2f} of the image, noise of strength {linear.sigma[t]:.2f}")


times = list(range(0, 1001, 40))
Flipbook(frames_of(figure, draw, times), times, label="t", title="One jump to time t")

# %% [markdown]
# Each frame is one line of arithmetic, the most important one of the lesson:
#
# $$x_t = \alpha_t\, x_0 + \sigma_t\, \varepsilon, \qquad \varepsilon \sim \mathcal N(0, 1)\ \text{in each pixel}$$
#
# `Schedule.add_noise` is exactly that:

# %% src="course_lib/diffusion/schedule.py::Schedule.add_noise"
def add_noise(self, x0: Tensor, t: int | Tensor, eps: Tensor) -> Tensor:
    """Jump from the clean image to time t: x0 and eps [B, ...], t an int or an int tensor [B], to x_t [B, ...]."""
    alpha, sigma = self.at(t, x0)
    return alpha * x0 + sigma * eps

# %% [markdown]
# ### Where do alpha and sigma come from?
#
# From something humbler. One *small step* shrinks the picture a little and adds a pinch of fresh noise $z$, so little
# that nobody would notice:
#
# $$x_t = \sqrt{1 - \beta_t}\; x_{t-1} + \sqrt{\beta_t}\; z_t$$
#
# Why the square roots? Because variances add: if $x_{t-1}$ has variance 1, so has $x_t$. Now do two steps:
#
# $$x_2 = \sqrt{1-\beta_2}\sqrt{1-\beta_1}\; x_0 + \underbrace{\sqrt{1-\beta_2}\sqrt{\beta_1}\; z_1 + \sqrt{\beta_2}\; z_2}_{\text{a Normal of variance } (1-\beta_2)\beta_1 + \beta_2}$$
#
# The sum of two independent Normals is one Normal, and its variance is $1 - (1-\beta_1)(1-\beta_2)$: whatever the image
# has lost. So after any number of steps
#
# $$\alpha_t = \prod_{i \le t} \sqrt{1 - \beta_i}, \qquad \sigma_t = \sqrt{1 - \alpha_t^2}.$$
#
# (DDPM's paper writes $\bar\alpha_t$ for our $\alpha_t^2$. Half of the bugs in toy repositories live in that bar.)
#
# ### Rebuild 1: from a thousand steps to one jump

# %%
def signal_and_noise(beta):
    """beta [T], the small steps' variances, to alpha and sigma of the jumps, stacked: [2, T + 1]; index 0 is clean."""
    raise NotImplementedError  # about three lines; torch.cumprod, torch.cat and torch.stack may help


grade.SCHEDULE(signal_and_noise)

# %% [markdown]
# Yours makes the left curves below. On the right is how three schedules spend their time, as log of signal power over
# noise power, $\log \alpha_t^2 / \sigma_t^2$. Look at the ends: that is where schedules differ, and where bugs live.

# %%
mine = grade.SCHEDULE.or_library(signal_and_noise)
beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)  # Ho et al. 2020
linear = Schedule(*mine(beta))  # from here on, yours

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2))
left.plot(linear.alpha, color=BLUE, label="alpha")
left.plot(linear.sigma, color=RED, label="sigma")
left.set(xlabel="t", title="yours, from 1000 betas", yticks=[0, 0.5, 1])
for name, schedule, style in (("linear", linear, "-"), ("cosine", Schedule.cosine(), "--"), ("flow", Schedule.flow(), ":")):
    right.plot(schedule.log_snr[1:-1], style, color="black", label=name)
right.set(xlabel="t", ylabel="log SNR (nats)", title="signal over noise", ylim=(-15, 12))
left.legend()
right.legend();

# %% [markdown]
# ### Is one jump really a thousand steps?
#
# **Not the same path, but the same law.** Twenty thousand points on a line: half start at $-1$, half at $+1$, and each
# takes all 1000 small steps with its own noise. Left: six of the paths, drawn over the density that the *jump* predicts
# at each $t$. Right: all 20,000 walkers at three times (bars) against the jump's formula (line). Look for a bar that
# sticks out.

# %%
n = 20_000
dice = seeded(1)
walkers = torch.where(torch.rand(n, generator=dice) < 0.5, -1.0, 1.0)
walk = [walkers]
for b in tqdm(beta.float(), desc="1000 small steps", leave=False):
    walkers = (1 - b).sqrt() * walkers + b.sqrt() * torch.randn(n, generator=dice)
    walk.append(walkers)
walk = torch.stack(walk)  # [1001, n]


def normal(x, mean, std):
    """The density of a Normal."""
    return torch.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


def two_points(x, t):
    """The density of the jump to t when x_0 is -1 or +1, evenly."""
    return (normal(x, linear.alpha[t], linear.sigma[t]) + normal(x, -linear.alpha[t], linear.sigma[t])) / 2


# %%
grid = torch.linspace(-3, 3, 301, dtype=torch.float64)
density = torch.stack([two_points(grid, t) for t in range(5, 1001, 5)], 1)
figure = plt.figure(figsize=(10, 4.2))
parts = figure.add_gridspec(3, 2, width_ratios=[1.7, 1])
left = figure.add_subplot(parts[:, 0])
left.imshow(density**0.5, origin="lower", extent=(5, 1000, -3, 3), aspect="auto", cmap="Blues", vmax=1.1)
left.plot(walk[:, :6], color="black", linewidth=0.7, alpha=0.8)
left.set(xlim=(0, 1000), ylim=(-3, 3), xlabel="t (small steps)", ylabel="x", title="six walks on the density of the jump")
for row, t in enumerate((60, 250, 1000)):
    axis = figure.add_subplot(parts[row, 1])
    axis.hist(walk[t], bins=90, range=(-3, 3), density=True, color=ORANGE)
    axis.plot(grid, two_points(grid, t), color="black")
    axis.set(xlim=(-3, 3), yticks=[], ylabel=f"t = {t}")
    axis.set_xticks([-3, 0, 3] if row == 2 else [])

# %% [markdown]
# Eyes are kind. A test is not: the largest gap between the walkers' distribution function and the jump's. If the two
# laws are equal, it exceeds $1.36 / \sqrt n$ one time in twenty (Kolmogorov and Smirnov).

# %%
print(f"n = {n:,}; a gap above {1.36 / math.sqrt(n):.4f} would be suspicious")
for t in (10, 60, 250, 500, 1000):
    x = walk[t].double().sort().values
    alpha, sigma = linear.alpha[t], linear.sigma[t]
    cdf = (torch.special.ndtr((x - alpha) / sigma) + torch.special.ndtr((x + alpha) / sigma)) / 2
    counted = torch.arange(n + 1, dtype=torch.float64) / n
    gap = torch.maximum((counted[1:] - cdf).max(), (cdf - counted[:-1]).max())
    print(f"t = {t:4d}: largest gap {gap:.4f}")

# %% [markdown]
# That is why a network can be trained in reasonable time: to show it step 700 of a picture, nobody walks 700 steps. One
# jump, one multiplication.
#
# **Break it.** (a) In the walk, write `b * torch.randn(...)` for `b.sqrt() * torch.randn(...)`: the commonest bug of toy
# repositories. (b) Write `torch.rand` for `torch.randn`. (c) Write `math.sqrt(12) * (torch.rand(n, generator=dice) - 0.5)`:
# not Normal at all, but of mean 0 and variance 1. Which of the three still passes the test at $t = 1000$, and why does
# it?
#
# ## 2. The way back
#
# **Can noise be taken away again?** Going in was easy: add. Coming out, you hold $x_t$ and want to know where it was
# before, at an earlier time $s$. Many pasts lead to the same present, so the answer is a distribution, $q(x_s \mid x_t)$.
# Bayes's rule gives it, and for the two points $\pm 1$ it can be drawn exactly: how likely each past was, times how
# likely it was to lead here,
#
# $$q(x_s \mid x_t) \propto q(x_s)\; q(x_t \mid x_s).$$

# %%
def way_back(t, s, x_t, grid):
    """q(x_s | x_t) on a grid for data at -1 and +1, by Bayes's rule."""
    ratio = linear.alpha[t] / linear.alpha[s]  # what the steps from s to t keep of the signal
    added = (linear.sigma[t] ** 2 - (ratio * linear.sigma[s]) ** 2).sqrt()  # and what noise they add
    q = two_points(grid, s) * normal(x_t, ratio * grid, added)
    return q / (q.sum() * (grid[1] - grid[0]))


# %% [markdown]
# You hold $x_{300} = 0.1$, somewhere between the two points. **Drag the stride.** Filled: the true past. Dashed: the
# Normal of the same mean and variance, the best that a step of the form *mean plus Gaussian noise* can do.

# %%
t, x_t, fine = 300, 0.1, torch.linspace(-2, 2, 1601, dtype=torch.float64)
strides = [1, 2, 3, 5, 8, 12, 17, 23, 30, 38, 48, 60, 75, 90, 105, 120, 135, 150, 165, 180, 195, 210, 225, 240, 255, 270]
truth = [way_back(t, t - stride, x_t, fine) for stride in strides]
mean = [(q * fine).sum() * 0.0025 for q in truth]
std = [((q * (fine - m) ** 2).sum() * 0.0025).sqrt() for q, m in zip(truth, mean)]
fitted = [normal(fine, m, v) for m, v in zip(mean, std)]
wrong = [(q - f).abs().sum().item() * 0.0025 / 2 for q, f in zip(truth, fitted)]

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=[1.7, 1])
(dashed,) = left.plot([], [], "--", color="black", label="a Normal")
left.axvline(x_t, color=GREY, linestyle=":")
left.set(xlim=(-2, 2), ylim=(0, 1.25), yticks=[], xlabel="x, earlier")
left.legend(loc="upper left")
right.semilogx(strides, wrong, color=RED)
(dot,) = right.plot([], [], "o", color=RED, markersize=10)
right.set(xlabel="stride (small steps)", ylabel="probability misplaced", ylim=(0, None))


def draw(k):
    for old in list(left.collections):
        old.remove()
    scale = 1 / max(truth[k].max(), fitted[k].max())
    left.fill_between(fine, truth[k] * scale, color=BLUE, alpha=0.7, linewidth=0)
    dashed.set_data(fine, fitted[k] * scale)
    left.set_title(f"where was it {strides[k]} steps earlier?")
    dot.set_data([strides[k]], [wrong[k]])


Flipbook(frames_of(figure, draw, range(len(strides))), strides, label="stride", title="The exact way back")

# %% [markdown]
# With a big stride the past is torn in two: the point came from $+1$ or from $-1$, and a single Normal puts much of its
# weight in the middle, where nothing ever was. With a small stride the past *is* a Normal, as closely as you like. This
# is the reason for the thousand steps of the first diffusion models: not that noise must be added slowly, but that only
# a small step can be undone with a Gaussian. (Section 5 shows a way round.)
#
# Better still: if $x_0$ were known, $q(x_s \mid x_t, x_0)$ would be exactly Normal for *any* stride, since it is a
# product of two Normals. Completing the square gives its mean, $c_t\, x_t + c_0\, x_0$, and its variance:

# %% src="course_lib/diffusion/samplers.py::_posterior"
def _posterior(schedule: Schedule, t: int, s: int) -> tuple[float, float, float, float]:
    """q(x_s | x_t, x_0) for s < t (Ho et al. 2020, eq. 6 and 7), as Normal(c_t x_t + c_0 x_0, small).

    Returns c_t, c_0, `small` and `large`: `small` is their beta-tilde, `large` their beta, both for any stride.
    """
    alpha_t, sigma_t = schedule.alpha[t].item(), schedule.sigma[t].item()
    alpha_s, sigma_s = schedule.alpha[s].item(), schedule.sigma[s].item()
    ratio = alpha_t / alpha_s  # what the step from s to t keeps of the signal: sqrt(1 - beta)
    large = max(sigma_t**2 - (ratio * sigma_s) ** 2, 0.0)  # the noise that this step added: beta
    small = large * sigma_s**2 / sigma_t**2
    return ratio * sigma_s**2 / sigma_t**2, alpha_s * large / sigma_t**2, small, large

# %% [markdown]
# The mean is linear in $x_0$. So average over everything that $x_0$ could be, and the mean of the way back needs one
# thing only: the *average* $x_0$, given what we see. All that is unknown about carving is this one function:
#
# $$\hat x_0(x_t, t) = \mathbb E\,[\,x_0 \mid x_t\,], \qquad \text{the denoiser.}$$
#
# ## 3. What a perfect denoiser sees
#
# **You see a noisy square. You own all 55,000 training images. What is your best guess at $x_0$?** Best in the sense of
# least squared error, so: an average. Each training image $x_i$ would have produced this square with a likelihood that
# falls with the distance between $x_t$ and $\alpha_t x_i$. Average them by these weights:
#
# $$\hat x_0 = \sum_i w_i\, x_i, \qquad w = \operatorname{softmax}_i\left( -\frac{|x_t - \alpha_t x_i|^2}{2\, \sigma_t^2} \right)$$
#
# (If you know attention: $x_t$ is the query, the training set holds the keys and values, and $\sigma_t^2$ is the
# temperature.) Below, the photograph on the left is *not* in the training set. **Drag from all noise to none.** Watch the
# third square, and the count on the right: over how many images the average runs, $\exp(\text{entropy of } w)$.

# %%
train_images, train_labels = fashion_mnist("train")
training_set = to_float(train_images)  # [55000, 1, 28, 28]
keys = training_set.flatten(1)
key_power = keys.square().sum(1)
photo = x_0[2:3]  # the pullover with letters on it
eps = torch.randn(photo.shape, generator=seeded(2))


def weights_of(x_t, t):
    """The softmax over the training set, [55000]. |x_t|^2 is left out: it is the same for all."""
    alpha, sigma = plan.at(t, x_t)
    distance = alpha**2 * key_power - 2 * alpha * keys @ x_t.flatten()
    return torch.softmax(-distance / (2 * sigma**2), dim=0)


times = [1000, 985, 970, 950, 930, 910, 890, 870, 850, 825, 800, 775, 750, 725, 700, 650, 600, 550, 500, 450, 400, 350, 300]
times += [250, 200, 150, 100, 50, 10]
squares = [plan.add_noise(photo, t, eps) for t in times]
shares = [weights_of(x_t, t) for x_t, t in zip(tqdm(squares, desc="softmax over 55,000", leave=False), times)]
count = [(-(w * w.clamp(min=1e-30).log()).sum()).exp().item() for w in shares]

# %%
figure, axes = plt.subplots(1, 5, figsize=(11, 2.9), width_ratios=[1, 1, 1, 1, 1.5])
views = [axis.imshow(photo[0, 0], vmin=-1, vmax=1) for axis in axes[:4]]
for axis, name in zip(axes, ("photograph", "$x_t$, all you see", "perfect guess", "likeliest image")):
    axis.set_title(name, fontsize=13)
    axis.set_axis_off()
axes[4].semilogy(times, count, color=BLUE)
axes[4].set(xlabel="t", ylabel="images in the average", ylim=(0.8, 80_000), yticks=[1, 100, 10_000])
(dot,) = axes[4].plot([], [], "o", color=RED, markersize=10)


def draw(k):
    views[1].set_data(squares[k][0, 0].clamp(-1, 1))
    views[2].set_data((shares[k] @ keys).reshape(28, 28))
    views[3].set_data(training_set[shares[k].argmax(), 0])
    dot.set_data([times[k]], [count[k]])
    axes[4].set_title(f"{count[k]:,.0f}" if count[k] >= 10 else f"{count[k]:.1f}")


Flipbook(frames_of(figure, draw, range(len(times))), times, label="t", title="From the data's mean to one image")

# %% [markdown]
# Three things to see.
#
# 1. At $t = 1000$ the square says nothing, and the best guess is the mean of all clothes: a grey jumper-shoe.
# 2. At noise where you and I see static, the formula has already settled on footwear, and soon on a handful of images.
#    Compare with the $t$ that you noted in section 1. In 784 dimensions a little signal in each pixel is a lot of signal.
# 3. Towards $t = 0$ the average runs over *one* image, and it is **not** the photograph: it is the training image nearest
#    to it. A perfect denoiser of the training set cannot see a boot that isn't in the training set. Keep this in mind; it
#    is the puzzle of section 8.
#
# ### Rebuild 2: the perfect denoiser
#
# For any finite data set `points` [N, D], and a batch `x_t` [B, D]. It will carve in section 5.

# %%
def exact_x0(x_t, alpha, sigma, points):
    """E[x_0 | x_t] when the data are just these points [N, D]: x_t [B, D] to [B, D]."""
    raise NotImplementedError  # about three lines; torch.cdist(a, b) gives the distances [B, N]


grade.DENOISER(exact_x0)

# %% [markdown]
# ## 4. Why ask for the noise?
#
# One equation, $x_t = \alpha_t x_0 + \sigma_t \varepsilon$, two unknowns. Whoever knows one of them knows the other, so a
# network may be asked for either. **Does it matter which?** For a perfect answer it doesn't. But suppose that every answer
# is off by a fifth of the unit, whatever was asked, in every pixel. What becomes of the picture? Solve for $x_0$ and see by
# what the error is multiplied:
#
# | asked for | then | error of $x_0$, for an error of 1 |
# |---|---|---|
# | the image, $x_0$ | | $1$, at every $t$ |
# | the noise, $\varepsilon$ | $x_0 = (x_t - \sigma_t\, \varepsilon)\, /\, \alpha_t$ | $\sigma_t / \alpha_t$ |
# | a bit of each, $v = \alpha_t\, \varepsilon - \sigma_t\, x_0$ | $x_0 = \alpha_t\, x_t - \sigma_t\, v$ | $\sigma_t$ |
#
# Below, a perfect denoiser of 2,000 images is made to err by 0.2 in what it is asked for, and `Denoiser` turns its answer
# into an image. Same block, same errors. Each row is the figure that the sampler sees as it carves. Look at both ends.

# %%
few = training_set[:2000]
perfect = points_denoiser(plan, few)


def clumsy(target, error=0.2):
    """A denoiser whose answer to the question `target` is off by `error`, in every pixel and at every look."""
    hand = seeded(7)

    def net(x_t, t, cond):
        x0, eps = perfect(x_t, t)
        a, b = TARGETS[target](*plan.at(t, x_t))
        return a * x0 + b * eps + error * torch.randn(x_t.shape, generator=hand)

    return Denoiser(net, plan, target)


start = torch.randn(4, 1, 28, 28, generator=seeded(12))
carved = {}
for target in tqdm(("x0", "eps", "v"), desc="three questions", leave=False):
    carved[target] = list(sample_ddim(clumsy(target), plan, start, plan.times(40)))

# %%
looks = [2, 8, 14, 20, 26, 32, 37, 40]  # of the 40 strokes
names = {"x0": "asked for $x_0$", "eps": "asked for $\\epsilon$", "v": "asked for $v$"}
rows = {names[target]: torch.cat([steps[k].x0[:1] for k in looks]) for target, steps in carved.items()}
show_rows(rows, [f"t = {carved['v'][k].t}" for k in looks]);

# %%
figure, axis = plt.subplots(figsize=(8, 3.4))
t = torch.arange(1, 1000)
for name, error, colour in (
    ("$x_0$:  1", torch.ones(999), BLUE),
    (r"$\epsilon$:  sigma / alpha", plan.sigma[t] / plan.alpha[t], RED),
    ("$v$:  sigma", plan.sigma[t], GREEN),
):
    axis.semilogy(t, 0.2 * error, color=colour, label=name)
for target, colour in (("x0", BLUE), ("eps", RED), ("v", GREEN)):
    for step in carved[target][1:-1:3]:
        off = (step.x0 - perfect(step.x_t, step.t)[0]).square().mean().sqrt()
        axis.plot(step.t, off, "o", color=colour)
axis.set(xlabel="t", ylabel="error of the figure (rms)", ylim=(0.001, 30), title="lines: the table; dots: measured")
axis.legend();

# %% [markdown]
# Ask for the **image** and the hand that slips by a fifth leaves its grain on the finished picture: each look makes a whole
# new sculpture, to the last one. Ask for the **noise** and an error is an error *in the chip*: it is multiplied by how much
# noise there still is, and at the end there is next to none. The picture's own detail, already standing in $x_t$, passes
# through untouched, since $x_0$ is what remains after subtracting. That is why a denoiser that predicts the noise and
# subtracts it is the practical choice, and why DDPM's paper found it best.
#
# It has a price at the other end: near $t = T$ the answer is divided by an $\alpha_t$ close to 0, and the figure seen there
# is wild (top left of the red line). The mixture $v$ has both ends right, and the network that this course ships is asked
# for $v$ (Salimans & Ho 2022). In lesson 05 you will train on all of them.
#
# An honest doubt: are a network's errors of the same size whatever it is asked? They are not, quite. Lesson 05 measures
# them.
#
# ### The noise is a direction
#
# There is a second reason, and it is the deepest fact of the lesson. Let $q_t(x)$ be the density of noisy pictures at time
# $t$. The perfect answer to "which noise?" is the slope of its logarithm (Tweedie's formula):
#
# $$\hat\varepsilon(x_t, t) = -\sigma_t\, \nabla \log q_t(x_t)$$
#
# To subtract the predicted noise is to walk uphill, to where pictures are likelier. Here are fifteen points in the plane,
# as a data set; `mine` is your denoiser from above. Check the formula with autograd, then look at it.

# %%
mine = grade.DENOISER.or_library(exact_x0)
leg, slope = torch.linspace(-1.3, 1.3, 5), torch.linspace(1.3, -0.3, 4)[1:]
letter = [(-1.3, y) for y in leg] + [(1.3, y) for y in leg]
letter += [(-1.3 + 1.3 * (k + 1) / 3, y) for k, y in enumerate(slope)] + [(1.3 - 1.3 * (k + 1) / 3, y) for k, y in enumerate(slope[:2])]
points = torch.tensor(letter)  # [15, 2], the M of marble


def see_points(x_t, t, cond=None):
    """Your denoiser in the samplers' form: (x_t, t, cond) -> (x0, eps)."""
    alpha, sigma = linear.at(t, x_t)
    x0 = mine(x_t, alpha, sigma, points)
    return x0, (x_t - alpha * x0) / sigma


def log_density(x, t):
    """log q_t(x) of the noisy points, up to a constant: x [B, 2] to [B]."""
    alpha, sigma = linear.at(t, x)
    return torch.logsumexp(-torch.cdist(x, alpha * points).square() / (2 * sigma**2), dim=1)


x = torch.randn(1000, 2, generator=seeded(3)).requires_grad_()
for t in (100, 400, 900):
    (uphill,) = torch.autograd.grad(log_density(x, t).sum(), x)
    difference = (see_points(x, t)[1] + linear.sigma[t] * uphill).abs().max()
    print(f"t = {t}: largest difference of the two sides {difference:.0e}")

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 4))
ticks = torch.linspace(-2.6, 2.6, 131)  # a map of the plane
plane = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1)  # [131, 131, 2]
arrows = plane[5::10, 5::10].reshape(-1, 2)
for axis, t in zip(axes, (700, 300, 100)):
    height = log_density(plane.reshape(-1, 2), t).reshape(131, 131)
    axis.contourf(ticks, ticks, (height - height.max()).clamp(min=-12), 14, cmap="Blues")
    noise = see_points(arrows, t)[1].detach()
    axis.quiver(*arrows.T, *(-noise.T), color="black", scale=45, width=0.005)
    axis.plot(*(linear.alpha[t] * points).T, "*", color=ORANGE, markersize=11, markeredgecolor="black")
    axis.set(title=f"t = {t}", aspect="equal")
    axis.set_axis_off()

# %% [markdown]
# Stars: the data, shrunk by $\alpha_t$. Blue: where noisy points are likely. Arrows: minus the predicted noise. In heavy
# noise all arrows agree, and point to the middle of the data; as the noise thins, each region is drawn to a point of its
# own. That is carving: first the mass, then the limbs.
#
# ## 5. Carving
#
# **How does one square become the next?** Look, and see $\hat x_0$ and $\hat\varepsilon$. Then put the same two together
# again, for a time $s$ with a little less noise:
#
# $$x_s = \alpha_s\, \hat x_0 + \sigma_s\, \hat\varepsilon$$
#
# Then look again. No new noise comes in, so the block decides everything. This is DDIM (Song et al. 2021).
#
# ### Rebuild 3: carve

# %%
def carve(denoise, schedule, x, times):
    """Carve x [B, ...] through the decreasing times: all states, the block first, stacked [len(times), B, ...].

    denoise(x, t) gives (x0, eps); schedule.at(t, x) gives (alpha, sigma).
    """
    raise NotImplementedError  # a loop over pairs (t, s) of neighbouring times; about six lines


grade.CARVE(carve)

# %% [markdown]
# Your sampler, your denoiser, no network: 300 blocks of two random numbers each (dots). The background answers for *every*
# block where it would end: it has the colour of the star that your loop carves it to. Before you drag, look at the first
# frame: the noise is already divided into territories, one for each star. Then drag, and try to catch a dot crossing a
# border.

# %%
carve_mine = grade.CARVE.or_library(carve)
blocks = torch.randn(300, 2, generator=seeded(8))
times = linear.times(50)
path = carve_mine(see_points, linear, blocks, times)  # [51, 300, 2]

ticks = torch.linspace(-2.7, 2.7, 136)
plane = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(-1, 2)
shades = np.array([plt.matplotlib.colors.to_rgb(c) for c in PALETTE])[[0, 3, 2, 4, 1, 3, 1, 5, 0, 2, 3, 2, 5, 0, 1]]


def territories(k):
    """For each place of the plane at times[k], the colour of the star that it is carved to: [136, 136, 3]."""
    end = carve_mine(see_points, linear, plane, times[k:])[-1]
    return shades[torch.cdist(end, points).argmin(1)].reshape(136, 136, 3)


# %%
keep = [0, 6, 12, 16, 20, 23, *range(26, 50)]
figure, axis = plt.subplots(figsize=(5.4, 5.4))
ground = axis.imshow(np.ones((136, 136, 3)), origin="lower", extent=(-2.7, 2.7, -2.7, 2.7), alpha=0.55)
dots = axis.scatter(*path[0].T, c="black", s=9, linewidths=0)
(stars,) = axis.plot(*points.T, "*", color="white", markersize=13, markeredgecolor="black")
axis.set(xlim=(-2.7, 2.7), ylim=(-2.7, 2.7))
axis.set_axis_off()


def draw(k):
    ground.set_data(territories(k))
    dots.set_offsets(path[k])
    stars.set_data(*(linear.alpha[times[k]] * points).T)
    axis.set_title(f"t = {times[k]}")


Flipbook(frames_of(figure, draw, keep), [times[k] for k in keep], label="t", title="Carving an M out of noise")

# %% [markdown]
# No dot changes territory. Each step moves all of the plane, smoothly, and the borders move along. So where a block ends was
# settled before the first stroke: **the sculpture is in the block**, and carving only finds out which. (With fresh noise in
# each step, dots do cross: see below.)
#
# The library's DDIM is your loop, with one dial more. `eta` swaps some of the old noise for fresh noise; at 1 it is DDPM,
# the sampler of section 2's small Gaussian steps.

# %% src="course_lib/diffusion/samplers.py::sample_ddim"
@torch.no_grad()
def sample_ddim(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    cond=None,
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """DDIM (Song et al. 2021, eq. 12): eta 0 adds no noise, eta 1 is DDPM with the small variance."""
    for t, s in zip(times[:-1], times[1:], strict=True):
        x0, eps = denoise(x, t, cond)
        yield Step(t, x, x0, eps)
        alpha, sigma = schedule.at(s, x)
        fresh = eta * _posterior(schedule, t, s)[2] ** 0.5  # std of the noise added anew
        x = alpha * x0 + (sigma**2 - fresh**2).clamp(min=0).sqrt() * eps
        if fresh > 0:
            x = x + fresh * _noise(x, generator)
    yield Step(times[-1], x, x, eps)

# %% [markdown]
# **One step or many?** Above, every stroke was small. Now give DDIM few: 1, 2, 5, 20. In each panel the same 300 blocks.
# And **a steady hand or a shaking one?** The last two panels follow four blocks (black) through 100 strokes, without fresh noise
# (DDIM) and with (DDPM).

# %%
figure, axes = plt.subplots(2, 3, figsize=(10, 6.6))
for axis, calls in zip(axes.flat, (1, 2, 5, 20)):
    end = final(sample_ddim(see_points, linear, blocks, linear.times(calls)))
    axis.scatter(*end.T, color=BLUE, s=10, alpha=0.6, linewidths=0)
    axis.set_title(f"DDIM, {calls} stroke" + "s" * (calls > 1))
for axis, sampler, options in ((axes[1, 1], sample_ddim, {}), (axes[1, 2], sample_ddpm, {"generator": seeded(0)})):
    run = torch.stack([step.x_t for step in sampler(see_points, linear, blocks[:4], linear.times(100), **options)])
    axis.plot(*run.permute(2, 0, 1), linewidth=1.2)
    axis.plot(*blocks[:4].T, "o", color="black", markersize=5)
    axis.set_title("DDIM, four paths" if sampler is sample_ddim else "DDPM, the same blocks")
for axis in axes.flat:
    axis.plot(*points.T, "*", color=ORANGE, markersize=9, markeredgecolor="black", markeredgewidth=0.5, zorder=0)
    axis.set(xlim=(-2.7, 2.7), ylim=(-2.7, 2.7), aspect="equal")
    axis.set_axis_off()

# %% [markdown]
# One stroke takes every block to the mean of the data: the best single guess is nobody's picture. With more strokes the
# guess is corrected on the way. DDIM's paths are smooth and could be walked backwards; DDPM's shake, and the same block
# may end elsewhere each time. Both are right in the same sense: **the crowd** of ends has the data's law. Count it: each of
# the fifteen stars should get a fifteenth.

# %%
n = 15_000
error = math.sqrt(n * 1 / 15 * 14 / 15)  # standard deviation of one star's count
for name, sampler, options in (("DDIM", sample_ddim, {}), ("DDPM", sample_ddpm, {"generator": seeded(1)})):
    start = torch.randn(n, 2, generator=seeded(2))
    runs = sampler(see_points, linear, start, linear.times(250), **options)
    *_, last = tqdm(runs, total=251, desc=name, leave=False)
    hits = torch.cdist(last.x_t, points).argmin(1).bincount(minlength=15)
    far = (torch.cdist(last.x_t, points).min(1).values > 0.05).sum()
    print(f"{name}: from {hits.min()} to {hits.max()} dots a star, expected 1000 +- {error:.0f}; {far} dots beside a star")

# %% [markdown]
# **Break it.** In `carve`, put `s` for `t` in the call of `denoise`, as if the clock were one step ahead (a real bug in two
# well-known tutorials). What is left on the points at the end?
#
# ## 6. When the carving goes wrong
#
# **Which line is broken?** Eight clouds from one sampler, DDPM in 25 steps with an exact denoiser of five round modes (grey
# circles, two standard deviations). One is right. The seven others have one wrong line each, and each of these lines has
# been published in somebody's code. Under a cloud stand five of its moments, scaled so that a right sampler has about 0 or
# 1: its mean, its spread, the width of its modes, the correlation of the two coordinates, and the share of the centre.

# %%
clouds = grade.gallery()
figure, axes = plt.subplots(2, 4, figsize=(12, 7.4))
for axis, (letter, cloud) in zip(axes.flat, clouds.items()):
    for centre in grade.MODES:
        axis.add_patch(plt.Circle(centre, 2 * grade.MODE_STD, color=GREY, alpha=0.35, linewidth=0))
    axis.scatter(*cloud.T, s=4, color=BLUE, alpha=0.5, linewidths=0)
    axis.set(xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), xticks=[], yticks=[], aspect="equal", title=letter)
    m = grade.moments(cloud)
    text = f"mean {m['mean']:.2f}, spread {m['spread']:.2f}, width {m['mode width']:.2f}\n"
    axis.set_xlabel(text + f"correlation {m['correlation']:.2f}, centre {m['centre']:.2f}", fontsize=11)

# %%
for number, bug in grade.BUGS.items():
    print(number, bug.line)

# %% [markdown]
# ### The quiz: give each letter the number of its line

# %%
answers = {"A": ..., "B": ..., "C": ..., "D": ..., "E": ..., "F": ..., "G": ..., "H": ...}

grade.GALLERY(answers)

# %% [markdown]
# Two lessons for life. A sampler is debugged on data whose answer is known, before any network exists: with a network, every
# one of these clouds would have passed as "needs more training". And one picture isn't enough: compare B with D by eye, then
# by the width of their modes.
#
# ### The block that wasn't blank
#
# Gallery bug 5 deserves a closer look, since it hides in famous places. **The sampler starts from pure noise. Does the
# forward process end there?** DDPM's betas were made for $T = 1000$. Keep them, but take only $T = 50$ steps, as many toy
# repositories do, and $\alpha_T$ is far from 0: real pictures at time $T$ still carry signal, and a block of pure noise looks
# to the denoiser like a picture that is known to be *grey*.
#
# For data $\mathcal N(m, 1)$ this can be solved. The mean of what comes out, whatever the number of steps, is
#
# $$\text{DDIM: } m\,(1 - \alpha_T) \qquad\qquad \text{DDPM: } m\,(1 - \alpha_T^2)$$
#
# The lines are the formulas, the dots 20,000 samples each.

# %%
m, n, dice = 3.0, 20_000, seeded(5)
lengths = [20, 35, 50, 75, 100, 150, 200, 300, 500, 1000]
found = {"DDIM": [], "DDPM": []}
for T in tqdm(lengths, desc="schedules", leave=False):
    short = Schedule.linear(T)
    denoise = gaussian_denoiser(short, m, 1.0)
    block = torch.randn(n, 1, generator=dice)
    found["DDIM"].append(final(sample_ddim(denoise, short, block, short.times(T))).mean() / m)
    found["DDPM"].append(final(sample_ddpm(denoise, short, block, short.times(T), variance="large", generator=dice)).mean() / m)
signal = torch.stack([Schedule.linear(T).alpha[-1] for T in lengths])

figure, axis = plt.subplots(figsize=(8, 3.2))
for (name, dots), theory, colour in zip(found.items(), (1 - signal, 1 - signal**2), (BLUE, RED)):
    axis.semilogx(lengths, theory, color=colour, label=name)
    axis.plot(lengths, dots, "o", color=colour)
axis.set(xlabel="T, with the betas of T = 1000", ylabel="mean reached / true mean", ylim=(0, 1.05))
axis.set_xticks(lengths[::3], lengths[::3])
axis.legend()
print(f"T = 50: DDIM reaches {1 - signal[2]:.3f} of the mean, DDPM {1 - signal[2] ** 2:.3f}")

# %% [markdown]
# The cure is one of: betas raised by $1000 / T$, or a schedule that ends at $\alpha_T = 0$ (cosine, flow), or all 1000 times
# with few of them visited (`schedule.times(50)`).
#
# And the famous place? Stable Diffusion's schedule, read from its published configuration:

# %%
stable = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2  # its 1000 betas
print(f"alpha_T of Stable Diffusion 1: {(1 - stable).prod().sqrt():.4f}; of our net: {plan.alpha[-1]:.4f}")

# %% [markdown]
# Seven hundredths of the picture are left in the training images at $t = T$, most of it the overall brightness. So the model
# learnt that blocks tell how bright the picture will be, and since a block of pure noise is of medium brightness, it made
# pictures of medium brightness: no night, no snow (Lin et al. 2024, *Common diffusion noise schedules and sample steps are
# flawed*).
#
# ## 7. How many strokes?
#
# **What do we lose with few steps?** Two things, and each has a closed form.
#
# ### The shaking hand: how much fresh noise?
#
# DDPM adds noise in each step. Section 2 gave two candidates for its variance: `small` ($\tilde\beta$) and `large` ($\beta$).
# The paper says that they give similar results. With a thousand steps they do; with ten? Take data $\mathcal N(0, \text{std}^2)$,
# whose spread must come out again. Every step multiplies the spread by something and adds something, so that no sampling is
# needed: the recursion below is exact. **Turn the dial** from `small` to `large`.

# %%
def spread_at_the_end(std, variance_of, calls=10):
    """The sampler's spread over the true one for data Normal(0, std^2), in closed form."""
    times, variance = linear.times(calls), 1.0
    for t, s in zip(times[:-1], times[1:]):
        c_t, c_0, _, _ = _posterior(linear, t, s)
        alpha, sigma = linear.alpha[t].item(), linear.sigma[t].item()
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)  # x_0 seen = gain * x_t
        variance = (c_t + c_0 * gain) ** 2 * variance + variance_of(t, s)
    return math.sqrt(variance) / std


def dial(r):
    """A fresh-noise variance between `small` (r = 0) and `large` (r = 1)."""
    return lambda t, s: (1 - r) * _posterior(linear, t, s)[2] + r * _posterior(linear, t, s)[3]


# %%
turns = np.linspace(0, 1, 21)
kinds = {0.2: RED, 0.5: ORANGE, 1.0: BLUE}
ratio = {std: [spread_at_the_end(std, dial(r)) for r in turns] for std in kinds}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.1), width_ratios=[1, 1, 1, 1.3])
out = []
for axis, (std, colour) in zip(axes, kinds.items()):
    axis.fill_between(grid, normal(grid * std * 1.5, 0, std), color="#cccccc", linewidth=0)
    out += axis.plot(grid, normal(grid * std * 1.5, 0, std), color=colour)
    axis.set(yticks=[], xticks=[-2, 0, 2], xlabel="x / std", ylim=(0, 1.05 / std))
    axes[3].plot(turns, ratio[std], color=colour, label=f"std {std}")
axes[3].axhline(1, color=GREY, linestyle=":")
axes[3].set(xlabel="dial: small ... large", ylabel="spread / true spread")
axes[3].legend(fontsize=10, loc="upper left")
line = axes[3].axvline(0, color="black", linewidth=1)


def draw(k):
    for axis, curve, std in zip(axes, out, kinds):
        curve.set_ydata(normal(grid * std, 0, std * ratio[std][k]))
        axis.collections[0].set_paths([np.column_stack([grid, normal(grid * std, 0, std)])])
        axis.set_title(f"std {std}: spread x {ratio[std][k]:.2f}", fontsize=12)
    line.set_xdata([turns[k], turns[k]])


Flipbook(frames_of(figure, draw, range(21)), [f"{r:.2f}" for r in turns], label="dial", title="Fresh noise, ten steps")

# %% [markdown]
# For data of spread 1 `large` is exact; for data that sit on a point `small` is; for anything else neither, and the right
# place of the dial depends on the data. No wonder that later papers *learn* the variance (Nichol & Dhariwal 2021) or compute
# it (Bao et al. 2022).
#
# ### Rebuild 4: the right variance
#
# What is it exactly? $x_s$ is uncertain for two reasons: even if $x_0$ were known there would be `small`, and $x_0$ is *not*
# known, and enters with the factor $c_0$. The law of total variance adds them up:
#
# $$\operatorname{Var}[x_s \mid x_t] = \texttt{small} + c_0^2 \operatorname{Var}[x_0 \mid x_t], \qquad
# \operatorname{Var}[x_0 \mid x_t] = \frac{\text{std}^2\, \sigma_t^2}{\alpha_t^2\, \text{std}^2 + \sigma_t^2}\ \text{ for our Normal data.}$$

# %%
def right_variance(schedule, t, s, std):
    """Var[x_s | x_t] for data Normal(0, std^2): a number."""
    c_t, c_0, small, large = _posterior(schedule, t, s)
    alpha, sigma = schedule.alpha[t].item(), schedule.sigma[t].item()
    raise NotImplementedError  # two lines


grade.VARIANCE(right_variance)

# %% [markdown]
# Yours goes into the recursion, and into a sampler: 20,000 samples in ten steps of DDPM, for each of the three data sets. The
# last column should be 1.00 in every line, and so it should be in as few as two steps.

# %%
mine = grade.VARIANCE.or_library(right_variance)
n, dice = 20_000, seeded(9)
print(f"spread over true spread, ten steps; sampled with n = {n:,}, standard error {1 / math.sqrt(2 * n):.3f}")
print("std   small  large  yours  yours, sampled")
for std in kinds:
    x, times = torch.randn(n, generator=dice), linear.times(10)
    denoise = gaussian_denoiser(linear, 0.0, std)
    for t, s in zip(times[:-1], times[1:]):
        c_t, c_0, _, _ = _posterior(linear, t, s)
        x = c_t * x + c_0 * denoise(x, t)[0] + mine(linear, t, s, std) ** 0.5 * torch.randn(n, generator=dice)
    closed = [spread_at_the_end(std, rule) for rule in (dial(0), dial(1), lambda t, s, std=std: mine(linear, t, s, std))]
    print(f"{std}   {closed[0]:5.2f}  {closed[1]:5.2f}  {closed[2]:5.2f}  {x.std() / std:8.3f}")

# %% [markdown]
# (A detail: here fresh noise is added in the last step too, as the exact answer wants. The library's samplers leave it out,
# which for small last steps is nearly the same, and is what one wants of pictures: the denoiser's mean has less grain.)
#
# ### The steady hand: how bent is the path?
#
# DDIM adds no noise, so it has no variance to get wrong. Its error is of another kind: it walks a curved path in straight
# strokes. **How fast does the error fall with the number of strokes?** For Normal data the end of the exact path is known,
# $x_0 = m + \text{std}\,(x_T - \alpha_T m) / \sqrt{\alpha_T^2\, \text{std}^2 + \sigma_T^2}$, so the error can be measured to the
# last digit.
#
# An old idea from the numerics of planets and springs: take the stroke, **look again where it ended**, and redo it with the
# mean of the two looks (Heun 1900; for diffusion Karras et al. 2022). From $t$ to $s$, with looks $(\hat x_0, \hat\varepsilon)$
# at the start and $(\hat x_0', \hat\varepsilon')$ at the end:
#
# $$x_s = x_t + (\alpha_s - \alpha_t)\,\frac{\hat x_0 + \hat x_0'}{2} + (\sigma_s - \sigma_t)\,\frac{\hat\varepsilon + \hat\varepsilon'}{2}$$
#
# ### Rebuild 5: a second look

# %%
def carve_heun(denoise, schedule, x, times):
    """As `carve`, with a second look at the end of each stroke; the stroke to time 0 has one look, as in DDIM."""
    raise NotImplementedError  # `carve`, and about four lines more


grade.HEUN(carve_heun)

# %%
heun_mine = grade.HEUN.or_library(carve_heun)
straight, m, std = Schedule.flow(), 0.5, 0.4
denoise = gaussian_denoiser(straight, m, std)
x = torch.randn(256, 1, generator=seeded(6), dtype=torch.float64)
exact = m + std * (x - straight.alpha[-1] * m) / (straight.alpha[-1] ** 2 * std**2 + straight.sigma[-1] ** 2).sqrt()

strokes = [4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for name, run, looks, colour in (("DDIM", carve_mine, 1, BLUE), ("Heun", heun_mine, 2, RED)):
    error = [(run(denoise, straight, x, straight.times(k))[-1] - exact).abs().max().item() for k in strokes]
    slope = np.polyfit(np.log(strokes[4:]), np.log(error[4:]), 1)[0]
    left.loglog(strokes, error, "o-", color=colour, label=f"{name}: slope {slope:.2f}")
    right.loglog(looks * np.array(strokes) - (looks - 1), error, "o-", color=colour, label=name)
    print(f"{name}: the error falls as strokes to the power of {slope:.1f}")  # NBVAL_CHECK_OUTPUT
left.set(xlabel="strokes", ylabel="largest error", title="your two samplers")
right.set(xlabel="looks (calls of the denoiser)", title="the same, at equal cost")
left.legend()
right.legend();

# %% [markdown]
# Twice the strokes: half the error for DDIM, a quarter for Heun. On the right the price is counted in looks, which is what a
# network makes you pay for. The lines still cross early, at a handful of looks.
#
# **Break it.** Put `Schedule.linear()` for `straight`. Heun's slope falls well below 2. Why? Hint: draw `linear.sigma` for the
# first twenty times, and think of the slope of $\sqrt{t}$ at 0. Orders of accuracy are promises about *smooth* paths.
#
# ## 8. The network
#
# Everything so far was exact. The network is a stand-in for the sum over 55,000 images: a function with a few million numbers
# that was trained to answer the same question. The samplers don't notice the difference; they never ask who is looking.
#
# **Drag.** Ten blocks, ten labels, your loop's library twin, 30 strokes. Left the block, then the figure that the network
# sees in it, then the noise. Pick one image and step with the arrow keys. Look for the moment at which it stops being
# "some shoe" and becomes *this* shoe, and compare it with the moment in section 3.

# %%
blocks = torch.randn(10, 1, 28, 28, generator=seeded(20))
labels = torch.arange(10)
with autocast(device):
    runner = sample_ddim(see, plan, blocks.to(device), plan.times(30), labels.to(device))
    steps = list(tqdm(runner, total=31, desc="carving", leave=False))
Scrubber(steps, plan, titles=list(CLASSES), columns=5)

# %% [markdown]
# And *your* loop? It knew only points in the plane when you wrote it. The same lines, on the network:

# %%
def see_class(x_t, t):
    """The network as your loop calls it: a denoiser with its labels fixed."""
    return see(x_t, t, labels.to(device))


with autocast(device):
    yours = carve_mine(see_class, plan, blocks.to(device), plan.times(30))[-1]
print(f"largest difference to the library's pictures: {(yours - steps[-1].x_t).abs().max().item():.0e}")
show_images(yours.cpu(), columns=10, size=1.2);

# %% [markdown]
# ### Is the figure really in the block?
#
# DDIM adds nothing, so its path can be walked backwards: from a photograph *into* the block that holds it. Walk up with your
# own loop (increasing times), look at the block, and carve it again. Then carve the same block under another label.

# %%
see_all = ddpm_fashion.denoiser(net)  # without the clipping to [-1, 1], which can't be undone
own = torch.tensor([9, 8, 2, 3, 5], device=device)
times = plan.times(60)
up = [1, *reversed(times[:-1])]  # 1 ... T; at t = 0 there is no noise to see


def carve_as(cond, x, times):
    """Your loop on the network, with a fixed label for each image."""
    with autocast(device):
        return carve_mine(lambda x_t, t: see_all(x_t, t, cond), plan, x.to(device), tqdm(times, leave=False))


hidden = carve_as(own, x_0, up)[-1]
again = carve_as(own, hidden, times)[-1]
other = carve_as(torch.full_like(own, 6), hidden, times)[-1]  # 6: shirt
show_rows(
    {"photograph": x_0, "its block": hidden.cpu() / 2, "carved again": again.cpu(), "same block,\nlabel: shirt": other.cpu()}
)
print(f"mean and spread of the five blocks: {hidden.mean().item():.2f}, {hidden.std().item():.2f} (pure noise: 0, 1)")

# %% [markdown]
# The second row looks like any noise, but each of these squares *is* its photograph, for anyone who knows how to carve. The
# label is part of the knowledge: the same block under another label is another sculpture.
#
# ### The puzzle: why isn't the network perfect, and why is that good?
#
# Section 3's perfect denoiser of the training set saw one training image in every nearly clean square. **Sample it, and what
# comes out?** And what comes out of our network, which was trained to imitate it? For every picture we look up the nearest of
# all 55,000 training images. A fair comparison needs a third group: photographs of the test set, which are new for certain.

# %%
n = 64
memory = points_denoiser(plan, training_set)
block = torch.randn(n, 1, 28, 28, generator=seeded(30))
*_, last = tqdm(sample_ddim(memory, plan, block, plan.times(16)), total=17, desc="the perfect denoiser", leave=False)
groups = {"perfect denoiser": last.x_t}
groups["our network"] = torch.cat(
    [ddpm_fashion.generate("ddpm-fashion", 32, 20, seed=k, net=net)[0] for k in tqdm(range(4), desc="our network", leave=False)]
)
groups["test photographs"] = to_float(test_images[:1000])

nearest = {}
for name, pictures in groups.items():
    distance = torch.cdist(pictures.flatten(1), keys)  # [B, 55000]
    nearest[name] = distance.min(dim=1)
    rms = nearest[name].values / 28  # per pixel
    copies = (rms < 0.02).sum().item()
    print(f"{name}: {copies} of {len(rms)} are copies (within 0.02 a pixel); median distance {rms.median():.3f}")

# %%
figure, axes = plt.subplots(2, 3, figsize=(11, 4.6), height_ratios=[1, 1])
for column, (name, colour) in enumerate(zip(groups, (RED, BLUE, GREY))):
    pairs = torch.stack([groups[name][:8], training_set[nearest[name].indices[:8]]]).flatten(0, 1)
    axes[0, column].imshow(tile(pairs, 8), vmin=0, vmax=1)
    axes[0, column].set_axis_off()
    axes[0, column].set_title(name)
    axes[1, column].hist(nearest[name].values / 28, bins=40, range=(0, 0.5), color=colour)
    axes[1, column].set(yticks=[], xlabel="distance to the nearest training image")
axes[1, 0].set_ylabel("pictures");

# %% [markdown]
# Upper row: pictures, and under each its nearest training image. The perfect denoiser copies: everything it makes is a
# training image, to the last grey level. It has the lowest training loss that any network could reach, and it is a search
# engine. The network makes no copies, and its pictures are about as far from the training set as new photographs are. (No
# copy among 128 bounds the rate at about 3 / 128, or 2.3 %, with 95 % confidence; it doesn't prove that there are none.)
#
# So generalisation is the network's *failure* to reach the minimum of its own loss, and a failure in the right direction: with
# a few million numbers, convolutions, and a limited time it learns what images have in common before it learns them by heart.
# What exactly makes that direction right is a question of current research (Kadkhodaie et al. 2024; Kamb & Ganguli 2024).
#
# ## What you have learnt
#
# | question | answer | where |
# |---|---|---|
# | How do you get to time $t$? | one jump, $x_t = \alpha_t x_0 + \sigma_t \varepsilon$, equal in law to $t$ small steps | 1 |
# | Why many steps back? | only a small step's past is a Normal; its mean needs $\mathbb E[x_0 \mid x_t]$, nothing else | 2 |
# | What is a perfect denoiser? | a softmax over the data; it ends on a training image | 3, 8 |
# | Why ask for the noise? | its error shrinks with the noise; it points uphill | 4 |
# | How do you carve? | look, put together at a lower noise level, look again | 5 |
# | How do you debug it? | on exact data, with moments | 6 |
# | What do few steps cost? | the variance of fresh noise (DDPM), the bend of the path (DDIM 1st order, Heun 2nd) | 7 |
# | Why are the pictures new? | because the network isn't perfect, in the right way | 8 |
#
# ## Compared with others
#
# *The annotated diffusion model* (Rogge & Rasul), *fastai's* part 2 and *MIT's 6.S184* labs were read beside this lesson.
#
# - **Where this page goes further**: samplers are tried on exact denoisers before any network; each exercise is graded, with
#   hints; the terminal signal, the variance of the steps and the order of the samplers are measured against closed forms;
#   copies are counted. Everything runs on a laptop without a download.
# - **Where not yet**: the annotated model and fastai build and train the U-Net on the page (here: lesson 05, and the net's own
#   code in `course_lib/models/unet.py`); fastai goes on to faces and to Stable Diffusion, in colour and at size; MIT derives
#   the continuous time theory (SDEs, the Fokker-Planck equation, flow matching) of which this page shows only the discrete
#   shadow.
#
# ## What to read next
#
# - Ho, Jain & Abbeel 2020, *Denoising diffusion probabilistic models*: sections 2 and 3 are sections 1, 2 and 4 of this page.
# - Song, Meng & Ermon 2021, *Denoising diffusion implicit models*: why no fresh noise is needed.
# - Karras et al. 2022, *Elucidating the design space*: the samplers as numerics, with the choices laid out.
# - Dieleman 2023, *Perspectives on diffusion*: eight ways to see the same thing.
#
# Next, **[05_noise_predictor](05_noise_predictor.ipynb)**: where the network comes from. You will train one in less than a
# minute, and find out where zero is for its loss.
