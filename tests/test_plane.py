"""The plane without a browser: its sheet, its three surfaces, its value, and what it says to
what it can't show.
"""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.errors import CourseError
from course_lib.widgets import Plane
from course_lib.widgets.places import MOST_CLASSES, Axis, Scatter
from course_lib.widgets.plots import PALETTE
from course_lib.widgets.sheet import unpack

XS, YS = [0, 1, 2, 3], [-1.0, 0.5, 2.0]
# Row r, column c is all one grey, 60 r + 15 c.
GREYS = np.broadcast_to(
    (60 * np.arange(3)[:, None] + 15 * np.arange(4))[:, :, None, None], (3, 4, 6, 8)
).astype(np.uint8)


def smooth(count: int = 25, size: int = 28) -> np.ndarray:
    """A plane of blobs that grow to the right and turn upwards: [count, count, size, size] in
    [-1, 1].
    """
    grid = np.linspace(-1, 1, size)
    v, u = np.meshgrid(grid, grid, indexing="ij")
    places = np.linspace(-3, 3, count)
    width, turn = 0.25 + 0.08 * (places + 3), 0.5 * places
    cos, sin = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    along, aside = u * cos + v * sin, v * cos - u * sin  # [count, size, size]
    along = along[:, None] / width[None, :, None, None]
    return 2 * np.exp(-((along**2 + (aside[:, None] / 0.25) ** 2) ** 2)) - 1


def points(count: int = 2000) -> tuple[np.ndarray, list[str]]:
    """Ten clouds of points and the names of their classes."""
    draw = np.random.default_rng(0)
    kinds = draw.integers(0, 10, count)
    centres = draw.normal(0, 1.2, (10, 2))
    return centres[kinds] + draw.normal(0, 0.4, (count, 2)), [f"class {k}" for k in kinds]


def test_the_bundle_has_three_surfaces():
    data, metadata = Plane(GREYS, XS, YS, title="Greys")._repr_mimebundle_()
    assert set(data) >= {"application/vnd.jupyter.widget-view+json", "text/html", "image/png"}
    assert data["text/html"].startswith(
        '<div><img alt="Greys: 3 x 4 pictures, x = 0 to 3, y = -1 to 2"'
    )
    still = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert still.width == metadata["image/png"]["width"]


def test_the_page_asks_for_nothing():
    plane = Plane(GREYS, XS, YS, backdrop=GREYS[0, 0], points=[[1, 1]], labels=["a"])
    page = plane.page()
    assert page in html.unescape(plane._repr_mimebundle_()[0]["text/html"])
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|<link|\ssrc=|@import|url\(", page, re.MULTILINE
    )


def test_words_can_not_end_the_script():
    notes = [["</script>"] * 4] * 3
    plane = Plane(GREYS, XS, YS, title="</script><i>", xlabel="<!--", notes=notes)
    assert plane.page().count("</script>") == 2 and "<!--" not in plane.page()


def test_a_latent_plane_is_small():
    where, names = points()
    z = np.linspace(-3, 3, 25)
    plane = Plane(smooth(), z, z, blend=True, points=where, labels=names)
    data, _ = plane._repr_mimebundle_()
    assert len(plane._sheets[0]) < 60_000
    assert len(data["text/html"]) < 250_000, "base64, module, points and still included"
    assert len(data["image/png"]) < 120_000


@pytest.mark.parametrize("lossless", [True, False])
def test_the_sheet_holds_each_picture_at_its_row_and_column(lossless):
    pictures = smooth(5)
    plane = Plane(pictures, range(5), range(5), quality="lossless" if lossless else 85)
    found = unpack(plane._sheets[0], 5, 5, 1)[:, :, 0]
    true = np.rint((pictures + 1) * 127.5)
    assert found.shape == (5, 5, 28, 28)
    error = np.abs(found - true)
    assert error.max() == 0 if lossless else error.mean() < 1.5


def test_maps_stay_exact():
    maps = np.tri(784, dtype=bool).reshape(28, 28, 28, 28)
    plane = Plane(maps, range(28), range(28), backdrop=smooth(1)[0, 0])
    assert (unpack(plane._sheets[0], 28, 28, 1)[:, :, 0] == 255 * maps).all()
    assert len(plane._sheets[0]) < 60_000
    assert plane._spec["outlined"] and plane._spec["down"]


@pytest.mark.parametrize(
    "give",
    [
        lambda x: x,
        lambda x: torch.from_numpy(x.copy()),
        lambda x: x[:, :, None],
        lambda x: (x / 127.5 - 1).astype(np.float32),
        lambda x: torch.from_numpy(x / 127.5 - 1).float(),
        lambda x: np.stack([x] * 3, -1),
        lambda x: np.stack([x] * 3, 2),
    ],
)
def test_all_forms_of_pictures(give):
    plane = Plane(give(GREYS), XS, YS, quality="lossless", backdrop=give(GREYS)[0, 0])
    channels = plane._levels.shape[2]
    assert (unpack(plane._sheets[0], 3, 4, channels)[:, :, 0] == GREYS).all()
    assert (unpack(plane._sheets[1], 1, 1, channels)[0, 0, 0] == GREYS[0, 0]).all()


