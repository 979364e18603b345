"""Lesson 00's graders take a reader's own ways to write it (what every lesson's graders do:
test_grader.py).
"""

import pytest
import torch
from contracts import AnswersContract

from course_lib.exercises import lesson_00 as lesson


def own(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_bytes_by_readers():
    assert lesson.BYTES_TO_IMAGES(lambda b: b[:, None] / 255 * 2 - 1)
    assert lesson.BYTES_TO_IMAGES(
        lambda b: torch.from_numpy(b.numpy().astype("float32") / 127.5 - 1).unsqueeze(1)
    )
    assert "NumPy" in lesson.BYTES_TO_IMAGES(lambda b: b.numpy()[:, None] / 127.5 - 1).text
    assert (
        "float32"
        in lesson.BYTES_TO_IMAGES(lambda b: torch.tensor(b.numpy()[:, None] / 127.5 - 1)).text
    )


def test_scale_by_readers():
    assert lesson.SCALE_EACH(lambda x, f: x * f.view(-1, 1, 1, 1))
    assert lesson.SCALE_EACH(lambda x, f: torch.einsum("bchw,b->bchw", x, f))
    assert lesson.SCALE_EACH(
        lambda x, f: torch.stack([image * one for image, one in zip(x, f, strict=True)])
    )
    assert (
        "28 tensors"
        in lesson.SCALE_EACH(
            lambda x, f: [image * one for image, one in zip(x, f, strict=True)]
        ).text
    )


def fork(x, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.randn(x.shape)


def set_everyone_s(x, seed):
    torch.manual_seed(seed)
    return torch.randn(x.shape)


def test_noise_by_readers():
    assert lesson.NOISE_LIKE(lambda x, seed: torch.randn(*x.shape, generator=own(seed)))
    assert lesson.NOISE_LIKE(lambda x, seed: torch.empty_like(x).normal_(generator=own(seed)))
    assert lesson.NOISE_LIKE(fork)  # what it touches it puts back


KEPT = own(3)  # a generator that lives longer than the call


@pytest.mark.parametrize(
    ("attempt", "hint"),
    [
        (set_everyone_s, "everybody shares"),
        (
            lambda x, seed: torch.randn(x.shape, generator=torch.manual_seed(seed)),
            "everybody shares",
        ),
        (lambda x, seed: set_everyone_s(x, seed + 1), "everybody shares"),
        (lambda x, seed: torch.randn(x.shape), "Two calls with the same seed"),
        (lambda x, seed: torch.randn_like(x), "Two calls with the same seed"),
        (lambda x, seed: torch.randn(x.shape, generator=KEPT), "Two calls with the same seed"),
        (
            lambda x, seed: torch.randn(x.shape, generator=torch.Generator()),
            "never told the seed",
        ),
        (lambda x, seed: torch.randn(x.shape, generator=own(seed + 1)), "with this seed"),
    ],
)
def test_noise_that_is_not_one_s_own(attempt, hint):
    for _ in range(2):  # the first call could leave the shared numbers where the second would
        verdict = lesson.NOISE_LIKE(attempt)
        assert verdict.state == "wrong"
        assert hint in verdict.text
        assert "equation" not in verdict.text  # there is none


def test_error_by_readers():
    assert lesson.ERROR_PER_IMAGE(lambda a, b: ((a - b) ** 2).mean(dim=(1, 2, 3)))
    assert lesson.ERROR_PER_IMAGE(
        lambda a, b: torch.stack([(x - y).square().mean() for x, y in zip(a, b, strict=True)])
    )
    verdict = lesson.ERROR_PER_IMAGE(
        lambda a, b: [(x - y).square().mean() for x, y in zip(a, b, strict=True)]
    )
    assert (
        verdict.text
        == "error_per_image returned a list of 4 tensors; torch.stack makes one tensor of "
        "them."
    )


@pytest.mark.parametrize(
    "exercise", [lesson.SCALE_EACH, lesson.ERROR_PER_IMAGE], ids=lambda e: e.name
)
def test_coloured_images_are_among_the_cases(exercise):
    assert {case[0].shape[1] for case in exercise.cases} == {1, 3}


# ---------------------------------------------------------------- a table of slips

BYTES, SCALE, NOISE, ERROR = (
    lesson.BYTES_TO_IMAGES,
    lesson.SCALE_EACH,
    lesson.NOISE_LIKE,
    lesson.ERROR_PER_IMAGE,
)


def scale_in_place(x, f):
    for i in range(len(x)):
        x[i] *= f[i]
    return x


def scale_a_copy(x, f):
    out = x.clone()
    for i in range(len(x)):
        out[i] *= f[i]
    return out


def minmax(b):
    b = b.float()
    return (2 * (b - b.min()) / (b.max() - b.min()) - 1)[:, None]


def minmax_each(b):
    flat = b.float().flatten(1)
    low, high = flat.min(1, keepdim=True).values, flat.max(1, keepdim=True).values
    return (2 * (flat - low) / (high - low) - 1).view(len(b), 1, *b.shape[1:])


# as a reader may write them, not as the graders' own wrong turns are written
SLIPS = [
    (BYTES, minmax, "stretches what is there"),
    (BYTES, minmax_each, "stretches what is there"),
    (BYTES, lambda b: b[:, None] / b.max() * 2 - 1, "divides by the largest value that is"),
    (BYTES, lambda b: b.float().unsqueeze(1) / b.max(), "Two slips"),
    (BYTES, lambda b: b.unsqueeze(1).float().div(255), "That is [0, 1]"),
    (BYTES, lambda b: b.unsqueeze(1) / 128 - 1, "255 / 128 - 1 is 0.992"),
    (BYTES, lambda b: (b * 2 / 255 - 1).unsqueeze(1), "A byte holds no number above 255"),
    (BYTES, lambda b: b / 127.5 - 1, "lacks its channel axis"),
    (BYTES, lambda b: 1 - b[:, None] / 127.5, "the negative"),
    (BYTES, lambda b: b[:, None].double() / 127.5 - 1, "float32"),
    (BYTES, lambda b: (b.float() - b.float().mean()) / b.float().std(), "returned shape"),
    (SCALE, scale_in_place, "writes into its own argument, `x`"),
    (SCALE, lambda x, f: x.mul_(f[:, None, None, None]), "writes into its own argument"),
    (SCALE, lambda x, f: f * x, "the columns of each picture"),
    (SCALE, lambda x, f: x * f.reshape(-1, 1), "[B, 1] lines up with rows"),
    (SCALE, lambda x, f: f[:, None, None] * x, "[B, 1, 1] lines up with channels"),
    (SCALE, lambda x, f: x * f.view(1, -1, 1, 1), "One more axis"),
    (SCALE, lambda x, f: x * float(f[0]), "takes the first one's for all"),
    (SCALE, lambda x, f: x * float(f), "a tensor of many numbers stands where one"),
    (SCALE, lambda x, f: (x.permute(1, 2, 3, 0) @ f).permute(0, 1, 2), "returned shape"),
    (NOISE, lambda x, seed: x + torch.randn(x.shape, generator=own(seed)), "x is added"),
    (NOISE, lambda x, seed: torch.rand(x.shape, generator=own(seed)), "uniform, from 0"),
    (NOISE, lambda x, seed: torch.randn(x.shape, generator=own(0)), "The seed is 0"),
    (NOISE, lambda x, seed: x.normal_(generator=own(seed)), "writes into its own argument"),
    (NOISE, lambda x, seed: torch.randn(x[0].shape, generator=own(seed)), "returned shape"),
    (
        NOISE,
        lambda x, seed: torch.randn(x.shape, generator=own(seed), dtype=torch.float64),
        "with this seed",
    ),
    (NOISE, lambda x, seed: torch.randn(x.shape, seed=seed), "stopped with TypeError"),
    (ERROR, lambda a, b: ((a - b) ** 2).mean((1, 2, 3)) ** 0.5, "root of it"),
    (ERROR, lambda a, b: ((a - b) ** 2).sum((1, 2, 3)) / 784, "Divided by 784"),
    (ERROR, lambda a, b: ((a - b) ** 2).mean((1, 2, 3), keepdim=True), "keepdim=True"),
    (ERROR, lambda a, b: (a - b).pow(2).sum((1, 2, 3)), "the sum over the pixels"),
    (ERROR, lambda a, b: torch.nn.functional.mse_loss(a, b), "one number for the batch"),
    (ERROR, lambda a, b: (a - b).mean((1, 2, 3)) ** 2, "Averaged first"),
    (ERROR, lambda a, b: (a - b).abs().mean((1, 2, 3)), "the absolute error"),
    (ERROR, lambda a, b: ((a - b) ^ 2).mean((1, 2, 3)), "^ is no power"),
    (ERROR, lambda a, b: a.sub_(b).square().mean((1, 2, 3)), "writes into its own argument"),
    (ERROR, lambda a, b: ((a - b) ** 2).mean((1, 2)), "returned shape"),
]


RIGHT = [
    (BYTES, lambda b: torch.lerp(torch.tensor(-1.0), torch.tensor(1.0), b[:, None] / 255)),
    (BYTES, lambda b: torch.stack([(p.float() - 127.5) / 127.5 for p in b]).unsqueeze(1)),
    (BYTES, lambda b: torch.arange(-255, 256, 2)[b.long()][:, None] / 255),
    (BYTES, lambda b: b.reshape(b.shape[0], 1, b.shape[1], b.shape[2]).float() / 127.5 - 1),
    (SCALE, scale_a_copy),
    (SCALE, lambda x, f: (x.flatten(1) * f[:, None]).reshape(x.shape)),
    (SCALE, lambda x, f: (x.permute(1, 2, 3, 0) * f).permute(3, 0, 1, 2)),
    (SCALE, lambda x, f: (x.double() * f.double().view(-1, 1, 1, 1)).float()),
    (
        NOISE,
        lambda x, seed: torch.randn(
            x.size(), generator=torch.Generator("cpu").manual_seed(seed)
        ),
    ),
    (NOISE, lambda x, seed: torch.randn(x.numel(), generator=own(seed)).view(x.shape)),
    (NOISE, lambda x, seed: torch.normal(0.0, 1.0, x.shape, generator=own(seed))),
    (ERROR, lambda a, b: torch.einsum("bchw,bchw->b", a - b, a - b) / a[0].numel()),
    (ERROR, lambda a, b: (a - b).flatten(1).norm(dim=1) ** 2 / a[0].numel()),
    (ERROR, lambda a, b: torch.nn.functional.mse_loss(a, b, reduction="none").mean((1, 2, 3))),
    (ERROR, lambda a, b: a.clone().sub_(b).square_().flatten(1).mean(1)),
]


class TestAnswers(AnswersContract):
    """The usual slips, and right answers in other words."""

    slips, right = SLIPS, RIGHT


def test_no_byte_case_holds_black_and_white():
    for (pixels,) in BYTES.cases:
        assert not {0, 255} <= set(pixels.unique().tolist())
