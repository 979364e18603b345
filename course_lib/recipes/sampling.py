"""How images are made from a shipped diffusion net, and how they are measured."""

import time
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from course_lib.device import autocast, to_device
from course_lib.diffusion import SAMPLERS, autoguided, clipped, final, guided
from course_lib.metrics import fashion_features, frechet_distance
from course_lib.metrics.fashion import fashion_floor, fashion_reference
from course_lib.models import UNet
from course_lib.recipes.ddpm_fashion import CONFIG, NAME, denoiser, schedule
from course_lib.weights import load_weights


@dataclass(frozen=True)
class Sampling:
    """A way of making images; by default the plain one."""

    sampler: str = "ddim"
    guidance: float = 1.0  # classifier-free: 1 is plain, beyond it the net is called twice
    guide: str | None = None  # a weaker snapshot that the net is led away from (`autoguided`): one more call
    guide_scale: float = 2.0  # how far away: 1 is plain

    def __post_init__(self):
        if self.sampler not in SAMPLERS:
            raise ValueError(f"There is no sampler {self.sampler!r}; there are: {', '.join(SAMPLERS)}.")

    @property
    def calls_a_look(self) -> int:
        """Network calls for one look at x_t, of whichever net."""
        own = 1 if self.guidance in (0, 1) else 2
        if self.guide is None or self.guide_scale == 1:
            return own
        return 1 if self.guide_scale == 0 else own + 1

    def steps(self, calls: int) -> int:
        """The steps that `calls` network calls pay for; ValueError where they are too few for one."""
        looks = calls // self.calls_a_look
        if looks < 1:
            raise ValueError(f"With this guidance a step takes {self.calls_a_look} network calls, so ask for as many.")
        return (looks + 1) // 2 if self.sampler == "heun" else looks

    def calls(self, steps: int) -> int:
        """The network calls of `steps` steps: Heun looks twice a step, but once on the last."""
        return self.calls_a_look * (2 * steps - 1 if self.sampler == "heun" else steps)


BEST = Sampling("dpmpp_2m", guide=f"{NAME}-250k", guide_scale=2.3)  # chosen in benchmarks/choose_sampling.md


def best_sampling(name: str, calls: int) -> Sampling:
    """The way that gives the least distance for so many calls: with few, steps are worth more than a guide."""
    return BEST if name == NAME and calls >= 20 else Sampling(BEST.sampler)


def _check_counts(n: int, calls: int):
    if n < 1 or calls < 1:
        raise ValueError(f"Ask for 1 or more images in 1 or more calls, not {n} in {calls}.")


def _load_unet(name: str, device=None) -> UNet:
    net = load_weights(name, device=device)
    if not isinstance(net, UNet):
        raise ValueError(f"{name} is a {type(net).__name__}: it makes no images.")
    return net


def generate(
    name: str,
    n: int,
    calls: int,
    sampling: Sampling = Sampling(),
    *,
    seed: int = 0,
    labels=None,
    batch_size: int = 256,
    net: UNet | None = None,
) -> tuple[Tensor, Tensor]:
    """n images [n, 1, 28, 28] in [-1, 1] and their labels [n], on the CPU, in at most `calls` network calls each.

    All calls count: those without the class for guidance, those of the guide, and both looks of a Heun step. The noise
    is drawn on the CPU from `seed`, the same on every device. labels: by default 0 .. 9 in turn. net, if given, is
    used in place of the weights of that name.
    """
    _check_counts(n, calls)
    net = net if net is not None else _load_unet(name)
    device, plan = next(net.parameters()).device, schedule()
    labels = torch.arange(n) % CONFIG.classes if labels is None else torch.as_tensor(labels)
    if labels.shape != (n,) or labels.min() < 0 or labels.max() > CONFIG.null_class:
        raise ValueError(f"labels must be {n} classes from 0 to 9 (10: no class).")
    denoise = guided(denoiser(net), CONFIG.null_class, sampling.guidance)
    if sampling.guide is not None:
        denoise = autoguided(denoise, denoiser(_load_unet(sampling.guide, device)), sampling.guide_scale)
    denoise, times = clipped(denoise, plan), plan.times(sampling.steps(calls))
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator} if sampling.sampler in ("ddpm", "ddim") else {}
    noise = torch.randn(n, 1, 28, 28, generator=generator)
    images = []
    for x, cond in zip(noise.split(batch_size), labels.split(batch_size), strict=True):
        x, cond = to_device((x, cond), device)
        with autocast(device):
            images.append(final(SAMPLERS[sampling.sampler](denoise, plan, x, times, cond, **options)).cpu())
    return torch.cat(images), labels


def evaluate(name: str, n: int, calls: int, sampling: Sampling | None = None, *, seed: int = 0) -> dict:
    """The course's figures of a model: Fréchet distance of n samples, its floor, and what the samples cost.

    n of 2,048 and below is compared with 2,048 test images, above with all 10,000. sampling: by default the best.
    """
    _check_counts(n, calls)
    net, sampling = _load_unet(name), sampling or best_sampling(name, calls)
    floor = fashion_floor(n)  # before sampling, since it refuses an n that is too large
    began = time.perf_counter()
    images, _ = generate(name, n, calls, sampling, seed=seed, net=net)
    seconds = time.perf_counter() - began
    return {
        "name": name,
        "fd": round(frechet_distance(fashion_features(images), fashion_reference(n)), 4),
        "fd_floor": round(floor, 4),
        "n": n,
        "calls": sampling.calls(sampling.steps(calls)),
        "seconds_per_image": round(seconds / n, 5),
        "parameters": sum(p.numel() for p in net.parameters()),
        **asdict(sampling),
        "reference": len(fashion_reference(n)),
        "features": "fashion-classifier",
        "seed": seed,
    }
