# %% [markdown]
# # 04. The sculpture in the marble
#
# *The best of artists has no thought that a single block of marble does not hold within its excess; and only the hand that obeys
# the mind reaches it.* (Michelangelo Buonarroti, sonnet 151, to Vittoria Colonna)
#
# In this lesson the sentence is meant literally. The block is a square of random numbers, pure noise; the figure is a picture
# of a shoe; what does not belong to the figure is the noise; and carving is what the field calls *sampling*. You can then
#
# - jump from a picture to any noise level in one line, and show that this is the same as a thousand small steps,
# - say what a *perfect* denoiser answers, the conditional expectation, write it in a few lines, and sample with it, without any
#   network,
# - say why a network is asked for the noise and not for the picture, and where that choice hurts,
# - write a sampler, DDIM, and test it on data whose answer is known,
# - recognise seven bugs by their picture and by five numbers,
# - say why a network that had learnt everything would be useless, and count whether ours has.
#
# Nothing is trained here: that is lesson 05. Reading, running, three stubs and a quiz take about an hour; with what there is to
# drag and to break, about 90 minutes. What you write runs on in the cells after it; for a stub that you skip, or that is still
# wrong, the library's version runs there. Solutions: `course_lib/exercises/*_04.py`. Each **Break it** has its answer
# folded up below it, and cells that only draw are folded. Whoever wants to know what few steps cost, the variance of fresh
# noise, and samplers of second order, goes on to [further/04_variances_and_orders](further/04_variances_and_orders.ipynb).

# %%
import math
from collections.abc import Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgb
from torch import Tensor
from tqdm.auto import tqdm

from course_lib import TARGETS, Denoiser, Schedule, Scrubber, autocast, clipped, final
from course_lib import load_denoiser, points_denoiser, sample_ddim, sample_ddpm
from course_lib.data import CLASSES, fashion_mnist, to_float
from course_lib.diffusion import Denoise, posterior
from course_lib.diffusion.samplers import Step, in_float32, strides  # for shown pieces
from course_lib.draws import Draws, Noise
from course_lib.errors import CourseError
from course_lib.exercises import lesson_04 as grade
from course_lib.recipes import maker
from course_lib.widgets.flipbook import Flipbook
from course_lib.widgets.plots import BLUE, GREEN, GREY, ORANGE, PALETTE, RED
from course_lib.widgets.plots import frames_of, show_images, show_rows, tile, use_style

use_style()
shipped = load_denoiser("ddpm-fashion")
net = shipped.net
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
# network sees in the noise. Look how early it sees one.

# %%
plan = shipped.schedule
see = clipped(shipped, plan)
start = torch.randn(1, 1, 28, 28, generator=seeded(4)).to(device)
boot = torch.tensor([9], device=device)
with autocast(device):
    steps = list(sample_ddim(see, plan, start, plan.times(16), boot))

shown = steps[::2]
rows = {
    "noisy picture\n$x_t$": torch.cat([step.x_t for step in shown]),
    "what doesn't belong\n$\\epsilon$": torch.cat([step.eps for step in shown]) / 3,
    "the figure in it\n$x_0$": torch.cat([step.x0 for step in shown]),
}
rows = {name: row.cpu() for name, row in rows.items()}
show_rows(rows, [f"t = {step.t}" for step in shown]);

# %% [markdown]
# What is the noise schedule that $t$ counts on (section 1)? Can a step of noise be undone at all (2)? What is the right answer to
# the network's question (3)? Why ask for the noise (4)? How does one square become the next (5), and how does it go wrong (6)?
# And is the boot new (7)?
#
# ## 1. Into the block: the forward process
#
# **How much noise hides a picture?** Five photographs that no network of ours has trained on. Drag from 0 to 1000, and
# remember the $t$ at which you could no longer tell the boot from the bag. We will come back to your number.

# %%
test_images, test_labels = fashion_mnist("test")
picked = [int(np.flatnonzero(test_labels == k)[0]) for k in (9, 8, 2, 3, 5)]
x_0 = to_float(test_images[picked])  # [5, 1, 28, 28] in [-1, 1]
eps = torch.randn(x_0.shape, generator=seeded(0))

times = list(range(0, 1001, 50))
sheets = [np.uint8(255 * tile(plan.add_noise(x_0, t, eps), 5)) for t in times]
frames = [sheet.repeat(4, 0).repeat(4, 1) for sheet in sheets]
words = "{:.2f} of the image, and noise of strength {:.2f}"
notes = [words.format(plan.alpha[t], plan.sigma[t]) for t in times]
Flipbook(frames, times, label="t", title="One jump to time t", notes=notes)

# %% [markdown]
# Each frame is one line of arithmetic, the most important one of the lesson:
#
# $$x_t = \alpha_t\, x_0 + \sigma_t\, \varepsilon, \qquad \varepsilon \sim \mathcal N(0, 1)\ \text{in each pixel}$$
#
# `Schedule.add_noise` is exactly that:

# %% src="course_lib/diffusion/schedule.py::Schedule.add_noise"
# course_lib/diffusion/schedule.py::Schedule.add_noise
def add_noise(self, x0: Tensor, t: int | Tensor, eps: Tensor) -> Tensor:
    """Jump from the clean image to time t: x0 and eps [B, ...], t an int or an int tensor
    [B], to x_t [B, ...].
    """
    alpha, sigma = self.at(t, x0)
    return alpha * x0 + sigma * eps

# %% [markdown]
# ### Where do alpha and sigma come from?
#
# From something humbler, in the first diffusion models. One *small step* shrinks the picture a little and adds a pinch of fresh noise $z$, so little
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
# (DDPM's paper writes $\bar\alpha_t$ for our $\alpha_t^2$, and $\alpha_t$ for one step's $1 - \beta_t$.)
#
# ### Rebuild 1: from a thousand steps to one jump

