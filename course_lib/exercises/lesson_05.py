"""The exercises of lesson 05: an embedding, a loss, its floor, a mask, a reverse step and
guidance. The loss and the step stand in algorithms_05.py.

Each solution is a closed form, or the library's own where its test compares that with one:
later cells run on it where the reader has not written theirs yet.
"""

import torch
from torch import Tensor

from course_lib.exercises.algorithms_05 import FLOAT32, NOISE_LOSS, REVERSE_STEP, seeded
from course_lib.exercises.grader import Exercise
from course_lib.layers import time_embedding

__all__ = [
    "DROP_LABELS",
    "FLOOR",
    "GUIDANCE",
    "NOISE_LOSS",
    "REVERSE_STEP",
    "TIME_EMBEDDING",
]

# ---- the time embedding


def _angles(t: Tensor, columns: int, steps: float | None = None, sign: float = -1.0) -> Tensor:
    exponents = torch.arange(columns, dtype=torch.float64) / (
        columns if steps is None else steps
    )
    return t.double()[:, None] * 10_000.0 ** (sign * exponents)[None, :]


def _embedding_on_rows(t: Tensor, dim: int) -> Tensor:
    out = _angles(t, dim)
    out[0::2], out[1::2] = out[0::2].sin(), out[1::2].cos()
    return out


def _cos_sin(angles: Tensor) -> Tensor:
    return torch.cat([angles.cos(), angles.sin()], dim=1)


_ON_ROWS = (
    "The sines and cosines alternate over the rows, that is over the times of the batch. "
    "Each time needs both: "
    "cosines in one half of the columns and sines in the other (dim=1)."
)

