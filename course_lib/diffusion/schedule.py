"""How much image and how much noise there is at each time."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Schedule:
    """The forward process in one jump, x_t = alpha[t] * x_0 + sigma[t] * eps (Ho et al. 2020,
    eq. 4).

    Their alpha-bar is our alpha squared, and their beta_t is 1 - (alpha[t] / alpha[t - 1]) **
    2.
    """

    alpha: Tensor  # [T + 1], float64; index 0 is the clean image: alpha 1
    sigma: Tensor  # [T + 1], float64; sigma[0] is 0
    _tables: dict = field(
        default_factory=dict, init=False, repr=False
    )  # copies on the devices that asked

    def __post_init__(self):
        if self.alpha.ndim != 1 or self.alpha.shape != self.sigma.shape or len(self.alpha) < 2:
            raise ValueError(
                "A Schedule needs alpha and sigma as two vectors of one length T + 1, "
                f"not {tuple(self.alpha.shape)} and {tuple(self.sigma.shape)}."
            )

    @property
    def T(self) -> int:
        """The last time, at which (nearly) only noise is left."""
        return len(self.alpha) - 1

    @property
    def log_snr(self) -> Tensor:
        """Log of signal power over noise power, 2 log(alpha / sigma): [T + 1], +inf at 0 and
        falling.
        """
        return 2 * (self.alpha.log() - self.sigma.log())

    @staticmethod
    def linear(T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> "Schedule":
        """DDPM's schedule: T small steps whose variance beta rises in a line (Ho et al. 2020,
        section 4).

        The betas belong to T = 1000: with fewer steps they leave signal at the end; raise them
        by 1000 / T.
        """
        beta = torch.linspace(beta_start, beta_end, T, dtype=torch.float64)
        # float64: a product of 1000 betas loses digits in float32
        alpha_bar = torch.cat(
            [torch.ones(1, dtype=torch.float64), torch.cumprod(1 - beta, dim=0)]
        )
        return Schedule(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())

    @staticmethod
    def cosine(T: int = 1000, s: float = 0.008) -> "Schedule":
        """Alpha falls as a quarter of a cosine (Nichol & Dhariwal 2021, eq. 17), all the way
        to 0 at T.

        They clip beta at 0.999, since a noise predictor must divide by alpha; `Denoiser` minds
        that division instead.
        """
        angle = (torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s) * math.pi / 2
        alpha = torch.cos(angle) / torch.cos(angle[0])
        alpha[-1] = 0.0  # cos(pi / 2) in floating point is 6e-17
        return Schedule(alpha, (1 - alpha**2).clamp(min=0).sqrt())

    @staticmethod
    def flow(T: int = 1000) -> "Schedule":
        """The straight line from image to noise, alpha = 1 - t / T, sigma = t / T (Lipman et
        al. 2023).
        """
        sigma = torch.arange(T + 1, dtype=torch.float64) / T
        return Schedule(1 - sigma, sigma)

    def at(self, t: int | Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma at time t, an int or an int tensor [B], shaped to multiply x [B,
        ...] and in its dtype.
        """
        key = (x.device, x.dtype)
        if key not in self._tables:
            with torch.inference_mode(
                False
            ):  # else a table first used while sampling could not be trained with
                self._tables[key] = (
                    self.alpha.to(x.dtype).to(x.device),
                    self.sigma.to(x.dtype).to(x.device),
                )
        alpha, sigma = self._tables[key]
        if isinstance(t, int):
            return alpha[t], sigma[t]
        shape = [-1] + [1] * (x.ndim - 1) if t.ndim else []
        return alpha[t].reshape(shape), sigma[t].reshape(shape)

    def add_noise(self, x0: Tensor, t: int | Tensor, eps: Tensor) -> Tensor:
        """Jump from the clean image to time t: x0 and eps [B, ...], t an int or an int tensor
        [B], to x_t [B, ...].
        """
        alpha, sigma = self.at(t, x0)
        return alpha * x0 + sigma * eps

    def times(self, n: int) -> list[int]:
        """n + 1 evenly spaced, decreasing times from T to 0, for a sampler of n steps."""
        if not 1 <= n <= self.T:
            raise ValueError(f"A sampler on this schedule takes 1 to {self.T} steps, not {n}.")
        return [round(self.T * (n - i) / n) for i in range(n + 1)]
