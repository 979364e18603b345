# %% [markdown]
# # 05. The noise predictor
#
# *Lesson 04 took away what does not belong to the picture. Something had to tell it what that was. This lesson makes
# that something: a net that looks at a noisy picture and says which noise is in it.*
#
# After this page you can
#
# - write the training and the sampling of a diffusion model from memory, and name the line of the paper for each line,
# - say where **zero** is: how far a loss can fall at all, and why you would not want it to get there,
# - test a noise predictor without a label, without a density and without looking at a picture,
# - derive the variational bound, and check every step of the derivation with numbers,
# - say what guidance samples, which is not what it is usually said to sample,
# - choose a target and a sampler by what they do to the error.
#
# Six times you write the five lines that matter, and what you wrote runs on in the cells below it. A stub that you leave
# as it is does no harm: the library's version steps in.

# %%
import math
from collections.abc import Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_lib import TARGETS, Denoiser, Ema, Muon, Phase, Schedule, Step, UNet, UNetConfig
from course_lib import autocast, clipped, default_device, final, guided, load_weights, mixture_denoiser, place, train
from course_lib import sample_ddim, sample_dpmpp_2m, sample_heun
from course_lib.data import CLASSES, fashion_batches, fashion_mnist, to_float
from course_lib.diffusion import Denoise
from course_lib.diffusion.denoiser import randn_like, stratified_times
from course_lib.exercises import noise_predictor as exercises
from course_lib.recipes import ddpm_fashion
from course_lib.training import warmup_flat_decay
from course_lib.widgets import Flipbook, Scrubber
from course_lib.widgets.plots import BLUE, GREEN, GREY, ORANGE, PALETTE, PINK, RED, SKY, show_rows, tile, use_style

use_style()
device = default_device()

# %% [markdown]
# Three helpers serve the whole page: a noise that is the same on every machine, a question to a denoiser, and a whole
# sampling run.

# %%
plan = ddpm_fashion.schedule()  # the cosine schedule that the shipped net was trained on
T = plan.T


