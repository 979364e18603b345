# %% [markdown]
# # Further 02. Gradients without the trick, hidden weights, no likelihood, and holes
#
# *For those who have been through [lesson 02](../02_vae.ipynb).* Four claims that it made in passing, each measured
# here:
#
# - the sampling trick's gradient is right, and its error much smaller than that of the older one (section 1),
# - every loss weighs the KL, and one can read off how (section 2),
# - cross-entropy on grey pixels is no likelihood (section 3),
# - the shipped net's prior has holes, and they can be counted in nats (section 4).
#
# One stub is for you to write; what you write runs on. Solutions: `course_lib/exercises/*_02.py`. It takes about 15
# minutes.

# %%
import math

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from course_lib import autocast
from course_lib.data import CLASSES, fashion_mnist, to_float
from course_lib.exercises import lesson_02 as grade
from course_lib.models.vae import normal_log_prob
from course_lib.weights import load_weights
from course_lib.widgets.plots import use_style

use_style()
train_images, train_labels = fashion_mnist("train")


def seeded(k: int) -> torch.Generator:
    """A random generator with an owner: the same numbers each time."""
    return torch.Generator().manual_seed(k)


# %% [markdown]
# ## 1. Two ways to a gradient
#
# Lesson 02's small world: a latent of one number, pictures of two pixels, on a circle with Normal noise of standard
# deviation 0.35. Averages over $z$ are sums over a grid.

# %%
sigma = torch.tensor(0.35, dtype=torch.float64)
grid = torch.linspace(-6, 6, 2401, dtype=torch.float64)
x = torch.tensor([1.5, 0.0], dtype=torch.float64)  # the picture: right of the circle


def log_lik(z: Tensor) -> Tensor:
    """log p(x | z) of that picture: z [...] to [...]."""
    centre = 1.5 * torch.stack([torch.sin(z), -torch.cos(z)], dim=-1)
    return normal_log_prob(x, centre, sigma).sum(dim=-1)


def fit(mean: Tensor, log_std: Tensor) -> float:
    """E_q log p(x | z) for q = Normal(mean, exp(log_std)^2), by quadrature."""
    q = normal_log_prob(grid, mean, log_std.exp()).exp()
    return (q * log_lik(grid)).sum().item() * (grid[1] - grid[0]).item()


# %% [markdown]
# Wanted are the slopes of $\mathbb E_q[\log p(x \mid z)]$ in $\mu$ and in $\log\sigma$. Three ways. The grid's by
# finite differences is exact. The **sampling trick**: $z = \mu + \sigma\varepsilon$, and autograd through it. And the
# older **score-function estimator** (REINFORCE), which needs no trick: since $\nabla q = q\,\nabla \log q$,
#
# $$\nabla\, \mathbb E_q[\log p(x \mid z)] = \mathbb E_q\big[\log p(x \mid z)\, \nabla \log q(z)\big].$$
#
# Both are averages over draws, with a standard error.

# %%
n, at, step = 20_000, torch.tensor([0.8, math.log(0.5)], dtype=torch.float64), 1e-4
moves = torch.eye(2, dtype=torch.float64) * step
exact = [(fit(*(at + move)) - fit(*(at - move))) / (2 * step) for move in moves]

both = at.expand(n, 2).clone().requires_grad_()  # its own mean and log std for each draw
eps = torch.randn(n, 1, generator=seeded(12), dtype=torch.float64)
z = both[:, :1] + both[:, 1:].exp() * eps
found = log_lik(z[:, 0])
trick = torch.autograd.grad(found.sum(), both)[0]
std = at[1].exp()
score = found.detach()[:, None] * torch.cat([eps / std, eps**2 - 1], dim=1)  # grad of log q

# %%
print("slope in        mean              log std")
print(f"grid     {exact[0]:8.3f} {exact[1]:18.3f}")
for name, each in (("trick", trick), ("score", score)):
    m, e = each.mean(dim=0), each.std(dim=0) / math.sqrt(n)
    print(f"{name}    {m[0]:8.3f} ± {e[0]:.3f} {m[1]:10.3f} ± {e[1]:.3f}")
print(f"± is one standard error, n = {n:,}")


