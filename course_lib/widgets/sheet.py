"""From a sampler's steps to a few small pictures that a browser unpacks by itself.

A sheet is one PNG or WebP of bytes: row f holds frame f, column i image i. Of a run x_t =
alpha x0 + sigma eps only x0 and eps travel; the browser adds them up. A run of DDIM keeps
nearly the same eps from start to end, so there eps travels as its difference to the first
frame, at a sixth of the size.
"""

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from course_lib.errors import CourseError

LOSSLESS = "lossless"
EPS_SHOWN = 3.0  # eps is N(0, 1): black to white, or colour to colour, is -3 to 3
_WIDEST = {"x0": 2.0, "eps": 6.0}  # what lies further out is clipped
_TOLERANCE = 0.02  # of the scale from -1 to 1, on which a screen shows 256 greys
_LONGEST_SIDE = 16_383  # of a WebP


@dataclass(frozen=True)
class Film:
    """What of a run is shown, as float32 arrays on the CPU."""

    t: list[int]  # [F] times, falling; rising where an image is walked back into its noise
    step: list[int]  # [F] each frame's number among all steps of the run
    steps: int  # how many steps the run had
    x_t: np.ndarray  # [F, B, C, H, W]
    x0: np.ndarray  # the same
    eps: np.ndarray  # the same

    def first(self, images: int) -> "Film":
        """The same frames of the first so many images, in memory of their own."""
        return replace(
            self,
            **{key: getattr(self, key)[:, :images].copy() for key in ("x_t", "x0", "eps")},
        )


def as_array(x) -> np.ndarray:
    """A float32 array from a tensor of any device and dtype, or from anything that numpy
    takes.
    """
    if hasattr(x, "detach"):
        x = x.detach().cpu().float().numpy()
    return np.asarray(x, dtype=np.float32)


def quantise(x: np.ndarray, scale: float) -> np.ndarray:
    """Bytes for values from -scale to scale; what lies outside becomes 0 or 255. Error up to
    scale / 255.
    """
    return np.clip(np.rint((x / scale + 1) * 127.5), 0, 255).astype(np.uint8)


def restore(levels: np.ndarray, scale: float) -> np.ndarray:
    """The values that `quantise` made bytes of: float32 from -scale to scale."""
    return ((levels.astype(np.float32) / 127.5) - 1) * scale


def pack(levels: np.ndarray, quality: int | str) -> bytes:
    """uint8 [F, B, C, H, W] as one sheet of F rows and B columns: WebP of a quality 1 to 100,
    or "lossless", a PNG.
    """
    F, B, C, H, W = levels.shape
    pixels = levels.transpose(0, 3, 1, 4, 2).reshape(F * H, B * W, C)  # [F H, B W, C]
    if max(pixels.shape[:2]) > _LONGEST_SIDE:
        raise CourseError(
            f"{F} frames of {B} images of {H}x{W} do not fit in one sheet of {_LONGEST_SIDE} "
            "pixels a side: "
            "show fewer images= or frames=."
        )
    picture = Image.fromarray(pixels[:, :, 0] if C == 1 else pixels)
    buffer = io.BytesIO()
    if quality == LOSSLESS:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def unpack(sheet: bytes, F: int, B: int, C: int) -> np.ndarray:
    """The bytes of a sheet again, uint8 [F, B, C, H, W]: exactly, where it was packed as
    lossless.
    """
    pixels = np.asarray(Image.open(io.BytesIO(sheet)).convert("L" if C == 1 else "RGB"))
    H, W = pixels.shape[0] // F, pixels.shape[1] // B
    return pixels.reshape(F, H, B, W, C).transpose(0, 2, 4, 1, 3)


def film(
    steps: Iterable, schedule, *, name: str = "The run", images: int, frames: int
) -> Film:
    """Keep every step of a run of up to `frames`, every second, fourth ... of a longer one,
    and always the last.

    Of each the first `images` images. steps may be a generator, and a long run is thinned as
    it goes by. CourseError, in one sentence, for what can't be shown.
    """
    T = len(schedule.alpha) - 1
    kept, stride, last, times = [], 1, None, []
    for number, step in enumerate(steps):
        last = (
            number,
            *_look_at(step, name, images, T, None if last is None else last[2].shape),
        )
        if number % stride == 0:
            kept.append(last)
        if len(kept) > frames:
            kept, stride = kept[::2], 2 * stride
        times.append(last[1])
    if last is None:
        raise CourseError(
            f"{name} has no steps: a sampler's generator gives them only once, so keep "
            "list(steps)."
        )
    if times not in (
        sorted(times),
        sorted(times, reverse=True),
    ):  # the slider is an axis of time
        raise CourseError(
            f"{name} goes out and comes back in time: show each way as a run of its own."
        )
    if kept[-1] is not last:
        kept.append(last)
    numbers, t, x_t, x0, eps = zip(*kept, strict=True)
    return Film(
        list(t), list(numbers), last[0] + 1, np.stack(x_t), np.stack(x0), np.stack(eps)
    )


