"""What a network is asked to predict, and how its answer is read."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.diffusion.schedule import Schedule, widened
from course_lib.draws import Draws
from course_lib.errors import CourseError

# A denoiser is any callable (x_t, t, cond) -> (x0, eps): an exact formula, a net, a foreign
# net behind an adapter.
Denoise = Callable[..., tuple[Tensor, Tensor]]

# Each target is a * x_0 + b * eps, with (a, b) given by the time's alpha and sigma.
TARGETS: dict[str, Callable] = {
    # the noise (Ho et al. 2020, eq. 14)
    "eps": lambda alpha, sigma: (0 * alpha, 1 + 0 * sigma),
    # the image
    "x0": lambda alpha, sigma: (1 + 0 * alpha, 0 * sigma),
    # the velocity along the circle (Salimans & Ho 2022, section 4)
    "v": lambda alpha, sigma: (-sigma, alpha),
    # the velocity along the line (Lipman et al. 2023)
    "flow": lambda alpha, sigma: (-1 + 0 * alpha, 1 + 0 * sigma),
}


def stratified_times(B: int, T: int, draws: Draws) -> Tensor:
    """One uniform time 1 .. T in each of B equal slots, so that a batch covers all noise
    levels: int64 [B].

    (After Kingma et al. 2021, appendix I.1, whose slots share one u.) The slots are those of
    the global batch, of which a process has its own.
    """
    u = draws.uniform(B)
    slots = draws.rows(torch.arange(B * draws.world, device=u.device))
    return 1 + ((slots + u) / (B * draws.world) * T).long().clamp(max=T - 1)


class Denoiser:
    """Turns a network that predicts one target into (x0, eps), and says how to train it. Owns
    no weights.

    net(x_t [B, ...], t [B], cond) returns a tensor of x_t's shape; cond is handed on as it
    came, a tensor or a tuple of them. weight(alpha, sigma), if given, multiplies each image's
    squared error (min-SNR and the like). times(B, T, draws) -> int64 [B] says which noise
    levels a training step looks at.
    """

    def __init__(
        self,
        net: Callable,
        schedule: Schedule,
        target: str = "eps",
        weight: Callable | None = None,
        times: Callable[[int, int, Draws], Tensor] = stratified_times,
    ):
        if not isinstance(target, str) or target not in TARGETS:
            raise CourseError(
                f"There is no target {target!r}: choose one of {', '.join(TARGETS)}."
            )
        self.net, self.schedule, self.target = net, schedule, target
        self.weight, self.times = weight, times

    def predict(self, x_t: Tensor, t: Tensor, cond=None) -> Tensor:
        """What the network says, in x_t's dtype whatever precision it computed in."""
        return self.net(x_t, t, cond).to(x_t.dtype)

    def __call__(self, x_t: Tensor, t: int | Tensor, cond=None) -> tuple[Tensor, Tensor]:
        """The image and the noise that the network sees in x_t [B, ...] at time t: two tensors
        of x_t's shape.

        Two equations, x_t = alpha x0 + sigma eps and y = a x0 + b eps, solved for x0 and eps.
        """
        x = widened(x_t)
        alpha, sigma = self.schedule.at(t, x)
        t = torch.as_tensor(t, device=x_t.device).expand(len(x_t))
        y = widened(self.predict(x_t, t, cond))
        a, b = TARGETS[self.target](alpha, sigma)
        det = alpha * b - sigma * a
        # det is 0 where the target only repeats x_t: the noise at alpha = 0, the image at
        # sigma = 0. There the other one is 0, the middle of its scale
        solvable = det.abs() > 1e-6
        inverse = torch.where(solvable, 1 / det, torch.zeros_like(det))
        x0 = torch.where(solvable, (b * x - sigma * y) * inverse, alpha * x)
        eps = torch.where(solvable, (alpha * y - a * x) * inverse, sigma * x)
        return x0.to(x_t.dtype), eps.to(x_t.dtype)

    def loss(self, x0: Tensor, cond=None, *, draws: Draws | None = None) -> dict[str, Tensor]:
        """DDPM's Algorithm 1 for any target: x0 [B, ...] to {"loss": [], "per_image": [B],
        "t": [B]}.

        A random time, one jump, one squared error, averaged over the elements of an image.
        draws: where the times and the noise come from, by default PyTorch's global generator.
        """
        draws = draws or Draws()
        t = self.times(len(x0), self.schedule.T, draws).to(x0.device)
        eps = draws.normal(x0)
        alpha, sigma = self.schedule.at(t, x0)
        a, b = TARGETS[self.target](alpha, sigma)
        prediction = self.predict(self.schedule.add_noise(x0, t, eps), t, cond)
        error = (prediction - (a * x0 + b * eps)).square()
        per_image = error.reshape(len(x0), -1).mean(dim=1)  # [B]
        weight = 1.0 if self.weight is None else self.weight(alpha.flatten(), sigma.flatten())
        return {"loss": (weight * per_image).mean(), "per_image": per_image.detach(), "t": t}
