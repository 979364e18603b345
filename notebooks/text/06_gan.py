# %% [markdown]
# # 06. What if a critic replaces the formula?
#
# *The generative adversarial network (GAN): one net makes pictures, another is paid for telling them from real ones.*
#
# In about 90 minutes you can
#
# - say what the best possible critic answers, and what its loss measures,
# - say which loss leaves a generator without a push, and why,
# - play the game in the plane, one step at a time, and read its instruments,
# - say when a game comes to rest, by a formula, and what a gradient penalty does to it,
# - make a run collapse, make a critic win, and mend both,
# - recognise seven bugs by seven numbers.
#
# Four cells are stubs for you to write, and a fifth asks which bug is which; what you write runs on. For a stub that you
# skip, or that is still wrong, the library's version runs. A wrong try gets a hint; all solutions stand in
# `course_lib/exercises/*_06.py`. Cells that only draw are folded.

# %%
import math
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal
from tqdm.auto import tqdm

from course_lib import autocast, showdown
from course_lib.adversarial import BurnInAdam, Game, cosine_fall
from course_lib.data import CLASSES, Batches, fashion_mnist, to_float
from course_lib.draws import Draws
from course_lib.exercises import lesson_06 as grade
from course_lib.models import Discriminator, GanConfig, Generator, truncate
from course_lib.toy_games import PlaneDiscriminator, PlaneGenerator, Ring, look, play
from course_lib.toy_games import best_discriminator, dirac_rates
from course_lib.training import Ema, Phase, train
from course_lib.weights import load_weights, read_card
from course_lib.widgets.flipbook import Flipbook
from course_lib.widgets.game_plots import critic_frames, game_frames, portrait_frames
from course_lib.widgets.game_plots import show_clouds, show_instruments
from course_lib.widgets.plots import BLUE, GREY, ORANGE, RED
from course_lib.widgets.plots import show_rows, tile, use_style

use_style()
shipped = load_weights("gan-fashion")
device = next(shipped.parameters()).device
judge = load_weights("fashion-classifier", device="cpu")
test_images, test_labels = fashion_mnist("test")


def paint(z: Tensor, labels: Tensor) -> Tensor:
    """Noise [B, z_dim] and classes [B] to images on the CPU: one call of the shipped net."""
    with torch.no_grad(), autocast(device):
        return shipped(z.to(device), labels.to(device)).float().cpu().clamp(-1, 1)

# %% [markdown]
# ## 0. One call
#
# A VAE's pictures were blurry because a *formula* judged them: squared error, pixel by pixel, whose best answer to
# doubt is an average. No formula is known that says "this looks like a garment". So let a second net say it. The
# **generator** $G$ makes a picture of noise $z$; the **discriminator** $D$, our critic, is trained to tell pictures from
# real ones; and the generator is trained to be taken for real. (Goodfellow et al. 2014.)
#
# Below, what such a generator makes, in **one** call of one net each. No steps, no order of pixels, no inverse.

# %%
z = Draws(3).normal(torch.empty(20, shipped.config.z_dim))
start = perf_counter()
made = paint(z, torch.arange(10).repeat(2))
print(f"20 pictures, one call each: {perf_counter() - start:.2f} s")
one_each = np.array([np.flatnonzero(test_labels == k)[0] for k in range(10)])
real = to_float(test_images[one_each])
show_rows({"generator": made[:10], "": made[10:], "real": real}, CLASSES);

# %% [markdown]
# What does the critic measure? How does its
# verdict become a direction? Does such a game ever end? The same order as always: formulas, two dimensions, pictures.
#
# ## 1. The best critic
#
# The critic sees $x$, real or fake with even odds, and answers with a chance $D(x)$ that it is real. It minimises the
# cross-entropy
#
# $$L_D = \mathbb E_{x \sim p}\big[-\log D(x)\big] + \mathbb E_{x \sim q}\big[-\log(1 - D(x))\big]$$
#
# where $p$ is the real density and $q$ the fakes'. At one $x$ that is $-p \log D - q \log(1 - D)$; its slope in $D$ is
# $-p/D + q/(1 - D)$, which is 0 at
#
# $$D^*(x) = \frac{p(x)}{p(x) + q(x)}.$$
#
# **Checked on histograms.** Numbers on a line, 20,000 real and 20,000 fake. Dots: in each bin, the share of real ones
# among all. Dashed: a small net trained with $L_D$. Line: the formula. Where do they part?

# %%
draws, edges = Draws(0), torch.linspace(-4, 4, 41)


def points(n: int) -> tuple[Tensor, Tensor]:
    """n real numbers and n fakes, [n, 1] each."""
    side, e = 2 * draws.integers(2, n, 1) - 1, draws.normal(torch.empty(2, n, 1))
    return 1.5 * side + 0.6 * e[0], 0.5 + 1.1 * e[1]


n = 20_000
real, fake = points(n)
counts = [torch.histogram(x, edges)[0] / n for x in (real, fake)]  # shares [40], two of them