# %% [markdown]
# Both are right on average. But the score's error is several times as large, and to halve an error takes four times the
# draws. The trick uses the slope of $\log p(x \mid z)$; the other only its values. (The score has its place where there
# is no slope: a latent that is a class, a word, a move in a game.)
#
# **Break it.** Write `(found.detach() + 100)` in the line that makes `score`. A constant changes no slope. What does it
# do to the error?
#
# <details><summary>What happens</summary>
# It grows five- to eightfold, for each draw now says "more of this", and only the average takes it back. To the trick
# it would do nothing: a constant's derivative is 0. Hence the <i>baseline</i> of reinforcement learning: subtract a
# constant first.
# </details>
#
# ## 2. Which beta is this?
#
#
# A latent of a linear VAE lives if $\lambda_i > \beta\sigma^2$ (lesson 02: at the optimum $q(z_i \mid x)$ has the
# variance $\beta\sigma^2 / \lambda_i$, and the variance of its mean over the pictures is what is missing to 1; so the
# KL is half the log of $\lambda_i / (\beta\sigma^2)$). In this threshold $\beta$ and $\sigma^2$ occur only as a
# product. For squared error that holds for every net:
#
# $$\frac{1}{2\sigma^2}\sum_d (x_d - \hat x_d)^2 + \beta\,\mathrm{KL} \;\;\propto\;\; \tfrac12 \sum_d (x_d - \hat x_d)^2 + \beta\sigma^2\,\mathrm{KL}.$$
#
# **A weight on the KL is a choice of noise**, and every loss makes it, knowingly or not. (So is the pixels' scale:
# greys in $[0, 1]$ make the error four times smaller than in $[-1, 1]$.) In public code both terms are often *means*:
# $a \cdot \text{mean}_d(\text{squared error}) + b \cdot \text{mean}_i(\mathrm{KL}_i)$.
#
# ### Rebuild: the weight that a loss implies

# %%
def implied_beta(a: float, b: float, D: int, L: int) -> float:
    """beta of a * mean over D pixels of (x - out)^2 + b * mean over L latents of KL_i.

    That is: a multiple of this loss is (error summed) / 2 + beta * (KL summed), sigma = 1.
    """
    raise NotImplementedError  # one line


grade.WEIGHT(implied_beta)

# %%
my_beta = grade.WEIGHT.or_library(implied_beta)
wild = {
    "the formula's own, with sigma = 1": 1.0,
    "mse_loss (mean) + KL (mean), 28 x 28, 16 latents": my_beta(1, 1, 784, 16),
    "the same, but KL summed over the latents": my_beta(1, 16, 784, 16),
    "squared error summed, without its half, + KL summed": my_beta(784, 16, 784, 16),
}
flat = to_float(train_images[:10_000]).flatten(1).double()
variances = torch.linalg.eigvalsh(torch.cov(flat.T, correction=0))  # along principal axes
print("  beta   live   loss")
for name, beta in wild.items():
    print(f"{beta:6.2f} {(variances > beta).sum().item():6d}   {name}")
# a cross-entropy is the whole -log p, with no half to lose: so twice the formula
book = 2 * my_beta(500, 2, 1024, 2)
print(f"{book:6.2f}          a book's 500 x mean cross-entropy, 32 x 32, + KL summed")

# %% [markdown]
# *Live*: how many latents a linear VAE would keep on our pictures, the eigenvalues above $\beta$. No such code calls
# itself a $\beta$-VAE (Higgins et al. 2017), and all are: plain means leave two latents of 25, or none; a squared error
# that lost its half keeps too many. (Stable Diffusion's autoencoder has a weight of about $10^{-6}$, on purpose: lesson
# 08.)
#
#
# **Break it.** Let greys run from 0 to 1: `flat = (flat + 1) / 2`. How many latents does each line keep alive?
#
# <details><summary>What happens</summary>
# All variances are a quarter of what they were, so each loss keeps fewer: 8 in place of 25 with sigma = 1, and the
# plain means none. To change the pixels' scale is to change sigma.
# </details>
#
# ## 3. A number that is no likelihood
#
#
# Cross-entropy on *grey* pixels in $[0, 1]$, $-x \log p - (1 - x)\log(1 - p)$, is often reported as $-\log p(x)$. A
# density must integrate to 1 over all greys. Does $p^x (1-p)^{1-x}$?

# %% tags=["nbval-check-output"]
greys = torch.linspace(0, 1, 10_001, dtype=torch.float64)
for p in (0.5, 0.1, 0.01):
    total = torch.trapezoid(p**greys * (1 - p) ** (1 - greys), greys).item()
    print(f"p = {p:4}: integral {total:.3f}, {-math.log(total):.2f} nats a pixel are missing")