def test_value_is_the_nearest_picture_s():
    plane = Plane(GREYS, XS, YS)
    assert (plane.value, plane.place) == ((2, 0.5), (1, 2)), "the middle"
    plane.value = (2.6, -0.9)
    assert (plane.value, plane.place) == ((3, -1.0), (0, 3))
    assert Plane(GREYS, XS, YS, start=(0, 2)).place == (2, 0)
    for value, sentence in [((4, 0), "x is 0 to 3 here, not 4."), ((0, "a"), "y is -1 to 2")]:
        with pytest.raises(CourseError, match=sentence):
            plane.value = value
    assert plane.value == (3, -1.0), "a wrong one changes nothing"


def test_a_blended_value_is_any():
    seen = []
    plane = Plane(GREYS, XS, YS, blend=True, start=(np.float64(1.3), 0.2))
    plane.observe(lambda change: seen.append(change["new"]), "value")
    assert (plane.value, plane.place) == ((1.3, 0.2), (1, 1))
    plane.value = [2.75, 2.0 + 1e-12]
    assert seen == [(2.75, 2.0)] and plane.place == (2, 3)


def test_words_name_places():
    plane = Plane(GREYS, XS, ["DDIM", "DDPM", "Heun"], start=(1, "Heun"))
    assert plane.place == (2, 1) and plane._spec["down"], "a table begins on top"
    with pytest.raises(CourseError, match="y is one of DDIM, DDPM, Heun here, not 'DPM'"):
        plane.value = (1, "DPM")


@pytest.mark.parametrize(
    "options, down",
    [({}, False), ({"origin": "upper"}, True), ({"backdrop": GREYS[0, 0]}, True)],
)
def test_row_0_is_below_unless_it_is_an_image_s(options, down):
    assert Plane(GREYS, XS, YS, **options)._spec["down"] == down


@pytest.mark.parametrize(
    "values, texts",
    [
        (np.linspace(-3, 3, 5), ["-3", "-1.5", "0", "1.5", "3"]),
        (torch.tensor([1, 10, 1000]), ["1", "10", "1000"]),
        ([1e-3, 2e-3, 4e-3], ["0.001", "0.002", "0.004"]),
        ([-1.64485, -0.67449, 0.0], ["-1.64", "-0.67", "0"]),
        (torch.linspace(-1, 1, 21)[-3:], ["0.8", "0.9", "1"]),
        ([0.1], ["0.1"]),
        ([0.0], ["0"]),
    ],
)
def test_texts_tell_neighbours_apart(values, texts):
    assert Axis.of("xs", "x", values).texts == texts


@pytest.mark.parametrize("sign", [1, -1])
def test_points_lie_between_their_neighbours(sign):
    x, y = Axis.of("xs", "x", [0, 1, 3]), Axis.of("ys", "y", [sign * v for v in (1, 2, 6)])
    where = np.array([[2.0, 4], [0, 1], [-0.5, 6], [4, 8], [4.1, 2], [0, 0.4]])
    scatter = Scatter.of(where * [1, sign], list("baabab"), x, y)
    expected = [[1.5, 1.5], [0, 0], [-0.5, 2], [2.5, 2.5]]
    np.testing.assert_allclose(scatter.places, expected)
    assert (scatter.outside, scatter.names) == (2, ["a", "b"])
    assert scatter.classes.tolist() == [1, 0, 0, 1]


def test_classes_are_told_apart_by_colour_and_shape():
    looks = {(i % len(PALETTE), i % 3) for i in range(MOST_CLASSES)}
    assert len(looks) == MOST_CLASSES == 21
    spec = Plane(GREYS, XS, YS, points=[[1, 1]] * 3, labels=np.array([10, 9, 2]))._spec
    assert spec["points"]["names"] == ["2", "9", "10"], "numbers in their order"
    assert json.dumps(spec), "plain data alone"


def test_the_still_shows_pictures_and_pad():
    alone = Plane(smooth(), range(25), range(25), title="Blobs").still()
    beside = Plane(smooth(), range(25), range(25), backdrop=np.full((9, 9), 128, "u1")).still()
    assert beside.width > 1.3 * alone.width
    left, right = np.split(np.asarray(beside)[..., 0].astype(int), 2, axis=1)
    assert (left == 128).mean() > 0.5, "the backdrop"
    assert (right == 0).mean() > 0.3 and (right > 250).any(), "the pictures on their black"


