# %% [markdown]
# # Further 04. What few steps cost: variances and orders
#
# *For those who have been through [lesson 04](../04_diffusion.ipynb).* A sampler with few steps loses in three ways, and each has
# a closed form, so that nothing here is trained or guessed:
#
# - it starts from noise that the forward process never reached (section 1),
# - with fresh noise (DDPM), the variance of that noise is wrong (section 2),
# - without it (DDIM), a curved path is walked in straight steps, and methods of higher *order* bend them (section 3).
#
# Two stubs are for you to write; what you write runs on. Solutions: `course_lib/exercises/*_04.py`. Cells
# that only draw are folded.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from tqdm.auto import tqdm

from course_lib import Schedule, gaussian_denoiser, final, sample_ddim, sample_ddpm
from course_lib.diffusion import posterior
from course_lib.draws import Draws
from course_lib.exercises import lesson_04 as grade
from course_lib.exercises.lesson_04 import carve  # DDIM, as in lesson 04
from course_lib.widgets import Flipbook
from course_lib.widgets.plots import BLUE, GREY, ORANGE, RED, frames_of, use_style

use_style()
linear = Schedule.linear()  # DDPM's own: 1000 betas from 0.0001 to 0.02
grid = torch.linspace(-3, 3, 301, dtype=torch.float64)


def seeded(k):
    """A random generator with an owner: the same numbers each time."""
    return torch.Generator().manual_seed(k)


def normal(x, mean, std):
    """The density of a Normal."""
    return torch.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


# %% [markdown]
# ## 1. The noise that wasn't pure
#
# Bug 5 of lesson 04's gallery deserves a closer look, since it hides in well-known places. **The sampler starts from pure noise.
# Does the forward process end there?** DDPM's betas were made for $T = 1000$. Keep their range, 0.0001 to 0.02, but take only $T = 50$ of
# them, as toy repositories do, and $\alpha_T$ is far from 0: real pictures at time $T$ still carry signal, and pure noise looks
# to the denoiser like a picture that is known to be *grey*.
#
# For data $\mathcal N(m, 1)$ this can be solved. What matters is the distance of $x_t$ from where it should be on average,
# $\alpha_t m$. DDIM (in small steps) keeps this distance; a DDPM step multiplies it by $\alpha_t / \alpha_s$, all of them
# together by $\alpha_T$. Both begin at the distance $-\alpha_T m$, because the starting noise has mean 0. So the mean of what comes out is
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
    given = denoise, short, torch.randn(n, 1, generator=dice), short.times(T)
    fresh = {"variance": "large", "draws": Draws(dice)}
    found["DDIM"].append(final(sample_ddim(*given)).mean() / m)
    found["DDPM"].append(final(sample_ddpm(*given, **fresh)).mean() / m)
signal = torch.stack([Schedule.linear(T).alpha[-1] for T in lengths])

# %% jupyter={"source_hidden": true}
figure, axis = plt.subplots(figsize=(8, 3.2))
for (name, dots), theory, colour in zip(
    found.items(), (1 - signal, 1 - signal**2), (BLUE, RED)
):
    axis.semilogx(lengths, theory, color=colour, label=name)
    axis.plot(lengths, dots, "o", color=colour)
axis.set(
    xlabel="T, with the range of betas of T = 1000",
    ylabel="mean reached / true mean",
    ylim=(0, 1.05),
)
axis.set_xticks([20, 50, 100, 200, 500, 1000], [20, 50, 100, 200, 500, 1000])
axis.minorticks_off()
axis.legend();

# %% tags=["nbval-check-output"]
for T, part in zip(lengths, signal):
    if T in (50, 200, 300, 1000):
        print(f"T = {T}: DDIM reaches {1 - part:.3f} of the mean, DDPM {1 - part**2:.3f}")

# %% [markdown]
# At $T = 50$ three quarters of the mean are missing with DDIM. *The annotated diffusion model*, a much-read
# tutorial on this very data set, had $T = 200$ with these betas at first, and has $T = 300$ now. The cure is one of: betas raised by $1000 / T$, or a
# schedule that ends at $\alpha_T = 0$ (cosine, flow), or all 1000 times with few of them visited (`schedule.times(50)`).
#
# And the best known of them? Stable Diffusion's schedule, read from its published configuration:

