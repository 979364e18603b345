# %% [markdown]
# # 05 The noise predictor
#
# *In lesson 04 something told us what does not belong to the figure. This lesson makes that something: a net that looks at
# a noisy picture and says which noise is in it.*
#
# After about an hour you can
#
# - write the training and the sampling of a diffusion model from memory, and name the line of the paper for each line,
# - say where **zero** is: how far a training loss can fall at all, and why you would not want it to get there,
# - test a noise predictor without a label, a density or a look at a picture,
# - derive the variational bound, and check every step of the derivation with numbers,
# - say what guidance samples, which is not what it is usually said to sample,
# - say what each part of a U-Net is for, by taking it away,
# - choose a target and a sampler by what they do to the error.
#
# Six cells are stubs for you to write, five lines or so each; what you write runs on in the cells after it. If you skip
# one, the library's version takes its place, so the page always runs.

# %%
import math
from collections.abc import Callable, Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from IPython.display import display
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_lib import TARGETS, Denoiser, Ema, Muon, Phase, Schedule, Step, UNet, UNetConfig
from course_lib import autocast, autoguided, clipped, default_device, final, guided, load_denoiser, mixture_denoiser, place, train
from course_lib import sample_ddim, sample_dpmpp_2m, sample_heun, sample_unipc
from course_lib.data import CLASSES, fashion_batches, fashion_mnist, to_float
from course_lib.diffusion import Denoise, posterior, stratified_times
from course_lib.diffusion.samplers import in_float32, strides  # names that the shown pieces of the library use
from course_lib.draws import Draws, Noise
from course_lib.errors import CourseError
from course_lib.exercises import lesson_05 as grade
from course_lib.layers import zero_init
from course_lib.metrics import fashion_features, frechet_distance
from course_lib.recipes import maker
from course_lib.recipes.ddpm_fashion import min_snr
from course_lib.training import warmup_flat_decay
from course_lib.weights import read_card
from course_lib.widgets import Scrubber
from course_lib.widgets.flipbook import Flipbook
from course_lib.widgets.plots import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, frames_of, show_rows, tile, use_style

use_style()
device = default_device()

# %% [markdown]
# The data, the net that this course ships, and three helpers: a noise that is the same for everyone, a question to a
# denoiser, and a whole sampling run.

# %%
test_images, test_labels = (torch.from_numpy(np.array(part)) for part in fashion_mnist("test"))
train_images, train_labels = (torch.from_numpy(np.array(part)) for part in fashion_mnist("train"))
test_labels, train_labels = test_labels.long(), train_labels.long()

shipped = load_denoiser("ddpm-fashion")  # (x_t, t, class) -> (x0, eps)
net, plan = shipped.net, shipped.schedule  # the cosine schedule that it was trained on
sampling = clipped(shipped, plan)  # the same with x0 kept between black and white, for sampling
T = plan.T


# %%
def noise(*shape: int, seed: int) -> Tensor:
    """Standard Normal noise, always the same for a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def ask(denoise: Denoise, x_t: Tensor, t, cond: Tensor) -> tuple[Tensor, Tensor]:
    """A denoiser's x0 and eps, computed in the device's fast precision and handed back on the CPU."""
    with autocast(device):
        x0, eps = denoise(x_t.to(device), t, cond.to(device))
    return x0.cpu(), eps.cpu()


def sample(sampler, denoise: Denoise, x: Tensor, times, cond: Tensor, **options) -> Tensor:
    """Run a sampler from the noise x to the finished images."""
    with autocast(device):
        return final(sampler(denoise, plan, x.to(device), times, cond.to(device), **options)).cpu()


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
# That is all. Nobody labelled anything; a picture and a random generator make as many questions as you like.
#
# Below, one ankle boot with six amounts of noise, as questions for the shipped net. **Before you run it, guess:** in which
# column is the question easiest for the net, in which is it hardest?

# %%
times = torch.tensor([20, 100, 300, 500, 700, 900])
x0 = to_float(test_images[:1]).expand(6, -1, -1, -1)
eps = noise(6, 1, 28, 28, seed=1)
x_t = plan.add_noise(x0, times, eps)
x0_seen, guess = ask(shipped, x_t, times, test_labels[:1].expand(6))
miss = (guess - eps).square().mean(dim=(1, 2, 3))

rows = {
    "given: $x_t$": x_t,
    "kept: $\\epsilon$": eps / 3,  # from -3, black, to 3, white
    "guessed": guess / 3,
    "missed by": (guess - eps) / 3,
    "the picture\nit implies": x0_seen,
}
show_rows(rows, [f"t = {t}\nerror {e:.3f}" for t, e in zip(times.tolist(), miss.tolist(), strict=True)]);

# %% [markdown]
# The error is the mean square over the pixels. Noise has mean square 1, so a net that says nothing scores 1.
#
# It is **largest where the picture looks nearly clean**. At $t = 20$ the noise is as faint as the weave of the cloth, and
# the two cannot be told apart. At $t = 900$ nobody sees a boot, and the question is easy: nearly all of $x_t$ *is* noise, so
# repeating the input is nearly right. The bottom row shows what such an answer is worth: the picture that it implies,
# $\hat x_0 = (x_t - \sigma_t\,\hat\varepsilon)/\alpha_t$.
#
# Keep this for the rest of the page: **the error in the noise and the error in the picture tell opposite stories.**
#
# ### All of the noise, or the noise of the last step?
#
# The recipe says "step by step". Then which noise is the label: that of the last step, or of all steps together? Let
# sixty-four pictures walk through DDPM's thousand small steps, each keeping the share $1-\beta_t$ of the variance and adding
# $\beta_t$ anew. At some times we stop, take out what *all* steps have added, $(x_t - \alpha_t x_0)/\sigma_t$, and look at
# its mean, its spread, and how much it has to do with the noise of the *last* step.

# %%
linear = Schedule.linear()  # DDPM's own: betas from 0.0001 to 0.02
beta = 1 - (linear.alpha[1:] / linear.alpha[:-1]) ** 2
x0 = to_float(test_images[:64]).double()
x, generator = x0, torch.Generator().manual_seed(0)
print("   t   mean   spread   correlation with the last step   sqrt(beta_t) / sigma_t")
for t in range(1, T + 1):
    z, b = torch.randn(x.shape, generator=generator), beta[t - 1]
    x = (1 - b).sqrt() * x + b.sqrt() * z
    if t in (1, 10, 100, 400, 1000):
        total = (x - linear.alpha[t] * x0) / linear.sigma[t]
        shared = torch.corrcoef(torch.stack([total.flatten(), z.flatten().double()]))[0, 1]
        print(f"{t:4d} {total.mean():6.2f} {total.std():8.2f} {shared:20.2f} {b.sqrt() / linear.sigma[t]:28.2f}")

# %% [markdown]
# At every time all the noise together has mean 0 and spread 1 (n = 50,176 pixels): a thousand small draws have made one
# standard Normal, as if it had been drawn in **one jump**. That total is the label. The last step's noise is a sliver of it:
# given the total, the best guess at it is $\frac{\sqrt{\beta_t}}{\sigma_t}\,\varepsilon$ (last column). Whoever predicts the
# one has the other by a factor, so nothing is lost by asking for the total, and no picture has to walk.
#
# ## 2. Two more inputs: the step and the wish
#
# **Why tell the net $t$? Can't it see how noisy the picture is?** Take pictures at three true times, and tell the net a
# wrong one. Look for the place of each curve's lowest point.

# %%
told = [2, 10, 25, 50, 75, 100, 150, 200, 250, 300, 350, 400, 500, 600, 700, 800]
x0, kind, eps = to_float(test_images[:16]), test_labels[:16], noise(16, 1, 28, 28, seed=2)
for true, colour in tqdm([(100, BLUE), (300, RED), (600, GREEN)], desc="wrong times", leave=False):
    x_t = plan.add_noise(x0, true, eps)
    error = [(ask(shipped, x_t, t, kind)[1] - eps).square().mean().item() for t in told]
    plt.plot(told, error, "o-", color=colour, label=f"true time {true}")
    plt.axvline(true, color=colour, linestyle=":")
plt.axhline(1, color=GREY, linewidth=1)
plt.text(330, 1.08, "a net that says nothing", color=GREY)
plt.gca().set(xlabel="the time that the net is told", ylabel="error in the noise", yscale="log", xlim=(0, 810))
plt.title("16 test pictures at three noise levels, and a net that is lied to")
plt.legend();

# %% [markdown]
# Each curve is lowest at the truth. Told too small a time, the net looks for fine grain and leaves the coarse noise in; told
# too large a one, it takes the boot itself for noise. One net does a thousand jobs, from "sharpen a seam" to "invent a
# garment", and $t$ says which one is wanted.
#
# ### How a net reads a number
#
# On a single wire, 3 and 4 would look the same, and 1000 would shout. So the time is written as a row of waves, fast ones to
# tell 3 from 4 and slow ones to tell 300 from 800:
#
# $$\mathrm{embed}(t) = \big(\cos \omega_0 t, \ldots, \cos \omega_{h-1} t,\;\; \sin \omega_0 t, \ldots, \sin \omega_{h-1} t\big),
# \qquad \omega_j = 10000^{-j/h},\quad h = \mathrm{dim}/2.$$
#
# ### Rebuild 1: the clock

# %%
def embed(t: Tensor, dim: int) -> Tensor:
    """Times t [B] to [B, dim]: dim / 2 cosines, then dim / 2 sines, from the fastest wave to the slowest."""
    raise NotImplementedError  # about three lines; torch.arange and torch.cat may help


grade.TIME_EMBEDDING(embed)

# %% [markdown]
# A good clock gives near times near rows and far times other ones. Left, yours. Middle, how alike its rows are for any two
# times. Right, the same for a common slip: sine and cosine alternate over the *rows* (the times) instead of standing side by
# side in the columns.

# %%
my_embed = grade.TIME_EMBEDDING.or_library(embed)
t = torch.arange(0, 64)
rows, wide = my_embed(t, 64), my_embed(t, 128)
slip = torch.where((t % 2 == 0)[:, None], wide[:, 64:], wide[:, :64])
figure, axes = plt.subplots(1, 3, figsize=(12, 3.6))
axes[0].imshow(rows, aspect="auto", extent=(0, 64, 64, 0), cmap="RdBu", vmin=-1, vmax=1, interpolation="nearest")
axes[0].set(title="the embedding", xlabel="column", ylabel="t")
for axis, table, title in zip(axes[1:], (rows, slip), ("yours: likeness of two times", "the slip"), strict=True):
    unit = nn.functional.normalize(table, dim=1)
    shown = axis.imshow(unit @ unit.T, extent=(0, 64, 64, 0), cmap="viridis", vmin=-0.2, vmax=1, interpolation="nearest")
    axis.set(title=title, xlabel="t", ylabel="another t")
    print(f"{title}; mean cosine of neighbours {(unit[:-1] * unit[1:]).sum(1).mean():.2f}")
figure.colorbar(shown, ax=axes[2], label="cosine");

# %% [markdown]
# A bright diagonal: neighbours alike, strangers less so. With the slip a time has little in common with the next one and much
# with the one after, and the net must learn the even and the odd times apart. It trains all the same, and no error message
# ever comes.
#
# ### The condition is one more input
#
# *What* is wanted comes in by the same door: a row of learnt numbers for each class, added to the clock's (`UNet.embed`).
# Here it is a class; in lesson 09 it will come from a sentence. What does it do? Take **one and the same pure noise**, and
# name each class in turn. There is nothing to see in pure noise. What does the net answer?

# %%
kinds = torch.arange(10)
same = noise(1, 1, 28, 28, seed=4).expand(10, -1, -1, -1)
answer = ask(shipped, same, T, kinds)[0]
means = torch.stack([to_float(train_images[train_labels == k]).mean(0) for k in range(10)])
show_rows({"the net's $x_0$": answer, "mean of all\ntraining pictures": means}, CLASSES)
print(f"rms difference {(answer - means).square().mean().sqrt():.2f}, on the scale from -1 to 1")

# %% [markdown]
# It answers **the mean of the class**, the average of some 5,500 training pictures. Nobody told it to. It is what step 4
# rewards: with nothing to go by, and misses counted in *squares*, the mean is the best bet. At a smaller $t$ it is the mean
# over those pictures that could have become this $x_t$. This is the sentence to keep:
#
# > Trained on squared error, a net becomes a machine for **conditional means**:
# > $\hat x_0 \approx \mathrm E[x_0 \mid x_t]$ and $\hat\varepsilon \approx \mathrm E[\varepsilon \mid x_t]$.
#
# ### What sits between the inputs and the answer?
#
# The answer needs two things that pull apart. To say "this is a boot" a net must **see far**, which is cheap in a small picture. To
# say which grain is noise it must **keep every pixel**, which a small picture can't. A *U-Net* (Ronneberger et al. 2015) does both: it
# goes down to a small picture and up again, and on the way up each layer also gets what the layer of its size held on the way down, over
# a *skip*. This is all of it; `emb` is the clock and the wish, as one vector:

# %% src="course_lib/models/unet.py::UNet.forward"
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
# And this is the part it is made of. Look for the line by which the clock and the wish get in: they don't add a picture, they *turn the
# channels up and down*, by a factor and a shift for each.

# %% src="course_lib/layers.py::ResBlock"
class ResBlock(nn.Module):
    """Two convolutions around a residual path, scaled and shifted by the condition (Dhariwal &
    Nichol 2021, section 3).

    x [B, in_channels, H, W] and emb [B, emb_dim] to [B, out_channels, H, W].
    """

    def __init__(self, in_channels: int, out_channels: int, emb_dim: int, groups: int = 8):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.emb = nn.Linear(emb_dim, 2 * out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.conv2 = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = (
            nn.Conv2d(in_channels, out_channels, 1)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.emb(emb)[:, :, None, None].chunk(
            2, dim=1
        )  # [B, out_channels, 1, 1] each
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))


# %% [markdown]
# **What does the U hold?** Below, the shipped net looks at a boot at $t = 400$, and every layer shows the pattern that most of its channels
# share (their first principal component; the number counts the channels). Read from left to right. Where does the noise go, and
# where do the small details of the answer come from?

# %%
held = []
hooks = [
    layer.register_forward_hook(lambda layer, given, out: held.append(out[0].float().cpu()))
    for layer in (net.stem, *net.down, *net.middle, *net.up)
]
x_t = plan.add_noise(to_float(test_images[:1]), 400, noise(1, 1, 28, 28, seed=1))
answer = ask(shipped, x_t, 400, test_labels[:1])[0]
for hook in hooks:
    hook.remove()


def shared_pattern(h: Tensor) -> Tensor:
    """The first principal component of a layer's channels [C, H, W], signed like the answer: [H, W]."""
    flat = h.flatten(1) - h.mean(dim=(1, 2))[:, None]
    pattern = torch.linalg.svd(flat, full_matrices=False).Vh[0].reshape(h.shape[1:])
    return pattern * (pattern * F.adaptive_avg_pool2d(answer[0], h.shape[1])[0]).sum().sign()