# %%
def signal_and_noise(beta):
    """beta [T], the small steps' variances, to alpha and sigma of the jumps, stacked:
    [2, T + 1]; index 0 is clean."""
    # about three lines; torch.cumprod, torch.cat and torch.stack may help
    raise NotImplementedError


grade.SCHEDULE(signal_and_noise)

# %% [markdown]
# Yours makes the left curves below: DDPM's schedule, `linear`, named after its betas. On the right is how three schedules
# spend their time, as log of signal power over noise power, $\log \alpha_t^2 / \sigma_t^2$. `cosine` is the one that our network
# was trained on and that you have just dragged. Compare the right ends: which schedule stops before the signal is gone?

# %%
my_jump = grade.SCHEDULE.or_library(signal_and_noise)
beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)  # Ho et al. 2020
linear = Schedule(*my_jump(beta))  # from here on, yours

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2))
left.plot(linear.alpha, color=BLUE, label="alpha")
left.plot(linear.sigma, color=RED, label="sigma")
left.set(xlabel="t", ylabel="factor", title="linear, from 1000 betas", yticks=[0, 0.5, 1])
kinds = ("linear", linear, "-"), ("cosine", plan, "--"), ("flow", Schedule.flow(), ":")
for name, schedule, style in kinds:
    right.plot(range(1, 1000), schedule.log_snr[1:-1], style, color="black", label=name)
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
def normal(x, mean, std):
    """The density of a Normal."""
    return torch.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


def two_points(x, t):
    """The density of the jump to t when x_0 is -1 or +1, evenly."""
    return (
        normal(x, linear.alpha[t], linear.sigma[t])
        + normal(x, -linear.alpha[t], linear.sigma[t])
    ) / 2


# %%
n = 20_000
dice = seeded(1)
x = torch.where(torch.rand(n, generator=dice) < 0.5, -1.0, 1.0)
walk = [x]
for b in tqdm(beta.float(), desc="1000 small steps", leave=False):
    x = (1 - b).sqrt() * x + b.sqrt() * torch.randn(n, generator=dice)
    walk.append(x)
walk = torch.stack(walk)  # [1001, n]

# %% jupyter={"source_hidden": true}
grid = torch.linspace(-3, 3, 301, dtype=torch.float64)
density = torch.stack([two_points(grid, t) for t in range(5, 1001, 5)], 1)
figure = plt.figure(figsize=(9, 3.8))
parts = figure.add_gridspec(3, 2, width_ratios=[1.7, 1])
left = figure.add_subplot(parts[:, 0])
left.imshow(
    density**0.5,
    origin="lower",
    extent=(5, 1000, -3, 3),
    aspect="auto",
    cmap="Blues",
    vmax=1.1,
)
left.plot(walk[:, :6], color="black", linewidth=0.7, alpha=0.8)
left.set(xlim=(0, 1000), ylim=(-3, 3), xlabel="t (small steps)", ylabel="x")
left.set_title("six walks on the density of the jump")
for row, t in enumerate((60, 250, 1000)):
    axis = figure.add_subplot(parts[row, 1])
    axis.hist(walk[t], bins=90, range=(-3, 3), density=True, color=ORANGE)
    axis.plot(grid, two_points(grid, t), color="black")
    axis.set(xlim=(-3, 3), yticks=[], ylabel=f"t = {t}")
    axis.set_xticks([-3, 0, 3] if row == 2 else [])
    axis.set_xlabel("x" if row == 2 else "")

# %% [markdown]
# Eyes are kind. A test is not: the largest gap between the walkers' distribution function and the jump's. If the two
# laws are equal, it exceeds $1.36 / \sqrt n$ one time in twenty (Kolmogorov and Smirnov).

# %%
print(f"n = {n:,}; a gap above {1.36 / math.sqrt(n):.4f} would be suspicious")
for t in (10, 60, 250, 500, 1000):
    x = walk[t].double().sort().values
    alpha, sigma = linear.alpha[t], linear.sigma[t]
    cdf = (
        torch.special.ndtr((x - alpha) / sigma) + torch.special.ndtr((x + alpha) / sigma)
    ) / 2
    counted = torch.arange(n + 1, dtype=torch.float64) / n
    gap = torch.maximum((counted[1:] - cdf).max(), (cdf - counted[:-1]).max())
    print(f"t = {t:4d}: largest gap {gap:.4f}")

# %% [markdown]
# That is why a network can be trained in reasonable time: to show it step 700 of a picture, nobody walks 700 steps.
#
# **Break it.** (a) In the walk, write `b * torch.randn(...)` for `b.sqrt() * torch.randn(...)`, a bug that has been in public
# tutorials. (b) Write `torch.rand` for `torch.randn`. (c) Write `b.sqrt() * math.sqrt(12) * (torch.rand(n, generator=dice) - 0.5)`:
# not Normal at all, but of mean 0 and variance 1. Which of the three still passes the test, and why?
#
# <details><summary>What happens</summary>
# (a) and (b) fail at every t: the spread shrinks, the mean drifts away. (c) passes once a handful of steps have been made (three
# to seven, as the draws fall): a sum of many small independent pieces is Normal whatever the pieces are, by the central limit
# theorem. Repeat it with one or two steps and it fails.
# </details>
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
    added = (
        linear.sigma[t] ** 2 - (ratio * linear.sigma[s]) ** 2
    ).sqrt()  # and what noise they add
    q = two_points(grid, s) * normal(x_t, ratio * grid, added)
    return q / (q.sum() * (grid[1] - grid[0]))


# %% [markdown]
# You hold $x_{300} = 0.1$, somewhere between the two points. **Drag the stride.** Filled: the true past. Dashed: the
# Normal of the same mean and variance, the best that a step of the form *mean plus Gaussian noise* can do.

