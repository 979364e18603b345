# %% [markdown]
# # 01. The sampling problem: one after the other, or all at once
#
# A grey picture of 28 by 28 pixels is 784 numbers. How would you *draw* a new one that looks as if it came from the
# same place as the photographs? This question is the whole course. You can then
#
# - write the probability of a picture as a product, and draw from it pixel by pixel,
# - prove with a gradient that a network sees no pixel that isn't drawn yet,
# - read **bits per dimension**, and tell when such a number is too good to be true,
# - say in bits, before any network, what is lost when all pixels are drawn at once,
# - cure it with one random draw in front, and say how later lessons do the same,
# - recognise eight bugs of likelihood models by their symptoms.
#
# Reading, running, four stubs and a quiz take about an hour; with what there is to drag and to break, about 90 minutes.
# What you write runs on in the cells after it; for a stub that you skip, or that is still wrong, the library's version
# runs there. Solutions: `lesson_01.py`, `causal.py` and `independence.py` in `course_lib/exercises/` (or in the file that these import). Each **Break it**
# has its answer folded up below it. Whoever wants to know what stacked masks can't see, where the digits of a
# likelihood go, and how many pixels one draw can bind, goes on to
# [further/01_masks_tails_agreement](further/01_masks_tails_agreement.ipynb).

# %%
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_lib import Batches, Draws, Ema, Muon, Phase, fashion_mnist
from course_lib import final, frechet_distance, load_denoiser, load_weights, sample_ddim
from course_lib import to_float, train
from course_lib.exercises import lesson_01 as grade
from course_lib.metrics import fashion_features
from course_lib.metrics.yardsticks import FASHION
from course_lib.models.independent import IndependentPixels
from course_lib.models.pixel_sampling import complete, sample
from course_lib.models.pixelcnn import LEVELS, entropy_map, levels_of
from course_lib.models.pixelcnn import draw_levels  # noqa: F401  # for your stub
from course_lib.models.pixelcnn import mixture_log_prob, mixture_table, split_mixture
from course_lib.models.vae import small_vae
from course_lib.training import warmup_flat_decay
from course_lib.weights import read_card
from course_lib.widgets import Flipbook, Plane
from course_lib.widgets import pixel_plots as plots
from course_lib.widgets.plots import show_images, show_rows, tile, use_style

use_style()

# %% [markdown]
# Three models: `pixels` draws pixel by pixel, `apart` draws all pixels at once, each for itself, and `noise` is lesson
# 05's diffusion net, borrowed for one row of one figure. All run on the CPU.

# %%
train_images, train_labels = (torch.from_numpy(np.array(a)) for a in fashion_mnist("train"))
test_images, test_labels = (torch.from_numpy(np.array(a)) for a in fashion_mnist("test"))
train_labels, test_labels = train_labels.long(), test_labels.long()
photographs = to_float(test_images)  # [10000, 1, 28, 28] in [-1, 1]; no model has seen these

pixels = load_weights("pixelcnn-fashion", device="cpu")
noise = load_denoiser("ddpm-fashion", device="cpu")
apart = IndependentPixels.fit(train_images, train_labels)
anything = torch.full((1, 10), 0.1)  # "any class": a tenth of each


def uniforms(n: int, seed: int) -> Tensor:
    """A number in [0, 1) for each pixel of n pictures, always the same for a seed."""
    return Draws(seed).uniform(n, 28, 28)


# %% [markdown]
# ## 0. Three ways to draw
#
# **Top:** one boot, drawn pixel by pixel, at six moments; grey is not drawn yet. **Middle:** six pictures, all 784
# pixels of each drawn at once, every one with exactly the right odds *for its place*. **Bottom:** six pictures for
# which random numbers were drawn *first*, and all pixels made from them together. No single pixel of the middle row is
# wrong. What is wrong with the row?

# %%
boot = sample(pixels, uniforms(1, 7), torch.tensor([9]))[0]
block = torch.randn(6, 1, 28, 28, generator=torch.Generator().manual_seed(3))
plan, no_class = noise.schedule, torch.full((6,), noise.net.config.null_class)
with torch.no_grad():
    steps = sample_ddim(noise, plan, block, plan.times(12), no_class)
    in_front = final(tqdm(steps, total=13, desc="bottom row", leave=False))
moments = [60, 250, 380, 480, 600, 784]
rows = {
    "pixel by pixel\n(so many drawn)": plots.growing(boot, moments),
    "all at once": apart.sample(uniforms(6, 1), anything.expand(6, -1)),
    "a draw in front": in_front,
}
show_rows(rows, [f"{k} drawn" for k in moments], size=1.5);

# %% [markdown]
# The three rows are sections 1, 2 and 3.
#
# ## 1. Pixel by pixel
#
# ### A product, and nothing left out
#
# Number the pixels in the order in which one reads. However complicated the pictures are, this holds (the *chain
# rule*):
#
# $$p(x) = p(x_1)\; p(x_2 \mid x_1)\; p(x_3 \mid x_1, x_2) \cdots = \prod_{i=1}^{784} p(x_i \mid x_{<i})$$
#
# A model that gives each factor is called *autoregressive*. Draw $x_1$ from the first factor, then $x_2$ from the
# second, which has seen $x_1$, and so on: *ancestral sampling*. With two pixels all of it fits in a table. Take two
# places of the photographs, call a pixel 1 if its level is 128 or more, and count. (*Standard error*: about how far a figure would move with other draws.)

