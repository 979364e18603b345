# %% [markdown]
# # 10. All families on one table
#
# *Which of them is best? At what, for how many seconds, and measured how?*
#
# Lessons 01 to 06 built five families on the same pictures. This lesson compares them, and the comparison is its
# subject: nothing is trained. In about an hour you can
#
# - read a table of generative models, and say what each column can't see,
# - draw the floor under a distance, and say why two distances of unequal n can't be compared,
# - tell quality from diversity: precision and recall by nearest neighbours,
# - show that a model may have an excellent likelihood and draw nothing but snow,
# - look for copies of training pictures, and compare families at equal seconds,
# - find what is unfair in seven reports.
#
# Four cells are stubs for you to write; what you write runs on. For a stub that you skip, or that is still wrong, the
# library's version runs. All solutions stand in `course_lib/exercises/*_10.py`. Cells that only draw are folded.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display
from matplotlib.patches import Circle
from torch import Tensor
from tqdm.auto import tqdm

from course_lib import showdown
from course_lib.anchors import ANCHORS
from course_lib.data import fashion_mnist, to_float
from course_lib.exercises import lesson_10 as grade
from course_lib.metrics import YARDSTICKS, frechet_distance, nearest
from course_lib.metrics.neighbours import K, PrecisionRecall, covered, radii
from course_lib.recipes import maker
from course_lib.weights import load_weights, read_card
from course_lib.widgets.flipbook import Flipbook
from course_lib.widgets.plots import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY
from course_lib.widgets.plots import frames_of, show_images, show_rows, use_style

use_style()
yardstick = YARDSTICKS["fashion-mnist"]
train_images, _ = fashion_mnist("train")
test_images, test_labels = fashion_mnist("test")


def seeded(k: int) -> torch.Generator:
    """A random generator with an owner: the same numbers each time."""
    return torch.Generator().manual_seed(k)


# %% [markdown]
# ## 0. By eye, blind
#
# One row holds photographs; the others are made by models that this repository ships, told the same ten classes where they
# know classes. The letters are shuffled. **Put the rows in order, best first, and write it down.** The answer is at the end
# of section 1.

# %%
ways = {name: {} for name in showdown.models()}
ways["ddpm-fashion"] = {"calls": 20}
one_each = [5000 + np.flatnonzero(test_labels[5000:] == k)[0] for k in range(10)]
pictures = {"test images": to_float(test_images[one_each])}
for name, way in tqdm(ways.items(), desc="ten pictures of each"):
    pictures[name] = maker(name, **way).make(10, seed=1)[0]

names = list(pictures)
shuffled = [names[k] for k in torch.randperm(len(names), generator=seeded(7))]
letters = dict(zip("ABCDEFGHIJ", shuffled))
show_rows({letter: pictures[name] for letter, name in letters.items()}, size=0.95);

# %% [markdown]
# Ten pictures can show that a model is bad. That it is good they can't show: ten copies of good photographs would win.
# Nor do they say what is *missing*.
#
# ## 1. The table
#
# Everything below stands on the cards of the weights; `python -m course_lib showdown` prints it, and `--measure` makes the rows
# without a net again. From earlier lessons you know
#
# - **distance**: the Fréchet distance (FD) of 2,048 samples from the first 2,048 test images, in 128 features of a
#   classifier. Its **floor** is what real training images have. The full protocol has 10,000 of each;
# - **bits a dimension**: $-\log_2 p$ of a test image over its 784 pixels (nats an image for the binarised VAE, which is
#   another data set and not comparable);
# - **network calls**, and **seconds** of one core, all timed on the same machine, 32 pictures together. From 20 calls on, the
#   diffusion net is led away from an early snapshot of itself (*autoguidance*, further/05): two nets, and the calls of both count.
#
# Precision and recall are section 4's. Calls of 0 mark the **anchors**: pictures that no net has made. They are there to
# test the yardstick.

# %%
table = showdown.table()
rows = table["rows"]
display(Markdown(showdown.markdown(rows)))
print(f"seconds: {table['seconds']}; {table['machine']}")
for name in showdown.models():
    card = read_card(name)
    print(f"{name}: trained {card['training_seconds'] / 60:.0f} minutes on {card['machine']}")

