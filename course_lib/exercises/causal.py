"""Lesson 01's first two exercises: the mask that hides what isn't drawn, and its test."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.grader import Exercise
from course_lib.exercises.pixel_bugs import neighbour

# ---------------------------------------------------------------- 1: what a pixel may look at


def causal_mask(kind: str, size: int) -> Tensor:
    """1 where a kernel may look, else 0: [size, size]. Rows above, and the pixels on the left;
    the centre in kind "B" alone (van den Oord et al. 2016, figure 2).
    """
    mask, centre = torch.zeros(size, size), size // 2
    mask[:centre] = 1
    mask[centre, : centre + (kind == "B")] = 1
    return mask


def _other_kind(kind: str, size: int) -> Tensor:
    return causal_mask("A" if kind == "B" else "B", size)


def _left_of_the_centre(kind: str, size: int) -> Tensor:
    mask = causal_mask(kind, size)
    mask[:, size // 2 + 1 :] = 0
    return mask


def _whole_row(kind: str, size: int) -> Tensor:
    mask = causal_mask(kind, size)
    mask[size // 2, size // 2 + 1 :] = 1
    return mask


def _own_row(kind: str, size: int) -> Tensor:
    mask = causal_mask(kind, size)
    mask[: size // 2] = 0
    return mask


def _triangle(kind: str, size: int) -> Tensor:
    return torch.tril(torch.ones(size, size), -1 if kind == "A" else 0)


def _rows_above(kind: str, size: int) -> Tensor:
    mask = causal_mask(kind, size)
    mask[size // 2, : size // 2] = 0
    return mask


def _one_too_many(kind: str, size: int) -> Tensor:
    mask = causal_mask("B", size)
    mask[size // 2, size // 2 + 1] = kind == "B"
    return mask


MASK = Exercise(
    "causal_mask",
    causal_mask,
    [("A", 3), ("B", 3), ("A", 7), ("B", 5)],
    [
        (
            _other_kind,
            "A and B are swapped: in the first layer, kind A, the centre is the pixel that is "
            "to be predicted, so it is hidden. In later layers, kind B, it holds what was "
            "made of the pixels before.",
        ),
        (
            lambda kind, size: causal_mask("B", size),
            "Kind B is right. In kind A the centre must be 0 as well, or each pixel is told "
            "its own value.",
        ),
        (
            lambda kind, size: causal_mask("A", size),
            "Kind A is right. In kind B the centre is 1: from the second layer on it holds "
            "what was made of the pixels before, and not the pixel itself.",
        ),
        (
            _left_of_the_centre,
            "The rows above are cut off right of the centre. Those pixels are drawn before "
            "this one as well: a row above is seen whole.",
        ),
        (
            _whole_row,
            "The centre's own row is seen to its right end; those pixels are not drawn yet.",
        ),
        (
            _own_row,
            "The own row is right, and the rows above are missing: all of them are drawn.",
        ),
        (
            lambda kind, size: causal_mask(kind, size).T,
            "This is the mask on its side: the pictures are drawn row by row, so dimension 0 "
            "counts rows, and all rows above are seen.",
        ),
        (
            lambda kind, size: causal_mask(kind, size).flip(0, 1),
            "The kernel is turned round. PyTorch's conv2d doesn't flip: kernel[0, 0] meets "
            "the pixel above on the left.",
        ),
        (
            _triangle,
            "torch.tril cuts each row at its own diagonal. Only the centre's row is cut; the "
            "rows above are 1 to their ends, the rows below 0.",
        ),
        (
            _rows_above,
            "The rows above are right. In the centre's own row the pixels on the left are "
            "drawn as well: 1.",
        ),
        (
            _one_too_many,
            "The own row is seen one pixel too far: up to the centre, which is 0 in kind A "
            "and 1 in kind B.",
        ),
        (
            lambda kind, size: 1 - causal_mask(kind, size),
            "0 and 1 are swapped: 1 is where the kernel may look.",
        ),
        (
            lambda kind, size: torch.ones(size, size),
            "Nothing is hidden: the pixel itself, those on its right and the rows below are "
            "0.",
        ),
        (
            lambda kind, size: causal_mask(kind, size).flatten(),
            "The right numbers in one row; the mask is [size, size].",
        ),
    ],
    "Right: what is drawn may be seen, and nothing else.",
    known_errors=[
        (
            "slice indices must be integers",
            "size / 2 is a fraction: the centre is size // 2.",
        )
    ],
    advice="print it for size 3: the rows above are 1, the row below is 0",
)

# ---------------------------------------------------------------- 2: who moves an answer


def moved_by(net: Callable, x: Tensor, row: int, column: int) -> Tensor:
    """How much each pixel moves the answer at (row, column): the sizes of the gradients of all
    its numbers, summed; x [1, 1, H, W] to [H, W].
    """
    x = x.clone().requires_grad_(True)
    total = torch.zeros(x.shape[-2:])
    for number in net(x)[0, :, row, column]:
        (gradient,) = torch.autograd.grad(number, x, retain_graph=True)
        total = total + gradient[0, 0].abs()
    return total


def _leaky_net(x: Tensor) -> Tensor:
    """Three numbers a pixel; the first two cancel in a sum, the last one looks ahead."""
    left, above, right = neighbour(x, 0, 1), neighbour(x, 1, 0), neighbour(x, 0, -1)
    plan = torch.tanh(0.8 * left + 0.6 * above)
    return torch.cat([plan, -plan, above * left - 0.9 * above + 0.3 * right * x], dim=1)


def _gradient(pick: Callable, size: Callable = torch.abs) -> Callable:
    """The gradient of one number made of the answers by `pick`."""

    def wrong(net, x, row, column):
        x = x.clone().requires_grad_(True)
        return size(torch.autograd.grad(pick(net(x), row, column), x)[0][0, 0])

    return wrong


def _accumulated(net: Callable, x: Tensor, row: int, column: int) -> Tensor:
    x = x.clone().requires_grad_(True)
    total = torch.zeros(x.shape[-2:])
    for number in net(x)[0, :, row, column]:
        number.backward(retain_graph=True)
        total = total + x.grad[0, 0].abs()
    return total


def _combined(join: Callable, pick: Callable = lambda out, r, c: out[0, :, r, c]) -> Callable:
    """All numbers' gradients [numbers, H, W], joined in another way."""

    def wrong(net, x, row, column):
        x = x.clone().requires_grad_(True)
        numbers = pick(net(x), row, column)
        grads = [torch.autograd.grad(n, x, retain_graph=True)[0][0, 0] for n in numbers]
        return join(torch.stack(grads))

    return wrong


