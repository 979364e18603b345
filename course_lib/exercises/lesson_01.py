"""The exercises of lesson 01: a causal mask and its test (causal.py), drawing pixel by pixel,
the bits that independence loses (independence.py); and a gallery of broken pixel models
(pixel_bugs.py).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.exercises.causal import FIELD, MASK, causal_mask, moved_by
from course_lib.exercises.grader import Exercise, other_end
from course_lib.exercises.independence import LOST, agreement
from course_lib.exercises.pixel_bugs import (
    BUGS,
    GALLERY,
    gallery,
    neighbour,
    symptoms,
    told,
)
from course_lib.models.pixelcnn import draw_levels

__all__ = [
    "BUGS",
    "FIELD",
    "GALLERY",
    "LOST",
    "MASK",
    "PAINT",
    "agreement",
    "causal_mask",
    "gallery",
    "moved_by",
    "paint",
    "symptoms",
    "told",
]

# ---------------------------------------------------------------- 3: pixel by pixel


def paint(net: Callable, uniforms: Tensor) -> Tensor:
    """Pictures drawn one pixel after the other: uniforms [B, H, W] to [B, 1, H, W] in [-1, 1].

    net(x) gives every pixel's mixture, [B, 3 K, H, W].
    """
    B, H, W = uniforms.shape
    x = torch.zeros(B, 1, H, W)
    for row in range(H):
        for column in range(W):
            params = net(x)[:, :, row, column]
            x[:, 0, row, column] = draw_levels(params, uniforms[:, row, column]) / 127.5 - 1
    return x


def _toy_net(x: Tensor) -> Tensor:
    """A pixel from the one on its left and the two above, one of them on the right."""
    mean = 0.2 + 0.5 * neighbour(x, 0, 1) + 0.3 * neighbour(x, 1, 0)
    mean = mean - 0.6 * neighbour(x, 1, -1)
    return torch.cat([torch.zeros_like(mean), mean, torch.full_like(mean, -1.5)], dim=1)


def _ordered(order: Callable, refresh: Callable) -> Callable:
    """Painting in another order of places, with a call of the net where refresh says so."""

    def wrong(net, uniforms):
        B, H, W = uniforms.shape
        x, out = torch.zeros(B, 1, H, W), None
        for row, column in order(H, W):
            out = net(x) if out is None or refresh(row, column) else out
            level = draw_levels(out[:, :, row, column], uniforms[:, row, column])
            x[:, 0, row, column] = level / 127.5 - 1
        return x

    return wrong


def _rows(H: int, W: int) -> list[tuple[int, int]]:
    return [(row, column) for row in range(H) for column in range(W)]


def _columns(H: int, W: int) -> list[tuple[int, int]]:
    return [(row, column) for column in range(W) for row in range(H)]


def _scaled(scale: Callable) -> Callable:
    """Painting with levels turned into pixels in another way."""

    def wrong(net, uniforms):
        B, H, W = uniforms.shape
        x = torch.zeros(B, 1, H, W)
        for row, column in _rows(H, W):
            level = draw_levels(net(x)[:, :, row, column], uniforms[:, row, column])
            x[:, 0, row, column] = scale(level)
        return x

    return wrong


def _upwards(H: int, W: int) -> list[tuple[int, int]]:
    return [(row, column) for row in reversed(range(H)) for column in range(W)]


def _first_row(net: Callable, uniforms: Tensor) -> Tensor:
    x = paint(net, uniforms)
    x[:, :, 1:] = 0
    return x


def _first_picture(net: Callable, uniforms: Tensor) -> Tensor:
    return paint(lambda x: net(x)[:1].expand(len(x), -1, -1, -1), uniforms)


def _one_uniform(net: Callable, uniforms: Tensor) -> Tensor:
    return paint(net, uniforms[:, :1, :1].expand_as(uniforms))


def _means(net: Callable, uniforms: Tensor) -> Tensor:
    """The mean of each pixel's first logistic, in place of a draw."""
    B, H, W = uniforms.shape
    x = torch.zeros(B, 1, H, W)
    for row, column in _rows(H, W):
        out = net(x)
        x[:, 0, row, column] = out[:, out.shape[1] // 3, row, column]
    return x


def _other_draws(attempt: Callable) -> bool:
    """Whether the same numbers give other pictures."""
    one, two = (attempt(_toy_net, _a_row_of(1)) for _ in range(2))
    return other_end(one, two)


def _a_row_of(seed: int) -> Tensor:
    return torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(seed))


