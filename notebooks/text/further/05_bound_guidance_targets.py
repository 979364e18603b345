# %% [markdown]
# # Further 05. The bound, what guidance samples, four targets, and a race of samplers
#
# *For those who have been through [lesson 05](../05_noise_predictor.ipynb) and want to know what stands behind it.* Each
# section stands for itself; take what you like, in any order. (Run the first five code cells before.)
#
# - **1** takes the U-Net apart and cuts its wires, **2** tests a noise predictor without a label,
# - **3** derives the variational bound (ELBO) from which the loss comes, and checks every step with numbers,
# - **4** asks which density guidance really samples, and what a net should be led away from,
# - **5** compares the four targets: noise, picture, velocity, flow,
# - **6** races the samplers, at equal numbers of network function evaluations (NFE, here: calls).
#
# Three stubs are for you to write; solutions are in `further_05.py` and `lesson_05.py` of `course_lib/exercises/`. Cells that only draw are folded.

# %%
import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_lib import TARGETS, Denoiser, Ema, Phase, Schedule, autocast, autoguided, clipped
from course_lib import default_device, final, guided, load_denoiser, mixture_denoiser, train
from course_lib import sample_ddim, sample_dpmpp_2m, sample_heun, sample_unipc
from course_lib.data import CLASSES, fashion_mnist, to_float
from course_lib.diffusion import Denoise, posterior
from course_lib.exercises import further_05 as grade
from course_lib.layers import time_embedding, zero_init  # the second for a shown piece
from course_lib.metrics import fashion_features, frechet_distance
from course_lib.recipes import maker
from course_lib.recipes.ddpm_fashion import min_snr
from course_lib.training import warmup_flat_decay
from course_lib.weights import read_card
from course_lib.widgets import Flipbook
from course_lib.widgets import diffusion_plots as plots
from course_lib.widgets.plots import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY
from course_lib.widgets.plots import frames_of, show_rows, use_style

use_style()
device = default_device()

# %% [markdown]
# The data, the shipped net, and the helpers of lesson 05.

# %%
test_images, test_labels = (torch.from_numpy(np.array(a)) for a in fashion_mnist("test"))
train_images, train_labels = (torch.from_numpy(np.array(a)) for a in fashion_mnist("train"))
test_labels, train_labels = test_labels.long(), train_labels.long()
shipped = load_denoiser("ddpm-fashion")  # (x_t, t, condition) -> (x0, eps)
net, plan = shipped.net, shipped.schedule
sampling, T = clipped(shipped, plan), plan.T
linear = Schedule.linear()  # DDPM's own
beta = 1 - (linear.alpha[1:] / linear.alpha[:-1]) ** 2
kinds, fresh = torch.arange(10), (to_float(test_images[:64]), test_labels[:64])

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
# Lesson 05's pictures of **one pixel**, of two kinds: kind 0 has two bumps, kind 1 sits to the right of them. Everything about
# them is known. And its measurement: the error in the noise at several times, between the two walls.

# %%
centres = torch.tensor([-0.9, 0.0, 0.8]).reshape(3, 1, 1, 1)
shares, spread, kind_of = torch.tensor([0.3, 0.3, 0.4]), 0.25, torch.tensor([0, 0, 1])


def density(x: Tensor, kind: int | None = None) -> Tensor:
    """The density of the pixel at x [N]; of one kind only, where kind is given."""
    share = shares if kind is None else shares * (kind_of == kind)
    gap = x[:, None] - centres.flatten().to(x)  # [N, 3]
    bells = (-(gap**2) / (2 * spread**2)).exp() @ (share / share.sum()).to(x)
    return bells / math.sqrt(2 * math.pi * spread**2)


# %%
times = [1, 2, 4, 8, 15, 30, 60, 100, 150, 200, 260, 320, 380, 440, 500, 560, 620, 680]
times += [740, 800, 860, 920, 960, 990]


def measure(denoise: Denoise, x0: Tensor, cond: Tensor, times, what: str):
    """For each time and image the mean square of the miss, and twice the mean of guess times
    miss: [times, B] each."""
    miss, product = [], []
    for t in tqdm(times, desc=what, leave=False):
        eps = noise(*x0.shape, seed=t)
        guess = ask(denoise, plan.add_noise(x0, t, eps), t, cond)[1]
        miss.append((guess - eps).square().mean(dim=(1, 2, 3)))
        product.append(2 * (guess * (guess - eps)).mean(dim=(1, 2, 3)))
    return torch.stack(miss), torch.stack(product)


fresh_miss, fresh_product = measure(shipped, *fresh, times, "the shipped net")

# %% [markdown]
# ## 1. What does the U hold?
#
# A U-Net must see far (is it a boot?) and keep every pixel (which grain is noise?). It is made of this block. Look for the
# line by which time and text get in: they don't add a picture, they *turn the channels up and down*, by a factor and a shift
# for each (*adaptive group normalisation*).
# %% src="course_lib/layers.py::ResBlock"
# course_lib/layers.py::ResBlock
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
# Below, the shipped net looks at a boot at $t = 400$, and every layer shows the pattern that most of its channels share (their
# first principal component; the number counts the channels). Read from left to right. Where does the noise go, and where do
# the small details of the answer come from?

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
    """The first principal component of channels [C, H, W], signed like the answer."""
    flat = h.flatten(1) - h.mean(dim=(1, 2))[:, None]
    pattern = torch.linalg.svd(flat, full_matrices=False).Vh[0].reshape(h.shape[1:])
    return pattern * (pattern * F.adaptive_avg_pool2d(answer[0], h.shape[1])[0]).sum().sign()


# %% jupyter={"source_hidden": true}
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
axes[1, 3].annotate(
    "",
    (-0.1, 0.5),
    xytext=(1.1, 0.5),
    arrowprops={"arrowstyle": "->", "color": BLUE, "lw": 2},
    **ends,
)
figure.text(0.4, 0.55, "skips", color=BLUE, ha="center");

# %% [markdown]
# At the bottom, on 7 by 7 pixels, hardly any noise is left: first a boot's mass without a detail, and towards the end a code
# that is no picture any more. The edges come back at the upper right, where the skips arrive. So says the picture; a picture
# is no proof. **Cut the wires and measure.** First the skips of the 14 by 14 level alone, then all that comes up from the 7 by
# 7 level. The error is that of the net's own answer (`v`, section 5), in which no time is easy by itself. Before you run it: at
# which times will the net miss the one, and at which the other?

# %%
def without_skip(layer, given):
    """The input of a block on the way up, with zeros in place of what came over the skip."""
    h, emb = given
    own = torch.arange(h.shape[1], device=h.device) < layer.conv2.out_channels
    return h * own[:, None, None], emb


def cut_error(t: int, *hooks) -> float:
    """The error of the net's own answer on 64 test pictures, with hooks in place."""
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
    curves["without the 7 x 7 level"].append(
        cut_error(t, bottom.register_forward_hook(lambda *given: 0 * given[-1]))
    )