FIELD = Exercise(
    "moved_by",
    moved_by,
    [
        (_leaky_net, torch.linspace(-0.9, 0.7, 20).sin().view(1, 1, 4, 5), 2, 1),
        (_leaky_net, torch.linspace(1.2, -0.4, 20).cos().view(1, 1, 4, 5), 1, 2),
    ],
    [
        (
            _gradient(lambda out, row, column: out[0, :, row, column].sum()),
            "This is the gradient of the *sum* of the answer's numbers. Where a pixel moves "
            "one up and another down, they cancel, and a leak can hide: take each number's "
            "gradient, then its size, then sum.",
        ),
        (
            _gradient(lambda out, row, column: out.sum()),
            "This is the gradient of the answers of *all* pixels: take those at [row, "
            "column].",
        ),
        (
            _gradient(lambda out, row, column: out[0, 0, row, column]),
            "Only the answer's first number is asked; a leak may be in any of them.",
        ),
        (
            _accumulated,
            "x.grad is added to by every backward(): set it to None in each round, or use "
            "torch.autograd.grad, which gives each gradient by itself.",
        ),
        (
            lambda net, x, row, column: moved_by(net, x, column, row),
            "Row and column are swapped: answers are [B, channels, row, column].",
        ),
        (
            lambda net, x, row, column: moved_by(net, x, row, column) / 3,
            "This is the mean over the answer's numbers; here it is the sum.",
        ),
        (
            lambda net, x, row, column: moved_by(net, x, row, column)[None, None],
            "The numbers are right; a map of the picture is [H, W].",
        ),
        (
            _combined(lambda grads: grads.sum(dim=0)),
            "The sizes are missing: gradients of both signs cancel in the sum. Take .abs() of "
            "each before you add it.",
        ),
        (
            _combined(lambda grads: grads.square().sum(dim=0)),
            "These are squares; the size of a gradient is its .abs().",
        ),
        (
            _combined(lambda grads: grads.amax(dim=0)),
            "This is the largest gradient of all numbers; here it is the sum of their sizes.",
        ),
        (
            _combined(lambda grads: grads.abs().amax(dim=0)),
            "This is the largest size of all numbers; here it is their sum.",
        ),
        (
            _combined(lambda grads: grads.norm(dim=0)),
            "This is the root of the squares' sum; here it is the sum of the sizes.",
        ),
        (
            _combined(lambda grads: (grads != 0).sum(dim=0)),
            "This counts the numbers that are moved; how much they are is asked for.",
        ),
        (
            _gradient(lambda out, row, column: out[0, :, row, column].abs().sum()),
            "This takes the size of the *numbers*; take that of their gradients, each by "
            "itself, or they still cancel.",
        ),
        (
            _combined(
                lambda grads: grads.abs().sum(dim=0),
                lambda out, row, column: out[0, row, column],
            ),
            "This asks number `row` along the row `column`: answers are [B, numbers, row, "
            "column], so take [0, :, row, column].",
        ),
    ],
    "Right: exactly 0 now means that nothing at all gets through.",
    known_errors=[
        (
            "does not require grad",
            "x has no gradient yet: begin with x = x.clone().requires_grad_(True), and call "
            "the net on that x, with no torch.no_grad() around it.",
        ),
        (
            "backward through the graph a second time",
            "The graph is freed after one gradient: say retain_graph=True.",
        ),
        (
            "only for scalar outputs",
            "torch.autograd.grad takes one number at a time: loop over net(x)[0, :, row, "
            "column].",
        ),
        (
            "'tuple' object has no attribute",
            "torch.autograd.grad returns a tuple, a gradient for each input: take its [0].",
        ),
        (
            "not have been used in the graph",
            "The net must be called on the very x whose gradient is asked for: clone first, "
            "call then.",
        ),
    ],
    advice="for each number of the answer: its gradient, its size; then the sum",
)