# %% [markdown]
# Look at one column at a time. Who leads in distance? In bits? In seconds? It is never the same row, and some cells are
# empty: a GAN has no likelihood, and the diffusion net's bound is not measured here. (Of the bits in the table the PixelCNN's and
# the chimera's are exact; the others are upper bounds, so the truth may be lower; `vae-fashion`'s nearly so, lesson 03.) **Training
# minutes can't be compared at all**: the machines differ.
#
# Now the blind test. Did your eye and the distance agree?

# %%
times = {}
for row in rows:
    if row["fd"] and row["calls"] == ways.get(row["name"], {}).get("calls", row["calls"]):
        times[row["name"]] = row["fd"] / row["fd_floor"]
for letter, name in letters.items():
    print(f"{letter}: {name:20} {times.get(name, math.nan):6.1f} times the floor")

# %% [markdown]
# ## 2. The floor, and what n does
#
# Two crowds of *real* pictures are not at distance 0: each is a sample, and samples differ. So "FD 0.3" means nothing
# until one knows what real pictures would have had **with the same n**.
#
# ### Rebuild 1: the floor
#
# Cut lots of n training images: the first n, the next n, and so on. Take each lot's distance from the test images, and their
# mean.

# %%
def floor_of(train: Tensor, test: Tensor, n: int, draws: int = 5) -> float:
    """Features train [N, D], in random order, and test [M, D]: the lots' mean distance."""
    raise NotImplementedError  # two lines, with frechet_distance


grade.FLOOR(floor_of)

# %%
my_floor = grade.FLOOR.or_library(floor_of)
order = torch.randperm(len(train_images), generator=seeded(0))[:10_000].numpy()
bar = tqdm(np.array_split(order, 20), desc="features of 10,000 training images")
train = torch.cat([yardstick.features(to_float(train_images[part])) for part in bar])
reference = yardstick.real(2048)  # features of the first 2,048 test images
sizes = [200, 300, 500, 800, 1200, 2000]
floors = [my_floor(train, reference, n) for n in tqdm(sizes, desc="floors", leave=False)]

# %% jupyter={"source_hidden": true}
n, small, large = np.array(sizes), floors[2], floors[-1]
plt.loglog(n, floors, "o-", color=BLUE, label="real training images: the floor")
plt.loglog(n, floors[0] * n[0] / n, ":", color=GREY, label="falling as 1/n")
plt.gca().set(xlabel="n, pictures measured", ylabel="Fréchet distance")
plt.xticks(sizes, sizes)
plt.yticks([0.1, 0.2, 0.4], ["0.1", "0.2", "0.4"])
plt.minorticks_off()
plt.legend()
print(f"real pictures: {small:.2f} with 500, {large:.2f} with 2,000")

# %% [markdown]
# The distance is **biased** upwards, the more the fewer pictures: slower than 1/n here, since 200 pictures hardly fix a
# covariance of 128 features, and never down to 0, since the reference is a sample too. A model near the floor looks several times
# worse with 200 pictures than with 2,000, and nothing about it has changed. The same weights in both protocols:

# %%
full = [row for row in rows if row["fd_full"]]
floors_of_both = full[0]["fd_floor"], full[0]["fd_floor_full"]
print("floor: {:.3f} with 2,048, {:.3f} with 10,000".format(*floors_of_both))
print("times the floor            with 2,048   with 10,000")
for row in full:
    many = row["fd"] / row["fd_floor"], row["fd_full"] / row["fd_floor_full"]
    print(f"{row['name']:20} {row['calls']:5} {many[0]:11.2f} {many[1]:13.2f}")

# %% [markdown]
# Distances fall with n, their multiples rise: the floor falls faster than what a model gets wrong. Hence three rules:
# *same n on both sides of a comparison; state the floor; report multiples of it only beside their n*.
#
# **Break it.** Let the lot be *test* images: `my_floor(reference, reference, 2000, draws=1)`. What is the floor then?
#
# <details><summary>What happens</summary>
# Below 0.001: with 2,000 of its 2,048 pictures the lot is the reference, almost. Whoever tunes or trains on the reference
# gets a part of that gift, and no number of the report shows it.
# </details>
#
# ## 3. Anchors: what does the yardstick see?
#
# Measured now, on $n = 512$, a quarter of the table's. The table's six anchors, and pure noise:

# %%
n = 512
crowds = {}
for name, anchor in tqdm(ANCHORS.items(), desc="anchors"):
    crowds[name] = anchor.maker().make(n)[0]
noise = torch.randint(256, (n, 1, 28, 28), generator=seeded(2)) / 127.5 - 1
crowds["noise"] = noise
show_rows({name: x[:10] for name, x in crowds.items()}, size=0.95);