# %%
figure, axes = plt.subplots(3, len(held) + 2, figsize=(13, 2.9))
for axis in axes.flat:
    axis.set_axis_off()
for column, h in enumerate([x_t[0], *held, answer[0]]):
    axis = axes[{28: 0, 14: 1, 7: 2}[h.shape[1]], column]
    axis.imshow(shared_pattern(h) if len(h) > 1 else h[0])
    axis.set_title(len(h), fontsize=11)
axes[0, 0].set_title("$x_t$")
axes[0, -1].set_title("$\\hat x_0$")
ends = {"xycoords": axes[1, 13].transAxes, "textcoords": axes[1, 3].transAxes}
axes[1, 3].annotate("", (-0.1, 0.5), xytext=(1.1, 0.5), arrowprops={"arrowstyle": "->", "color": BLUE, "lw": 2}, **ends)
figure.text(0.4, 0.55, "skips", color=BLUE, ha="center");

# %% [markdown]
# At the bottom, on 7 by 7 pixels, there is a boot without a single detail, and hardly any noise. The edges come back at the upper right,
# where the skips arrive. So says the picture; a picture is no proof. **Cut the wires and measure.** First the skips of the 14 by 14
# level alone, then all that comes up from the 7 by 7 level. The error is that of the net's own answer (a mixture of noise and picture,
# `v` of section 9), in which no time is easy by itself. Before you run it: at which times will the net miss the one, and at which the
# other?

# %%
def without_skip(layer, given):
    """The input of a block on the way up, with zeros in place of what came over the skip."""
    h, emb = given
    own = torch.arange(h.shape[1], device=h.device) < layer.conv2.out_channels
    return h * own[:, None, None], emb


def cut_error(t: int, *hooks) -> float:
    """The error of the shipped net's own answer on 64 test pictures, with hooks in place while it looks."""
    x0, eps = to_float(test_images[:64]), noise(64, 1, 28, 28, seed=t)
    seen, guess = ask(shipped, plan.add_noise(x0, t, eps), t, test_labels[:64])
    for hook in hooks:
        hook.remove()
    a, s = plan.alpha[t].item(), plan.sigma[t].item()
    return (a * (guess - eps) - s * (seen - x0)).square().mean().item()


# %%
some_times = [20, 60, 150, 260, 380, 500, 620, 740, 860, 960, 1000]
bottom = net.up[3]  # the way from 7 x 7 up to 14 x 14
curves = {"whole": [], "without the 14 x 14 skips": [], "without the 7 x 7 level": []}
for t in tqdm(some_times, desc="cut wires", leave=False):
    curves["whole"].append(cut_error(t))
    skips = [layer.register_forward_pre_hook(without_skip) for layer in net.up[4:]]
    curves["without the 14 x 14 skips"].append(cut_error(t, *skips))
    curves["without the 7 x 7 level"].append(cut_error(t, bottom.register_forward_hook(lambda *given: 0 * given[-1])))
for (name, curve), colour in zip(curves.items(), (GREY, RED, BLUE), strict=True):
    plt.plot(some_times, curve, "o-", color=colour, label=name)
plt.gca().set(xlabel="t", ylabel="error of the net's own answer", ylim=(0, 2), title="64 test pictures")
plt.legend();

# %% [markdown]
# Without the skips the net can't name the grain: up to about $t = 260$ it is worse than saying nothing, and at $t = 1000$, where
# only the figure is asked for, it hardly notices. Without the level below it is the other way round: next to nothing is lost at $t = 20$,
# and at $t = 1000$ the error doubles. **The skips carry the grain, the bottom carries the figure.**
#
# **Break it.** There is one layer of attention at the bottom, which lets every place look at every other one (`net.middle[1]`; a hook that
# returns `given[0]` takes it away). How much does the net miss it?
#
# <details><summary>What happens</summary>
# Hardly at all: the error at t = 500 goes from 0.068 to 0.069. On 7 by 7 pixels the convolutions below have already seen the whole picture.
# Attention earns its place in larger pictures, and where the wish is a sentence (lesson 09).
# </details>
#
# ## 3. What is really done: Algorithm 1
#
# Walking every picture through all steps would cost a thousand times too much, and one picture's questions are all alike. So
# nobody walks: **a random time, one jump, one loss**. The paper's box, against the code:
#
# | | Algorithm 1, training (Ho et al. 2020) | here |
# |---|---|---|
# | 1 | **repeat** | `for ... in train(...)` |
# | 2 | $x_0 \sim q(x_0)$ | the next batch of images, `x0` |
# | 3 | $t \sim \mathrm{Uniform}(\{1, \ldots, T\})$ | `t = self.times(...)`: `stratified_times` |
# | 4 | $\varepsilon \sim \mathcal N(0, I)$ | `eps = draws.normal(x0)` |
# | 5 | gradient step on $\lVert \varepsilon - \varepsilon_\theta(\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon,\, t)\rVert^2$ | `add_noise`, `predict`, `square`; `train` does the rest |
# | 6 | **until** converged | `steps` or `seconds`, whichever is first |
#
# Their $\sqrt{\bar\alpha_t}$ and $\sqrt{1-\bar\alpha_t}$ are our `alpha` and `sigma`. This is the library's text; a tool keeps
# the cell equal to it, so you read what runs:

# %% src="course_lib/diffusion/denoiser.py::Denoiser.loss"
def loss(self, x0: Tensor, cond=None, *, draws: Draws | None = None) -> dict[str, Tensor]:
    """DDPM's Algorithm 1 for any target: x0 [B, ...] to {"loss": [], "per_image": [B],
    "t": [B]}.

    A random time, one jump, one squared error, averaged over the elements of an image.
    draws: where the times and the noise come from, by default PyTorch's global generator.
    """
    draws = draws or Draws()
    t = self.times(len(x0), self.schedule.T, draws).to(x0.device)
    eps = draws.normal(x0)
    alpha, sigma = self.schedule.at(t, x0)
    a, b = TARGETS[self.target](alpha, sigma)
    prediction = self.predict(self.schedule.add_noise(x0, t, eps), t, cond)
    error = (prediction - (a * x0 + b * eps)).square()
    per_image = error.reshape(len(x0), -1).mean(dim=1)  # [B]
    weight = 1.0 if self.weight is None else self.weight(alpha.flatten(), sigma.flatten())
    return {"loss": (weight * per_image).mean(), "per_image": per_image.detach(), "t": t}


# %% [markdown]
# Where it is more than the paper's line: the times are drawn one in each of $B$ equal slots, so that no batch is by chance
# all easy or all hard; the label may be another mix of $x_0$ and $\varepsilon$ than the noise alone (section 9); and the norm
# is a mean over the pixels, so that saying nothing scores 1 at any image size.
#
# ### Rebuild 2: line 5
#
# With the noise for a label. Mind the shapes: $\alpha_t$ is one number *an image*.