# %% tags=["nbval-check-output"]
stable = Schedule.scaled_linear()  # the root of beta in a line, from 0.00085 to 0.012
ours = Schedule.cosine()
print(
    f"alpha_T of Stable Diffusion 1: {stable.alpha[-1]:.4f}; of our net: {ours.alpha[-1]:.4f}"
)

# %% [markdown]
# Seven hundredths of the picture are left in the training images at $t = T$, most of it the overall brightness. So the model
# learnt that the starting noise tells how bright the picture will be, and since pure noise is of medium brightness, it made
# pictures of medium brightness: no night, no snow (Lin et al. 2024, *Common diffusion noise schedules and sample steps are
# flawed*).
#
# ## 2. Fresh noise: which variance?
#
# DDPM adds noise in each step. Lesson 04, section 2, gave two candidates for its variance: `small` ($\tilde\beta$) and `large` ($\beta$).
# The paper says that they give similar results. With a thousand steps they do; with ten? Take data $\mathcal N(0, \text{std}^2)$,
# whose spread must come out again. Every step multiplies the spread by something and adds something, so that no sampling is
# needed: the recursion below is exact. **Turn the dial** from `small` to `large`. Grey is the data, the line what comes out.
# Is there one place of the dial that is right for all three?

# %%
def spread_at_the_end(std, variance_of, calls=10):
    """The sampler's spread over the true one for data Normal(0, std^2), in closed form."""
    times, variance = linear.times(calls), 1.0
    for t, s in zip(times[:-1], times[1:]):
        c_t, c_0, _, _ = posterior(linear, t, s)
        alpha, sigma = linear.alpha[t].item(), linear.sigma[t].item()
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)  # x_0 seen = gain * x_t
        variance = (c_t + c_0 * gain) ** 2 * variance + variance_of(t, s)
    return math.sqrt(variance) / std


def dial(r):
    """A fresh-noise variance between `small` (r = 0) and `large` (r = 1)."""
    return lambda t, s: (1 - r) * posterior(linear, t, s)[2] + r * posterior(linear, t, s)[3]


# %%
turns = np.linspace(0, 1, 11)
kinds = {0.2: RED, 0.5: ORANGE, 1.0: BLUE}
ratio = {std: [spread_at_the_end(std, dial(r)) for r in turns] for std in kinds}

# %% jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.1), width_ratios=[1, 1, 1, 1.3])
curves = []
for axis, (std, colour) in zip(axes, kinds.items()):
    axis.fill_between(grid, normal(grid, 0, 1), color="#cccccc", linewidth=0)  # the data
    curves += axis.plot(grid, normal(grid, 0, 1), color=colour)  # the samples
    axis.set(yticks=[], xticks=[-2, 0, 2], xlabel="x / std", ylim=(0, 0.9))
    axes[3].plot(turns, ratio[std], color=colour, label=f"std {std}")
axes[3].axhline(1, color=GREY, linestyle=":")
axes[3].set(xlabel="dial, from small to large", ylabel="spread / true spread")
axes[3].legend(fontsize=10, loc="upper left")
line = axes[3].axvline(0, color="black", linewidth=1)


def draw(k):
    for axis, curve, std in zip(axes, curves, kinds):
        curve.set_ydata(normal(grid, 0, ratio[std][k]))
        axis.set_title(f"std {std}: spread x {ratio[std][k]:.2f}", fontsize=12)
    line.set_xdata([turns[k], turns[k]])


frames, notes = frames_of(figure, draw, range(11)), [f"{r:.1f}" for r in turns]
Flipbook(frames, notes, label="dial", title="Fresh noise, ten steps")

