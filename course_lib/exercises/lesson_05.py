"""The exercises of lesson 05: an embedding, a loss, its floor, a mask, a reverse step and
guidance. The loss stands in algorithms_05.py, the step and guidance in sampling_05.py.

Each solution is a closed form, or the library's own where its test compares that with one:
later cells run on it where the reader has not written theirs yet.
"""

import torch
from torch import Tensor

from course_lib.exercises.algorithms_05 import FLOAT32, NOISE_LOSS
from course_lib.exercises.grader import Exercise, other_end
from course_lib.exercises.sampling_05 import GUIDANCE, REVERSE_STEP
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


def _rises(attempt) -> bool:
    """Whether the frequencies rise. Asked at small times, for in float32 the sine of 10^7 is
    anyone's guess.
    """
    t = torch.tensor([1e-4, 3e-3])
    return torch.allclose(
        attempt(t, 8).double(), _cos_sin(_angles(t, 4, sign=1.0)), rtol=1e-3, atol=1e-3
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
            lambda t, dim: _cos_sin(_angles(t, dim // 2, steps=dim / 4)),
            "The exponents reach 2: j is divided by dim / 4. In the transformer's paper 2 i / "
            "d has d = dim, which is our j / h with h = dim / 2.",
        ),
        (
            lambda t, dim: _angles(t, dim // 2).cos().repeat(1, 2),
            "Both halves are cosines; the second half is of sines.",
        ),
        (
            lambda t, dim: _angles(t, dim // 2).sin().repeat(1, 2),
            "Both halves are sines; the first half is of cosines.",
        ),
        (
            lambda t, dim: _angles(t, dim // 2).repeat(1, 2),
            "These are the angles: their cosines go into the first half of the columns, their "
            "sines into the second.",
        ),
    ],
    praise="Right: fast waves in the first columns, slow ones in the last, a cosine and a "
    "sine of each.",
    habits=[
        (
            _rises,
            "The frequencies rise to 10000 instead of falling to 1 / 10000: a minus is "
            "missing in the exponent.",
        ),
    ],
    known_errors=[
        (
            "must match the size of tensor",
            "Each time meets each frequency: t[:, None] is [B, 1], the frequencies [dim / 2], "
            "and their product [B, dim / 2].",
        ),
    ],
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


def _draws_anew(attempt) -> bool:
    """Whether the same arguments give other labels: 50 draws of one image in ten agree by
    chance once in many thousands.
    """
    labels, u = torch.arange(50) % 10, torch.linspace(0.001, 0.999, 50)
    one, two = (attempt(labels.clone(), 10, u.clone()) for _ in range(2))
    return other_end(one, two)


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
        (
            lambda labels, null_class, u: torch.where(u < 0.1, 10, labels),
            'The 10 is written in. It is right for ten classes alone: the label that says "no '
            'class" is null_class.',
        ),
        (
            lambda labels, null_class, u: torch.where(u < 0.1, -1, labels),
            'A label of -1 has no row in the net\'s table. "No class" is null_class.',
        ),
        (
            lambda labels, null_class, u: torch.full_like(labels, null_class),
            "All labels are dropped. Keep those whose u is 0.1 or more.",
        ),
        (
            lambda labels, null_class, u: labels,
            "No label is dropped.",
        ),
    ],
    habits=[
        (
            _draws_anew,
            "The labels are dropped by chance drawn inside, and a run could not be repeated. "
            "u is the chance: one number an image, already drawn.",
        ),
    ],
    known_errors=[
        (
            "Boolean value of Tensor",
            "`if` takes one truth, and u has one number for each image: "
            "torch.where(u < 0.1, null_class, labels) chooses image by image.",
        ),
    ],
    praise="Right: one image in ten is shown without its class, and the same net learns both "
    "jobs.",
    dtype_hint="The values are right, but labels must stay integers: the net looks up row 3 "
    "of a table, and there is "
    "no row 3.0. torch.where(u < 0.1, null_class, labels) keeps their dtype.",
    advice="compare u with 0.1, image by image",
)