# %%
def noise_loss(predict, alpha: Tensor, sigma: Tensor, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """The mean squared error in the noise, for each image: [B].

    predict(x_t, t) is the net; alpha and sigma [T + 1] are tables; x0 and eps [B, C, H, W]; t [B] are times 1 .. T.
    """
    raise NotImplementedError  # about four lines


grade.NOISE_LOSS(noise_loss)

# %% [markdown]
# ### The smallest pictures
#
# Before it meets clothes, your loss trains on pictures of **one pixel**. Their grey comes from three bumps, two of kind 0 and
# one of kind 1. Here everything is known: the density, the best denoiser, the best loss. Whenever this page says something
# about a whole distribution, this is where it is checked.

# %%
centres = torch.tensor([-0.9, 0.0, 0.8]).reshape(3, 1, 1, 1)
shares, spread, kind_of = torch.tensor([0.3, 0.3, 0.4]), 0.25, torch.tensor([0, 0, 1])


def one_pixel(n: int, generator: torch.Generator) -> Tensor:
    """n pictures of one pixel [n, 1, 1, 1]."""
    bump = torch.multinomial(shares, n, replacement=True, generator=generator)
    return centres[bump] + spread * torch.randn(n, 1, 1, 1, generator=generator)


def density(x: Tensor, alpha: float = 1.0, sigma: float = 0.0, kind: int | None = None) -> Tensor:
    """The density of alpha * pixel + sigma * eps at x [N]; of one kind only, where kind is given."""
    share = shares if kind is None else shares * (kind_of == kind) / shares[kind_of == kind].sum()
    variance = (alpha * spread) ** 2 + sigma**2
    bells = (-((x[:, None] - alpha * centres.flatten().to(x)) ** 2) / (2 * variance)).exp()  # [N, 3]
    return bells @ share.to(x) / math.sqrt(2 * math.pi * variance)


# %% [markdown]
# The net has four layers. It reads the time through *your* clock, and the grey through it as well (ten units a grey: fine
# differences of a number are what the clock is good at). It trains 2,000 steps with *your* loss. Watch the number
# at the end of the bar.

# %%
torch.manual_seed(0)
hidden = [layer for _ in range(2) for layer in (nn.Linear(64, 64), nn.SiLU())]
tiny = nn.Sequential(nn.Linear(1 + 32 + 32, 64), nn.SiLU(), *hidden, nn.Linear(64, 1))
my_loss = grade.NOISE_LOSS.or_library(noise_loss)
generator = torch.Generator().manual_seed(0)


def tiny_net(x_t: Tensor, t: Tensor, cond=None) -> Tensor:
    grey = x_t.flatten(1)
    return tiny(torch.cat([grey, my_embed(10 * grey[:, 0], 32), my_embed(t, 32)], dim=1)).reshape(x_t.shape)


def tiny_loss(x0: Tensor) -> dict[str, Tensor]:
    t = torch.randint(1, T + 1, (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    per_image = my_loss(tiny_net, linear.alpha.float(), linear.sigma.float(), x0, t, eps)
    return {"loss": per_image.mean(), "per_image": per_image, "t": t}


# %%
pixels = (one_pixel(512, generator) for _ in iter(int, 1))  # batches without end
optimizer = torch.optim.Adam(tiny.parameters(), lr=5e-3, betas=(0.9, 0.99))
phase = Phase("tiny", tiny, tiny_loss, optimizer, Ema(tiny), warmup_flat_decay(warmup=50, flat=0.2))
history, bar = [], tqdm(total=2000, desc="one-pixel net")
for done in train(phase, pixels, 2000, precision=torch.float32):
    history.append(done.losses["tiny"])
    bar.update()
    if done.step % 100 == 0:
        bar.set_postfix(loss=f"{done.loss:.3f}")
bar.close()
losses = torch.stack([step["loss"] for step in history])
print(f"mean loss of steps 500 to 1000: {losses[500:1000].mean():.3f}; of the last 500: {losses[-500:].mean():.3f}")

# %% [markdown]
# After a few hundred steps nothing moves any more, and the loss is nowhere near 0. Has it failed? Is the net too small, the
# rate too high? This is where healthy runs are stopped and sick ones are left to run for a day. What the curve lacks is
# **where zero is**.
#
# ## 4. Where is zero?
#
# Think of $\varepsilon$ as an arrow of length 1. A guess can use only what $x_t$ shows. The best guess $\hat\varepsilon$ is
# the arrow's *shadow* on what can be known, and the miss stands **upright** on it (if it leaned, a longer or shorter shadow
# would come closer). A right angle means Pythagoras:
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
    """The least possible error in the noise, for data Normal(0, s2) and a schedule's alpha_bar = alpha ** 2."""
    raise NotImplementedError  # one line


grade.FLOOR(gaussian_floor)

# %% [markdown]
# For the one-pixel pictures the floor is an integral over the known density of $x_t$. The denoiser in it is exact, no net.

# %%
my_floor = grade.FLOOR.or_library(gaussian_floor)
bumps = mixture_denoiser(linear, centres, spread, shares, kind_of)
grid = torch.linspace(-6, 6, 2001)


def floor(t: int) -> float:
    """1 - E[eps_hat^2] over the density of x_t, by quadrature."""
    guess = bumps(grid.reshape(-1, 1, 1, 1), t)[1].flatten()
    weight = density(grid, linear.alpha[t].item(), linear.sigma[t].item())
    return 1 - torch.trapezoid(weight * guess**2, grid).item()


floors = torch.tensor([floor(t) for t in range(1, T + 1)])
print(f"the floor, averaged over all times: {floors.mean():.3f}")  # NBVAL_CHECK_OUTPUT

# %% [markdown]
# Now draw it under the training loss. Left, the curve that everyone plots. Right, the same error sorted by time.

# %%
late = history[-500:]
error, at = torch.cat([step["per_image"] for step in late]), torch.cat([step["t"] for step in late])
middles = torch.arange(25, T, 50)
by_time = [error[(at > m - 25) & (at <= m + 25)].mean() for m in middles]

figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.8))
left.plot(losses, color=SKY, linewidth=1, label="loss of each step")
left.axhline(floors.mean(), color=RED, label=f"the floor, {floors.mean():.3f}")
left.set(xlabel="step", ylabel="error in the noise", ylim=(0, 1), title="the loss stands on its floor")
right.plot(middles, by_time, "o", color=BLUE, label="the net, last 500 steps")
right.plot(range(1, T + 1), floors, color=RED, label="the floor at each t")
right.set(xlabel="t", ylabel="error in the noise", ylim=(0, 1), title="the same, by time")
left.legend()
right.legend();

# %% [markdown]
# The run hadn't failed, it was **done** after a few hundred steps. What is left is chance, not ignorance: two pictures with
# two noises that make the same $x_t$ cannot be told apart by anyone.
#
# Does a loss far from 0 make good samples? Fifty DDIM calls of your net, against the density:

# %%
tiny.load_state_dict(phase.ema.module.state_dict())  # the average of the latest weights
greys = final(sample_ddim(Denoiser(tiny_net, linear), linear, noise(20_000, 1, 1, 1, seed=5), linear.times(50))).flatten()
x = torch.linspace(-2, 2, 400)
plt.figure(figsize=(7, 3.2))
plt.hist(greys.numpy(), bins=60, range=(-2, 2), density=True, color=SKY, label="20,000 samples of your net")
plt.plot(x, density(x), color=RED, label="the density of the data")
plt.gca().set(xlabel="grey of the pixel", ylabel="density", xlim=(-2, 2))
plt.legend();

# %% [markdown]
# ### And for real pictures?
#
# There the density is unknown. But the best possible loss stands between **two walls**, and both are formulas, without a net:
#
# - **The upper wall: the best straight-line guess.** Knowing nothing but the mean and the covariance of the pixels, the best
#   guess is linear. Along each principal axis of the training pictures it is your formula, with $s^2$ that axis' variance; the
#   wall is the mean over the 784 axes. A net that does no better has learnt no more than averages. (It is not told the class.)
# - **The lower wall: the copyist.** The training loss is an average over 55,000 pictures, and its exact minimiser is the
#   perfect denoiser of lesson 04, a softmax over *those* pictures. No net goes below it on the training set, and whoever
#   reaches it draws copies and nothing else. (The floor for *fresh* pictures is higher: on average a finite sample is easier to
#   guess than what it was drawn from.) It is exact at each $x_t$; its mean is measured on 64 pictures.

# %%
times = [1, 2, 4, 8, 15, 30, 60, 100, 150, 200, 260, 320, 380, 440, 500, 560, 620, 680, 740, 800, 860, 920, 960, 990]
flat = to_float(train_images).flatten(1)  # [55000, 784]
variances = torch.linalg.eigvalsh(torch.cov(flat.T)).clamp(min=0)  # of the principal axes
upper_wall = np.array([my_floor(plan.alpha[t].item() ** 2, variances).mean() for t in times])


# %%
def measure(denoise: Denoise, x0: Tensor, cond: Tensor, times: Sequence[int], what: str) -> tuple[Tensor, Tensor]:
    """For each time and image the mean square of the miss, and how far the miss leans on the guess: [times, B] each."""
    miss, lean = [], []
    for t in tqdm(times, desc=what, leave=False):
        eps = noise(*x0.shape, seed=t)
        guess = ask(denoise, plan.add_noise(x0, t, eps), t, cond)[1]
        miss.append((guess - eps).square().mean(dim=(1, 2, 3)))
        lean.append(2 * (guess * (guess - eps)).mean(dim=(1, 2, 3)))
    return torch.stack(miss), torch.stack(lean)


few = torch.randperm(55_000, generator=torch.Generator().manual_seed(0))[:64]
known = to_float(train_images[few]), train_labels[few]
fresh = to_float(test_images[:64]), test_labels[:64]
known_miss, _ = measure(shipped, *known, times, "net, training pictures")
fresh_miss, fresh_lean = measure(shipped, *fresh, times, "net, test pictures")

# %%
copyist = mixture_denoiser(plan, to_float(train_images).to(device), 0.0, labels=train_labels)
late_times = [100, 320, *[t for t in times if t >= 440]]
copy_miss = measure(copyist, *known, late_times, "copyist")[0].mean(1)
lower_wall = np.interp(times, late_times, copy_miss)
print(f"error of the copyist at t = 100, 320 and 440: {copy_miss[0]:.4f}, {copy_miss[1]:.4f}, {copy_miss[2]:.4f}")

# %% [markdown]
# The same figure for clothes. The net is the shipped one; bars are two standard errors over 64 pictures. Look first at the
# corridor between the walls, then at where in it the net runs.

# %%
figure, axes = plt.subplots(1, 2, figsize=(12, 4.2))
for axis in axes:
    axis.fill_between(times, lower_wall, upper_wall, color=GREY, alpha=0.15)
    axis.plot(times, upper_wall, color=ORANGE, label="upper wall: best straight-line guess")
    for miss, colour, label in ((known_miss, BLUE, "net, training pictures"), (fresh_miss, GREEN, "net, test pictures")):
        bars = 2 * miss.std(1) / miss.shape[1] ** 0.5
        axis.errorbar(times, miss.mean(1), bars, color=colour, marker="o", markersize=4, label=label)
    axis.plot(times, lower_wall, color=RED, label="lower wall: the copyist")
    axis.set(xlabel="t", ylabel="error in the noise")
axes[0].set(title="error at each time", ylim=(0, 1))
axes[1].set(title="the same, enlarged by a logarithm", yscale="log", ylim=(1e-3, 1))
axes[0].legend();

# %%
def over_times(curve) -> float:
    """The mean over t = 1 .. T of a curve known at `times`."""
    return float(np.interp(np.arange(1, T + 1), times, np.asarray(curve)).mean())


print("error in the noise, mean over all times")
print(f"  best straight-line guess     {over_times(upper_wall):.4f}")
print(f"  shipped net, test pictures   {over_times(fresh_miss.mean(1)):.4f}")
print(f"  shipped net, training        {over_times(known_miss.mean(1)):.4f}")
print(f"  copyist, training            {over_times(lower_wall):.4f}")

# %% [markdown]
# Three things to take along:
#
# 1. **A flat loss is no sign of failure.** The average is made at the small times, where little can be won. Shape and kind are
#    decided at the large ones, where the whole corridor is a few hundredths high. *Plot the loss by time.*
# 2. **The net stays far above the copyist, and that is why it invents.** Up to $t = 440$ the copyist makes no error worth the name: it
#    recognises the picture and recites it. A net at that wall would be perfect on the training set, and useless.
# 3. **Blue and green agree** within their bars: this net has not begun to memorise. And at the largest times all curves meet: there the
#    net is done, for there is nothing left to learn.
#
# ### A test that needs no label
#
# Pythagoras has one more gift. For the best predictor, at each $t$ and for *any* data,
#
# $$\mathrm E[\hat\varepsilon^2] + \mathrm E[(\varepsilon - \hat\varepsilon)^2] = 1 .$$
#
# The sum exceeds 1 by $2\,\mathrm E[\hat\varepsilon(\hat\varepsilon - \varepsilon)]$, by how far the miss *leans*, and this is
# 0 only where no single factor on the guess would improve it. So a noise predictor can be tested with no density, no
# reference set and no picture looked at. Three patients: the shipped net; the same net with a slip, told $t + 10$ for $t$
# (no shape check finds that); and the snapshot after 10,000 images.

# %%
def late_clock(x_t: Tensor, t: int, cond: Tensor) -> tuple[Tensor, Tensor]:
    """The shipped net, told the wrong time."""
    return shipped(x_t, min(t + 10, T), cond)


checks = [60, 150, 260, 380, 500, 620, 740, 860, 960]
young = load_denoiser("ddpm-fashion-10k")
leans = {"shipped net": fresh_lean[[times.index(t) for t in checks]]}
leans["the same, told t + 10"] = measure(late_clock, *fresh, checks, "told t + 10")[1]
leans["snapshot, 10,000 images"] = measure(young, *fresh, checks, "snapshot")[1]

# %%
for (name, lean), colour, marker in zip(leans.items(), (GREEN, RED, ORANGE), "os^", strict=True):
    bars = 2 * lean.std(1) / lean.shape[1] ** 0.5
    plt.errorbar(checks, 1 + lean.mean(1), bars, color=colour, marker=marker, capsize=3, label=name)
plt.axhline(1, color=GREY, linewidth=1)
plt.gca().set(xlabel="t", ylabel="mean(eps_hat$^2$) + error")
plt.title("the self-test: 1 is the only healthy value (bars: two standard errors, n = 64)")
plt.legend();

# %% [markdown]
# The test sees the slip. It is necessary and not sufficient (a net that always says 0 passes as well), but it costs two lines
# in a training loop, and it catches what the loss curve hides: wrong tables, shifted times, a net still out of scale. (Where the
# green bars miss the line, the shipped net isn't at its best either.)
#
# **Break it.** In `late_clock` put `t + 5`, then `t + 2`, then `t + 1`: how small a slip does the test still see, and at which $t$? Then return
# `shipped(...)` with its noise times 1.02.
#
# <details><summary>What happens</summary>
# A slip of 5 is seen up to about t = 500, one of 2 at the smallest t only, where each step changes the noise most in proportion, and one of 1 drowns in
# the bars: for that, 64 pictures are too few. A factor of 1.02 moves the sum by 0.04 wherever the noise can be named, many times the bars: scale
# is what this test sees best.
# </details>
#
# %% [markdown]
# ## 5. Train one
#
# One piece is missing. Guidance (section 8) will need a net that can also work *without* a class. Two nets? One is enough: in
# one picture of ten the label is replaced by "no class", here number 10.
#
# ### Rebuild 4: forget a tenth of the labels

# %%
def drop_labels(labels: Tensor, null_class: int, u: Tensor) -> Tensor:
    """labels [B], with null_class in place of those whose number in u (uniform on 0 .. 1, [B]) is below 0.1."""
    raise NotImplementedError  # one line; torch.where may help


grade.DROP_LABELS(drop_labels)

# %% [markdown]
# Now all of it together, on a smaller net than the shipped one, for 35 seconds. The loss is
# *yours*, so are the dropped labels. The net's own output is read as noise by `Denoiser`; that it is asked for `v` inside is
# explained in section 9.

# %%
torch.manual_seed(0)
own = place(UNet(UNetConfig(widths=(32, 64), emb_dim=128)), device)
own_denoise = Denoiser(own, plan, "v")
my_drop = grade.DROP_LABELS.or_library(drop_labels)
alpha_table, sigma_table = plan.alpha.float().to(device), plan.sigma.float().to(device)
draws = Draws(0)  # all that is random in the run, from one seed


def own_loss(batch) -> dict[str, Tensor]:
    x0, labels = batch
    t = stratified_times(len(x0), T, draws).to(device)
    eps = draws.normal(x0)
    cond = my_drop(labels, own.config.null_class, draws.uniform(len(labels)).to(device))
    per_image = my_loss(lambda x_t, t: own_denoise(x_t, t, cond)[1], alpha_table, sigma_table, x0, t, eps)
    return {"loss": per_image.mean()}


sizes = [sum(p.numel() for p in module.parameters()) for module in (own, net)]
print("{:,} parameters; the shipped net has {:,}".format(*sizes))  # NBVAL_CHECK_OUTPUT

# %% [markdown]
# The run draws itself: left the loss, over the two walls of section 4; right ten samples, one a class, always from the same
# noise, by the average of the latest weights (`Ema`). Look for the moment at which the loss crosses the upper wall, and at the
# pictures around it.

# %%
start = noise(10, 1, 28, 28, seed=7)
walls = {"best straight line": (over_times(upper_wall), ORANGE), "copyist": (over_times(lower_wall), RED)}


def draw_run(losses: list[float], pictures: Tensor, seen: int):
    """The state of a run, as a figure."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), width_ratios=[1, 1.35])
    left.loglog(range(1, len(losses) + 1), losses, color=SKY, linewidth=1)
    for name, (height, colour) in walls.items():
        left.axhline(height, color=colour)
        left.text(1, height * 1.2, name, color=colour)
    left.set(xlabel="step", ylabel="error in the noise", ylim=(1e-3, 1.3))
    right.imshow(tile(pictures, 5), vmin=0, vmax=1)
    right.set_axis_off()
    right.set_title(f"{seen:,} images seen")
    return figure


# %%
SECONDS, BATCH = 35, 32
phase = Phase("own", own, own_loss, Muon(own, lr=4e-3), Ema(own), warmup_flat_decay(warmup=10))
losses, album, seen = [], [], []


def show(view):
    """Ten samples of the run as it stands, into the album and the figure."""
    painter = clipped(Denoiser(phase.ema.module, plan, "v"), plan)
    album.append(sample(sample_ddim, painter, start, plan.times(10), kinds))
    seen.append(BATCH * len(losses))
    view.update(draw_run(losses, album[-1], seen[-1]))
    plt.close()


# %%
view, bar = display(draw_run([1.0], start, 0), display_id=True), tqdm(total=100, desc="training", unit="%")
plt.close()
for done in train(phase, fashion_batches(BATCH, seed=0), 100_000, seconds=SECONDS):
    losses.append(done.loss)
    bar.update(round(100 * done.progress) - bar.n)
    if done.progress > (len(album) + 1) / 8:
        show(view)
show(view)
bar.update(100 - bar.n)
bar.close()

# %% [markdown]
# Drag through the run. Above the orange line the net knows less than the mean and covariance of the pixels would tell it, and draws
# blots. Garments appear about where the loss crosses that line: from there on it knows what no straight line knows. After that
# the curve flattens, and the pictures go on getting better. What improves them is a few thousandths at the large $t$, which
# drown in a mean over all $t$.

# %%
frames = [np.uint8(255 * tile(pictures, 5)) for pictures in album]
Flipbook(frames, seen, label="images seen", title="Your run", format="{:,}", start=-1)

# %% [markdown]
# And if you had more time? The course ships snapshots of one long run. From the **same noise**:

# %%
names = {"ddpm-fashion-10k": "10,000", "ddpm-fashion-50k": "50,000", "ddpm-fashion-250k": "250,000"}
names |= {"ddpm-fashion": f"{read_card('ddpm-fashion')['images_seen']:,}"}
rows = {f"yours: {seen[-1]:,}\nimages seen": album[-1]}
for name, count in tqdm(names.items(), desc="snapshots", leave=False):
    painter = clipped(load_denoiser(name), plan)
    rows[count] = sample(sample_ddim, painter, start, plan.times(20), kinds)
show_rows(rows, CLASSES);


# %% [markdown]
# First the kind, then the outline, then the cloth, then the seams: training learns the large times first. Column by column
# the figure stays recognisably the same, though these nets share not one weight with yours. The noise decides which picture
# it is; the data decides what the noise means; the net only has to find out.
#
# **Break it.** Train with the times `t = (900 + draws.integers(100, len(x0))).to(device)`, then with `1 + draws.integers(99, len(x0))`. What can each of
# the two nets do, and what do their samples look like?
#
# <details><summary>What happens</summary>
# The first draws silhouettes made of grain: it decides on a trouser and can't finish it. At t = 900 its error is as low as that of the net trained on all
# times (0.004), at t = 100 it is 1.4, worse than saying nothing. The second draws cloth without a garment, patches with clean edges: at t = 100 its error is
# 0.21, as low as that of the net trained on all times; at t = 500 it is 0.56, where that net has 0.05. Two halves of one craft, and t tells them apart.
# </details>
#
# ## 6. Back again: Algorithm 2
#
# Sampling, the paper's second box. Careful: their $\alpha_t$ without a bar is $1-\beta_t$, the share that *one step* keeps,
# and not our `alpha[t]`; and their $\sigma_t$ is the spread of the *fresh* noise, and not our `sigma[t]`.
#
# | | Algorithm 2, sampling (Ho et al. 2020) | here |
# |---|---|---|
# | 1 | $x_T \sim \mathcal N(0, I)$ | the caller's `x` |
# | 2 | **for** $t = T, \ldots, 1$ **do** | `for t, s in strides(times, falling=True)`: any stride, $s < t$ |
# | 3 | $z \sim \mathcal N(0, I)$ if $t > 1$, else $z = 0$ | `draws.normal(x)`, under `if s > 0` |
# | 4 | $x_{t-1} = \frac{1}{\sqrt{\alpha_t}}\left(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\varepsilon_\theta(x_t, t)\right) + \sigma_t z$ | `c_t * x + c_0 * x0`, and `variance ** 0.5 * noise` |
# | 5 | **end for** | |
# | 6 | **return** $x_0$ | the last `Step` |
#
# Two pieces of the library. The first knows where $x_s$ may have been, given $x_t$ and $x_0$ (lesson 04, section 2):

# %% src="course_lib/diffusion/samplers.py::posterior"
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


# %% src="course_lib/diffusion/samplers.py::sample_ddpm"
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
# Line 4 of the paper and `c_t * x + c_0 * x0` don't look alike. Put $\hat x_0 = (x_t - \sigma_t\hat\varepsilon)/\alpha_t$ into
# the second, and the first comes out. Check it before you believe it:

# %%
x_t, eps = noise(1000, seed=1).double(), noise(1000, seed=2).double()
worst = 0.0
for t in range(2, T + 1):
    a, abar = 1 - beta[t - 1], linear.alpha[t] ** 2
    line4 = (x_t - (1 - a) / (1 - abar).sqrt() * eps) / a.sqrt()
    c_t, c_0, small, large = posterior(linear, t, t - 1)
    ours = c_t * x_t + c_0 * (x_t - linear.sigma[t] * eps) / linear.alpha[t]
    worst = max(worst, (line4 - ours).abs().max().item())
print(f"largest difference over all t: below 1e-9 is {worst < 1e-9}")  # NBVAL_CHECK_OUTPUT

# %% [markdown]
# ### Rebuild 5: one step back
#
# Line 4, for a step from $t$ to any earlier $s$. All you need is two numbers of the table: $1-\beta = \bar\alpha_t /
# \bar\alpha_s$ is what this step kept. For the variance take $\tilde\beta = \beta\,(1-\bar\alpha_s)/(1-\bar\alpha_t)$; it is 0
# at the last step, so that no `if` is needed.

# %%
def reverse_step(x_t: Tensor, eps: Tensor, z: Tensor, alpha_bar_t: float, alpha_bar_s: float) -> Tensor:
    """From x_t and the noise eps seen in it to x_s, with the fresh noise z; all of one shape."""
    raise NotImplementedError  # about four lines


grade.REVERSE_STEP(reverse_step)

# %% [markdown]
# ### Why does a denoiser add noise?
#
# It is the strangest thing in Algorithm 2. We want noise *gone*, and line 4 ends in fresh noise, $+\sqrt{\tilde\beta}\,z$. **Take it away and look.**
# Your step makes the shipped net's pictures four times at once, from the same start: with no fresh noise, with half of it,
# with all, and with half as much again.

# %%
my_step = grade.REVERSE_STEP.or_library(reverse_step)
loudness = torch.tensor([0.0, 0.5, 1.0, 1.5])


@torch.no_grad()
def your_run(denoise: Denoise, x: Tensor, times: Sequence[int], cond: Tensor, loud: Tensor) -> Iterator[Step]:
    """Algorithm 2 with your step, its fresh noise multiplied by loud [B, 1, 1, 1]."""
    generator = torch.Generator().manual_seed(0)
    for t, s in zip(times[:-1], times[1:], strict=True):
        x0, eps = ask(denoise, x, t, cond)
        yield Step(t, x, x0, eps)
        z = torch.randn(10, 1, 28, 28, generator=generator).repeat(len(x) // 10, 1, 1, 1)
        x = my_step(x, eps, loud * z, plan.alpha[t].item() ** 2, plan.alpha[s].item() ** 2)
    yield Step(0, x, x, eps)


# %%
times50 = plan.times(50)[1:]  # from 980: at T itself alpha is 0, and line 4 would divide by it
start4, kinds4 = noise(10, 1, 28, 28, seed=11).repeat(4, 1, 1, 1), kinds.repeat(4)
loud4 = loudness.repeat_interleave(10).reshape(40, 1, 1, 1)
walk = your_run(sampling, start4, times50, kinds4, loud4)
steps = list(tqdm(walk, total=50, desc="four loudnesses", leave=False))
show_rows({f"fresh noise x {w:g}": part for w, part in zip(loudness, steps[-1].x_t.chunk(4), strict=True)}, CLASSES);

# %% [markdown]
# Without fresh noise the pictures are smooth blanks: outlines with the cloth ironed off. With too much they are grain. Only
# the right amount gives cloth. **Why should noise put detail in?**
#
# Because line 4's bracket does not hand over a picture with *less noise*, but the *mean* of where the picture may have been.
# The mean of many possible pictures is smoother than any of them. On the next step the net is told "this has the noise of
# time $s$", and it hasn't: it finds too little noise, takes the little cloth there is for noise, and irons that off too. The
# fresh noise fills up what the mean has averaged away. Measure it: how much noise really is in $x_s$, against what the net is
# told?

# %%
def noise_inside(step: Step, finished: Tensor) -> Tensor:
    """The rms of what step.x_t holds beside its own finished picture, over the sigma that the net is told: by loudness."""
    alpha_t, sigma_t = plan.alpha[step.t].item(), plan.sigma[step.t].item()
    return ((step.x_t - alpha_t * finished) / sigma_t).square().reshape(4, -1).mean(1).sqrt()


inside = torch.stack([noise_inside(step, steps[-1].x_t) for step in steps[:-1]])
for column, w, colour in zip(inside.T, loudness, (RED, ORANGE, BLUE, GREY), strict=True):
    plt.plot([step.t for step in steps[:-1]], column, color=colour)
    plt.text(490, column[25] + 0.05, f"fresh noise x {w:g}", color=colour)
plt.axhline(1, color="black", linewidth=1, linestyle=":")
plt.gca().set(xlabel="t", ylabel="noise inside / noise told", xlim=(980, 0), ylim=(0, 2))
plt.title("time runs to the right, from noise to picture");

# %% [markdown]
# With the paper's noise the ratio is 1 until the picture is all but finished; without it, the net is told fairy tales.
#
# Then why does DDIM work without any fresh noise? It hands over something else: not the mean of $x_s$ but
# $\alpha_s \hat x_0 + \sigma_s \hat\varepsilon$, the *full* noise of time $s$, made of the noise that was already there. Either
# way the picture must hold the noise that the net is told. Scrub through both runs together: in the lower one the noise is gone
# after a few steps, while the net is still told that there is plenty.

# %%
def part(k: int) -> list[Step]:
    """The run of one loudness."""
    rows = slice(10 * k, 10 * k + 10)
    return [Step(step.t, step.x_t[rows], step.x0[rows], step.eps[rows]) for step in steps]


Scrubber.compare({"with the paper's noise": part(2), "without": part(0)}, plan, columns=5, frames=20, quality=60)

# %% [markdown]
# ## 7. Where the loss comes from
#
# So far the loss was a good idea: "compare with what was kept". The paper *derives* it from the likelihood. Here is the whole
# derivation, four steps, and after each one a cell that checks it with numbers. All of it is on the one-pixel pictures, with
# the exact denoiser, where $-\log p(x_0)$ is known.
#
# The model is a chain: pure noise $p(x_T) = \mathcal N(0, 1)$, then steps $p(x_{t-1} \mid x_t)$ down to $x_0$. Its likelihood
# of one picture is an integral over all paths. Nobody can do that integral, so **average over the paths that the forward
# process $q$ makes**, and Jensen ($-\log$ of a mean is at most the mean of $-\log$) gives a bound:
#
# $$-\log p(x_0) = -\log \mathrm E_q\!\left[\frac{p(x_{0:T})}{q(x_{1:T}\mid x_0)}\right] \;\le\;
# \mathrm E_q\!\left[\log \frac{q(x_{1:T}\mid x_0)}{p(x_{0:T})}\right] = L$$
#
# **Step 1: read the forward path backwards.** $q$ is a chain that starts at $x_0$. The same joint probability can be factored
# from the other end:
#
# $$\prod_{t=1}^{T} q(x_t \mid x_{t-1}) \;=\; q(x_T \mid x_0)\,\prod_{t=2}^{T} q(x_{t-1}\mid x_t, x_0)$$
#
# Check it on one random path: both logarithms, summed.

# %%
def log_normal(x, mean, variance):
    """The log density of a Normal."""
    return -((x - mean) ** 2) / (2 * variance) - 0.5 * torch.as_tensor(2 * math.pi * variance, dtype=x.dtype).log()


grey = torch.tensor(0.4, dtype=torch.float64)  # x_0
path, generator = [grey], torch.Generator().manual_seed(1)
for b in beta:
    z = torch.randn((), generator=generator, dtype=torch.float64)
    path.append((1 - b).sqrt() * path[-1] + b.sqrt() * z)

onward = sum(log_normal(path[t], (1 - beta[t - 1]).sqrt() * path[t - 1], beta[t - 1]) for t in range(1, T + 1))
back = log_normal(path[T], linear.alpha[T] * grey, linear.sigma[T] ** 2)
for t in range(2, T + 1):
    c_t, c_0, small, _ = posterior(linear, t, t - 1)
    back = back + log_normal(path[t - 1], c_t * path[t] + c_0 * grey, small)
print(f"forwards {onward:.6f}, backwards {back:.6f}")  # NBVAL_CHECK_OUTPUT

# %% [markdown]
# **Step 2: the past of a known picture is a Normal.** The backward factors were $\mathcal N(c_t x_t + c_0 x_0,\; \tilde\beta)$.
# That is Bayes' rule: prior $q(x_s \mid x_0)$ times likelihood $q(x_t \mid x_s)$, made to sum to 1. Check it on a grid.

# %%
t, s, x_t = 300, 280, torch.tensor(0.1, dtype=torch.float64)
x_s = torch.linspace(-2, 2, 4001, dtype=torch.float64)
keep = linear.alpha[t] / linear.alpha[s]
bayes = log_normal(x_s, linear.alpha[s] * grey, linear.sigma[s] ** 2) + log_normal(x_t, keep * x_s, 1 - keep**2)
bayes = (bayes - bayes.max()).exp()
bayes = bayes / torch.trapezoid(bayes, x_s)
c_t, c_0, small, large = posterior(linear, t, s)
formula = log_normal(x_s, c_t * x_t + c_0 * grey, small).exp()
agree = (bayes - formula).abs().max() < 1e-8 * formula.max()
print(f"Bayes on a grid and the formula agree to eight digits: {agree}")  # NBVAL_CHECK_OUTPUT

# %% [markdown]
# **Step 3: collect.** Put the backward reading into $L$, and pair each factor of $q$ with the model's:
#
# $$L = \underbrace{D\big(q(x_T \mid x_0)\,\|\,p(x_T)\big)}_{L_T:\ \text{is the end pure noise?}}
# + \sum_{t=2}^{T} \mathrm E_q \underbrace{D\big(q(x_{t-1}\mid x_t, x_0)\,\|\,p(x_{t-1}\mid x_t)\big)}_{L_{t-1}:\ \text{each step back}}
# \;\underbrace{-\,\mathrm E_q \log p(x_0 \mid x_1)}_{L_0:\ \text{the last bit}}$$
#
# $D(q\,\|\,p) = \mathrm E_q[\log q - \log p]$ is the Kullback-Leibler divergence: what it costs, in nats, to take $p$ for $q$. It is 0 only where
# the two are equal, and not symmetric. In all parts but $L_0$ it is one of two Normals. The model has the same mean, with $\hat x_0$ for $x_0$,
# and some variance $\nu_t$, so the means differ by $c_0(x_0 - \hat x_0)$ and
#
# $$D = \tfrac12\left(\frac{\tilde\beta}{\nu} - 1 - \log\frac{\tilde\beta}{\nu}\right) + \frac{c_0^2\,(x_0 - \hat x_0)^2}{2\,\nu}.$$

# %%
x0_guess, nu = torch.tensor(0.25, dtype=torch.float64), large
q, p = (log_normal(x_s, c_t * x_t + c_0 * x0, v) for x0, v in ((grey, small), (x0_guess, nu)))
by_integral = torch.trapezoid(q.exp() * (q - p), x_s)
by_formula = 0.5 * (small / nu - 1 - math.log(small / nu)) + c_0**2 * (grey - x0_guess) ** 2 / (2 * nu)
print(f"D by quadrature {by_integral:.6f}, by the formula {by_formula:.6f}")  # NBVAL_CHECK_OUTPUT

# %% [markdown]
# **Step 4: it is a weighted squared error in the noise.** With $\nu = \tilde\beta$ only the last term is left. Its factor is half
# the drop in signal-to-noise ratio, $\mathrm{SNR} = \alpha^2/\sigma^2$ (Kingma et al. 2021), and since the error in the picture
# is $\frac{\sigma_t^2}{\alpha_t^2}$ times the error in the noise,
#
# $$L_{t-1} = \frac{c_0^2}{2\tilde\beta}\,(x_0-\hat x_0)^2 = \tfrac12\big(\mathrm{SNR}_{t-1} - \mathrm{SNR}_t\big)\,(x_0-\hat x_0)^2
# = \underbrace{\tfrac12\Big(\frac{\mathrm{SNR}_{t-1}}{\mathrm{SNR}_t} - 1\Big)}_{w_t}\,(\varepsilon - \hat\varepsilon)^2.$$

# %%
snr = (linear.alpha / linear.sigma) ** 2
steps_back = [posterior(linear, t, t - 1) for t in range(2, T + 1)]
factor = torch.tensor([c_0**2 / (2 * small) for _, c_0, small, _ in steps_back], dtype=torch.float64)
half_drop = (snr[1:-1] - snr[2:]) / 2
same = ((factor - half_drop) / half_drop).abs().max() < 1e-8
print(f"c_0^2 / (2 beta-tilde) is half the drop in SNR, at every t: {same}")  # NBVAL_CHECK_OUTPUT

# %% [markdown]
# DDPM's training loss is this sum **with the weights $w_t$ thrown away**. The authors found that it makes better pictures; we
# look at what it throws away below.
#
# ### Does the bound hold, and how tight is it?
#
# Add it all up, for every grey $x_0$, in bits. The means over $q$ are quadrature (64 nodes), the denoiser is exact, so nothing here
# is a simulation. Two variances for the model's steps, $\tilde\beta$ and $\beta$: the paper says that both "had similar results".
# **Which do you expect to be tighter?**

# %%
nodes, node_weights = np.polynomial.hermite_e.hermegauss(64)
nodes, node_weights = torch.tensor(nodes), torch.tensor(node_weights / node_weights.sum())
greys = torch.linspace(-2, 2, 101, dtype=torch.float64)


# %%
def total(parts: dict[str, Tensor], variance: str) -> Tensor:
    """The whole bound in bits, for every grey."""
    return parts["L_T"] + parts[variance] + parts["L_0"]


def bound(schedule: Schedule) -> dict[str, Tensor]:
    """The parts of the bound in bits, each for every grey: L_T, L_0, and the steps' sum with either variance."""
    exact, ln2 = mixture_denoiser(schedule, centres, spread, shares), math.log(2)
    parts = {"beta-tilde": torch.zeros(101), "beta": torch.zeros(101)}
    for t in range(1, schedule.T + 1):
        x_t = schedule.alpha[t] * greys[:, None] + schedule.sigma[t] * nodes  # [greys, nodes]
        x0 = exact(x_t.reshape(-1, 1, 1, 1), t)[0].reshape(x_t.shape)
        error = (greys[:, None] - x0) ** 2 @ node_weights
        _, c_0, small, large = posterior(schedule, t, t - 1)
        if t == 1:  # the last step has the variance beta
            parts["L_0"] = (0.5 * math.log(2 * math.pi * large) + error / (2 * large)) / ln2
            continue
        for name, nu in (("beta-tilde", small), ("beta", large)):
            distance = 0.5 * (small / nu - 1 - math.log(small / nu)) + c_0**2 * error / (2 * nu)
            parts[name] = parts[name] + distance / ln2
    a2, s2 = schedule.alpha[-1] ** 2, schedule.sigma[-1] ** 2
    return parts | {"L_T": 0.5 * (a2 * greys**2 + s2 - 1 - s2.log()) / ln2}


# %% [markdown]
# What should it be compared with? $L$ bounds the $-\log p(x_0)$ of the *model*, of the chain of $T$ Normal steps, not of the data. In one
# dimension the integral that nobody can do is $T$ products of a table with a vector, so for 25 steps we do it:

# %%
fine = torch.linspace(-5, 5, 1001, dtype=torch.float64)


def model_bits(schedule: Schedule) -> Tensor:
    """-log2 p(x_0) of the chain with variance beta, on `greys`: the noise's density pushed through T tables."""
    exact = mixture_denoiser(schedule, centres, spread, shares)
    p = log_normal(fine, 0.0, 1.0).exp()
    for t in range(schedule.T, 0, -1):
        c_t, c_0, _, large = posterior(schedule, t, t - 1)
        mean = c_t * fine + c_0 * exact(fine.reshape(-1, 1, 1, 1), t)[0].flatten()
        p = log_normal(fine[:, None], mean[None, :], large).exp() @ p * (fine[1] - fine[0])  # [x_s, x_t] @ [x_t]
    return -torch.tensor(np.interp(greys, fine, p)).log2()


counts = [25, 50, 100, 200, 400, 800]
courses = {n: Schedule.linear(n, 0.1 / n, 20 / n) for n in counts}  # the same course in n steps
bounds = {n: bound(courses[n]) for n in tqdm(counts, desc="bounds", leave=False)}
of_data, of_model = -density(greys).log2(), model_bits(courses[25])
law = density(greys) / density(greys).sum()  # for means over the data


# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.8))
left.plot(greys, total(bounds[25], "beta"), color=BLUE, label="the bound, 25 steps")
left.plot(greys, of_model, color=ORANGE, label="the chain of 25 steps itself")
left.plot(greys, of_data, color="black", linestyle=":", label="the data")
left.set(xlabel="grey $x_0$", ylabel="$-\\log_2 p(x_0)$ (bits)", ylim=(0.4, 6), xlim=(-1.8, 1.8))
gaps = {}
for name, colour in (("beta-tilde", RED), ("beta", BLUE)):
    gaps[name] = [(law * (total(bounds[n], name) - of_data)).sum().item() for n in counts]
    right.loglog(counts, gaps[name], "o-", color=colour)
    right.text(60, gaps[name][1] * 1.5, f"variance {name}", color=colour)
right.axhline(0.5 * np.euler_gamma / math.log(2), color=GREY, linestyle=":")
right.text(24, 0.21, "half of Euler's constant", color=GREY)
right.set(xlabel="steps T", ylabel="mean bound minus entropy (bits)", xlim=(20, 1100), ylim=(1e-3, 20))
left.legend();

# %%
# NBVAL_CHECK_OUTPUT
for name, gap in gaps.items():
    slope = np.polyfit(np.log(counts), np.log(gap), 1)[0]
    print(f"variance {name}: gap {gap[-1]:.3f} bits at 800 steps; it falls as T to the power {slope:.1f}")
above = total(bounds[25], "beta")
means = [(law * bits).sum() for bits in (above, of_model, of_data)]
print("mean over the data, 25 steps: bound {:.3f}, chain {:.3f}, entropy of the data {:.3f}".format(*means))
print("the bound lies above the chain at every grey:", bool((above > of_model).all()))

# %%
for title, schedule in (("DDPM's 1000 betas", linear), ("100 betas over the range made for 1000", Schedule.linear(100))):
    means = {name: (law * part).sum().item() for name, part in bound(schedule).items()}
    rest = means["beta"] + means["L_0"] + means["L_T"] - (law * of_data).sum().item()
    print(f"{title}: L_T {means['L_T']:.3f}, L_0 {means['L_0']:.2f}, steps {means['beta']:.2f}; gap {rest:.3f}")

# %% [markdown]
# - **The bound holds**: blue is above orange at every grey. (It may dip below the dotted line: a chain of 25 Normal steps isn't the
#   data, and puts too much density between the bumps. But on *average over the data* no model beats the data's entropy, so there the order is
#   bound, chain, entropy.)
# - **With variance $\beta$ the gap falls as $1/T$**: twice the steps, half the gap, a few thousandths of a bit at 800.
# - **With $\tilde\beta$ it never closes.** The pictures may be similar; the likelihoods aren't. $\tilde\beta$ is the uncertainty of $x_s$ if
#   $x_0$ were *known*. In the last few steps to the picture it isn't: the truth is near $\beta$, and $\beta/\tilde\beta$ is far from 1. The more steps,
#   the more alike are the betas of those few; for equal ones $\beta/\tilde\beta = t/(t-1)$, and the loss is
#   $\tfrac12\sum_{t>1}\big[\tfrac1{t-1} - \log\tfrac{t}{t-1}\big] = \tfrac12\gamma$ nats, half of Euler's constant: **0.416 bits a pixel** (dotted), to which the red
#   curve falls; at 800 steps it is at 0.70. This is what Nichol & Dhariwal (2021) won back by learning the variance.
# - **$L_T$ catches the commonest bug of toy repositories**, a short schedule with the range of betas of a long one. The last $x_T$ still holds
#   picture while the sampler starts from pure noise; here that costs 0.2 bits a pixel.
#
# ### What the simple loss throws away
#
# In the limit of small steps $w_t$ is half the step in $\log\mathrm{SNR}$. So the bound is an **area**: draw the error in the noise over
# $\log\mathrm{SNR}$ instead of over $t$, and half the area under the curve is the bound, in nats a pixel. Section 4's curves once more,
# over both axes. Compare where the green lies.

# %%
log_snr = plan.log_snr[times].numpy()
figure, axes = plt.subplots(1, 2, figsize=(12, 3.8), sharey=True)
for axis, x in zip(axes, (times, log_snr), strict=True):
    axis.fill_between(x, fresh_miss.mean(1), color=GREEN, alpha=0.25)
    axis.plot(x, upper_wall, color=ORANGE, label="best straight-line guess")
    axis.plot(x, fresh_miss.mean(1), "o-", color=GREEN, markersize=4, label="shipped net, test pictures")
    axis.plot(x, lower_wall, color=RED, label="copyist")
axes[0].set(xlabel="t", ylabel="error in the noise", title="the area is the simple loss", ylim=(0, 1))
axes[1].set(xlabel="log SNR:  noise  ...  picture", title="half the area is the bound", xlim=(-8, log_snr[0]))
axes[0].legend();

# %%
def area(error: Tensor, x: np.ndarray) -> Tensor:
    """The area under error [times, B] over x, for each picture: [B]."""
    return torch.trapezoid(error.double(), torch.tensor(x, dtype=torch.float64), dim=0).abs()


bits, clear = area(fresh_miss, log_snr) / (2 * math.log(2)), log_snr > 0
between = f"between t = {times[0]} and {times[-1]}"
print(f"bits a pixel {between}: {bits.mean():.2f} +- {2 * bits.std() / 8:.2f} (64 test pictures, two s.e.)")
for name, x in (("simple loss", np.array(times, dtype=float)), ("bound", log_snr)):
    share = area(fresh_miss[clear], x[clear]).mean() / area(fresh_miss, x).mean()
    print(f"share of the {name} from times with more picture than noise: {share:.0%}")

# %% [markdown]
# Nearly all of these bits ($L_0$, the first step from the 256 grey levels, comes on top) are spent where the picture is already plain to see, on the last grains of its cloth. A model trained for the bound
# works there. The simple loss gives several times the weight to the times at which the *figure* is decided, and pays with likelihood. It is a choice
# of what to be good at, and no approximation of something better.
#
# %% [markdown]
# ## 8. Guidance: turning up the wish
#
# **What if the class should count for more?** Ask the net twice, with the class and without. The difference between the two
# answers is what the class adds. Go further in that direction than the net itself would (Ho & Salimans 2022):
#
# $$\hat\varepsilon_w = \hat\varepsilon(x_t) + w\,\big(\hat\varepsilon(x_t \mid c) - \hat\varepsilon(x_t)\big)$$
#
# At $w = 0$ the class is ignored, at $w = 1$ the net is as trained, beyond that the wish is stressed. (Their $w$ is ours minus 1.
# Both conventions are in use, one more reason to test the ends.)
#
# ### Rebuild 6: guidance

# %%
def guide(uncond: Tensor, cond: Tensor, scale: float | Tensor) -> Tensor:
    """From the answer without the class (scale 0) through the answer with it (scale 1), and beyond.

    scale is a number, or a tensor [B, 1, 1, 1] with one for each picture.
    """
    raise NotImplementedError  # one line


grade.GUIDANCE(guide)

# %%
my_guide = grade.GUIDANCE.or_library(guide)


def guided_by_you(denoise: Denoise, null_cond: int, scale) -> Denoise:
    """Your guidance around any denoiser: a denoiser again."""

    def denoise_guided(x_t: Tensor, t: int, cond: Tensor) -> tuple[Tensor, Tensor]:
        without, given = denoise(x_t, t, torch.full_like(cond, null_cond)), denoise(x_t, t, cond)
        return my_guide(without[0], given[0], scale), my_guide(without[1], given[1], scale)

    return denoise_guided


scales = [0, 0.5, 1, 1.5, 2, 3, 4, 6, 8]
dial = torch.tensor(scales).repeat_interleave(20).reshape(-1, 1, 1, 1)
x, cond = noise(20, 1, 28, 28, seed=21).repeat(len(scales), 1, 1, 1), kinds.repeat(2 * len(scales))
painter = clipped(guided_by_you(shipped, 10, dial.to(device)), plan)
walk = sample_dpmpp_2m(painter, plan, x.to(device), plan.times(10), cond.to(device))
with autocast(device):
    pictures = final(tqdm(walk, total=11, desc="nine scales at once", leave=False)).cpu()

# %% [markdown]
# Turn the dial from 0. Each column has a class and keeps its noise; look for the scale at which the column first obeys, and for
# what is lost above 3.

# %%
frames = [np.uint8(255 * tile(part, 10)) for part in pictures.split(20)]
Flipbook(frames, scales, label="scale", title="  ·  ".join(CLASSES), start=2)

# %% [markdown]
# At 0 the labels mean nothing. At 1 they hold. Above, each garment becomes more and more the *type* of its class, clear, contrasted,
# and all of one kind: variety is the price.
#
# ### What does it sample, exactly?
#
# The usual story: in lesson 04 the noise was the slope of a log density, so the formula above is the slope of
#
# $$\log q_t(x)^{1-w}\, q_t(x\mid c)^{w},$$
#
# and guidance "samples the density $p(x)^{1-w}\,p(x\mid c)^w$", the *tilted* one. On the one-pixel pictures the claim can be
# tested to the last digit. DDIM's map from noise to grey is monotone in one dimension, so the thousandth part of the noise becomes
# the thousandth part of the samples: send 1,000 quantiles of the Normal through the sampler, and the density of what comes out is
# known without any sampling error. **Turn the dial**: kind 0 has two bumps, kind 1 sits to the right of them.

# %%
quantiles = math.sqrt(2) * torch.erfinv(2 * (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000 - 1)
tilts = [0, 0.5, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.5, 4]
greys = torch.linspace(-3, 3, 1201, dtype=torch.float64)
exact_grey = mixture_denoiser(plan, centres, spread, shares, kind_of)  # with no kind for a label of -1
wish = torch.zeros(1000, dtype=torch.long)  # kind 0


def pushed(denoise: Denoise) -> Tensor:
    """Where a sampler sends the 1,000 quantiles of the noise: [1000], rising."""
    return final(sample_heun(denoise, plan, quantiles.reshape(-1, 1, 1, 1), plan.times(60), wish)).flatten()


def tilted(w: float) -> Tensor:
    """The density p(x)^(1 - w) p(x | kind 0)^w on `greys`, made to integrate to 1."""
    log = (1 - w) * density(greys).log() + w * density(greys, kind=0).log()
    return (log - log.max()).exp() / torch.trapezoid((log - log.max()).exp(), greys)


out = {w: pushed(guided_by_you(exact_grey, -1, w)) for w in tqdm(tilts, desc="tilts", leave=False)}

# %%
figure, axis = plt.subplots(figsize=(8, 3.6))
axis.fill_between(greys, density(greys), color=GREY, alpha=0.25, label="p(x), all")
(claim,) = axis.plot(greys, tilted(1), color=ORANGE, linewidth=3, label="the tilted density, as claimed")
(found,) = axis.plot([], [], color=BLUE, label="what guidance samples")
axis.set(xlim=(-2.2, 1.6), ylim=(0, 2.1), xlabel="grey of the pixel", ylabel="density")
axis.legend(loc="upper right")


def draw(w):
    claim.set_ydata(tilted(w))
    middle, width = (out[w][1:] + out[w][:-1]) / 2, out[w].diff()
    found.set_data(middle, 1 / (1000 * width))


Flipbook(frames_of(figure, draw, tilts), tilts, label="w", title="Guidance towards kind 0", start=tilts.index(3))

# %%
def distance(samples: Tensor, p: Tensor) -> float:
    """How far, in grey, a quantile of the samples is from the same quantile of the density p, on average (Wasserstein-1)."""
    cumulated = torch.cat([torch.zeros(1), torch.cumulative_trapezoid(p, greys)]).numpy()
    return float(np.abs(samples.numpy() - np.interp((np.arange(1000) + 0.5) / 1000, cumulated, greys)).mean())


for w in (0, 1, 2, 4):
    print(f"w = {w}: distance to the tilted density {distance(out[w], tilted(w)):.2f}")  # NBVAL_CHECK_OUTPUT
ends = (guided(exact_grey, -1, 0), lambda x_t, t, cond: exact_grey(x_t, t, None)), (guided(exact_grey, -1, 1), exact_grey)
print("ends, the same to the last digit:", [torch.equal(pushed(a), pushed(b)) for a, b in ends])  # NBVAL_CHECK_OUTPUT

# %% [markdown]
# At 0 and 1 the claim holds, exactly. In between and beyond it doesn't: the tilted density keeps both bumps of kind 0 at every
# $w$, while guidance **loses the right one altogether**, the bump that kind 1 is near to. That is the loss of variety which you saw
# in the clothes.
#
# Where does the story break? At $t = 0$ the slopes do combine as claimed. But at time $t$ the sampler needs the slope of *the tilted
# density with noise on it*, and guidance uses *the noisy densities, tilted*. Noising and tilting don't commute. Proof: give the
# tilted density its own exact denoiser, and sample that.

# %%
def own_denoiser(w: float) -> Denoise:
    """The exact denoiser of the tilted density, as 1,201 weighted points."""
    share = tilted(w) / tilted(w).sum()
    return mixture_denoiser(plan, greys.reshape(-1, 1, 1, 1), 0.005, share.clamp(min=1e-300))


plt.figure(figsize=(8, 3.2))
mine, w = pushed(own_denoiser(4)), 4
plt.plot(greys, tilted(w), color=ORANGE, linewidth=4, alpha=0.6, label="the tilted density, w = 4")
for samples, colour, label in ((out[w], BLUE, "guidance"), (mine, GREEN, "the tilted density's own denoiser")):
    plt.plot((samples[1:] + samples[:-1]) / 2, 1 / (1000 * samples.diff()), color=colour, label=label)
plt.gca().set(xlim=(-2.2, 1.6), ylim=(0, 2.1), xlabel="grey of the pixel", ylabel="density")
plt.legend();

# %%
print(f"distance of its own denoiser's samples: {distance(mine, tilted(w)):.2f}")  # NBVAL_CHECK_OUTPUT

# %% [markdown]
# So guidance is a good *knob* and a bad *formula*. It isn't wrong to use it; only the sentence about what it samples is wrong (Du et al.
# 2023; Bradley & Nakkiran 2024).
#
# ### Away from a worse self
#
# Guidance leads away from the answer *without the class*. That answer is about other pictures, so what it takes away is not only
# mistakes: it is variety as well. **What should a net be led away from, if only its mistakes are to go?**
#
# From a worse version of itself (Karras et al. 2024, *Guiding a diffusion model with a bad version of itself*). Both want the same
# pictures. Where they differ, the difference is what training has mended since; go on in that direction. On the one-pixel pictures: a
# net that has seen too little sees the bumps too wide. Let the worse one see them 0.35 wide and the better one 0.30; the truth is 0.25.
# Which scale would you choose?

# %%
worse, better = (mixture_denoiser(plan, centres, width, shares) for width in (0.35, 0.30))
pulls = [0, 0.5, 1, 1.5, 2, 2.25, 2.5, 3, 3.5, 4]
led = {w: pushed(autoguided(better, worse, w)) for w in tqdm(pulls, desc="scales", leave=False)}
off = [distance(led[w], density(greys)) for w in pulls]

figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.4))
left.plot(pulls, off, "o-", color=BLUE)
left.set(xlabel="scale: 0 the worse, 1 the better", ylabel="distance to the data (grey)", ylim=(0, None))
right.fill_between(greys, density(greys), color=GREY, alpha=0.25, label="the data")
for w, colour in ((0, ORANGE), (1, SKY), (2.25, BLUE)):
    right.plot((led[w][1:] + led[w][:-1]) / 2, 1 / (1000 * led[w].diff()), color=colour, label=f"scale {w:g}")