def noise(*shape: int, seed: int) -> Tensor:
    """Standard Normal noise, always the same for a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def ask(denoise: Denoise, x_t: Tensor, t, cond=None) -> tuple[Tensor, Tensor]:
    """A denoiser's x0 and eps, computed in the device's fast precision and handed back on the CPU."""
    cond = None if cond is None else cond.to(device)
    with autocast(device):
        x0, eps = denoise(x_t.to(device), t, cond)
    return x0.cpu(), eps.cpu()


def sample(sampler, denoise: Denoise, x: Tensor, times, cond: Tensor, schedule: Schedule = plan, **options) -> Tensor:
    """Run a sampler from the noise x to the finished images."""
    with autocast(device):
        return final(sampler(denoise, schedule, x.to(device), times, cond.to(device), **options)).cpu()


# %%
test_images, test_labels = (torch.from_numpy(np.array(part)) for part in fashion_mnist("test"))
train_images, train_labels = (torch.from_numpy(np.array(part)) for part in fashion_mnist("train"))
test_labels, train_labels = test_labels.long(), train_labels.long()

net = load_weights("ddpm-fashion")
shipped = ddpm_fashion.denoiser(net)  # (x_t, t, class) -> (x0, eps), as trained
careful = clipped(shipped, plan)  # the same, with x0 kept between black and white: for sampling

# %% [markdown]
# ## 1. Where does the label come from?
#
# A net learns from questions with known answers. *"Which noise is in this picture?"* is a question that nobody can
# answer for a picture found in the world. So turn it round:
#
# 1. take a picture without noise, `x0`;
# 2. add noise to it, step by step, and **keep the noise**: it is the label, `eps`;
# 3. give the net the noisy picture `x_t`, and tell it how many steps were made, `t`;
# 4. let it say what it thinks was added, compare with what was kept, and turn its weights so that it misses by less.
#
# That is all. No photograph was labelled by anyone; a picture and a random number generator make as many questions as
# you like.
#
# Look at the columns below, one ankle boot with six amounts of noise. **Before you read on:** in which column is the
# question easiest for the net, and in which hardest?

# %%
times = torch.tensor([20, 100, 300, 500, 700, 900])
x0 = to_float(test_images[:1]).expand(6, -1, -1, -1)
eps = noise(6, 1, 28, 28, seed=1)
x_t = plan.add_noise(x0, times, eps)
x0_seen, eps_guess = ask(shipped, x_t, times, test_labels[:1].expand(6))
miss = (eps_guess - eps).square().mean(dim=(1, 2, 3))

rows = {
    "given: $x_t$": x_t,
    "kept: eps": eps / 3,
    "guessed": eps_guess / 3,
    "missed by": (eps_guess - eps) / 3,
    "image seen": x0_seen,
}
show_rows(rows, titles=[f"t = {t}\nerror {e:.3f}" for t, e in zip(times.tolist(), miss.tolist(), strict=True)]);

# %% [markdown]
# The error is the mean square over the pixels; noise has mean square 1, so 1 is the score of a net that says nothing.
#
# It is **largest where the picture looks nearly clean**. At $t = 20$ the noise is as faint as the weave of the cloth,
# and the net cannot tell the two apart. At $t = 900$ nobody sees the boot, and the question is easy: nearly all of
# $x_t$ *is* the noise, so repeating the input is nearly right. The last row shows what the rest is worth: the picture that
# each answer implies, $\hat x_0 = (x_t - \sigma_t\,\hat\varepsilon)/\alpha_t$.
#
# Keep this in mind for the rest of the page: **the error in eps and the error in the picture tell opposite stories.**
#
# ### All the noise, or the noise of the last step?
#
# The idea says "add noise step by step". Then which noise is the label: that of the last step, or of all steps together?
# A small step of variance $\beta_t$ keeps a share $1-\beta_t$ of the variance that was there. So the share of the
# *image* that is left after $t$ steps is a product,
#
# $$\bar\alpha_t = (1-\beta_1)(1-\beta_2)\cdots(1-\beta_t), \qquad \alpha_t = \sqrt{\bar\alpha_t}, \qquad
# \sigma_t = \sqrt{1-\bar\alpha_t}.$$
#
# **Rebuild 1.** From the betas to the table of $\bar\alpha$. Entry 0 belongs to the clean image.

# %%
def alpha_bar_table(beta: Tensor) -> Tensor:
    """beta [T], the variances of the steps 1 .. T, to alpha_bar [T + 1], whose entry t belongs to time t."""
    raise NotImplementedError


exercises.ALPHA_BAR(alpha_bar_table)

# %% [markdown]
# Your table becomes a `Schedule` of the library: DDPM's own, with betas from 0.0001 to 0.02. Then sixty-four pictures
# walk through all thousand small steps. At some of them we stop, take what all steps together have added,
# $(x_t - \alpha_t x_0)/\sigma_t$, and look at its mean, its spread, and how much it has to do with the noise of the
# *last* step.

# %%
my_table = exercises.ALPHA_BAR.or_library(alpha_bar_table)
beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
alpha_bar = my_table(beta)
linear = Schedule(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())

x0 = to_float(test_images[:64])
x, generator = x0, torch.Generator().manual_seed(0)
print("   t   mean   spread   correlation with the last step's noise    sqrt(beta_t) / sigma_t")
for t in range(1, T + 1):
    z, b = torch.randn(x.shape, generator=generator), beta[t - 1].item()
    x = (1 - b) ** 0.5 * x + b**0.5 * z
    if t in (1, 10, 100, 400, 1000):
        total = (x - linear.alpha[t] * x0) / linear.sigma[t]
        shared = torch.corrcoef(torch.stack([total.flatten(), z.flatten().double()]))[0, 1]
        predicted = b**0.5 / linear.sigma[t]
        print(f"{t:4d} {total.mean():6.2f} {total.std():8.2f} {shared:22.2f} {predicted:32.2f}")

# %% [markdown]
# At every time, all the noise together has mean 0 and spread 1 (n = 50,176 pixels). A thousand small draws have made one
# standard Normal, as if it had been drawn in **one jump**: $x_t = \alpha_t x_0 + \sigma_t\,\varepsilon$ (lesson 04 shows
# the two equal in law). That total is the label.
#
# The last step's noise is a sliver of it. Given the total, the best guess at the last step is
# $\frac{\sqrt{\beta_t}}{\sigma_t}\,\varepsilon$, the number in the last column, so a net that knows one knows the other:
# nothing is lost by asking for the total, and training needs one jump instead of $t$ steps.
#
# ## 2. Two more inputs: the step, and the wish
#
# Why tell the net $t$? Can't it see how noisy the picture is? Take pictures at three true times, and **tell the net a
# wrong one**. Look for the place of the lowest point of each curve.

# %%
told = torch.tensor([5, 25, 50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 800, 900])
x0, label, eps = to_float(test_images[:16]), test_labels[:16], noise(16, 1, 28, 28, seed=2)
for true, colour in zip((100, 300, 600), (BLUE, RED, GREEN), strict=True):
    x_t = plan.add_noise(x0, true, eps)
    error = [(ask(shipped, x_t, t, label)[1] - eps).square().mean().item() for t in told.tolist()]
    plt.plot(told, error, "o-", color=colour, label=f"the picture has the noise of t = {true}")
    plt.axvline(true, color=colour, linestyle=":")
plt.axhline(1, color=GREY, linewidth=1)
plt.gca().set(xlabel="the time that the net is told", ylabel="error in eps", yscale="log")
plt.title("16 test pictures; dotted: the true time; grey: a net that says nothing")
plt.legend();

# %% [markdown]
# Each curve has its lowest point at the truth. Told too small a time, the net looks for fine grain and leaves the coarse
# noise in; told too large a one, it takes the boot for noise as well. One net does a thousand different jobs, from
# "sharpen a seam" to "invent a garment", and $t$ says which one is wanted.
#
# (The other way round it is a measuring instrument: try all times, and the best one *is* the noise level.)
#
# ### How a net reads a number
#
# A number from 0 to 1000 on one input wire is a poor way to say it: 3 and 4 look the same, and 1000 shouts. So the time
# is written as a row of waves, the fast ones telling 3 from 4 and the slow ones 300 from 400:
#
# $$\mathrm{embed}(t) = \big(\cos \omega_0 t, \ldots, \cos \omega_{h-1} t,\; \sin \omega_0 t, \ldots, \sin \omega_{h-1} t\big),
# \qquad \omega_j = 10000^{-j/h},\quad h = \tfrac{\mathrm{dim}}{2}.$$
#
# **Rebuild 2.**

# %%
def embed(t: Tensor, dim: int) -> Tensor:
    """Times t [B] to [B, dim]: dim / 2 cosines, then dim / 2 sines, from the fastest wave to the slowest."""
    raise NotImplementedError


exercises.TIME_EMBEDDING(embed)

# %% [markdown]
# A good embedding gives near times near rows, and far times other ones. Left: the rows themselves. Middle: how much
# alike the rows of two times are. Right: the same for a common slip, sines on every second *row* (time) instead of in
# their own *columns*.

# %%
my_embed = exercises.TIME_EMBEDDING.or_library(embed)
t = torch.arange(0, 1001, 4)
rows = my_embed(t, 64)
slip = torch.where((t // 4 % 2 == 0)[:, None], my_embed(t, 128)[:, 64:], my_embed(t, 128)[:, :64])
figure, axes = plt.subplots(1, 3, figsize=(12, 3.8))
axes[0].imshow(rows, aspect="auto", extent=(0, 64, 1000, 0), cmap="RdBu", vmin=-1, vmax=1)
axes[0].set(title="the embedding", xlabel="column", ylabel="t")
for axis, table, title in zip(axes[1:], (rows, slip), ("likeness of two times", "with the slip"), strict=True):
    unit = nn.functional.normalize(table, dim=1)
    shown = axis.imshow(unit @ unit.T, extent=(0, 1000, 1000, 0), cmap="viridis", vmin=-0.2, vmax=1)
    axis.set(title=title, xlabel="t", ylabel="another t")
    near = (unit[:-1] * unit[1:]).sum(1).mean()
    axis.text(60, 930, f"neighbours: {near:.2f}", color="white", fontsize=12)
figure.colorbar(shown, ax=axes[2], label="cosine");

# %% [markdown]
# A bright diagonal: neighbours alike, strangers not. With the slip, a time and its neighbour have little in common, and
# the net has to learn even and odd times apart. It trains all the same, a little worse, and no error message ever comes.
# (The text so far needs only 250 of the 1001 times; `t // 4 % 2` picks every second of them.)
#
# ### The condition is one more input
#
# What kind of picture is wanted comes in by the same door: a row of numbers for each class, added to the time's
# (`UNet.embed`). Here a class; in lesson 09 the numbers come from a sentence. What does it change? Take **one and the same
# pure noise** and name each class in turn. There is nothing to see in pure noise. What does the net answer?

# %%
kinds = torch.arange(10)
one_noise = noise(1, 1, 28, 28, seed=4).expand(10, -1, -1, -1)
answer = ask(shipped, one_noise, T, kinds)[0]
means = torch.stack([to_float(train_images[train_labels == k]).mean(0) for k in range(10)])
show_rows({"net, told the class": answer, "mean of the class": means}, titles=CLASSES)
print(f"root mean square difference {(answer - means).square().mean().sqrt():.2f}, of a scale from -1 to 1")

# %% [markdown]
# It answers **the mean of that class**: the average of its 5,500 or so training pictures. It was never told to. It is what the
# comparison in step 4 rewards: with nothing to go by, and misses counted as *squares*, the mean is the best bet. At
# smaller $t$ it is the mean of those pictures that could have become this $x_t$. That is the one sentence to remember of
# this lesson:
#
# > Trained on squared error, the net is a machine for **conditional means**: $\hat x_0 = \mathrm{E}[x_0 \mid x_t]$,
# > $\hat\varepsilon = \mathrm{E}[\varepsilon \mid x_t]$.
#
# ## 3. What is really done: Algorithm 1
#
# A run over all steps for each picture would cost a thousand times too much, and its questions would all be about one
# picture. So nobody walks: **a random time, one jump, one loss**.
#
# | line | Algorithm 1 (Ho et al. 2020) | here |
# |---|---|---|
# | 1 | repeat | `for ... in train(...)` |
# | 2 | $x_0 \sim q(x_0)$ | the next batch of images |
# | 3 | $t \sim \mathrm{Uniform}(\{1, \ldots, T\})$ | `stratified_times` |
# | 4 | $\varepsilon \sim \mathcal N(0, I)$ | `randn_like` |
# | 5 | gradient step on $\lVert \varepsilon - \varepsilon_\theta(\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon,\; t)\rVert^2$ | `add_noise`, `predict`, `square`; then `train` calls `backward` and moves |
# | 6 | until converged | `steps`, `seconds` |
#
# And this is the library's text (the cell is kept equal to it by a tool, so you read what runs):

# %% src="course_lib/diffusion/denoiser.py::Denoiser.loss"

# %% [markdown]
# Where it is more than the paper's line: the times are drawn one in each of $B$ equal slots (*stratified*), so that no
# batch is by chance all easy or all hard; the label may be another mix of $x_0$ and $\varepsilon$ than the noise alone
# (section 9); and the norm is a mean over the pixels, so that 1 is the score of silence at any image size.
#
# **Rebuild 3.** Line 5, for the noise as target. Mind the shapes: $\alpha_t$ is one number *per image*.

# %%
def noise_loss(predict, alpha: Tensor, sigma: Tensor, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Mean squared error in eps of each image: [B].

    predict(x_t, t) is the net; alpha and sigma [T + 1] are tables; x0 and eps [B, C, H, W]; t [B] are times 1 .. T.
    """
    raise NotImplementedError


