# %% [markdown]
# # Further 07. The floor of the Fréchet distance
#
# *For those who have been through [lesson 07](../07_text_encoder.ipynb).* Real pictures against other real pictures score above 0, by
# chance alone. How far above can be said before anything is measured:
#
# - how far chance puts two means apart (section 1),
# - how far two covariances, and why that is the larger part (section 2),
# - what is left when the floor is taken off (section 3).
#
# Two stubs are for you to write; what you write runs on. Solutions: `course_lib/exercises/further_07.py`.
#
# The squared Fréchet distance of two crowds is that of the Normals fitted to their features, of means $\mu$ and covariances $\Sigma$:
#
# $$d^2 = |\mu_a - \mu_b|^2 + \operatorname{tr}\!\left(\Sigma_a + \Sigma_b - 2\,(\Sigma_a^{1/2} \Sigma_b \Sigma_a^{1/2})^{1/2}\right)$$

# %%
import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from course_lib import fashion_features, fashion_mnist, frechet_distance, to_float
from course_lib.exercises import further_07 as grade
from course_lib.exercises.spoilers_07 import blurred
from course_lib.widgets.crowd_plots import floor_figure, to_infinity_figure
from course_lib.widgets.plots import use_style

use_style()
dice = torch.Generator().manual_seed(0)
images = to_float(fashion_mnist("train")[0][:8000])
features = fashion_features(images).double()  # [8000, 128], of the course's classifier