right.set(xlim=(-2.2, 2.2), ylim=(0, 0.95), xlabel="grey of the pixel", ylabel="density")
right.legend(ncols=2, loc="upper center");

# %%
print(f"distance at scale 1: {off[2]:.3f}, at 2.25: {off[5]:.3f}")  # NBVAL_CHECK_OUTPUT
share = (led[2.25] > 0.4).double().mean()
print(f"share of the right bump at 2.25: {share:.2f}, in the data: 0.40")  # NBVAL_CHECK_OUTPUT

# %% [markdown]
# Both are wrong, and in the same direction; the line through them leads past the better one to the truth, and on to the other side.
# No bump is lost.
#
# Now with nets: the shipped one, led away from its own snapshot after 250,000 pictures. The columns are those of the dial above. Compare
# what grows with the scale here with what grew there.

# %%
early = load_denoiser("ddpm-fashion-250k")
pulls, painted = [0, 1, 1.5, 2, 3, 4, 6, 8], []
for w in tqdm(pulls, desc="scales", leave=False):
    painter = clipped(autoguided(shipped, early, w), plan)
    painted.append(sample(sample_dpmpp_2m, painter, noise(20, 1, 28, 28, seed=21), plan.times(10), kinds.repeat(2)))
frames = [np.uint8(255 * tile(part, 10)) for part in painted]
Flipbook(frames, pulls, label="scale", title="  ·  ".join(CLASSES), start=1)

