"""What a network is asked to predict, and how its answer is read."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.diffusion.schedule import Schedule

# A denoiser is any callable (x_t, t, cond) -> (x0, eps): an exact formula, a net, a foreign
# net behind an adapter.
Denoise = Callable[..., tuple[Tensor, Tensor]]

# Each target is a * x_0 + b * eps, with (a, b) given by the time's alpha and sigma.
TARGETS: dict[str, Callable] = {
    "eps": lambda alpha, sigma: (
        0 * alpha,
        1 + 0 * sigma,
    ),  # the noise (Ho et al. 2020, eq. 14)
    "x0": lambda alpha, sigma: (1 + 0 * alpha, 0 * sigma),  # the image
    "v": lambda alpha, sigma: (
        -sigma,
        alpha,
    ),  # the velocity along the circle (Salimans & Ho 2022, section 4)
    "flow": lambda alpha, sigma: (
        -1 + 0 * alpha,
        1 + 0 * sigma,
    ),  # the velocity along the line (Lipman et al. 2023)
}


def share_of(whole: Tensor, shard: tuple[int, int]) -> Tensor:
    """The rows of a global batch [B * world, ...] that process `rank` of `world` works on: [B,
    ...].
    """
    rank, world = shard
    B = len(whole) // world
    return whole[rank * B : (rank + 1) * B]


def stratified_times(
    B: int, T: int, generator: torch.Generator | None, shard: tuple[int, int] = (0, 1)
) -> Tensor:
    """One uniform time 1 .. T in each of B equal slots, so that a batch covers all noise
    levels: int64 [B].

    (Kingma et al. 2021, appendix I.1.) With shard = (rank, world), this process's times of the
    global batch's.
    """
    slots = B * shard[1]
    device = generator.device if generator is not None else "cpu"
    u = (
        torch.arange(slots, device=device)
        + torch.rand(slots, generator=generator, device=device)
    ) / slots
    return share_of(1 + (u * T).long().clamp(max=T - 1), shard)


def randn_like(
    x: Tensor, generator: torch.Generator | None, shard: tuple[int, int] = (0, 1)
) -> Tensor:
    """Standard Normal noise of x's shape; with shard = (rank, world), this process's rows of
    the global batch.
    """
    device = generator.device if generator is not None else x.device
    noise = torch.randn(len(x) * shard[1], *x.shape[1:], generator=generator, device=device)
    return share_of(noise, shard).to(x)


class Denoiser:
    """Turns a network that predicts one target into (x0, eps), and says how to train it. Owns
    no weights.

    net(x_t [B, ...], t [B], cond) returns a tensor of x_t's shape.
    weight(alpha, sigma), if given, multiplies each image's squared error (min-SNR and the
    like).
    """

    def __init__(
        self,
        net: Callable,
        schedule: Schedule,
        target: str = "eps",
        weight: Callable | None = None,
    ):
        if target not in TARGETS:
            raise ValueError(
                f"There is no target {target!r}: choose one of {', '.join(TARGETS)}."
            )
        self.net, self.schedule, self.target, self.weight = net, schedule, target, weight

    def predict(self, x_t: Tensor, t: Tensor, cond=None) -> Tensor:
        """What the network says, in x_t's dtype whatever precision it computed in."""
        return self.net(x_t, t, cond).to(x_t.dtype)

    def __call__(self, x_t: Tensor, t: int | Tensor, cond=None) -> tuple[Tensor, Tensor]:
        """The image and the noise that the network sees in x_t [B, ...] at time t: two tensors
        of x_t's shape.

        Two equations, x_t = alpha x0 + sigma eps and y = a x0 + b eps, solved for x0 and eps.
        """
        t = torch.as_tensor(t, device=x_t.device).expand(len(x_t))
        y = self.predict(x_t, t, cond)
        alpha, sigma = self.schedule.at(t, x_t)
        a, b = TARGETS[self.target](alpha, sigma)
        det = alpha * b - sigma * a
        # det is 0 where the target only repeats x_t: the noise at alpha = 0, the image at
        # sigma = 0. There the other one is 0, the middle of its scale
        solvable = det.abs() > 1e-6
        inverse = torch.where(solvable, 1 / det, torch.zeros_like(det))
        x0 = torch.where(solvable, (b * x_t - sigma * y) * inverse, alpha * x_t)
        eps = torch.where(solvable, (alpha * y - a * x_t) * inverse, sigma * x_t)
        return x0, eps

    def loss(
        self,
        x0: Tensor,
        cond=None,
        *,
        generator: torch.Generator | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> dict[str, Tensor]:
        """DDPM's Algorithm 1 for any target: x0 [B, ...] to {"loss": [], "per_image": [B],
        "t": [B]}.

        A random time, one jump, one squared error, averaged over the elements of an image.
        """
        t = stratified_times(len(x0), self.schedule.T, generator, shard).to(x0.device)
        eps = randn_like(x0, generator, shard)
        alpha, sigma = self.schedule.at(t, x0)
        a, b = TARGETS[self.target](alpha, sigma)
        prediction = self.predict(self.schedule.add_noise(x0, t, eps), t, cond)
        per_image = (
            (prediction - (a * x0 + b * eps)).square().reshape(len(x0), -1).mean(dim=1)
        )  # [B]
        weight = 1.0 if self.weight is None else self.weight(alpha.flatten(), sigma.flatten())
        return {"loss": (weight * per_image).mean(), "per_image": per_image.detach(), "t": t}
