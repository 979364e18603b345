# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Marble: how machines make images
#
# *The sculpture is already in the marble. The sculptor takes away what does not belong to it.*
#
# After this page you can
#
# - make a picture out of noise, and scrub through how it came about,
# - find your way: what each lesson asks, and how to run, drag, rebuild and reset,
# - say what shape and range an image has in every line of this course,
# - tell whether this machine is fit for the rest.
#
# Click the first grey cell below and press **Shift + Enter**. It runs, and the next one is selected. Go on like that.

# %%
from course_lib import Scrubber, autocast, clipped, default_device, load_denoiser, sample_ddim
from course_lib.data import CLASSES, fashion_mnist, to_float
from course_lib.widgets.plots import show_images, show_rows, use_style

import torch
from tqdm.auto import tqdm

use_style()

# %% [markdown]
# ## 1. A picture out of noise
#
# Below, a network that was trained in this repository gets sixteen squares of pure noise. It is asked twenty times
# *"what in here is noise?"*, and each time a part of its answer is taken away. Run the cell, then **drag the slider**,
# or click it and use the arrow keys. Look at the middle panel: the network's guess at the finished picture is there
# from the first step, as a blur, and only its details wait.

# %%
shipped = load_denoiser("ddpm-fashion")
schedule, device = shipped.schedule, default_device()
denoise = clipped(shipped, schedule)

noise = torch.randn(16, 1, 28, 28, generator=torch.Generator().manual_seed(3)).to(device)
labels = torch.arange(16, device=device) % 10
with autocast(device):
    sampler = sample_ddim(denoise, schedule, noise, schedule.times(20), labels)
    steps = list(tqdm(sampler, total=21, desc="from noise to picture"))
Scrubber(steps, schedule, titles=[CLASSES[k] for k in labels.tolist()], columns=4)

# %% [markdown]
# What you dragged is the whole of lesson 04. The picture in the first panel at any moment is
#
# $$x_t = \alpha_t\, x_0 + \sigma_t\, \varepsilon$$
#
# an image $x_0$, dimmed by $\alpha_t$, and noise $\varepsilon$, as strong as $\sigma_t$. The second panel is the
# network's idea of $x_0$, the third its idea of $\varepsilon$.
#
# ## 2. The map
#
# One question runs through the course: *how does a machine draw from the distribution of pictures?* Pixel by pixel is
# slow. All pixels at once, each for itself, gives chimeras: half a shoe, half a shirt. The cure is a simple random
# variable that all pixels share, and the families of models differ in how they get from it to the picture.
#
# | lesson | the question |
# |---|---|
# | 00 | Where am I, and does it run? |
# | [01](01_sampling_problem.ipynb) | Why not one pixel after the other? Why not all at once? |
# | [02](02_vae.ipynb) | VAE: what if a net compresses each image to a Normal latent? |
# | [03](03_flow.ipynb) | Flow: what if every step can be undone exactly? |
# | [04](04_diffusion.ipynb) | Diffusion: what if we only ever take noise away? |
# | [05](05_noise_predictor.ipynb) | How is the noise predictor trained, in idea and in fact? |
# | [06](06_gan.ipynb) | GAN: what if a critic replaces the formula? |
# | [07](07_text_encoder.ipynb) | How does a text become numbers, and how are pictures judged? |
# | [08](08_decoder.ipynb) | From a thumbnail or a latent to a picture: the decoder |
# | [09](09_stable_diffusion.ipynb) | Stable Diffusion, whole |
# | [10](10_showdown.ipynb) | All families on one table |
#
# All families draw the same pictures, with the same library and the same yardstick, so that the last table is fair; text to
# image has captioned emoji.

# %% [markdown]
# ## 3. The pictures
#
# Fashion-MNIST: 70,000 grey photographs of clothes, 28 x 28 pixels, ten classes (Xiao, Rasul and Vollgraf 2017); here 55,000 to train on, 5,000 to choose by, 10,000 to test. It is
# small enough to train on while you watch and hard enough to tell good models from bad ones. Eight of each class:

# %%
images, classes = fashion_mnist("train")
rows = {name: to_float(images[classes == k][:8]) for k, name in enumerate(CLASSES)}
show_rows(rows, size=0.75);

# %% [markdown]
# ## 4. How to work here
#
# - **Run** a cell with Shift + Enter. *Run > Run All Cells* runs the page.
# - **Drag** whatever has a slider. The frames are in your browser already; nothing is computed as you drag.
# - **Break** things. To start afresh: *Kernel > Restart Kernel*, then run again. This page is your own copy, in `my/`:
#   change and save what you like. `python3 course.py reset 00` in a terminal gives it back as it came and keeps yours.
# - **Read the library.** A cell whose first line is `# course_lib/...` holds that piece of the library, to the letter.
#   A test fails where the two differ, so what you read is what runs.
# - **Rebuild** what matters: a stub for you to fill, and a grader that knows the usual wrong turns. What you wrote is
#   used in the next cells, once it is right. Until then the library's own version is, and the page still runs.
#
# ## 5. Four conventions, rebuilt
#
# Every function of this course keeps four promises. Write them once, and no shape will surprise you later.
#
# ### Images are float32 in [-1, 1], shaped [B, C, H, W]
#
# On disk a pixel is a byte from 0 (black) to 255 (white). A network wants numbers around zero. `B` images of `C`
# channels (here one: grey), `H` rows and `W` columns.

