"""Muon: gradient descent whose every step has been made orthogonal."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

# A quintic a s + b s^3 + c s^5 that pulls every singular value s in (0, 1] towards 1 (Jordan
# et al. 2024).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Matrices [..., m, n] with their singular values moved towards 1, by Newton-Schulz
    iteration: with 5 of them to 0.68 to 1.21, but those below a three-hundredth of the root of
    the sum of their squares less far.

    X -> (a + b A + c A^2) X with A = X X^T. All factors are polynomials of the first A, hence
    commute: they are multiplied up as small m x m matrices and meet the wide X once, which for
    n = 9 m is a third of the work.
    """
    if matrices.shape[-2] > matrices.shape[-1]:
        return orthogonalize(matrices.mT, iterations).mT
    a, b, c = NEWTON_SCHULZ
    X = matrices.float()
    X = X / (
        X.norm(dim=(-2, -1), keepdim=True) + 1e-7
    )  # the largest singular value is at most 1
    A = X @ X.mT  # [..., m, m], m <= n
    identity = torch.eye(A.shape[-1], device=A.device)
    product = identity
    for _ in range(iterations):
        factor = a * identity + b * A + c * (A @ A)
        product = factor @ product
        A = factor @ A @ factor
    return product @ X


class Muon(torch.optim.Optimizer):
    """Muon on the weights of convolutions, Adam on the rest (Jordan et al. 2024; Liu et al.
    2025, eq. 4).

    A convolution's weight [out, in, k, k] is seen as the matrix [out, in k k]; those of one
    shape are made orthogonal together. Each orthogonal step is scaled by 0.2 sqrt(max(m, n)),
    about the size of an Adam step, so that one learning rate serves both. weight_decay is
    AdamW's, on all. matrices: weights [out, in] that are to be made orthogonal too, those
    inside of a transformer for example.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | nn.Module,
        lr: float = 2e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        matrices: Iterable[Tensor] = (),
    ):
        params = list(params.parameters() if isinstance(params, nn.Module) else params)
        named = {id(p) for p in matrices} | {id(p) for p in params if p.ndim == 4}
        groups = [
            {"params": [p for p in params if id(p) in named], "orthogonal": True},
            {"params": [p for p in params if id(p) not in named], "orthogonal": False},
        ]
        groups = [group for group in groups if group["params"]]
        super().__init__(
            groups,
            {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay},
        )

    @torch.no_grad()
    def step(self, closure=None):
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moving = [p for p in group["params"] if p.grad is not None]
            if group["weight_decay"] and moving:
                torch._foreach_mul_(moving, 1 - group["lr"] * group["weight_decay"])
            (self._orthogonal_step if group["orthogonal"] else self._adam_step)(moving, group)
        return loss

    def _orthogonal_step(self, params: list[Tensor], group: dict):
        by_shape = defaultdict(list)
        for p in params:
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - group["momentum"])
            ahead = p.grad.lerp(state["momentum"], group["momentum"])  # Nesterov's look ahead
            by_shape[p.shape].append((p, ahead.flatten(1)))  # [out, in k k]
        for pairs in by_shape.values():
            steps = orthogonalize(torch.stack([matrix for _, matrix in pairs]))
            size = 0.2 * max(steps.shape[-2:]) ** 0.5
            for (p, _), step in zip(pairs, steps, strict=True):
                p.sub_(step.view(p.shape), alpha=group["lr"] * size)

    def _adam_step(self, params: list[Tensor], group: dict):
        beta1, beta2 = group["betas"]
        by_age = defaultdict(list)  # all of one age, but for a parameter that began late
        for p in params:
            state = self.state[p]
            if not state:
                state.update(step=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
            state["step"] += 1
            by_age[state["step"]].append(p)
        for step, moving in by_age.items():
            # many together: on a GPU the start of a kernel costs more than its work
            grads = [p.grad for p in moving]
            means = [self.state[p]["mean"] for p in moving]
            squares = [self.state[p]["square"] for p in moving]
            torch._foreach_lerp_(means, grads, 1 - beta1)
            torch._foreach_lerp_(squares, torch._foreach_mul(grads, grads), 1 - beta2)
            roots = torch._foreach_div(squares, 1 - beta2**step)
            torch._foreach_sqrt_(roots)
            torch._foreach_add_(roots, 1e-8)
            value = -group["lr"] / (1 - beta1**step)
            torch._foreach_addcdiv_(moving, means, roots, value=value)