def _look_at(step, name: str, images: int, T: int, shape: tuple | None) -> tuple:
    """One step's t, x_t, x0 and eps as arrays [images, C, H, W], or the sentence that says
    what is wrong with it.
    """
    try:
        t, parts = (
            int(step.t),
            {key: as_array(getattr(step, key))[:images] for key in ("x_t", "x0", "eps")},
        )
    except AttributeError as error:
        raise CourseError(
            f"{name} needs steps with t, x_t, x0 and eps, as a sampler gives them: {error}."
        ) from None
    if not 0 <= t <= T:
        raise CourseError(
            f"{name} has a step at t = {t}, but the schedule runs from 0 to {T}."
        )
    shape = parts["x_t"].shape if shape is None else shape
    if len(shape) != 4 or shape[1] not in (1, 3) or 0 in shape:
        raise CourseError(
            f"{name} holds {list(shape)}, not images [B, 1, H, W] or [B, 3, H, W]: decode "
            "latents before you show them."
        )
    for key, part in parts.items():
        if part.shape != shape:
            raise CourseError(
                f"{name} changes its shape: {key} at t = {t} is {list(part.shape)}, not "
                f"{list(shape)}."
            )
        if not np.isfinite(part).all():
            raise CourseError(
                f"{name} breaks down: {key} at t = {t} is not finite, so there is nothing to "
                "show."
            )
    return t, *parts.values()


def pack_film(
    film: Film, alpha: np.ndarray, sigma: np.ndarray, quality: int | str
) -> dict[str, dict]:
    """A film's sheets, {"x0": {"sheet": bytes, "scale": float}, "eps": ..., "x_t": ...};
    alpha, sigma [F] at its times.

    x_t is left out where alpha x0 + sigma eps gives it; {"first": True} marks an eps packed as
    its difference to the first frame. Lossless has all three, as they are shown.
    """
    if quality == LOSSLESS:
        scales = {"x0": 1.0, "eps": EPS_SHOWN, "x_t": 1.0}
        return {
            key: _sheet(getattr(film, key), scale, quality) for key, scale in scales.items()
        }
    noise_quality = max(1, quality // 2)  # noise hides errors that an image would show
    sheets = {"x0": _sheet(film.x0, _reach("x0", film.x0, 1.0), quality)}
    change = np.concatenate([film.eps[:1], film.eps[1:] - film.eps[:1]])
    if len(change) > 1 and change[1:].var() < film.eps[1:].var() / 2:
        sheets["eps"] = {
            **_sheet(change, _reach("eps", change, EPS_SHOWN), quality),
            "first": True,
        }
    else:
        sheets["eps"] = _sheet(film.eps, _reach("eps", film.eps, EPS_SHOWN), noise_quality)
    if not _adds_up(film, alpha, sigma, sheets["x0"]["scale"]):
        sheets["x_t"] = _sheet(film.x_t, 1.0, noise_quality)
    return sheets


def _sheet(values: np.ndarray, scale: float, quality: int | str) -> dict:
    return {"sheet": pack(quantise(values, scale), quality), "scale": scale}


def _reach(key: str, values: np.ndarray, shown: float) -> float:
    """The scale that holds all but the outermost thousandth of the values, to a quarter, at
    least what is shown.
    """
    return min(
        max(shown, math.ceil(float(np.quantile(np.abs(values), 0.999)) * 4) / 4), _WIDEST[key]
    )


def _adds_up(film: Film, alpha: np.ndarray, sigma: np.ndarray, scale: float) -> bool:
    """Whether alpha x0 + sigma eps, with x0 and eps clipped as packed, shows x_t to within a
    few greys.
    """
    shape = (-1, 1, 1, 1, 1)
    x0, eps = (
        np.clip(film.x0, -scale, scale),
        np.clip(film.eps, -_WIDEST["eps"], _WIDEST["eps"]),
    )
    total = alpha.reshape(shape) * x0 + sigma.reshape(shape) * eps
    error = np.abs(np.clip(total, -1, 1) - np.clip(film.x_t, -1, 1))
    return float(np.quantile(error, 0.999)) < _TOLERANCE
