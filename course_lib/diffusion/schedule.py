"""How much image and how much noise there is at each time."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from course_lib.errors import CourseError

MOST = 10**6  # steps: more is a slip of the finger


def check_floating(x: Tensor):
    """CourseError where x can't hold noise."""
    if not x.is_floating_point():
        raise CourseError(
            f"Noise is added to floating-point images in [-1, 1], not to {x.dtype}: "
            "to_float makes them."
        )


def widened(x: Tensor) -> Tensor:
    """x in float32, or better where it is so: bfloat16's three digits are too few to compute
    in. CourseError for whole numbers, which an answer cast back to them would cut.
    """
    check_floating(x)
    return x.to(torch.promote_types(x.dtype, torch.float32))


@dataclass(frozen=True, eq=False)
class Schedule:
    """The forward process in one jump, x_t = alpha[t] * x_0 + sigma[t] * eps (Ho et al. 2020,
    eq. 4).

    Their alpha-bar is our alpha squared, and their beta_t is 1 - (alpha[t] / alpha[t - 1]) **
    2.
    """

    alpha: Tensor  # [T + 1], float64; index 0 is the clean image: alpha 1; it never rises
    sigma: Tensor  # [T + 1], float64; sigma[0] is 0; it never falls
    # copies on the devices that asked
    _tables: dict = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        for name in ("alpha", "sigma"):
            table = torch.as_tensor(getattr(self, name), dtype=torch.float64)
            # a copy: what has been checked stays so
            object.__setattr__(self, name, table.detach().to("cpu", copy=True))
        alpha, sigma = self.alpha, self.sigma
        if alpha.ndim != 1 or alpha.shape != sigma.shape or len(alpha) < 2:
            raise CourseError(
                "A Schedule needs alpha and sigma as two vectors of one length T + 1, "
                f"not {tuple(alpha.shape)} and {tuple(sigma.shape)}."
            )
        rounding = 1e-6
        if not (
            torch.isfinite(alpha).all()
            and torch.isfinite(sigma).all()
            and abs(alpha[0] - 1) <= rounding
            and abs(sigma[0]) <= rounding
            and alpha.min() >= 0
            and alpha.diff().max() <= rounding
            and sigma.diff().min() >= -rounding
            and (alpha + sigma).min() > 0
        ):
            raise CourseError(
                "A Schedule goes from image to noise: alpha from 1 down to 0 or more, never "
                "rising, and sigma from 0 up, never falling; every entry finite. Look at "
                f"alpha {_ends(alpha)} and sigma {_ends(sigma)}."
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
    def from_betas(betas: Tensor | Sequence[float]) -> "Schedule":
        """The schedule of T small steps x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps (Ho
        et al. 2020, eq. 2): betas [T], each from 0 to 1.

        Whoever counts times from 0 (diffusers, most published code) has no clean index: their
        t is ours minus one, and betas[0] is the step to our time 1.
        """
        betas = torch.as_tensor(betas, dtype=torch.float64, device="cpu")
        if betas.ndim != 1 or not len(betas) or not ((betas >= 0) & (betas <= 1)).all():
            raise CourseError(
                "Betas are the variances of the small steps: a vector of T >= 1 numbers from "
                f"0 to 1, not {_ends(betas)}."
            )
        # float64: a product of 1000 betas loses digits in float32
        alpha_bar = torch.cat(
            [torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, dim=0)]
        )
        return Schedule(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())

    @staticmethod
    def linear(T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> "Schedule":
        """DDPM's schedule: T small steps whose variance beta rises in a line (Ho et al. 2020,
        section 4).

        The betas belong to T = 1000: with fewer steps they leave signal at the end; raise them
        by 1000 / T.
        """
        return Schedule.from_betas(
            torch.linspace(beta_start, beta_end, _steps(T), dtype=torch.float64)
        )

    @staticmethod
    def scaled_linear(
        T: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012
    ) -> "Schedule":
        """Stable Diffusion's schedule: the root of beta rises in a line (Rombach et al. 2022,
        their code). At T it still has 0.07 of the image.
        """
        # NaN of a negative beta, which from_betas refuses
        start, end = torch.tensor([beta_start, beta_end], dtype=torch.float64).sqrt()
        roots = torch.linspace(start, end, _steps(T), dtype=torch.float64)
        return Schedule.from_betas(roots**2)

    @staticmethod
    def cosine(T: int = 1000, s: float = 0.008) -> "Schedule":
        """Alpha falls as a quarter of a cosine (Nichol & Dhariwal 2021, eq. 17), all the way
        to 0 at T.

        They clip beta at 0.999, since a noise predictor must divide by alpha; `Denoiser` minds
        that division instead.
        """
        times = torch.arange(_steps(T) + 1, dtype=torch.float64)
        angle = (times / T + s) / (1 + s) * math.pi / 2
        alpha = torch.cos(angle) / torch.cos(angle[0])
        alpha[-1] = 0.0  # cos(pi / 2) in floating point is 6e-17
        return Schedule(alpha, (1 - alpha**2).clamp(min=0).sqrt())

    @staticmethod
    def flow(T: int = 1000) -> "Schedule":
        """The straight line from image to noise, alpha = 1 - t / T, sigma = t / T (Lipman et
        al. 2023).
        """
        sigma = torch.arange(_steps(T) + 1, dtype=torch.float64) / T
        return Schedule(1 - sigma, sigma)

    def checked(self, t: int | Tensor) -> int | Tensor:
        """t as an int, or as an int64 tensor [] or [B], if it is a time; else a CourseError.

        Here alone it is said what a time is: a whole number from 0 to T. The numbers of a
        tensor on a GPU are not looked at, for the GPU would have to be waited for.
        """
        if isinstance(t, Tensor):
            whole = not (t.is_floating_point() or t.is_complex() or t.dtype == torch.bool)
            if whole and t.ndim <= 1:
                seen = t.device.type == "cpu" and t.numel() > 0
                if not seen or (t.min() >= 0 and t.max() <= self.T):
                    return t.long()
                found = _ends(t)
            else:
                found = f"{t.dtype} of shape {tuple(t.shape)}"
        else:
            number = _whole(t)
            if number is not None and 0 <= number <= self.T:
                return number
            found = repr(t)
        raise CourseError(
            f"A time on this schedule is a whole number from 0 to {self.T}, or a tensor [B] "
            f"of them, not {found}."
        )

    def at(self, t: int | Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma at time t, an int or an int tensor [B], shaped to multiply x [B,
        ...] and in its dtype.
        """
        t = self.checked(t)
        check_floating(x)
        key = (x.device, x.dtype)
        if key not in self._tables:
            # else a table first used while sampling could not be trained with
            with torch.inference_mode(False):
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
        steps = _whole(n)
        if steps is None or not 1 <= steps <= self.T:
            raise CourseError(
                f"A sampler on this schedule takes 1 to {self.T} steps, not {n!r}."
            )
        return [round(self.T * (steps - i) / steps) for i in range(steps + 1)]


def _whole(number) -> int | None:
    """number as an int; None where it is no whole number: True is none, nor is 3.0."""
    try:
        return None if isinstance(number, bool) else operator.index(number)
    except TypeError:
        return None


def _steps(T) -> int:
    """T, if a schedule can have so many steps; else a CourseError."""
    steps = _whole(T)
    if steps is None or steps < 1:
        raise CourseError(f"A schedule has T of 1 or more whole steps, not {T!r}.")
    if steps > MOST:
        raise CourseError(f"A schedule has T of {MOST:,} steps at most.")
    return steps


def _ends(table: Tensor) -> str:
    """The range of a table's numbers, for a sentence."""
    return f"{table.min():g} .. {table.max():g}" if table.numel() else "none"
