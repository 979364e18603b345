"""What the recipes of class-conditional diffusion nets have in common."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from course_lib.diffusion import Denoiser, clipped, denoiser_from
from course_lib.draws import Draws
from course_lib.metrics.measure import Maker
from course_lib.recipes.conditions import LABEL_FLAG, labels_of
from course_lib.recipes.sampling import (
    SAMPLING_FLAGS,
    Sampling,
    diffusion_batches,
    guided_by,
)
from course_lib.runs import Flag, Recipe, parameters_of
from course_lib.weights import load_denoiser, read_card


def drop_labels(labels: Tensor, null_class: int, draws: Draws, share: float = 0.1) -> Tensor:
    """Replace a tenth of the labels [B] by "no class" (Ho & Salimans 2022, Algorithm 1, line
    3).
    """
    dropped = draws.uniform(len(labels)) < share
    return torch.where(dropped.to(labels.device), null_class, labels)


@dataclass(frozen=True, kw_only=True)
class DiffusionRecipe(Recipe):
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

    def best(self, name: str, calls: int) -> Sampling:
        """The way that gives the least distance for so many calls."""
        return Sampling("unipc")

    def flags(self) -> tuple[Flag, ...]:
        return (*SAMPLING_FLAGS, LABEL_FLAG)

    def conditions(self, n: int, *, label: int | None = None):
        return None if label is None else [label] * n

    def maker(
        self,
        module: nn.Module,
        name: str,
        *,
        calls: int = 20,
        batch_size: int = 256,
        sampling: Sampling | None = None,
        **options,
    ) -> Maker:
        """options: those of `Sampling`, in place of one whole; where all are None or left out,
        the best way.
        """
        device, config = next(module.parameters()).device, module.config
        sampling = sampling or Sampling.asked(self.best(name, calls), **options)
        weaker = None
        if sampling.guide is not None:
            weaker = load_denoiser(sampling.guide, device=device)
        denoise = denoiser_from(module, self.reading())
        plan = denoise.schedule
        denoise = guided_by(denoise, sampling, config.null_class, weaker)
        files = [file for file in (name, sampling.guide) if file]
        return Maker(
            name=name,
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
            weights=tuple(read_card(file)["sha256"] for file in files),
            parameters=parameters_of(module),
        )
