# %% [markdown]
# # Further 01. What masks can't see, where the digits go, how many pixels one draw can bind
#
# *For those who have been through [lesson 01](../01_sampling_problem.ipynb).* Four questions that it left open, each
# answered by measuring:
#
# - What do stacked masks not see, however many there are (section 1)?
# - Why isn't a level's probability computed as it is written (section 2)?
# - How nearly must one draw decide, so that *all* pixels agree (section 3)?
# - What is each further thing worth that all pixels are told (section 4)?
#
# One stub is for you to write; what you write runs on. Solutions: `course_lib/exercises/further_01.py`. Cells that only
# draw are folded. It takes about 15 minutes.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F  # for the library's text
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_lib import Draws, fashion_mnist, load_weights, to_float
from course_lib.exercises import further_01 as grade
from course_lib.exercises.lesson_01 import agreement, causal_mask, moved_by
from course_lib.models.independent import IndependentPixels, total_correlation
from course_lib.models.pixelcnn import LEVELS, split_mixture
from course_lib.models.pixelcnn import mixture_log_prob as library_log_prob
from course_lib.widgets import pixel_plots as plots
from course_lib.widgets.plots import BLUE, GREEN, GREY, ORANGE, RED, show_rows, use_style

use_style()
train_images, train_labels = (torch.from_numpy(np.array(a)) for a in fashion_mnist("train"))
test_images, test_labels = (torch.from_numpy(np.array(a)) for a in fashion_mnist("test"))
train_labels, test_labels = train_labels.long(), test_labels.long()
shirt = to_float(test_images[4:5])  # [1, 1, 28, 28] in [-1, 1]
pixels = load_weights("pixelcnn-fashion", device="cpu")


# %% [markdown]
# ## 1. The blind spot
#
# Lesson 01's small net had masked convolutions of 3 by 3, one after another. Each lets an answer look one row further
# up, one column further to the left, and one further to the right *if it goes up as well*. Would more of them see
# everything? Three depths, untrained, asked at the red pixel; grey is a gradient of exactly 0.

# %%
class Stacked(nn.Module):
    """A mask A of 7 x 7, then `depth` masks B of 3 x 3: x [1, 1, H, W] to [1, 4, H, W]."""

    def __init__(self, depth: int, C: int = 4):
        super().__init__()
        first = nn.Conv2d(1, C, 7, padding=3)
        first.weight.data *= causal_mask("A", 7)
        self.convs = nn.Sequential(first)
        for _ in range(depth):
            conv = nn.Conv2d(C, C, 3, padding=1)
            conv.weight.data *= causal_mask("B", 3)
            self.convs += nn.Sequential(nn.SiLU(), conv)

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)


# %%
torch.manual_seed(0)
nets = {f"{depth} masks B": Stacked(depth) for depth in (4, 12, 26)}
nets["two stacks (shipped)"] = pixels
fields = {}
for name, net in tqdm(nets.items(), desc="fields", leave=False):
    fields[name] = moved_by(net, shirt.clone(), 16, 8)
    seen = (fields[name].flatten()[: 16 * 28 + 8] > 0).float().mean()
    print(f"{name:>20}: {seen:.0%} of the pixels before the red one are seen")
plots.show_fields(fields, 16, 8);


# %% [markdown]
# The wedge stays, whatever the depth: a path through the masks goes right by one column for each row up (the first
# layer by three), so what lies lower and further right is out of reach. That is the **blind spot** (van den Oord et al.
# 2016, *Conditional image generation with PixelCNN decoders*). Widening a mask to the right would not help: a kernel in
# the own row may not look right at all. The cure is two stacks. The *vertical* one sees whole rows above, without any
# mask inside them, since all of those pixels are drawn; the *horizontal* one sees its own row's left side, and reads
# the vertical one. A step of both, in the library's net:

# %% src="course_lib/models/pixelcnn.py::CausalBlock.vertical"
# course_lib/models/pixelcnn.py::CausalBlock.vertical
def vertical(self, v: Tensor, emb: Tensor) -> Tensor:
    """v [B, C, H + d, W + 2 d] to what is added to it: [B, C, H, W]; d is the dilation,
    emb [B, 2 C, 1, 1] the class's.
    """
    return self.out_v(self.gate(self.conv_v(v) + emb))


# %% src="course_lib/models/pixelcnn.py::CausalBlock.horizontal"
# course_lib/models/pixelcnn.py::CausalBlock.horizontal
def horizontal(self, h: Tensor, told: Tensor) -> Tensor:
    """h [B, C, H, W + 2 d], told [B, 2 C, H, W] to what is added: [B, C, H, W]."""
    return self.out_h(self.gate(self.conv_h(h) + told))