# %% jupyter={"source_hidden": true}
for (name, curve), colour in zip(curves.items(), (GREY, RED, BLUE), strict=True):
    plt.plot(some_times, curve, "o-", color=colour, label=name)
plt.gca().set(
    xlabel="t", ylabel="error of the net's own answer", ylim=(0, 2), title="64 test pictures"
)
plt.legend();

# %% [markdown]
# Without the skips the net can't name the grain: at small times it is worse than saying nothing, and at $t = 1000$, where only
# the figure is asked for, it hardly notices. Without the level below it is the other way round: next to nothing is lost at
# $t = 20$, and at $t = 1000$ the error grows by about half. **The skips carry the grain, the bottom carries the figure.**
#
# **Break it.** There is one layer of attention at the bottom, which lets every place look at every other one (`net.middle[1]`;
# a hook that returns `given[0]` takes it away). How much does the net miss it?
#
# <details><summary>What happens</summary>
# Hardly at all: the error at t = 500 rises by one or two per cent. On 7 by 7 pixels the convolutions below have already seen
# the whole picture. Attention earns its place in larger pictures, and where the condition is a sentence (lesson 09).
# </details>
#
# ## 2. A test that needs no label
#
# Lesson 05's Pythagoras has one more gift. For the best predictor, at each $t$ and for *any* data,
#
# $$\mathrm E[\hat\varepsilon^2] + \mathrm E[(\varepsilon - \hat\varepsilon)^2] = 1 .$$
#
# The sum exceeds 1 by $2\,\mathrm E[\hat\varepsilon(\hat\varepsilon - \varepsilon)]$, how far the miss is *correlated* with the
# guess, and this is 0 only where no single factor on the guess would improve it. So a noise predictor can be tested with no
# density, no reference set and no picture looked at. Three patients: the shipped net; the same net with a slip, told $t + 10$
# for $t$ (no shape check finds that); and the snapshot after 10,000 images.

# %%
def shifted(x_t: Tensor, t: int, cond: Tensor) -> tuple[Tensor, Tensor]:
    """The shipped net, told the wrong time."""
    return shipped(x_t, min(t + 10, T), cond)


checks = [60, 150, 260, 380, 500, 620, 740, 860, 960]
young = load_denoiser("ddpm-fashion-10k")
products = {"shipped net": fresh_product[[times.index(t) for t in checks]]}
products["the same, told t + 10"] = measure(shifted, *fresh, checks, "told t + 10")[1]
products["snapshot, 10,000 images"] = measure(young, *fresh, checks, "snapshot")[1]

# %% jupyter={"source_hidden": true}
for (name, part), colour, marker in zip(products.items(), (GREEN, RED, ORANGE), "os^"):
    bars = 2 * part.std(1) / part.shape[1] ** 0.5
    look = {"color": colour, "marker": marker, "capsize": 3, "label": name}
    plt.errorbar(checks, 1 + part.mean(1), bars, **look)
plt.axhline(1, color=GREY, linewidth=1)
plt.gca().set(xlabel="t", ylabel="mean(eps_hat$^2$) + error")
plt.title("1 is the only healthy value (bars: two standard errors, n = 64)")
plt.legend();

# %% [markdown]
# The test sees the slip, and that even the shipped net may be a little off at the smallest times. It is necessary and not sufficient (a net that always says 0 passes as well), but it costs two lines
# in a training loop, and it catches what the loss curve hides: wrong tables, shifted times, a net still out of scale.
#
# **Break it.** In `shifted` put `t + 5`, then `t + 2`, then `t + 1`: how small a slip does the test still see, and at which $t$?
# Then return `shipped(...)` with its noise times 1.02.
#
# <details><summary>What happens</summary>
# A slip of 5 is seen at small and middle times, one of 2 at the smallest only, where each step changes the noise most in
# proportion, and one of 1 drowns in the bars: for that, 64 pictures are too few. A factor of 1.02 moves the sum by 0.04
# wherever the noise can be named, many times the bars: scale is what this test sees best.
# </details>
#
# ## 3. Where the loss comes from
#
# So far the loss was a good idea: "compare with what was kept". The paper *derives* it from the likelihood. Here is the whole
# derivation, four steps, and after each one a cell that checks it with numbers. All of it is on the one-pixel pictures, with
# the exact denoiser, where $-\log p(x_0)$ is known.
#
# The model is a chain: pure noise $p(x_T) = \mathcal N(0, 1)$, then steps $p(x_{t-1} \mid x_t)$ down to $x_0$. Its likelihood
# of one picture is an integral over all paths. Nobody can do that integral, so **average over the paths that the forward
# process $q$ makes**, and Jensen ($-\log$ of a mean is at most the mean of $-\log$) gives a bound
# (its negative is the *evidence lower bound*, ELBO):
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
    return (
        -((x - mean) ** 2) / (2 * variance)
        - 0.5 * torch.as_tensor(2 * math.pi * variance, dtype=x.dtype).log()
    )


# %% tags=["nbval-check-output"]
grey = torch.tensor(0.4, dtype=torch.float64)  # x_0
path, generator = [grey], torch.Generator().manual_seed(1)
for b in beta:
    z = torch.randn((), generator=generator, dtype=torch.float64)
    path.append((1 - b).sqrt() * path[-1] + b.sqrt() * z)

onward = sum(
    log_normal(path[t], (1 - beta[t - 1]).sqrt() * path[t - 1], beta[t - 1])
    for t in range(1, T + 1)
)
back = log_normal(path[T], linear.alpha[T] * grey, linear.sigma[T] ** 2)
for t in range(2, T + 1):
    c_t, c_0, small, _ = posterior(linear, t, t - 1)
    back = back + log_normal(path[t - 1], c_t * path[t] + c_0 * grey, small)
print(f"forwards {onward:.6f}, backwards {back:.6f}")

# %% [markdown]
# **Step 2: the past of a known picture is a Normal.** The backward factors were $\mathcal N(c_t x_t + c_0 x_0,\; \tilde\beta)$.
# That is Bayes' rule: prior $q(x_s \mid x_0)$ times likelihood $q(x_t \mid x_s)$, made to sum to 1. Check it on a grid.

# %% tags=["nbval-check-output"]
t, s, x_t = 300, 280, torch.tensor(0.1, dtype=torch.float64)
x_s = torch.linspace(-2, 2, 4001, dtype=torch.float64)
keep = linear.alpha[t] / linear.alpha[s]
bayes = log_normal(x_s, linear.alpha[s] * grey, linear.sigma[s] ** 2) + log_normal(
    x_t, keep * x_s, 1 - keep**2
)
bayes = (bayes - bayes.max()).exp()
bayes = bayes / torch.trapezoid(bayes, x_s)
c_t, c_0, small, large = posterior(linear, t, s)
formula = log_normal(x_s, c_t * x_t + c_0 * grey, small).exp()
agree = (bayes - formula).abs().max() < 1e-8 * formula.max()
print(f"Bayes on a grid and the formula agree to eight digits: {agree}")

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
#
# (the first part is the price of a wrong variance, the second of a wrong mean).
#
# ### Rebuild 1: what a step costs

