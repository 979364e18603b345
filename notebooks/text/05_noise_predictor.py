# %% [markdown]
# # 05. The noise predictor
#
# *In lesson 04 something told us what does not belong to the figure. This lesson makes that something: a net that looks at
# a noisy picture and says which noise is in it.*
#
# You can then
#
# - make training pairs for a noise predictor: from a picture, its text, and a random generator,
# - write Algorithms 1 and 2 of DDPM, and the training loop around the first, from memory,
# - say where **zero** is: how far a training loss can fall at all, and why you would not want it to get there,
# - say why a sampler adds noise, and what comes out when all noise is subtracted in one go,
# - turn up a condition with classifier-free guidance.
#
# Reading, running and the five exercises take about an hour; with what there is to drag and to break, about 90 minutes. What
# you write runs on in the cells after it; for a stub that you skip, the library's version runs there. Solutions:
# `course_lib/exercises/*_05.py`. Whoever wants the bound behind the loss, what guidance really samples, the four targets
# and a race of the samplers finds them in [further/05_bound_guidance_targets](further/05_bound_guidance_targets.ipynb).

# %%
import math
from collections.abc import Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from IPython.display import display
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_lib import Denoiser, Ema, Muon, Phase, Scrubber, Step, UNet, UNetConfig
from course_lib import autocast, clipped, default_device, final, load_denoiser
from course_lib import mixture_denoiser, place, sample_ddim, sample_dpmpp_2m, train
from course_lib.data import CLASSES, fashion_batches, fashion_mnist, to_float
from course_lib.diffusion import Denoise, Schedule, posterior, stratified_times
from course_lib.diffusion.samplers import in_float32, strides  # names in the shown pieces
from course_lib.draws import Draws, Noise
from course_lib.errors import CourseError
from course_lib.exercises import lesson_05 as grade
from course_lib.layers import ResBlock
from course_lib.training import warmup_flat_decay
from course_lib.weights import read_card
from course_lib.widgets import Flipbook
from course_lib.widgets import diffusion_plots as plots
from course_lib.widgets.plots import RED, SKY, show_rows, tile, use_style

use_style()
device = default_device()

# %% [markdown]
# The data, the net that this course ships, and three helpers: a noise that is the same for everyone, a question to a
# denoiser, and a whole sampling run.

# %%
test_images, test_labels = (torch.from_numpy(np.array(a)) for a in fashion_mnist("test"))
train_images, train_labels = (torch.from_numpy(np.array(a)) for a in fashion_mnist("train"))
test_labels, train_labels = test_labels.long(), train_labels.long()
shipped = load_denoiser("ddpm-fashion")  # (x_t, t, condition) -> (x0, eps)
net, plan = shipped.net, shipped.schedule  # the cosine schedule that it was trained on
sampling, T = clipped(shipped, plan), plan.T  # clipped: x0 kept between black and white


# %%
def noise(*shape: int, seed: int) -> Tensor:
    """Standard Normal noise, always the same for a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def ask(denoise: Denoise, x_t: Tensor, t, cond: Tensor) -> tuple[Tensor, Tensor]:
    """A denoiser's x0 and eps, computed on the device and handed back on the CPU."""
    with autocast(device):
        x0, eps = denoise(x_t.to(device), t, cond.to(device))
    return x0.cpu(), eps.cpu()


def sample(sampler, denoise: Denoise, x: Tensor, times, cond: Tensor) -> Tensor:
    """Run a sampler from the noise x to the finished images."""
    with autocast(device):
        return final(sampler(denoise, plan, x.to(device), times, cond.to(device))).cpu()


# %% [markdown]
# ## 1. Where does the label come from?
#
# A net learns from questions whose answers are known. *"Which noise is in this picture?"* is a question that nobody can
# answer for a picture found in the world. So turn it round:
#
# 1. take a picture without noise, $x_0$;
# 2. add noise to it, step by step, and **keep the noise**: it is the label, $\varepsilon$;
# 3. give the net the noisy picture $x_t$, and tell it how many steps were made, $t$;
# 4. let it say what it thinks was added, compare that with what was kept, and turn its weights so that it misses by less.
#
# Nobody labelled anything; a picture and a random generator make as many questions as you like. Below, one ankle boot with
# six amounts of noise, as questions for the shipped net. **Guess first:** in which column is the question easiest for the
# net, in which is it hardest?

# %%
times = torch.tensor([20, 100, 300, 500, 700, 900])
x0 = to_float(test_images[:1]).expand(6, -1, -1, -1)
eps = noise(6, 1, 28, 28, seed=1)
x_t = plan.add_noise(x0, times, eps)
x0_seen, guess = ask(shipped, x_t, times, test_labels[:1].expand(6))
miss = (guess - eps).square().mean(dim=(1, 2, 3))

rows = {"given: $x_t$": x_t, "kept: $\\epsilon$": eps / 3, "guessed": guess / 3}
rows |= {"missed by": (guess - eps) / 3, "the picture\nit implies": x0_seen}
titles = zip(times.tolist(), miss.tolist(), strict=True)
show_rows(rows, [f"t = {t}\nerror {e:.3f}" for t, e in titles]);

# %% [markdown]
# The error is the mean square over the pixels. Noise has mean square 1, so a net that says nothing scores 1.
#
# It is **largest where the picture looks nearly clean**. At $t = 20$ the noise is as faint as the weave of the cloth, and
# the two cannot be told apart. At $t = 900$ nobody sees a boot, and the question is easy: nearly all of $x_t$ *is* noise, so
# repeating the input is nearly right. The bottom row shows what such an answer is worth: the picture that it implies,
# $\hat x_0 = (x_t - \sigma_t\,\hat\varepsilon)/\alpha_t$. **The error in the noise and the error in the picture tell
# opposite stories.**
#
# ### All of the noise, or the noise of the last step?
#
# Which noise is the label: that of the last step, or of all steps together? Let sixty-four pictures walk through DDPM's
# thousand small steps, each keeping the share $1-\beta_t$ of the variance and adding $\beta_t$ anew. At some times we stop,
# take out what *all* steps have added, $(x_t - \alpha_t x_0)/\sigma_t$, and look at its mean, its spread, and its
# correlation with the noise of the *last* step.

