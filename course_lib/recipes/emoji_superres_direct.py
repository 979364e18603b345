"""Super-resolution of emoji by a squared error: the mean of what a thumbnail leaves open."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from course_lib.draws import Draws, ImageDraws
from course_lib.metrics.measure import Maker
from course_lib.models.superres import SuperRes
from course_lib.recipes.emoji_superres import CALLS, SuperResRecipe
from course_lib.recipes.emoji_superres import RECIPE as DIFFUSION
from course_lib.recipes.sampling import Sampling
from course_lib.runs import Flag


@dataclass(frozen=True, kw_only=True)
class DirectRecipe(SuperResRecipe):
    """The net of `emoji-superres` at its last time, where it sees the thumbnail alone."""

    begins_as: str | None = None

    def about(self) -> dict:
        said = super().about()
        del said["reading"]  # it is no denoiser: it has seen time T alone
        return {
            **said,
            "what": "Super-resolution of emoji, 16x16 to 64x64, by a squared error: the mean "
            "of the pictures that a thumbnail leaves open; the EMA's weights.",
        }

    def loss_on(self, net, draws: Draws) -> Callable:
        """The squared error at the last time: nothing is drawn."""

        def loss(residual: Tensor, thumb: Tensor) -> dict[str, Tensor]:
            t = thumb.new_full((len(thumb),), self.schedule["T"])
            found = net(residual.new_zeros(residual.shape), t, thumb).float()
            per_image = (found - residual).square().flatten(1).mean(dim=1)
            return {"loss": per_image.mean(), "per_image": per_image.detach()}

        return loss

    def flags(self) -> tuple[Flag, ...]:
        return ()

    def way(self, module: SuperRes, sampling: Sampling, calls: int) -> tuple[Callable, dict]:
        def draw(noise: Tensor, thumb: Tensor, draws: ImageDraws) -> Tensor:
            return module.mean(thumb, self.schedule["T"])

        return draw, {"calls": 1}

    def maker(self, module: SuperRes, name: str, *, calls: int = 1, batch_size=64) -> Maker:
        return super().maker(module, name, calls=CALLS, batch_size=batch_size)


RECIPE = DirectRecipe(
    name="emoji-superres-direct",
    **{
        key: getattr(DIFFUSION, key)
        for key in ("config", "batch_size", "lr", "legs", "schedule")
    },
)
