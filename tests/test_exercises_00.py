"""Lesson 00's graders take a reader's own ways to write it (what every lesson's graders do:
test_grader.py).
"""

import pytest
import torch

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