# %%
def step_cost(small: Tensor, nu: Tensor, gap: Tensor) -> Tensor:
    """D(Normal(m, small) || Normal(m + gap, nu)) in nats; all of one shape."""
    raise NotImplementedError  # one line; torch.log wants tensors


grade.STEP_COST(step_cost)

# %% tags=["nbval-check-output"]
my_cost = grade.STEP_COST.or_library(step_cost)
x0_guess, nu = torch.tensor(0.25, dtype=torch.float64), large
pairs = ((grey, small), (x0_guess, nu))
q, p = (log_normal(x_s, c_t * x_t + c_0 * x0, v) for x0, v in pairs)
by_integral = torch.trapezoid(q.exp() * (q - p), x_s)
two = torch.tensor([small, nu], dtype=torch.float64)
by_formula = my_cost(two[0], two[1], c_0 * (grey - x0_guess))
print(
    f"D by quadrature {by_integral:.6f}, by the formula {by_formula:.6f}"
)
# %% [markdown]
# **Step 4: it is a weighted squared error in the noise.** With $\nu = \tilde\beta$ only the last term is left. Its factor is half
# the drop in signal-to-noise ratio, $\mathrm{SNR} = \alpha^2/\sigma^2$ (Kingma et al. 2021), and since the error in the picture
# is $\frac{\sigma_t^2}{\alpha_t^2}$ times the error in the noise,
#
# $$L_{t-1} = \frac{c_0^2}{2\tilde\beta}\,(x_0-\hat x_0)^2 = \tfrac12\big(\mathrm{SNR}_{t-1} - \mathrm{SNR}_t\big)\,(x_0-\hat x_0)^2
# = \underbrace{\tfrac12\Big(\frac{\mathrm{SNR}_{t-1}}{\mathrm{SNR}_t} - 1\Big)}_{w_t}\,(\varepsilon - \hat\varepsilon)^2.$$

# %% tags=["nbval-check-output"]
snr = (linear.alpha / linear.sigma) ** 2
steps_back = [posterior(linear, t, t - 1) for t in range(2, T + 1)]
factor = torch.tensor(
    [c_0**2 / (2 * small) for _, c_0, small, _ in steps_back], dtype=torch.float64
)
half_drop = (snr[1:-1] - snr[2:]) / 2
same = ((factor - half_drop) / half_drop).abs().max() < 1e-8
print(
    f"c_0^2 / (2 beta-tilde) is half the drop in SNR, at every t: {same}"
)

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


def step_bits(small: float, nu: float, gap: Tensor) -> Tensor:
    """What a step costs by your formula, in bits."""
    given = (torch.tensor(v, dtype=torch.float64) for v in (small, nu))
    return my_cost(*given, gap) / math.log(2)


def start_bits(schedule: Schedule) -> Tensor:
    """L_T in bits: what it costs to start from pure noise."""
    a2, s2 = schedule.alpha[-1] ** 2, schedule.sigma[-1] ** 2
    return 0.5 * (a2 * greys**2 + s2 - 1 - s2.log()) / math.log(2)


# %%
def bound(schedule: Schedule) -> dict[str, Tensor]:
    """Parts of the bound in bits, for every grey: L_T, L_0, the steps with either variance."""
    exact = mixture_denoiser(schedule, centres, spread, shares)
    parts = {"beta-tilde": torch.zeros(101), "beta": torch.zeros(101)}
    for t in range(1, schedule.T + 1):
        x_t = schedule.alpha[t] * greys[:, None] + schedule.sigma[t] * nodes  # [greys, nodes]
        x0 = exact(x_t.reshape(-1, 1, 1, 1), t)[0].reshape(x_t.shape)
        error = (greys[:, None] - x0) ** 2 @ node_weights
        _, c_0, small, large = posterior(schedule, t, t - 1)
        if t == 1:  # the last step has the variance beta
            parts["L_0"] = (math.log(2 * math.pi * large) + error / large) / math.log(4)
            continue
        for name, nu in (("beta-tilde", small), ("beta", large)):
            parts[name] = parts[name] + step_bits(small, nu, c_0 * error.sqrt())
    return parts | {"L_T": start_bits(schedule)}


# %% [markdown]
# What should it be compared with? $L$ bounds the $-\log p(x_0)$ of the *model*, of the chain of $T$ Normal steps, not of the data. In one
# dimension the integral that nobody can do is $T$ products of a table with a vector, so for 25 steps we do it:

# %%
fine = torch.linspace(-5, 5, 1001, dtype=torch.float64)


def model_bits(schedule: Schedule) -> Tensor:
    """-log2 p(x_0) on `greys` of the chain with variance beta: noise through T tables."""
    exact = mixture_denoiser(schedule, centres, spread, shares)
    p = log_normal(fine, 0.0, 1.0).exp()
    for t in range(schedule.T, 0, -1):
        c_t, c_0, _, large = posterior(schedule, t, t - 1)
        mean = c_t * fine + c_0 * exact(fine.reshape(-1, 1, 1, 1), t)[0].flatten()
        p = (
            log_normal(fine[:, None], mean[None, :], large).exp() @ p * (fine[1] - fine[0])
        )  # [x_s, x_t] @ [x_t]
    return -torch.tensor(np.interp(greys, fine, p)).log2()


# %%
counts = [25, 50, 100, 200, 400, 800]
courses = {
    n: Schedule.linear(n, 0.1 / n, 20 / n) for n in counts
}  # the same course in n steps
bounds = {n: bound(courses[n]) for n in tqdm(counts, desc="bounds", leave=False)}
of_data, of_model = -density(greys).log2(), model_bits(courses[25])
law = density(greys) / density(greys).sum()  # for means over the data


# %% jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.8))
left.plot(greys, total(bounds[25], "beta"), color=BLUE, label="the bound, 25 steps")
left.plot(greys, of_model, color=ORANGE, label="the chain of 25 steps itself")
left.plot(greys, of_data, color="black", linestyle=":", label="the data")
left.set(
    xlabel="grey $x_0$", ylabel="$-\\log_2 p(x_0)$ (bits)", ylim=(0.4, 6), xlim=(-1.8, 1.8)
)
gaps = {}
for name, colour in (("beta-tilde", RED), ("beta", BLUE)):
    gaps[name] = [(law * (total(bounds[n], name) - of_data)).sum().item() for n in counts]
    right.loglog(counts, gaps[name], "o-", color=colour)
    right.text(60, gaps[name][1] * 1.5, f"variance {name}", color=colour)
right.axhline(0.5 * np.euler_gamma / math.log(2), color=GREY, linestyle=":")
right.text(24, 0.21, "half of Euler's constant", color=GREY)
right.set(
    xlabel="steps T",
    ylabel="mean bound minus entropy (bits)",
    xlim=(20, 1100),
    ylim=(1e-3, 20),
)
left.legend();