# %%
t, x_t = 300, 0.1
fine = torch.linspace(-2.5, 2.5, 1601, dtype=torch.float64)
dx = fine[1] - fine[0]
reaches = [1, 2, 4, 7, 11, 16, 23, 32, 45, 60, 75, 90, 105, *range(120, 261, 20), 275]
truth, fitted = [], []
for stride in reaches:
    q = way_back(t, t - stride, x_t, fine)
    mean = (q * fine).sum() * dx
    std = ((q * (fine - mean) ** 2).sum() * dx).sqrt()
    truth.append(q)
    fitted.append(normal(fine, mean, std))
misplaced = [(q - f).abs().sum().item() * dx.item() / 2 for q, f in zip(truth, fitted)]

# %% jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=[1.7, 1])
shape = left.fill_between(fine, 0 * fine, color=BLUE, alpha=0.7, linewidth=0)
(dashed,) = left.plot([], [], "--", color="black", label="a Normal")
left.axvline(x_t, color=GREY, linestyle=":")
left.set(xlim=(-2.5, 2.5), ylim=(0, 1.25), yticks=[], xlabel="x, earlier")
left.legend(loc="upper left")
right.plot(reaches, misplaced, color=RED)
(dot,) = right.plot([], [], "o", color=RED, markersize=10)
right.set(xlabel="stride (small steps)", ylabel="probability misplaced", ylim=(0, None))


def draw(k):
    scale = 1 / max(truth[k].max(), fitted[k].max())
    shape.set_data(fine, 0 * fine, truth[k] * scale)
    dashed.set_data(fine, fitted[k] * scale)
    dot.set_data([reaches[k]], [misplaced[k]])
    left.set_title(f"where was it {reaches[k]} step{'s' * (reaches[k] > 1)} earlier?")


frames = frames_of(figure, draw, range(len(reaches)))
Flipbook(frames, reaches, label="stride", title="The exact way back")

# %% [markdown]
# With a big stride the past is torn in two: the point came from $+1$ or from $-1$, and a single Normal puts much of its
# weight in the middle, where nothing ever was. With a small stride the past *is* a Normal, as closely as you like. This
# is the reason for the thousand steps of the first diffusion models: not that noise must be added slowly, but that only
# a small step can be undone with a Normal. (Section 5 shows a way round.)
#
# Better still: if $x_0$ were known, $q(x_s \mid x_t, x_0)$ would be exactly Normal for *any* stride, since it is a
# product of two Normals. Completing the square gives its mean, $c_t\, x_t + c_0\, x_0$, and its variance:

# %% src="course_lib/diffusion/samplers.py::posterior"
# course_lib/diffusion/samplers.py::posterior
def posterior(schedule: Schedule, t: int, s: int) -> tuple[float, float, float, float]:
    """q(x_s | x_t, x_0) for s < t (Ho et al. 2020, eq. 6 and 7), as Normal(c_t x_t + c_0 x_0,
    small).

    Returns c_t, c_0, `small` and `large`: `small` is their beta-tilde, `large` their beta,
    both for any stride.
    """
    alpha_t, sigma_t = schedule.alpha[t].item(), schedule.sigma[t].item()
    alpha_s, sigma_s = schedule.alpha[s].item(), schedule.sigma[s].item()
    if sigma_t == 0:  # no noise yet at t: x_0 is in x_t, and x_s with it
        return alpha_s / alpha_t, 0.0, 0.0, 0.0
    # what the step from s to t keeps of the signal: sqrt(1 - beta); all, where none is left
    ratio = alpha_t / alpha_s if alpha_s > 0 else 1.0
    large = max(sigma_t**2 - (ratio * sigma_s) ** 2, 0.0)  # the noise that it adds: beta
    small = large * sigma_s**2 / sigma_t**2
    return ratio * sigma_s**2 / sigma_t**2, alpha_s * large / sigma_t**2, small, large

# %% [markdown]
# The mean is linear in $x_0$. So average over everything that $x_0$ could be, and the mean of the way back needs one
# thing only: the *average* $x_0$, given what we see (the *conditional expectation*, or posterior mean). All that is unknown about
# sampling is this one function:
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
    """The softmax over the training set, [55000]. |x_t|^2 is the same for all: left out."""
    alpha, sigma = plan.at(t, x_t)
    distance = alpha**2 * key_power - 2 * alpha * keys @ x_t.flatten()
    return torch.softmax(-distance / (2 * sigma**2), dim=0)


# %%
times = [1000, 985, 970, 950, 930, 910, 890, 870, 850, 825, 800, 775, 750, 725, 700]
times += [*range(650, 0, -50), 10]
squares = [plan.add_noise(photo, t, eps) for t in times]
bar = tqdm(times, desc="softmax over 55,000", leave=False)
shares = [weights_of(x_t, t) for x_t, t in zip(squares, bar)]
count = [(-(w * w.clamp(min=1e-30).log()).sum()).exp().item() for w in shares]

# %% jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 5, figsize=(11, 2.9), width_ratios=[1, 1, 1, 1, 1.5])
views = [axis.imshow(photo[0, 0], vmin=-1, vmax=1) for axis in axes[:4]]
for axis, name in zip(
    axes, ("photograph", "$x_t$, all you see", "perfect guess", "likeliest image")
):
    axis.set_title(name, fontsize=13)
    axis.set_axis_off()
axes[4].semilogy(times, count, color=BLUE)
axes[4].set(
    xlabel="t", ylabel="images in the average", ylim=(0.8, 80_000), yticks=[1, 100, 10_000]
)
(dot,) = axes[4].plot([], [], "o", color=RED, markersize=10)


def draw(k):
    views[1].set_data(squares[k][0, 0].clamp(-1, 1))
    views[2].set_data((shares[k] @ keys).reshape(28, 28))
    views[3].set_data(training_set[shares[k].argmax(), 0])
    dot.set_data([times[k]], [count[k]])


rounded = [f"{c:,.0f}" if c > 10 else f"{c:.1f}" for c in count]
notes = [f"the average runs over {c} images" for c in rounded]
frames = frames_of(figure, draw, range(len(times)))
Flipbook(frames, times, label="t", title="From the data's mean to one image", notes=notes)