# %% [markdown]
# Up to 2 or so the garments stay what they are, each its own, and gain seams and edges; far beyond, prints are invented and everything is
# overdone. Whether the crowd gains by it is a question for section 10.
#
# ## 9. Four targets, one error
#
# The net may be asked for the noise, the picture, or a mixture, and `Denoiser` reads any of them as $(\hat x_0, \hat\varepsilon)$. All
# four are $a\,x_0 + b\,\varepsilon$:

# %% src="course_lib/diffusion/denoiser.py::TARGETS"
TARGETS: dict[str, Callable] = {
    # the noise (Ho et al. 2020, eq. 14)
    "eps": lambda alpha, sigma: (0 * alpha, 1 + 0 * sigma),
    # the image
    "x0": lambda alpha, sigma: (1 + 0 * alpha, 0 * sigma),
    # the velocity along the circle (Salimans & Ho 2022, section 4)
    "v": lambda alpha, sigma: (-sigma, alpha),
    # the velocity along the line (Lipman et al. 2023)
    "flow": lambda alpha, sigma: (-1 + 0 * alpha, 1 + 0 * sigma),
}

# %% [markdown]
# So does the choice matter? As information, no. In the loss, yes. For a given $x_t$ a wrong $\hat x_0$ means a wrong $\hat\varepsilon$,
# in the fixed proportion $-\alpha/\sigma$, so **the same mistake has four prices**:
#
# $$\text{error in the target} = \Big(a - b\,\frac{\alpha}{\sigma}\Big)^2 \times \text{error in the picture}$$
#
# | target | label | price of a squared error in the picture | what its loss cares for |
# |---|---|---|---|
# | `eps` | $\varepsilon$ | $\mathrm{SNR}$ | grain: nearly blind at large $t$ |
# | `x0` | $x_0$ | $1$ | the whole figure: nearly blind at small $t$ |
# | `v` | $\alpha\varepsilon - \sigma x_0$ | $\mathrm{SNR} + 1$ (where $\alpha^2+\sigma^2 = 1$) | both ends |
# | `flow` | $\varepsilon - x_0$ | $(\sqrt{\mathrm{SNR}} + 1)^2$ | both ends, on the straight line's schedule |
#
# One mistake of the shipped net per time, in four currencies. First per sample: the ratios must be exact, not average.

