"""How images are made from a shipped diffusion net, and how they are measured."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from course_lib.device import autocast, to_device
from course_lib.diffusion import SAMPLERS, autoguided, clipped, final, guided
from course_lib.files import written_whole
from course_lib.metrics import Moments, fashion_features, frechet_distance
from course_lib.metrics.fashion import FEATURE_NET, fashion_floor, fashion_reference
from course_lib.models import UNet
from course_lib.recipes import recipe_of
from course_lib.weights import load_weights, read_card


@dataclass(frozen=True)
class Sampling:
    """A way of making images; by default the plain one."""

    sampler: str = "ddim"
    guidance: float = 1.0  # classifier-free: 1 is plain, beyond it the net is called twice
    guide: str | None = (
        None  # a weaker snapshot that the net is led away from (`autoguided`): one more call
    )
    guide_scale: float = 2.0  # how far away: 1 is plain

    def __post_init__(self):
        if self.sampler not in SAMPLERS:
            raise ValueError(
                f"There is no sampler {self.sampler!r}; there are: {', '.join(SAMPLERS)}."
            )

    @property
    def calls_a_look(self) -> int:
        """Network calls for one look at x_t, of whichever net."""
        own = 1 if self.guidance in (0, 1) else 2
        if self.guide is None or self.guide_scale == 1:
            return own
        return 1 if self.guide_scale == 0 else own + 1

    def steps(self, calls: int) -> int:
        """The steps that `calls` network calls pay for; ValueError where they are too few for
        one.
        """
        looks = calls // self.calls_a_look
        if looks < 1:
            raise ValueError(
                f"With this guidance a step takes {self.calls_a_look} network calls, so ask "
                "for as many."
            )
        return (looks + 1) // 2 if self.sampler == "heun" else looks

    def calls(self, steps: int) -> int:
        """Network calls of `steps` steps: Heun looks twice a step, but once on the last."""
        return self.calls_a_look * (2 * steps - 1 if self.sampler == "heun" else steps)


def _diffusion_recipe(name: str):
    """The module of the recipe behind a shipped diffusion net; ValueError where the name is
    another's, or nobody's.
    """
    read_card(name)
    kind = recipe_of(name)
    if not hasattr(kind, "denoiser"):
        raise ValueError(f"{name} makes no images.")
    return kind


def best_sampling(name: str, calls: int) -> Sampling:
    """The way of sampling that the model's recipe found best for so many calls."""
    return _diffusion_recipe(name).best_sampling(name, calls)


def _check_counts(n: int, calls: int):
    if n < 1 or calls < 1:
        raise ValueError(f"Ask for 1 or more images in 1 or more calls, not {n} in {calls}.")