# %% [markdown]
# Three things to see.
#
# 1. At $t = 1000$ the square says nothing, and the best guess is the mean of all clothes: a grey jumper-shoe.
# 2. At noise where you and I see static, the formula has already settled on a pullover, and soon on a handful of images.
#    Compare with the $t$ that you noted in section 1: the schedule is the same. In 784 dimensions a little signal in each pixel is a lot of signal.
# 3. Towards $t = 0$ the average runs over *one* image, and it is **not** the photograph: the letters are gone. It is the
#    training image nearest to it. A perfect denoiser of the training set can't see a pullover that isn't in the training
#    set, even when it is shown one. Keep this in mind; it is the puzzle of section 7.
#
# ### Rebuild 2: the perfect denoiser
#
# For any finite data set `points` [N, D], and a batch `x_t` [B, D]. Section 5 samples with it.

# %%
def exact_x0(x_t, alpha, sigma, points):
    """E[x_0 | x_t] when the data are just these points [N, D]: x_t [B, D] to [B, D]."""
    # about three lines; torch.cdist(a, b) gives the distances [B, N]
    raise NotImplementedError


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
# | a bit of each, $v = \alpha_t\, \varepsilon - \sigma_t\, x_0$ (with $\alpha_t^2 + \sigma_t^2 = 1$) | $x_0 = \alpha_t\, x_t - \sigma_t\, v$ | $\sigma_t$ |
#
# Below, a perfect denoiser of 2,000 images is made to err by 0.2 in what it is asked for, and `Denoiser` turns its answer
# into an image. Same starting noise, same errors. Each row is the $\hat x_0$ that the sampler sees on its way. Look at both ends.

# %%
few = training_set[:2000]
perfect = points_denoiser(plan, few)


def clumsy(target, error=0.2):
    """A denoiser whose answer to the question `target` is off by `error`, in every pixel."""
    slips = seeded(7)

    def net(x_t, t, cond):
        x0, eps = perfect(x_t, t)
        a, b = TARGETS[target](*plan.at(t, x_t))
        return a * x0 + b * eps + error * torch.randn(x_t.shape, generator=slips)

    return Denoiser(net, plan, target)


start = torch.randn(4, 1, 28, 28, generator=seeded(12))
runs = {}
for target in tqdm(("x0", "eps", "v"), desc="three questions", leave=False):
    runs[target] = list(sample_ddim(clumsy(target), plan, start, plan.times(40)))

# %%
calls = [2, 8, 14, 20, 26, 32, 37, 40]  # of the 41
names = {"x0": "asked for $x_0$", "eps": "asked for $\\epsilon$", "v": "asked for $v$"}
rows = {names[key]: torch.cat([run[k].x0[:1] for k in calls]) for key, run in runs.items()}
show_rows(rows, [f"t = {runs['v'][k].t}" for k in calls]);

# %% jupyter={"source_hidden": true}
figure, axis = plt.subplots(figsize=(8, 3.4))
t = torch.arange(1, 1000)
for name, error, colour in (
    ("$x_0$:  1", torch.ones(999), BLUE),
    (r"$\epsilon$:  sigma / alpha", plan.sigma[t] / plan.alpha[t], RED),
    ("$v$:  sigma", plan.sigma[t], GREEN),
):
    axis.semilogy(t, 0.2 * error, color=colour, label=name)
for target, colour in (("x0", BLUE), ("eps", RED), ("v", GREEN)):
    for step in runs[target][1:-1:3]:
        off = (step.x0 - perfect(step.x_t, step.t)[0]).square().mean().sqrt()
        axis.plot(step.t, off, "o", color=colour)
axis.set(xlabel="t", ylabel="error of $x_0$ (rms)", ylim=(0.001, 30))
axis.set_title("lines: the table; dots: measured")
axis.legend();

# %% [markdown]
# Ask for the **image** and an answer that is off by a fifth leaves its grain on the finished picture: each call makes a whole
# new picture, to the last one. Ask for the **noise** and an error is an error *in what is taken away*: it is multiplied by how
# much noise there still is, and at the end there is next to none. The picture's own detail, already standing in $x_t$, passes
# through untouched, since $x_0$ is what remains after subtracting. That is why a denoiser that predicts the noise and
# subtracts it is the practical choice, and DDPM's paper, which compared, found the best pictures with it.
#
# It has a price at the other end: near $t = T$ the answer is divided by an $\alpha_t$ close to 0, and the $\hat x_0$ seen there
# is wild (the right end of the red line). The mixture $v$ has both ends right, and the network that this course ships is asked
# for $v$ (Salimans & Ho 2022).
#
# ### The noise is a direction: the score
#
# There is a second reason. Let $q_t(x)$ be the density of noisy pictures at time $t$. The slope of its logarithm is called the
# **score**, and the perfect answer to "which noise?" is the score, up to a factor (Tweedie's formula):
#
# $$\hat\varepsilon(x_t, t) = -\sigma_t\, \nabla \log q_t(x_t)$$
#
# To subtract the predicted noise is to walk uphill, to where pictures are likelier. Here are thirteen points in the plane,
# as a data set; `my_denoiser` is yours from above. Check the formula with autograd, then look at it.

# %%
my_denoiser = grade.DENOISER.or_library(exact_x0)
drawing = ["#...#", "##.##", "#.#.#", "#...#", "#...#"]  # an M for marble; draw your own
spots = [(x, y) for y, row in enumerate(drawing) for x, mark in enumerate(row) if mark == "#"]
points = torch.tensor([(0.65 * (x - 2), 0.65 * (2 - y)) for x, y in spots])  # [13, 2]


def see_points(x_t, t, cond=None):
    """Your denoiser in the samplers' form: (x_t, t, cond) -> (x0, eps)."""
    alpha, sigma = linear.at(t, x_t)
    x0 = my_denoiser(x_t, alpha, sigma, points)
    return x0, (x_t - alpha * x0) / sigma