# %%
t_mid, eps = 400, noise(64, 1, 28, 28, seed=3)
a_t, s_t = plan.alpha[t_mid].item(), plan.sigma[t_mid].item()
x0_seen, eps_seen = ask(shipped, plan.add_noise(fresh[0], t_mid, eps), t_mid, fresh[1])
picture_error = (x0_seen - fresh[0]).square().mean(dim=(1, 2, 3))
for name, mix in TARGETS.items():
    a, b = mix(a_t, s_t)
    target_error = (a * (x0_seen - fresh[0]) + b * (eps_seen - eps)).square().mean(dim=(1, 2, 3))
    ratio = target_error / picture_error
    print(f"{name:5s} ratio from {ratio.min():.3f} to {ratio.max():.3f}; formula {(a - b * a_t / s_t) ** 2:.3f}")

# %%
alphas, sigmas = plan.alpha[times].numpy(), plan.sigma[times].numpy()
in_picture = fresh_miss.mean(1).numpy() * (sigmas / alphas) ** 2
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.8))
for (name, mix), colour, style in zip(TARGETS.items(), (BLUE, RED, GREEN, PINK), ("-", "-", "-", "--"), strict=True):
    a, b = mix(alphas, sigmas)
    price = (a - b * alphas / sigmas) ** 2
    left.semilogy(times, price, style, color=colour, label=name)
    share = price * in_picture / over_times(price * in_picture)
    right.plot(times, share, style, color=colour, label=name)
    for least, dots in ((0.0, ":"), (0.2, "-.")) if name == "v" else ():
        weighted = share * min_snr(torch.tensor(alphas), torch.tensor(sigmas), least).numpy()
        label = f"v, min-SNR, at least {least:g}" if least else "v, min-SNR"
        right.plot(times, weighted / over_times(weighted), dots, color="black", label=label)