exercises.NOISE_LOSS(noise_loss)

# %% [markdown]
# ### The smallest picture in the world
#
# Before it meets real pictures, your loss trains on pictures of **one pixel**. Three bumps of grey, two of them of
# kind 0 and one of kind 1. For this data everything is known: the density, the best denoiser, the best loss. Wherever
# this page makes a claim about *all* of a distribution, this is where we check it.

# %%
centres = torch.tensor([-0.9, 0.0, 0.8]).reshape(3, 1, 1, 1)
shares, spread, kind_of = torch.tensor([0.3, 0.3, 0.4]), 0.3, torch.tensor([0, 0, 1])


def one_pixel(n: int, generator: torch.Generator) -> Tensor:
    """n pictures of one pixel [n, 1, 1, 1]."""
    bump = torch.multinomial(shares, n, replacement=True, generator=generator)
    return centres[bump] + spread * torch.randn(n, 1, 1, 1, generator=generator)


def density(x: Tensor, alpha: float = 1.0, sigma: float = 0.0, kind: int | None = None) -> Tensor:
    """The density of alpha * pixel + sigma * eps at each x [N]; of one kind only, if kind is given."""
    share = shares if kind is None else shares * (kind_of == kind) / shares[kind_of == kind].sum()
    variance = (alpha * spread) ** 2 + sigma**2
    bell = (-((x[:, None] - alpha * centres.flatten().to(x)) ** 2) / (2 * variance)).exp()
    return (share.to(x) * bell).sum(1) / math.sqrt(2 * math.pi * variance)