def image_batches(
    name: str,
    n: int,
    calls: int,
    sampling: Sampling = Sampling(),
    *,
    seed: int = 0,
    labels=None,
    batch_size: int = 256,
    net: UNet | None = None,
    start: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The images of `generate` as they are made, a batch of (images, labels) at a time,
    beginning with number `start`.

    A run of fewer images is the start of a longer one, and one that was cut goes on with the
    same images: each starts
    from noise of its own. Samplers with fresh noise draw it by the batch, so there the two
    agree where batches do, that is for the same batch_size and a start at a multiple of it.
    """
    _check_counts(n, calls)
    if not 0 <= seed < 2**31:
        raise ValueError(f"A seed is a whole number from 0 to 2^31 - 1, not {seed}.")
    kind = _diffusion_recipe(name)
    net = net if net is not None else load_weights(name)
    device, plan, classes = next(net.parameters()).device, kind.schedule(), net.config.classes
    labels = torch.arange(n) % classes if labels is None else torch.as_tensor(labels)
    if labels.shape != (n,) or labels.min() < 0 or labels.max() > net.config.null_class:
        raise ValueError(
            f"labels must be {n} classes from 0 to {classes - 1} ({classes}: no class)."
        )
    denoise = guided(kind.denoiser(net), net.config.null_class, sampling.guidance)
    if sampling.guide is not None:
        weaker = _diffusion_recipe(sampling.guide).denoiser(
            load_weights(sampling.guide, device=device)
        )
        denoise = autoguided(denoise, weaker, sampling.guide_scale)
    denoise, times = clipped(denoise, plan), plan.times(sampling.steps(calls))
    noise = torch.randn(n, *kind.IMAGE_SHAPE, generator=torch.Generator().manual_seed(seed))
    for i in range(start, n, batch_size):
        x, cond = to_device((noise[i : i + batch_size], labels[i : i + batch_size]), device)
        options = {}
        if sampling.sampler in (
            "ddpm",
            "ddim",
        ):  # fresh noise of its own for each batch, so that a cut changes nothing
            options["generator"] = torch.Generator().manual_seed((seed << 32) + i + 1)
        with autocast(device):
            images = final(
                SAMPLERS[sampling.sampler](denoise, plan, x, times, cond, **options)
            )
        yield images.cpu(), cond.cpu()


def generate(
    name: str, n: int, calls: int, sampling: Sampling = Sampling(), **options
) -> tuple[Tensor, Tensor]:
    """n images [n, 1, 28, 28] in [-1, 1] and their labels [n], on the CPU, in at most `calls`
    network calls each.

    All calls count: those without the class for guidance, those of the guide, and both looks
    of a Heun step. The noise is drawn on the CPU from `seed`, the same on every device.
    Options, as of `image_batches`: seed = 0; labels, by default 0 .. 9 in turn; batch_size =
    256; net, in place of the weights of that name.
    """
    images, labels = zip(*image_batches(name, n, calls, sampling, **options), strict=True)
    return torch.cat(images), torch.cat(labels)


def _take_up(path: Path, made: str, n: int) -> tuple[Moments, float]:
    """What an evaluation of images made in the way `made` has left in a checkpoint: their
    moments, and the seconds.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            kept = file.metadata() or {}
            moments = Moments(
                int(kept["n"]), file.get_tensor("mean"), file.get_tensor("scatter")
            )
            was, seconds = kept["made"], float(kept["seconds"])
    except (SafetensorError, KeyError, ValueError):
        raise ValueError(
            f"{path} is no checkpoint of an evaluation: name another file or a new one."
        ) from None
    if was != made:
        raise ValueError(
            f"{path} holds images made in another way, {was}: name another file or a new one."
        )
    if moments.n > n:
        raise ValueError(
            f"{path} holds {moments.n} images already: ask for as many or more, not {n}."
        )
    return moments, seconds


def _put_down(path: Path, made: str, moments: Moments, seconds: float):
    from safetensors.torch import save_file

    kept = {"n": str(moments.n), "made": made, "seconds": f"{seconds:.3f}"}
    with written_whole(path) as part:
        save_file({"mean": moments.mean, "scatter": moments.scatter}, part, kept)


def evaluate(
    name: str,
    n: int,
    calls: int,
    sampling: Sampling | None = None,
    *,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    batch_size: int = 256,
) -> dict:
    """The course's figures of a model: Fréchet distance of n samples, its floor, and what the
    samples cost.

    n of 2,048 and below is compared with 2,048 test images, above with all 10,000. sampling:
    by default the best. checkpoint: a file for the moments so far, written after each batch
    and gone on from, for runs of hours; a run of more images goes on from that of fewer.
    Raises ValueError where it holds something else.
    """
    _check_counts(n, calls)
    sampling = sampling or best_sampling(name, calls)
    floor = fashion_floor(n)  # before sampling, since it refuses an n that is too large
    reference = Moments.of(fashion_reference(n))
    crowd, seconds, net = Moments.empty(len(reference.mean)), 0.0, load_weights(name)
    weights = [
        read_card(each)["sha256"][:12] for each in (name, sampling.guide, FEATURE_NET) if each
    ]
    made = json.dumps({"calls": calls, **asdict(sampling), "seed": seed, "weights": weights})
    if checkpoint is not None and Path(checkpoint).exists():
        crowd, seconds = _take_up(Path(checkpoint), made, n)
    batches = image_batches(
        name, n, calls, sampling, seed=seed, net=net, batch_size=batch_size, start=crowd.n
    )
    with tqdm(
        total=n,
        initial=crowd.n,
        unit="image",
        desc=f"{calls} calls",
        leave=False,
        disable=None,
    ) as bar:
        while crowd.n < n:
            began = time.perf_counter()
            images, _ = next(batches)
            seconds += time.perf_counter() - began
            crowd += Moments.of(fashion_features(images))
            bar.update(len(images))
            if checkpoint is not None:
                _put_down(Path(checkpoint), made, crowd, seconds)
    return {
        "name": name,
        "fd": round(frechet_distance(crowd, reference), 4),
        "fd_floor": round(floor, 4),
        "n": n,
        "calls": sampling.calls(sampling.steps(calls)),
        "seconds_per_image": round(seconds / n, 5),
        "parameters": sum(p.numel() for p in net.parameters()),
        **asdict(sampling),
        "reference": reference.n,
        "features": "fashion-classifier",
        "seed": seed,
    }
