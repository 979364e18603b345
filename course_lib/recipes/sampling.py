"""How images are made from any diffusion net: ways of sampling, and makers of them."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from course_lib.device import autocast, to_device
from course_lib.diffusion import FRESH, SAMPLERS, Schedule, autoguided, final, guided
from course_lib.draws import ImageDraws
from course_lib.errors import CourseError
from course_lib.recipes.makers import start_noise
from course_lib.runs import Flag

MOST_GUIDANCE = 100.0  # beyond it every image is a caricature, and float32 soon overflows


def check_scale(name: str, value: float):
    """CourseError where a scale of guidance is no number that makes a picture."""
    if not (math.isfinite(value) and abs(value) <= MOST_GUIDANCE):
        raise CourseError(
            f"{name} is a number from -{MOST_GUIDANCE:g} to {MOST_GUIDANCE:g}, not {value}."
        )


@dataclass(frozen=True)
class Sampling:
    """A way of making images; by default the plain one."""

    sampler: str = "ddim"
    guidance: float = 1.0  # classifier-free: 1 is plain, beyond it the net is called twice

    def __post_init__(self):
        if self.sampler not in SAMPLERS:
            raise CourseError(
                f"There is no sampler {self.sampler!r}; there are: {', '.join(SAMPLERS)}."
            )
        check_scale("guidance", self.guidance)

    @property
    def calls_a_look(self) -> int:
        """Network calls for one look at x_t, of whichever net."""
        return 1 if self.guidance in (0, 1) else 2

    def steps(self, calls: int, most: int | None = None) -> int:
        """The steps that `calls` network calls pay for; CourseError where they are too few for
        one, or more than the schedule's `most`.
        """
        if calls < 1:
            raise CourseError(f"Ask for images in 1 or more calls, not {calls}.")
        looks = calls // self.calls_a_look
        if looks < 1:
            raise CourseError(
                f"With this guidance a step takes {self.calls_a_look} network calls, so ask "
                "for as many."
            )
        steps = (looks + 1) // 2 if self.sampler == "heun" else looks
        if most is not None and steps > most:
            raise CourseError(
                f"A sampler on this schedule takes 1 to {most} steps, not {steps}: ask for "
                "fewer calls."
            )
        return steps

    def calls(self, steps: int) -> int:
        """Network calls of `steps` steps: Heun looks twice a step, but once on the last."""
        return self.calls_a_look * (2 * steps - 1 if self.sampler == "heun" else steps)

    def cost(self, calls: int, schedule: Schedule) -> dict:
        """What an image costs in this way, of `calls` network calls at most."""
        return {"calls": self.calls(self.steps(calls, schedule.T)), **asdict(self)}


@dataclass(frozen=True)
class AutoguidedSampling(Sampling):
    """A way that may be led away from a weaker snapshot, too (`autoguided`)."""

    guide: str | None = None  # the snapshot: one more call a look
    guide_scale: float = 2.0  # how far away: 1 is plain

    def __post_init__(self):
        super().__post_init__()
        check_scale("guide_scale", self.guide_scale)

    @property
    def calls_a_look(self) -> int:
        own = super().calls_a_look
        if self.guide is None or self.guide_scale == 1:
            return own
        return 1 if self.guide_scale == 0 else own + 1

    @staticmethod
    def asked(best: "AutoguidedSampling", **options) -> "AutoguidedSampling":
        """The way that options ask for, each None where nothing was said; `best` where none
        was, and its sampler where no other is named.
        """
        given = {key: value for key, value in options.items() if value is not None}
        if "guide_scale" in given and "guide" not in given:
            raise CourseError(
                "--guide-scale says how far to lead away from a snapshot: name it with "
                "--guide."
            )
        return replace(AutoguidedSampling(best.sampler), **given) if given else best


SAMPLING_FLAGS = (
    Flag(
        "--calls",
        {
            "type": int,
            "default": 20,
            "help": "network calls an image, those of guidance counted in (20)",
        },
    ),
    Flag(
        "--sampler",
        {
            "metavar": "NAME",
            "help": f"{', '.join(SAMPLERS)}; by default the model's best way, guide and all",
        },
    ),
    Flag(
        "--guidance",
        {
            "type": float,
            "help": "classifier-free guidance: 1 is plain, others take two calls",
        },
    ),
    Flag(
        "--guide",
        {"metavar": "NAME", "help": "a weaker snapshot to be led away from: one more call"},
    ),
    Flag("--guide-scale", {"type": float, "help": "how far away: 1 is plain"}),
)


def guided_by(
    denoise: Callable, sampling: Sampling, null_cond, weaker: Callable | None = None
) -> Callable:
    """A denoiser with the guidance of a way of sampling: `weaker` is that of its guide, if it
    is an AutoguidedSampling with one.
    """
    denoise = guided(denoise, null_cond, sampling.guidance)
    if weaker is not None:
        denoise = autoguided(denoise, weaker, sampling.guide_scale)
    return denoise


def diffusion_batches(
    denoise: Callable,
    schedule: Schedule,
    sampling: Sampling,
    steps: int,
    shape: Sequence[int],
    *,
    device: torch.device,
    conditions: Callable,
    encode: Callable = lambda shown: shown,
    decode: Callable[[Tensor], Tensor] = lambda x: x,
    batch_size: int = 256,
) -> Callable[..., Iterator[tuple[Tensor, object]]]:
    """The `batches` of a Maker that goes from noise of `shape` to images in `steps` steps.

    conditions(n, cond) gives what the n images are of, labels [n] or n texts; encode makes
    what the net is told from a batch's share of them, and decode images from what the sampler
    ends with: latents, for example.
    """

    def batches(n: int, seed: int, cond=None, start: int = 0):
        shown, times = conditions(n, cond), schedule.times(steps)
        noise = start_noise(n, seed, *shape)
        for i in range(start, n, batch_size):
            told = shown[i : i + batch_size]
            x, c = to_device((noise[i : i + batch_size], encode(told)), device)
            options = {}
            if sampling.sampler in FRESH:
                options["draws"] = ImageDraws(seed, range(i, i + len(x)))
            with torch.no_grad(), autocast(device):
                sample = SAMPLERS[sampling.sampler]
                x = decode(final(sample(denoise, schedule, x, times, c, **options)))
            yield x.float().cpu(), told

    return batches