# %% [markdown]
# The net: three layers, which get the pixel and *your* embedding of the time. It trains with *your* loss for 1,500
# steps. Watch the last number of the bar.

# %%
torch.manual_seed(0)
tiny = nn.Sequential(nn.Linear(1 + 32, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1))
my_loss = exercises.NOISE_LOSS.or_library(noise_loss)
generator = torch.Generator().manual_seed(0)
alpha, sigma = linear.alpha.float(), linear.sigma.float()


def tiny_net(x_t: Tensor, t: Tensor, cond=None) -> Tensor:
    return tiny(torch.cat([x_t.flatten(1), my_embed(t, 32)], dim=1)).reshape(x_t.shape)


def tiny_loss(x0: Tensor) -> dict[str, Tensor]:
    t = torch.randint(1, T + 1, (len(x0),), generator=generator)
    per_image = my_loss(tiny_net, alpha, sigma, x0, t, torch.randn(x0.shape, generator=generator))
    return {"loss": per_image.mean(), "per_image": per_image, "t": t}


# %%
pixel_batches = (one_pixel(1024, generator) for _ in iter(int, 1))  # without end
optimizer = torch.optim.Adam(tiny.parameters(), lr=3e-3, betas=(0.9, 0.99))
phase = Phase("tiny", tiny, tiny_loss, optimizer, Ema(tiny), warmup_flat_decay(warmup=50))
history, bar = [], tqdm(total=1500, desc="one-pixel net")
for done in train(phase, pixel_batches, 1500, precision=torch.float32):
    history.append(done.losses["tiny"])
    bar.update()
    if done.step % 100 == 0:
        bar.set_postfix(loss=f"{done.loss:.3f}")
