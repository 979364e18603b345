"""The broken autoencoders of lesson 02: eight linear VAEs of the same data, seven of them with
a bug, and the five numbers that give them away.

The data are Normal in 16 numbers, with two strong axes, so that everything about the right
model is known: its likelihood, its KL divergence and its spread.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.exercises.matching import Bug, Matching, listed
from course_lib.models.vae import LOG_2PI, kl_to_standard

D, L = 16, 2
STRONG = (4.0, 1.0)  # variances along the two strong axes
NOISE = 0.1  # variance along all others, and the likelihood's
NAMES = ("bound - log p", "KL / best", "codes", "2nd axis", "grain")


def gallery_data(n: int = 500) -> Tensor:
    """n points [n, D] whose mean is 0 and whose covariance is exactly the wanted one, the
    strong axes first.
    """
    x = torch.randn(n, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x = x - x.mean(dim=0)
    x = torch.linalg.solve_triangular(
        torch.linalg.cholesky(x.T @ x / n).mT, x, upper=True, left=False
    )
    return x * torch.tensor([*STRONG, *[NOISE] * (D - L)], dtype=torch.float64).sqrt()


BUGS = {
    1: Bug("nothing is wrong", "has all five numbers at their best"),
    2: Bug(
        "squared error without its half",
        "pays too little for the KL: there is more of it than is best, and both axes live",
    ),
    3: Bug(
        "squared error averaged over the pixels, KL summed",
        "pays 16 times too much for the KL: the weaker latent collapses",
    ),
    4: Bug(
        "z = mean + exp(log_var) * eps",
        "draws with less noise than the KL is told, so the bound it reports is above log p, "
        "by a little",
    ),
    5: Bug(
        "z = mean in training",
        "lets the codes shrink to a point at no cost: their spread is far below 1",
    ),
    6: Bug("the KL term left out", "lets the codes go where they like, at any KL"),
    7: Bug(
        "the decoder's mean shown as a sample",
        "leaves out the likelihood's noise and nothing else: the grain is 0",
    ),
    8: Bug(
        "D log 2 pi counted in every pixel",
        "changes the reported number by hundreds of nats, and nothing else",
    ),
}


@dataclass(frozen=True)
class Broken:
    """A trained linear VAE as its author sees it."""

    shown: Tensor  # what it shows as samples, [n, D]
    codes: Tensor  # z of all data, drawn as it draws them, [n, L]
    reported: float  # the bound that it reports, mean nats
    mean: Tensor  # of q(z | x), [n, L]
    std: Tensor
    W: Tensor  # the decoder, [L, D]
    b: Tensor  # and its shift, [D]

    def numbers(self) -> dict[str, float]:
        """The five numbers of the gallery's table, by NAMES: 0 and then four times 1 at
        best.
        """
        cov = self.W.T @ self.W + NOISE * torch.eye(D, dtype=torch.float64)
        model = torch.distributions.MultivariateNormal(self.b, cov)
        best_kl = 0.5 * sum(math.log(variance / NOISE) for variance in STRONG)
        grain = self.shown[:, L:].square().mean() / NOISE
        values = (
            self.reported - model.log_prob(gallery_data(len(self.mean))).mean().item(),  # nats
            kl_to_standard(self.mean, self.std).mean().item() / best_kl,
            self.codes.square().mean().sqrt().item(),  # 1 under the prior
            (self.shown[:, 1].std() / STRONG[1] ** 0.5).item(),  # over the data's
            grain.sqrt().item(),  # spread off the two strong axes, over the data's
        )
        return dict(zip(NAMES, values, strict=True))


def _report(bug: int, x: Tensor, out: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """The bound as the code with this bug has it, [n]: its negative mean is the loss."""
    error = (x - out).square() / NOISE  # [n, D]
    error = error if bug == 2 else error / 2
    rest = 0.5 * (LOG_2PI + math.log(NOISE))
    log_lik = -(error + rest).mean(dim=1) if bug == 3 else -(error + rest).sum(dim=1)
    if bug == 8:
        log_lik = log_lik - (D - 1) * 0.5 * D * LOG_2PI
    return log_lik if bug == 6 else log_lik - kl_to_standard(mean, std)


def broken_vae(bug: int, n: int = 500, steps: int = 1000, seed: int = 0) -> Broken:
    """A linear VAE trained on the gallery's data with one of the BUGS in it."""
    generator, x = torch.Generator().manual_seed(seed), gallery_data(n)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    A, W, b, log_std = 0.1 * normal(D, L), 0.1 * normal(L, D), torch.zeros(D), torch.zeros(L)
    weights = [part.double().requires_grad_() for part in (A, W, b, log_std)]
    optimizer = torch.optim.Adam(weights, betas=(0.9, 0.99))
    for step in range(steps):
        A, W, b, log_std = weights
        mean, std = x @ A, log_std.exp().expand(n, L)
        width = {4: (2 * log_std).exp(), 5: 0.0}.get(bug, log_std.exp())
        z = mean + width * normal(n, L)
        loss = -_report(bug, x, z @ W + b, mean, std).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / steps)
        optimizer.step()
    A, W, b, log_std = (part.detach() for part in weights)
    mean, std = x @ A, log_std.exp().expand(n, L)
    width = {4: (2 * log_std).exp(), 5: 0.0}.get(bug, log_std.exp())
    many = normal(20, n, L)  # draws a point, so that the report is exact to about 0.05 nats
    reports = [_report(bug, x, (mean + width * e) @ W + b, mean, std).mean() for e in many]
    shown = normal(n, L) @ W + b
    shown = shown if bug == 7 else shown + math.sqrt(NOISE) * normal(n, D)
    codes = mean + width * many[0]
    return Broken(shown, codes, torch.stack(reports).mean().item(), mean, std, W, b)


_HUNG = {"A": 3, "B": 7, "C": 2, "D": 5, "E": 8, "F": 1, "G": 4, "H": 6}  # who hangs where


def gallery() -> dict[str, Broken]:
    """The eight autoencoders under their letters."""
    from tqdm.auto import tqdm

    bar = tqdm(_HUNG.items(), desc="eight linear VAEs", leave=False)
    return {letter: broken_vae(bug) for letter, bug in bar}


GALLERY = Matching(
    "The gallery",
    _HUNG,
    BUGS,
    "A loss curve would have shown none of them.",
    lambda bug: listed(broken_vae(bug).numbers()),
)