# %% [markdown]
# What pads `v` and `h` is what they may look at: rows above are shifted in from the top, the own row from the left.
# **The same test from the other end**, without gradients: change one pixel and see which answers move. All up to and
# including that pixel must move by *exactly* 0.

# %%
with torch.no_grad():
    before = pixels(shirt)
    for row, column in ((0, 0), (9, 20), (14, 14), (20, 3)):
        other = shirt.clone()
        other[0, 0, row, column] += 0.5
        moved = (pixels(other) - before).abs().amax(dim=1).flatten()
        k = 28 * row + column + 1
        to, after = moved[:k].max().item(), moved[k:].max().item()
        place = f"pixel ({row:2d}, {column:2d})"
        print(f"{place}: answers move by {to} up to it, by {after:.2g} at most after it")


# %% [markdown]
# ## 2. Where the digits go
#
# Lesson 01 gave a level the area of a logistic over its bin, a difference of two sigmoids. Far from the mean both are 0
# or 1 to the last digit of float32, the difference is 0, and its logarithm minus infinity: one such pixel, and the loss
# is lost. The same difference can be written as a product. With $a > b$ the edges in units of the scale,
#
# $$\sigma(a) - \sigma(b) = \sigma(a)\,\sigma(-b)\,\big(1 - e^{b - a}\big),$$
#
# and the logarithm of each factor has all its digits. The library's text:

# %% src="course_lib/models/pixelcnn.py::mixture_log_prob"
# course_lib/models/pixelcnn.py::mixture_log_prob
def mixture_log_prob(params: Tensor, levels: Tensor) -> Tensor:
    """log p of grey levels under a mixture of discretised logistics (Salimans et al. 2017,
    eq. 2).

    params [B, 3 K, ...] and levels [B, 1, ...] to nats [B, ...]. A level's bin is 2 / 255
    wide; the bins of black and of white are open to the outside, so that all 256 sum to 1. A
    logistic's share of a bin with edges a > b, in its own units, is sigmoid(a) - sigmoid(b) =
    sigmoid(a) sigmoid(-b) (1 - exp(b - a)): written so, no digits are lost in the tails.
    """
    log_weights, means, log_scales = split_mixture(params)
    centered = levels / 127.5 - 1 - means
    inverse = torch.exp(-log_scales)
    upper = F.logsigmoid((centered + 1 / 255) * inverse)  # log of the share below the top
    lower = F.logsigmoid((1 / 255 - centered) * inverse)  # log of the share above the bottom
    width = torch.log(-torch.expm1(-2 / 255 * inverse))
    inner = (levels > 0) & (levels < LEVELS - 1)
    log_probs = (
        torch.where(levels < LEVELS - 1, upper, 0.0)
        + torch.where(levels > 0, lower, 0.0)
        + torch.where(inner, width, 0.0)
    )
    return torch.logsumexp(log_weights + log_probs, dim=1)


# %% [markdown]
# Drawn: one narrow logistic around level 128, its log-probabilities by the difference in float32, by the library in
# float32, and by the difference in float64.

# %%
def by_difference(levels: Tensor, mean: float, scale: float) -> Tensor:
    """log P of inner levels as it is written in lesson 01, in the levels' precision."""
    x = levels / 127.5 - 1
    edges = [torch.sigmoid((x + sign / 255 - mean) / scale) for sign in (1, -1)]
    return (edges[0] - edges[1]).log()


# %%
levels, scale = torch.arange(1.0, 255.0), 0.01
mean = 128 / 127.5 - 1
params = torch.tensor([0.0, mean, math.log(scale)]).view(1, 3, 1).expand(1, 3, 254)
stable = library_log_prob(params, levels[None, None])[0]
naive, exact = by_difference(levels, mean, scale), by_difference(levels.double(), mean, scale)
print("of 254 levels are minus infinity: by the difference", end=" ")
print(f"{naive.isinf().sum()} in float32 and {exact.isinf().sum()} in float64;", end=" ")
print(f"by the library, in float32, {stable.isinf().sum()}")
near = (levels - 128).abs() < 20
worst = ((stable - exact) / exact)[near].abs().max().item()
print(f"library and float64 agree near the mean, to a share below 0.0001: {worst < 1e-4}")

# %% jupyter={"source_hidden": true}
figure, axis = plt.subplots(figsize=(9, 3.4))
axis.plot(levels, stable, color=BLUE, linewidth=5, alpha=0.4, label="library, float32")
axis.plot(levels, exact, color="black", label="difference, float64")
axis.plot(levels, naive, "o", color=RED, markersize=4, label="difference, float32")
axis.set(xlabel="level", ylabel="log P (nats)", xlim=(0, 256))
axis.legend(loc="lower center");


