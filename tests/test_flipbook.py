"""The flipbook without a browser: its sheets, its three surfaces, and what it says to what it
can't show.
"""

import base64
import html
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from course_lib.widgets import Flipbook
from course_lib.widgets.flipbook import pack_frames

GREYS = [
    np.full((30, 50), 5 * level, np.uint8) for level in range(40)
]  # multiples of five: exact when packed


def plot(value: float, size=(6.4, 2.8), dpi=100) -> Figure:
    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    left, right = figure.subplots(1, 2)
    x = np.linspace(-3, 3, 200)
    left.fill_between(x, np.exp(-x * x / value), alpha=0.3)
    left.set(title=f"value {value:.2f}", xlabel="x", ylabel="density")
    right.plot(x, np.sin(x * value))
    return figure


def photograph(shift: int) -> np.ndarray:
    """Smooth colours with grain, uint8 [120, 160, 3]."""
    y, x = np.mgrid[:120, :160] + shift
    colours = 128 + 90 * np.sin(np.stack([x / 17, y / 23, (x + y) / 31], -1))
    return np.clip(
        colours + np.random.default_rng(shift).normal(0, 6, colours.shape), 0, 255
    ).astype(np.uint8)


def unpack(sheets: list[bytes], height: int) -> list[np.ndarray]:
    """The frames of a flipbook's sheets again, uint8 [H, W, 3]."""
    pixels = np.concatenate(
        [np.asarray(Image.open(io.BytesIO(sheet)).convert("RGB")) for sheet in sheets]
    )
    return list(pixels.reshape(-1, height, *pixels.shape[1:]))


def test_the_bundle_has_three_surfaces():
    data, metadata = Flipbook(GREYS, range(40), title="Greys")._repr_mimebundle_()
    assert set(data) >= {"application/vnd.jupyter.widget-view+json", "text/html", "image/png"}
    assert data["text/html"].startswith('<div><img alt="Greys: 40 pictures, t = 0 to 39"')
    still = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert still.width == metadata["image/png"]["width"]


def test_the_page_asks_for_nothing():
    page = Flipbook(GREYS, range(40)).page()
    assert page in html.unescape(
        Flipbook(GREYS, range(40))._repr_mimebundle_()[0]["text/html"]
    )
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}, (
        "a name, not an address"
    )
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|<link|\ssrc=|@import|url\(", page, re.MULTILINE
    )


def test_words_can_not_end_the_script():
    page = Flipbook(GREYS[:2], ["<b>", "</script>"], title="</script><i>", label="<!--").page()
    assert page.count("</script>") == 2 and "<!--" not in page


def test_forty_plots_are_small():
    book = Flipbook.of(plot, np.linspace(0.2, 3, 40), label="value")
    data, _ = book._repr_mimebundle_()
    assert sum(map(len, book._sheets)) < 300_000
    assert len(data["text/html"]) < 440_000, "base64, module and still included"
    assert len(data["image/png"]) < 120_000


@pytest.mark.parametrize("quality, error", [(80, 2), ("lossless", 0)])
def test_plots_stay_sharp(quality, error):
    book = Flipbook([plot(v) for v in (0.5, 1.5)], [0.5, 1.5], quality=quality)
    for packed, value in zip(unpack(book._sheets, 280), (0.5, 1.5), strict=True):
        canvas = FigureCanvasAgg(plot(value))
        canvas.draw()
        true = np.asarray(canvas.buffer_rgba())[..., :3]
        assert packed.shape == (280, 640, 3)
        assert np.abs(packed.astype(int) - true).max() <= error
        assert (packed[true == 255] == 255).all(), "white stays white"


def test_photographs_are_packed_with_a_loss():
    frames = [photograph(shift) for shift in range(6)]
    book, exact = (Flipbook(frames, range(6), quality=quality) for quality in (80, "lossless"))
    assert sum(map(len, book._sheets)) < 0.3 * sum(map(len, exact._sheets))
    assert all((a == b).all() for a, b in zip(unpack(exact._sheets, 120), frames, strict=True))
    errors = [
        np.abs(a.astype(int) - b).mean()
        for a, b in zip(unpack(book._sheets, 120), frames, strict=True)
    ]
    assert max(errors) < 8


def test_frames_go_to_sheets_in_order():
    frames = unpack(Flipbook(GREYS, range(40))._sheets, 30)
    assert [int(frame[15, 25, 0]) for frame in frames] == [5 * level for level in range(40)]
    tall = [Image.new("RGB", (4, 9000), (5 * i, 0, 0)) for i in range(3)]
    assert len(pack_frames(tall, 80)) == 3, "a WebP is 16,383 pixels high at most"


def test_all_kinds_of_frames():
    clear = Image.new("RGBA", (50, 30), (0, 0, 0, 0))
    kinds = [GREYS[3], np.stack([GREYS[3]] * 3, -1), Image.fromarray(GREYS[3]), clear]
    levels = [
        int(frame[0, 0, 0])
        for frame in unpack(Flipbook(kinds, "abcd", quality="lossless")._sheets, 30)
    ]
    assert levels == [15, 15, 15, 255], "what is transparent is white"


def test_figures_are_closed_and_keep_their_size():
    figures = [pyplot.figure(figsize=(3, 2), dpi=200) for _ in range(2)]
    book = Flipbook(figures, [1, 2])
    assert pyplot.get_fignums() == []
    assert [book._spec[key] for key in ("width", "height", "shown")] == [600, 400, 300], (
        "sharper, not larger"
    )
    assert Flipbook([Figure(figsize=(9, 4), dpi=80)], [0])._spec["shown"] == 720