# %% tags=["nbval-check-output"]
for name, gap in gaps.items():
    slope = np.polyfit(np.log(counts), np.log(gap), 1)[0]
    print(f"variance {name}: gap {gap[-1]:.3f} bits at 800 steps", end="; ")
    print(f"it falls as T to the power {slope:.1f}")
above = total(bounds[25], "beta")
means = [(law * bits).sum() for bits in (above, of_model, of_data)]
print("mean over the data, 25 steps:", end=" ")
print("bound {:.3f}, chain {:.3f}, entropy of the data {:.3f}".format(*means))
print("the bound lies above the chain at every grey:", bool((above > of_model).all()))

# %%
for title, schedule in (
    ("DDPM's 1000 betas", linear),
    ("100 betas over the range made for 1000", Schedule.linear(100)),
):
    means = {name: (law * part).sum().item() for name, part in bound(schedule).items()}
    rest = means["beta"] + means["L_0"] + means["L_T"] - (law * of_data).sum().item()
    told = f"L_T {means['L_T']:.3f}, L_0 {means['L_0']:.2f}, steps {means['beta']:.2f}"
    print(f"{title}: {told}; gap {rest:.3f}")

# %% [markdown]
# - **The bound holds**: blue is above orange at every grey. (It may dip below the dotted line: a chain of 25 Normal steps isn't the
#   data, and puts too much density between the bumps. But on *average over the data* no model beats the data's entropy, so there the order is
#   bound, chain, entropy.)
# - **With variance $\beta$ the gap falls as $1/T$**: twice the steps, half the gap, a few thousandths of a bit at 800.
# - **With $\tilde\beta$ it never closes.** The pictures may be similar; the likelihoods aren't. $\tilde\beta$ is the uncertainty of $x_s$ if
#   $x_0$ were *known*. In the last few steps to the picture it isn't: the truth is near $\beta$, and $\beta/\tilde\beta$ is far from 1. The more steps,
#   the more alike are the betas of those few; for equal ones $\beta/\tilde\beta = t/(t-1)$, and the loss is
#   $\tfrac12\sum_{t>1}\big[\tfrac1{t-1} - \log\tfrac{t}{t-1}\big] = \tfrac12\gamma$ nats, half of Euler's constant: **0.416 bits a pixel** (dotted), to which the red
#   curve falls; above it still at 800 steps. This is what Nichol & Dhariwal (2021) won back by learning the variance.
# - **$L_T$ catches the commonest bug of toy repositories**, a short schedule with the range of betas of a long one. The last $x_T$ still holds
#   picture while the sampler starts from pure noise: it is 0.2 bits a pixel in place of 0. Look at $L_T$ itself, not at the sum, which hardly moves here: what
#   $x_T$ still says of $x_0$ the steps need not say again.
#
# ### What the simple loss throws away
#
# In the limit of small steps $w_t$ is half the step in $\log\mathrm{SNR}$. So the bound is an **area**: draw the error in the noise over
# $\log\mathrm{SNR}$ instead of over $t$, and half the area under the curve is the bound, in nats a pixel. Lesson 05's error by time
# once more, over both axes. Compare where the green lies.

# %%
log_snr = plan.log_snr[times].numpy()

# %% jupyter={"source_hidden": true}
figure, axes = plt.subplots(1, 2, figsize=(12, 3.8), sharey=True)
for axis, x in zip(axes, (times, log_snr), strict=True):
    axis.fill_between(x, fresh_miss.mean(1), color=GREEN, alpha=0.25)
    axis.plot(
        x,
        fresh_miss.mean(1),
        "o-",
        color=GREEN,
        markersize=4,
        label="shipped net, test pictures",
    )
axes[0].set(
    xlabel="t", ylabel="error in the noise", title="the area is the simple loss", ylim=(0, 1)
)
axes[1].set(
    xlabel="log SNR:  noise  ...  picture",
    title="half the area is the bound",
    xlim=(-8, log_snr[0]),
)
axes[0].legend();

# %%
def area(error: Tensor, x: np.ndarray) -> Tensor:
    """The area under error [times, B] over x, for each picture: [B]."""
    return torch.trapezoid(error.double(), torch.tensor(x, dtype=torch.float64), dim=0).abs()


bits, clear = area(fresh_miss, log_snr) / (2 * math.log(2)), log_snr > 0
between = f"between t = {times[0]} and {times[-1]}"
error = 2 * bits.std() / 8  # two standard errors of 64 pictures
print(f"bits a pixel {between}: {bits.mean():.2f} +- {error:.2f}")
for name, x in (("simple loss", np.array(times, dtype=float)), ("bound", log_snr)):
    share = area(fresh_miss[clear], x[clear]).mean() / area(fresh_miss, x).mean()
    print(f"share of the {name} from times with more picture than noise: {share:.0%}")

# %% [markdown]
# Nearly all of these bits ($L_0$, the first step from the 256 grey levels, comes on top) are spent where the picture is already plain to see, on the last grains of its cloth. A model trained for the bound
# works there. The simple loss gives several times the weight to the times at which the *figure* is decided, and pays with likelihood. It is a choice
# of what to be good at, and no approximation of something better.
# %% [markdown]
# ## 4. What does guidance sample, exactly?
#
# Guidance goes on along the line from the answer without the condition through the answer with it. So one net must be able to
# do both: in training, one condition of ten is replaced by "none".
#
# ### Rebuild 2: forget a tenth of the labels

# %%
def drop_labels(labels: Tensor, null_class: int, u: Tensor) -> Tensor:
    """labels [B], with null_class where the number in u [B] (uniform, 0 .. 1) is below 0.1."""
    raise NotImplementedError  # one line; torch.where may help


grade.DROP_LABELS(drop_labels)

# %% [markdown]
# A net for the one-pixel pictures learns with it: it sees the grey, the time, and the kind 0, 1, or 2 for none.