# %%
binary = (train_images >= 128).long()
first, second = binary[:, 20, 14], binary[:, 20, 9]  # between a trouser's legs; in one leg
joint = torch.bincount(2 * first + second, minlength=4).view(2, 2).double() / len(binary)
p_first = joint.sum(1)  # p(x1), [2]
p_second = joint / p_first[:, None]  # p(x2 | x1), one row for each x1

u = Draws(0).uniform(100_000, 2).double()
x1 = (u[:, 0] >= p_first[0]).long()
x2 = (u[:, 1] >= p_second[x1, 0]).long()
counted = torch.bincount(2 * x1 + x2, minlength=4).view(2, 2) / len(u)
print("x1 x2   joint   p(x1) p(x2|x1)   drawn, n = 100,000 (standard error below 0.002)")
for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
    product = p_first[a] * p_second[a, b]
    print(f" {a}  {b}   {joint[a, b]:.4f}       {product:.4f}   {counted[a, b]:.4f}")


# %% [markdown]
# No approximation was made. But the last of 784 factors with 256 levels each would need a table of $256^{783}$ rows. So
# all factors come from one *network*, which reads what is drawn and answers with a distribution.
#
# ### Masks: a network that can't peek
#
# In training the whole picture is known, so a *convolution* can answer for all pixels in one call: a pixel's new value is a weighted sum of its
# neighbourhood, with the same weights, the *kernel*, everywhere. (A network is such *layers* one after another, with a bent
# function between.) Only, no answer may
# depend on its own pixel or a later one. So the kernels are masked (*PixelCNN*, van den Oord et al. 2016): they see the
# rows above, and their own row up to the centre. Kind **A**, for the first layer, hides the centre: there stands the
# very value that is to be predicted. Kind **B**, for all later layers, shows it: there stands what the first layer made
# of earlier pixels.
#
# ### Rebuild 1: the mask

# %%
def causal_mask(kind, size):
    """A mask [size, size] for a kernel of odd size: 1 where it may look. kind: "A" or "B"."""
    raise NotImplementedError  # about three lines: start from torch.zeros(size, size)


grade.MASK(causal_mask)

# %% [markdown]
# Yours goes into a small PixelCNN, which you will train. Beside the picture it gets a channel of ones, to tell the
# picture from the padding around it.

# %%
my_mask = grade.MASK.or_library(causal_mask)