def two_crowds(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Two crowds of n different rows of x each, drawn anew at each call."""
    return x[torch.randperm(len(x), generator=dice)[: 2 * n]].split(n)


# %% [markdown]
# ## 1. Two means
#
# **How far apart are the means of two crowds drawn from one law?** Let it have covariance $\Sigma$, and the crowds $N$ and $M$ members. Three facts
# are enough. The mean of $N$ independent draws has the covariance $\Sigma / N$. The covariances of independent things add up, also in a
# difference. And $\mathbb E|x|^2$ of a vector of mean 0 is the trace of its covariance. It does not matter whether the law is Normal.
#
# ### Rebuild 1: the bias of the means' term

# %%
def mean_bias(cov, N, M):
    """E |mean of N draws - mean of M draws|^2 for a law of covariance cov [D, D]: a number."""
    raise NotImplementedError  # one line


grade.BIAS(mean_bias)

# %% [markdown]
# Yours beside 200 pairs of crowds of real pictures, at three sizes. (The 8,000 pictures stand for the law; for two crowds without a
# common picture the formula then holds exactly.)

# %%
my_bias = grade.BIAS.or_library(mean_bias)
sigma = torch.cov(features.T)
for n in (50, 200, 800):
    pairs = (two_crowds(features, n) for _ in range(200))
    gaps = torch.stack([(a.mean(0) - b.mean(0)).square().sum() for a, b in pairs])
    mean, error, law = gaps.mean(), gaps.std() / len(gaps) ** 0.5, float(my_bias(sigma, n, n))
    print(f"N = {n}: {mean:.4f} +- {error:.4f}; formula {law:.4f}")

# %% [markdown]
# ## 2. Two covariances
#
# **What does chance make of the other term?** In one dimension it is $(s_a - s_b)^2$. The variance $s^2$ of $N$ Normal numbers has itself
# the variance $2\sigma^4 / N$, and the root has the slope $1 / 2\sigma$, so $s$ has the variance $\sigma^2 / 2N$ and
#
# $$\mathbb E\,(s_a - s_b)^2 \approx \frac{\sigma^2}{2} \left(\frac1N + \frac1M\right):$$
#
# half of what the means cost. With $D$ features there is more that can differ by chance: not $D$ spreads, but a covariance for each *pair* of
# directions. Turn the axes so that $\Sigma$ is diagonal, with the eigenvalues $\lambda_1 \dots \lambda_D$. For Normal features the entry $ij$ of a crowd's
# covariance has the variance $(\lambda_i \lambda_j + \delta_{ij} \lambda_i^2) / N$, with $\delta_{ij}$ one on the diagonal and zero beside it; and a small difference
# $\Delta$ of two covariances makes the term $\frac12 \sum_{ij} \Delta_{ij}^2 / (\lambda_i + \lambda_j)$. Together, to first order in $1/N$ and $1/M$:
#
# $$\mathbb E\,\text{term} \approx \frac12 \left(\frac1N + \frac1M\right) \sum_{i=1}^{D} \sum_{j=1}^{D} \frac{\lambda_i \lambda_j + \delta_{ij} \lambda_i^2}{\lambda_i + \lambda_j}$$
#
# ### Rebuild 2: the bias of the covariances' term

# %%
def spread_bias(values, N, M):
    """The covariances' part of the floor; values [D], the eigenvalues, all above 0."""
    raise NotImplementedError  # about three lines; values[:, None], and torch.diag(values**2)


grade.SPREAD(spread_bias)

# %% [markdown]
# If all $\lambda$ are equal it is $D (D + 1) / 4$ of them, where the means' term has $D$: the covariances cost $(D + 1) / 4$ times as much. That is half for $D = 1$, and for
# the 2,048 features of Inception it would be 512 times. In real features a few directions have most of the spread, so the ratio is far smaller.
# **Which part is larger here, and does a law for Normal features hold for real ones?** The line with dashes is the sum of your two. Dots are numbers
# drawn from the Normal of the same covariance, squares are real pictures.

# %%
my_spread = grade.SPREAD.or_library(spread_bias)
values, turn = torch.linalg.eigh(sigma)
values = values.clamp(min=1e-12)
means, spreads = float(my_bias(sigma, 1, 1)), float(my_spread(values, 1, 1))  # of 1 / n
drawn = torch.randn(8000, 128, generator=dice, dtype=torch.float64) * values.sqrt() @ turn.T
sizes, dots = [50, 100, 200, 400, 800, 1600, 3200], {}
for name, x in (("Normal features", drawn), ("real pictures", features)):
    dots[f"{name}, mean of 5"] = [
        np.mean([frechet_distance(*two_crowds(x, n)) for _ in range(5)])
        for n in tqdm(sizes, desc=name, leave=False)
    ]
lines = {"means alone": means, "means and covariances": means + spreads}
lines = {name: [c / n for n in sizes] for name, c in lines.items()}
floor_figure(sizes, dots, lines)
print(f"of the floor, the covariances make {spreads / (means + spreads):.0%}")

# %% [markdown]
# The covariances make about three quarters of it, and the law for Normal features is not far off for features that are none; means of five
# scatter more than that. At 50 real pictures these five came out far above it; the mean of 2,000 draws is within 3 % of it. Five draws are few where
# one may be 2 and another 10.
#
# **Break it.** Let a crowd have 100 different pictures, sixteen times each: `a = features[:100].repeat(16, 1)`, and compare it with
# `features[4000:5600]`. Is the floor that of $N = 1600$, or of $N = 100$?
#
# <details><summary>What happens</summary>
# That of $N = 100$ and $M = 1600$ (another hundred pictures may be off by a third), and some eight times that of 1,600 and 1,600: $N$ in the formulas counts *independent* pictures, and copies
# add none. So a model that makes few different pictures is caught, but by chance's share alone: no term looks for copies.
# </details>
#
# ## 3. The floor taken off
#
# A floor that is $c / N$ is a straight line over $1/N$. So one can measure at several $N$ and draw the line on to $1/N = 0$ (Chong & Forsyth 2020, who call it
# $\text{FID}_\infty$). **Will real against real end at 0?** And pictures blurred by half a pixel, against real ones?

# %%
soft = fashion_features(blurred(images, 0.5)).double()
sizes, crowds = [400, 500, 700, 1000, 1400, 2000], {"real": features, "blurred": soft}
found = {name: [] for name in crowds}
for n in tqdm(sizes, desc="two crowds", leave=False):
    lots = [torch.randperm(8000, generator=dice)[: 2 * n].split(n) for _ in range(5)]
    for name, x in crowds.items():
        found[name].append(np.mean([frechet_distance(x[a], features[b]) for a, b in lots]))
_, ends = to_infinity_figure(sizes, found)
floor = (means + spreads) / np.array(sizes)  # the sum of your two
for name, end in ends.items():
    less = np.mean(found[name] - floor)
    print(f"{name:8} the line ends at {end:.2f}; less your floor: {less:.2f}")

# %% [markdown]
# Real against real ends at 0, within what five draws a point can tell. The blurred pictures end well above: that is the blur's own distance, and at
# $N = 400$ more than half of what is measured is floor. Both ways to take it off agree roughly. Two cautions. The law needs the eigenvalues of a covariance that is itself estimated, so the
# straight line is what one uses. And a difference has the noise of both its parts: it may come out below 0, which no distance does.
#
# ## What you have learnt
#
# | question | answer | section |
# |---|---|---|
# | How far apart are two means by chance? | $\operatorname{tr} \Sigma\, (1/N + 1/M)$, whatever the law | 1 |
# | And two covariances? | half a sum over all pairs of directions; with many features the larger part | 2 |
# | What does $N$ count? | independent pictures; copies add none | 2 |
# | What is a distance worth at another $N$? | its value on the line at $1/N = 0$ | 3 |
#
# | here | the field's term | 中文 |
# |---|---|---|
# | floor | finite-sample bias | 有限样本偏差 |
# | means' term, covariances' term | Bures-Wasserstein (Fréchet) distance of Normals | 布雷斯-瓦瑟斯坦距离 |
# | eigenvalues $\lambda$ | spectrum of the covariance | 协方差的谱 |
# | the variance of a crowd's variance | Wishart distribution | 威沙特分布 |
# | the line drawn on | extrapolation to infinite $N$, $\text{FID}_\infty$ | 外推至无穷样本 |
#
# ## What to read next
#
# - Chong & Forsyth 2020, *Effectively unbiased FID and Inception score and where to find them*.
# - Bińkowski et al. 2018, *Demystifying MMD GANs*: a distance of crowds (KID) whose estimate has no bias.
# - Bhatia, Jain & Lim 2019, *On the Bures-Wasserstein distance between positive definite matrices*: its small differences.
#
# Next: [08_decoder](../08_decoder.ipynb), from a small or hidden picture to a large one.