TIME_EMBEDDING = Exercise(
    name="embed",
    solution=time_embedding,
    cases=[
        (torch.tensor([0, 1, 7, 250, 999, 1000]), 8),
        (torch.tensor([3, 400]), 64),
        (torch.tensor([0.5, -12.25]), 32),  # the one-pixel net has its greys embedded too
    ],
    wrong_turns=[
        (_embedding_on_rows, _ON_ROWS),
        (lambda t, dim: _embedding_on_rows(t + 0, dim)[:, : dim // 2].repeat(1, 2), _ON_ROWS),
        (
            lambda t, dim: torch.cat(
                [_angles(t, dim // 2).cos(), _angles(t, dim // 2).sin()], dim=0
            ),
            "The two halves are stacked as rows, so the batch has doubled. They are columns: "
            "torch.cat(..., dim=1).",
        ),
        (
            lambda t, dim: torch.stack(
                [_angles(t, dim // 2).cos(), _angles(t, dim // 2).sin()], 2
            ).flatten(1),
            "Cosine and sine alternate column by column. A net learns as well from that "
            "order, but these weights were "
            "trained with all cosines first, then all sines.",
        ),
        (
            lambda t, dim: torch.stack(
                [_angles(t, dim // 2).sin(), _angles(t, dim // 2).cos()], 2
            ).flatten(1),
            "Sine and cosine alternate column by column, the order of the transformer's "
            "paper. A net learns as well "
            "from it, but these weights were trained with all cosines first, then all sines.",
        ),
        (
            lambda t, dim: _cos_sin(_angles(t, dim // 2)).roll(dim // 2, dims=1),
            "The sines come first. The order is a convention, and this one has the cosines "
            "first.",
        ),
        (
            lambda t, dim: _cos_sin(_angles(t, dim // 2, steps=dim // 2 - 1)),
            "The exponents run from 0 to 1 with the 1 included (division by dim / 2 - 1). "
            "Here j is divided by "
            "dim / 2, so that the slowest wave is a little faster than 1 / 10000.",
        ),
        (
            lambda t, dim: _cos_sin(_angles(t, dim // 2, steps=dim)),
            "j is divided by dim. There are only dim / 2 frequencies, so divide by dim / 2 "
            "for them to reach the slow "
            "end.",
        ),
        (
            lambda t, dim: _cos_sin(_angles(t, dim // 2, sign=1.0)),
            "The frequencies rise to 10000 instead of falling to 1 / 10000: a minus is "
            "missing in the exponent.",
        ),
    ],
    praise="Right: fast waves in the first columns, slow ones in the last, a cosine and a "
    "sine of each.",
    rtol=1e-3,  # a float32 angle of 1000 radians is only known to 6e-5
    dtype_hint=FLOAT32.format("the embedding") + " End with .float().",
)


# ---- the floor under the loss


def _floor(alpha_bar: float, s2: Tensor) -> Tensor:
    """1 - rho^2, with rho the correlation of eps and x_t for data Normal(0, s2)."""
    rho2 = (1 - alpha_bar) / (alpha_bar * s2 + 1 - alpha_bar)
    return 1 - rho2


_S2 = torch.tensor([0.01, 0.25, 1.0, 4.0], dtype=torch.float64)

FLOOR = Exercise(
    name="gaussian_floor",
    solution=_floor,
    cases=[(0.9, _S2), (0.5, _S2), (0.04, _S2)],
    wrong_turns=[
        (
            lambda alpha_bar, s2: (1 - alpha_bar) / (alpha_bar * s2 + 1 - alpha_bar),
            "This is the mean square of the best guess. The floor is what is missing from it "
            "to 1.",
        ),
        (
            lambda alpha_bar, s2: s2 * (1 - alpha_bar) / (alpha_bar * s2 + 1 - alpha_bar),
            "This is the floor for the picture, Var[x_0 | x_t]. In units of the noise it is "
            "multiplied by "
            "alpha_bar / (1 - alpha_bar).",
        ),
        (
            lambda alpha_bar, s2: (
                (1 - alpha_bar) ** 0.5 / (alpha_bar * s2 + 1 - alpha_bar) ** 0.5
            ),
            "This is the correlation of the noise with x_t. Square it, and take it from 1.",
        ),
        (
            lambda alpha_bar, s2: (
                1 - ((1 - alpha_bar) / (alpha_bar * s2 + 1 - alpha_bar)) ** 0.5
            ),
            "1 minus the correlation. The right angle is between squares: 1 minus the "
            "correlation squared.",
        ),
        (
            lambda alpha_bar, s2: alpha_bar**2 * s2 / (alpha_bar**2 * s2 + 1 - alpha_bar**2),
            "alpha_bar is squared here. It is a share of the variance already: x_t has the "
            "variance "
            "alpha_bar * s2 + 1 - alpha_bar.",
        ),
        (
            lambda alpha_bar, s2: (
                alpha_bar**0.5 * s2 / (alpha_bar**0.5 * s2 + 1 - alpha_bar**0.5)
            ),
            "This takes the root of alpha_bar. Variances add with alpha_bar itself: x_t has "
            "the variance "
            "alpha_bar * s2 + 1 - alpha_bar.",
        ),
        (
            lambda alpha_bar, s2: alpha_bar * s2**0.5 / (alpha_bar * s2**0.5 + 1 - alpha_bar),
            "s2 is the variance already, and here its root was taken.",
        ),
        (
            lambda alpha_bar, s2: alpha_bar * s2**2 / (alpha_bar * s2**2 + 1 - alpha_bar),
            "s2 is the variance already, and here it was squared.",
        ),
        (
            lambda alpha_bar, s2: alpha_bar / (alpha_bar * s2 + 1 - alpha_bar),
            "Where the data has no spread (s2 = 0), the noise can be read off x_t: the floor "
            "must be 0 there.",
        ),
        (
            lambda alpha_bar, s2: alpha_bar * s2,
            "This is the variance of the image's share. Divide it by the variance of all of "
            "x_t.",
        ),
    ],
    praise="Right: the share of x_t's variance that is image. It is the part of the noise "
    "that hides behind it.",
)


# ---- dropped labels


def _drop(labels: Tensor, null_class: int, u: Tensor) -> Tensor:
    return torch.where(u.to(labels.device) < 0.1, null_class, labels)


_LABELS = torch.tensor([3, 0, 9, 1, 7, 4, 2, 5, 8, 6, 3, 0])
_CHANCE = torch.tensor([0.05, 0.5, 0.95, 0.0999, 0.3, 0.15, 0.02, 0.85, 0.7, 0.92, 0.11, 0.4])

DROP_LABELS = Exercise(
    name="drop_labels",
    solution=_drop,
    cases=[(_LABELS, 10, _CHANCE), (_LABELS, 77, 1 - _CHANCE)],
    wrong_turns=[
        (
            lambda labels, null_class, u: torch.where(u < 0.1, labels, null_class),
            "The mask is inverted: nine tenths of the labels are dropped and a tenth is "
            "kept. The net would train, "
            "and guidance would be weak.",
        ),
        (
            lambda labels, null_class, u: torch.where(u < 0.9, null_class, labels),
            "The mask is inverted: u < 0.9 is true nine times in ten.",
        ),
        (
            lambda labels, null_class, u: torch.where(u > 0.9, null_class, labels),
            "A tenth is dropped, as it should be, but take u < 0.1, so that the same random "
            "numbers drop the same "
            "labels as in the library.",
        ),
        (
            lambda labels, null_class, u: torch.where(u < 0.1, 0, labels),
            '0 is a class (T-shirt). The label that says "no class" is null_class.',
        ),
        (
            lambda labels, null_class, u: labels[u >= 0.1],
            "The images whose label is dropped are gone from the batch. Keep them, with "
            "null_class for a label.",
        ),
        (
            lambda labels, null_class, u: torch.where(u[:1] < 0.1, null_class, labels),
            "One draw decides for the whole batch. Each image has its own number in u.",
        ),
    ],
    praise="Right: one image in ten is shown without its class, and the same net learns both "
    "jobs.",
    dtype_hint="The values are right, but labels must stay integers: the net looks up row 3 "
    "of a table, and there is "
    "no row 3.0. torch.where(u < 0.1, null_class, labels) keeps their dtype.",
    advice="compare u with 0.1, image by image",
)


# ---- guidance


def _guide(uncond: Tensor, cond: Tensor, scale: float) -> Tensor:
    return (1 - scale) * uncond + scale * cond


_U, _C = seeded(2, 1, 3, 3, seed=5), seeded(2, 1, 3, 3, seed=6)
_ONE_NUMBER = (
    "The lesson has a dial for each image of a batch: scale may be a tensor [B, 1, 1, 1], "
    "which no `if` and no float() "
    "can take. The formula needs neither: both ends come out of it."
)

GUIDANCE = Exercise(
    name="guide",
    solution=_guide,
    cases=[
        (_U, _C, 3.0),
        (_U, _C, 0.0),
        (_U, _C, 1.0),
        (_U, _C, torch.tensor([1.0, 2.5]).reshape(2, 1, 1, 1)),
    ],
    wrong_turns=[
        (
            lambda uncond, cond, scale: cond + scale * (cond - uncond),
            "This is the paper's w, for which 0 means no guidance. Here scale 0 is "
            "unconditional and 1 is plain: start "
            "from uncond. (Their w is our scale - 1.)",
        ),
        (
            lambda uncond, cond, scale: cond + scale * (uncond - cond),
            "The two are exchanged: at scale 0 this is the conditional answer, at 1 the "
            "unconditional one, and above "
            "it runs away from the class.",
        ),
        (
            lambda uncond, cond, scale: scale * (cond - uncond),
            "Only the difference is left. It is a push, to be added to the unconditional "
            "answer.",
        ),
        (
            lambda uncond, cond, scale: scale * cond - uncond,
            "The two factors must add up to 1, or the answer changes its size: scale and 1 - "
            "scale.",
        ),
        (
            lambda uncond, cond, scale: uncond + scale * cond,
            "The difference cond - uncond is to be scaled, not cond itself.",
        ),
        (
            lambda uncond, cond, scale: scale * cond,
            "The unconditional answer is missing: guidance goes on along the line from "
            "uncond through cond.",
        ),
    ],
    praise="Right: 0 is the net without a class, 1 the net with it, and beyond 1 the line "
    "goes on.",
    known_errors=[
        ("Boolean value of Tensor", _ONE_NUMBER),
        ("only one element tensors can be converted", _ONE_NUMBER),
        ("cannot be converted to Scalar", _ONE_NUMBER),
    ],
    dtype_hint=FLOAT32.format("the answer") + " End with .to(cond.dtype).",
)