# %% [markdown]
# Float64 only moves the edge at which the digits end. And the difference is not even symmetric: just below 1 there are
# fewer digits than just above 0, so above the mean they end sooner. Training meets such pixels from the first step on,
# for a net that doesn't know yet puts its logistics in the wrong places.
#
# ## 3. How many pixels one draw can bind
#
# In lesson 01 two pixels, thresholded Normals of correlation $\rho$ that share one draw $z$, agreed in a share $\frac12
# + \arcsin(\rho)/\pi$ of draws. Now $n$ pixels:
#
# $$u_i = \sqrt{\rho}\, z + \sqrt{1 - \rho}\; \varepsilon_i, \qquad \text{pixel } i \text{ is white if } u_i > 0.$$
#
# **How often do all $n$ agree, all white or all black?** Given $z$ they are independent, and each is white with the
# same probability: the chance that $-\varepsilon_i$ is below what $z$ brings. So take the $n$-th power
# *given* $z$, and the average over $z$ last. One case has a closed form: at $\rho = \frac12$, $u_i > 0$ means
# $-\varepsilon_i < z$. All are white if $z$ is the largest of $n + 1$ draws that are alike, which happens once in $n +
# 1$ times. White and black together: $2 / (n + 1)$.
#
# ### Rebuild: all agree

# %%
def all_agree(n, rho, z, weight):
    """P(n pixels are all white or all black) at correlation rho, 0 < rho < 1: a tensor [].

    z [Z] are values of a standard Normal, evenly spaced, and weight [Z] their probabilities:
    an average over z is (weight * value).sum(). torch.special.ndtr is the Normal's
    distribution function.
    """
    raise NotImplementedError  # two lines


grade.ALL_AGREE(all_agree)

# %%
my_all_agree = grade.ALL_AGREE.or_library(all_agree)
z, weight = grade.normal_grid()
counts = [2, 3, 5, 10, 20, 50, 100, 200, 400, 784]
rhos = {0.5: BLUE, 0.9: GREEN, 0.99: ORANGE, 0.999: RED}
curves = {
    rho: [my_all_agree(n, rho, z, weight).item() for n in counts] for rho in (*rhos, 1 - 1e-5)
}
print(f"two pixels at 0.9: {curves[0.9][0]:.4f}; Sheppard's formula: {agreement(0.9):.4f}")
print(f"784 at 1/2: {curves[0.5][-1]:.6f}; 2 / 785 = {2 / 785:.6f}")
for rho, curve in curves.items():
    print(f"rho = {rho}: all 784 agree in {100 * curve[-1]:.1f} % of draws")

# %% jupyter={"source_hidden": true}
figure, axis = plt.subplots(figsize=(9, 3.6))
for rho, colour in rhos.items():
    axis.plot(counts, curves[rho], "o-", color=colour, label=f"rho = {rho}")
axis.plot(counts, [2 / (n + 1) for n in counts], ":", color="black", label="2 / (n + 1)")
axis.set(xscale="log", xlabel="pixels n", ylabel="share in which all agree", ylim=(0, 1))
axis.set_xticks([2, 10, 100, 784], [2, 10, 100, 784])
axis.minorticks_off()
axis.legend(loc="upper left", bbox_to_anchor=(1, 1));

# %% [markdown]
# Two pixels agree easily. At $\rho = 0.9$ all 784 do in three draws of ten, and where $z$ makes up 99.9 % of each
# pixel's variance, still not in one draw of twelve. What a pixel does on its own must be far smaller than what it is
# told. That is why decoders show means, or add very little noise, and why a *one-step* model (lessons 02, 06) has to
# put everything that matters into $z$.
#
# **Break it.** Let the threshold be 1 in place of 0, so that white is rare. In the cell after the stub (the grader would refuse it there)
# put this for the first line:
#
# ```python
# def my_all_agree(n, rho, z, weight):
#     white = torch.special.ndtr((rho**0.5 * z - 1) / (1 - rho) ** 0.5)
#     return (weight * (white**n + (1 - white) ** n)).sum()
# ```
#
# Do 784 pixels agree more often, or less? (The two formulas printed first are for threshold 0.)
#
# <details><summary>What happens</summary>
# More often, and mostly in black: a single white pixel is rare, and given a z that is far below 1, all are black. At
# rho = 0.9 they all agree in 52 % of draws, nearly always in black, in place of 29 %. Agreement on the background is
# cheap; it is the cloth that must be told.
# </details>
#
# ## 4. What telling is worth
#
# All at once, the pixels lose the total correlation. In real patches, thresholded, from the middle of 55,000
# photographs, it grows with each pixel:

# %%
binary = (train_images >= 128).long()
patch = binary[:, 12:15, 12:16].flatten(1)  # [55000, 12]
counts, lost = range(2, 13), []
for k in counts:
    code = (patch[:, :k] * 2 ** torch.arange(k)).sum(1)
    p = torch.bincount(code, minlength=2**k).view([2] * k).double() / len(patch)
    lost.append(total_correlation(p).item())