# %% [markdown]
# For data of spread 1 `large` is exact; for data that sit on a point `small` is; for anything else neither, and the right
# place of the dial depends on the data. No wonder that later papers *learn* the variance (Nichol & Dhariwal 2021) or compute
# it (Bao et al. 2022).
#
# ### Rebuild 1: the right variance
#
# What is it exactly? $x_s$ is uncertain for two reasons: even if $x_0$ were known there would be `small`, and $x_0$ is *not*
# known, and enters with the factor $c_0$. The law of total variance adds them up:
#
# $$\operatorname{Var}[x_s \mid x_t] = \texttt{small} + c_0^2 \operatorname{Var}[x_0 \mid x_t], \qquad
# \operatorname{Var}[x_0 \mid x_t] = \frac{\text{std}^2\, \sigma_t^2}{\alpha_t^2\, \text{std}^2 + \sigma_t^2}\ \text{ for our Normal data.}$$

# %%
def right_variance(schedule, t, s, std):
    """Var[x_s | x_t] for data Normal(0, std^2): a number."""
    # posterior(schedule, t, s) gives c_t, c_0, small and large;
    # schedule.alpha[t].item() is a plain number
    raise NotImplementedError  # about four lines


grade.VARIANCE(right_variance)

# %% [markdown]
# Yours goes into the recursion, and into a sampler: 20,000 samples in ten steps of DDPM, for each of the three data sets. The
# last column should be 1 in every line, give or take two standard errors. Try it with two steps in place of ten.

# %%
my_variance = grade.VARIANCE.or_library(right_variance)
n, dice = 20_000, seeded(9)


def sampled_spread(std):
    """The spread of n samples in ten steps of DDPM with your variance, over the true one."""
    x, times = torch.randn(n, generator=dice), linear.times(10)
    denoise = gaussian_denoiser(linear, 0.0, std)
    for t, s in zip(times[:-1], times[1:]):
        c_t, c_0, _, _ = posterior(linear, t, s)
        z = torch.randn(n, generator=dice)
        x = c_t * x + c_0 * denoise(x, t)[0] + my_variance(linear, t, s, std) ** 0.5 * z
    return x.std() / std


# %%
error = 1 / math.sqrt(2 * n)
print(f"spread over true spread, ten steps; n = {n:,}, standard error {error:.3f}")
print("std   small  large  right  right, sampled")
for std in kinds:
    rules = (dial(0), dial(1), lambda t, s, std=std: my_variance(linear, t, s, std))
    closed = [spread_at_the_end(std, rule) for rule in rules]
    told = "  ".join(f"{each:5.2f}" for each in closed)
    print(f"{std}   {told}  {sampled_spread(std):8.3f}")

# %% [markdown]
# (A detail: here fresh noise is added in the last step too, as the exact answer wants. The library's samplers leave it out,
# which for small last steps is nearly the same, and is what one wants of pictures: the denoiser's mean has less grain.)
#
# ## 3. No fresh noise: how bent is the path?
#
# DDIM adds no noise, so it has no variance to get wrong. Its error is of another kind: it walks a curved path, that of the
# *probability-flow ODE*, in straight steps (Euler's method). **How fast does the error fall with the number of steps?** For Normal data the end of the exact path is known,
# $x_0 = m + \text{std}\,(x_T - \alpha_T m) / \sqrt{\alpha_T^2\, \text{std}^2 + \sigma_T^2}$, so the error can be measured to the
# last digit.
#
# An old idea from the numerics of planets and springs: take the step, **ask again where it ended**, and redo the *movement
# from $x_t$* with the mean of the two answers (Heun 1900; for diffusion Karras et al. 2022). From $t$ to $s$, with answers $(\hat x_0, \hat\varepsilon)$
# at the start and $(\hat x_0', \hat\varepsilon')$ at the end:
#
# $$x_s = x_t + (\alpha_s - \alpha_t)\,\frac{\hat x_0 + \hat x_0'}{2} + (\sigma_s - \sigma_t)\,\frac{\hat\varepsilon + \hat\varepsilon'}{2}$$
#
# ### Rebuild 2: Heun's method

# %%
def carve_heun(denoise, schedule, x, times):
    """As `carve`, with a second call at the end of each step; the step to time 0 has one call,
    as in DDIM."""
    raise NotImplementedError  # `carve`, and about four lines more


