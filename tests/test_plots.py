"""Still figures of images, grey and in colour, and what is said of what is none."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from course_lib.data import to_float
from course_lib.errors import CourseError
from course_lib.widgets.plots import show_images, show_rows, tile

pytestmark = pytest.mark.usefixtures("closed")


def images(B: int, C: int, H: int = 3, W: int = 4) -> torch.Tensor:
    """Unlike values in every pixel and channel: [B, C, H, W] in [-1, 1]."""
    return torch.linspace(-1, 1, B * C * H * W).reshape(B, C, H, W)


@pytest.mark.parametrize("C", [1, 3])
def test_tile_puts_each_image_in_its_place_in_its_colours(C):
    x = images(5, C)
    sheet = tile(x, columns=2, pad=1)
    assert sheet.shape == (3 * 4 + 1, 2 * 5 + 1) + ((3,) if C == 3 else ())
    assert sheet.dtype == np.float32
    for i, image in enumerate(x.numpy()):
        y, left = 1 + i // 2 * 4, 1 + i % 2 * 5
        expected = image[0] if C == 1 else image.transpose(1, 2, 0)
        found = sheet[y : y + 3, left : left + 4]
        np.testing.assert_allclose(found, (expected + 1) / 2, atol=1e-6)
    assert (sheet[0] == 1).all() and (sheet[:, 5] == 1).all()  # white between
    assert (sheet[9:12, 6:10] == 1).all()  # no sixth image


def test_tile_clips_and_takes_all_kinds_of_arrays():
    x = images(4, 3)
    expected = tile(x)
    assert np.array_equal(tile(x.numpy()), expected)
    assert np.array_equal(tile(x.clone().requires_grad_()), expected)
    assert tile(5 * x).min() == 0 and tile(5 * x).max() == 1
    np.testing.assert_allclose(tile(x.bfloat16()), expected, atol=0.01)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (torch.zeros(2, 2, 4, 4), "decode latents"),
        (torch.zeros(2, 4, 4, 4), "decode latents"),
        (torch.zeros(2, 28, 28), r"not \[2, 28, 28\]"),
        (torch.zeros(0, 1, 28, 28), r"not \[0, 1, 28, 28\]"),
        (torch.full((2, 1, 4, 4), float("nan")), "not finite"),
        (torch.full((2, 3, 4, 4), float("inf")), "not finite"),
    ],
    ids=["two channels", "latents", "no channels", "none", "nan", "inf"],
)
def test_what_is_no_image_is_refused(wrong, says):
    with pytest.raises(CourseError, match=says):
        tile(wrong)
    with pytest.raises(CourseError, match=says):
        show_images({"good": torch.zeros(2, 1, 4, 4), "bad": wrong})
    if wrong.ndim == 4 and len(wrong):
        with pytest.raises(CourseError, match=says):
            show_rows({"bad": wrong})


@pytest.mark.parametrize("options", [{"columns": -1}, {"pad": -1}])
def test_tiles_that_can_not_be(options):
    with pytest.raises(CourseError, match="1 column or more"):
        tile(torch.zeros(2, 1, 4, 4), **options)


def test_nothing_to_show_gets_a_sentence():
    for show, nothing in ((show_images, {}), (show_rows, {}), (show_rows, {"a": []})):
        with pytest.raises(CourseError, match="no images to show"):
            show(nothing)


def shown(axis) -> np.ndarray:
    """The pixels of an axis as matplotlib paints them: [H, W, 4] in 0 to 255."""
    picture = axis.images[0]
    return picture.to_rgba(picture.get_array(), bytes=True)


@pytest.mark.parametrize("kind", [torch.stack, list], ids=["tensor", "list"])
def test_rows_show_grey_and_colour_alike(kind):
    grey = torch.randint(256, (2, 5, 6), dtype=torch.uint8)
    colour = torch.randint(256, (3, 3, 5, 6), dtype=torch.uint8)
    plt.rcParams["image.cmap"] = "gray"
    figure = show_rows(
        {"grey": kind(list(to_float(grey))), "colour": kind(list(to_float(colour)))}
    )
    axes = np.array(figure.axes).reshape(2, 3)
    for i in range(2):
        error = shown(axes[0, i])[..., 0].astype(int) - grey[i].numpy()
        assert abs(error).max() <= 1
    for i in range(3):
        wanted = colour[i].numpy().transpose(1, 2, 0).astype(int)
        assert abs(shown(axes[1, i])[..., :3] - wanted).max() <= 1
    assert not axes[0, 2].images


def test_grids_of_grey_and_colour_stand_side_by_side():
    figure = show_images({"grey": images(4, 1), "colour": images(4, 3)})
    assert [axis.images[0].get_array().ndim for axis in figure.axes] == [2, 3]