# %%
def log_density(x, t):
    """log q_t(x) of the noisy points, up to a constant: x [B, 2] to [B]."""
    alpha, sigma = linear.at(t, x)
    return torch.logsumexp(-torch.cdist(x, alpha * points).square() / (2 * sigma**2), dim=1)


x = torch.randn(1000, 2, generator=seeded(3)).requires_grad_()
for t in (100, 400, 900):
    (uphill,) = torch.autograd.grad(log_density(x, t).sum(), x)
    difference = (see_points(x, t)[1] + linear.sigma[t] * uphill).abs().max()
    print(f"t = {t}: largest difference of the two sides {difference:.1g}")

# %% jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6))
ticks = torch.linspace(-2.6, 2.6, 131)
plane = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1)  # [131, 131, 2]
arrows = plane[5::10, 5::10].reshape(-1, 2)
for axis, t in zip(axes, (700, 300, 100)):
    height = log_density(plane.reshape(-1, 2), t).reshape(131, 131)
    axis.contourf(ticks, ticks, (height - height.max()).clamp(min=-12), 9, cmap="Blues")
    noise = see_points(arrows, t)[1].detach()
    axis.quiver(*arrows.T, *(-noise.T), color="black", scale=45, width=0.005)
    axis.plot(
        *(linear.alpha[t] * points).T,
        "*",
        color=ORANGE,
        markersize=11,
        markeredgecolor="black",
    )
    axis.set(title=f"t = {t}", aspect="equal")
    axis.set_axis_off()

# %% [markdown]
# Stars: the data, shrunk by $\alpha_t$. Blue: where noisy points are likely. Arrows: minus the predicted noise. In heavy
# noise all arrows agree, and point to the middle of the data; as the noise thins, each region is drawn to a point of its
# own: first the mass, then the limbs.
#
# ## 5. Carving: DDIM
#
# **How does one square become the next?** Ask the denoiser for $\hat x_0$ and $\hat\varepsilon$. Then put the same two together
# again, for a time $s$ with a little less noise:
#
# $$x_s = \alpha_s\, \hat x_0 + \sigma_s\, \hat\varepsilon$$
#
# Then ask again. No new noise comes in, so the starting noise decides everything. This is DDIM (Song et al. 2021), and it is the
# way round section 2: it doesn't *draw* a past, it moves the whole crowd of noisy pictures from the law that it has at $t$ to
# the law that it has at $s$. In the limit of small steps that is exact, and the path is the solution of a differential equation,
# the *probability-flow ODE*; for a large step $\hat x_0$ is only the mean of what could be there.
#
# ### Rebuild 3: carve

# %%
def carve(denoise, schedule, x, times):
    """DDIM from x [B, ...] through the decreasing times: all states, x first, stacked to
    [len(times), B, ...].

    denoise(x, t) gives (x0, eps); schedule.at(t, x) gives (alpha, sigma).
    """
    # a loop over pairs (t, s) of neighbouring times; about six lines
    raise NotImplementedError


grade.CARVE(carve)

# %% [markdown]
# Your sampler, your denoiser, no network: 300 draws of noise, two numbers each (dots). The ground answers for *every* place
# where it would end: it has the colour of the star to which your loop takes it from there (neighbours differ; thirteen stars
# share seven colours). Before you drag, look at the first frame: the noise is already divided into territories, one for each
# star.

# %%
carve_mine = grade.CARVE.or_library(carve)
starts = torch.randn(300, 2, generator=seeded(8))
times = linear.times(50)
path = carve_mine(see_points, linear, starts, times)  # [51, 300, 2]

ticks = torch.linspace(-2.7, 2.7, 100)
plane = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(-1, 2)
shades = np.array([to_rgb(PALETTE[(x + 3 * y) % 7]) for x, y in spots])  # neighbours differ


def territories(k):
    """For each place at times[k], the colour of the star where it ends: [100, 100, 3]."""
    rest = times[k:]
    end = carve_mine(see_points, linear, plane, rest)[-1] if len(rest) > 1 else plane
    return shades[torch.cdist(end, points).argmin(1)].reshape(100, 100, 3)


# %% jupyter={"source_hidden": true}
keep = [0, 10, 16, 20, 24, *range(27, 51)]
figure, axis = plt.subplots(figsize=(5, 5))
extent = (-2.7, 2.7, -2.7, 2.7)
ground = axis.imshow(np.ones((100, 100, 3)), origin="lower", extent=extent, alpha=0.55)
dots = axis.scatter(*path[0].T, c="black", s=9, linewidths=0)
stars = axis.scatter(*points.T, c=shades, marker="*", s=190, edgecolors="black")
axis.set(xlim=(-2.7, 2.7), ylim=(-2.7, 2.7))
axis.set_axis_off()


def draw(k):
    ground.set_data(territories(k))
    dots.set_offsets(path[k])
    stars.set_offsets(linear.alpha[times[k]] * points)


frames = frames_of(figure, draw, keep)
Flipbook(frames, [times[k] for k in keep], label="t", title="Carving an M out of noise")

# %% [markdown]
# Each dot stays on ground of one colour, its star's: each step moves all of the plane, smoothly, and the borders move along. That alone proves
# nothing, for the ground is computed with the same sampler, and would agree with a broken one too. What can fail: does a dot end
# at the same star if the steps are made ten times finer?

# %%
finest = carve_mine(see_points, linear, starts, linear.times(500))[-1]
for calls in (2, 5, 20, 50):
    end = carve_mine(see_points, linear, starts, linear.times(calls))[-1]
    same = torch.cdist(end, points).argmin(1) == torch.cdist(finest, points).argmin(1)
    print(
        f"{calls:2d} steps: {same.sum()} of {len(starts)} dots end where 500 steps take them"
    )

