# %% [markdown]
# # 08. The decoder
#
# A text-to-image system has three parts. A **text encoder** turns the prompt into numbers (lesson 07). A **generator**
# turns those numbers and noise into something small (lessons 04 and 05; lesson 09 puts it all together). A **decoder**
# turns what is small into a picture. This lesson is about the third, and about the small thing in between.
#
# The small thing comes in two forms. It is a **thumbnail**, a picture that a person can look at, or it is a **latent**, a
# grid of numbers that only the decoder can read. After about 90 minutes you can
#
# - say what a thumbnail leaves open, and make any picture fit one,
# - say why the answer with the least error is blurred, and why a sharp one has exactly twice that error,
# - build the best linear autoencoder, say its error before you measure it, and beat it with a network in a minute,
# - say what a wrong scale of the latents does to a noise schedule, in one logarithm,
# - say what generating in latents saves, in operations and in seconds, and what it costs,
# - say what PSNR does not see, and recognise seven bugs by five figures.
#
# Four cells are stubs for you to write, and there is a round of bugs to spot. What you write runs on
# below; for a stub that is empty or wrong the library's version runs. Solutions: `course_lib/exercises/*_08.py`. A cell that only
# draws is folded.

# %%
import time
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_lib import Batches, Ema, Muon, Phase, autocast, final, load_denoiser, load_weights
from course_lib import place, sample_dpmpp_2m, train
from course_lib.data.emoji import emoji
from course_lib.errors import CourseError
from course_lib.exercises import lesson_08 as grade
from course_lib.layers import AddedResBlock, zero_init
from course_lib.metrics.cost import cost_of
from course_lib.metrics.psnr import psnr
from course_lib.models import TextUNet
from course_lib.models.superres import enlarge, fit, repeat, shrink
from course_lib.recipes import recipe
from course_lib.recipes.emoji_superres import pictures
from course_lib.training import warmup_flat_decay
from course_lib.weights import read_card
from course_lib.widgets.flipbook import Flipbook
from course_lib.widgets.latent_plots import codecs_figure, learning_figure, spread_figure
from course_lib.widgets.plane import Plane
from course_lib.widgets.plots import BLUE, GREY, ORANGE, show_rows, tile, use_style

use_style()


def seeded(k):
    """A random generator with an owner: the same numbers each time."""
    return torch.Generator().manual_seed(k)


# %% [markdown]
# ## 0. Where we are going
#
# Here is one question and four answers. The top row holds emoji of 16 x 16 pixels. **What did the pictures of 64 x 64
# look like, of which these are the thumbnails?** The data are the course's captioned emoji; no network of this lesson has
# seen these eight (they are *held out*).

# %%
data = emoji()
held = torch.from_numpy(data.rows("test"))
x_0 = pictures(held[[0, 12, 239, 372, 462, 607, 692, 972]])  # [8, 3, 64, 64] in [-1, 1]
thumb = shrink(x_0)  # [8, 3, 16, 16]

direct = load_weights("emoji-superres-direct", device="cpu")
drawing = load_denoiser("emoji-superres", device="cpu")
net, plan = drawing.net, drawing.schedule


# %%
@torch.no_grad()
def answer(thumb):
    """The direct network's picture of each thumbnail: [B, 3, 16, 16] to [B, 3, 64, 64]."""
    with autocast("cpu"):
        residual = direct.mean(thumb).float()
    return direct.picture(residual, thumb)


def draw(thumb, seed, calls=20):
    """A picture drawn for each thumbnail by the diffusion network."""
    B, C, h, w = thumb.shape
    noise = torch.randn(B, C, 4 * h, 4 * w, generator=seeded(seed))
    with autocast("cpu"):
        residual = final(sample_dpmpp_2m(drawing, plan, noise, plan.times(calls), thumb))
    return net.picture(residual.float(), thumb)


# %%
rows = {
    "thumbnail": repeat(thumb),
    "bicubic": enlarge(thumb),
    "a network,\nsquared error": answer(thumb),
    "a network\nthat draws": draw(thumb, seed=0),
    "the picture": x_0,
}
show_rows(rows, size=1.2);

# %% [markdown]
# The second row interpolates. The third is the guess of a network that was trained to err least, and indeed no row errs
# less (section 3 measures it). The fourth was drawn by a diffusion network, a small one: its lines are ragged in places. It errs *more* than the third, and
# yet its edges are edges. Sections 1 to
# 3 say why both are right. Sections 4 to 8 do away with the thumbnail. Sections 9 and 10 ask how a decoder is judged, and
# how it breaks.
#
# # Part one: the intermediate is a thumbnail
#
# ## 1. What a thumbnail leaves open
#
# **How many pictures have this thumbnail?** A pixel of the thumbnail is the mean of a square of 4 x 4 pixels. That is one
# condition on 16 numbers, so 15 of 16 stay free: 768 numbers say something about 12,288, and 11,520 are open.

# %% src="course_lib/models/superres.py::shrink"
# course_lib/models/superres.py::shrink
def shrink(x: Tensor, factor: int = 4) -> Tensor:
    """The thumbnail: the mean of each factor x factor square, [B, C, H, W] to [B, C, H /
    factor, W / factor].
    """
    if x.ndim != 4 or x.shape[-2] % factor or x.shape[-1] % factor:
        raise CourseError(
            f"A picture to be shrunk {factor} times is [B, C, H, W] with sides that are "
            f"multiples of {factor}, not {list(x.shape)}."
        )
    return F.avg_pool2d(x, factor)


