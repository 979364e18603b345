"""Figures as a notebook shows them: two dots of the file to one of the page, and described."""

import io

from PIL import Image

from course_lib.widgets.descriptions import of_figure
from course_lib.widgets.standalone import png

ONE_PICTURE = "one picture"  # a figure's gid: a narrow page doesn't part it into panels
_DENSITY = 2  # dots a pixel of the page, each way, as dense screens have
_COLOURS = 256  # a palette of its own keeps the denser file about as small as before


def sharp_png(figure) -> tuple[bytes, dict] | None:
    """A matplotlib figure as PNG, and what its output says of it: the width and height at
    which a page shows it, in pixels, and a description; None for an empty figure.
    """
    from IPython.core.pylabtools import print_figure

    drawn = print_figure(figure, "png", dpi=_DENSITY * figure.dpi)
    if drawn is None:
        return None
    picture = Image.open(io.BytesIO(drawn)).convert("RGB")
    width, height = (side // _DENSITY for side in picture.size)
    about = {"width": width, "height": height, "alt": of_figure(figure)}
    if figure.get_gid() == ONE_PICTURE:
        about["whole"] = True
    return png(picture, _COLOURS), about


def sharpen_figures() -> None:
    """Let this notebook show its figures by `sharp_png`; does nothing outside one."""
    try:
        from IPython import get_ipython
    except ImportError:
        return
    if (shell := get_ipython()) is None:
        return
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    # loads the notebook's own backend, which with the first figure would take our place;
    # its name alone loads nothing
    plt.switch_backend(plt.get_backend())
    shell.display_formatter.formatters["image/png"].for_type(Figure, sharp_png)