# %% [markdown]
# As the steps get finer the answer settles. So where a draw of noise ends was settled before the first step: **the sculpture is in
# the block**, and sampling only finds out which. (With fresh noise in each step, dots do cross: see below.)
#
# The library's DDIM is your loop, with one dial more. `eta` swaps some of the old noise for fresh noise; at 1 it is DDPM,
# the sampler of section 2's small Gaussian steps. Fresh noise comes from `draws`: `Draws(0)` hands out the same numbers
# each time.

# %% src="course_lib/diffusion/samplers.py::sample_ddim"
# course_lib/diffusion/samplers.py::sample_ddim
@in_float32
@torch.no_grad()
def sample_ddim(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    cond=None,
    *,
    eta: float = 0.0,
    draws: Noise | None = None,
) -> Iterator[Step]:
    """DDIM (Song et al. 2021, eq. 12): eta 0 adds no noise, eta 1 is DDPM with the small
    variance. Rising times walk an image into its noise, where no fresh noise belongs: eta 0.
    """
    if not 0 <= eta <= 1:  # beyond it more may be added than there is
        raise CourseError(f"eta is the share of DDPM's fresh noise, 0 to 1, not {eta}.")
    draws = draws or Draws()
    for t, s in strides(schedule, times, falling=eta > 0):
        x0, eps = denoise(x, t, cond)
        yield Step(t, x, x0, eps)
        alpha, sigma = schedule.at(s, x)
        # std of the noise added anew
        fresh = eta * posterior(schedule, t, s)[2] ** 0.5 if eta else 0.0
        x = alpha * x0 + (sigma**2 - fresh**2).clamp(min=0).sqrt() * eps
        if fresh > 0:
            x = x + fresh * draws.normal(x)
    yield Step(s, x, x, eps)

# %% [markdown]
# **One step or many?** Above, every step was small. Now give DDIM few: 1, 2, 5, 20. In each panel the same 300 draws. And **old
# noise or fresh?** The last two panels follow four draws (black) through 100 steps, without fresh noise (DDIM) and with (DDPM).

# %% jupyter={"source_hidden": true}
figure, axes = plt.subplots(2, 3, figsize=(9, 6))
for axis, calls in zip(axes.flat, (1, 2, 5, 20)):
    end = final(sample_ddim(see_points, linear, starts, linear.times(calls)))
    axis.scatter(*end.T, color=BLUE, s=10, alpha=0.6, linewidths=0)
    axis.set_title(f"DDIM, {calls} step" + "s" * (calls > 1))
given = see_points, linear, starts[:4], linear.times(100)
for axis, walk, name in (
    (axes[1, 1], sample_ddim(*given), "DDIM, four paths"),
    (axes[1, 2], sample_ddpm(*given, draws=Draws(0)), "DDPM, the same noise"),
):
    run = torch.stack([step.x_t for step in walk])
    axis.plot(*run.permute(2, 0, 1), linewidth=1.2)
    axis.plot(*starts[:4].T, "o", color="black", markersize=5)
    axis.set_title(name)
for axis in axes.flat:
    look = {"color": ORANGE, "markeredgecolor": "black", "markeredgewidth": 0.5}
    axis.plot(*points.T, "*", markersize=9, zorder=0, **look)
    axis.set(xlim=(-2.3, 2.3), ylim=(-2.3, 2.3), aspect="equal")
    axis.set_axis_off()

# %% [markdown]
# One step takes every draw to the mean of the data: the best single guess is nobody's picture. With more steps the
# guess is corrected on the way. DDIM's paths are short and smooth and can be walked backwards; DDPM's wander all over the
# plane, and the same start ends elsewhere each time. Both are right in the same sense: **the crowd** of ends has the data's
# law. Count it: each of the thirteen stars should get a thirteenth. The last column sums up the counts' squared deviations;
# it is 1, give or take 0.4, where the law is right (Pearson's chi-squared over its 12 degrees of freedom).

# %%
n = 13_000
jobs = (("DDIM", sample_ddim, 20), ("DDIM", sample_ddim, 500), ("DDPM", sample_ddpm, 500))
for name, sampler, calls in jobs:
    options = {"draws": Draws(1)} if name == "DDPM" else {}
    start = torch.randn(n, 2, generator=seeded(2))
    walk = sampler(see_points, linear, start, linear.times(calls), **options)
    *_, last = tqdm(walk, total=calls + 1, desc=name, leave=False)
    counts = torch.cdist(last.x_t, points).argmin(1).bincount(minlength=len(points))
    expected = n / len(points)
    chi = ((counts - expected) ** 2 / expected).sum() / (len(points) - 1)
    told = f"{counts.min()} to {counts.max()} dots a star, expected {expected:.0f}"
    print(f"{name}, {calls:3d} steps: {told}; chi {chi:.1f}")

# %% [markdown]
# With 20 steps even the crowd is wrong: some stars get too few. How fast this error falls is a question of the further notebook.
#
# **Break it.** In the cell of the library's DDIM above, call `denoise(x, max(s, 1), cond)` instead of `denoise(x, t, cond)`: the
# denoiser is told the time of the next step. An index shifted by one is a bug that has been in a textbook's notebooks. Run that
# cell, put `carve_mine = lambda *given: torch.stack([step.x_t for step in sample_ddim(*given)])` for the first line of the
# territories' cell, and run that and the next. Where do the dots end now, and how do they get there? Undo both edits and run the
# cells again: section 7 uses them. Then draw another letter in section 4.
#
# <details><summary>What happens</summary>
# Nothing moves until the last step. The wrong time's noise is (x - alpha_s x0) / sigma_s; put that into alpha_s x0 + sigma_s eps
# and x comes out again. The last step then takes each draw straight to about the star nearest to it: an M, but with wrong counts.
# A plausible picture with a wrong law is the worst kind of bug.
# </details>
#
# ## 6. When sampling goes wrong
#
# **Which line is broken?** Eight clouds from one sampler, DDPM in 25 steps (one of them in 20) with an exact denoiser of five round
# modes (grey circles, two standard deviations). One is right. The seven others have one wrong line each; lines 2 to 5 have stood in
# public teaching code. Under a cloud stand five of its moments, scaled so that a right sampler has about 0 or
# 1: its mean, its spread, the width of its modes, the correlation of the two coordinates, and the share of the centre.