# %%
my_drop = grade.DROP_LABELS.or_library(drop_labels)
torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)
tiny = nn.Sequential(nn.Linear(1 + 32 + 32 + 3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
tiny.append(nn.Linear(64, 1))


def predict(x_t: Tensor, t: Tensor, kind: Tensor) -> Tensor:
    grey = x_t.flatten(1).float()
    waves = [time_embedding(10 * grey[:, 0], 32), time_embedding(t, 32)]
    return tiny(torch.cat([grey, *waves, F.one_hot(kind, 3)], dim=1)).reshape(x_t.shape)


# %%
def loss_of(bump: Tensor) -> dict[str, Tensor]:
    x0 = centres[bump] + spread * torch.randn(len(bump), 1, 1, 1, generator=generator)
    kind = my_drop(kind_of[bump], 2, torch.rand(len(bump), generator=generator))
    t = torch.randint(1, T + 1, (len(bump),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    gap = predict(plan.add_noise(x0, t, eps), t, kind) - eps
    return {"loss": gap.square().mean()}


# %%
bumps = (torch.multinomial(shares, 512, True, generator=generator) for _ in iter(int, 1))
adam = torch.optim.Adam(tiny.parameters(), lr=5e-3, betas=(0.9, 0.99))
phase = Phase("tiny", tiny, loss_of, adam, Ema(tiny), warmup_flat_decay(warmup=50, flat=0.2))
for _ in tqdm(train(phase, bumps, 1500, precision=torch.float32), total=1500, leave=False):
    pass
tiny.load_state_dict(phase.ema.module.state_dict())
exact_grey = mixture_denoiser(plan, centres, spread, shares, kind_of)  # -1: no kind
x, learnt = torch.linspace(-2, 2, 9).reshape(-1, 1, 1, 1), Denoiser(predict, plan)
for told, kind, name in ((0, 0, "kind 0"), (2, -1, "no kind")):
    with torch.no_grad():
        guess = learnt(x, 500, torch.full((9,), told))[1]
    gap = (guess - exact_grey(x, 500, torch.full((9,), kind))[1]).abs().mean()
    print(f"{name}: the net is {gap:.2f} from the exact noise, on average, at t = 500")

# %% [markdown]
# One net, two answers, both near the exact ones. From here on the exact ones are used, so that nothing below is the fault of a
# net.
#
# **The usual story** of what guidance samples: the noise is the score, the slope of a log density, so the formula is the slope of
#
# $$\log q_t(x)^{1-w}\, q_t(x\mid c)^{w},$$
#
# and guidance "samples the density $p(x)^{1-w}\,p(x\mid c)^w$", the *tilted* one. On the one-pixel pictures the claim can be
# tested to the last digit. The *probability-flow ODE* maps noise to grey, monotonically in one dimension, so the thousandth
# part of the noise becomes the thousandth part of the samples: send 1,000 quantiles of the Normal through it (by Heun's method,
# 60 steps), and the density of what comes out is known without any sampling error. **Turn the dial.**
# %%
quantiles = math.sqrt(2) * torch.erfinv(
    2 * (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000 - 1
)
tilts = [0, 0.5, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.5, 4]
greys = torch.linspace(-3, 3, 1201, dtype=torch.float64)
kind_0 = torch.zeros(1000, dtype=torch.long)  # kind 0


# %%
def pushed(denoise: Denoise) -> Tensor:
    """Where a sampler sends the 1,000 quantiles of the noise: [1000], rising."""
    return final(
        sample_heun(denoise, plan, quantiles.reshape(-1, 1, 1, 1), plan.times(60), kind_0)
    ).flatten()


def tilted(w: float) -> Tensor:
    """The density p(x)^(1 - w) p(x | kind 0)^w on `greys`, made to integrate to 1."""
    log = (1 - w) * density(greys).log() + w * density(greys, kind=0).log()
    return (log - log.max()).exp() / torch.trapezoid((log - log.max()).exp(), greys)


out = {w: pushed(guided(exact_grey, -1, w)) for w in tqdm(tilts, desc="tilts", leave=False)}

# %% jupyter={"source_hidden": true}
figure, axis = plt.subplots(figsize=(8, 3.6))
axis.fill_between(greys, density(greys), color=GREY, alpha=0.25, label="p(x), all")
(claim,) = axis.plot(
    greys, tilted(1), color=ORANGE, linewidth=3, label="the tilted density, as claimed"
)
(found,) = axis.plot([], [], color=BLUE, label="what guidance samples")
axis.set(xlim=(-2.2, 1.6), ylim=(0, 2.1), xlabel="grey of the pixel", ylabel="density")
axis.legend(loc="upper right")


def draw(w):
    claim.set_ydata(tilted(w))
    middle, width = (out[w][1:] + out[w][:-1]) / 2, out[w].diff()
    found.set_data(middle, 1 / (1000 * width))


Flipbook(
    frames_of(figure, draw, tilts),
    tilts,
    label="w",
    title="Guidance towards kind 0",
    start=tilts.index(3),
)

# %%
def distance(samples: Tensor, p: Tensor) -> float:
    """How far, in grey, a quantile of the samples is from that of p, on average (the
    Wasserstein-1 distance)."""
    cumulated = torch.cat([torch.zeros(1), torch.cumulative_trapezoid(p, greys)]).numpy()
    return float(
        np.abs(
            samples.numpy() - np.interp((np.arange(1000) + 0.5) / 1000, cumulated, greys)
        ).mean()
    )


# %% tags=["nbval-check-output"]
for w in (0, 1, 2, 4):
    print(
        f"w = {w}: distance to the tilted density {distance(out[w], tilted(w)):.2f}"
    )
ends = (
    (guided(exact_grey, -1, 0), lambda x_t, t, cond: exact_grey(x_t, t, None)),
    (guided(exact_grey, -1, 1), exact_grey),
)
print(
    "ends, the same to the last digit:", [torch.equal(pushed(a), pushed(b)) for a, b in ends]
)

# %% [markdown]
# At 0 and 1 the claim holds, exactly. In between and beyond it doesn't: the tilted density keeps both bumps of kind 0 at every
# $w$, while guidance **loses more and more of the right one**, the bump that kind 1 is near to; at 4 next to nothing of it is left. That is the loss of variety which
# lesson 05 shows in the clothes.
#
# Where does the story break? At $t = 0$ the slopes do combine as claimed. But at time $t$ the sampler needs the slope of *the tilted
# density with noise on it*, and guidance uses *the noisy densities, tilted*. Noising and tilting don't commute. Proof: give the
# tilted density its own exact denoiser, and sample that.

# %%
def own_denoiser(w: float) -> Denoise:
    """The exact denoiser of the tilted density, as 1,201 weighted points."""
    share = tilted(w) / tilted(w).sum()
    return mixture_denoiser(plan, greys.reshape(-1, 1, 1, 1), 0.005, share.clamp(min=1e-300))


mine = pushed(own_denoiser(4))

# %% jupyter={"source_hidden": true}
plt.figure(figsize=(8, 3.2))
plt.plot(
    greys, tilted(4), color=ORANGE, linewidth=4, alpha=0.6, label="the tilted density, w = 4"
)
for samples, colour, label in (
    (out[4], BLUE, "guidance"),
    (mine, GREEN, "the tilted density's own denoiser"),
):
    plt.plot(
        (samples[1:] + samples[:-1]) / 2,
        1 / (1000 * samples.diff()),
        color=colour,
        label=label,
    )
plt.gca().set(xlim=(-2.2, 1.6), ylim=(0, 2.1), xlabel="grey of the pixel", ylabel="density")
plt.legend();

# %% tags=["nbval-check-output"]
print(
    f"distance of its own denoiser's samples: {distance(mine, tilted(4)):.2f}"
)

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
led = {
    w: pushed(autoguided(better, worse, w)) for w in tqdm(pulls, desc="scales", leave=False)
}
off = [distance(led[w], density(greys)) for w in pulls]

# %% jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.4))
left.plot(pulls, off, "o-", color=BLUE)
left.set(
    xlabel="scale: 0 the worse, 1 the better",
    ylabel="distance to the data (grey)",
    ylim=(0, None),
)
right.fill_between(greys, density(greys), color=GREY, alpha=0.25, label="the data")
for w, colour in ((0, ORANGE), (1, SKY), (2.25, BLUE)):
    right.plot(
        (led[w][1:] + led[w][:-1]) / 2,
        1 / (1000 * led[w].diff()),
        color=colour,
        label=f"scale {w:g}",
    )
right.set(xlim=(-2.2, 2.2), ylim=(0, 0.95), xlabel="grey of the pixel", ylabel="density")
right.legend(ncols=2, loc="upper center");

# %% tags=["nbval-check-output"]
print(f"distance at scale 1: {off[2]:.3f}, at 2.25: {off[5]:.3f}")
share = (led[2.25] > 0.4).double().mean()
print(f"share of the right bump at 2.25: {share:.2f}, in the data: 0.40")

# %% [markdown]
# Both are wrong, and in the same direction; the line through them leads past the better one to the truth, and on to the other side.
# No bump is lost.
# Now with nets: the shipped one, led away from its own snapshot after 250,000 pictures. At 0 the snapshot, at 1 the net itself.

# %%
early = load_denoiser("ddpm-fashion-250k")
pulls, painted = [0, 1, 1.5, 2, 3, 4, 6, 8], []
start, twice = noise(20, 1, 28, 28, seed=21), kinds.repeat(2)
for w in tqdm(pulls, desc="scales", leave=False):
    painter = clipped(autoguided(shipped, early, w), plan)
    painted.append(sample(sample_dpmpp_2m, painter, start, plan.times(10), twice))
frames = [plots.titled_sheet(part, CLASSES) for part in painted]
Flipbook(frames, pulls, label="scale", title="Away from a worse self", start=1)

# %% [markdown]
# Up to 2 or so the garments stay what they are, each its own, and gain seams and edges; far beyond, prints are invented and
# everything is overdone. Whether the crowd gains by it is a question for section 6.
#
# ## 5. Four targets, one error
#
# The net may be asked for the noise, the picture, or a mixture, and `Denoiser` reads any of them as $(\hat x_0, \hat\varepsilon)$. All
# four are $a\,x_0 + b\,\varepsilon$:

# %% src="course_lib/diffusion/denoiser.py::TARGETS"
# course_lib/diffusion/denoiser.py::TARGETS
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
# ### Rebuild 3: the price of a mistake

# %%
def price(a: Tensor, b: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The squared error in a * x0 + b * eps, for a squared error of 1 in x0; x_t is given."""
    raise NotImplementedError  # one line


grade.PRICE(price)

# %% [markdown]
# First per sample: the ratios must be exact, not average.

# %%
my_price = grade.PRICE.or_library(price)
t_mid, eps = 400, noise(64, 1, 28, 28, seed=3)
level = plan.alpha[t_mid], plan.sigma[t_mid]
x0_seen, eps_seen = ask(shipped, plan.add_noise(fresh[0], t_mid, eps), t_mid, fresh[1])
picture_error = (x0_seen - fresh[0]).square().mean(dim=(1, 2, 3))
for name, mix in TARGETS.items():
    a, b = mix(*level)
    gap = a * (x0_seen - fresh[0]) + b * (eps_seen - eps)
    ratio = gap.square().mean(dim=(1, 2, 3)) / picture_error
    formula = my_price(a, b, *level)
    print(
        f"{name:5s} ratio from {ratio.min():.3f} to {ratio.max():.3f}; formula {formula:.3f}"
    )

# %%
alphas, sigmas = plan.alpha[times], plan.sigma[times]
in_picture = fresh_miss.mean(1) * (sigmas / alphas) ** 2
prices = {
    name: my_price(*mix(alphas, sigmas), alphas, sigmas) for name, mix in TARGETS.items()
}


def share_of(loss: Tensor) -> Tensor:
    """A loss by time, over its mean over t = 1 .. T."""
    return loss / np.interp(np.arange(1, T + 1), times, loss).mean()


# %% jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.8))
for (name, part), colour in zip(prices.items(), (BLUE, RED, GREEN, PINK)):
    style = "--" if name == "flow" else "-"
    left.semilogy(times, part, style, color=colour, label=name)
    right.plot(times, share_of(part * in_picture), style, color=colour, label=name)
for least, dots in ((0.0, ":"), (0.2, "-.")):
    weighted = prices["v"] * in_picture * min_snr(alphas, sigmas, least)
    label = f"v, min-SNR, at least {least:g}" if least else "v, min-SNR"
    right.plot(times, share_of(weighted), dots, color="black", label=label)
left.set(xlabel="t", ylabel="price of an error in the picture", ylim=(1e-3, 1e4))
right.set(xlabel="t", ylabel="share of the loss (mean 1)", ylim=(0, 6))
left.set_title("four prices")
right.set_title("the same mistakes, as each target counts them")
left.legend()
right.legend();

# %% [markdown]
# Right: the same net, the same mistakes. With target `eps` the loss is made at the small times, where the grain is. With `x0` it
# is made at the large ones, where the net is guessing anyway. `v` and `flow` spread it most evenly, one reason why the shipped
# net is asked for `v`; the other is in lesson 04: an error in `v` is never divided by a small number when the picture is
# computed.
#
# A weight can change the price once more. The dotted line counts each error in `v` $\min(\mathrm{SNR}, 5)/(\mathrm{SNR}+1)$
# times (*min-SNR*, Hang et al. 2023), so that neither the last grain nor sheer guessing takes the net's attention. At $t = 20$
# that is 0.009, and **what a weight doesn't count isn't learnt**: a net trained so draws well in twenty calls, which never look
# at the smallest times, and worse in a thousand, which do. So the shipped net was trained, in the end, with no weight below a
# fifth, the line of dashes and dots (`benchmarks/choose_net.md` has the measurements).
#
# What *you* trained in lesson 05 was a mixture: the net answers in `v`, and the loss is priced in `eps`. The two choices are
# independent: what the net *says*, and what a mistake *costs*.
#
# **Break it.** In lesson 05's section 5, train `Denoiser(own, plan, "eps")` in place of `"v"`, and read it so in `show`. The loss
# looks much the same. And the pictures?
#
# <details><summary>What happens</summary>
# The loss ends about where it did, and garments turn into others of a wrong class. At t = 1000 there is no picture in x_t at
# all, and whoever answers with the noise has said nothing about the picture. Just below, a small error is divided by a small
# alpha. Nothing in the mean over all t, everything for the first steps, which decide what the garment is.
# </details>
#
# ## 6. Ten calls or a thousand
#
# DDPM made its pictures in 1,000 calls of the net. **How many are needed?** Samplers without fresh noise can be judged without
# any statistics: from one and the same noise, the exact path has one end, so ask how far each sampler's end is from it. For
# the exact end we pay the thousand calls, once.
#
# Four samplers, each in the same number of *calls* (network function evaluations). DDIM takes straight steps. Heun calls again
# at the end of a step and redoes it: two calls. DPM-Solver++ carries the last call's trend on: one call. UniPC (Zhao et al.
# 2023) sees that the end of a step is looked at anyway, for the next one; so it corrects each step with that call, and pays
# one. **Which is nearest after ten?**

# %%
eight, eight_kinds = noise(8, 1, 28, 28, seed=31), torch.tensor([9, 8, 0, 3, 7, 4, 5, 1])
samplers = {"DDIM": sample_ddim, "Heun": sample_heun}
samplers |= {"DPM-Solver++(2M)": sample_dpmpp_2m, "UniPC": sample_unipc}
budgets, given = (5, 10, 20, 50), (eight.to(device), plan.times(1000), eight_kinds.to(device))
walk = sample_dpmpp_2m(sampling, plan, *given)
with autocast(device):
    goal = final(tqdm(walk, total=1001, desc="a thousand calls", leave=False)).cpu()
ends, jobs = {}, [(name, calls) for name in samplers for calls in budgets]
for name, calls in tqdm(jobs, desc="four samplers", leave=False):
    # Heun calls twice a step, and once on the last
    n_steps = (calls + 1) // 2 if name == "Heun" else calls
    run = samplers[name], sampling, eight, plan.times(n_steps), eight_kinds
    ends[name, calls] = sample(*run)

# %% jupyter={"source_hidden": true}
figure, axis = plt.subplots(figsize=(8, 3.8))
for name, colour, marker in zip(samplers, (BLUE, ORANGE, RED, GREEN), "os^P"):
    gap = [(ends[name, n] - goal).square().mean(dim=(1, 2, 3)).sqrt() for n in budgets]
    gap = torch.stack(gap)  # [budgets, 8]
    calls = [2 * ((n + 1) // 2) - 1 if name == "Heun" else n for n in budgets]
    axis.plot(calls, gap, ".", color=colour, alpha=0.5, markersize=4)
    axis.plot(calls, gap.median(1).values, color=colour, marker=marker, label=name)
    told = (f"{n} calls {g:.3f}" for n, g in zip(calls, gap.median(1).values.tolist()))
    print(f"{name:17s} " + ", ".join(told))
axis.set(xlabel="calls of the net", ylabel="rms distance to the exact end")
axis.set(xscale="log", yscale="log")
axis.set_xticks(budgets, [str(n) for n in budgets], minor=False)
axis.set_title("8 pictures (dots) and their median, against 1,000 calls")
axis.minorticks_off()
axis.legend()
show_rows({"1,000 calls": goal} | {f"{name}, 5": ends[name, 5] for name in samplers});

# %% [markdown]
# By the medians: at five calls the four are close together. An order is a promise about *small* steps, and Heun, which spends
# two calls on each, has few of them. At ten and at twenty UniPC is well ahead; most of that comes from redoing the *first* step:
# at $t = T$ the net sees no more than the mean of the class. At fifty all that is left is a few grey levels (a level is 2 / 255,
# about 0.008), most with DDIM. But look at the pictures: at five calls, too, every row is a row of clothes, only not *the same*
# clothes to the last fold.
#
# ### As a crowd: the Fréchet distance
#
# A sampler may miss the end of its own path and still draw good pictures. What counts is the crowd, and a crowd needs a
# yardstick. **The Fréchet distance**: send the pictures of both crowds through a classifier and keep a layer's answers, 128
# *features* each. Take the mean and the covariance of each crowd's features, as if they were two Normal clouds. The distance is
# how far one cloud must be moved and reshaped to become the other:
#
# $$|m_1 - m_2|^2 + \operatorname{tr}\big(C_1 + C_2 - 2\,(C_1 C_2)^{1/2}\big)$$
#
# (With the features of Inception, a net for photographs, it is the *FID*.) In two dimensions, grey against blue:

# %%
cloud = noise(2000, 2, seed=1)
others = {"moved": cloud + torch.tensor([1.5, 0.5]), "less variety": 0.4 * cloud}
others["reshaped"] = noise(2000, 2, seed=2) @ torch.tensor([[1.4, 0.9], [0.0, 0.6]])
pairs = {"the same law": (cloud, noise(2000, 2, seed=3))}
pairs |= {name: (cloud, other) for name, other in others.items()}
plots.two_clouds(pairs, {name: frechet_distance(*pair) for name, pair in pairs.items()})

# %% [markdown]
# It sees crowds that are elsewhere and crowds with too little variety, and it sees nothing of what isn't in the mean and the
# covariance. It falls with the number of samples, so **the floor**, real training pictures in the place of samples, is taken
# with the same number. First few samples and only **five** calls, live; then the figures of the shipped card, with many.

# %%
n = 256
reference = fashion_features(to_float(test_images[:2048]).to(device))


def crowd_distance(pictures: Tensor) -> float:
    return frechet_distance(fashion_features(pictures.to(device)), reference)


order = torch.randperm(55_000, generator=torch.Generator().manual_seed(1))
real = [crowd_distance(to_float(train_images[rows])) for rows in order[: 4 * n].split(n)]
crowd = {"real pictures": real}
names = {"DDPM": "ddpm", "DDIM": "ddim", "DPM-Solver++(2M)": "dpmpp_2m", "UniPC": "unipc"}
jobs = [(name, seed) for name in names for seed in (0, 1)]
for name, seed in tqdm(jobs, desc="crowds", leave=False):
    pictures, _ = maker("ddpm-fashion", net, calls=5, sampler=names[name]).make(n, seed)
    crowd.setdefault(f"{name}, 5 calls", []).append(crowd_distance(pictures))

# %% jupyter={"source_hidden": true}
def draw_crowd(crowd: dict[str, list[float]]):
    """Distances by name: a bar for the mean, a dot for each seed."""
    figure, axis = plt.subplots(figsize=(9, 2.6))
    for row, values in enumerate(crowd.values()):
        colour = (GREY, ORANGE, BLUE, RED, GREEN)[row]
        axis.barh(row, np.mean(values), color=colour, alpha=0.5)
        axis.plot(values, [row] * len(values), "o", color="black", markersize=6)
        axis.text(max(values) + 0.03, row, f"{np.mean(values):.2f}", va="center")
    axis.set_yticks(range(len(crowd)), crowd)
    axis.invert_yaxis()
    title = f"a dot: {n} samples of one seed, against 2,048 test pictures"
    axis.set(xlabel="Fréchet distance", title=title)


draw_crowd(crowd)

# %% [markdown]
# And guidance, in the same twenty calls? (A guided step takes two, so there are ten of them.) The class stressed, or the net led
# away from its snapshot: **which brings the crowd nearer, and which does it harm?**

# %%
ways = {"plain": {}, "class stressed, 3": {"guidance": 3.0}}
ways["away from the snapshot"] = {"guide": "ddpm-fashion-250k"}
guided_crowd = {"real pictures": real}
jobs = [(name, seed) for name in ways for seed in (0, 1)]
for name, seed in tqdm(jobs, desc="crowds", leave=False):
    made = maker("ddpm-fashion", net, calls=20, sampler="unipc", **ways[name])
    guided_crowd.setdefault(f"{name}, 20 calls", []).append(
        crowd_distance(made.make(n, seed)[0])
    )
draw_crowd(guided_crowd)

# %% [markdown]
# Stressing the class makes the single picture clearer and the crowd far worse: it draws types. The other two can't be told apart
# by 256 samples, nor from real pictures (these were drawn without minding the classes, the samples have all ten in equal
# numbers). That takes more of them. From the shipped card, 2,048 samples a dot, calls of every net counted; grey is the distance
# of as many real training pictures. (The scale was chosen on other images, those of the validation split:
# `benchmarks/choose_sampling.md`.)

# %% jupyter={"source_hidden": true}
card = read_card("ddpm-fashion")["figures"]["rows"]
ways = {"DDPM": ("ddpm", None), "DDIM": ("ddim", None), "Heun": ("heun", None)}
ways |= {"DPM-Solver++(2M)": ("dpmpp_2m", None), "UniPC": ("unipc", None)}
ways["UniPC, led away from the snapshot"] = ("unipc", "ddpm-fashion-250k")
figure, axis = plt.subplots(figsize=(9, 4.2))
marks = zip(ways.items(), (PINK, BLUE, ORANGE, RED, SKY, GREEN), "vos^PD")
for (name, way), colour, marker in marks:
    rows = [row for row in card if (row["sampler"], row["guide"]) == way and row["n"] == 2048]
    first = [row for row in rows if row["seed"] == 0]
    axis.plot([r["calls"] for r in rows], [r["fd"] for r in rows], ".", color=colour)
    x, y = [r["calls"] for r in first], [r["fd"] for r in first]
    axis.plot(x, y, color=colour, marker=marker, label=name)
axis.axhline(card[0]["fd_floor"], color=GREY, label="real pictures")
axis.set(xlabel="calls of the net", ylabel="Fréchet distance", xscale="log", ylim=(0, 0.62))
axis.set_xticks([10, 20, 50, 1000], ["10", "20", "50", "1000"])
axis.minorticks_off()
axis.set_title("2,048 samples, against 2,048 test pictures")
axis.legend(ncols=2, loc="upper right")
print("10,000 samples, against 10,000 test pictures")
for row in (row for row in card if row["n"] == 10_000):
    led = f", led away from {row['guide']}" if row["guide"] else ""
    print(f"  {row['calls']:4d} calls: {row['fd']:.3f} ({row['sampler']}{led})", end="; ")
    print(f"real pictures {row['fd_floor']:.3f}")

# %% [markdown]
# Three things in this picture. (How far a dot may be off: the small ones are more seeds.)
#
# 1. **At fifty calls it hardly matters how you walk.** DDIM, Heun, DPM-Solver++ and UniPC have arrived at about the same
#    place. More calls may still bring a little; but what four samplers have in common there is mostly **the net's** error, carried
#    along from step to step.
# 2. **DDPM comes last.** Over a long step the past is no Normal (lesson 04, section 2), and `small`, its variance here, is less than the
#    right one (further/04). The large one is too much: on the colour photographs of DDIM's paper
#    (Song et al. 2021, table 1) it ruins a run of ten. In many, fresh noise can help: it covers up what went wrong before, and
#    the net looks again (Karras et al. 2022, section 4). The better the net, the less there is to cover up.
# 3. **The net's error can be bought back**, in part, by knowing in which direction the net is still wrong: at twenty and fifty
#    calls the green line has half of them for its steps and is far below the rest. More training closes the gap at its root.
#
# **Break it.** Lead away from `ddpm-fashion-10k`: in the cell that makes pictures in three ways, add below the second line
# `ways["away from 10,000 images"] = {"guide": "ddpm-fashion-10k", "guide_scale": 2.0}`. How bad may a bad example be? Then sample DDPM
# in ten steps with either variance:
#
# ```python
# from functools import partial
# from course_lib import sample_ddpm
#
# for variance in ("small", "large"):
#     ten, labels = partial(sample_ddpm, variance=variance), torch.arange(n) % 10
#     made = sample(ten, sampling, noise(n, 1, 28, 28, seed=0), plan.times(10), labels)
#     print(variance, crowd_distance(made))
# ```
#
# <details><summary>What happens</summary>
# Away from the snapshot after 10,000 images the distance about doubles: that net's mistakes are no longer ours on a larger
# scale; the pictures turn pale, grainy and hard. With the large variance DDPM is several times worse than with the small one.
# Each step adds the noise of data that are noise themselves (further/04), and ten steps can't take it away again: good
# garments, full of grain.
# </details>
#
# ## What you have learnt
#
# | question | answer | section |
# |---|---|---|
# | Why a U? | the skips carry the grain, the bottom carries the figure | 1 |
# | How do you test a noise predictor? | $\mathrm{mean}(\hat\varepsilon^2)$ + error = 1, at each $t$ | 2 |
# | Where does the loss come from? | a bound on $-\log p$: an area over log SNR, with the weights thrown away | 3 |
# | What does guidance sample? | at 0 and 1 what it says, beyond 1 something with less variety than the tilted density | 4 |
# | What should a net be led away from? | a worse self: mistakes go, variety stays | 4 |
# | What does the target change? | the price of a mistake at each time | 5 |
# | How many calls? | for this net some twenty to fifty | 6 |
#
# | here | the field's term | 中文 |
# |---|---|---|
# | the bound | variational bound; its negative, the evidence lower bound (ELBO) | 变分界；证据下界 |
# | what it costs to take $p$ for $q$ | Kullback-Leibler divergence | KL 散度 |
# | variance `small`, `large` | $\tilde\beta_t$, $\beta_t$ | 后验方差，前向方差 |
# | more picture than noise | signal-to-noise ratio (SNR) | 信噪比 |
# | tilted density | sharpened (power) conditional distribution | 倾斜（锐化）分布 |
# | away from a worse self | autoguidance | 自引导 |
# | target | parameterisation: $\varepsilon$-, $x_0$-, $v$-prediction | 参数化（预测目标） |
# | turn the channels up and down | adaptive group normalisation, FiLM | 自适应组归一化 |
# | calls | network function evaluations (NFE) | 网络函数评估次数 |
# | path without fresh noise | probability-flow ODE | 概率流常微分方程 |
# | distance of crowds | Fréchet distance; FID with Inception's features | 弗雷歇距离 |
#
# ## What to read next
#
# - Nichol & Dhariwal 2021, *Improved DDPM*: the variance and the bits of section 3.
# - Kingma, Salimans, Poole & Ho 2021, *Variational diffusion models*: the bound as an area.
# - Salimans & Ho 2022, *Progressive distillation*: the target `v`. Lu et al. 2022, *DPM-Solver++*. Zhao et al. 2023, *UniPC*.
# - Bradley & Nakkiran 2024, *Classifier-free guidance is a predictor-corrector*. Karras et al. 2024, *Guiding a diffusion model
#   with a bad version of itself*.
