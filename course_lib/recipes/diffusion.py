"""What the recipes of class-conditional diffusion nets have in common."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from course_lib.device import precision
from course_lib.diffusion import Denoiser, clipped, denoiser_from
from course_lib.draws import Draws
from course_lib.errors import CourseError
from course_lib.metrics.measure import Maker
from course_lib.recipes.conditions import Labelled, drop_labels, labels_of
from course_lib.recipes.makers import maker_from
from course_lib.recipes.sampling import (
    SAMPLING_FLAGS,
    AutoguidedSampling,
    diffusion_batches,
    guided_by,
)
from course_lib.runs import Flag, Recipe
from course_lib.weights import load_denoiser


def guide_of(module: nn.Module, name: str, guide: str) -> Denoiser:
    """The weaker model that `name` is led away from, on its device; CourseError where that
    makes other images.
    """
    weaker = load_denoiser(guide, device=next(module.parameters()).device)
    if type(weaker.net) is not type(module):
        raise CourseError(
            f"{guide} can't guide {name}: it makes other images. Name a snapshot of {name}."
        )
    return weaker


@dataclass(frozen=True, kw_only=True)
class DiffusionRecipe(Labelled, Recipe):
    """A class-conditional diffusion net in pixels: how it is read, trained and sampled."""

    shape: tuple[int, int, int] = (1, 28, 28)  # (C, H, W) of an image
    schedule: dict = field(default_factory=lambda: {"name": "cosine", "T": 1000})
    target: str = "v"
    drop: float = 0.1  # of the labels, so that the same net learns to work without one

    yardstick = "fashion-mnist"

    def reading(self) -> dict:
        """How the net's answer is read, for the card."""
        return {"schedule": self.schedule, "target": self.target}

    def loss_on(self, denoise: Denoiser, draws: Draws):
        """The loss of a training step: batch of (images, labels) -> {"loss", "per_image",
        "t"}.
        """

        def loss(batch) -> dict[str, Tensor]:
            x0, labels = batch
            cond = drop_labels(labels, self.config.null_class, draws, self.drop)
            return denoise.loss(x0, cond, draws=draws)

        return loss

    def best(self, name: str, calls: int) -> AutoguidedSampling:
        """The way that gives the least distance for so many calls."""
        return AutoguidedSampling("unipc")

    def flags(self) -> tuple[Flag, ...]:
        return (*SAMPLING_FLAGS, *super().flags())

    def maker(
        self,
        module: nn.Module,
        name: str,
        *,
        calls: int = 20,
        batch_size: int = 256,
        sampling: AutoguidedSampling | None = None,
        **options,
    ) -> Maker:
        """options: those of `AutoguidedSampling`, in place of one whole; where all are None or
        left out, the best way.
        """
        device, config = next(module.parameters()).device, module.config
        sampling = sampling or AutoguidedSampling.asked(self.best(name, calls), **options)
        weaker = None if sampling.guide is None else guide_of(module, name, sampling.guide)
        denoise = denoiser_from(module, self.reading())
        plan = denoise.schedule
        denoise = guided_by(denoise, sampling, config.null_class, weaker)
        return maker_from(
            module,
            name,
            shape=self.shape,
            yardstick=self.yardstick,
            cost=sampling.cost(calls, plan),
            batches=diffusion_batches(
                clipped(denoise, plan),
                plan,
                sampling,
                sampling.steps(calls, plan.T),
                self.shape,
                device=device,
                conditions=lambda n, cond: labels_of(n, config.classes, cond),
                batch_size=batch_size,
            ),
            beside=[] if sampling.guide is None else [sampling.guide],
            precision=precision(device),
        )