bar.close()
losses = torch.stack([step["loss"] for step in history])
print(f"mean loss of steps 100 to 300: {losses[100:300].mean():.3f}; of the last 200: {losses[-200:].mean():.3f}")

# %% [markdown]
# After a few hundred steps nothing moves any more, and the loss is nowhere near 0. Has it failed? Is the net too small,
# the rate too high? This is the point where most people stop a healthy run, or wait a day for a sick one. What is
# missing from the curve is **where zero is**.
#
# ## 4. Where is zero?
#
# Think of $\varepsilon$ as an arrow. The guess $\hat\varepsilon$ can use only what $x_t$ shows. The best guess is the
# *shadow* of the arrow on what can be known, and the miss stands **upright** on it (were it not so, a longer or shorter
# guess would be better). A right angle means Pythagoras:
#
# $$\underbrace{\mathrm{E}[\varepsilon^2]}_{1} \;=\; \mathrm{E}[\hat\varepsilon^2] \;+\;
# \underbrace{\mathrm{E}[(\varepsilon-\hat\varepsilon)^2]}_{\text{the floor}}.$$
#
# So the floor at time $t$ is $1 - \mathrm{E}[\hat\varepsilon^2]$ with the best $\hat\varepsilon$. For a Gaussian
# $x_0 \sim \mathcal N(0, s^2)$ it has a closed form,
#
# $$\mathrm{floor}(t) = \frac{\bar\alpha_t\, s^2}{\bar\alpha_t\, s^2 + 1 - \bar\alpha_t},$$
#
# which is near 1 at the small times (the noise hides behind the picture) and near 0 at the large ones. For our pixel it
# is an integral over the known density of $x_t$.

# %%
bumps = mixture_denoiser(linear, centres, spread, shares, kind_of)  # the exact denoiser: no net
grid = torch.linspace(-6, 6, 2001)


def floor(t: int) -> float:
    """The least possible error in eps at time t, by quadrature over x_t."""
    guess = bumps(grid.reshape(-1, 1, 1, 1), t)[1].flatten()
    weight = density(grid, linear.alpha[t].item(), linear.sigma[t].item())
    return 1 - torch.trapezoid(weight * guess**2, grid).item()