# %% jupyter={"source_hidden": true}
plt.plot(counts, np.array(counts) - 1, ":", color=GREY, label="most possible: one coin")
plt.plot(counts, lost, "o-", color=RED, label="patches of 55,000 photographs")
plt.gca().set(xlabel="pixels in the patch", ylabel="bits lost")
plt.legend();

# %% [markdown]
# Each further pixel loses about half a bit more. (Counting 4,096 cases in 55,000 photographs adds a few hundredths.)
# Now tell all pixels something: the class, then the class and how bright the picture is, in 2, 4 or 8 steps with
# equally many training pictures in each. The model is lesson 01's counted table. How many bits
# do 1,000 test pictures cost, each told its own?

# %%
bright = train_images.float().mean((1, 2))


def told(images: Tensor, labels: Tensor, steps: int) -> Tensor:
    """Class, and brightness in so many equally full steps, as one label: [N]."""
    edges = bright.quantile(torch.linspace(0, 1, steps + 1)[1:-1])
    return steps * labels + torch.bucketize(images.float().mean((1, 2)), edges)


# %%
images, labels = test_images[:1000], test_labels[:1000]
names = ["the class", *(f"class, brightness in {steps} steps" for steps in (2, 4, 8))]
models, cost = {}, {}
for steps, name in zip(tqdm((1, 2, 4, 8), desc="tables", leave=False), names):
    known = told(train_images, train_labels, steps)
    models[steps] = IndependentPixels.fit(train_images, known, 10 * steps)
    pairs = zip(images.split(100), told(images, labels, steps).split(100))
    nats = torch.cat([models[steps].log_prob(*pair) for pair in pairs])
    cost[steps] = -nats.mean().item() / (784 * math.log(2))
    print(f"{cost[steps]:.2f} bits a pixel, told {name}")
print(f"two steps, one bit told: worth {784 * (cost[1] - cost[2]):.0f} bits a picture")

# %%
rows = {}
for steps, name in ((1, "the class"), (2, "class, 2 steps"), (8, "class, 8 steps")):
    labels = steps * 1 + torch.arange(8) * steps // 8  # trousers, from dark to bright
    rows[f"told {name}"] = models[steps].sample(Draws(1).uniform(8, 28, 28), labels)
show_rows(rows, size=1.2);

# %% [markdown]
# Where they are told so, the trousers run from dark to bright, with less grain in the middle. (At the ends of eight
# steps few trousers were there to count, and the grain is what the table adds to every level, so that none is
# impossible.) One bit told saves some sixty bits a picture, because hundreds of pixels make use of it. Four steps save
# a little more, and eight cost more again: that makes 80 tables, and few pictures are left to count each from. A table
# can't carry over what it learns of one case to the next; a net can. And brightness is one of many things on which the
# pixels must agree. Nobody can list them all. Lesson 01's answer: let a net invent what is to be told.
#
# ## The words
#
# | here | the field's term | 中文 |
# |---|---|---|
# | wedge that stacked masks don't see | blind spot | 盲点 |
# | two stacks | vertical and horizontal stack, gated PixelCNN | 垂直与水平堆栈，门控 PixelCNN |
# | digits that vanish in a difference | catastrophic cancellation | 灾难性抵消 |
# | one draw that all pixels share | one-factor model, common factor | 单因子模型 |
# | thresholded Normal | probit, Gaussian copula | 概率单位，高斯连接函数 |
# | lost bits | total correlation | 总相关 |
# | what is told to all pixels | conditioning, side information | 条件信息，边信息 |
#
# ## Compared with others
#
# | | lesson 01 | UvA tutorial 12 (Lippe) | Berkeley deepul, homework 1 |
# |---|---|---|---|
# | before any network | exact tables; lost bits | no | histogram, discretised logistics, 1-D |
# | data | grey, 8 bits | grey digits, 8 bits | digits and shapes: binary, colour at 2 bits |
# | causality | exact zeros, blind spot | by gradient, blind spot | left to the reader |
# | exercises | graded on the page | none | functions to fill in |
# | sampling | naive and cached, equal | only the rows drawn so far | naive; cached for transformers |
# | transformers | no | no | yes, and over VQ-VAE codes |
#
# **To read.** van den Oord et al. 2016, *Pixel recurrent neural networks* and *Conditional image generation with
# PixelCNN decoders*: masks, and the cure of the blind spot. Salimans et al. 2017, *PixelCNN++*: discretised logistics.
# Watanabe 1960, *Information theoretical analysis of multivariate correlation*: the lost bits. Sheppard 1899: the
# arcsine.
#
# Next: [02_vae](../02_vae.ipynb), where a net learns what to tell.