# %%
torch.manual_seed(0)
critic = nn.Sequential(
    nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
)
optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3)
for step in tqdm(range(600), desc="a critic", leave=False):
    rows = draws.integers(n, 512)
    loss = F.softplus(-critic(real[rows])).mean()  # -log sigmoid(logit)
    loss = loss + F.softplus(critic(fake[rows])).mean()  # -log(1 - sigmoid(logit))
    optimizer.zero_grad()
    loss.backward()
    optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / 600)
    optimizer.step()

# %%
x = torch.linspace(-4, 4, 401)
p = (Normal(-1.5, 0.6).log_prob(x).exp() + Normal(1.5, 0.6).log_prob(x).exp()) / 2
q = Normal(0.5, 1.1).log_prob(x).exp()
# %% jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
for density, counted, colour, name in (
    (p, counts[0], BLUE, "real p"),
    (q, counts[1], ORANGE, "fake q"),
):
    left.stairs(counted / 0.2, edges, color=colour, fill=True, alpha=0.3)
    left.plot(x, density, color=colour, label=name)
right.plot(
    (edges[1:] + edges[:-1]) / 2, best_discriminator(*counts), "o", color=GREY, label="counted"
)
right.plot(x, p / (p + q), color="black", label="$p / (p + q)$")
with torch.no_grad():
    right.plot(x, torch.sigmoid(critic(x[:, None])), "--", color=RED, label="trained net")
left.set(xlabel="x", ylabel="density")
right.set(xlabel="x", ylabel="D: chance of real", ylim=(-0.05, 1.05))
left.legend()
right.legend();

# %% [markdown]
# They part where there is nearly nothing: few points, few corrections. Elsewhere a net that only classifies has learnt
# the *ratio of two densities*, $\log(p/q)$, its logit. Nobody gave it either.
#
# **And its loss?** Put $D^*$ into $L_D$, with $m = (p + q)/2$ for the even mixture:
#
# $$L_D^* = 2 \log 2 - 2\,\mathrm{JS}(p, q), \qquad \mathrm{JS}(p, q) = \tfrac12 \mathrm{KL}(p \,\|\, m) + \tfrac12 \mathrm{KL}(q \,\|\, m),$$
#
# the **Jensen-Shannon divergence**: 0 if $p = q$, and $\log 2$ where they don't overlap. So a critic that can't tell has
# a loss of $2 \log 2 = 1.386$, the number to know by heart. And the critic's floor is no constant: the generator moves it.
#
# ### Rebuild 1: the divergence