# %% [markdown]
# At most a half, so at least $\log 2$ nats in each of 784 pixels are lost, and differently for every $p$ (Loaiza-Ganem
# & Cunningham 2019 put the constant back). Cross-entropy is a likelihood for pixels that are 0 or 1. So lesson 02 takes
# binarised pictures where it compares likelihoods.
#
#
# ## 4. How large are the holes?
#
# Let $q(z)$ be the aggregate posterior, the mean of $q(z \mid x)$ over all pictures. Put $\log q(z)$ into the KL term
# twice, once with each sign, and it falls into two (Hoffman & Johnson 2016):
#
# $$\text{mean of } \mathrm{KL}\big(q(z \mid x)\,\|\,p(z)\big) = I(x; z) + \mathrm{KL}\big(q(z)\,\|\,p(z)\big)$$
#
# $I$, the **mutual information**, is what codes tell of their pictures. The rest is the misfit of $q(z)$ and prior: the
# holes. It is hard to compute, for $q(z)$ is a mixture of 55,000 Normals. But there is a cheap witness. Were $q(z)$ the
# prior, the ten classes would share it out, and a class, whose share is a tenth, would on average be at most $\log 10 =
# 2.3$ nats from it. (The mean of $\mathrm{KL}(q(z \mid \text{class}) \| q(z))$ is what $z$ tells of the class, and the
# class has no more than $\log 10$ to tell.) Below, each class's codes as one Normal, in the shipped net with 16
# latents.

# %%
shipped = load_weights("vae-fashion")
device = next(shipped.parameters()).device
told, codes, widths = torch.from_numpy(train_labels[:5000].astype("int64")), [], []
with torch.no_grad(), autocast(device):
    for i in tqdm(range(0, 5000, 500), desc="encoding", leave=False):
        x = to_float(train_images[i : i + 500]).to(device)
        mean, std = shipped.posterior(x, told[i : i + 500].to(device))
        codes.append(mean.float().cpu())
        widths.append(std.float().cpu())
codes, widths = torch.cat(codes).double(), torch.cat(widths).double()

# %%
holes = {}
for k, name in enumerate(CLASSES):
    own, own_width = codes[told == k], widths[told == k]
    centre = own.mean(dim=0)
    spread = torch.cov(own.T) + own_width.square().mean(dim=0).diag()  # of draws, not of means
    trace, log_det = spread.trace(), torch.logdet(spread)
    holes[name] = 0.5 * (centre.square().sum() + trace - 16 - log_det).item()
    print(f"{name:>12}: {holes[name]:.1f} nats from its Normal to the prior")
print(f"on average {np.mean(list(holes.values())):.1f} nats; log 10 = {math.log(10):.1f}")

# %% [markdown]
# What the last line has above 2.3 nats is holes of $q(z)$, at the least (of all laws with these moments the Normal is nearest to the prior). For
# pictures that are asked for by class, as in lesson 02, all of it is: the decoder is told the class, so each class's codes should fill the prior. Of nearly 50 nats that the code
# costs it is little, and in samples it is most of what one sees.
#
# ## The words
#
# | here | the field's term | 中文 |
# |---|---|---|
# | gradient through the draw | reparameterisation, pathwise gradient | 重参数化梯度，路径梯度 |
# | gradient from values alone | score-function estimator, REINFORCE | 得分函数估计 |
# | weight of the KL | β-VAE | β-VAE |
# | latents that live | active units | 活跃单元 |
# | cross-entropy with its constant back | continuous Bernoulli | 连续伯努利分布 |
# | all codes together | aggregate posterior | 聚合后验 |
# | what codes tell of their pictures | mutual information | 互信息 |
# | holes | prior holes: mismatch of prior and aggregate posterior | 先验空洞 |
#
# ## What to read next
#
# - Mohamed et al. 2020, *Monte Carlo gradient estimation in machine learning*: both gradients, and others.
# - Higgins et al. 2017, *β-VAE*; Rybkin et al. 2021, *Simple and effective VAE training*.
# - Loaiza-Ganem & Cunningham 2019, *The continuous Bernoulli*; Hoffman & Johnson 2016, *ELBO surgery*.
#
# Next: [03_flow](../03_flow.ipynb), where no posterior has to be guessed.
