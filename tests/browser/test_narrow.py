"""Figures in a narrow page: panels one under the other, and words that can be read."""

import base64
import io

import nbformat
import numpy as np
import pytest
from PIL import Image
from surfaces import open_saved

pytestmark = pytest.mark.browser

# of the canvas: its own size, how wide the page shows it, how wide it is cut to, does it slide
SHOWN = """(canvas) => [canvas.width, canvas.height, canvas.getBoundingClientRect().width,
  canvas.parentElement.clientWidth, canvas.parentElement.matches(".marble-slide[tabindex]")]"""
PIXELS = """(canvas) => canvas.toDataURL()"""


def two_panels(value: float, bar: bool = False, single: bool = False):
    """A figure of 720 x 288 pixels as the lessons draw them, with axes' labels and, if asked
    for, a colour bar at the first panel.
    """
    import matplotlib.pyplot as plt

    sizes = {"font.size": 12, "axes.labelsize": 13, "figure.constrained_layout.use": True}
    with plt.rc_context(sizes):
        figure, axes = plt.subplots(1, 1 if single else 2, figsize=(9, 3.6), dpi=80)
        for axis in np.atleast_1d(axes):
            axis.set(xlabel="a feature", ylabel="density", xlim=(0, 1), ylim=(0, 1))
        first = np.atleast_1d(axes)[0]
        shown = first.scatter([value], [value], c=[value], vmin=0, vmax=1)
        if bar:
            figure.colorbar(shown, ax=first, label="chance")
        if not single:
            axes[1].plot([0, 1], [0, value], color="red")
    return figure


def saved(folder, frames):
    """A page with a Flipbook of these."""
    from course_lib.widgets import Flipbook

    book = Flipbook(frames, range(len(frames)), label="step", title="Two panels")
    file = folder / "book.html"
    page = f"<!DOCTYPE html><body>{book._repr_mimebundle_()[0]['text/html']}</body>"
    file.write_text(page, encoding="utf-8")
    return file


def narrow(browser, file, width: int):
    """The Flipbook's picture in a page so wide, and what SHOWN says of it."""
    surface = open_saved(browser, file, viewport={"width": width, "height": 844})
    canvas = surface.find(".marble-card canvas")
    return surface, canvas, canvas.evaluate(SHOWN)