# %% [markdown]
# A decoder may fill in the 11,520 as it likes. It may not touch the 768: **every picture that it draws must shrink to the
# thumbnail that it was given.** A network alone does not keep that promise. Arithmetic does. Let $A$ be `shrink`. The
# picture nearest to $x$ that fits a thumbnail $y$ is found by adding to each square what its mean lacks:
#
# $$x' = x + A^{+}(y - A x)$$
#
# $A^{+}$, the pseudo-inverse of $A$, hands each number of a thumbnail to all 16 pixels of its square: it is `repeat` (each
# pixel becomes a square), and not `enlarge` (bicubic).
#
# ### Rebuild 1: onto the thumbnail

# %%
def project(x, thumb):
    """The picture nearest to x [B, C, H, W] that shrinks to thumb [B, C, H / 4, W / 4]."""
    raise NotImplementedError  # one line; shrink(picture) and repeat(thumbnail) are at hand


grade.PROJECT(project)

# %% [markdown]
# Your function makes *anything* fit. Below, four pictures with one thumbnail, that of the rocket: pure noise, another
# emoji, bicubic enlargement, and the picture itself. The second row is the proof: what each shrinks to.

# %%
project_mine = grade.PROJECT.or_library(project)
rocket, target = x_0[2:3], thumb[2:3]
noise = 0.6 * torch.randn(rocket.shape, generator=seeded(1))
before = torch.cat([noise, 0.6 * x_0[:1], enlarge(target), rocket])
fitted = project_mine(before, target.expand(4, -1, -1, -1))

names = ("noise", "another emoji", "bicubic", "the picture")
show_rows({"fits": fitted, "its thumbnail": repeat(shrink(fitted))}, names, size=1.7)
for name, was, now in zip(names, before, fitted):
    was, now = ((shrink(each[None]) - target).abs().max().item() for each in (was, now))
    print(f"{name:14}  thumbnail off by {was:.3f} before, {now:.1g} after")

# %% [markdown]
# Bicubic's own thumbnail was wrong. To project it is free, and can only help: a step straight to the set of pictures that fit
# leads nearer to *every* picture in it, so to the true one (Pythagoras). The
# library goes one step further. `fit` also keeps all values in $[-1, 1]$, where the projection alone may leave that range.
#
# How near is near? The usual scale is the **peak signal-to-noise ratio**: the squared error, against the largest possible
# one, in decibels. With values from $-1$ to $1$ the peak is 2:
#
# $$\text{PSNR} = 10 \log_{10} \frac{2^2}{\text{mean squared error}}$$
#
# 10 dB more is a tenth of the error, and 3.01 dB more is half of it. Below: the mean over all 1,055 held-out pictures, and its
# standard error.

# %%
everything = pictures(held)  # [1055, 3, 64, 64]
small = shrink(everything)
for name, images in (
    ("each pixel repeated", repeat(small)),
    ("bicubic", enlarge(small)),
    ("bicubic, projected", project_mine(enlarge(small), small)),
    ("bicubic, projected and in range", fit(enlarge(small), small)),
):
    found = psnr(images, everything)
    error = found.std() / len(found) ** 0.5
    print(f"{name:32} {found.mean():.2f} dB, give or take {error:.2f}")

# %% [markdown]
# ## 2. The mean and the draw
#
# **What is the best answer, if many are possible?** It depends on *best*. Call the unknown picture $x$ and the thumbnail $y$.
# All that can be known is the posterior $p(x \mid y)$, which pictures are how likely now. Let $m$ be its mean and $S$ its
# covariance.
#
# The answer with the least expected squared error is $m$, and its error is what is still unknown, $\operatorname{tr} S$.
# But $m$ is an average of many pictures, so it is blurred: where half of them have an edge here and half have it one pixel
# further, $m$ has a ramp.
#
# The other answer is a **draw** $x'$ from the posterior: one of the possible pictures, as sharp as any. The truth $x$ is a
# draw from the same posterior. So $x - m$ and $x' - m$ are independent, both of mean 0 and covariance $S$, and
#
# $$\mathbb E\, |x' - x|^2 = \mathbb E\, |x' - m|^2 + \mathbb E\, |x - m|^2 = 2 \operatorname{tr} S .$$
#
# **Exactly twice, whatever the posterior.** In decibels: $10 \log_{10} 2 = 3.01$ less. A perfect decoder that draws is
# *supposed* to lose 3 dB to a perfect one that answers with the mean. Whoever ranks good decoders by PSNR rewards blur.
#
# For a Gaussian, all of it is a closed form. If $x \sim \mathcal N(0, C)$ and $y = A x$, then
#
# $$S = C - C A^\top (A\, C A^\top)^{-1} A\, C .$$
#
# ### Rebuild 2: both errors, before anything is drawn

# %%
def mean_and_draw(cov, A):
    """For x ~ N(0, cov [D, D]) of which y = A x is known, A [d, D]: the expected squared
    error, summed over the D pixels, of the posterior's mean and of a draw, stacked: [2].
    """
    raise NotImplementedError  # about three lines; torch.linalg.inv, .trace() and torch.stack


grade.DRAW(mean_and_draw)

# %% [markdown]
# Two pixels make a picture that can be drawn on paper. The prior (grey) says that neighbours are alike. The thumbnail is
# their mean: it fixes a line, and the truth is somewhere on it. **Left:** many draws for one thumbnail, and the mean
# of them all. The mean sits where the posterior is densest, and it is still the one point whose two pixels are equal: no
# edge at all. **Right:** the squared error of 20,000 answers of either kind; the lines are your two numbers.

# %%
errors_mine = grade.DRAW.or_library(mean_and_draw)
C = torch.tensor([[1.0, 0.6], [0.6, 1.0]])
A = torch.tensor([[0.5, 0.5]])
law = errors_mine(C.double(), A.double())