class MaskedConv(nn.Conv2d):
    """A convolution [B, C_in, H, W] -> [B, C_out, H, W] that sees through a mask."""

    def __init__(self, kind: str, C_in: int, C_out: int, size: int):
        super().__init__(C_in, C_out, size, padding=size // 2)
        self.register_buffer("mask", my_mask(kind, size).float())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


# %%
class SmallPixelCNN(nn.Module):
    """3 K numbers for each pixel: x [B, 1, H, W] to [B, 3 K, H, W]."""

    def __init__(self, C: int = 32, K: int = 5, depth: int = 4):
        super().__init__()
        self.first = MaskedConv("A", 2, C, 7)
        self.masked = nn.ModuleList(MaskedConv("B", C, C, 3) for _ in range(depth))
        self.mixed = nn.ModuleList(nn.Conv2d(C, C, 1) for _ in range(depth))
        self.head = nn.Conv2d(C, 3 * K, 1)
        with torch.no_grad():  # K means, apart from each other, and K log scales: see below
            self.head.bias[K:] = torch.cat([torch.linspace(-1, 1, K), torch.full((K,), -2.0)])

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(torch.cat([x, torch.ones_like(x)], dim=1))
        for masked, mixed in zip(self.masked, self.mixed):
            h = h + mixed(F.silu(masked(F.silu(h))))
        return self.head(F.silu(h))


# %% [markdown]
# ### Rebuild 2: who moves my answer?
#
# **Don't trust a mask that you haven't tested.** How much does each pixel move *one* answer, at (row, column)? The
# pixel itself and all later ones must have a gradient of *exactly* 0, not a small one. The answer is several numbers,
# and what a pixel does to two of them may cancel in a sum. So: the gradient of each number, its size, and then the sum
# of the sizes.

# %%
def moved_by(net, x, row, column):
    """The sum of |gradient| of all numbers of the answer at (row, column): [H, W].

    x [1, 1, H, W]; net(x) is [1, numbers, H, W].
    """
    raise NotImplementedError  # about five lines; torch.autograd.grad, retain_graph=True


grade.FIELD(moved_by)

# %% [markdown]
# Yours on three nets, asked at the red pixel. Grey is a gradient of exactly 0; colours are a log scale over six
# decades.

# %%
my_field = grade.FIELD.or_library(moved_by)
torch.manual_seed(0)
small = SmallPixelCNN()
shirt, told_shirt = photographs[4:5], test_labels[4:5]


def first_layer(x: Tensor) -> Tensor:
    """The small net's first layer alone."""
    return small.first(torch.cat([x, torch.ones_like(x)], dim=1))


nets = {"first layer (7 x 7)": first_layer, "small net": small, "shipped net": pixels}
fields = {name: my_field(net, shirt.clone(), 16, 14) for name, net in nets.items()}
plots.show_fields(fields, 16, 14);


# %% [markdown]
# All three pass: nothing at the red pixel or after it. But the small net doesn't see all that it *might*. Its
# *receptive field* is short, and on the right a wedge is missing: the **blind spot** of stacked masks. The shipped net
# has two stacks (van den Oord et al. 2016, *Conditional image generation*), one for all rows above and one for the own
# row, which reads the first; never the other way round, which is bug 3 of section 4. (Why more layers don't fill the
# wedge: further/01.)
#
# **Break it.** Put `"B"` for `"A"` in `SmallPixelCNN.first` and run the cells from there to the pictures of the trained net.
# What does the field show? What does the loss do?
#
# <details><summary>What happens</summary>
# An answer moves with its own pixel. The loss looks splendid: within a few hundred steps it falls below the best honest
# net (the red line), and on. Nothing in the loss says that it is a fraud; the field does, and so do the samples: nearly
# flat grey, for the pixel that the net has learnt to copy isn't drawn yet.
# </details>
#
# ### What the network answers
#
# A pixel has 256 levels; level $n$ stands at $x_n = 2n/255 - 1$. With 256 free numbers nothing would tell the net that
# level 100 is close to 101. So it gives a few *logistic* distributions, bells whose area below $a$ is the sigmoid
# $\sigma\big((a - \text{mean}) / \text{scale}\big)$, with $\sigma(u) = 1/(1 + e^{-u})$. A level gets the area over its bin:
#
# $$P(n) = \sigma\!\left(\frac{x_n + \tfrac1{255} - \text{mean}}{\text{scale}}\right) - \sigma\!\left(\frac{x_n - \tfrac1{255} - \text{mean}}{\text{scale}}\right)$$
#
# Black gets all below its upper edge, white all above its lower one, so that the 256 sum to 1.
#
# Below, weighted sums (*mixtures*) of ten logistics, the shipped net's answers for three pixels of one photograph.
# **Guess first:** background, outline or cloth, where will the net be surest?

# %%
def level_probability(level: Tensor, mean: float, scale: float) -> Tensor:
    """P(level) under one logistic with open ends: level, floats 0 .. 255 [N], to [N]."""
    x = level / 127.5 - 1
    below_top = torch.where(level == 255, 1.0, torch.sigmoid((x + 1 / 255 - mean) / scale))
    below_bottom = torch.where(level == 0, 0.0, torch.sigmoid((x - 1 / 255 - mean) / scale))
    return below_top - below_bottom


# %%
with torch.no_grad():
    answer = split_mixture(pixels(shirt, told_shirt))  # log weights, means, log scales
curves, level = {}, torch.arange(256.0)
places = {"background": (8, 1), "outline": (21, 22), "cloth": (20, 14)}
for name, (row, column) in places.items():
    parts = zip(*(part[0, :, row, column].tolist() for part in answer))
    p = sum(
        math.exp(log_weight) * level_probability(level, mean, math.exp(log_scale))
        for log_weight, mean, log_scale in parts
    )
    curves[name] = (row, column), p
plots.show_answers(shirt[0, 0], test_images[4], curves);


# %% [markdown]
# Dotted is the level that really comes next. Of the background the net is sure; at the outline least of all: black
# again, or cloth of some grey? The library's `mixture_log_prob(params, levels)` is the logarithm of this mixture,
# without losing digits in the tails (further/01).
#
# ### Bits: what a guess costs
#
# Let a model bet on photographs that it hasn't seen. Where it gave the true level a probability $P$, the pixel costs
# $-\log_2 P$ **bits**. The mean over pixels and photographs is **bits per dimension**; with the model a file could be
# packed to about that size. (With the natural logarithm the unit is the *nat*: 1 nat is 1.44 bits.) A better model has
# a *higher* likelihood and so *fewer* bits. Four guesses, from ignorant to learned:

# %%
def neighbour_table(images: Tensor) -> Tensor:
    """p(level | level on its left), counted: [256, 256]."""
    pairs = images[:, :, :-1].long() * LEVELS + images[:, :, 1:].long()
    counts = torch.bincount(pairs.flatten(), minlength=LEVELS**2).view(LEVELS, LEVELS) + 0.1
    return counts / counts.sum(1, keepdim=True)


asked, labels = test_images[:300], test_labels[:300]
left = F.pad(asked, (1, 0))[:, :, :-1].long()  # what stands on the left; black outside
seen_left = neighbour_table(train_images[:20_000])[left, asked.long()]
with torch.no_grad():
    parts = tqdm(torch.arange(300).split(50), desc="the shipped net", leave=False)
    learned = torch.cat([pixels.bits_per_dim(asked[k], labels[k]) for k in parts])

# %%
nats = 784 * math.log(2)  # in one bit per dimension
bits = {
    "nothing (uniform)": torch.full((300,), 8.0),
    "its place and the class (all at once)": -apart.log_prob(asked, labels) / nats,
    "its left neighbour": -seen_left.log2().mean(dim=(1, 2)),
    "all pixels before it and the class (shipped)": learned,
}
print("bits per dimension, standard error; what the bet on a pixel knows")
for name, b in bits.items():
    print(f"{b.mean():5.2f}  {b.std() / len(b) ** 0.5:.2f}  {name}")


# %% [markdown]
# Eight bits is what ignorance costs. **Where is the floor?** It is the *entropy* of the photographs per pixel, the mean of $-\log_2 p$ under the law that they follow, and nobody
# knows it: every honest model only bounds it from above. But it isn't 0, since the weave of a cloth can't be foreseen.
# A result far below the best honest ones is a bug until it is proved to be none.
#
# ### Train one
#
# The loss is bits per dimension itself. First a plain loop, once: take a batch, ask for the loss, clear the old gradients, compute the new
# ones (`backward`: for each weight, how the loss changes with it), and move each weight a little against its gradient (`step`; Adam chooses how far):

# %%
def bits_of(net, x: Tensor) -> Tensor:
    """Bits per dimension of a net on pictures [B, 1, H, W]: a number."""
    return -mixture_log_prob(net(x), levels_of(x)).mean() / math.log(2)


BATCH = 16
batches = Batches(train_images, train_labels, BATCH, seed=0)
optimizer = torch.optim.Adam(small.parameters(), lr=2e-3)
for step in range(1, 31):
    x, _ = next(batches)
    loss = bits_of(small, x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(f"step {step}: {loss.item():.2f} bits per dimension")


# %% [markdown]
# `train` is this loop with a faster optimizer (`Muon`), a learning rate that comes down at the end, and a running
# average of the weights (`Ema`); lesson 05 takes it apart. 12,800 pictures, or as many as 32 seconds allow.

# %%
def small_loss(batch) -> dict[str, Tensor]:
    return {"loss": bits_of(small, batch[0])}


STEPS, average, curve = 800, Ema(small), []
phase = Phase("small", small, small_loss, Muon(small, lr=1e-2), average, warmup_flat_decay(20))
run = train(phase, batches, STEPS, seconds=32, precision=torch.float32)
for done in tqdm(run, total=STEPS, desc="small PixelCNN", leave=False):
    curve.append(done.loss)
own = average.module
with torch.no_grad():
    reached = bits_of(own, photographs[:300])
seen = BATCH * 30  # in the plain loop
print(f"{reached:.2f} bits on the 300, after {seen + BATCH * len(curve):,} pictures")
plots.show_ladder(curve, BATCH, {name: b.mean() for name, b in bits.items()}, seen);


# %% [markdown]
# In half a minute your net, which isn't even told the class, beats every guess that knows one thing only. (The red line
# is no floor: it is where the course's own longer training stopped.)
#
# ### Rebuild 3: draw
#
# Now the loop that gives the family its name and its price. `uniforms` holds a number in $[0, 1)$ for each pixel: all
# the chance there is. `draw_levels(params, u)` turns one pixel's distributions [B, 3 K] and numbers [B] into levels 0
# to 255.

# %%
def paint(net, uniforms):
    """Pictures [B, 1, H, W] in [-1, 1], pixel by pixel as one reads: uniforms [B, H, W].

    Begin with zeros; net(x) gives all pixels' distributions, [B, 3 K, H, W].
    """
    raise NotImplementedError  # two loops, about six lines


grade.PAINT(paint)

# %%
my_paint = grade.PAINT.or_library(paint)
with torch.no_grad(), tqdm(total=784, desc="784 calls", leave=False) as bar:

    def called(x: Tensor) -> Tensor:
        bar.update()
        return own(x)

    mine = my_paint(called, uniforms(10, 3))
print(f"{bar.n} calls")
show_images(mine, columns=10, size=1.2);

# %% [markdown]
# Cloth, edges and shading; seldom a whole garment: the small net sees few rows above. The shipped net sees all that is
# drawn. **Drag, and watch a picture grow.** On the right is the distribution from which the *next* pixel is drawn.

# %%
dress = torch.tensor([3])
grown = sample(pixels, uniforms(1, 21), dress)
with torch.no_grad():
    table = mixture_table(pixels(grown, dress))[0].exp().flatten(1)  # [256, 784]
places = [28 * row + column for row in range(28) for column in (9, 14)]
frames = plots.growth_frames(grown[0], table, places)
Flipbook(frames, places, label="pixels drawn", title="A dress, pixel by pixel", start=28)

# %% [markdown]
# Over the background it is a spike at black, in the cloth a hill around the neighbours' level, at an edge often two
# hills: "still background" and "cloth already". A net trained on squared error would name one number between them.
#
# ### What a pixel looks at
#
# **Click a pixel on the left.** On the right is its field in the shipped net, the size of the gradient, averaged over
# two photographs: white is most, black a ten-thousandth of that or less. (To be quick, one gradient a pixel: of its 30
# numbers, summed with alternate signs.) Try the middle, the right edge, the top.

# %%
every = range(1, 28, 2)
x = photographs[[0, 4]].clone().requires_grad_(True)
answers = pixels(x, test_labels[[0, 4]]).sum(dim=0)  # [3 K, 28, 28]
signs = torch.tensor([1.0, -1.0]).repeat(len(answers) // 2)
fields = []
for row in tqdm(every, desc="fields", leave=False):
    for column in every:
        one = (answers[:, row, column] * signs).sum()
        (gradient,) = torch.autograd.grad(one, x, retain_graph=True)
        fields.append(gradient.abs().mean(dim=(0, 1)))
fields = torch.stack(fields).view(14, 14, 28, 28)
shown = (fields / fields.amax(dim=(2, 3), keepdim=True)).clamp(min=1e-4).log10() / 2 + 1

# %%
names = {"xlabel": "column", "ylabel": "row", "title": "What a pixel looks at"}
Plane(shown, every, every, backdrop=photographs[4], start=(13, 15), **names)

# %% [markdown]
# Near neighbours count most; weaker, but not nothing, are pixels many rows up. The pixel itself and all after it are
# black: exactly 0.
#
# ### Twelve ends for one beginning
#
# The canvas need not be empty at the start. **Keep the top ten rows of a photograph and draw the rest**, twelve times,
# with other random numbers; the class isn't told. Two maps: where the twelve disagree, by their spread at each pixel;
# and the net's own uncertainty, the entropy of each pixel's distribution, along the first end. **Guess first:** will
# the two maps be bright in the same places?

# %%
given = plots.growing(shirt[0], [10 * 28])[0]
ends = complete(pixels, given, 10, uniforms(12, 5))
with torch.no_grad():
    open_bits = entropy_map(pixels(ends[:1]))[0]
plots.show_ends(given, ends, open_bits);

# %% [markdown]
# Only in part. The spread is large where the *plans* differ: long sleeves or short ones, a high hem or a low one. The
# entropy is what is open *once all pixels before are known*: most along outlines, then the grain of the cloth, and next
# to nothing below a hem that is drawn, where the spread is large. The net decides its plan in a few pixels on the way.
#
# ### The price
#
# 784 calls for one picture, each on the whole canvas, of which one pixel's answer is used. The library's sampler
# computes only what changes: every layer keeps its values, and a new pixel makes *one* new value possible in each.
# **Are the pictures the same to the bit?** (The naive way draws the last two rows, its time scaled to 28;
# `tests/test_pixelcnn.py` compares whole pictures.)

# %%
u, garments = uniforms(2, 9), torch.tensor([1, 3])  # they reach the last rows
began = time.process_time()
quick = sample(pixels, u, garments)
cached = time.process_time() - began
began = time.process_time()
slow = sample(pixels, u, garments, known=quick, rows_known=26, cached=False)
naive = 14 * (time.process_time() - began)
print(f"processor time of 2 pictures: naive {naive:.1f} s (scaled), cached {cached:.2f} s,")
same = torch.equal(quick[:, :, 26:], slow[:, :, 26:])
print(f"{naive / cached:.0f} times as fast; the last two rows the same to the bit: {same}")

# %% [markdown]
# The work is less, but the *waiting* isn't: pixel 400 can't begin before pixel 399 is drawn, however many processors
# you have. (Language models write text this way.)
#
# ## 2. All at once
#
# Why not a single call, then? It gives every pixel's own distribution, and all 784 are drawn in one go, each for itself
# (a *factorised* distribution). What goes wrong shows in the smallest world where anything can.
#
# ### Two pixels, two classes
#
# Two pixels and two kinds of pictures, equally likely: a *trouser* is white (1) on the left, a *bag* on the right. Each
# pixel by itself is a fair coin, and that is all that "each for itself" knows.

# %%
truth = torch.tensor([[0.0, 0.5], [0.5, 0.0]], dtype=torch.float64)  # [x1, x2]
product = torch.outer(truth.sum(1), truth.sum(0))
names = {(0, 0): "neither", (0, 1): "bag", (1, 0): "trouser", (1, 1): "trouser and bag"}
print("x1 x2   truth   each for itself")
for (a, b), name in names.items():
    print(f" {a}  {b}    {truth[a, b]:.2f}   {product[a, b]:.2f}   {name}")


# %% [markdown]
# Half of what is drawn exists nowhere: a **chimera**, of parts that are right one by one. Its price is exact. Let $H(p)
# = -\sum p \log_2 p$ be the entropy. For themselves the pixels need $\sum_i H(x_i)$ bits; the whole picture has only
# $H(x)$. What is lost is the *total correlation* (Watanabe 1960)
#
# $$C = \sum_i H(x_i) - H(x) \;=\; \mathrm{KL}\Big(p(x) \,\Big\|\, \prod_i p(x_i)\Big),$$
#
# which is also what a picture costs too much, on average, when the product bets on it. It is 0 only for independent
# pixels.
#
# ### Rebuild 4: the lost bits

# %%
def lost_bits(joint):
    """sum H(x_i) - H(x) in bits: joint holds p(x1, x2, ...), an axis for each variable.

    A tensor of one number. torch.special.xlogy(p, p) is p ln p, and 0 where p is 0.
    """
    raise NotImplementedError  # about four lines; joint.sum(dim=[...]) sums over several axes


grade.LOST(lost_bits)

# %% [markdown]
# Yours on three tables: the toy, the toy with the class told, and section 1's two real pixels. Beside it, the loss
# measured the other way, as the extra cost of the product's bet.

# %%
my_lost = grade.LOST.or_library(lost_bits)
told = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
for name, p in {"toy": truth, "toy, told 'trouser'": told, "two real pixels": joint}.items():
    q = torch.outer(p.sum(1), p.sum(0))
    extra = (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum() / math.log(2)
    print(f"{name}: lost {my_lost(p):.6f} bits, extra cost {extra:.6f} bits")


# %% [markdown]
# In the toy one whole bit is lost: "trouser or bag?", which both pixels should share. Two real pixels that share a
# trouser lose a third of one, even after thresholding. (Patches of up to 12: further/01.)
#
# ### Asked for "trouser or bag"
#
# The second chimera. `apart` is the best all-at-once model of the real photographs: for each class, pixel and level,
# what was counted in the training set. (No net that is told the class alone can fit that set better; so none is
# trained.) It is asked for a trouser, a bag, and "trouser or bag", half and half. In the last row the pixel-by-pixel
# net is asked the same, and a coin is thrown *first*.

# %%
def shares(*classes: int) -> Tensor:
    """A condition for `apart`: these classes evenly, for 8 pictures [8, 10]."""
    return F.one_hot(torch.tensor(classes), 10).float().mean(0).expand(8, -1)


either = torch.isin(test_labels, torch.tensor([1, 8]))
coin = torch.tensor([1, 8, 8, 1, 8, 1, 1, 8])
rows = {
    "photographs": photographs[either][:8],
    "all at once:\ntrouser": apart.sample(uniforms(8, 1), shares(1)),
    "bag": apart.sample(uniforms(8, 2), shares(8)),
    "trouser or bag": apart.sample(uniforms(8, 3), shares(1, 8)),
    "pixel by pixel:\ntrouser or bag": sample(pixels, uniforms(8, 4), coin),
}
show_rows(rows, size=1.2);

# %% [markdown]
# "Trouser or bag" gives trouser *and* bag, in each picture. Even the pure rows are chimeras: a trouser is light or
# dark, wide or narrow, nobody told the pixels *which*, and each picks one of its own; the mixture looks like grain. And
# mark the last row's coin: one draw first, and all pixels told.
#
# ### How far off? A distance between crowds
#
# Some models can't name a probability, so the course has a second yardstick, the **Fréchet distance** (FD; called FID
# with another feature net). Put each picture through a classifier, and keep the 128 numbers before its last layer, its
# features. Fit a Normal to those of the real crowd, and one to those of the made crowd. The distance is how far apart
# the two are, in mean and in spread:
#
# $$\mathrm{FD} = |\mu - \mu'|^2 + \operatorname{tr}\!\big(\Sigma + \Sigma' - 2\,(\Sigma^{1/2}\, \Sigma'\, \Sigma^{1/2})^{1/2}\big), \quad\text{in one dimension}\quad (\mu - \mu')^2 + (\sigma - \sigma')^2.$$

# %%
n = 256
kinds = torch.arange(n) % 10
each = apart.sample(uniforms(n, 11), kinds)
with torch.no_grad():
    crowds = {
        "photographs": fashion_features(photographs[:2000]),
        "all at once,\ntold the class": fashion_features(each),
    }
plots.show_crowds(crowds);


# %% [markdown]
# (Two of 128 directions; ellipses: two standard deviations.) Other real photographs aren't at distance 0 either, since
# a few hundred pictures fix a Normal only roughly: that **floor** is measured too, and distances are compared at equal
# $n$ alone. Beside it: the correlation of horizontal neighbours, each pixel less its mean over the pictures, and bits,
# where a model can say them.

# %%
def correlation(x: Tensor) -> float:
    """Of horizontal neighbours, each less its own mean over the pictures."""
    x = x - x.mean(dim=0)
    pairs = torch.stack([x[..., :-1].flatten(), x[..., 1:].flatten()])
    return torch.corrcoef(pairs)[0, 1].item()


def report(name: str, pictures: Tensor, b: str = "    "):
    """A line of the table: FD from the test set, neighbours' correlation, bits."""
    with torch.no_grad():
        fd = frechet_distance(fashion_features(pictures), FASHION.reference(n))
    print(f"{fd:6.2f}   {correlation(pictures):10.2f}   {b}   {name}")


# %%
quarters = [torch.arange(k, k + 64) for k in range(0, n, 64)]
one_by_one, untold = [], []
for k in tqdm(quarters, desc=f"{n} pictures", leave=False):
    one_by_one.append(sample(pixels, uniforms(64, 20 + int(k[0])), kinds[k]))
    untold.append(apart.sample(uniforms(64, 21 + int(k[0])), anything.expand(64, -1)))
one_by_one, untold = torch.cat(one_by_one), torch.cat(untold)

# %%
some = torch.randperm(len(train_images), generator=torch.Generator().manual_seed(0))[:n]
other_photographs = to_float(train_images[some])
_, by_place, _, by_net = (b.mean().item() for b in bits.values())
print(f"n = {n}; floor of FD {FASHION.floor(n):.2f}, mean of five draws\n")
print("    FD   neighbours   bits")
report("other photographs", other_photographs)
report("pixel by pixel, told the class", one_by_one, f"{by_net:.2f}")
report("all at once, told the class", each, f"{by_place:.2f}")
report("all at once, not told", untold)

# %%
gap = by_place - by_net
print(f"lost all at once, told the class: about {gap:.2f} bits a pixel or more,", end="")
print(f" {784 * gap:,.0f} a picture")
for row in read_card("pixelcnn-fashion")["figures"]["rows"]:
    fd = f"FD {row['fd']:.3f}; floor {row['fd_floor']:.3f}"
    print(f"pixel by pixel, {row['n']:,} pictures, from its card: {fd}")

# %% [markdown]
# Pixel by pixel can't be told from photographs by 256 pictures. More pictures lower the floor, and then it can: several
# times the floor, by its card. All at once, not told the class, neighbours know nothing of each other: correlation 0.
# Told, a little comes back, for the class is something that all pixels share. *It helps to tell all pixels the same
# thing.* (Both bets are upper bounds, and the net's is likely the looser one: hence "about" and "or more".)
#
# ## 3. The cure: one draw in front
#
# Which things must be told, nobody can list (further/01 tells the brightness, and counts what it is worth). So *invent*
# one: draw a random $z$ first (a *latent variable*) from a standard Normal (its *prior*), tell it to all pixels, and
# let each be drawn for itself **given $z$**:
#
# $$p(x) = \int p(z) \prod_i p(x_i \mid z)\; dz$$
#
# Given $z$ the pixels are independent, so one call is enough. *Without* knowing $z$ they are not: a mixture of products
# is, as a rule, no product. What $z$ means is nowhere said; a net is trained to make use of it.
#
# ### Two pixels, exactly
#
# Let $u_i = w z + \sqrt{1 - w^2}\, \varepsilon_i$ with $z, \varepsilon_1, \varepsilon_2$ standard Normal, and pixel $i$
# white if $u_i > 0$. Each pixel is still a fair coin, but $u_1$ and $u_2$ have correlation $\rho = w^2$. **How often do
# the two agree?** Write the pair as $u_1 = g_1$, $u_2 = \rho\, g_1 + \sqrt{1 - \rho^2}\, g_2$ with two independent
# Normals: $(g_1, g_2)$ points in every direction equally often. Each pixel is white on one side of a line through the
# origin, and the angle between the two lines is $\arccos \rho$. The pixels disagree in the two wedges between the
# lines, so (Sheppard 1899)
#
# $$P(\text{agree}) = 1 - \frac{2 \arccos \rho}{2 \pi} = \frac12 + \frac{\arcsin \rho}{\pi}$$
#
# **Drag $\rho$** from 0, nothing in front, to 1, nothing else. Left: pairs $(u_1, u_2)$, blue where the pixels agree.
# Right: the formula, and the share counted in 20,000 pairs (standard error below 0.004). Below: the bits that the two
# pixels share, by your `lost_bits`.

# %%
z, *e = Draws(2).normal(torch.zeros(3, 20_000))


def pairs(rho: float) -> Tensor:
    """u1 and u2 with rho of their variance from the shared z: [2, 20000]."""
    return torch.stack([rho**0.5 * z + (1 - rho) ** 0.5 * own_part for own_part in e])


# %%
rhos = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1]
notes = []
for rho in rhos:
    a = grade.agreement(rho)
    p = torch.tensor([[a, 1 - a], [1 - a, a]], dtype=torch.float64) / 2
    notes.append(f"they agree in {100 * a:.1f} % of draws, and share {my_lost(p):.3f} bits")
frames = plots.agreement_frames(pairs, grade.agreement, rhos)
Flipbook(frames, rhos, label="rho", title="One Normal for two pixels", notes=notes, start=5)


# %% [markdown]
# At $\rho = 0.9$ the pixels still disagree one time in seven. For 784 to agree, $z$ must decide nearly everything: how
# nearly, is an exercise in further/01.
#
# ### The smallest such net
#
# Now pictures: trousers and bags, no class told. A *decoder* with one hidden layer of 256 units turns a single number
# $z$ into 784 means. Nobody knows which $z$ belongs to which photograph; a second net, the *encoder*, guesses it in
# training, and is not needed for drawing. Lesson 02 derives the loss. Two such nets, live, in at most 28 seconds: one
# number for trousers and bags, then eight for all ten classes. (Where a slow machine cuts a run short, its line says
# so, and the pictures are rougher. The nats are a density's: they compare with no bits above.)

# %%
def trained(latents: int, images: Tensor, steps: int, cap: float):
    """A decoder with `latents` numbers in front, and its encoder, after `steps` of 64."""
    torch.manual_seed(0)
    model, draws = small_vae(latents), Draws(1)

    def loss(batch):
        log_likelihood, kl = model.elbo(batch[0], draws)  # lesson 02
        return {"loss": (kl - log_likelihood).mean()}

    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    phase = Phase("decoder", model, loss, adam, None, warmup_flat_decay(20))
    stream = Batches(images, torch.zeros(len(images)), 64, seed=0)
    run = train(phase, stream, steps, seconds=cap, precision=torch.float32)
    for done in tqdm(run, total=steps, desc=f"{latents} in front", leave=False):
        pass
    print(f"{latents} in front: {done.step:,} steps of {steps:,}, loss {done.loss:.0f} nats")
    return model.eval().requires_grad_(False)


# %%
two = torch.isin(train_labels, torch.tensor([1, 8]))
one_number = trained(1, train_images[two], 800, cap=8)
eight_numbers = trained(8, train_images, 2500, cap=20)

# %% [markdown]
# **Drag $z$.** One number decides all 784 pixels. Where is the border, and what lies there?

# %%
z = torch.arange(-20, 21) / 10
decoded = one_number.decode(z[:, None])
frames = [np.uint8(255 * tile(x[None])).repeat(10, 0).repeat(10, 1) for x in decoded]
below = 100 * torch.special.ndtr(z)
notes = [f"{share:.0f} % of all draws are smaller" for share in below]
title = "One number in front"
Flipbook(frames, z, label="z", format="{:+.1f}", title=title, notes=notes, start=6)

# %% [markdown]
# Trousers at one end, bags at the other, brighter and darker ones on the way: all pixels follow one number. The border
# isn't sharp: a net is continuous, so some dim blends lie between (read from the notes how many draws fall there). Now
# all ten classes, none told, eight numbers:

# %%
cured = eight_numbers.sample(n, Draws(5))
rows = {
    "all at once": untold[:10],
    "one draw in front": cured[:10],
    "the same, and\neach pixel drawn": eight_numbers.likelihood.draw(cured[:10], Draws(6)),
    "photographs": photographs[:10],
}
show_rows(rows)
print("    FD   neighbours   bits")
report("all at once, not told", untold)
report("one draw in front, not told", cured)
report("other photographs", other_photographs)

# %% [markdown]
# In one call, most pictures are *one* garment: the pixels agree on which. (Not all: some draws fall between classes,
# and a blend is a chimera of plans.) Against the row that was told as little, the distance falls by half or so. What is
# left is another matter: the decoder's means, the second row, are blurred, and their neighbours too much alike; an
# honest draw, the third row, adds each pixel's own noise. Why, is lesson 02.
#
# **Break it.** One number for everything: `one_number = trained(1, train_images, 2500, cap=60)`. Drag. How many of the
# ten classes does the line pass?
#
# <details><summary>What happens</summary>
# Tops at one end, through shirts, trousers and dresses, to dim shoes at the other; sandals and bags have no place of
# their own. A line has neighbours on two sides only, and must leave out what doesn't fit between.
# </details>
#
# ### The map of the course
#
# A draw in front, and a net that turns it into a picture: **lessons 02, 03, 05 and 06 all do this**. They differ in how
# the net learns what the draw is to mean.
#
# | lesson | drawn in front | how its meaning is learnt | calls of a net a picture |
# |---|---|---|---|
# | 01, pixel by pixel | nothing; 784 draws on the way | likelihood, directly | 784 |
# | 02, VAE | a few numbers | an encoder guesses them; a bound on the likelihood | 1 |
# | 03, flow | as many as pixels | the net runs backwards too: exact likelihood | one a layer, or one a patch and block |
# | 04 and 05, diffusion | as many as pixels | a denoiser, in many small steps | 10 to 1000 |
# | 06, GAN | some dozens | a second net tells its pictures from photographs | 1 |
#
# Lesson 10 sets them side by side, on these photographs and with these yardsticks.
#
# ## 4. Which bug is it?
#
# Likelihood models fail quietly. Below are nine versions of one pixel-by-pixel model, with four samples each, on a
# small world that is *known*: each pixel is a logistic around a weighted sum of its left and its upper neighbour. One
# version is right; eight have one bug each, of kinds that real code has had. Under each letter:
#
# - **bits**: bits per dimension as reported, less the exact model's; **sum**: of a pixel's 256 probabilities;
# - **alone**: how far a picture's answers move when it is asked alone and not in a batch of 200;
# - **leak**: what a pixel's answer depends on and mustn't see;
# - **neighbours**: correlation of the samples' neighbours over the world's.

# %%
hung = grade.gallery()
plots.show_gallery({k: (drawn, grade.told(found)) for k, (drawn, found) in hung.items()});

# %%
for number, bug in grade.BUGS.items():
    print(number, bug.line)

# %% [markdown]
# ### The quiz: give each letter the number of its line

# %%
answers = {"A": ..., "B": ..., "C": ..., "D": ..., "E": ..., "F": ..., "G": ..., "H": ...}
answers |= {"I": ...}

grade.GALLERY(answers)

# %% [markdown]
# <details><summary>After you have tried</summary>
# Five of the nine draw samples that look right: looking isn't enough. Four report less than the floor, and none of them
# is good: one reads what it predicts, one reads ahead, one has the wrong unit, one is no probability. <b>A number below
# the floor is never good news.</b> And bug 3: the vertical stack also reads its neighbour on the right, whose value knows the rows above
# alone. Had that value taken from the horizontal stack, it would know its own row up to there: a layer later the pixel itself arrives.
# </details>
#
# ## The words
#
# | here | the field's term | 中文 |
# |---|---|---|
# | pixel by pixel | autoregressive model, ancestral sampling | 自回归模型，祖先采样 |
# | product of factors | chain rule of probability | 概率的链式法则 |
# | mask | masked (causal) convolution | 掩码（因果）卷积 |
# | what a pixel looks at | receptive field, blind spot | 感受野，盲点 |
# | logistics cut into levels | mixture of discretised logistics | 离散化逻辑斯谛混合 |
# | bits per dimension | negative log-likelihood, base 2 | 每维比特数（负对数似然） |
# | all at once | factorised distribution | 因子化（独立）分布 |
# | lost bits | total correlation | 总相关 |
# | distance of crowds | Fréchet distance, FID | 弗雷歇距离 |
# | draw in front | latent variable, prior | 隐变量，先验分布 |
#
# **To read.** van den Oord et al. 2016, *Pixel recurrent neural networks* and *Conditional image generation with
# PixelCNN decoders*; Salimans et al. 2017, *PixelCNN++*.
#
# Next, **02_vae**: where section 3's decoder comes from, and why its pictures are blurred.
