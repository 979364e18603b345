"""The look of every still figure: large type, a colour-blind-safe palette, axis labels."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from course_lib.errors import CourseError
from course_lib.widgets.sharp import ONE_PICTURE, sharpen_figures
from course_lib.widgets.sheet import as_array

# Okabe and Ito 2008: told apart with every common kind of colour vision, and in grey
BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#767676",
)
PALETTE = (BLUE, RED, GREEN, ORANGE, PINK, SKY, GREY)


def use_style():
    """Set matplotlib's defaults for this notebook: sizes that read at the back of a room,
    sharp on dense screens, with a description for whoever can't see the figure.
    """
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "axes.prop_cycle": plt.cycler(color=PALETTE),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": 14,
            "axes.labelsize": 13,
            "figure.constrained_layout.use": True,
            "figure.dpi": 80,
            "figure.figsize": (9, 3.6),
            "font.size": 12,
            "image.cmap": "gray",
            "legend.frameon": False,
            "lines.linewidth": 2,
        }
    )
    sharpen_figures()


def tile(images: Tensor | np.ndarray, columns: int | None = None, pad: int = 1) -> np.ndarray:
    """Images [B, C, H, W] in [-1, 1] side by side as one picture in [0, 1], white between
    them: [h, w] of grey ones, [h, w, 3] of colour.

    CourseError for what is no image, and for values that are not finite numbers.
    """
    images = as_array(images)
    if images.ndim != 4 or not images.size:
        raise CourseError(
            f"tile takes images [B, 1, H, W] or [B, 3, H, W], not {list(images.shape)}."
        )
    images = np.stack([_picture(image) for image in images])  # [B, H, W] or [B, H, W, 3]
    B, H, W, *colours = images.shape
    columns = columns or math.ceil(math.sqrt(B))
    if columns < 1 or pad < 0:
        raise CourseError(
            f"tile takes 1 column or more and no pad below 0, not {columns}, {pad}."
        )
    rows = math.ceil(B / columns)
    size = (rows * (H + pad) + pad, columns * (W + pad) + pad, *colours)
    sheet = np.ones(size, dtype=np.float32)
    for i, image in enumerate(images):
        y, x = divmod(i, columns)
        y, x = pad + y * (H + pad), pad + x * (W + pad)
        sheet[y : y + H, x : x + W] = np.clip((image + 1) / 2, 0, 1)
    return sheet


def _picture(image: np.ndarray) -> np.ndarray:
    """One image [C, H, W] as matplotlib takes it, [H, W] or [H, W, 3], still in [-1, 1]."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise CourseError(
            f"An image is [1, H, W] or [3, H, W], not {list(image.shape)}: decode latents "
            "before you show them."
        )
    if not np.isfinite(image).all():
        raise CourseError(
            "An image holds values that are not finite numbers: what made it has broken down, "
            "and there is nothing to show."
        )
    return image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)


def show_images(
    groups: dict[str, Tensor] | Tensor,
    columns: int | None = None,
    size: float = 2.4,
    title: str = "",
):
    """Draw one grid, or several side by side under their titles: each a tensor [B, C, H, W] in
    [-1, 1], grey or colour.
    """
    import matplotlib.pyplot as plt

    groups = groups if isinstance(groups, dict) else {title: groups}
    if not groups:
        raise CourseError("There are no images to show: the dict is empty.")
    sheets = {name: tile(images, columns) for name, images in groups.items()}
    widths = [sheet.shape[1] / sheet.shape[0] for sheet in sheets.values()]
    figure, axes = plt.subplots(
        1,
        len(sheets),
        figsize=(size * sum(widths), size + 0.35),
        width_ratios=widths,
        squeeze=False,
    )
    for axis, (name, sheet) in zip(axes[0], sheets.items(), strict=True):
        axis.imshow(sheet, vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(name)
        axis.set_axis_off()
    return figure


def show_rows(
    rows: dict[str, Tensor | Sequence[Tensor]], titles: Sequence[str] = (), size: float = 1.1
):
    """Draw labelled rows of images: each value [B, C, H, W] in [-1, 1], grey or colour; titles
    stand above the columns.
    """
    import matplotlib.pyplot as plt

    if not any(map(len, rows.values())):
        raise CourseError("There are no images to show: the rows are empty.")
    count = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(
        len(rows),
        count,
        figsize=(size * (count + 1.2), size * len(rows) + 0.35),
        squeeze=False,
    )
    figure.set_gid(ONE_PICTURE)  # a row without its name says nothing
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axis, image in zip(line, images, strict=False):
            picture = _picture(as_array(image))
            if picture.ndim == 3:  # matplotlib takes colours from 0 to 1 whatever vmin says
                picture = np.clip((picture + 1) / 2, 0, 1)
            axis.imshow(picture, vmin=-1, vmax=1, interpolation="nearest")
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=12)
    return figure


def frames_of(figure, draw: Callable, values: Sequence) -> list[np.ndarray]:
    """One picture uint8 [h, w, 3] of the figure after draw(value), for each of values: the
    frames of a Flipbook.

    draw changes what is on the figure (set_data, set_title) and makes no new axes: the layout
    is made once, so that nothing jumps from frame to frame. The figure is closed.
    """
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from tqdm.auto import tqdm

    canvas, frames = FigureCanvasAgg(figure), []
    for value in tqdm(values, desc="frames", leave=False):
        draw(value)
        canvas.draw()
        figure.set_layout_engine("none")
        frames.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    plt.close(figure)
    return frames