left.set(xlabel="t", ylabel="price of an error in the picture", ylim=(1e-3, 1e4), title="four prices")
right.set(xlabel="t", ylabel="share of the loss (mean 1)", ylim=(0, 6), title="the same mistakes, as each target counts them")
left.legend()
right.legend();

# %% [markdown]
# Right: the same net, the same mistakes. With target `eps` the loss is made at the small times, where the grain is. With `x0` it is
# made at the large ones, where the net is guessing anyway. `v` and `flow` spread it most evenly, one reason why the shipped net is asked
# for `v`; the other is in lesson 04: an error in `v` is never divided by a small number when the picture is computed.
#
# A weight can change the price once more. The dotted line is the loss of the longest part of the shipped net's training, the second of three
# legs: each error in `v` counted $\min(\mathrm{SNR}, 5)/(\mathrm{SNR}+1)$ times (*min-SNR*, Hang et al. 2023), so that neither the last grain nor
# sheer guessing takes the net's attention. Is that better? It was measured: five minutes of training each, Fréchet distance 0.57 and 0.62 with the
# weight (two runs), 0.61 without. So no difference that two runs could show (`benchmarks/choose_net.md`). But it had a price, which came to light
# later (section 10), and so the third leg counted no error for less than a fifth: the line of dashes and dots.
#
# What *you* trained in section 5 was a mixture: the net answers in `v` (so that no error is blown up at $t$ near $T$), and the loss is
# priced in `eps`. The two choices are independent: what the net *says*, and what a mistake *costs*.
#
# **Break it.** In section 5, train `Denoiser(own, plan, "eps")` in place of `"v"`, and read it so in `show`. The loss looks much the same. And the pictures?
#
# <details><summary>What happens</summary>
# The loss ends where it did (at 0.093; with "v" at 0.091), and the trouser becomes a shirt. At t = 1000 there is no picture in x_t at all, and whoever answers with the
# noise has said nothing about the picture. Just below, a small error is divided by a small alpha: at t = 990 the error in the noise is 0.002, with "v" 0.0001.
# Nothing in the mean over all t, everything for the first strokes, which decide what the garment is.
# </details>
#
# ## 10. Ten calls or a thousand
#
# DDPM made its pictures in 1,000 calls of the net. **How many are needed?** Samplers without fresh noise can be judged without any
# statistics: from one and the same noise, the exact path has one end, so ask how far each sampler's end is from it. For the exact end we
# pay the thousand calls, once.
#
# Four samplers, each in the same number of *calls*. DDIM takes straight strokes. Heun looks again at the end of a stroke and redoes it (lesson 04): two
# calls. DPM-Solver++ carries the last look's trend on: one call. UniPC (Zhao et al. 2023) sees that the end of a stroke is looked at anyway, for
# the next one; so it redoes each stroke with that look, like Heun, and pays one call. **Which is nearest after ten?**

# %%
eight, eight_kinds = noise(8, 1, 28, 28, seed=31), torch.tensor([9, 8, 0, 3, 7, 4, 5, 1])
samplers = {"DDIM": sample_ddim, "Heun": sample_heun, "DPM-Solver++(2M)": sample_dpmpp_2m, "UniPC": sample_unipc}
budgets = (5, 10, 20, 50)
walk = sample_dpmpp_2m(sampling, plan, eight.to(device), plan.times(1000), eight_kinds.to(device))
with autocast(device):
    goal = final(tqdm(walk, total=1001, desc="a thousand calls", leave=False)).cpu()
ends, jobs = {}, [(name, calls) for name in samplers for calls in budgets]
for name, calls in tqdm(jobs, desc="four samplers", leave=False):
    n_steps = (calls + 1) // 2 if name == "Heun" else calls  # Heun calls twice a stride, and once on the last
    ends[name, calls] = sample(samplers[name], sampling, eight, plan.times(n_steps), eight_kinds)