floors = torch.tensor([floor(t) for t in range(1, T + 1)])
print(f"the floor, averaged over all times: {floors.mean():.3f}")

# %% [markdown]
# Now draw it under the training loss.

# %%
late = history[-500:]
by_time, t_all = torch.cat([step["per_image"] for step in late]), torch.cat([step["t"] for step in late])
edges = torch.arange(0, T + 1, 50)
means_by_time = [by_time[(t_all > a) & (t_all <= a + 50)].mean() for a in edges[:-1]]

figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.8))
left.plot(losses, color=SKY, linewidth=1, label="loss of each step")
left.axhline(floors.mean(), color=RED, label=f"the floor: {floors.mean():.3f}")
left.set(xlabel="step", ylabel="error in eps", ylim=(0, 1), title="the loss stands on its floor")
right.plot(edges[:-1] + 25, means_by_time, "o", color=BLUE, label="the net, last 500 steps")
right.plot(range(1, T + 1), floors, color=RED, label="the floor at each t")
right.set(xlabel="t", ylabel="error in eps", ylim=(0, 1), title="the same, by time")
left.legend(), right.legend();

# %% [markdown]
# The run did not fail; it was **done** after some hundred steps. What is left is not ignorance but chance: two pictures
# and two noises that make the same $x_t$ cannot be told apart by anyone.
#
# Does a finished loss make finished pictures? Sample your net with fifty DDIM calls, and compare with the density:

# %%
tiny_denoise = Denoiser(lambda x_t, t, cond: tiny_net(x_t, t), linear)
pixels = final(sample_ddim(tiny_denoise, linear, noise(20_000, 1, 1, 1, seed=5), linear.times(50))).flatten()
x = torch.linspace(-2.2, 2.2, 400)
plt.hist(pixels.numpy(), bins=120, density=True, color=SKY, label="20,000 samples of your net")
plt.plot(x, density(x), color=RED, label="the density of the data")
plt.gca().set(xlabel="the pixel's grey", ylabel="density", xlim=(-2.2, 2.2))
plt.legend();

# %% [markdown]
# ### And for real pictures?
#
# There the density is unknown, but the best loss can be put between **two walls**, both exact:
#
# - **The upper wall: the best straight-line guess.** A predictor that only knows the mean and the covariance of the
#   pixels. Along each principal axis of the training pictures it is the Gaussian formula above, with $s^2$ that axis'
#   variance; the wall is the mean of the formula over the 784 axes.
# - **The lower wall: the copyist.** The training loss is an average over 55,000 known pictures. Its exact minimiser is
#   known too: a weighted mean of *those* pictures (`mixture_denoiser` with a spread of 0; lesson 04). No net can go below
#   it on the training set, and whoever reaches it draws nothing but copies.

# %%
times = [1, 2, 4, 8, 15, 30, 60, 100, 150, 200, 250, 300, 350, 400, 450, 500, 550, 600, 650, 700, 750, 800, 850, 900, 950, 990]
flat = to_float(train_images).flatten(1)  # [55000, 784]
variances = torch.linalg.eigvalsh(torch.cov(flat.T)).clamp(min=0)  # of the principal axes


def gaussian_floor(alpha_bar, s2):
    """The floor for Normal data of variance s2, in the letters of the text."""
    return alpha_bar * s2 / (alpha_bar * s2 + 1 - alpha_bar)


upper_wall = np.array([gaussian_floor(plan.alpha[t].item() ** 2, variances).mean() for t in times])


# %%
def measure(denoise: Denoise, x0: Tensor, cond: Tensor, times: list[int], what: str) -> tuple[Tensor, Tensor]:
    """For each time and image, the mean square of the miss in eps and of the guess: two tensors [times, B]."""
    miss, power = [], []
    for i, t in enumerate(tqdm(times, desc=what)):
        eps = noise(*x0.shape, seed=100 + i)
        guess = ask(denoise, plan.add_noise(x0, t, eps), t, cond)[1]
        miss.append((guess - eps).square().mean(dim=(1, 2, 3)))
        power.append(guess.square().mean(dim=(1, 2, 3)))
    return torch.stack(miss), torch.stack(power)