# %%
linear = Schedule.linear()  # DDPM's own: betas from 0.0001 to 0.02
beta = 1 - (linear.alpha[1:] / linear.alpha[:-1]) ** 2
x0 = to_float(test_images[:64]).double()
x, generator = x0, torch.Generator().manual_seed(0)
print("   t   mean   spread   correlation with the last step   sqrt(beta_t) / sigma_t")
for t in tqdm(range(1, T + 1), desc="a thousand small steps", leave=False):
    z, b = torch.randn(x.shape, generator=generator), beta[t - 1]
    x = (1 - b).sqrt() * x + b.sqrt() * z
    if t in (1, 10, 100, 400, 1000):
        total = (x - linear.alpha[t] * x0) / linear.sigma[t]
        r = torch.corrcoef(torch.stack([total.flatten(), z.flatten().double()]))[0, 1]
        share = b.sqrt() / linear.sigma[t]
        print(f"{t:4d} {total.mean():6.2f} {total.std():8.2f} {r:20.2f} {share:28.2f}")

# %% [markdown]
# At every time all the noise together has mean 0 and spread 1: a thousand small draws have made one standard Normal, as if it
# had been drawn in **one jump**. That total is the label. The last step's noise is a sliver of it: given the total, the best
# guess at it is $\frac{\sqrt{\beta_t}}{\sigma_t}\,\varepsilon$ (last column). Whoever predicts the one has the other by a
# factor, so nothing is lost by asking for the total, and no picture has to walk.
#
# ## 2. Two more inputs: the step and the text
#
# **Why tell the net $t$? Can't it see how noisy the picture is?** Take pictures at three true times, and tell the net a
# wrong one. Look for the place of each curve's lowest point.

# %%
told = [2, 10, 25, 50, 75, 100, 150, 200, 250, 300, 350, 400, 500, 600, 700, 800]
x0, kind, eps = to_float(test_images[:16]), test_labels[:16], noise(16, 1, 28, 28, seed=2)
curves = {}
for true in tqdm((100, 300, 600), desc="wrong times", leave=False):
    x_t = plan.add_noise(x0, true, eps)
    curves[true] = [(ask(shipped, x_t, t, kind)[1] - eps).square().mean().item() for t in told]
plots.wrong_times(told, curves)

# %% [markdown]
# Each curve is lowest at the truth. Told too small a time, the net looks for fine grain and leaves the coarse noise in; told
# too large a one, it takes the boot itself for noise. One net does a thousand jobs, from "sharpen a seam" to "invent a
# garment", and $t$ says which one is wanted.
#
# ### How a net reads a number: the time embedding
#
# On a single wire, 3 and 4 would look the same, and 1000 would drown them. So the time is written as a row of waves, fast
# ones to tell 3 from 4 and slow ones to tell 300 from 800, the *sinusoidal embedding*:
#
# $$\mathrm{embed}(t) = \big(\cos \omega_0 t, \ldots, \cos \omega_{h-1} t,\;\; \sin \omega_0 t, \ldots, \sin \omega_{h-1} t\big),
# \qquad \omega_j = 10000^{-j/h},\quad h = \mathrm{dim}/2.$$
#
# ### Rebuild 1: the time embedding

# %%
def embed(t: Tensor, dim: int) -> Tensor:
    """Times t [B] to [B, dim]: dim / 2 cosines, then dim / 2 sines, fastest wave first."""
    raise NotImplementedError  # about three lines; torch.arange and torch.cat may help


grade.TIME_EMBEDDING(embed)

# %% [markdown]
# Near times should get near rows. Left, yours. Middle, how alike its rows are for any two times. Right, the same for a common
# slip: sine and cosine alternate over the *rows* (the times) instead of standing side by side in the columns.

# %%
my_embed = grade.TIME_EMBEDDING.or_library(embed)
t = torch.arange(0, 64)
rows, wide = my_embed(t, 64), my_embed(t, 128)
slip = torch.where((t % 2 == 0)[:, None], wide[:, 64:], wide[:, :64])
plots.embedding_tables(rows, slip)

# %% [markdown]
# A bright diagonal: neighbours alike, strangers less so. With the slip a time has little in common with the next one and much
# with the one after, and the net must learn the even and the odd times apart. It trains all the same, and no error message
# ever comes.
#
# ### The condition: a text
#
# In text-to-image training a pair is **a picture and its text**. The text, the step $t$ and the noisy picture go into the
# predictor together; the label is still the noise. Our data have ten texts, the names of their classes. A *text encoder* turns
# a text into numbers; the smallest one looks up a prompt's place in a list, and the net holds a learnt vector for each place.
# Lesson 09 changes this encoder for a real one, and nothing else on this page.

# %%
def encode(*texts: str) -> Tensor:
    """The smallest text encoder: each prompt's place in a list; "", no text, is number 10."""
    return torch.tensor([[*CLASSES, ""].index(text) for text in texts])


texts = [CLASSES[label] for label in test_labels[:6]]  # six training pairs: picture and text
x0, times = to_float(test_images[:6]), torch.tensor([60, 200, 350, 500, 650, 800])
eps = noise(6, 1, 28, 28, seed=3)
with torch.no_grad():
    step_and_text = net.embed(times.to(device), encode(*texts).to(device))
titles = [f'"{text}"\nt = {t}' for text, t in zip(texts, times.tolist(), strict=True)]
show_rows({"in: $x_t$": plan.add_noise(x0, times, eps), "label: $\\epsilon$": eps / 3}, titles)
print("step and text enter as one vector a picture:", list(step_and_text.shape))

# %% [markdown]
# `UNet.embed` adds the text's vector to the time's. What does it do? Take **one and the same pure noise**, and name each
# prompt in turn. There is nothing to see in pure noise. What does the net answer?

# %%
kinds = encode(*CLASSES)
same = noise(1, 1, 28, 28, seed=4).expand(10, -1, -1, -1)
answer = ask(shipped, same, T, kinds)[0]
means = torch.stack([to_float(train_images[train_labels == k]).mean(0) for k in range(10)])
show_rows({"the net's $x_0$": answer, "mean of all\ntraining pictures": means}, CLASSES)
gap = (answer - means).square().mean().sqrt()
print(f"rms difference {gap:.2f}, on the scale from -1 to 1")