# %%
figure, axis = plt.subplots(figsize=(8, 3.8))
for name, colour, marker in zip(samplers, (BLUE, ORANGE, RED, GREEN), "os^P", strict=True):
    gap = torch.stack([(ends[name, n] - goal).square().mean(dim=(1, 2, 3)).sqrt() for n in budgets])  # [budgets, 8]
    calls = [2 * ((n + 1) // 2) - 1 if name == "Heun" else n for n in budgets]
    axis.errorbar(calls, gap.mean(1), 2 * gap.std(1) / 8**0.5, color=colour, marker=marker, capsize=3, label=name)
    print(f"{name:17s} " + ", ".join(f"{n} calls {g:.3f}" for n, g in zip(calls, gap.mean(1).tolist(), strict=True)))
axis.set(xlabel="calls of the net", ylabel="rms distance to the exact end", xscale="log", yscale="log")
axis.set_xticks(budgets, [str(n) for n in budgets], minor=False)
axis.set_title("8 pictures, against 1,000 calls; bars: two standard errors")
axis.minorticks_off()
axis.legend()
show_rows({"1,000 calls": goal} | {f"{name}, 5": ends[name, 5] for name in samplers});

# %% [markdown]
# At five calls the four are alike: an order is a promise about *small* strides, and Heun, which spends two calls on each, has few of
# them. At ten UniPC is about half as far off as the others, and at twenty a third, within four grey levels of the thousand calls (a level is
# 2 / 255, about 0.008). Most of it, at ten, comes from redoing the *first* stroke: at $t = T$ the net sees no more than the mean of the class. At fifty
# DDIM alone is still on its way. But look at the pictures: at five calls, too, every row is a row of clothes, only not *the same* clothes to the last fold.
#
# ### As a crowd
#
# A sampler may miss the end of its own path and still draw good pictures. What counts is the crowd: the Fréchet distance of many samples to the test
# pictures, in the features of the course's classifier. It falls with the number of samples, so the floor, real training pictures in the place of samples, is
# taken with the same number. First with few samples and only **five** calls, live; then the figures of the shipped card, with many.

# %%
n = 256
reference = fashion_features(to_float(test_images[:2048]).to(device))


def crowd_distance(pictures: Tensor) -> float:
    return frechet_distance(fashion_features(pictures.to(device)), reference)


drawn = torch.randperm(55_000, generator=torch.Generator().manual_seed(1))[: 4 * n].split(n)
crowd = {"real pictures": [crowd_distance(to_float(train_images[rows])) for rows in drawn]}
names = {"DDPM": "ddpm", "DDIM": "ddim", "DPM-Solver++(2M)": "dpmpp_2m", "UniPC": "unipc"}
for name, seed in tqdm([(name, seed) for name in names for seed in (0, 1)], desc="crowds", leave=False):
    pictures, _ = maker("ddpm-fashion", net, calls=5, sampler=names[name]).make(n, seed)
    crowd.setdefault(f"{name}, 5 calls", []).append(crowd_distance(pictures))

# %%
def draw_crowd(crowd: dict[str, list[float]]):
    """Distances by name: a bar for the mean, a dot for each seed."""
    figure, axis = plt.subplots(figsize=(9, 2.6))
    for row, values in enumerate(crowd.values()):
        axis.barh(row, np.mean(values), color=(GREY, ORANGE, BLUE, RED, GREEN)[row], alpha=0.5)
        axis.plot(values, [row] * len(values), "o", color="black", markersize=6)
        axis.text(max(values) + 0.03, row, f"{np.mean(values):.2f}", va="center")
    axis.set_yticks(range(len(crowd)), crowd)
    axis.invert_yaxis()
    axis.set(xlabel="Fréchet distance", title=f"a dot: {n} samples of one seed, against 2,048 test pictures")


draw_crowd(crowd)

# %% [markdown]
# Few calls cost a little. And guidance, in the same twenty calls? (A guided step takes two, so there are ten of them.) The classes stressed,
# or the net led away from its snapshot: **which brings the crowd nearer, and which does it harm?**

# %%
ways = {
    "plain": {"sampler": "unipc"},
    "class stressed, 3": {"sampler": "unipc", "guidance": 3.0},
    "away from the snapshot": {"sampler": "unipc", "guide": "ddpm-fashion-250k"},
}
guided_crowd = {"real pictures": crowd["real pictures"]}
for name, seed in tqdm([(name, seed) for name in ways for seed in (0, 1)], desc="crowds", leave=False):
    pictures, _ = maker("ddpm-fashion", net, calls=20, **ways[name]).make(n, seed)
    guided_crowd.setdefault(f"{name}, 20 calls", []).append(crowd_distance(pictures))
draw_crowd(guided_crowd)

# %% [markdown]
# Stressing the class makes the single picture clearer and the crowd far worse: it draws types. The other two can't be told apart by 256
# samples, nor from real pictures (these were drawn without minding the classes, the samples have all ten in equal numbers). That takes
# more of them. From the shipped card, 2,048 samples a dot, calls of every net counted; grey is the distance of as many real training
# pictures. (The scale was chosen on other images, those of the validation split: `benchmarks/choose_sampling.md`.)

# %%
figures = read_card("ddpm-fashion")["figures"]["rows"]
ways = {"DDPM": ("ddpm", None), "DDIM": ("ddim", None), "Heun": ("heun", None), "DPM-Solver++(2M)": ("dpmpp_2m", None)}
ways |= {"UniPC": ("unipc", None), "UniPC, led away from the snapshot": ("unipc", "ddpm-fashion-250k")}
figure, axis = plt.subplots(figsize=(9, 4.2))
for (name, way), colour, marker in zip(ways.items(), (PINK, BLUE, ORANGE, RED, SKY, GREEN), "vos^PD", strict=True):
    rows = [row for row in figures if (row["sampler"], row["guide"]) == way and row["n"] == 2048]
    first = [row for row in rows if row["seed"] == 0]
    axis.plot([row["calls"] for row in rows], [row["fd"] for row in rows], "o", color=colour, markersize=3)
    axis.plot([row["calls"] for row in first], [row["fd"] for row in first], color=colour, marker=marker, label=name)
before = {20: 0.123, 50: 0.113, 1000: 0.266}  # from the card that the net had one leg of training earlier
axis.plot(list(before), list(before.values()), ":D", color=GREEN, alpha=0.5, label="a leg earlier, DPM-Solver++")
axis.axhline(figures[0]["fd_floor"], color=GREY, label="real pictures")
axis.set(xlabel="calls of the net", ylabel="Fréchet distance", xscale="log", ylim=(0, 0.62))
axis.set_xticks([10, 20, 50, 1000], ["10", "20", "50", "1000"])
axis.minorticks_off()
axis.set_title("2,048 samples, against 2,048 test pictures")
axis.legend(ncols=2, loc="upper right");

# %%
print("10,000 samples, against 10,000 test pictures")
for row in figures:
    if row["n"] == 10_000:
        led = f", led away from {row['guide']}" if row["guide"] else ""
        print(f"  {row['calls']:4d} calls: {row['fd']:.3f}; real pictures {row['fd_floor']:.3f} ({row['sampler']}{led})")

# %% [markdown]
# Three things in this picture. (How far a dot may be off: the small ones at twenty calls are two more seeds.)
#
# 1. **After fifty calls it hardly matters how you walk.** DDIM, Heun, DPM-Solver++ and UniPC have arrived at about the same place; what keeps it from the
#    grey line isn't the sampler's error, it is **the net's**, carried along from stroke to stroke.
# 2. **DDPM comes last.** In few steps it has too much fresh noise to take away again: on the colour photographs of DDIM's paper (Song et al. 2021, table 1)
#    it ruins a run of ten. In many, fresh noise can help: it covers up what went wrong before, and the net looks again (Karras et al. 2022, section 4). One
#    leg of training earlier DDPM was ahead of the others at fifty, 0.168 against 0.186 to 0.196. The better the net, the less there is to cover up.
# 3. **The net's error can be bought back**, in part, by knowing in which direction the net is still wrong: at twenty and fifty calls the green line has half of them
#    for its steps and is far below the rest. More training closes the gap at its root (compare the rows of section 5).
#
# ### When a thousand calls were worse than fifty
#
# The pale green line is the same net **one leg of training earlier**, led away from the same snapshot (scale 2.3, DPM-Solver++): 0.123 in 20
# calls, 0.113 in 50, and 0.266 in 1,000. It can't have been the sampler: more strokes follow the path more closely. So the path itself led astray, **in a place where few strokes never
# look**. With 50 calls, 25 steps, the last look is at $t = 40$; with 1,000 there are nineteen more below that, down to $t = 2$. How good was the net
# there? And how good is it now, and the snapshot that it is led away from?

# %%
small = times[: times.index(100) + 1]
early_miss, _ = measure(early, *fresh, small, "snapshot, small times")
second_leg = [0.823, 0.714, 0.599, 0.486, 0.404, 0.312, 0.226, 0.164]  # measured in the same way, before the third
for miss, colour, label in ((early_miss, ORANGE, "snapshot, 250,000 images"), (fresh_miss[: len(small)], BLUE, "shipped net")):
    plt.errorbar(small, miss.mean(1), 2 * miss.std(1) / 8, color=colour, marker="o", markersize=5, capsize=3, label=label)
plt.plot(small, second_leg, "s--", color=RED, markersize=5, label="after the second leg")
plt.axvline(40, color=GREY, linestyle=":")
plt.text(38, 0.9, "with 25 steps the last look is here", color=GREY, ha="right")
plt.gca().set(xlabel="t", ylabel="error in the noise", xscale="log", ylim=(0, 1))
plt.title("small times, 64 test pictures; bars: two standard errors")
plt.legend(loc="lower left");

# %% [markdown]
# Below $t = 30$ the *snapshot* was the better net, though the other one had seen seven times as many pictures. Look at the dotted line of section 9: in
# the second leg an error at $t = 20$ counted with the weight 0.009. **What a weight doesn't count is unlearnt.** At these times the net was led away
# from its betters.
#
# The proof was to leave those looks out. Led away in 200 calls, all the way down: distance 0.33. The same, but from $t = 40$ to the picture in one
# stroke: 0.18. In 50 calls: 0.16 (512 samples of one seed, validation pictures). So few calls are not only cheap, they hid a fault; and only whoever also
# ran the slow way found it.
#
# The mend was a third leg of training, a million pictures long, in which no weight is below 0.2. The error at $t = 4$ came down from 0.60 to 0.47, and
# the blue line is now nowhere above the snapshot's. Led away in 200 calls, with the same sampler, the 512 samples are at 0.15. And the thousand calls at the
# right end of the green line, once the worst of them, are the best: 0.090, where 50 calls give 0.096. (10,000 samples: 0.042, where 50 calls give 0.046.)
#
# **Break it.** Lead away from `ddpm-fashion-50k`, then from `ddpm-fashion-10k` (`{"sampler": "unipc", "guide": ..., "guide_scale": 2.0}`): how bad may a bad
# example be? Then sample DDPM in ten steps with `variance="large"`.
#
# <details><summary>What happens</summary>
# Away from the snapshot after 50,000 images: as good as before, as far as 256 samples can tell (0.28; before 0.26; means of two seeds). After 10,000: 0.55.
# That net's mistakes are no longer ours on a larger scale; the pictures turn pale, grainy and hard. With the large variance: 3.6; with the small one 0.6. Each step adds the
# noise of data that are noise themselves (lesson 04, section 7), and ten steps can't take it away again: good garments, full of grain.
# </details>
#
# ## What you have learnt
#
# | question | answer | section |
# |---|---|---|
# | Where does the label come from? | you made it: the total noise of one jump | 1 |
# | Why tell the net the time? | one net does a thousand jobs, from sharpening to inventing | 2 |
# | What does squared error teach? | conditional means; with nothing to see, the class's mean | 2 |
# | Why a U? | the skips carry the grain, the bottom carries the figure | 2 |
# | How is it trained? | a random time, one jump, one loss | 3 |
# | Where is zero? | at $1 - \mathrm E[\hat\varepsilon^2]$; for pictures between a straight line and a copyist | 4 |
# | How do you test a noise predictor? | $\mathrm{mean}(\hat\varepsilon^2)$ + error = 1, at each $t$ | 4 |
# | Why does the sampler add noise? | so that the picture holds the noise that the net is told | 6 |
# | Where does the loss come from? | a bound on $-\log p$: an area over log SNR, with the weights thrown away | 7 |
# | What does guidance sample? | at 0 and 1 what it says, beyond 1 something with less variety than the tilted density | 8 |
# | What should a net be led away from? | a worse self: mistakes go, variety stays | 8 |
# | What does the target change? | the price of a mistake at each time | 9 |
# | How many calls? | for this net some twenty to fifty; more of them showed where it had been blind | 10 |
#
# ## Compared with others
#
# *The annotated diffusion model* (Rogge & Rasul), *fastai's* part 2 (course22p2) and *MIT's 6.S184* labs were read beside this lesson.
#
# - **Where this page goes further**: the loss has its floor drawn under it, exactly in one dimension and between two walls for pictures; the noise predictor is
#   tested without labels; every step of the bound is checked by a number, and the bound itself against the model's likelihood by quadrature; a U-Net's wires are cut one level at
#   a time and what is lost is measured; guidance is compared with the density that it is said to sample; samplers are compared at equal numbers of calls with error bars. Six exercises have graders with
#   hints, and what was written trains and samples. All of it runs on two processor cores without a download.
# - **Where not yet**: the annotated model builds the U-Net on the page from its smallest parts (here two pieces are shown and measured, the rest is in
#   `course_lib/models/unet.py`); fastai builds its training
#   loop from nothing, reads a run through its activations, and goes on to latents and text; MIT has the theory in continuous time, where DDPM, DDIM and flows
#   are one family. Our pictures are 28 by 28 and grey.
#
# ## What to read next
#
# - Ho, Jain & Abbeel 2020, *Denoising diffusion probabilistic models*: Algorithms 1 and 2, and section 3.4 on the simple loss.
# - Nichol & Dhariwal 2021, *Improved DDPM*: the variance and the bits of section 7.
# - Kingma, Salimans, Poole & Ho 2021, *Variational diffusion models*: the bound as an area.
# - Salimans & Ho 2022, *Progressive distillation*: the target `v`. Lu et al. 2022, *DPM-Solver++*. Zhao et al. 2023, *UniPC*.
# - Ho & Salimans 2022, *Classifier-free guidance*; Bradley & Nakkiran 2024, *Classifier-free guidance is a predictor-corrector*.
# - Karras et al. 2024, *Guiding a diffusion model with a bad version of itself*: leading away from a snapshot.
#
# Next in this family: **lesson 08**, from a small or hidden picture to a large one, and **lesson 09**, where the wish is a sentence. Before that, lesson 06 asks
# what happens if a *critic* replaces the formula.