# %% [markdown]
# **Guess before you run on**: which of them does the distance put near the photographs? The *matched Normal* has the
# training pixels' own mean and covariance, all 784 by 784 numbers; *chimera* is lesson 01's, each pixel drawn by itself.

# %%
bar = tqdm(crowds.items(), desc="features", leave=False)
features = {name: yardstick.features(x) for name, x in bar}
floor = my_floor(train, reference, n)
found = {name: frechet_distance(f, reference) for name, f in features.items()}
figure, axis = plt.subplots(figsize=(8, 3.4))
axis.plot(list(found.values()), list(found), "o", color=BLUE, markersize=10)
axis.axvline(floor, color="black", linestyle=":", label=f"floor at n = {n}")
axis.set(xscale="log", xlabel="Fréchet distance")
axis.grid(axis="y", alpha=0.3)
axis.invert_yaxis()
axis.legend(loc="upper right");

# %% [markdown]
# Copies of training images are at the floor: for this yardstick a machine that has learnt its 55,000 pictures by heart is
# **perfect**. Even 64 of them, again and again, are nearer than a VAE's pictures. A blur of one pixel, which a
# person would forgive, costs as much as a bad model. So the distance sees texture first; of copying it sees nothing.
#
# It has a blind spot of its own. It knows a crowd by a mean and a covariance. So take *features* that are drawn from a
# Normal with the test features' mean and covariance. No pictures belong to them, and yet:

# %%
mean, cov = reference.double().mean(0), torch.cov(reference.double().T)
values, vectors = torch.linalg.eigh(cov)
root = vectors * values.clamp(min=0).sqrt()
imagined = mean + torch.randn(n, 128, generator=seeded(3), dtype=torch.float64) @ root.T
features["imagined"] = imagined.float()
far = frechet_distance(imagined, reference)
print(f"features of no picture at all: {far:.2f}; the floor {floor:.2f}")
least = {"real": reference.min().item(), "imagined": imagined.min().item()}
print(f"the least feature: real {least['real']:.2f}, imagined {least['imagined']:.2f}")

# %% [markdown]
# Two moments agree, and nothing else has to. We need a second opinion, from an instrument that looks at neighbours, not at
# moments.
#
# ## 4. Precision and recall
#
# Two questions in place of one number: **are the made pictures like real ones** (precision), and **are all real ones
# among what is made** (recall)? "Like" is a matter of neighbours. Each real point gets a ball that reaches to its third
# nearest real neighbour; the balls together are the region of the real. *Precision* is the share of made points inside.
# *Recall* is the same with roles swapped: made points have the balls, and the real ones are asked.
#
# **Drag the spread of the made crowd.** Left, the balls of the real points (grey) and the made ones (blue inside, red
# outside). Right, the balls of the made points, and the real ones asked.

# %% jupyter={"source_hidden": true}
angle = 2 * math.pi * torch.rand(60, generator=seeded(4))
real = torch.stack([angle.cos(), angle.sin()], dim=1)
real = real + 0.15 * torch.randn(60, 2, generator=seeded(5))
base = torch.randn(60, 2, generator=seeded(6))
spreads = np.linspace(0, 1, 21).round(2)
figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), sharex=True, sharey=True)
for axis in axes:
    axis.set(xlim=(-2.4, 2.4), ylim=(-2.2, 2.2), xlabel="feature 1", aspect="equal")
axes[0].set_ylabel("feature 2")
look = {"color": GREY, "alpha": 0.12}
balls = [[axis.add_patch(Circle((0, 0), 0, **look)) for _ in real] for axis in axes]
dots = [axis.scatter(*real.T, s=22, zorder=3) for axis in axes]
plt.close(figure)  # the next cell draws on it, frame by frame


# %%
def draw(spread: float):
    made = torch.tensor([1 - spread, 0.0]) + (0.03 + float(spread)) * base
    for side, (points, asked) in enumerate(((real, made), (made, real))):
        reach = radii(points, K)
        for ball, centre, r in zip(balls[side], points, reach):
            ball.set_center(centre.tolist())
            ball.set_radius(r.item())
        inside = covered(asked, points, reach)
        dots[side].set_offsets(asked)
        dots[side].set_color([BLUE if yes else RED for yes in inside])
        word = ("precision", "recall")[side]
        axes[side].set_title(f"{word} {inside.float().mean():.2f}")