n, dice = 20_000, seeded(2)
truth = torch.randn(n, 2, generator=dice) @ torch.linalg.cholesky(C).T
mean = (truth @ A.T).expand(n, 2)  # by symmetry, for these two pixels
# S has one direction, (1, -1)
across = torch.randn(n, 1, generator=dice) * (law[0] / 2).float() ** 0.5
drawn = mean + across * torch.tensor([1.0, -1.0])
found = [(each - truth).square().sum(1) for each in (mean, drawn)]

# %% jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), width_ratios=[1, 1.5])
left.scatter(*truth[:1500].T, s=4, color=GREY, alpha=0.4, linewidths=0, label="prior")
line = 0.8 + across[:60] * torch.tensor([1.0, -1.0])
left.scatter(*line.T, s=16, color=ORANGE, label="draws, given the mean 0.8")
left.plot(0.8, 0.8, "o", color=BLUE, markersize=10, label="the posterior's mean")
left.set(xlabel="pixel 1", ylabel="pixel 2", xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
left.legend(fontsize=9, loc="lower left", frameon=True, framealpha=0.95)
for name, error, expected, colour in zip(("mean", "draw"), found, law, (BLUE, ORANGE)):
    counts = torch.arange(1, n + 1)
    right.semilogx(counts, error.cumsum(0) / counts, color=colour, label=name)
    right.axhline(expected, color=colour, linestyle=":")
    give = error.std() / n**0.5
    print(f"{name}: {error.mean():.3f}, give or take {give:.3f}; formula {expected:.3f}")
right.set(xlabel="answers", ylabel="mean squared error", title="dotted: the formula")
right.set(ylim=(0, 1.5 * law[1]))
right.legend();


# %% [markdown]
# The same argument answers two more questions at once. The mean of $k$ independent draws has the error
# $(1 + 1/k) \operatorname{tr} S$: at $k = 1$ it is a draw, and as $k$ grows it becomes the posterior's mean. And a picture
# part of the way from the mean to a draw, $m + \tau\,(x' - m)$, has the error $(1 + \tau^2) \operatorname{tr} S$: sharpness
# is paid for by the square.
#
# ## 3. Two networks
#
# **Can this be learnt?** The course ships two small networks of one shape (1.4 million parameters each). Both see the
# thumbnail, and both predict the *residual*, what bicubic leaves out, divided by its spread:
#
# - **the direct one** is trained by the squared error, so what it approaches is the posterior's mean;
# - **the one that draws** is a diffusion network (lessons 04, 05) in the residual's space, told the thumbnail at every call.
#
# The one that draws began as the other. At the last time $T$ the diffusion network sees only noise beside the
# thumbnail, so its best guess there is the posterior's mean. The direct network *is* a diffusion network that only ever
# stands at $T$, with 0 in the place of the noise:

# %% src="course_lib/models/superres.py::SuperRes.mean"
# course_lib/models/superres.py::SuperRes.mean
def mean(self, thumb: Tensor, T: int = 1000) -> Tensor:
    """The residual that a net predicts from the thumbnail alone: x_t is 0, the time is the
    last. Trained on the squared error, it is the posterior's mean.
    """
    B, _, h, w = thumb.shape
    side = self.config.factor
    x_t = thumb.new_zeros(B, self.config.channels, h * side, w * side)
    return self(x_t, torch.full((B,), T, device=thumb.device), thumb)


# %% [markdown]
# And this is how a residual becomes a picture; the last line is your projection, with the range kept:

# %% src="course_lib/models/superres.py::SuperRes.picture"
# course_lib/models/superres.py::SuperRes.picture
def picture(self, residual: Tensor, thumb: Tensor) -> Tensor:
    """Residuals to pictures in [-1, 1] that shrink to their thumbnails: [B, channels, H,
    W].
    """
    x = self.base(thumb) + self.config.spread * residual
    return fit(x, thumb, self.config.factor)


# %%
seeds = tqdm(range(4), desc="draws", leave=False)
draws = torch.stack([draw(thumb, seed) for seed in seeds])  # [4, 8, 3, 64, 64]
rows = {"thumbnail": repeat(thumb), "squared error": answer(thumb)}
rows |= {f"draw {k + 1}": draws[k] for k in range(3)}
rows["where they\ndiffer"] = 1 - 6 * draws.std(0).mean(1, keepdim=True)  # dark: open
rows["the picture"] = x_0
show_rows(rows, size=1.1)
off = max((shrink(each) - thumb).abs().max().item() for each in (*draws, answer(thumb)))
print(f"largest error of any thumbnail: {off:.1g} (a level of 256 is {2 / 255:.1g})")

# %% [markdown]
# Compare three draws of one emoji. Where they agree the thumbnail had settled it: flat areas, large shapes.
# They differ along edges, in eyes and mouths, in the hands of the clock: that is what 16 x 16 pixels leave open. The row
# *where they differ* estimates the root of $S$'s diagonal from four draws. The direct network gives one answer, and no doubt.
#
# **Drag from the mean to a draw.** $\tau = 0$ is the direct network's answer, $\tau = 1$ the draw. Below the picture stand the
# measured error as a multiple of the mean's, and the law $1 + \tau^2$.

# %%
mean, one = answer(thumb), draws[0]
taus = np.linspace(0, 1.2, 13)
frames, notes = [], []
own = (mean - x_0).square().mean()
for tau in taus:
    x = mean + tau * (one - mean)
    frames.append(np.uint8(255 * tile(x, 4)).repeat(2, 0).repeat(2, 1))
    times = (x - x_0).square().mean() / own
    notes.append(f"error {times:.2f} times the mean's; the law says {1 + tau**2:.2f}")
title = "From the mean to a draw"
Flipbook(frames, taus, label="tau", format="{:.1f}", title=title, notes=notes)

# %% [markdown]
# **Does the law of section 2 hold for networks?** It holds for perfect ones. Below, 32 held-out pictures, eight draws of
# each; the error of the mean of $k$ draws over that of the direct network, against $1 + 1/k$.

# %%
some = held[torch.arange(32) * 32]
x, y = pictures(some), shrink(pictures(some))
seeds = tqdm(range(100, 108), desc="eight draws of each", leave=False)
eight = torch.stack([draw(y, seed) for seed in seeds])  # [8, 32, 3, 64, 64]
base = (answer(y) - x).square().mean()
ks = torch.arange(1, 9)
error = (eight.cumsum(0) / ks.view(-1, 1, 1, 1, 1) - x).square().flatten(2).mean(2)  # [8, 32]
ratio = error.mean(1) / base

figure, axis = plt.subplots(figsize=(7, 3.2))
axis.plot(ks, 1 + 1 / ks, color="black", label="the law, 1 + 1/k")
axis.plot(ks, ratio, "o", color=ORANGE, label="measured, n = 32")
axis.axhline(1, color=BLUE, linestyle=":", label="the direct network")
axis.set(xlabel="draws averaged, k", ylabel="squared error", ylim=(0.8, 2.4))
axis.legend()
print(f"one draw: {ratio[0]:.2f} times the direct error, {10 * ratio[0].log10():.2f} dB")

# %% [markdown]
# Two imperfections, and the figure tells them apart. The first dots lie *below* the law: the network draws too little of what is
# open, so its draws vary less than the truth does. The last dots lie *above* it: the mean of its draws is worse than the direct
# network's answer. That may be the price of sharing as many weights among a thousand noise levels; it was not tested.
#
# Now the scores. The Fréchet distance is lesson 07's: how far the crowd of made pictures is from the crowd of real ones, in
# the features of a judge that no network of this lesson was trained with. These figures stand on the cards of the weights,
# measured on all 1,055 held-out pictures. The last line is what as many *other* real pictures score; a decoder may come nearer,
# for it was told the thumbnails of the very pictures that it is compared with.

# %%
own, other = (read_card(n)["figures"] for n in ("emoji-superres", "emoji-superres-direct"))
table = {"bicubic": own["bicubic"], "squared error": other, "one that draws": own}
print(f"{'':16}{'PSNR':>8}{'Fréchet distance':>20}")
for name, row in table.items():
    print(f"{name:16}{row['psnr']:8.2f}{row['fd']:20.3f}")
print(f"{'other real ones':16}{'':8}{own['fd_floor']:20.3f}")

# %% [markdown]
# The order turns round. By PSNR the mean wins, as it must. By the Fréchet distance the draws win: a crowd of means is not
# a crowd of emoji. Neither number is wrong; they answer two questions, *how near to this one picture* and *how like a
# picture*. A text-to-image system wants the second. A doctor who enlarges an X-ray had better want the first, for the
# draw's sharp edges are invented.
#
# **Break it.** Set `calls=1` in the first figure's `draw(thumb, seed=0)`. What do you expect of a single step from $T$
# to $0$, and which row will it resemble?
#
# <details><summary>What happens</summary>
# It is blurred, and its PSNR goes up by about a dB, towards the direct network's. One step from T puts the guess at T in the place of the picture, and that guess is
# the posterior's mean. Sharpness comes from looking again, at a picture in which part has been decided already.
# </details>
#
# # Part two: the intermediate is a latent
#
# ## 4. The best linear pair
#
# **Why should the small thing be a picture?** A thumbnail wastes its numbers: it spends all of them on colour means, and
# none on where an edge runs. Let the numbers be whatever serves the decoder best. Then there is a second network to be
# made. Besides the decoder you train an **encoder**, which says for each picture what its numbers are, and the pair is
# judged by one thing: whether the picture comes back.
#
# The linear case can be solved. Cut the pictures into patches of 4 x 4 pixels and three colours, $D = 48$ numbers, and keep
# $k$ of them: $z = V^\top (x - \mu)$, back by $\mu + V z$. The best $V$ holds the $k$ eigenvectors of the patches' covariance
# with the largest eigenvalues $\lambda_1 \ge \lambda_2 \ge \dots$ (principal component analysis). The mean squared error is
# known before anything is decoded, **it is the sum of the eigenvalues that were dropped**:
#
# $$\mathbb E\, |x - \hat x|^2 = \sum_{i > k} \lambda_i$$
#
# ### Rebuild 3: there and back

# %%
def come_back(x, k):
    """Patches x [N, D] through their k principal components and back: [N, D]."""
    # torch.linalg.eigh gives (values, V), rising; a full svd of all x would be too large
    raise NotImplementedError  # about four lines


grade.PCA(come_back)

# %% [markdown]
# At $k = 4$ a picture is 16 x 16 x 4 = 1,024 numbers, a twelfth. **Left:** the error for each $k$; the line is the sum of
# dropped eigenvalues, the dots are your function, decoded and compared. **Right:** the first twelve directions as
# patches. A thumbnail keeps three flat ones, red, green and blue. What does PCA keep?

# %%
come_back_mine = grade.PCA.or_library(come_back)
train_rows = torch.from_numpy(data.rows("train"))


def patches(x):
    """Pictures [B, 3, H, W] to their 4 x 4 patches: [B * H / 4 * W / 4, 48]."""
    return F.pixel_unshuffle(x, 4).permute(0, 2, 3, 1).reshape(-1, 48)


def unpatch(p):
    """Patches of pictures of 64 x 64 back: [B * 256, 48] to [B, 3, 64, 64]."""
    return F.pixel_shuffle(p.reshape(-1, 16, 16, 48).permute(0, 3, 1, 2), 4)


seen = patches(pictures(train_rows[::16])).double()  # [149248, 48]
mu = seen.mean(0)
values, vectors = torch.linalg.eigh((seen - mu).T @ (seen - mu) / len(seen))
values, vectors = values.flip(0), vectors.flip(1)

# %%
kept = [1, 2, 3, 4, 6, 9, 12, 18, 24, 36]
dropped = torch.stack([values[k:].sum() for k in range(49)])
measured = []
for k in tqdm(kept, desc="there and back", leave=False):
    measured.append((come_back_mine(seen, k) - seen).square().sum(1).mean())

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=[1.3, 1])
left.semilogy(range(49), dropped, color="black", label="sum of dropped eigenvalues")
left.semilogy(kept, measured, "o", color=BLUE, label="there and back")
left.set(xlabel="numbers kept of 48, k", ylabel="squared error a patch", ylim=(0.01, 40))
left.legend()
looks = F.pixel_shuffle(vectors[:, :12].T.float().reshape(12, 48, 1, 1), 4)
right.imshow(tile(3 * looks, 6))
right.set_axis_off()
gap = max(abs(m - dropped[k]) / dropped[k] for k, m in zip(kept, measured))
print(f"largest difference between dots and line: {gap:.1g} of the error")