# %%
from course_lib.exercises.lesson_00 import BYTES_TO_IMAGES


def images_from_bytes(pixels):
    """uint8 [B, H, W] to float32 [B, 1, H, W], with 0 at -1 and 255 at 1."""
    raise NotImplementedError  # your line here


BYTES_TO_IMAGES(images_from_bytes)

# %% [markdown]
# What you wrote now makes the next picture.

# %%
my_images = BYTES_TO_IMAGES.or_library(images_from_bytes)
batch = my_images(torch.tensor(images[:8]))
print("shape", tuple(batch.shape), "from", batch.min().item(), "to", batch.max().item())
show_images(batch, columns=8, size=1.2);

# %% [markdown]
# ### One number an image multiplies all its pixels
#
# Each image of a batch may be at another noise level, so `alpha` has shape [B], and the images [B, 1, 28, 28]. PyTorch
# lines shapes up **from the right**. What goes wrong if you just write `x * alpha`? With 28 images, nothing is
# reported at all: that is the danger. Here it is, on purpose: 28 copies of one picture, of which the first should be bright
# and the last dark.

# %%
copies = batch[:1].repeat(28, 1, 1, 1) + 1  # + 1: from 0, black, to 2, white
factor = torch.linspace(1, 0, 28)
show_images((copies * factor)[::4] - 1, columns=7, size=1.2);

# %% [markdown]
# No error, and seven times the same picture, dark on its right: the factors went to the **columns**.

# %%
from course_lib.exercises.lesson_00 import SCALE_EACH


def scale_each(x, factor):
    """x [B, C, H, W] and factor [B]: image i times factor[i]."""
    raise NotImplementedError  # your line here


SCALE_EACH(scale_each)

# %% [markdown]
# The same boot, dimmed from picture to picture.

# %%
my_scale = SCALE_EACH.or_library(scale_each)
faded = my_scale(batch[:1].repeat(8, 1, 1, 1) + 1, torch.linspace(1, 0, 8)) - 1
show_images(faded, columns=8, size=1.2);

# %% [markdown]
# ### Randomness has an owner
#
# A run that cannot be repeated cannot be debugged. So every random number comes from a `torch.Generator` that the
# caller made: the same seed gives the same noise, today and on another machine, and so (nearly: processors round
# differently) the same picture.

# %%
from course_lib.exercises.lesson_00 import NOISE_LIKE


def noise_like(x, seed):
    """Standard Normal noise of x's shape, from a torch.Generator with this seed."""
    raise NotImplementedError  # two lines here


NOISE_LIKE(noise_like)

# %% [markdown]
# Your noise, from two seeds, and what the network makes of each when both are told "sneaker" (class 7). The noise decides
# which sneaker it is: the picture is a function of the noise.

# %%
my_noise = NOISE_LIKE.or_library(noise_like)
starts = torch.cat([my_noise(torch.zeros(4, 1, 28, 28), seed) for seed in (1, 2)])
sneaker = torch.full((8,), 7, device=device)
with autocast(device):
    *_, last = sample_ddim(denoise, schedule, starts.to(device), schedule.times(20), sneaker)
shown = {"noise": starts / 3, "what the net makes of it": last.x_t.cpu()}
show_images(shown, columns=4, size=2);

# %% [markdown]
# ### An error is squared, and averaged over pixels
#
# Networks here learn by making one number small. For two batches of images it is the mean squared difference, one
# number an image; the loss is the mean of those.

# %%
from course_lib.exercises.lesson_00 import ERROR_PER_IMAGE


def error_per_image(a, b):
    """Mean squared difference of a and b, both [B, C, H, W]: a tensor [B]."""
    raise NotImplementedError  # your line here


ERROR_PER_IMAGE(error_per_image)

# %% [markdown]
# With it, ask which training image is nearest to each of the pictures that the network just made. Has it copied?
# Compare each pair.

# %%
my_error = ERROR_PER_IMAGE.or_library(error_per_image)
known, made = to_float(images), last.x_t.cpu()
nearest = [my_error(known, picture[None].expand_as(known)).argmin().item() for picture in made]
show_rows({"made": made, "nearest in\ntraining": known[nearest]}, size=1.0);

# %% [markdown]
# The pairs are alike in kind but differ in sole, collar and shading: new pictures, near old ones. Lesson 04 asks why a
# *perfect* denoiser would have copied them exactly.
#
# ## 6. Is this machine fit?
#
# One line each, with the mend for whatever is wrong. The same lines come from `python3 course.py doctor`.

# %%
from course_lib import doctor

doctor.main();

# %% [markdown]
# ## Where next
#
# **[01_sampling_problem](01_sampling_problem.ipynb)**: why a picture is hard to draw, one pixel after the other or all at
# once. Or straight to **[04_diffusion](04_diffusion.ipynb)**, the sculpture in the marble, and
# **[05_noise_predictor](05_noise_predictor.ipynb)**: how the network that you used above was trained.