# %% jupyter={"source_hidden": true}
clouds = grade.gallery()
figure, axes = plt.subplots(2, 4, figsize=(12, 7.4))
for axis, (letter, cloud) in zip(axes.flat, clouds.items()):
    for centre in grade.MODES:
        axis.add_patch(
            plt.Circle(centre, 2 * grade.MODE_STD, color=GREY, alpha=0.35, linewidth=0)
        )
    axis.scatter(*cloud.T, s=4, color=BLUE, alpha=0.5, linewidths=0)
    axis.set(
        xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), xticks=[], yticks=[], aspect="equal", title=letter
    )
    m = grade.moments(cloud)
    text = f"mean {m['mean']:z.2f}, spread {m['spread']:.2f}, width {m['mode width']:.2f}\n"
    axis.set_xlabel(
        text + f"correlation {m['correlation']:z.2f}, centre {m['centre']:z.2f}", fontsize=11
    )

# %% tags=["nbval-check-output"]
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
# by the width of their modes. (Even D isn't perfect: 25 steps put a little too much in the centre. With 1,500 dots the
# standard error of that number is 0.05.) Bug 5, a schedule that stops before the signal is gone, hides in well-known places; the
# further notebook finds it in one of them.
#
# ## 7. The network
#
# Everything so far was exact. The network is a stand-in for the sum over 55,000 images: a function that was trained to answer
# the same question. The samplers don't notice the difference; they never ask who answers.
#
# **Drag.** Ten draws of noise, ten labels, 24 steps: the noisy picture, the figure that the network sees in it, and the noise. Pick one image
# and step with the arrow keys. Look for the moment at which it stops being "some shoe" and becomes *this* shoe, and compare it
# with the moment in section 3.

# %%
ten = torch.randn(10, 1, 28, 28, generator=seeded(20))
labels = torch.arange(10)
with autocast(device):
    runner = sample_ddim(see, plan, ten.to(device), plan.times(24), labels.to(device))
    steps = list(tqdm(runner, total=25, desc="sampling", leave=False))
size = sum(p.numel() for p in net.parameters())
print(f"a network of {size:,} numbers, for {keys.numel():,} in the training set")
Scrubber(steps, plan, titles=list(CLASSES), columns=5)

# %% [markdown]
# And *your* loop? It knew only points in the plane when you wrote it. The same lines, on the network:

# %%
def carve_as(eye, cond, x, times):
    """Your loop on the denoiser `eye`, with a fixed label for each image; the last state."""
    cond = cond.to(device)
    bar = tqdm(total=len(times) - 1, desc="your loop", leave=False)

    def call(x_t, t):
        bar.update()
        return eye(x_t, t, cond)

    with autocast(device):
        return carve_mine(call, plan, x.to(device), times)[-1].cpu()


yours = carve_as(see, labels, ten, plan.times(24))
gap = (yours - steps[-1].x_t.cpu()).abs().max().item()
print(f"largest difference to the library's pictures: {gap:.1g}")
show_images(yours, columns=10, size=1.2);

# %% [markdown]
# ### Is the figure really in the block?
#
# DDIM adds nothing, so its path can be walked backwards, from a photograph *into* the noise that holds it (*DDIM inversion*). Your loop does it
# if it is given increasing times. (It starts from the photograph at $t = 40$, with the pinch of noise that belongs there.)
# Then sample from that noise again; and then under another label.

# %%
see_all = shipped  # without the clipping to [-1, 1], which can't be undone
own = torch.tensor([9, 8, 2, 3, 5])
down = plan.times(40)
up = [40, *[t for t in reversed(down) if t > 40]]

start = plan.add_noise(x_0, 40, torch.randn(x_0.shape, generator=seeded(0)))
hidden = carve_as(see_all, own, start, up)
again = carve_as(see_all, own, hidden, down)
shirts = carve_as(see_all, torch.full_like(own, 6), hidden, down)
rows = {"photograph": x_0, "its noise": hidden / 2, "sampled again": again}
show_rows(rows | {"same noise,\nlabel: shirt": shirts})
print(
    f"their noise has mean {hidden.mean():z.2f}, spread {hidden.std():.2f}; pure noise 0 and 1"
)
gap = (again - x_0).square().mean().sqrt()
print(f"sampled again, a pixel is off by {gap:.3f} (rms; black to white is 2)")

# %% [markdown]
# The second row looks like noise, but each of these squares *is* its photograph, for anyone who has the network. (Where
# the network errs, the walk isn't exact: can you still make out a letter in the third?) The label is part of the knowledge:
# the same noise under another label is another picture, with something of the first one's mass and light.
#
# **Break it.** Start at $t = 1$ without the pinch of noise: `hidden = carve_as(see_all, own, x_0, [1, *up[1:]])`. Look at the noise and
# its spread. What does the network make of a background that is black to the last digit?
#
# <details><summary>What happens</summary>
# In a real x_t every pixel has some noise. A background that is exactly black has none, so the network sees none there, and the walk
# carries that emptiness to the end: the figure stands in the noise as a ghost, and the spread is well below 1. It is no draw from
# the noise that the network knows.
# </details>
#
# ### The puzzle: why isn't the network perfect, and why is that good?
#
# Section 3's perfect denoiser of the training set saw one training image in every nearly clean square. **Sample it, and what
# comes out?** And what comes out of our network, which was trained to imitate it? For every picture we look up the nearest of
# all 55,000 training images. A fair comparison needs a third group: photographs of the test set, which are new for certain.