# %% [markdown]
# The first two directions are flat: brightness and one colour. Then come two gradients, an edge across and an edge down, and only
# the fifth is flat again. So to PCA an edge is worth more than the third colour. On the held-out pictures:

# %%
centre = mu.float()
for k in (3, 4):
    V = vectors[:, :k].float()
    linear = unpatch(centre + (patches(everything) - centre) @ V @ V.T)
    print(f"PCA, {256 * k:5,} numbers: {psnr(linear, everything).mean():.2f} dB")
print(f"thumbnail, {256 * 3} numbers: {psnr(repeat(small), everything).mean():.2f} dB")

# %% [markdown]
# ## 5. A pair of networks, trained here
#
# **How much better is a pair that is not linear?** Neighbouring patches know of each other: an edge goes on. Convolutions
# can use that, PCA patch by patch cannot. Our pair begins *as* PCA and adds a small network to either half, whose last layer
# starts at zero. So its loss starts on PCA's and can only be earned from there.

# %%
def convolutions(start, end, blocks, width=64):
    """A small network on maps whose last layer starts at zero."""
    inner = [AddedResBlock(width, width, None, 8) for _ in range(blocks)]
    last = zero_init(nn.Conv2d(width, end, 3, padding=1))
    return nn.Sequential(nn.Conv2d(start, width, 3, padding=1), *inner, last)


