"""Pictures as files: what the command line writes."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from course_lib.data import to_uint8
from course_lib.errors import CourseError
from course_lib.files import written_whole
from course_lib.widgets.plots import tile


def check_picture(path: Path, otherwise: str = ""):
    """CourseError for a name that no picture can be written under, before one is made."""
    Image.init()  # or it knows of a few formats alone
    kind = Image.registered_extensions().get(path.suffix.lower())
    try:  # some formats take no grey pictures, or such of a few colours alone
        for mode in ("L", "RGB"):
            Image.new(mode, (8, 8)).save(io.BytesIO(), kind)
    except (KeyError, ValueError, OSError):
        mend = f"give it a name that ends in .png{otherwise}"
        raise CourseError(f"{path} is no picture that can be written: {mend}.") from None


def save_picture(picture, path: Path):
    """Write a PIL image, whole or not at all, in the format that its name says."""
    with written_whole(path) as part, open(part, "w+b") as file:
        picture.save(file, Image.registered_extensions()[path.suffix.lower()])


def write_images(out: Path, images: Tensor, shown):
    """Images and what they are of as .npz, or the images as one picture."""
    if out.suffix == ".npz":
        what = "labels" if hasattr(shown, "numpy") else "texts"
        shown = shown.numpy() if what == "labels" else np.array(shown)
        with written_whole(out) as part, open(part, "wb") as file:
            np.savez_compressed(file, images=to_uint8(images).numpy(), **{what: shown})
        return
    sheet = Image.fromarray((tile(images) * 255).round().astype("uint8"))
    size = (2 * sheet.width, 2 * sheet.height)
    save_picture(sheet.resize(size, Image.Resampling.NEAREST), out)