def test_a_picture_of_16_bits_is_shown_at_8():
    """Pillow cuts it off at 255: all was white."""
    levels = np.linspace(0, 65535, 1500).reshape(30, 50).astype(np.uint16)
    for order in ("<u2", ">u2"):
        picture = Image.fromarray(levels.astype(order))
        assert picture.mode.startswith("I;16")
        (sheet,) = Flipbook([picture], [0], quality="lossless")._sheets
        error = unpack([sheet], 30)[0][..., 0] - levels / 257.0
        assert np.abs(error).max() <= 3  # colours of plots are rounded by two


@pytest.mark.parametrize("size", [(1, 45), (1, 5000), (5000, 1), (3, 16000), (1, 1)], ids=str)
def test_pictures_of_any_shape_are_shown(size):
    book = Flipbook([Image.new("L", size)] * 5, range(5))
    assert max(book.still().size) <= 16_383
    assert book._repr_mimebundle_()[0]["image/png"]


def test_small_arrays_are_enlarged_by_whole_steps():
    assert Flipbook([np.zeros((28, 28), np.uint8)], [0])._spec["shown"] == 11 * 28
    assert Flipbook([np.zeros((56, 224), np.uint8)], [0])._spec["shown"] == 448
    assert Flipbook([np.zeros((28, 400), np.uint8)], [0])._spec["shown"] == 400


def test_values_and_their_words():
    values = [0, np.float64(0.25), 1e-5, "all"]
    book = Flipbook(GREYS[:4], values, start=-1)
    assert book._spec["values"] == ["0", "0.25", "1e-05", "all"]
    assert (book.frame, book.value) == (3, "all")
    book.frame = 1
    assert book.value == 0.25
    assert Flipbook(GREYS[:2], [1, 2], format="{:.1f} s")._spec["values"] == ["1.0 s", "2.0 s"]
    with pytest.raises(Exception, match=r"^frame is 0 to 3 here, not 4\.$"):
        book.frame = 4


def test_of_draws_each_value_once():
    drawn = []

    def draw(value):
        drawn.append(value)
        return GREYS[value]

    book = Flipbook.of(draw, (value for value in (3, 1, 2)), label="level")
    assert drawn == [3, 1, 2] and book.value == 3


@pytest.mark.parametrize(
    "size, count, shape",
    [
        ((50, 30), 40, (2, 2)),
        ((100, 30), 40, (1, 4)),
        ((30, 30), 40, (5, 1)),
        ((50, 30), 1, (1, 1)),
    ],
)
def test_the_still_shows_four_wide_or_five_other_pictures(size, count, shape):
    frames = [Image.new("RGB", size, (200, 5 * i, 0)) for i in range(count)]
    still = np.asarray(Flipbook(frames, range(count), label="λ").still()).astype(int)
    red = (still[..., 0] > 150) & (still[..., 2] < 60)
    runs = [int((np.diff(line.astype(int)) == 1).sum()) for line in (red.any(0), red.any(1))]
    assert tuple(runs) == shape
    if size == (100, 30):
        assert red.any(0).sum() > 1000, "very wide ones have the whole width"


@pytest.mark.parametrize(
    "frames, values, options, sentence",
    [
        ([], [], {}, "There is nothing to show: values is empty."),
        (GREYS[:3], [1, 2], {}, "There are 3 frames for 2 values: give one for each."),
        ([], [1, 2], {}, "There are 0 frames for 2 values: give one for each."),
        (
            [GREYS[0], GREYS[0].T],
            [1, 2],
            {},
            "All frames have one size, but frame 1 is 30x50 pixels and frame 0 is 50x30.",
        ),
        (
            [np.zeros((3, 4))],
            [1],
            {},
            "Frame 0 is an array of float64 [3, 4], but it must be uint8, [H, W] or [H, W, "
            "3].",
        ),
        (
            [np.zeros((3, 4, 4), np.uint8)],
            [1],
            {},
            "Frame 0 is an array of uint8 [3, 4, 4], but it must be uint8, [H, W] or [H, W, 3].",
        ),
        (
            [Image.new("L", (0, 4))],
            [1],
            {},
            "Frame 0 is empty: 0x4 pixels.",
        ),
        (
            [Image.new("F", (4, 4))],
            [1],
            {},
            "Frame 0 is a PIL image of mode F, whose black and white are not known: give a "
            "uint8 array from 0 to 255.",
        ),
        (
            [None],
            [1],
            {},
            "Frame 0 is a NoneType, but it must be a PIL image, a uint8 array or a figure.",
        ),
        (GREYS[:1], [1], {"start": 1}, "start is the number of a frame, -1 to 0 here, not 1."),
        (
            GREYS[:2],
            [1, 2],
            {"notes": ["one"]},
            "notes is a list with one line for each of the 2 values; note is a line for all.",
        ),
        (GREYS[:1], [1], {"quality": 0}, 'quality is 1 to 100, or "lossless", not 0.'),
    ],
)
def test_what_can_not_be_shown_gets_one_sentence(frames, values, options, sentence):
    with pytest.raises(ValueError) as caught:
        Flipbook(frames, values, **options)
    assert str(caught.value) == sentence


def test_the_package_imports_nothing_until_asked():
    script = (
        "import sys, course_lib.widgets; assert not {'matplotlib', 'anywidget', 'PIL'} "
        "& set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