# %% [markdown]
# It answers **the mean of the class**, the average of some 5,500 training pictures. Nobody told it to. It is what step 4
# rewards: with nothing to go by, and misses counted in *squares*, the mean is the best bet. At a smaller $t$ it is the mean
# over those pictures that could have become this $x_t$. This is the sentence to keep:
#
# > Trained on squared error, a net learns the **conditional expectation**:
# > $\hat x_0 \approx \mathrm E[x_0 \mid x_t, \text{text}]$ and $\hat\varepsilon \approx \mathrm E[\varepsilon \mid x_t, \text{text}]$.
#
# (So $-\hat\varepsilon/\sigma_t$ is the *score*, the slope of the log density of noisy pictures: lesson 04, section 4.)
#
# ### What sits between the inputs and the answer?
#
# To say "this is a boot" a net must **see far**, which is cheap in a small picture. To say which grain is noise it must **keep
# every pixel**. A *U-Net* (Ronneberger et al. 2015) does both: it goes down to a small picture and up again, and on the way up
# each layer also gets what the layer of its size held on the way down, over a *skip connection*. `emb` is time and text; each
# block turns its channels up and down by it. (The further notebook takes the net apart and cuts its wires.)

# %% src="course_lib/models/unet.py::UNet.forward"
# course_lib/models/unet.py::UNet.forward
def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
    self.check(x_t)
    emb = self.embed(t, cond)
    h = self.stem(F.pixel_unshuffle(x_t, self.config.fold))  # [B, width, H/fold, W/fold]
    skips = [h]
    for layer in self.down:
        h = layer(h, emb) if isinstance(layer, ResBlock) else layer(h)
        skips.append(h)
    for layer in self.middle:
        h = layer(h, emb) if isinstance(layer, ResBlock) else layer(h)
    for layer in self.up:
        if isinstance(layer, ResBlock):
            h = layer(torch.cat([h, skips.pop()], dim=1), emb)
        else:
            h = layer(h)
    return F.pixel_shuffle(self.head(h), self.config.fold)  # [B, channels, H, W]


# %% [markdown]
# ## 3. What is really done: Algorithm 1
#
# Walking every picture through all steps would cost a thousand times too much. So nobody walks: **a random time, one jump,
# one loss**. The paper's box, against the code:
#
# | | Algorithm 1, training (Ho et al. 2020) | here |
# |---|---|---|
# | 1 | **repeat** | `for step in range(steps)` |
# | 2 | $x_0 \sim q(x_0)$ | the next batch of images, `x0` |
# | 3 | $t \sim \mathrm{Uniform}(\{1, \ldots, T\})$ | `t` |
# | 4 | $\varepsilon \sim \mathcal N(0, I)$ | `eps` |
# | 5 | gradient step on $\lVert \varepsilon - \varepsilon_\theta(\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon,\, t)\rVert^2$ | `noise_loss`, `backward`, `optimizer.step` |
# | 6 | **until** converged | `steps` |
#
# Their $\sqrt{\bar\alpha_t}$ and $\sqrt{1-\bar\alpha_t}$ are our `alpha` and `sigma`. (Up to a weight for each $t$ it is a
# bound on the likelihood, the ELBO: see the further notebook.)
#
# ### Rebuild 2: line 5
#
# With the noise for a label. Mind the shapes: $\alpha_t$ is one number *an image*.

