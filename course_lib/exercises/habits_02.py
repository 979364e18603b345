"""What lesson 02's graders look at beside the values: gradients that don't come back, and
arguments that are written into.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def normal(*shape: int, seed: int) -> Tensor:
    """A standard Normal draw: a case for an exercise."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _slopes(function: Callable, case: tuple) -> list:
    """The gradients of the summed answer in every argument: None where none comes back."""
    case = [argument.clone().requires_grad_() for argument in case]
    answer = function(*case).sum()
    if not answer.requires_grad:
        return [None] * len(case)
    return list(torch.autograd.grad(answer, case, allow_unused=True))


def cuts_gradient(right: Callable, case: tuple) -> Callable:
    """Whether an attempt has `right`'s values in this case, and other gradients."""

    def cuts(attempt: Callable) -> bool:
        both = (attempt, right)
        values = [function(*(a.clone() for a in case)).double() for function in both]
        if values[0].shape != values[1].shape or not torch.allclose(*values, rtol=1e-4):
            return False
        try:
            found = _slopes(attempt, case)
        except RuntimeError:  # NumPy refuses a tensor that wants a gradient
            return True
        pairs = zip(found, _slopes(right, case), strict=True)
        return any(f is None or not torch.allclose(f, e, rtol=1e-3) for f, e in pairs)

    return cuts


def changes_arguments(case: tuple) -> Callable:
    """Whether an attempt writes into its arguments."""

    def changes(attempt: Callable) -> bool:
        own = [argument.clone() for argument in case]
        attempt(*own)
        return not all(map(torch.equal, own, case))

    return changes


IN_PLACE = (
    "It writes into its own arguments (an in-place operation, with _ or +=), and the cells "
    "below need them unchanged. Write mean + ..., which makes a new tensor."
)
ONE_NUMBER = (
    "converted to Python scalars",
    "Python's math functions take one number. For a tensor write .log() or .exp().",
)
NO_POWER = ("bitwise_xor", "In Python ^ is no power: write ** 2, or .square().")