few = torch.randperm(55_000, generator=torch.Generator().manual_seed(0))[:64]
seen_miss, _ = measure(shipped, to_float(train_images[few]), train_labels[few], times, "net, training pictures")
test_miss, test_power = measure(shipped, to_float(test_images[:64]), test_labels[:64], times, "net, test pictures")

# %%
copyist = mixture_denoiser(plan, to_float(train_images).to(device), 0.0, labels=train_labels)
late_times = [t for t in times if t >= 450]
copy_miss, _ = measure(copyist, to_float(train_images[few[:32]]), train_labels[few[:32]], late_times, "copyist")
early_miss, _ = measure(copyist, to_float(train_images[few[:4]]), train_labels[few[:4]], [100, 300], "copyist, early")
lower_wall = np.array([0.0] * (len(times) - len(late_times)) + copy_miss.mean(1).tolist())
print(f"the copyist's error at t = 100 and 300: {early_miss.max():.0e}")

# %% [markdown]
# Below, the same figure for real pictures. The net is the shipped one; bars are two standard errors over 64 pictures.
# Look first at the vertical gap between the walls, then at where in it the net runs.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.2))
for axis in (left, right):
    axis.fill_between(times, lower_wall, upper_wall, color=GREY, alpha=0.15)
    axis.plot(times, upper_wall, color=ORANGE, label="upper wall: best straight-line guess")
    axis.plot(times, lower_wall, color=RED, label="lower wall: the copyist")
    for miss, colour, label in ((seen_miss, BLUE, "net, training pictures"), (test_miss, GREEN, "net, test pictures")):
        bar = 2 * miss.std(1) / len(miss[0]) ** 0.5
        axis.errorbar(times, miss.mean(1), bar, color=colour, marker="o", markersize=4, label=label)
    axis.set(xlabel="t", ylabel="error in eps")
left.set(title="the loss at each time", ylim=(0, 1))
right.set(title="the same, from below", yscale="log", ylim=(3e-4, 1))
left.legend();

# %% [markdown]
# Three things to read off:
#
# 1. **A flat loss is no sign of failure.** The average over $t$ is made by the small times, where little can be won.
#    What you see in the pictures, shape and kind, is decided at the large ones, where the whole gap between the walls is a few
#    hundredths high. A loss curve averaged over $t$ hides it: *plot the loss by time*.
# 2. **The net is far above the lower wall, and that is why it invents.** Below about $t = 500$ the copyist makes no error at all:
#    it recognises the picture and recites it. A net at that wall would be perfect on the training set and useless.
# 3. **Training and test pictures lie on one line** (within the bars), so this net has not begun to memorise.

# %%
def over_times(values) -> float:
    """Mean over t = 1 .. T of a curve known at `times`."""
    return float(np.interp(np.arange(1, T + 1), times, np.asarray(values)).mean())


print("mean over all times of the error in eps")
print(f"  best straight-line guess  {over_times(upper_wall):.4f}")
print(f"  shipped net, training     {over_times(seen_miss.mean(1)):.4f}")
print(f"  shipped net, test         {over_times(test_miss.mean(1)):.4f}")
print(f"  copyist, training         {over_times(lower_wall):.4f}")

# %% [markdown]
# ### A test that needs no label
#
# Pythagoras gives one thing more. For the best predictor, at each $t$ and for *any* data,
#
# $$\mathrm{E}[\hat\varepsilon^2] + \mathrm{E}[(\varepsilon - \hat\varepsilon)^2] = 1 .$$
#
# The sum minus 1 is $2\,\mathrm{E}[\hat\varepsilon(\hat\varepsilon - \varepsilon)]$: it is 0 exactly when no single factor on
# the guess would make it better. No density, no pictures to look at, no reference set: a self-test for a noise predictor.
# We give it three patients: the shipped net; the same net told **the time after** (an index shifted by ten, the slip that
# no shape check finds); and the snapshot after 10,000 images.

# %%
early = ddpm_fashion.denoiser(load_weights("ddpm-fashion-10k"))
shifted = lambda x_t, t, cond: (None, shipped.schedule and (x_t - plan.alpha[t] * shipped(x_t, t + 10, cond)[0]) / plan.sigma[t])
patients = {"shipped net": None, "told t + 10": shifted, "after 10,000 images": early}

# %% [markdown]
# ## 5. A live run
#
# (to be written)