# %%
class Pair(nn.Module):
    """PCA's encoder and decoder, and what a network adds to each."""

    def __init__(self, V, mu, spread):
        super().__init__()
        self.register_buffer("into", (V / spread).T[:, :, None, None])
        self.register_buffer("out", (V * spread)[:, :, None, None])
        self.register_buffer("mu", mu[:, None, None])
        self.see, self.paint = convolutions(48, 8, 1), convolutions(4, 48, 3)

    def posterior(self, x):
        p = F.pixel_unshuffle(x, 4) - self.mu  # [B, 48, 16, 16]
        mean, log_std = self.see(p).chunk(2, dim=1)
        return F.conv2d(p, self.into) + mean, (log_std - 3).exp()  # [B, 4, 16, 16] each

    def decode(self, z):  # latents to pictures
        return F.pixel_shuffle(F.conv2d(z, self.out) + self.mu + self.paint(z), 4)


# %% [markdown]
# The loss is a variational autoencoder's (lesson 02), with one term turned down: the squared error of the picture that
# comes back, and a very small weight on the KL divergence between the encoder's Normal and $\mathcal N(0, 1)$,
#
# $$\text{loss} = \operatorname{mean}\,(x - \hat x)^2 + 10^{-4}\operatorname{mean}\,\text{KL}, \qquad
# \text{KL} = \tfrac12\left(m^2 + s^2 - 1\right) - \ln s \ \text{ a number}.$$
#
# No text is used, and no label. **Watch the curve start near PCA's line and fall.** Training ends after 12,800 pictures or
# 45 seconds, whichever comes first. (Averaged weights, `Ema`, and the optimizer, `Muon`: lesson 05.)

# %%
torch.manual_seed(0)
pair = place(Pair(V, centre, values[:4].sqrt().float()), "cpu")


def pair_loss(batch):
    """The squared error of what comes back, and a little KL."""
    x = batch[0]
    mean, std = (each.float() for each in pair.posterior(x))
    back = pair.decode(mean + std * torch.randn_like(std)).float()
    kl = ((mean**2 + std**2 - 1) / 2 - std.log()).mean()
    mse = (back - x).square().mean()
    return {"loss": mse + 1e-4 * kl, "mse": mse.detach()}


# %%
ema, scale = Ema(pair), warmup_flat_decay(warmup=30, flat=0.5)
phase = Phase("pair", pair, pair_loss, Muon(pair, lr=3e-3), ema, scale)
shown = data.images[data.rows("train")]
batches = Batches(shown, np.zeros(len(shown), dtype=np.int64), 32, seed=0)
curve, began = [], time.perf_counter()
for step in tqdm(train([phase], batches, 400), total=400, desc="training", leave=False):
    curve.append(step.losses["pair"]["mse"].item())
    if time.perf_counter() - began > 45:
        break

# %%
sample = everything[::8]  # 132 pictures
pair = ema.module
shipped = load_weights("emoji-autoencoder", device="cpu")
with torch.no_grad(), autocast("cpu"):
    mine = pair.decode(pair.posterior(sample)[0]).float()
    parts = tqdm(sample.split(22), desc="shipped", leave=False)
    theirs = torch.cat([shipped.decode(shipped.encode(part)).float() for part in parts])