# %%
def noise_loss(
    predict, alpha: Tensor, sigma: Tensor, x0: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    """The mean squared error in the noise, for each image: [B].

    predict(x_t, t) is the net; alpha, sigma [T + 1]; x0, eps [B, C, H, W]; t [B], 1 .. T.
    """
    raise NotImplementedError  # about four lines


grade.NOISE_LOSS(noise_loss)

# %% [markdown]
# ### The smallest pictures
#
# Before it meets clothes, your loss trains on pictures of **one pixel**, whose grey comes from three bumps. Here everything
# is known: the density, the best denoiser, the best loss.

# %%
centres = torch.tensor([-0.9, 0.0, 0.8]).reshape(3, 1, 1, 1)
shares, spread = torch.tensor([0.3, 0.3, 0.4]), 0.25


def one_pixel(n: int, generator: torch.Generator) -> Tensor:
    """n pictures of one pixel [n, 1, 1, 1]."""
    bump = torch.multinomial(shares, n, replacement=True, generator=generator)
    return centres[bump] + spread * torch.randn(n, 1, 1, 1, generator=generator)


def density(x: Tensor, alpha: float = 1.0, sigma: float = 0.0) -> Tensor:
    """The density of alpha * pixel + sigma * eps at x [N]."""
    variance = (alpha * spread) ** 2 + sigma**2
    gap = x[:, None] - alpha * centres.flatten().to(x)  # [N, 3]
    bells = (-(gap**2) / (2 * variance)).exp()
    return bells @ shares.to(x) / math.sqrt(2 * math.pi * variance)


# %% [markdown]
# The net has four layers. It reads the time through *your* embedding, and the grey through it as well: fine differences of a
# number are what it is good at. All random numbers of a run come from one seed.

# %%
my_loss = grade.NOISE_LOSS.or_library(noise_loss)
alpha, sigma = linear.alpha.float(), linear.sigma.float()


def one_pixel_net(seed: int = 0):
    """A new net of a pixel's grey and its time, and its predictor (x_t, t) -> eps."""
    torch.manual_seed(seed)
    hidden = [layer for _ in range(2) for layer in (nn.Linear(64, 64), nn.SiLU())]
    tiny = nn.Sequential(nn.Linear(1 + 32 + 32, 64), nn.SiLU(), *hidden, nn.Linear(64, 1))

    def predict(x_t: Tensor, t: Tensor, cond=None) -> Tensor:
        grey = x_t.flatten(1)
        parts = [grey, my_embed(10 * grey[:, 0], 32), my_embed(t, 32)]
        return tiny(torch.cat(parts, dim=1)).reshape(x_t.shape)

    return tiny, predict


# %%
def one_pixel_run(seed: int = 0):
    """A new net, its predictor, its endless batches, and its loss."""
    tiny, predict = one_pixel_net(seed)
    generator = torch.Generator().manual_seed(seed)

    def loss_of(x0: Tensor) -> dict[str, Tensor]:
        t = torch.randint(1, T + 1, (len(x0),), generator=generator)
        eps = torch.randn(x0.shape, generator=generator)
        per_image = my_loss(predict, alpha, sigma, x0, t, eps)
        return {"loss": per_image.mean(), "per_image": per_image.detach(), "t": t}

    return tiny, predict, (one_pixel(512, generator) for _ in iter(int, 1)), loss_of


# %% [markdown]
# **And this is training, all of it**: take a batch, ask for the loss, clear the old gradients, compute the new ones
# (`backward`: for each weight, how the loss would change with it), move each weight a little against its gradient (`step`).
# Watch the number at the end of the bar.

# %%
tiny, predict, batches, loss_of = one_pixel_run()
optimizer = torch.optim.Adam(tiny.parameters(), lr=2e-3)
history = []
bar = tqdm(range(1500), desc="one-pixel net")
for step in bar:
    out = loss_of(next(batches))  # forward: lines 3 to 5 of Algorithm 1
    optimizer.zero_grad()
    out["loss"].backward()
    optimizer.step()
    history.append({name: value.detach() for name, value in out.items()})
    if step % 100 == 99:
        bar.set_postfix(loss=f"{out['loss'].item():.3f}")
losses = torch.stack([step["loss"] for step in history])
print(f"mean loss of steps 500 to 1000: {losses[500:1000].mean():.3f}", end="; ")
print(f"of the last 500: {losses[-500:].mean():.3f}")

# %% [markdown]
# The library's `train` is these lines, for a net of any lesson. A `Phase` holds what they name: the net, the loss, the
# optimizer. The proof: the same seed, and the first 1,000 losses of both.

# %%
again, smooth, batches, loss_of = one_pixel_run()
adam = torch.optim.Adam(again.parameters(), lr=2e-3)
phase = Phase("tiny", again, loss_of, adam, Ema(again), clip=math.inf)
steps = tqdm(train(phase, batches, 1000, precision=torch.float32), total=1000, leave=False)
equal = [done.loss == losses[done.step - 1].item() for done in steps]
print(f"losses that are the same to the last digit: {sum(equal)} of {len(equal)}")

# %% [markdown]
# What it can do besides: cut a gradient that is too long (`clip`), raise the learning rate at the beginning and lower it at
# the end (`warmup_flat_decay`), average the latest weights (`Ema`, an exponential moving average, used for sampling below), and
# stop after so many seconds. `Muon`, used below, makes each convolution's step an orthogonal matrix (Jordan et al. 2024); all other weights move by Adam.
#
# **The loss.** After a few hundred steps nothing moves any more, and it is nowhere near 0. Has training failed? Is the net too
# small, the rate too high? Here healthy runs are stopped and sick ones are left to run for a day. What the curve lacks is
# **where zero is**.
#
# ## 4. Where is zero?
#
# Think of $\varepsilon$ as an arrow of length 1. A guess can use only what $x_t$ shows. The best guess, the conditional
# expectation, is the *orthogonal projection* of the arrow on what can be known: its shadow. The miss stands **upright** on the
# shadow, and a right angle means Pythagoras:
#
# $$\underbrace{\mathrm E[\varepsilon^2]}_{1} \;=\; \mathrm E[\hat\varepsilon^2] \;+\;
# \underbrace{\mathrm E[(\varepsilon-\hat\varepsilon)^2]}_{\text{the floor}}$$
#
# For data $x_0 \sim \mathcal N(0, s^2)$ everything is a straight line. The correlation $\rho$ of $\varepsilon$ with
# $x_t = \alpha_t x_0 + \sigma_t \varepsilon$ is $\sigma_t$ over the spread of $x_t$; the shadow has length $\rho$, and the
# floor is $1 - \rho^2$.
#
# ### Rebuild 3: the floor

# %%
def gaussian_floor(alpha_bar: float, s2: Tensor) -> Tensor:
    """The least error in the noise, for data Normal(0, s2) and alpha_bar = alpha ** 2."""
    raise NotImplementedError  # one line


grade.FLOOR(gaussian_floor)

# %% [markdown]
# For the one-pixel pictures the floor is an integral over the known density of $x_t$. The denoiser in it is exact, no net.
# Draw it under the training loss. Left, the curve that everyone plots. Right, the same error sorted by time.

# %%
my_floor = grade.FLOOR.or_library(gaussian_floor)
bumps = mixture_denoiser(linear, centres, spread, shares)
grid = torch.linspace(-6, 6, 2001)


def floor(t: int) -> float:
    """1 - E[eps_hat^2] over the density of x_t, by quadrature."""
    guess = bumps(grid.reshape(-1, 1, 1, 1), t)[1].flatten()
    weight = density(grid, linear.alpha[t].item(), linear.sigma[t].item())
    return 1 - torch.trapezoid(weight * guess**2, grid).item()


floors = torch.tensor([floor(t) for t in tqdm(range(1, T + 1), desc="floor", leave=False)])
plots.loss_and_floor(history, floors)
print(f"the floor, averaged over all times: {floors.mean():.3f}")

# %% [markdown]
# The run hadn't failed, it was **done** after a few hundred steps. What is left is chance, not ignorance: two pictures with
# two noises that make the same $x_t$ cannot be told apart by anyone. Does a loss far from 0 make good samples? Fifty steps of
# DDIM with your net, against the density:

# %%
again.load_state_dict(phase.ema.module.state_dict())  # the average of the latest weights
start = noise(20_000, 1, 1, 1, seed=5)
walk = sample_ddim(Denoiser(smooth, linear), linear, start, linear.times(50))
greys = final(walk).flatten().numpy()
x = torch.linspace(-2, 2, 400)
plt.figure(figsize=(7, 3.2))
plt.hist(greys, 60, range=(-2, 2), density=True, color=SKY, label="samples of your net")
plt.plot(x, density(x), color=RED, label="the density of the data")
plt.gca().set(xlabel="grey of the pixel", ylabel="density", xlim=(-2, 2), ylim=(0, 0.85))
plt.legend();

# %% [markdown]
# ### And for real pictures?
#
# There the density is unknown. But the best possible loss stands between **two walls**, and both are formulas, without a net:
#
# - **The upper wall: the best linear guess.** Knowing nothing but the mean and the covariance of the pixels, the best
#   guess is linear. Along each principal axis of the training pictures it is your formula, with $s^2$ that axis' variance; the
#   wall is the mean over the 784 axes. A net that does no better has learnt no more than averages.
# - **The lower wall: the copyist.** The exact minimiser of the loss over 55,000 pictures is the perfect denoiser of lesson 04,
#   a softmax over *those* pictures. No net goes below it on the training set, and whoever reaches it draws copies and nothing
#   else. It is exact at each $x_t$; its mean is measured on 64 pictures.

# %%
times = [1, 2, 4, 8, 15, 30, 60, 100, 150, 200, 260, 320, 380, 440, 500, 560, 620, 680]
times += [740, 800, 860, 920, 960, 990]
axes_variance = torch.linalg.eigvalsh(torch.cov(to_float(train_images).flatten(1).T))
bars = [plan.alpha[t].item() ** 2 for t in times]  # alpha-bar
upper_wall = np.array([my_floor(bar, axes_variance.clamp(min=0)).mean() for bar in bars])


def misses(denoise: Denoise, x0: Tensor, cond: Tensor, times, what: str) -> Tensor:
    """For each time and image, the mean square of the miss in the noise: [times, B]."""
    rows = []
    for t in tqdm(times, desc=what, leave=False):
        eps = noise(*x0.shape, seed=t)
        guess = ask(denoise, plan.add_noise(x0, t, eps), t, cond)[1]
        rows.append((guess - eps).square().mean(dim=(1, 2, 3)))
    return torch.stack(rows)


# %%
few = torch.randperm(55_000, generator=torch.Generator().manual_seed(0))[:64]
known = to_float(train_images[few]), train_labels[few]
fresh = to_float(test_images[:64]), test_labels[:64]
known_miss = misses(shipped, *known, times, "net, training pictures")
fresh_miss = misses(shipped, *fresh, times, "net, test pictures")

pictures = to_float(train_images).to(device)
copyist = mixture_denoiser(plan, pictures, 0.0, labels=train_labels)
late_times = [100, 320, *[t for t in times if t >= 440]]
copies = misses(copyist, *known, late_times, "copyist").mean(1)
lower_wall = np.interp(times, late_times, copies)
print("error of the copyist at t = 100, 320 and 440:", *(f"{c:.4f}" for c in copies[:3]))

# %% [markdown]
# The same figure for clothes. Bars are two standard errors over 64 pictures. Look first at the corridor between the walls,
# then at where in it the net runs.

# %%
def over_times(curve) -> float:
    """The mean over t = 1 .. T of a curve known at `times`."""
    return float(np.interp(np.arange(1, T + 1), times, np.asarray(curve)).mean())


plots.corridor(times, upper_wall, lower_wall, {"training": known_miss, "test": fresh_miss})
means = {"best linear guess": upper_wall, "shipped net, test pictures": fresh_miss.mean(1)}
means |= {"shipped net, training": known_miss.mean(1), "copyist, training": lower_wall}
print("error in the noise, mean over all times")
for name, curve in means.items():
    print(f"  {name:27s} {over_times(curve):.4f}")

# %% [markdown]
# 1. **A flat loss is no sign of failure.** The average is made at the small times, where little can be won. Shape and kind are
#    decided at the large ones, where the whole corridor is a few hundredths high. *Plot the loss by time.*
# 2. **But for the largest times, where little more than the class is to be seen, the net stays far above the copyist, and that is why it invents.** Up to $t = 440$ the copyist makes no error worth the
#    name: it recognises the picture and recites it. A net at that wall would be perfect on the training set, and useless.
# 3. **Training and test agree** within their bars: this net has not begun to memorise.
#
# ## 5. Train one
#
# One piece is missing. Guidance (section 7) needs a net that can also work *without* a text. Two nets? One is enough: in one
# picture of ten the text is replaced by the empty one. The net is smaller than the shipped one; the loss is *yours*. (That the
# net answers in `v`, which `Denoiser` reads as noise, is explained in the further notebook.)

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
own = place(UNet(UNetConfig(widths=(32, 64), emb_dim=128)), device)
own_denoise = Denoiser(own, plan, "v")
tables = plan.alpha.float().to(device), plan.sigma.float().to(device)
draws = Draws(0)  # all that is random in the run, from one seed


def own_loss(batch) -> dict[str, Tensor]:
    x0, texts = batch  # the texts, encoded
    t = stratified_times(len(x0), T, draws).to(device)  # one time in each of B equal slots
    eps = draws.normal(x0)
    forget = draws.uniform(len(texts)).to(device) < 0.1
    cond = torch.where(forget, encode("").to(device), texts)
    per_image = my_loss(lambda x_t, t: own_denoise(x_t, t, cond)[1], *tables, x0, t, eps)
    return {"loss": per_image.mean()}


sizes = [sum(p.numel() for p in module.parameters()) for module in (own, net)]
print("{:,} parameters; the shipped net has {:,}".format(*sizes))

# %% [markdown]
# The run draws itself: left the loss, over the two walls; right ten samples, one a text, always from the same noise. It ends
# after 12,800 images, or after 45 seconds where the machine is slow or busy. Look for the moment at which the loss crosses the
# upper wall, and at the pictures around it.

# %%
IMAGES, SECONDS, BATCH = 12_800, 45, 32
phase = Phase("own", own, own_loss, Muon(own, lr=4e-3), Ema(own), warmup_flat_decay(warmup=10))
walls = {"best linear guess": over_times(upper_wall), "copyist": over_times(lower_wall)}
start, losses, album = noise(10, 1, 28, 28, seed=7), [], {}
view = display(plots.run_state([1.0], walls, start, 0), display_id=True)


def show():
    """Ten samples of the run as it stands, into the album and the figure."""
    painter, seen = clipped(Denoiser(phase.ema.module, plan, "v"), plan), BATCH * len(losses)
    album[seen] = sample(sample_ddim, painter, start, plan.times(10), kinds)
    view.update(plots.run_state(losses, walls, album[seen], seen))


# %%
bar = tqdm(total=100, desc="training", unit="%")
for done in train(phase, fashion_batches(BATCH, seed=0), IMAGES // BATCH, seconds=SECONDS):
    losses.append(done.loss)
    bar.update(round(100 * done.progress) - bar.n)
    if done.progress > (len(album) + 1) / 8:
        show()
show()
bar.close()

# %% [markdown]
# Drag through the run. (Where it was cut before its loss crossed the wall, the cell says so and shows the shipped run.)

# %%
through = len(losses) == IMAGES // BATCH  # not cut, whatever came out
crossed = through or np.mean(losses[-20:]) < walls["best linear guess"]
names = {"ddpm-fashion-10k": 10_000, "ddpm-fashion-250k": 250_000}
names["ddpm-fashion"] = read_card("ddpm-fashion")["images_seen"]
long_run = {}
for name, seen in tqdm(names.items(), desc="the shipped run", leave=False):
    painter = clipped(load_denoiser(name), plan)
    long_run[seen] = sample(sample_ddim, painter, start, plan.times(20), kinds)
if not crossed:
    print(f"Your loss is still at {np.mean(losses[-20:]):.2f} after {max(album):,} images:")
    print("too few to see clothes. Run the last two cells again on a quieter machine.")
shown, title = (album, "Your run") if crossed else (long_run, "The shipped run")
frames = [np.uint8(255 * tile(pictures, 5)) for pictures in shown.values()]
Flipbook(frames, list(shown), label="images seen", title=title, format="{:,}", start=-1)

# %% [markdown]
# Above the wall a net knows less than the mean and covariance of the pixels would tell it, and draws blots. Garments appear
# about where the loss crosses it. After that the curve flattens, and the pictures go on getting better: what improves them is
# a few thousandths at the large $t$, which drown in a mean over all $t$. And if you had more time? Snapshots of the shipped
# run, from the **same noise**:

# %%
rows = {f"yours: {max(album):,}": album[max(album)]}
show_rows(rows | {f"shipped: {seen:,}": row for seen, row in long_run.items()}, CLASSES);

# %% [markdown]
# From row to row: first the kind, then the outline, then the cloth, then the seams; training learns the large times first.
# Column by column a trained net's figure stays recognisably the same. The noise decides which picture it is; the data decides
# what the noise means; the net only has to find out.
#
# **Break it.** Train with the times `t = (900 + draws.integers(100, len(x0))).to(device)`, then with
# `1 + draws.integers(99, len(x0))`. What can each of the two nets do, and what do their samples look like?
#
# <details><summary>What happens</summary>
# The first draws silhouettes made of grain: it decides on a trouser and can't finish it. At t = 900 its error is as low as that
# of the net trained on all times, at t = 100 it is above 1, worse than saying nothing. The second draws cloth without a garment,
# patches with clean edges: good at t = 100, and at t = 500 some ten times worse than that net. Two halves of one craft, and t
# tells them apart.
# </details>
#
# ## 6. Back again: Algorithm 2
#
# **The first idea: subtract all of it, once.** The net says which noise is in the square, so take it away. The first row is
# pure noise (told $t = 980$), the second what is left, the third the same with its contrast restored, divided by $\alpha_t$.

# %%
x, t = noise(10, 1, 28, 28, seed=11), 980
eps = ask(shipped, x, t, kinds)[1]
left = x - plan.sigma[t].item() * eps
rows = {"$x_t$": x, "all noise\nsubtracted": left}
rows["divided\nby $\\alpha_t$"] = left / plan.alpha[t]
show_rows(rows, CLASSES);

# %% [markdown]
# Ten ghosts: the class means of section 2. It must be so: $\hat\varepsilon$ is an expectation over everything that $x_t$ could
# have been, and at $t = 980$ that is every picture of the class. **So subtract a little, and ask again.** This is the denoise
# module, the predictor and the subtraction, and a sampler calls it again and again:

# %%
begin = plan.add_noise(to_float(test_images[:1]), 500, noise(1, 1, 28, 28, seed=1))
clean, eps = ask(shipped, begin, 500, test_labels[:1])
after = plan.alpha[300] * clean + plan.sigma[300] * eps  # here by DDIM's step
plots.denoise_module(begin, eps, after, t=500, s=300, text=CLASSES[test_labels[0]])

# %% [markdown]
# The paper's box. Careful: their $\alpha_t$ without a bar is $1-\beta_t$, the share that *one step* keeps, and not our
# `alpha[t]`; and their $\sigma_t$ is the spread of the *fresh* noise, and not our `sigma[t]`.
#
# | | Algorithm 2, sampling (Ho et al. 2020) | here |
# |---|---|---|
# | 1 | $x_T \sim \mathcal N(0, I)$ | the caller's `x` |
# | 2 | **for** $t = T, \ldots, 1$ **do** | `for t, s in strides(...)`: any stride, $s < t$ |
# | 3 | $z \sim \mathcal N(0, I)$ if $t > 1$, else $z = 0$ | `draws.normal(x)`, under `if s > 0` |
# | 4 | $x_{t-1} = \frac{1}{\sqrt{\alpha_t}}\left(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\varepsilon_\theta(x_t, t)\right) + \sigma_t z$ | `c_t * x + c_0 * x0`, and `variance ** 0.5 * noise` |
# | 6 | **return** $x_0$ | the last `Step` |

# %% src="course_lib/diffusion/samplers.py::sample_ddpm"
# course_lib/diffusion/samplers.py::sample_ddpm
@in_float32
@torch.no_grad()
def sample_ddpm(
    denoise: Denoise,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    cond=None,
    *,
    variance: str = "small",
    draws: Noise | None = None,
) -> Iterator[Step]:
    """DDPM's Algorithm 2 (Ho et al. 2020), on any decreasing `times`: x [B, ...] is noise at
    times[0].

    variance "small" is exact for data at one point, "large" for Normal data of variance 1
    (their section 3.2) where alpha^2 + sigma^2 = 1. draws: where fresh noise comes from, by
    default PyTorch's global generator.
    """
    if variance not in ("small", "large"):
        raise CourseError(
            f"variance is 'small' (beta-tilde) or 'large' (beta), not {variance!r}."
        )
    draws = draws or Draws()
    for t, s in strides(schedule, times, falling=True):
        x0, eps = denoise(x, t, cond)
        yield Step(t, x, x0, eps)
        c_t, c_0, small, large = posterior(schedule, t, s)
        x = c_t * x + c_0 * x0
        if s > 0:  # no noise on the last step: nothing is left to take it away again
            x = x + (small if variance == "small" else large) ** 0.5 * draws.normal(x)
    yield Step(s, x, x, eps)


# %% [markdown]
# Line 4 and `c_t * x + c_0 * x0` (lesson 04, section 2) don't look alike. Put $\hat x_0 = (x_t - \sigma_t\hat\varepsilon)/\alpha_t$
# into the second, and the first comes out. Check it before you believe it:

# %% tags=["nbval-check-output"]
x_t, eps = noise(1000, seed=1).double(), noise(1000, seed=2).double()
worst = 0.0
for t in range(2, T + 1):
    a, abar = 1 - beta[t - 1], linear.alpha[t] ** 2
    line4 = (x_t - (1 - a) / (1 - abar).sqrt() * eps) / a.sqrt()
    c_t, c_0, small, large = posterior(linear, t, t - 1)
    ours = c_t * x_t + c_0 * (x_t - linear.sigma[t] * eps) / linear.alpha[t]
    worst = max(worst, (line4 - ours).abs().max().item())
print(f"largest difference over all t is below 1e-9: {worst < 1e-9}")

# %% [markdown]
# ### Rebuild 4: one step back
#
# Line 4, for a step from $t$ to any earlier $s$. All you need is two numbers of the table: $1-\beta = \bar\alpha_t /
# \bar\alpha_s$ is what this step kept. For the variance take $\tilde\beta = \beta\,(1-\bar\alpha_s)/(1-\bar\alpha_t)$; it is 0
# at the last step, so that no `if` is needed.

# %%
def reverse_step(
    x_t: Tensor, eps: Tensor, z: Tensor, alpha_bar_t: float, alpha_bar_s: float
) -> Tensor:
    """From x_t and the noise eps seen in it to x_s, with fresh noise z; all of one shape."""
    raise NotImplementedError  # about four lines


grade.REVERSE_STEP(reverse_step)

# %% [markdown]
# ### Why does a denoiser add noise?
#
# It is the strangest thing in Algorithm 2. We want noise *gone*, and line 4 ends in fresh noise, $+\sqrt{\tilde\beta}\,z$.
# **Take it away and look.** Your step makes the shipped net's pictures four times at once, from the same start: with no fresh
# noise, with half of it, with all, and with half as much again.

# %%
my_step = grade.REVERSE_STEP.or_library(reverse_step)
amounts = torch.tensor([0.0, 0.5, 1.0, 1.5])


@torch.no_grad()
def your_run(x: Tensor, times: Sequence[int], cond: Tensor, amount: Tensor) -> Iterator[Step]:
    """Algorithm 2 with your step, its fresh noise multiplied by amount [B, 1, 1, 1]."""
    generator = torch.Generator().manual_seed(0)
    for t, s in zip(times[:-1], times[1:], strict=True):
        x0, eps = ask(sampling, x, t, cond)
        yield Step(t, x, x0, eps)
        z = torch.randn(10, 1, 28, 28, generator=generator).repeat(4, 1, 1, 1)
        x = my_step(x, eps, amount * z, plan.alpha[t].item() ** 2, plan.alpha[s].item() ** 2)
    yield Step(0, x, x, eps)


# %%
times50 = plan.times(50)[1:]  # from 980: at T itself alpha is 0, and line 4 would divide by it
each = amounts.repeat_interleave(10).reshape(40, 1, 1, 1)
start4 = noise(10, 1, 28, 28, seed=11).repeat(4, 1, 1, 1)
walk = your_run(start4, times50, kinds.repeat(4), each)
steps = list(tqdm(walk, total=50, desc="four amounts", leave=False))
parts = zip(amounts, steps[-1].x_t.chunk(4), strict=True)
show_rows({f"fresh noise x {w:g}": part for w, part in parts}, CLASSES);

# %% [markdown]
# Without fresh noise the pictures are smooth blanks: outlines with the cloth ironed off. With too much they are grain. Only
# the right amount gives cloth. **Why should noise put detail in?**
#
# Because line 4's bracket does not hand over a picture with *less noise*, but the *mean* of where the picture may have been,
# smoother than any of them. On the next step the net is told "this has the noise of time $s$", and it hasn't: it finds too
# little noise, takes the little cloth there is for noise, and irons that off too. The fresh noise fills up what the mean has
# averaged away. Measure it: how much noise really is in $x_s$, against what the net is told?

# %%
def noise_inside(step: Step, finished: Tensor) -> Tensor:
    """The rms of what x_t holds beside its finished picture, over sigma_t: by amount."""
    extra = step.x_t - plan.alpha[step.t].item() * finished
    return (extra / plan.sigma[step.t].item()).square().reshape(4, -1).mean(1).sqrt()


inside = torch.stack([noise_inside(step, steps[-1].x_t) for step in steps[:-1]])
plots.noise_inside([step.t for step in steps[:-1]], inside, amounts.tolist())

# %% [markdown]
# With the paper's noise the ratio stays near 1 until the picture is all but finished; without it, what the net is told is
# untrue. Then why does DDIM work without fresh noise? It hands over not the mean of $x_s$ but
# $\alpha_s \hat x_0 + \sigma_s \hat\varepsilon$, the *full* noise of time $s$, made of the noise that was already there. (In
# the limit of small steps that is the *probability-flow ODE*.) Scrub through both runs together: in the lower one the noise is
# gone after a few steps, while the net is still told that there is plenty.

# %%
def part(k: int) -> list[Step]:
    """The run of one amount."""
    rows = slice(10 * k, 10 * k + 10)
    return [Step(step.t, step.x_t[rows], step.x0[rows], step.eps[rows]) for step in steps]


both = {"with the paper's noise": part(2), "without": part(0)}
Scrubber.compare(both, plan, columns=5, frames=20, quality=60)

# %% [markdown]
# ## 7. Guidance: turning up the text
#
# **What if the text should count for more?** Ask the net twice, with the text and with the empty one. The difference between
# the two answers is what the text adds. Go further in that direction than the net itself would (*classifier-free guidance*, Ho
# & Salimans 2022):
#
# $$\hat\varepsilon_w = \hat\varepsilon(x_t) + w\,\big(\hat\varepsilon(x_t \mid c) - \hat\varepsilon(x_t)\big)$$
#
# At $w = 0$ the text is ignored, at $w = 1$ the net is as trained, beyond that the text is stressed. (Their $w$ is ours minus 1.
# Both conventions are in use, one more reason to test the ends.)
#
# ### Rebuild 5: guidance

# %%
def guide(uncond: Tensor, cond: Tensor, scale: float | Tensor) -> Tensor:
    """From the answer without the text (scale 0) to the one with it (scale 1), and beyond.

    scale is a number, or a tensor [B, 1, 1, 1] with one for each picture.
    """
    raise NotImplementedError  # one line


grade.GUIDANCE(guide)

# %%
my_guide = grade.GUIDANCE.or_library(guide)
scales = [0, 0.5, 1, 1.5, 2, 3, 4, 6, 8]
dial = torch.tensor(scales).repeat_interleave(20).reshape(-1, 1, 1, 1).to(device)


def guided_by_you(x_t: Tensor, t: int, cond: Tensor) -> tuple[Tensor, Tensor]:
    """The shipped net under your guidance, at the scales of the dial."""
    empty = encode("").to(cond).expand_as(cond)
    without, given = shipped(x_t, t, empty), shipped(x_t, t, cond)
    return my_guide(without[0], given[0], dial), my_guide(without[1], given[1], dial)


x, cond = noise(20, 1, 28, 28, seed=21).repeat(9, 1, 1, 1), kinds.repeat(18)
painter = clipped(guided_by_you, plan)
walk = sample_dpmpp_2m(painter, plan, x.to(device), plan.times(10), cond.to(device))
with autocast(device):
    pictures = final(tqdm(walk, total=11, desc="nine scales at once", leave=False)).cpu()

# %% [markdown]
# Turn the dial from 0. Each column has a text and keeps its noise; look for the scale at which the column first obeys, and for
# what is lost above 3.

# %%
frames = [plots.titled_sheet(part, CLASSES) for part in pictures.split(20)]
Flipbook(frames, scales, label="scale", title="Ten texts, two noises each", start=2)

# %% [markdown]
# At 0 the texts mean nothing. At 1 they hold. Above, each garment becomes more and more the *type* of its class, clear,
# contrasted, and all of one kind: variety is the price. Which density such samples have is a question with a surprising
# answer, in [the further notebook](further/05_bound_guidance_targets.ipynb).
#
# ## What you have learnt
#
# | question | answer | section |
# |---|---|---|
# | Where does the label come from? | you made it: the total noise of one jump | 1 |
# | Why tell the net the time? | one net does a thousand jobs, from sharpening to inventing | 2 |
# | How does a text come in? | encoded, one more input; the label stays the noise | 2 |
# | What does squared error teach? | conditional expectations; with nothing to see, the class's mean | 2 |
# | How is it trained? | a random time, one jump, one loss; forward, backward, step | 3 |
# | Where is zero? | at $1 - \mathrm E[\hat\varepsilon^2]$; for pictures between a linear guess and a copyist | 4 |
# | Why not subtract all noise at once? | out comes the conditional mean, and not a picture | 6 |
# | Why does the sampler add noise? | so that the picture holds the noise that the net is told | 6 |
# | What does guidance do? | goes on along the line from the answer without the text through the one with it | 7 |
#
# | here | the field's term | 中文 |
# |---|---|---|
# | noise predictor | denoising network, $\varepsilon$-prediction | 噪声预测网络 |
# | mean of what it could have been | conditional expectation, posterior mean | 条件期望，后验均值 |
# | row of waves for $t$ | sinusoidal (time) embedding | 正弦时间嵌入 |
# | text, prompt; the empty one | condition; null condition | 条件，提示词；空条件 |
# | skip | skip connection | 跳跃连接 |
# | Algorithm 1's loss | simple loss; a reweighted ELBO | 简化损失；重加权的证据下界 |
# | average of the latest weights | exponential moving average (EMA) | 指数移动平均 |
# | the floor | irreducible (Bayes) error, minimum mean squared error | 不可约误差，最小均方误差 |
# | slope of the log density, $-\varepsilon/\sigma$ | score | 得分函数 |
# | Algorithm 2; fresh noise | ancestral sampling; injected noise | 祖先采样；注入噪声 |
# | DDIM in the limit | probability-flow ODE | 概率流常微分方程 |
# | turning up the text | classifier-free guidance (CFG), guidance scale | 无分类器引导，引导强度 |
#
# ## Compared with others
#
# *The annotated diffusion model* (Rogge & Rasul), *fastai's* part 2 (course22p2) and *MIT's 6.S184* labs were read beside this
# lesson. Here the loss has its floor drawn under it, `train` is shown to be six plain lines, and exercises are graded with
# hints. The annotated model builds the U-Net on the page from its smallest parts; fastai builds its training loop from nothing
# and goes on to latents; MIT has the theory in continuous time. Our pictures are 28 by 28 and grey.
#
# ## What to read next
#
# - Ho, Jain & Abbeel 2020, *Denoising diffusion probabilistic models*: Algorithms 1 and 2, and section 3.4 on the simple loss.
# - Ho & Salimans 2022, *Classifier-free guidance*.
# - Ronneberger, Fischer & Brox 2015, *U-Net*.
#
# Next: [further/05_bound_guidance_targets](further/05_bound_guidance_targets.ipynb), or **lesson 06**, what happens if a
# *critic* replaces the formula; then 07 and 08 bring the text encoder and the decoder, and **lesson 09** puts them together.