# %%
n = 64
memory = points_denoiser(plan, training_set)
start = torch.randn(n, 1, 28, 28, generator=seeded(30))
walk = sample_ddim(memory, plan, start, plan.times(16))
*_, last = tqdm(walk, total=17, desc="the perfect denoiser", leave=False)
groups = {"perfect denoiser": last.x_t}
ours = maker("ddpm-fashion", net, calls=20)
bar = tqdm(range(4), desc="our network", leave=False)
groups["our network"] = torch.cat([ours.make(32, seed=k)[0] for k in bar])
groups["test photographs"] = to_float(test_images[:1000])

# %%
nearest = {}
for name, pictures in groups.items():
    distance = torch.cdist(pictures.flatten(1), keys)  # [B, 55000]
    nearest[name] = distance.min(dim=1)
    rms = nearest[name].values / 28  # per pixel
    copies = (rms < 0.02).sum().item()
    told = f"{copies} of {len(rms)} are copies (within 0.02 a pixel)"
    print(f"{name}: {told}; median distance {rms.median():.3f}")

# %% jupyter={"source_hidden": true}
figure, axes = plt.subplots(3, 2, figsize=(9, 5.6), width_ratios=[1.5, 1])
for (left, right), (name, colour) in zip(axes, zip(groups, (RED, BLUE, GREY))):
    pairs = torch.cat([groups[name][:7], training_set[nearest[name].indices[:7]]])
    left.imshow(tile(pairs, 7), vmin=0, vmax=1)
    left.set_axis_off()
    left.set_title(f"{name}, and nearest in training", fontsize=13)
    right.hist(nearest[name].values / 28, bins=40, range=(0, 0.5), color=colour)
    right.set(yticks=[], ylabel="pictures")
right.set_xlabel("distance to the nearest training image (rms a pixel)");

# %% [markdown]
# The perfect denoiser copies: everything it makes is a training image, to the last grey level. It has the lowest training loss
# that any network could reach, and it is a search engine. The network doesn't copy, and its pictures are about as far from the
# training set as new photographs are. (None found among 128 bounds the true rate below about 3 / 128, with 95 % confidence; it
# doesn't prove that it is zero.)
#
# So generalisation is the network's *failure* to reach the minimum of its own loss, and a failure in the right direction: with
# fewer numbers than the training set has, convolutions, and a limited time, it learns what images have in common before it
# learns them by heart. What exactly makes that direction right is a question of current research (Kadkhodaie et al. 2024; Kamb
# & Ganguli 2024).
#
# ## What you have learnt
#
# | question | answer | where |
# |---|---|---|
# | How do you get to time $t$? | one jump, $x_t = \alpha_t x_0 + \sigma_t \varepsilon$, equal in law to $t$ small steps | 1 |
# | Why many steps back? | only a small step's past is a Normal; its mean needs $\mathbb E[x_0 \mid x_t]$, nothing else | 2 |
# | What is a perfect denoiser? | a softmax over the data; it ends on a training image | 3, 7 |
# | Why ask for the noise? | its error shrinks with the noise; it is the score, up to a factor | 4 |
# | How do you sample? | ask, put together at a lower noise level, ask again | 5 |
# | How do you debug it? | on exact data, with moments | 6 |
# | Why are the pictures new? | because the network isn't perfect, in the right way | 7 |
#
# | here | the field's term | 中文 |
# |---|---|---|
# | block | initial noise, $x_T$; the latent of a picture | 初始噪声 |
# | into the block | forward (noising) process; noise schedule | 前向（加噪）过程；噪声调度 |
# | carving | sampling, the reverse process | 采样，逆向过程 |
# | way back | posterior $q(x_s \mid x_t, x_0)$ | 后验分布 |
# | perfect guess | conditional expectation, posterior mean | 条件期望，后验均值 |
# | perfect denoiser of the training set | empirical Bayes denoiser; memorisation | 经验贝叶斯去噪器；记忆 |
# | uphill direction | score, $\nabla \log q_t$; Tweedie's formula | 得分函数；Tweedie 公式 |
# | asked for | prediction target: $x_0$, $\varepsilon$, $v$ | 预测目标 |
# | step without fresh noise | DDIM; the probability-flow ODE | 概率流常微分方程 |
# | steps with fresh noise | DDPM, ancestral sampling; an SDE | 祖先采样；随机微分方程 |
# | calls of the denoiser | network function evaluations (NFE) | 网络函数评估次数 |
# | from a photograph into its noise | DDIM inversion | DDIM 反演 |
#
# ## Compared with others
#
# | | this page | *The annotated diffusion model* (Rogge & Rasul 2022) | fastai, part 2 (2022) | MIT 6.S184, labs (2025) |
# |---|---|---|---|---|
# | before any network | exact denoisers, in 2D and on 55,000 images | formulas | formulas | exact paths on 2D mixtures |
# | errors of the samplers | measured against closed forms | not measured | compared by FID | seen in simulations |
# | exercises | graded on the page, with hints | none | none graded | stubs, with solutions to compare |
# | the network is built and trained | in lesson 05 | on the page | on the page, in many variants | on the page |
# | continuous time | no | no | Karras's noise levels | derived: ODE, SDE, Fokker-Planck |
# | larger, coloured images | no | no | yes, to latents of bedrooms | no |
#
# ## What to read next
#
# - Ho, Jain & Abbeel 2020, *Denoising diffusion probabilistic models*: sections 2 and 3 are sections 1, 2 and 4 of this page.
# - Song, Meng & Ermon 2021, *Denoising diffusion implicit models*: why no fresh noise is needed.
# - Dieleman 2023, *Perspectives on diffusion*: the same thing seen from many sides.
#
# Next: [further/04_variances_and_orders](further/04_variances_and_orders.ipynb), what few steps cost; or
# **[05_noise_predictor](05_noise_predictor.ipynb)**: where the network comes from. You will train one in less than a
# minute, and find out where zero is for its loss.