PAINT = Exercise(
    "paint",
    paint,
    [(_toy_net, _a_row_of(1)), (_toy_net, _a_row_of(2))],
    [
        (
            _ordered(_rows, lambda row, column: False),
            "The net was called once, on the empty picture: this is *all at once*. Call it "
            "anew for each pixel, on the picture as far as it is drawn.",
        ),
        (
            _ordered(_rows, lambda row, column: column == 0),
            "The net is called once a row, so no pixel sees its left neighbour: the call "
            "belongs inside the inner loop.",
        ),
        (
            _ordered(_columns, lambda row, column: True),
            "This goes column by column. The masks were made for rows from the top, each from "
            "left to right: the outer loop is over rows.",
        ),
        (
            _scaled(lambda level: level),
            "draw_levels gives 0 .. 255, and the net reads -1 .. 1: divide by 127.5, take 1.",
        ),
        (
            _one_uniform,
            "Every pixel was drawn with the first one's uniform: take uniforms[:, row, "
            "column].",
        ),
        (
            lambda net, uniforms: paint(net, uniforms)[:, 0],
            "The pixels are right; pictures have an axis for the channel: [B, 1, H, W].",
        ),
        (
            _scaled(lambda level: level / 255),
            "These pixels run from 0 to 1, and the net reads -1 to 1: level / 127.5 - 1.",
        ),
        (
            _scaled(lambda level: level / 127.5),
            "These pixels run from 0 to 2: take 1 off, so that they run from -1 to 1.",
        ),
        (
            _scaled(lambda level: 1 - level / 127.5),
            "This paints the negative: level 0 is black, -1.",
        ),
        (
            _means,
            "Each pixel is its distribution's mean: nothing is drawn, and all pictures are "
            "alike. draw_levels draws.",
        ),
        (
            _scaled(lambda level: level / 128 - 1),
            "White, level 255, must become exactly 1: divide by 127.5, not by 128.",
        ),
        (
            lambda net, uniforms: (paint(net, uniforms) + 1) * 127.5,
            "Drawn rightly, but these are levels: pictures are returned in [-1, 1].",
        ),
        (
            _ordered(_upwards, lambda row, column: True),
            "This goes from the bottom to the top. The masks were made for rows from the top.",
        ),
        (
            _first_row,
            "Only the first row is drawn: `return` stands inside the loop over rows.",
        ),
        (
            _first_picture,
            "All pictures were drawn from the first one's distributions: take net(x)[:, :, "
            "row, column], with all pictures.",
        ),
        (
            lambda net, uniforms: paint(net, uniforms[:1].expand_as(uniforms)),
            "All pictures were drawn with the first one's numbers: take uniforms[:, row, "
            "column].",
        ),
    ],
    "Right. That is all of it: one call of the net for each pixel.",
    habits=[
        (
            _other_draws,
            "Two calls give two pictures: chance comes from elsewhere. The uniforms that are "
            "given are all of it: draw_levels(..., uniforms[:, row, column]).",
        ),
    ],
    known_errors=[
        (
            "not enough values to unpack",
            "uniforms is [B, H, W]: three sizes, and none for a channel.",
        ),
        (
            "is out of bounds for dimension",
            "Rows run up to H and columns up to W; the answers are [B, 3 K, row, column].",
        ),
        (
            "Dimension out of range",
            "draw_levels reads [B, 3 K], with an axis for the pictures: net(x)[:, :, row, "
            "column].",
        ),
        (
            "must match the size of tensor",
            "draw_levels draws one pixel of every picture: net(x)[:, :, row, column] and "
            "uniforms[:, row, column].",
        ),
        (
            "must match the existing size",
            "The drawn levels are [B], a number for each picture: they belong into x[:, 0, "
            "row, column].",
        ),
    ],
    advice="one call for each pixel, in the order in which one reads, with its own uniforms",
)