# %%
def js(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence in nats: probabilities [..., N], which sum to 1, to [...]."""
    raise NotImplementedError  # three or four lines; an empty bin counts as 0


grade.JS(js)

# %%
my_js = grade.JS.or_library(js)
floor = 2 * math.log(2) - 2 * my_js(p / p.sum(), q / q.sum()).item()
real_new, fake_new = points(100_000)
with torch.no_grad():
    on_real, on_fake = F.softplus(-critic(real_new)), F.softplus(critic(fake_new))
found = (on_real.mean() + on_fake.mean()).item()
error = ((on_real.var() + on_fake.var()) / len(on_real)).sqrt().item()
print(f"the best critic's loss, by the formula: {floor:.3f} nats")
print(f"the net's, on 100,000 new points of each kind: {found:.3f} ± {error:.3f}")

# %% [markdown]
# **Drag the fakes away** from the real ones. Dashed is the best critic's answer. Watch the dot on the right: how much
# does the divergence tell a generator that is five units off?

# %%
grid = torch.linspace(-5, 11, 801, dtype=torch.float64)
shifts = torch.linspace(0, 6, 25, dtype=torch.float64)
cells = [Normal(m, 1.0).log_prob(grid).exp() for m in shifts]
cells = torch.stack([c / c.sum() for c in cells])  # probabilities [25, 801]
distance = my_js(cells[:1].expand_as(cells), cells)
frames = critic_frames(grid, cells, shifts, distance)
title = "The best critic of two Normals"
Flipbook(frames, shifts.tolist(), label="shift", title=title, start=8)

# %% [markdown]
# Beyond five units the curve is nearly flat. A generator that goes down this curve gets hardly a push exactly where it is worst. Is
# that the critic's fault?
#
# ## 2. Which way to go
#
# The generator sees of the critic only a logit at each of its fakes, $s = \log \frac{D}{1 - D}$, and follows its slope. To
# go down the curve above is to minimise $\log(1 - D)$. The other choice has the same end, maximise $\log D$:
#
# | the generator minimises | its name | slope by the logit |
# |---|---|---|
# | $\log(1 - D)$ | **saturating**, the game's own | $-D$ |
# | $-\log D$ | **non-saturating** | $-(1 - D)$ |
#
# (With $D = 1/(1 + e^{-s})$ both are one line; try it.) A fake that is *rejected* has $D$ near 0. The first loss then
# pushes with strength $D$, nearly nothing, the second with nearly 1. A generator that is *taken for real* gets nothing from the
# second, and needs nothing. You may read that gradients vanish when the generator is perfect; it is a perfect *critic*, one that
# rejects, that makes the first loss's vanish (Arjovsky & Bottou 2017).
#
# ### Rebuild 2: the generator's loss


# %%
def generator_loss(fake: Tensor) -> Tensor:
    """The non-saturating loss of the fakes' logits [B]: the mean of -log D, a number."""
    raise NotImplementedError  # one line; a logit may be -200


grade.LOSS(generator_loss)

# %% [markdown]
# For two Normals of variance 1, the real one at 0 and the fakes' at $m$, it can be computed how strongly each loss pulls the
# fakes. The best critic's logit is $s = \log p/q = m^2/2 - m x$, a straight line: **the critic knows the way at any distance**. Its slope $-m$ times the
# slope by the logit, averaged over the fakes, is the pull on $m$. Dots: the slope of $2\,\mathrm{JS}$, from the curve above
# by finite differences.

# %%
my_loss = grade.LOSS.or_library(generator_loss)
logits = (shifts**2 / 2)[:, None] - shifts[:, None] * grid
pulls = {"saturating": torch.sigmoid(logits), "non-saturating": torch.sigmoid(-logits)}
s = torch.linspace(-8, 8, 200).requires_grad_()
losses = {"saturating": -F.softplus(s).sum(), "non-saturating": len(s) * my_loss(s)}
strength = {name: -torch.autograd.grad(loss, s)[0] for name, loss in losses.items()}
pull = {name: (cells * each).sum(dim=1) * shifts for name, each in pulls.items()}
slope = torch.gradient(2 * distance, spacing=(shifts,))[0]

# %% jupyter={"source_hidden": true}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
for name, style in zip(strength, ("-", "--")):
    left.plot(s.detach(), strength[name], style, label=name)
    right.semilogy(shifts[1:], pull[name][1:], style, label=name)
right.plot(shifts[1:-1], slope[1:-1], "o", color=BLUE, markersize=4, label="slope of 2 JS")
left.set(xlabel="logit of a fake (below 0: rejected)", ylabel="push")
right.set(xlabel="distance m", ylabel="pull on m", ylim=(1e-4, 10))
left.legend()
right.legend();

# %% [markdown]
# The saturating pull *is* the slope of the divergence, and dies with it. The non-saturating one grows with the distance,
# with the same critic. So the flat divergence was never the problem: a game need not go down the curve that its critic
# measures. From here on the non-saturating loss is "the old recipe".
#
# ## 3. The game in the plane
#
# Three hills of real points, noise of two numbers, two small nets. A round is one step of the critic, then one of the
# generator. Nothing hidden; mind `.detach()`, which keeps the critic's step from moving the generator.

# %%
three = Ring(modes=3, radius=1.6, std=0.25)
torch.manual_seed(1)
G, D = PlaneGenerator(), PlaneDiscriminator()
optimizer_D = torch.optim.Adam(D.parameters(), lr=2e-3, betas=(0.0, 0.99))
optimizer_G = torch.optim.Adam(G.parameters(), lr=2e-3, betas=(0.0, 0.99))
draws, z = Draws(1), torch.empty(256, 2)


# %%
def critic_step():
    real, fake = three.sample(256, draws), G(draws.normal(z)).detach()
    loss = F.softplus(-D(real)).mean() + F.softplus(D(fake)).mean()
    optimizer_D.zero_grad()
    loss.backward()
    optimizer_D.step()


def generator_step():
    loss = my_loss(D(G(draws.normal(z))))
    optimizer_G.zero_grad()
    loss.backward()
    optimizer_G.step()

# %%
def push(s: Tensor) -> Tensor:
    return F.softplus(-s)  # -log D of each fake


looks = [look("the start", G, D, push)]  # D's field, the warped grid, 40 fakes, their pushes
watched = [1, 2, 3, 5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 450, 600, 800]
for step in tqdm(range(1, 801), desc="the game", leave=False):
    critic_step()
    if step in watched[:3]:
        looks.append(look(f"round {step}: the critic moved", G, D, push))
    generator_step()
    if step in watched:
        looks.append(look(f"round {step}: the generator moved", G, D, push))

# %% [markdown]
# **Drag.** Left: the critic's field, orange for fake and purple for real; arrows are the pushes on 40 fakes (their
# order of size is shown, not their size). Right: a square grid of noise, as the generator warps it. Step with the arrow keys:
# who moves when? What do the arrows do once the fakes lie on the hills? And what is between the hills?

# %%
titles = [
    now.title.split(":")[0].replace("round ", "") + (" D" if "critic" in now.title else "")
    for now in looks
]
Flipbook(
    game_frames(looks, three.sample(150, Draws(2))),
    titles,
    label="round",
    title="One step at a time",
    start=-1,
)

# %% [markdown]
# The field is never at rest for long: where fakes are too many it turns orange and drives them off, and once they are gone
# nothing keeps it so. The grid is thin between the hills, but not torn: the generator is continuous, as the flow was. At
# the end the critic should be at $D = 1/2$ everywhere, and its arrows at 0. Will it get there?
#
# ## 4. Does the game come to rest?
#
# The smallest game that has the whole question: one real point at 0, one fake at $\theta$, and a critic $s = \psi\,x$ with
# one number. Both follow their gradients (the **Dirac-GAN**, Mescheder et al. 2018):


# %% src="course_lib/toy_games.py::dirac_field"
# course_lib/toy_games.py::dirac_field
def dirac_field(theta: Tensor, psi: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Where both players of the Dirac-GAN are pushed: (d theta / dt, d psi / dt).

    The real thing is the number 0, the fake one theta, the critic's logit psi * x. The critic
    minimises softplus(0) + softplus(psi theta) + gamma / 2 psi^2, with R1 alone; the generator
    -softplus(psi theta) (Mescheder et al. 2018, definition 2.1).
    """
    D = torch.sigmoid(psi * theta)  # the chance that the critic gives the fake
    return psi * D, -theta * D - gamma * psi

# %% [markdown]
# Rest is at $\theta = \psi = 0$. Near it, without a penalty ($\gamma = 0$), $\dot\theta = \psi/2$ and $\dot\psi = -\theta/2$:
# the fake runs after the critic and the critic turns it round. That is a circle, for ever. The **penalty R1** adds
# $\frac\gamma2 \big|\nabla_x s\big|^2$ at real points to the critic's loss, here $\frac\gamma2 \psi^2$, a brake. With $f'$
# for the $1/2$ (how strongly each feels the other), the field's Jacobian is $\begin{pmatrix} 0 & f' \\ -f' & -\gamma \end{pmatrix}$, and its eigenvalues
#
# $$\lambda = -\frac\gamma2 \pm \sqrt{\frac{\gamma^2}4 - f'^2}$$
#
# are those of a weight on a spring with friction. Every solution dies as $e^{\mathrm{Re}\,\lambda\,t}$.
#
# ### Rebuild 3: how fast it dies
#
# Of the two, the slower one is left in the end: the larger real part.


# %%
def slowest_rate(gamma: float, slope: float) -> float:
    """The larger real part of the two eigenvalues; slope is f'."""
    raise NotImplementedError  # one or two lines; what if the root is of a number below 0?


grade.RATE(slowest_rate)

# %% [markdown]
# **Drag the penalty.** Left, the plane of all $(\theta, \psi)$ with an arrow at each place, a **phase portrait**, and three
# games from three starts. Right, the two eigenvalues. Before you drag: which $\gamma$ is fastest?

# %%
my_rate = grade.RATE.or_library(slowest_rate)
gammas = [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0, 3.0]
frames = portrait_frames(dirac_field, gammas, dirac_rates)
best = min(gammas, key=lambda gamma: my_rate(gamma, 0.5))
print(f"fastest: gamma = {best}, rate {my_rate(best, 0.5):.2f}; at 3: {my_rate(3.0, 0.5):.2f}")
Flipbook(frames, gammas, label="γ", title="The Dirac-GAN's phase portrait", start=4)

# %% [markdown]
# Below $\gamma = 2f' = 1$ the paths spiral, at 1 they are at rest soonest, and above they creep: the critic is braked so
# hard that it says nothing. **More penalty is not more stability.**
#
# Optimizers take steps, though. A step $h$ of both at once multiplies by $1 + h\lambda$, of size $\sqrt{1 - h\gamma + h^2 f'^2}$
# while the root is imaginary: without a penalty *above 1 at every step size*, a spiral outwards. At rest only if
# $\gamma > h f'^2$. One after the other, as `train` does it, the factor is $\sqrt{1 - h\gamma}$. Measured over 2,000
# steps:


# %%
def growth(gamma: float, h: float, at_once: bool, steps: int = 2000) -> float:
    """What a step multiplies the distance from rest by, on average; close to rest."""
    place = torch.tensor([1e-6, 0.0], dtype=torch.float64)
    for _ in range(steps):
        theta, psi = place
        psi_new = psi + h * dirac_field(theta, psi, gamma)[1]
        theta_new = theta + h * dirac_field(theta, psi if at_once else psi_new, gamma)[0]
        place = torch.stack([theta_new, psi_new])
    return (place.norm() / 1e-6).item() ** (1 / steps)


# %% tags=["nbval-check-output"]
h = 0.2
print("gamma   at once: formula, measured   one after the other: formula, measured")
for gamma in (0.0, 0.05, 0.2):
    formulas = (1 - h * gamma + h**2 / 4) ** 0.5, (1 - h * gamma) ** 0.5
    found = growth(gamma, h, True), growth(gamma, h, False)
    print(
        f"{gamma:5.2f} {formulas[0]:17.3f} {found[0]:10.3f}"
        f" {formulas[1]:25.3f} {found[1]:10.3f}"
    )

# %% [markdown]
# **Break it.** Give the brake to the wrong player: `- gamma * theta` in the generator's speed in place of the critic's
# (copy the function). Does it rest? And where would it, if the real point were at 1 and not at 0?
#
# <details><summary>What happens</summary>
# At 0 it rests as fast as before: the Jacobian's diagonal is swapped. But that brake pulls the fake to 0, wherever the real
# point is. With the real point at 1 the fake rests where that pull and the critic's cancel: at 0.86 for `gamma` 0.1, at 0.50 for 1. R1 pulls the critic's slope to 0, which is right at every end of the game. A penalty must vanish at the goal.
# </details>
#
# ## 5. Runs that fail, and their instruments
#
# Sixteen narrow hills on a ring. The library's `play` is section 3's loop for any game, and writes down every 25 steps what a
# doctor would ask for: **modes found** (those that get at least a quarter of their due, of 2,000 fakes), the **length of the
# generator's gradient**, and the **critic's cross-entropy**, whatever it was trained with. Beside them, the number of the
# **fullest** mode, counted round the ring.
#
# **Three patients**, all without a penalty. The first is well. In the second the critic learns ten times as slowly as the
# generator. In the third the fakes begin far off, the critic trains alone for 200 steps, and the generator has the
# saturating loss and plain gradient descent. Guess before you run: what will each instrument show?

# %%
ring = Ring()
runs = {
    "equal rates": play(ring, "non-saturating"),
    "slow critic": play(ring, "non-saturating", rates=(2e-4, 2e-3)),
    "critic wins": play(
        ring, "saturating", rates=(5e-3, 1e-2), start=6.0, lead=200, plain=True
    ),
}
show_instruments({name: log for name, (_, log) in runs.items()}, 2 * math.log(2));

# %% tags=["nbval-check-output"]
last = {name: log["modes"][-10:] for name, (_, log) in runs.items()}
print("modes of 16 in the last ten looks")
print(f"equal rates: 11 or more in each: {min(last['equal rates']) >= 11}")
print(f"slow critic: 5 or fewer in each: {max(last['slow critic']) <= 5}")
print(f"critic wins: none in any: {max(last['critic wins']) == 0}")
fullest = runs["slow critic"][1]["fullest"]
moves = sum(a != b for a, b in zip(fullest, fullest[1:]))
print(f"slow critic: the fullest mode is another one at most looks: {moves >= 25}")  # of 39

# %%
clouds = {
    name: G(Draws(5).normal(torch.empty(600, 2))).detach() for name, (G, _) in runs.items()
}
print("slow critic, its fullest mode in the last looks (-1: none):", *fullest[-12:])
show_clouds(clouds, ring);

# %% [markdown]
# - **Slow critic: mode collapse.** The generator runs to where the critic of the moment is most easily pleased, all noise to
#   one place; by the time the critic has learnt to reject that place, it is gone to the next (follow the printed numbers).
#   *The critic's loss looks no worse than the healthy run's*: near or above 1.386, for a critic that is always one place behind.
#   Only the modes tell.
# - **Critic wins.** Its loss is nearly 0, the generator's gradient a thousandth of the healthy one's or less, and falling: section
#   2's saturating loss with a rejecting critic. (Adam divides a gradient by its own size, so with Adam the fakes would
#   move for a while on a push that is hardly there. Plain descent shows it.)
# - **Is it the seed?** With five others, in the last ten looks: slow critic 3 modes at most, critic wins none, equal rates 13 or more.
# - **Reading losses.** Critic near $2 \log 2$: it can't tell, because the fakes are good *or because it is poor*. Near 0: it
#   wins. A falling generator's loss says nothing by itself; the opponent changes. No loss here counts modes.
#
# **Break it.** Give the "critic wins" run `"non-saturating"`. What mends it: the loss, or the shorter lead `lead=0`?
#
# <details><summary>What happens</summary>
# The loss. With the non-saturating one the generator's gradient is near 1 at the first looks, and the fakes come over to the
# ring. They don't settle there: several modes for a while, then one or none, and a gradient of some tens (no brake: rebuild 4). With the saturating loss and no lead the gradient is below a hundredth at
# the first look already, after 25 steps, and no mode is ever found.
# </details>
#
# ### Rebuild 4: the penalty
#
# Section 4's brake, for nets: $R_1 = \mathbb E_{x \sim p} \big|\nabla_x s(x)\big|^2$ at real points, and $R_2$, the same at fakes.
# The gradient is *by the point*, and the penalty's own gradient is by the weights: a gradient of a gradient.


# %%
def penalty(discriminator, x: Tensor) -> Tensor:
    """The mean over x [B, ...] of |gradient of the logit by x|^2, a number."""
    raise NotImplementedError  # three or four lines; torch.autograd.grad(create_graph=True)


grade.PENALTY(penalty)

# %% [markdown]
# ### The modern recipe
#
# Two changes (R3GAN, Huang et al. 2024). **Pairing**: don't ask "is it real?" but "is this real one more real than this
# fake?" With logits $s(x)$ and $s(\tilde x)$ of a real and a fake:
#
# $$L_D = \mathbb E\log\big(1 + e^{\,s(\tilde x) - s(x)}\big) + \tfrac\gamma2 (R_1 + R_2), \qquad L_G = \mathbb E\log\big(1 + e^{\,s(x) - s(\tilde x)}\big).$$
#
# With one logit a pair there is no level on which all fakes are rejected at once: every real one keeps its own fake to be
# compared with. (At rest $L_D$ is $\log 2$, not twice that.) And **both penalties**, not one.
#
# Old against modern, and each change alone, where it hurts: a critic ten times as *fast*. Your penalty is in the losses
# of the lower rows. Three seeds each. A penalised step costs more, so the old recipe gets a row with twice the steps.

# %%
my_penalty = grade.PENALTY.or_library(penalty)


class Mine(Game):
    """The library's game with your penalty."""

    def discriminator_loss(self, batch, step):
        real, cond = batch
        z = self.draws.normal(torch.empty(len(real), 2))
        fake = self.generator(z, cond).detach()
        loss = self.pairing.discriminator(
            self.discriminator(real), self.discriminator(fake)
        ).mean()
        if gamma := self.gamma(step):
            brakes = [my_penalty(self.discriminator, each) for each in (real, fake)]
            loss = loss + gamma / 2 * sum(brakes)
        return {"loss": loss}

# %%
recipes = {
    "non-saturating (old)": ("non-saturating", 0.0, 500),
    "the same, twice the steps": ("non-saturating", 0.0, 1000),
    "relativistic alone": ("relativistic", 0.0, 500),
    "old with R1 and R2": ("non-saturating", 0.1, 500),
    "relativistic, R1 and R2 (modern)": ("relativistic", 0.1, 500),
}
# %%
print("critic 10 times as fast           modes of 16, three seeds   gradient   seconds a run")
for name, (pairing, gamma, steps) in recipes.items():
    start, found, norms = perf_counter(), [], []
    for seed in range(3):
        _, log = play(ring, pairing, gamma, (5e-3, 5e-4), steps, seed, kind=Mine)
        found.append(log["modes"][-1])
        norms.append(np.median(log["gradient"][-8:]))
    took = (perf_counter() - start) / 3
    print(
        f"{name:34} {str(found):14} mean {np.mean(found):4.1f}"
        f" {np.mean(norms):12.2f} {took:12.1f}"
    )

# %% [markdown]
# A fast critic without a brake makes steep cliffs around each real point, and the generator's gradient is many times as long;
# with the penalties all or nearly all modes are found, with fewer steps. In *this* game the penalties do the work, and the pairing makes
# little difference; it is on images of many classes that its authors find it needed. And the penalties mend no slow critic:
# they make it slower.
#
# **Break it.** In the last row, put `gamma` at 30. What do the modes do, and which instrument says why?
#
# <details><summary>What happens</summary>
# A few are found, 1 to 5 in our three runs, and the generator's gradient is a fiftieth of what it was: section 4's creeping, a
# critic so flat that it gives no direction. The right gamma depends on the data's scale (slopes are per unit of x, and R sums over
# all pixels), so a published one can't be copied: R3GAN itself begins at 0.05 for CIFAR-10's 32 by 32 pixels, and at 150 for FFHQ's 256 by 256.
# </details>
#
# ## 6. Pictures, live
#
# The same two losses, the library's convolutional nets (no normalisation anywhere), both told the class (the critic by an inner
# product with a vector of the class), on **thumbnails** of 14 by 14 pixels. `Phase` is a player, `train` gives each its step, in turn. Adam without momentum (`beta1 = 0`: momentum feeds
# circling), and $\gamma$ falls as the game settles. The penalties, most of a step's cost, are taken at every fourth step, four times
# as heavy (`lazy`; Karras et al. 2020). It stops after 38,400 pictures, or after 40 s. What is kept is the
# **EMA**, an average over the generator's last steps, which the circling averages out of.

# %%
config = GanConfig(start=7, widths=(64, 32), blocks=1, expand=1, group=16, z_dim=32)
torch.manual_seed(0)
painter, critic = Generator(config), Discriminator(config)
fall = lambda step: cosine_fall(0.5, 0.05, step / 250)  # gamma
game = Game(painter, critic, Draws(0), fall, lazy=4)
total, size = 1200, 32  # steps, pictures a step

# %%
def player(name: str, net: nn.Module, loss, ema=None) -> Phase:
    # its memory of squared gradients lengthens over the first 250 steps
    optimizer = BurnInAdam(net.parameters(), 1e-3, burn_in=250)
    rate = lambda step, progress: min(1.0, 2 * (1 - progress))  # level, then down to 0
    return Phase(name, net, loss, optimizer, ema, rate, clip=math.inf)  # no gradient is cut


ema = Ema(painter)
phases = [
    player("critic", critic, game.discriminator_loss),
    player("generator", painter, game.generator_loss, ema),
]
thumbnails = (
    (F.avg_pool2d(x, 2), labels) for x, labels in Batches(*fashion_mnist("train"), size, 0)
)
story, pairing_losses = {}, []

# %%
z, wish = Draws(4).normal(torch.empty(100, 32)), torch.arange(10).repeat(10)
bar = tqdm(
    train(phases, thumbnails, total, seconds=40, precision=torch.float32),
    total=total,
    desc="live GAN",
)
for done in bar:
    pairing_losses.append(done.losses["critic"]["pairing"].item())
    if done.step % 80 == 0 or done.step in (1, 10, 25):
        with torch.no_grad():
            story[done.step * size] = ema.module(z, wish)
with torch.no_grad():
    story[done.step * size] = ema.module(z, wish)
print(f"{done.step * size:,} of {total * size:,} pictures seen")

# %% [markdown]
# **Drag through the training.** A class a column, a noise $z$ a picture. When do garments appear, and when do the rows begin to differ?

# %%
names = [f"{seen:,}" for seen in story]
sheets = [
    np.uint8(255 * tile(images[:50], 10)).repeat(3, 0).repeat(3, 1)
    for images in story.values()
]
Flipbook(sheets, names, label="pictures seen", title="A GAN's first minute", start=-1)

# %% [markdown]
# Is it any good? A classifier that never saw a fake says how many are of the class asked for, and each class's pictures are
# compared pair by pair: real thumbnails say what both numbers should be. A collapsed class is right, and all alike.


# %%
def examined(images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Share of the right class; median distance of two pictures of a class (rms a pixel)."""
    large = (
        F.interpolate(images, 28, mode="bilinear").clamp(-1, 1)
        if images.shape[-1] < 28
        else images
    )
    with torch.no_grad():
        right = (judge(large).argmax(dim=1) == labels).float().mean().item()
    apart = [torch.pdist(images[labels == k].flatten(1)) / images.shape[-1] for k in range(10)]
    return right, torch.cat(apart).median().item()

# %%
chosen = torch.cat(
    [torch.from_numpy(np.flatnonzero(test_labels == k)[:10]) for k in range(10)]
)
photographs, told = (
    to_float(test_images[chosen.numpy()]),
    torch.arange(10).repeat_interleave(10),
)
real_right, real_apart = examined(F.avg_pool2d(photographs, 2), told)
right, apart = examined(story[done.step * size], wish)
print(
    f"right class: {right:.0%}, real thumbnails {real_right:.0%};"
    f" apart: {apart:.2f}, real {real_apart:.2f}"
)
if right < real_right / 2 or apart < real_apart / 3:
    print(f"Not far yet after {done.step * size:,} pictures. The shipped net below saw more.")
# %% jupyter={"source_hidden": true}
plt.plot(pairing_losses, color=BLUE, alpha=0.5, label="critic's pairing loss")
plt.axhline(math.log(2), color="black", linestyle=":", label="log 2: can't tell")
plt.gca().set(xlabel="step", ylabel="nats", ylim=(0, 1))
plt.legend();

# %% [markdown]
# Read alone, this loss says nothing of the pictures. It is a *gap* between two players that both improve, below $\log 2$ by as
# much as the critic is ahead, and it may fall while the pictures get better. So a GAN has no validation loss, no likelihood, and
# no stopping rule in it. It must be measured from outside, by the **Fréchet distance** (lesson 07 builds it). Take 128 numbers,
# *features*, of each picture from inside a classifier; then compare the crowd of made pictures with a crowd of real ones by their
# means and covariances. Lower is better, and what *real* training images have is its floor.
#
# ## 7. The shipped net
#
# Same losses, `gan-fashion` at 28 by 28 pixels. All families so far, each from its card. Beside the distance stand two shares,
# which lesson 10 builds: **precision**, of made pictures that lie among the real ones, and **recall**, of real ones that lie among
# the made.

# %%
rows = [row for row in showdown.table()["rows"] if row["parameters"]]
print(f"floor of the distance: {rows[0]['fd_floor']:.3f}")
print("                    calls  distance  precision  recall")
for row in rows:
    if (row["name"], row["calls"]) in (("ddpm-fashion", 1000), ("ddpm-fashion", 10)):
        continue  # lesson 10 shows these two as well
    shares = [row[key] or math.nan for key in ("knn_precision", "knn_recall")]
    print(f"{row['name']:18} {row['calls']:6} {row['fd']:9.3f}", end="")
    print(f"  {shares[0]:9.2f}  {shares[1]:6.2f}")
card = read_card("gan-fashion")
print(f"gan-fashion: {card['parameters']:,} parameters, {card['images_seen']:,} pictures seen")

# %% [markdown]
# In one call, about twice the distance of the diffusion net's twenty, and no worse precision. What it lacks is recall, the
# lowest of all: each picture is good, and they are too alike. That is section 5's counting of modes, on pictures.
#
# ### Truncation
#
# A GAN has one dial after training: draw $z$ from a narrower law. With every number of $z$ pressed into $[-c, c]$ (each keeps
# its rank), pictures move to what the generator makes best, and to one another. **Drag**: what do you pay, and in what?

# %%
limits = [0.05, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0]
z, wish = Draws(8).normal(torch.empty(100, shipped.config.z_dim)), torch.arange(10).repeat(10)
sheets, rights, aparts = [], [], []
for limit in tqdm(limits, desc="truncated", leave=False):
    images = paint(truncate(z, limit), wish)
    sheets.append(np.uint8(255 * tile(images[:40], 10)).repeat(2, 0).repeat(2, 1))
    right, apart = examined(images, wish)
    rights.append(right)
    aparts.append(apart)
real_right, real_apart = examined(photographs, told)
notes = [
    f"right class {r:.0%} (real {real_right:.0%}), apart {a:.2f} (real {real_apart:.2f})"
    for r, a in zip(rights, aparts)
]
Flipbook(sheets, limits, label="limit", title="Truncation", notes=notes, start=-1)

# %% [markdown]
# Fewer are doubtful, and all resemble one another: fidelity is bought with variety. A distance that looks at both (Fréchet)
# gets worse at small limits: from about 0.3 without one to 2.6 at 0.2, with 512 pictures. So a gallery of a truncated GAN is no picture of its model: ask for the limit.
#
# ### Between two draws
#
# From one $z$ to another, each row a class. A straight line passes too near to 0, where a Normal of many dimensions has hardly
# any draws; on the arc $\cos\cdot z_a + \sin\cdot z_b$ each point is a draw from the same law.

# %%
turns = torch.linspace(0, math.pi / 2, 9)[:, None]
ends, rows = Draws(12).normal(torch.empty(2, shipped.config.z_dim)), {}
for k in (0, 3, 5, 8, 9):
    rows[CLASSES[k]] = paint(
        turns.cos() * ends[0] + turns.sin() * ends[1], torch.full((9,), k)
    )
show_rows(rows, ["$z_a$", *[""] * 7, "$z_b$"]);

# %% [markdown]
# Each picture between is sharp: the critic saw to it that every draw is taken for real. What the generator lacks is the way
# back. No encoder, no likelihood: nobody can ask it how likely a picture is, or which draw it belongs to.
#
# ## 8. Spot the bug
#
# Eight games on one cloud of Normal points, so that the right end is known: the generator is a matrix and a shift, $x = W z + b$, the
# critic a quadratic form, and at the end $W W^\top$ must be the data's covariance. One is right; the others have one wrong line each:
#
# 1. nothing is wrong
# 2. the critic's logits are clamped below at 0
# 3. the noise's generator is seeded anew in each step
# 4. fakes not detached in the critic's loss, and gradients cleared once a round, before both
# 5. the critic's gradients not cleared after the generator's step
# 6. the penalty takes the gradient of the logits' mean, not of their sum
# 7. gamma 30 times as large, copied from a net of another size
# 8. noise truncated at 0.7, shown as the model's samples
#
# Grey: the data. Colour: what is shown as the model's samples. Below, over the last steps: the share of fakes with a gradient above 0
# (**pushed**); the length of what the critic's loss leaves in the generator's gradient (**G by D**), and the other way round (**D by
# G**); the share of steps with **new noise**; how far the fakes' **mean is off** on average and how far it **swings** around that, in the data's
# spreads; and their **spread** over the data's.

# %%
games, real = grade.gallery(), grade.gallery_data(600, Draws(1))
figure, axes = plt.subplots(2, 4, figsize=(10, 5.2), sharex=True, sharey=True)
for axis, (letter, game) in zip(axes.flat, games.items()):
    axis.scatter(*real.T, s=3, color="lightgrey")
    axis.scatter(*game.samples(600).T, s=3, color=BLUE, alpha=0.6)
    axis.set(xticks=[], yticks=[], title=letter, xlim=(-2, 2), ylim=(-2, 2))
print("   " + "".join(f"{name:>11}" for name in grade.NAMES))
for letter, game in games.items():
    print(f"{letter}  " + "".join(f"{value:11.2f}" for value in game.numbers().values()))

# %%
which = {"A": ..., "B": ..., "C": ..., "D": ..., "E": ..., "F": ..., "G": ..., "H": ...}
grade.GALLERY(which)

# %% [markdown]
# Three of the clouds with a bug look right: not every bug does harm in every game. In a larger one each of the three would. No
# loss was needed to tell them apart; who moved whom, and by how much, was.
#
# ## The words
#
# | here | the field's term | 中文 |
# |---|---|---|
# | critic | discriminator | 判别器 |
# | the game | adversarial (minimax) training | 对抗训练 |
# | what the best critic's loss measures | Jensen-Shannon divergence | JS 散度 |
# | minimise $\log(1-D)$; $-\log D$ | saturating; non-saturating loss | 饱和损失；非饱和损失 |
# | all noise to one place | mode collapse | 模式坍缩 |
# | no push from a rejecting critic | vanishing gradient | 梯度消失 |
# | the brake at real points; at fakes | R1; R2 gradient penalty | 梯度惩罚 |
# | one real against one fake | relativistic pairing, RpGAN | 相对配对损失 |
# | circling, coming to rest | local convergence | 局部收敛 |
# | narrower noise | truncation trick | 截断技巧 |
# | average of the generator's weights | exponential moving average, EMA | 指数滑动平均 |
#
# ## What to read next
#
# - Goodfellow et al. 2014, *Generative adversarial nets*: sections 1 and 2 of this page are its sections 3 and 4.
# - Mescheder, Geiger & Nowozin 2018, *Which training methods for GANs do actually converge?*
# - Huang et al. 2024, *The GAN is dead; long live the GAN! A modern GAN baseline* (R3GAN); Jolicoeur-Martineau 2018, *The relativistic discriminator*.
# - Brock et al. 2019, *Large scale GAN training* (truncation); Feizi et al. 2017, *Understanding GANs: the LQG setting* (section 8's game).
#
# In **lesson 10** all families stand on one table. Next, **lesson 07**: how does a text become numbers, and how are pictures judged?