def test_the_still_s_rows_stand_as_on_the_pad():
    def first(**options) -> int:
        still = np.asarray(Plane(GREYS + 40, XS, YS, **options).still())[..., 0]
        return next(int(level) for level in still[:, still.shape[1] // 2] if 40 <= level < 240)

    assert first(origin="upper") < first(origin="lower")


FLOATS = np.zeros((3, 4, 6, 8))


@pytest.mark.parametrize(
    "pictures, xs, ys, options, sentence",
    [
        (
            GREYS[0],
            XS,
            YS,
            {},
            "pictures is an array [4, 6, 8], but it must be [rows, columns, H, W] or [rows, columns, H, W, 3].",
        ),
        (
            GREYS,
            YS,
            XS,
            {},
            "pictures has 3 rows and 4 columns for 4 ys and 3 xs: give a picture for each pair.",
        ),
        (
            GREYS.astype(int),
            XS,
            YS,
            {},
            "pictures is int64, but it must be uint8 or floats in [-1, 1].",
        ),
        (
            FLOATS + np.nan,
            XS,
            YS,
            {},
            "pictures holds values that are not finite, which can't be shown.",
        ),
        (
            FLOATS + 255,
            XS,
            YS,
            {},
            "pictures reaches 255, but floats are shown from -1 to 1: scale them, or give uint8.",
        ),
        (
            GREYS[..., :0],
            XS,
            YS,
            {},
            "pictures is empty: an array [3, 4, 1, 6, 0] shows nothing.",
        ),
        (
            np.zeros((1, 2, 4, 9000), "u1"),
            [0, 1],
            [0],
            {},
            "1 x 2 pictures of 4x9000 pixels are too large for one sheet of 16383 a side: give fewer or smaller ones.",
        ),
        (GREYS, [], YS, {}, "xs is empty: give a value for each of the pictures."),
        (
            GREYS,
            [0, 2, 1, 3],
            YS,
            {},
            "xs rises or falls from each value to the next: sort it.",
        ),
        (
            GREYS,
            XS,
            [0, 1, float("nan")],
            {},
            "ys holds numbers, all finite, or words alone.",
        ),
        (GREYS, XS, ["a", 1, 2], {}, "ys holds numbers, all finite, or words alone."),
        (GREYS, XS, ["a", "b", "a"], {}, "ys has a word twice: each names one place."),
        (
            GREYS,
            XS,
            ["a", "b", "c"],
            {"blend": True},
            "Between words nothing can be blended: ys has words.",
        ),
        (
            GREYS,
            XS,
            ["a", "b", "c"],
            {"points": [[0, 0]]},
            "points need numbers on both axes, and one of them has words.",
        ),
        (
            GREYS,
            XS,
            YS,
            {"points": np.zeros((5, 3))},
            "points is an array [5, 3], but it must be [N, 2]: an x and a y for each.",
        ),
        (
            GREYS,
            XS,
            YS,
            {"points": [[0, np.inf]]},
            "points holds values that are not finite: leave those out.",
        ),
        (
            GREYS,
            XS,
            YS,
            {"labels": [1]},
            "labels name the classes of points: give points too.",
        ),
        (
            GREYS,
            XS,
            YS,
            {"points": [[0, 0]], "labels": [1, 2]},
            "There are 2 labels for 1 points: give one each.",
        ),
        (
            GREYS,
            XS,
            YS,
            {"points": [[0, 0]] * 2, "labels": [1, "a"]},
            "labels mixes numbers and words: give one kind of them.",
        ),
        (
            GREYS,
            XS,
            YS,
            {"points": [[0, 0]] * 22, "labels": range(22)},
            "labels names 22 classes, but at most 21 can be told apart.",
        ),
        (
            GREYS,
            XS,
            YS,
            {"backdrop": GREYS},
            "backdrop is an array [3, 4, 6, 8], but it must be [H, W] or [H, W, 3].",
        ),
        (
            GREYS,
            XS,
            YS,
            {"notes": ["a"] * 3},
            "notes holds a line for each picture: 3 lists of 4 lines.",
        ),
        (GREYS, XS, YS, {"start": 3}, "start is a pair, an x and a y, not 3."),
        (GREYS, XS, YS, {"start": (0, 9)}, "y is -1 to 2 here, not 9."),
        (GREYS, XS, YS, {"origin": "top"}, 'origin is "lower" or "upper", not \'top\'.'),
        (GREYS, XS, YS, {"quality": 0}, 'quality is 1 to 100, or "lossless", not 0.'),
    ],
)
def test_what_can_not_be_shown_gets_one_sentence(pictures, xs, ys, options, sentence):
    with pytest.raises(CourseError) as caught:
        Plane(pictures, xs, ys, **options)
    assert str(caught.value) == sentence