frames = frames_of(figure, draw, spreads)
Flipbook(frames, spreads, label="spread", title="Two shares", start=8)

# %% [markdown]
# Small spread: all that is made is real enough, and most of the ring is missing. That is a GAN whose modes have
# collapsed, or guidance turned up. Large spread: everything is covered, much is wrong. One distance can't tell the two apart.
#
# ### Rebuild 2: precision and recall
#
# (Kynkäänniemi et al. 2019, equations 1 and 2.) Beware of a point's nearest neighbour: it is the point itself.

# %%
def precision_and_recall(real: Tensor, made: Tensor, k: int = 3) -> Tensor:
    """Features real [N, D] and made [M, D] to [precision, recall], a tensor of shape [2]."""
    raise NotImplementedError  # five lines or so; torch.cdist, sort, any


grade.NEIGHBOURS(precision_and_recall)


# %% [markdown]
# The library's text, which measures all rows of the table; it works in pieces, so that 10,000 by 10,000 distances fit
# into memory:

# %% src="course_lib/metrics/neighbours.py::precision_recall"
# course_lib/metrics/neighbours.py::precision_recall
def precision_recall(real: Tensor, made: Tensor, k: int = K) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019, eq. 2) of features [N, D] of
    made images against [M, D] of real ones.

    The paper compares crowds of one size; with others, the larger one has the smaller balls.
    """
    inside = covered(made, real, radii(real, k)), covered(real, made, radii(made, k))
    return PrecisionRecall(*(each.double().mean().item() for each in inside))


# %% [markdown]
# Now on pictures, $n = 512$ on both sides, the VAE and the diffusion net at 10 calls beside the anchors:

# %%
my_shares = grade.NEIGHBOURS.or_library(precision_and_recall)
live = {"vae-fashion": {}, "ddpm-fashion": {"calls": 10}}
live |= {name: {} for name in showdown.models() if name.startswith("gan")}
for name, way in tqdm(live.items(), desc="512 pictures of each"):
    crowds[name] = maker(name, **way).make(n)[0]
    features[name] = yardstick.features(crowds[name])
others = reference[:n]
shares = {name: my_shares(others, f) for name, f in features.items()}
found |= {name: frechet_distance(f, reference) for name, f in features.items()}
print(f"{'':20}  distance  precision  recall     (n = {n}, floor {floor:.2f})")
for name, (precision, recall) in shares.items():
    print(f"{name:20}  {found[name]:8.2f}  {precision:9.2f}  {recall:6.2f}")

# %% jupyter={"source_hidden": true}
figure, axis = plt.subplots(figsize=(8, 4.8))
beside = {  # labels that would lie on another: where, and how they are set
    "training images": ((6, 10), "center"),
    "ddpm-fashion": ((-8, -14), "right"),
    "gan-fashion": ((-8, 4), "right"),
}
for name, (precision, recall) in shares.items():
    made, (place, side) = name in live, beside.get(name, ((8, -4), "left"))
    axis.plot(recall, precision, "s" if made else "o", color=ORANGE if made else BLUE)
    text = {"xytext": place, "textcoords": "offset points", "ha": side}
    axis.annotate(name, (recall, precision), **text)
axis.set(xlabel="recall", ylabel="precision", xlim=(-0.05, 1.2), ylim=(-0.05, 1.1))
axis.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1]);

# %% [markdown]
# *Test images* are the scale, and no ceiling: even real pictures don't reach 1, and a row can pass them in one share without being
# better. *64 training images* have the precision of real ones and no
# recall: what the distance called tolerable is seen at once. *imagined*, by the distance as good as a good model, is caught
# by its precision, however high its recall.
#
# But this instrument has blind spots as well. The *matched Normal*, smears to the eye, gets a precision far
# above 0, and the blurred VAE about the recall of
# test images. Why? A lonely real picture has a *huge* ball, and in it fits much that is
# unlike any picture; and made points that lie far out have huge balls too, which swallow the real crowd.
#
# A mend for the second: count how many *real* points have a made one in **their own** ball. A made picture that lies far
# out then covers nothing. It is called **coverage** (Naeem et al. 2020).

# %%
for name in ("test images", "vae-fashion", "ddpm-fashion", "blur", "64 training images"):
    own = torch.cdist(others, features[name]) <= radii(others)[:, None]
    print(f"{name:20} recall {shares[name][1]:.2f}, coverage {own.any(1).float().mean():.2f}")

# %% [markdown]
# The VAE's recall was its outliers' balls: its coverage is low, as its pictures suggest. Every one of these figures can
# be fooled, each by something else. So show several, and pictures.
#
# **Break it.** In a new cell, call `my_shares(others, features["matched Normal"], k=50)`, and the same of `"test images"`. What becomes of its precision, and of
# the test images'? What does a large k do to the two shares?
#
# <details><summary>What happens</summary>
# All shares rise: larger balls hold more. At k = 50 all of the matched Normal counts as real, and the test images are near 1. A
# share without its k and n says nothing.
# </details>
#
# ## 5. Likelihood is not looks
#
# The oldest yardstick is likelihood, and where it is exact it can't be cheated by copying. But does it see what we see?
# Build a bad model from a good one. Throw a coin for each picture: with probability 1 % the good model draws, else
# every pixel is one of 256 levels by a fair die, pure noise. Its probability of a picture $x$ is
#
# $$p_\text{mix}(x) = \tfrac{1}{100}\,p(x) + \tfrac{99}{100}\,q(x) \;\ge\; \tfrac{1}{100}\,p(x), \qquad
# \text{so} \qquad -\log p_\text{mix}(x) \;\le\; -\log p(x) + \ln 100 .$$
#
# At most $\ln 100 = 4.6$ nats *for the whole picture*. Over 784 pixels, in bits: $\ln 100 / (784 \ln 2) = 0.0085$. The number
# of pixels is what makes it small (Theis et al. 2016).
#
# ### Rebuild 3: bits of a mixture

# %%
def mixture_bits(log_p: Tensor, share: float, D: int) -> Tensor:
    """log_p [B] of the model, in nats, for pictures of D pixels: bits a dimension [B] of
    share * model + (1 - share) * (every pixel one of 256 levels, by a fair die)."""
    raise NotImplementedError  # two lines; exp(-1450) is 0, so stay in logarithms


grade.MIXTURE(mixture_bits)

# %%
my_bits = grade.MIXTURE.or_library(mixture_bits)
pixelcnn = load_weights("pixelcnn-fashion", device="cpu")
some, told = to_float(test_images[:64]), torch.from_numpy(test_labels[:64].astype("int64"))
with torch.no_grad():
    plain = pixelcnn.bits_per_dim(some, told).double()  # [64]
log_p = -plain * 784 * math.log(2)
card = {row["name"]: row["bits_per_dim"] for row in rows}
for share in (1.0 - 1e-12, 0.5, 0.1, 0.01):
    dearer = my_bits(log_p, share, 784) - plain
    print(f"{share:4.0%} model: {dearer.mean():.4f} bits a dimension more")
bound = math.log(100) / (784 * math.log(2))
alone, flow = card["pixelcnn-fashion"], card["flow-fashion"]
print(f"the bound for 1 %: {bound:.4f}; on all 10,000 test images, from the cards:")
print(f"PixelCNN {alone:.3f}, with 99 % noise {alone + bound:.3f} at most, flow {flow:.3f}")

# %% [markdown]
# **Break it.** How small may the share be? Try one in a million. At which share is the mixture as dear as the flow?
#
# <details><summary>What happens</summary>
# One in a million costs ln(1,000,000) / (784 ln 2) = 0.025 bits. Flow and PixelCNN are 0.148 bits apart, 80 nats: at a share of
# about 1 in 10^35 the two are equal. Nobody would ever see a picture.
# </details>
#
# So a model that draws 99 % noise **beats the flow's figure in bits** (which is an upper bound), and is 0.0085 bits worse than
# before at most. This is what it draws, a hundred pictures; and what the distance says:

# %%
good = crowds["ddpm-fashion"]  # any good pictures will do; the PixelCNN's take longer
coin = torch.rand(n, generator=seeded(11)) < 0.01
mixed = torch.where(coin[:, None, None, None], good, noise)
show_images({"1 % model": mixed[:100], "100 % model": good[:100]}, columns=20, size=1.6)
far = frechet_distance(yardstick.features(mixed), reference)
print(f"distance: 1 % model {far:.0f}, 100 % model {found['ddpm-fashion']:.2f}")

# %% [markdown]
# And the other way round: *training images*, learnt by heart, look perfect, and give every test image the probability 0,
# infinitely many bits. **Neither yardstick implies the other.** Likelihood counts how well *everything* is predicted,
# and most of 2.67 bits is grain that no eye follows. It is the right yardstick for what it measures: compression, and
# rare events.
#
# ## 6. Learnt by heart?
#
# The distance praises copies, so copies have to be looked for. Beside each made picture, the nearest of the 55,000
# training images, by pixels:

# %%
everything = to_float(train_images)
shown = {}
picked = {"training images": crowds["training images"][:8]}
models = ("vae-fashion", "pixelcnn-fashion", "flow-fashion", "gan-fashion", "ddpm-fashion")
picked |= {name: pictures[name][:8] for name in models}
for name, x in tqdm(picked.items(), desc="nearest of 55,000"):
    _, index = nearest(x, everything)
    shown[name], shown[f"its nearest ({len(shown) // 2 + 1})"] = x, everything[index[:, 0]]
show_rows(shown, size=0.85);

# %% [markdown]
# Alike, and not the same, but for the first pair of rows. Is "alike" suspicious? A trouser is like a trouser. The honest
# scale is **what test images have**: how far is a photograph that nobody trained on from its nearest training image? A
# model that copies lies to the left of that curve.

# %%
figure, axis = plt.subplots(figsize=(8, 3.6))
hues = {"ddpm-fashion": BLUE, "gan-fashion": ORANGE, "vae-fashion": RED}
hues |= {"flow-fashion": GREEN, "pixelcnn-fashion": PINK, "vae-fashion-binary": SKY}
lines = {"test images": "black", "training images": GREY}
lines |= {name: hues[name] for name in ("ddpm-fashion", "gan-fashion", "vae-fashion")}
for name, colour in tqdm(lines.items(), desc="48 pictures of each"):
    far, _ = nearest(crowds[name][:48], everything)
    axis.plot(far[:, 0].sort().values, np.linspace(0, 1, 48), color=colour, label=name)
axis.set(xlabel="distance to the nearest training image", ylabel="share of pictures")
axis.legend();

# %% [markdown]
# Copies would lie at 0, and no model's pictures do. How far apart must two curves be? With 48 pictures each, gaps in height of
# less than 0.28 come by chance (Kolmogorov and Smirnov's test at 5 %). At this n nothing tells the diffusion net's or the GAN's
# distances from those of new photographs. The VAE's curve lies to the right, which is no merit: its pictures are unlike any
# garment. (Distances in pixels are a crude scale: a shift by one pixel costs much, a smooth picture is near to many. They are
# a reason to look at a pair, no proof.)
#
# ## 7. Quality against calls, and at equal seconds
#
# The table's ways with three draws of 2,048 pictures each, the table's own and two others; not those of 1,000 calls, where a draw takes an
# hour. Dots: means. Bars: lowest to highest of the seeds. (The weights are the same. What a second *training* would change is in no bar.)

# %%
over, spans = sorted(showdown.over_seeds(), key=lambda row: row["calls"]), {}
print("distance              calls   lowest    mean  highest   seeds")
for name in dict.fromkeys(row["name"] for row in over):
    own = [row for row in over if row["name"] == name]
    calls, found_at = [row["calls"] for row in own], [row["fd"] for row in own]
    low, middle, high = (np.array([f(fds) for fds in found_at]) for f in (min, np.mean, max))
    spans[name] = calls, low, middle, high
    for *each, fds in zip(calls, low, middle, high, found_at):
        print("{:19} {:7} {:8.3f} {:7.3f} {:8.3f} {:7}".format(name, *each, len(fds)))

# %% jupyter={"source_hidden": true}
figure, axis = plt.subplots(figsize=(8.5, 4))
for name, (calls, low, middle, high) in spans.items():
    bars = [middle - low, high - middle]
    if max(middle) < 0.6:
        look = {"marker": "o", "markersize": 5, "capsize": 6, "color": hues[name]}
        axis.errorbar(calls, middle, bars, label=name, **look)
    else:
        axis.plot([], [], " ", label=f"{name}: {max(middle):.1f}, far above")
axis.axhline(rows[0]["fd_floor"], color="black", linestyle=":", label="floor")
axis.set(xscale="log", xlabel="network calls a picture", ylabel="distance", ylim=(0, 0.55))
axis.set_xticks([1, 10, 20, 50, 392, 784], ["1", "10", "20", "50", "392", "784"])
axis.minorticks_off()
axis.legend(ncol=2, fontsize=10, loc="upper center");

# %% [markdown]
# The bars of GAN and PixelCNN overlap: the table's 0.231 against 0.217 ranks nothing. The flow's seeds lie a quarter apart. That
# diffusion in twenty calls is ahead of all three, and the VAEs far behind, none of these seeds changes. In fifty its seeds lie on
# both sides of the floor: with 2,048 pictures the yardstick can't tell it from real ones, with 10,000 it can (section 2). In *one*
# call there is a GAN, or a blur.
#
# A diffusion net's calls can be chosen, and so can the **sampler** that spends them. Its card's price list up to 60 calls (the samplers are raced in further/05; "guide":
# led away from the snapshot), with a bar where the card has more than one seed:

# %% jupyter={"source_hidden": true}
price = {}
for row in read_card("ddpm-fashion")["figures"]["rows"]:
    if row["n"] == 2048 and row["calls"] <= 60:
        way = row["sampler"] + (" with guide" if row["guide"] else "")
        price.setdefault(way, {}).setdefault(row["calls"], []).append(row["fd"])
figure, axis = plt.subplots(figsize=(8.5, 4))
for way, found_at in price.items():
    middle = {calls: np.mean(fds) for calls, fds in sorted(found_at.items())}
    (line,) = axis.plot(list(middle), list(middle.values()), "o-", label=way)
    for calls, fds in found_at.items():
        if len(fds) > 1:
            ends = [[middle[calls] - min(fds)], [max(fds) - middle[calls]]]
            axis.errorbar(calls, middle[calls], ends, capsize=5, color=line.get_color())
axis.axhline(rows[0]["fd_floor"], color="black", linestyle=":", label="floor")
axis.set(xscale="log", yscale="log", xlabel="network calls a picture", ylabel="distance")
axis.set_xticks([5, 10, 20, 50], ["5", "10", "20", "50"])
axis.set_yticks([0.1, 0.2, 0.4], ["0.1", "0.2", "0.4"])
axis.minorticks_off()
axis.legend(ncol=2, fontsize=10);

# %% [markdown]
# With ten calls the sampler matters, with fifty hardly; and seeds of one way differ by as much as two good samplers. A
# ranking without error bars would be a ranking of seeds.
#
# But is a call a fair unit? A call of the PixelCNN's cache makes *one pixel's* distribution, a call of the diffusion net
# sees the whole picture. **Seconds on one machine** are fairer.
#
# ### Rebuild 4: at equal seconds
#
# Given a budget of seconds a picture, what is the best distance to be had? A family may use any of its ways that can be
# paid.

# %%
def best_within(budget: Tensor, seconds: Tensor, distance: Tensor) -> Tensor:
    """The least distance for at most `budget` seconds: budget [B], and the ways' seconds [R]
    and distances [R], in any order, to [B]; inf where none can be paid."""
    raise NotImplementedError  # two lines; torch.where and amin


grade.SECONDS(best_within)

# %%
my_best = grade.SECONDS.or_library(best_within)
timed = [r for r in rows if r["seconds_per_image"] and r["fd"]]
budget = torch.logspace(-4, 0.7, 300)
figure, axis = plt.subplots(figsize=(9, 4.4))
for name in dict.fromkeys(r["name"] for r in timed):
    own = [r for r in timed if r["name"] == name]
    seconds = torch.tensor([r["seconds_per_image"] for r in own])
    fds = torch.tensor([r["fd"] for r in own])
    axis.plot(budget, my_best(budget, seconds, fds), color=hues[name], label=name)
    axis.plot(seconds, fds, "o", color=hues[name], markersize=8)
axis.axhline(rows[0]["fd_floor"], color="black", linestyle=":", label="floor")
axis.set(xscale="log", yscale="log", ylabel="best distance")
axis.set_xlabel("budget: seconds of one core a picture")
axis.legend(loc="center right", ncol=2);

# %% [markdown]
# Read it from the left. With a thousandth of a second only a family of **one call** can answer. With more, the families of
# many calls come in, and the diffusion net goes on improving for as long as it is paid. No family lies below all others everywhere: the question "which is
# best?" needs a budget.
#
# Two VAEs stand in the table. `vae-fashion-binary` was trained on pictures whose pixels are thrown to black or white, and its
# pictures are better by distance: a binary pixel's mean is nearly 0 or 1, so they are *sharper*. What a model is told to explain
# shows in its pictures.
#
# ## 8. Spot the bug: eight reports
#
# Eight reports compare one model with a rival. **In truth both are equally fast and, unless one learnt by heart, equally good**, and the rival's row is
# right. In seven reports something was unfair to or for the model:
#
# 1. nothing is wrong
# 2. a quarter of the pictures
# 3. test images were among its training images, and it has learnt them by heart
# 4. pictures were resized by another library before the features were taken
# 5. guidance and seed were the best of 200 tries by the test images
# 6. the seconds were taken on another machine
# 7. precision and recall are swapped
# 8. noise of temperature 0.8 in sampling, and not a word of it
#
# What was reported: distance, precision, recall, milliseconds a call. What an auditor looked up: the **floor** through the
# same measurement, the same with **four times** the n, and the model's distance **on valid**, validation pictures in place
# of the test images.

# %%
reports = {"rival": grade.rival(), **grade.gallery()}
print("       " + "".join(f"{name:>12}" for name in grade.NAMES))
for letter, numbers in reports.items():
    print(f"{letter:7}" + "".join(f"{value:12.3f}" for value in numbers.values()))

# %%
which = {"A": ..., "B": ..., "C": ..., "D": ..., "E": ..., "F": ..., "G": ..., "H": ...}
grade.GALLERY(which)

# %% [markdown]
# Most of them can't be found in the model's own code: they are in how two numbers came to stand beside each other. Each
# would have been prevented by a floor, a validation set, or one machine.
#
# ## 9. What each family is used for today
#
# | family | its strength in the table | where it works today, and who reports it |
# |---|---|---|
# | autoregressive | likelihood, quality | language models ([Brown et al. 2020](https://arxiv.org/abs/2005.14165)); images as tokens ([Tian et al. 2024](https://arxiv.org/abs/2404.02905)); lossless compression ([Delétang et al. 2024](https://arxiv.org/abs/2309.10668)) |
# | VAE | one call, a latent | the first stage of latent diffusion ([Rombach et al. 2022](https://arxiv.org/abs/2112.10752)); learnt compression ([Ballé et al. 2018](https://arxiv.org/abs/1802.01436)) |
# | flow | exact density both ways | sampling in physics ([Noé et al. 2019](https://arxiv.org/abs/1812.01729)); simulation-based inference ([Cranmer et al. 2020](https://arxiv.org/abs/1911.01429)); images again ([Zhai et al. 2024](https://arxiv.org/abs/2412.06329)) |
# | GAN | one call, sharp | vocoders ([Kong et al. 2020](https://arxiv.org/abs/2010.05646)); losses of autoencoders ([Esser et al. 2021](https://arxiv.org/abs/2012.09841)); distilling diffusion to a few calls ([Yin et al. 2024](https://arxiv.org/abs/2405.14867)) |
# | diffusion, flow matching | quality, calls to choose | text to image ([Esser et al. 2024](https://arxiv.org/abs/2403.03206)) and to video ([Polyak et al. 2024](https://arxiv.org/abs/2410.13720)); proteins ([Watson et al. 2023](https://doi.org/10.1038/s41586-023-06415-8)); weather ([Price et al. 2025](https://arxiv.org/abs/2312.15796)) |
#
# They no longer compete so much as stand inside each other: Stable Diffusion (lesson 09) is a diffusion model in the
# latents of a VAE that was trained with a GAN's loss.
#
# ## The words
#
# | here | the field's term | 中文 |
# |---|---|---|
# | distance of two crowds | Fréchet (Inception) distance, FID | 弗雷歇距离 |
# | what real pictures have | floor, finite-sample bias | 有限样本偏差 |
# | made pictures that look real | (improved) precision, fidelity | 精确率 |
# | real pictures that might be made | (improved) recall, diversity | 召回率 |
# | a ball to the k-th neighbour | k-nearest-neighbour manifold estimate | k 近邻 |
# | bits a dimension | negative log-likelihood, bpd | 每维比特数 |
# | learnt by heart | memorisation, data copying | 记忆（数据复制） |
# | rows without a net | baselines, sanity checks | 基线 |
# | network calls | number of function evaluations, NFE | 网络调用次数 |
#
# ## What to read next
#
# - Theis, van den Oord & Bethge 2016, *A note on the evaluation of generative models*.
# - Heusel et al. 2017 (FID); Kynkäänniemi et al. 2019, *Improved precision and recall metric*; Naeem et al. 2020,
#   *Reliable fidelity and diversity metrics* (density and coverage).
# - Chong & Forsyth 2020, *Effectively unbiased FID*; Parmar et al. 2022, *On aliased resizing*; Stein et al. 2023, *Exposing flaws of
#   generative model evaluation metrics*.
