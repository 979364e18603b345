"""Stable Diffusion as a whole: the course's nets and samplers with the published settings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from course_lib.diffusion import Denoiser, Schedule, Step, guided, sample_ddim
from course_lib.diffusion.denoiser import Denoise
from course_lib.draws import check_seed
from course_lib.errors import CourseError
from course_lib.models.autoencoder import Autoencoder
from course_lib.models.clip import TextTower
from course_lib.models.text_unet import TextUNet
from course_lib.text import Tokenizer

TARGETS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}  # their names and ours
LARGEST = 2048  # pixels a side


@dataclass(frozen=True)
class Sampling:
    """What a scheduler's config says of DDIM, with its own words and defaults."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    steps_offset: int = 0  # added to each of their times
    set_alpha_to_one: bool = True  # whether the last step ends without noise
    clip_sample: bool = True  # x0 to +- clip_sample_range; the noise stays as it was seen
    clip_sample_range: float = 1.0
    prediction_type: str = "epsilon"
    timestep_spacing: str = "leading"
    thresholding: bool = False
    trained_betas: None = None
    rescale_betas_zero_snr: bool = False

    def __post_init__(self):
        known = {
            "beta_schedule": ("linear", "scaled_linear"),
            "prediction_type": tuple(TARGETS),
            "timestep_spacing": ("leading",),
            "thresholding": (False,),
            "trained_betas": (None,),
            "rescale_betas_zero_snr": (False,),
        }
        for name, fine in known.items():
            if getattr(self, name) not in fine:
                raise CourseError(
                    f"The scheduler's {name} is {getattr(self, name)!r}; Stable Diffusion "
                    f"1.x has {' or '.join(map(repr, fine))}."
                )

    def schedule(self) -> Schedule:
        """Our schedule: their time t, counted from 0, is our t + 1."""
        make = {"linear": Schedule.linear, "scaled_linear": Schedule.scaled_linear}
        return make[self.beta_schedule](
            self.num_train_timesteps, self.beta_start, self.beta_end
        )

    def times(self, steps: int) -> list[int]:
        """The times of so many steps, ours; the last is 1 where theirs ends with some noise
        left, and 0 where it doesn't.
        """
        T = self.num_train_timesteps
        if not isinstance(steps, int) or not 1 <= steps <= T - self.steps_offset:
            raise CourseError(f"Ask for 1 to {T - self.steps_offset} steps, not {steps}.")
        stride = T // steps
        times = [i * stride + self.steps_offset + 1 for i in reversed(range(steps))]
        last = 0 if self.set_alpha_to_one else 1
        return times if times[-1] == last else [*times, last]


@dataclass(frozen=True, eq=False)
class Pipeline:
    """Text to image: frozen nets on one device and in one precision."""

    tower: TextTower
    unet: TextUNet
    autoencoder: Autoencoder
    tokenizer: Tokenizer
    sampling: Sampling

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> Tensor:
        """Texts to token states [B, 77, 768]."""
        device = self.tower.tokens.weight.device
        return self.tower(self.tokenizer.encode_all(texts).to(device))

    def denoiser(self, guidance: float = 1.0, negative: str = "") -> Denoise:
        """The U-Net as a guided denoiser on our times, clipped where theirs is: after
        guidance.
        """
        most = self.sampling.clip_sample_range
        net = Denoiser(
            lambda x_t, t, cond: self.unet(x_t, t - 1, cond),
            self.sampling.schedule(),
            TARGETS[self.sampling.prediction_type],
        )
        steer = guided(net, self.read([negative])[0], guidance)
        if not self.sampling.clip_sample:
            return steer

        def denoise(x_t: Tensor, t: int | Tensor, cond=None) -> tuple[Tensor, Tensor]:
            x0, eps = steer(x_t, t, cond)
            return x0.clamp(-most, most), eps

        return denoise

    def steps(
        self,
        z: Tensor,
        texts: Sequence[str],
        *,
        steps: int = 20,
        guidance: float = 7.5,
        negative: str = "",
    ) -> Iterator[Step]:
        """DDIM from noise z [B, 4, h, w] for B texts: a Step before each move."""
        denoise, times = self.denoiser(guidance, negative), self.sampling.times(steps)
        schedule, cond = self.sampling.schedule(), self.read(texts)
        yield from sample_ddim(denoise, schedule, z, times, cond)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Latents of the diffusion [B, 4, h, w] to pictures [B, 3, 8 h, 8 w] in [-1, 1]."""
        std, mean = (
            getattr(self.autoencoder, f"latent_{name}")[:, None, None].to(z.dtype)
            for name in ("std", "mean")
        )
        return self.autoencoder.decode(z * std + mean).clamp(-1, 1)

    def paint(
        self, text: str, *, seed: int = 0, size: int = 512, progress: bool = False, **options
    ) -> Tensor:
        """A picture [3, size, size] in [-1, 1], float32 on the CPU. options: those of
        `steps`. CourseError where it is broken, as half precision may break one.
        """
        check_seed(seed)
        folds = self.autoencoder.config.folds * 2 ** (len(self.unet.config.widths) - 1)
        if not (folds <= size <= LARGEST and size % folds == 0):
            raise CourseError(
                f"A side is a multiple of {folds}, {LARGEST} at most, not {size}."
            )
        side, like = size // self.autoencoder.config.folds, self.unet.stem.weight
        shape = (1, self.unet.config.channels, side, side)
        z = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(like)
        total = options.get("steps", 20) + 1
        walk = self.steps(z, [text], **options)
        for step in tqdm(walk, total=total, desc="step", leave=False, disable=not progress):
            z = step.x_t
        picture = self.decode(z)[0].float().cpu()
        if not torch.isfinite(picture).all():
            raise CourseError(
                "The picture holds values that are not finite: run it in full precision."
            )
        return picture