scores = {"PCA": linear[::8], "yours": mine, "shipped": theirs}
for name, images in scores.items():
    print(f"{name:8} {psnr(images, sample).mean():.2f} dB on {len(sample)} held-out pictures")
late = "" if len(curve) == 400 else ": time ran out, the curve would go on"
print(f"trained on {32 * len(curve):,} pictures{late}")

levels = {name: (scores[name] - sample).square().mean() for name in ("PCA", "shipped")}
learning_figure(curve, 32, levels);

# %%
look = [0, 17, 30, 47, 58, 76, 90, 122]
rows = {name: images[look] for name, images in {"picture": sample, **scores}.items()}
show_rows(rows, size=1.2);

# %% [markdown]
# Same 1,024 numbers in all three rows. Look at the banknote: PCA has no number left for green. The row at the bottom is the autoencoder that the course ships: Stable
# Diffusion's architecture (a convolutional encoder and decoder with attention in the middle), 2.7 million parameters, trained on
# twelve times as many pictures as a full run of yours. It stands some 12 dB above PCA, a sixteenth of the error, and none of
# that comes from more numbers in the latent: it comes from a pair that knows emoji.
#
# ## 6. What a latent is
#
# **What do the four channels show?** Below: pictures, their latents channel by channel, and what comes back. This is what
# lesson 09's generator will paint: not pictures, but these maps.

# %%
with torch.no_grad():
    z, std = shipped.posterior(x_0)  # [8, 4, 16, 16] each
    back = shipped.decode(z)
scaled = (z - shipped.latent_mean[:, None, None]) / shipped.latent_std[:, None, None]
maps = (scaled / 3).clamp(-1, 1).split(1, dim=1)
rows = {"picture": x_0} | {f"channel {c + 1}": each for c, each in enumerate(maps)}
show_rows(rows | {"comes back": back}, size=1.1)
figures = read_card("emoji-autoencoder")["figures"]
print(f"on all 1,055 held-out pictures: {figures['psnr_test']:.1f} dB,", end=" ")
print(f"Fréchet distance {figures['fd']:.3f}; other real ones {figures['fd_floor']:.2f}")

# %% [markdown]
# As a crowd, what comes back is far nearer than other real pictures are: it is made from the very pictures it is compared with.
#
# A latent is still a map: its places are places of the picture, sixteen by sixteen. **Drag one number and see its patch
# change.** Below, the two axes add to channels 1 and 3 of the latent at *one* place of 16 x 16, row 8 and column 10, in units of
# their spread. Shown are the 24 x 24 pixels around it, a corner of the first emoji's mouth; in the middle as it comes back.

# %%
place_y, place_x = 8, 10
offsets = torch.linspace(-6, 6, 13)
changed = z[:1].repeat(169, 1, 1, 1)
grid = torch.cartesian_prod(offsets, offsets)  # rows: channel 3; columns: channel 1
changed[:, 0, place_y, place_x] += grid[:, 1] * shipped.latent_std[0]
changed[:, 2, place_y, place_x] += grid[:, 0] * shipped.latent_std[2]
with torch.no_grad(), autocast("cpu"):
    parts = tqdm(changed.split(13), desc="169 latents", leave=False)
    decoded = torch.cat([shipped.decode(part).float() for part in parts]).clamp(-1, 1)
close = decoded[:, :, 22:46, 30:54]  # around the place's own pixels, 32 to 35 and 40 to 43
close, axis = close.unflatten(0, (13, 13)), offsets.tolist()
looks = {"xlabel": "channel 1", "ylabel": "channel 3", "title": "One place of the latent"}
Plane(close, axis, axis, blend=True, **looks)

# %%
moved = (decoded - decoded[84]).square().sum(1).mean(0)  # [64, 64]; 84 is the middle
total, y, x = moved.sum(), 4 * place_y, 4 * place_x
for side in (4, 12, 20, 28):
    rim = (side - 4) // 2
    inside = moved[max(y - rim, 0) : y + 4 + rim, max(x - rim, 0) : x + 4 + rim].sum() / total
    print(f"{inside:4.0%} of the squared change falls within {side} x {side} pixels")

# %% [markdown]
# The number acts on its own patch and on its neighbours, and hardly beyond: the decoder makes edges that go on. A
# thumbnail's pixel would have changed one flat square.
#
# ### Why the KL term is small, and why it is there
#
# The encoder gives a mean $m$ and a standard deviation $s$, and in training the decoder is shown $m + s\,\varepsilon$. With the
# KL term at its full weight, a VAE's, latents near $\mathcal N(0, 1)$ would be worth more than edges. Take one latent number
# that the decoder multiplies by a gain $g$. Noise $s$ costs the picture $g^2 s^2$, and KL charges $w\,(s^2/2 - \ln s)$. The
# best $s$ is where the slopes cancel:
#
# $$s^2 = \frac{w}{2 g^2 + w}$$
#
# (Both are summed over a picture here. Section 5 takes means, over 12,288 numbers and over 1,024, so there its weight counts twelve
# times: $w = 12 \cdot 10^{-4}$.)
#
# With a small weight $w$ the noise is small and the number carries much; at $w = 0$ nothing keeps the encoder from spreading
# its latents without bound, or from hiding detail in the last digit of a number, where no generator will ever hit it. So
# the small term buys tolerance. **How exact must a generator be?** Noise of a share $c$ of the latents' spread is added,
# then decoded:

# %%
shares = [0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8]
noise = torch.randn(z.shape, generator=seeded(3)) * shipped.latent_std[:, None, None]
with torch.no_grad():
    noisy = [shipped.decode(z + c * noise) for c in shares]
own = (std.mean((0, 2, 3)) / shipped.latent_std).tolist()
print("the encoder's own s over the spread:", ", ".join(f"{each:.3f}" for each in own))
rows = {f"picture {i}": torch.stack([back[i] for back in noisy]) for i in (0, 3, 6)}
scores = [psnr(back, x_0).mean() for back in noisy]
show_rows(rows, [f"c = {c:g}\n{s:.1f} dB" for c, s in zip(shares, scores)], size=1.4);

# %% [markdown]
# A tenth of the spread, at least twice the encoder's own $s$, costs decibels that one hardly sees. Two tenths show.
#
# ## 7. The scale
#
# A schedule assumes data of spread 1 (lesson 04). A decoder's latents have whatever spread training gave them. **What happens
# if you diffuse them as they are?** Signal is $\alpha_t z$ and noise $\sigma_t\,\varepsilon$. Their powers are $\alpha_t^2 s^2$
# and $\sigma_t^2$ where $z$ has the spread $s$.
#
# ### Rebuild 4: the log-SNR of latents

# %%
def log_snr(alpha, sigma, spread):
    """Log of signal power over noise power of alpha z + sigma eps, in nats; `spread` is the
    standard deviation of z.
    """
    raise NotImplementedError  # one line; torch.log


grade.SCALE(log_snr)

# %% [markdown]
# So a scale that is wrong by $s$ moves the whole curve by $2 \ln s$. **Left:** the shipped latents, channel by channel, as they are
# and normalised. **Right:** log-SNR under the cosine schedule for three spreads. 5.49 is Stable Diffusion's: its famous 0.18215
# is $1 / 5.49$. The dots show where signal and noise are equal: read off how much of the schedule is left to decide what the
# picture shows.

# %%
log_snr_mine = grade.SCALE.or_library(log_snr)
with torch.no_grad(), autocast("cpu"):
    parts = pictures(train_rows[::150]).split(21)
    many = torch.cat([shipped.encode(part).float() for part in parts])  # [63, 4, 16, 16]
mean, spread = shipped.latent_mean, shipped.latent_std
t = torch.arange(1, 1000)
curve_of = partial(log_snr_mine, plan.alpha[t], plan.sigma[t])  # of a spread
spread_figure(many, mean, spread, curve_of, [1.0, spread.max().item(), 5.49]);

# %% [markdown]
# With spread 5.49 the picture stands above the noise for nine tenths of the schedule: nearly all training steps would show the
# network what it can read off, and few the noise levels where it is decided what the picture is. The library's
# `LatentCodec` takes the mean and the spread of *each channel* from the training pictures and puts them back before decoding.
#
# **Drag the scale.** What the decoder makes of latents that are $c$ times too large (about their mean):

# %%
factors = [0, 0.25, 0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3]
middle = shipped.latent_mean[:, None, None]
frames, notes = [], []
with torch.no_grad(), autocast("cpu"):
    for c in tqdm(factors, desc="scales", leave=False):
        back = shipped.decode(middle + c * (z - middle)).float()
        frames.append(np.uint8(255 * tile(back, 4)).repeat(2, 0).repeat(2, 1))
        notes.append(f"{psnr(back, x_0).mean():.1f} dB")
Flipbook(frames, factors, label="c", title="Latents c times too large", notes=notes, start=5)

# %% [markdown]
# ## 8. What it saves
#
# **Why go to this trouble?** Count. Below, the generator's architecture of lesson 09, once on latents of 16 x 16 x 4 and once on
# the pixels themselves, 64 x 64 x 3: operations of one call (multiplications and additions, counted as they run),
# and measured seconds. Both are timed here, one after the other, and only their *ratio* means anything on another machine.

# %%
config, told, rows = recipe("sd-emoji").config, torch.zeros(1, 32, 192), {}
spaces = (("latents", 4, 16), ("pixels", 3, 64))
for name, channels, side in tqdm(spaces, desc="two spaces", leave=False):
    unet = TextUNet(replace(config, channels=channels)).eval()
    x_t = torch.randn(1, channels, side, side)
    rows[name] = cost_of(partial(unet, x_t, torch.tensor([500]), told))
rows["decoder"] = cost_of(partial(shipped.decode, z[:1]))
for name, (work, _) in rows.items():
    print(f"{name:8} {work:7.1f} billion operations a call")

# %%
ratios = []
for k in range(2):  # operations, seconds
    in_latents = 40 * rows["latents"][k] + rows["decoder"][k]
    ratios.append(40 * rows["pixels"][k] / in_latents)
print("a picture in 40 calls, in pixels over in latents with the decoder:")
print(f"{ratios[0]:.0f} times the operations, {ratios[1]:.0f} times the seconds")
share = rows["decoder"][0] / (40 * rows["latents"][0] + rows["decoder"][0])
print(f"of the work in latents, the decoder is {share:.1%}")

# %% [markdown]
# A map of a quarter of the side has a sixteenth of the places, so convolutions cost a sixteenth. Attention, where every place
# looks at every other, costs a 256th. The decoder is paid for once a picture, the generator at each call.
#
# To be fair: folding pixels (4 x 4 pixels become 48 channels, as part one's networks do) makes calls as cheap. But all 12,288 numbers
# must still be *learnt*, most of them detail that a decoder could have supplied.
#
# And the price? What the encoder drops, no generator can bring back: the pair's PSNR is a ceiling. For large pictures that is
# one reason why small faces and letters suffered in the first latent models.
#
# ## 9. What PSNR does not see
#
# **Which is worse: a picture moved by one pixel, or one whose right half is gone?** Guess before you run the cell. On the
# 1,055 held-out pictures: the mean squared error of four kinds of damage, and on which share of the pictures each costs more than
# the blank half. Beside it the cosine by lesson 07's judge, which looks at what is shown: 1 is "the same".