grade.HEUN(carve_heun)

# %%
heun_mine = grade.HEUN.or_library(carve_heun)
straight, m, std = Schedule.flow(), 0.5, 0.4
denoise = gaussian_denoiser(straight, m, std)
x = torch.randn(256, 1, generator=seeded(6), dtype=torch.float64)
a, s = straight.alpha[-1], straight.sigma[-1]
exact = m + std * (x - a * m) / (a**2 * std**2 + s**2).sqrt()

counts = [4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200]
errors = {"DDIM": [], "Heun": []}
for k in counts:
    for name, run in (("DDIM", carve), ("Heun", heun_mine)):
        errors[name].append(
            (run(denoise, straight, x, straight.times(k))[-1] - exact).abs().max().item()
        )

# %% tags=["nbval-check-output"]
for name, error in errors.items():
    slope = np.polyfit(np.log(counts[4:]), np.log(error[4:]), 1)[0]
    print(f"{name}: the error falls as the number of steps to the power of {slope:.1f}")

# %% jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for name, calls, colour in (("DDIM", 1, BLUE), ("Heun", 2, RED)):
    left.loglog(counts, errors[name], "o-", color=colour, label=name)
    right.loglog(
        calls * np.array(counts) - (calls - 1), errors[name], "o-", color=colour, label=name
    )
left.set(xlabel="steps", ylabel="largest error", title="the two samplers")
right.set(xlabel="calls of the denoiser (NFE)", title="the same, at equal cost")
left.legend()
right.legend();

# %% [markdown]
# Twice the steps: half the error for DDIM, a quarter for Heun. DDIM is a method of first order, Heun of second. On the right
# the price is counted in calls (*network function evaluations*, NFE), which is what a network makes you pay for: with a handful
# they are equal, and from there on two calls at fewer steps win. (DPM-Solver++ gets second order for one call a step, by
# remembering the last one; further/05 races them all.)
#
# **Break it.** Put `Schedule.linear()` for `straight`. Heun's slope falls well below 2. Why? (Draw `linear.sigma[:20]`.)
#
# <details><summary>What happens</summary>
# On this schedule sigma grows like the square root of t at first, whose slope at 0 is infinite. The last steps, the ones to time
# 0, are then large ones measured in sigma, however many there are. Orders of accuracy are promises about smooth paths.
# </details>
#
# ## What you have learnt
#
# | question | answer | section |
# |---|---|---|
# | What if the schedule stops too early? | the mean is drawn towards 0: DDIM reaches $1 - \alpha_T$ of it, DDPM $1 - \alpha_T^2$ | 1 |
# | Which variance is right? | $\tilde\beta + c_0^2\,\mathrm{Var}[x_0 \mid x_t]$; `small` is it for a single point, `large` for spread 1 | 2 |
# | What is an order? | twice the steps, half the error (1st) or a quarter (2nd), where the path is smooth | 3 |
#
# | here | the field's term | 中文 |
# |---|---|---|
# | a schedule that stops too early | non-zero terminal SNR | 终端信噪比不为零 |
# | fresh noise, `small` and `large` | $\tilde\beta_t$ and $\beta_t$ | 后验方差与前向方差 |
# | two reasons to be uncertain | law of total variance | 全方差公式 |
# | straight steps | Euler's method, a solver of first order | 欧拉法，一阶求解器 |
# | asking again where the step ended | Heun's method, second order | 休恩法，二阶求解器 |
# | path without fresh noise | probability-flow ODE | 概率流常微分方程 |
# | calls | network function evaluations (NFE) | 网络函数评估次数 |
#
# ## What to read next
#
# - Lin et al. 2024, *Common diffusion noise schedules and sample steps are flawed*.
# - Nichol & Dhariwal 2021, *Improved DDPM*; Bao et al. 2022, *Analytic-DPM*: the variance learnt, and computed.
# - Karras et al. 2022, *Elucidating the design space*: the samplers as numerics, with the choices laid out.
#
# Next: [05_noise_predictor](../05_noise_predictor.ipynb), where the network comes from.