def picture(canvas) -> np.ndarray:
    """What is on a canvas, [H, W, 3]."""
    data = base64.b64decode(canvas.evaluate(PIXELS).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def is_red(pixels: np.ndarray) -> np.ndarray:
    """Where the second panel's line is."""
    return (pixels[..., 0] > 200) & (pixels[..., 1:].max(-1) < 90)


@pytest.mark.parametrize("bar", [False, True], ids=["plain", "colour bar"])
def test_panels_stand_one_under_the_other_on_a_phone(browser, tmp_path, bar):
    file = saved(tmp_path, [two_panels(value, bar) for value in (0.2, 0.5, 0.8)])
    surface, canvas, (wide, high, shown, room, slides) = narrow(browser, file, 390)
    assert high == 2 * 288 and wide < 720 and not slides
    assert shown <= room and 13.3 * shown / wide >= 10.5, "words of about 11 pixels"
    surface.press("End")
    pixels = picture(canvas)
    assert is_red(pixels[288:]).any() and not is_red(pixels[:288]).any()
    # ends of rows: the first panel's bar and its label stand in the first, the second's label
    # in the second
    upper, lower = ((half < 200).any((0, 2)).nonzero()[0] for half in np.split(pixels, 2))
    assert min(upper[0], lower[0]) <= 4 and upper[-1] < wide and lower[-1] < wide
    tall = surface.slider.bounding_box()["height"]
    assert tall >= 24
    surface.page.close()
    surface, canvas, (wide, high, *_) = narrow(browser, file, 1280)
    assert (wide, high) == (720, 288), "in a wide page it is as it was drawn"
    surface.page.close()


def test_a_wide_panel_slides(browser, tmp_path):
    file = saved(tmp_path, [two_panels(value, single=True) for value in (0.2, 0.8)])
    surface, canvas, (wide, high, shown, room, slides) = narrow(browser, file, 390)
    assert high == 288 and slides and shown > room and 13.3 * shown / wide >= 10.5
    surface.find("text=Slide the picture sideways").wait_for()
    card = surface.find(".marble-slide")
    card.focus()
    surface.page.keyboard.press("ArrowRight")
    card.evaluate(
        "(node) => new Promise((done) => node.scrollLeft ? done() : node.addEventListener('scroll', done))"
    )
    assert surface.now() == 0, "the arrow slides the picture, not the slider"
    wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert surface.page.evaluate(wide) <= 0 and surface.frame.evaluate(wide) <= 0
    surface.page.close()


def gallery(titles: bool):
    """Six panels in two rows, each with a point of its own colour in the middle."""
    import matplotlib.pyplot as plt

    with plt.rc_context({"figure.constrained_layout.use": True}):
        figure, axes = plt.subplots(2, 3, figsize=(9, 5), dpi=80)
        for letter, axis, colour in zip("ABCDEF", axes.flat, GALLERY, strict=True):
            axis.plot(0, 0, "o", color=tuple(level / 255 for level in colour), markersize=20)
            axis.set(xticks=[], yticks=[], title=letter if titles else "", xlabel="first")
    return figure


GALLERY = [
    (200, 40, 40),
    (40, 200, 40),
    (40, 40, 200),
    (200, 200, 40),
    (40, 200, 200),
    (200, 40, 200),
]


@pytest.mark.parametrize("titles", [True, False])
def test_a_gallery_keeps_its_order(browser, tmp_path, titles):
    file = saved(tmp_path, [gallery(titles)] * 2)
    for width, columns in ((390, 1), (560, 2)):
        surface, canvas, (_, high, *_) = narrow(browser, file, width)
        pixels = picture(canvas)
        places = [
            np.argwhere((abs(pixels - colour) < 12).all(-1)).mean(0) for colour in GALLERY
        ]
        order = sorted(range(6), key=lambda k: (round(places[k][0] / 60), places[k][1]))
        assert order == list(range(6)), f"from left to right, then down, {columns} in a row"
        surface.page.close()


def test_names_of_rows_stay_with_their_pictures(browser, tmp_path):
    """A figure of `show_rows` is one picture: it slides. So does one in front of whose pictures words stand."""
    import torch

    from course_lib.widgets.plots import show_rows
    from course_lib.widgets.sharp import sharp_png

    figure = show_rows({f"a long name of {k}": torch.zeros(8, 1, 8, 8) for k in "ab"})
    assert sharp_png(figure)[1]["whole"] is True
    file = saved(tmp_path, [figure] * 2)
    surface, canvas, (wide, high, shown, room, slides) = narrow(browser, file, 390)
    assert slides and shown > room
    surface.page.close()


def test_a_picture_without_words_only_shrinks(browser, tmp_path):
    shapes = np.random.default_rng(0).integers(0, 200, (2, 256, 512, 3)).astype("u1")
    shapes[:, :, 252:260] = 255  # white between two pictures
    file = saved(tmp_path, list(shapes))
    surface, canvas, (wide, high, shown, room, slides) = narrow(browser, file, 390)
    assert (wide, high, slides) == (512, 256, False) and shown <= room
    surface.page.close()


def test_a_lessons_still_figure_has_its_panels_in_rows_too(browser, tmp_path):
    from course_lib.widgets.export import to_html
    from course_lib.widgets.sharp import sharp_png

    png, about = sharp_png(two_panels(0.5))
    data = {"image/png": base64.b64encode(png).decode()}
    output = nbformat.v4.new_output("display_data", data, metadata={"image/png": about})
    cell = nbformat.v4.new_code_cell("figure", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbformat.write(notebook, tmp_path / "still.ipynb")
    file = to_html(tmp_path / "still.ipynb", tmp_path / "still.html")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(file.as_uri())
    canvas, image = (
        page.locator(".jp-RenderedImage canvas"),
        page.locator(".jp-RenderedImage img"),
    )
    canvas.wait_for()
    wide, high, shown, room, _ = canvas.evaluate(SHOWN)
    own = image.evaluate("(node) => node.naturalHeight")  # two dots to a pixel of the page
    assert high == 2 * own and shown <= room and 2 * 13.3 * shown / wide >= 10.5
    assert not image.is_visible() and canvas.get_attribute("aria-label") == about["alt"]
    pixels = picture(canvas)
    assert is_red(pixels[own:]).any() and not is_red(pixels[:own]).any()
    page.set_viewport_size({"width": 1280, "height": 800})
    image.wait_for()
    assert canvas.count() == 0
    page.close()