# %%
shifted = torch.cat([everything[..., :1], everything[..., :-1]], dim=-1)
half = everything.clone()
half[..., 32:] = 1.0  # white
damage = {
    "moved by one pixel": shifted,
    "right half blank": half,
    "bicubic from 16 x 16": enlarge(small),
    "PCA, 1,024 numbers": linear,
}
cost = {name: (x - everything).square().flatten(1).mean(1) for name, x in damage.items()}
judge = load_weights("emoji-judge", device="cpu")
with torch.no_grad(), autocast("cpu"):
    right_ones = judge.image(sample)
    looks = {name: judge.image(x[::8].clamp(-1, 1)) for name, x in damage.items()}

# %%
one, gone = cost["moved by one pixel"], cost["right half blank"]
print(f"{'':21}{'median error':>14}{'worse than blank':>18}{'judge':>8}")
for name, error in cost.items():
    cosine = F.cosine_similarity(looks[name].float(), right_ones.float()).median()
    worse = (error > gone).float().mean()
    print(f"{name:21}{error.median():14.3f}{worse:18.1%}{cosine:8.2f}")

order = (one / gone.clamp(min=1e-6)).argsort(descending=True)[:7]
rows = {"picture": everything, "moved by one": shifted, "blank": half}
titles = [f"{one[i]:.3f} : {gone[i]:.3f}" for i in order]
show_rows({name: images[order] for name, images in rows.items()}, titles, size=1.3);

# %% [markdown]
# Two things to see. A shift that no eye notices costs, in the median, about as much as enlarging a thumbnail:
# as much as throwing away fifteen numbers of sixteen. And there are pictures, about one in a hundred of ours, where it costs *more* than
# blanking the right half (above, with the two errors): mostly lines on white, whose blank half loses little, while an edge that moves pays twice, where it is
# missing and where it is too much. That is
# the exception, and saying how often is part of the measurement.
#
# The judge hardly notices the shift, and sees at once that half is missing. So an autoencoder is trained on the squared error *and*
# on a loss that sees more: Stable Diffusion's adds the distance in a network's features (a perceptual loss) and a
# discriminator on patches (lesson 06). Ours does without, because on flat colours it comes back well enough.
#
# ## 10. When the pair breaks
#
# **Which line is wrong?** One shipped autoencoder, used in eight ways: one is right, seven have one wrong line each. All have stood
# in somebody's code. Under each stand five figures: PSNR; how much brighter the picture became; its contrast
# over the true one; the spread of the normalised latents that were decoded, and the largest of them. A right use has latents of
# spread about 1, since that is what they were normalised to.

# %%
hung = grade.gallery(shipped, x_0)
codecs_figure(hung, shown=[0, 2, 3, 7])
for number, bug in grade.BUGS.items():
    print(number, bug.line)

# %% [markdown]
# ### The quiz: give each letter the number of its line

# %%
answers = {"A": ..., "B": ..., "C": ..., "D": ..., "E": ..., "F": ..., "G": ..., "H": ...}

grade.GALLERY(answers)

# %% [markdown]
# Two of the eight cannot be told apart by eye. Noise of the wrong size costs little *because* the KL term taught the
# decoder to forgive noise: a bug can hide behind a strength of the model, and only a number finds it. A round trip on real
# pictures, with its PSNR printed, belongs at the head of every program that uses a codec.
#
# **Break it.** In section 5, set the weight of KL to 1 in `pair_loss`, and run that cell and the two after it again. What becomes of the PSNR, and of
# `pair.posterior(sample)[1]`?
#
# <details><summary>What happens</summary>
# It starts at PCA's 21 dB and *falls*: training's curve to 13 to 15 dB, the averaged net to 16 or 17, while the standard deviations grow from 0.05 to
# nearly 1. With w = 12 (section 6) a direction whose eigenvalue is below w / 2 is given up.
# </details>
#
# ## 11. What you can say now
#
# A decoder is a model of what the small thing leaves open. If the small thing is a thumbnail, the decoder draws, and the
# draw is honest if it shrinks back. If it is a latent, an encoder is trained with it, without a word of text, and the
# pair is honest if the picture comes back. In both cases the generator's work shrinks by an order of magnitude, and lesson 09
# can afford to listen to a prompt.
#
# | here | the field's term | 中文 |
# |---|---|---|
# | the small thing | intermediate representation, latent | 中间表示，潜变量 |
# | thumbnail to picture | super-resolution | 超分辨率 |
# | the mean of what is possible | posterior mean, MMSE estimate | 后验均值，最小均方误差估计 |
# | a draw | posterior sample | 后验样本 |
# | fits its thumbnail | data consistency, projection | 数据一致性，投影 |
# | near to this picture, or like a picture | perception-distortion trade-off | 感知与失真的权衡 |
# | the pair | autoencoder, KL-regularised | 自编码器，KL 正则化 |
# | dropped eigenvalues | PCA reconstruction error | 主成分分析的重构误差 |
# | the scale | latent scaling factor | 潜变量缩放因子 |
# | PSNR | peak signal-to-noise ratio | 峰值信噪比 |
#
# **To read on.** Saharia et al. 2021, *Image super-resolution via iterative refinement* (SR3). Blau and Michaeli 2018, *The
# perception-distortion tradeoff*: the twice of section 2, and why no decoder wins on both. Rombach et al. 2022, *High-resolution
# image synthesis with latent diffusion models*, sections 3.1 and 4.1.
