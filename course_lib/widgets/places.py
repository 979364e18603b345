"""Where things are on a plane of pictures: its two axes, and points that lie on it.

A place on an axis is a number from 0, at its first value, to the last value's number; between
two values it goes evenly from one to the other, as the pictures do on the pad.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from course_lib.errors import CourseError
from course_lib.widgets.plots import PALETTE

SHAPES = 3  # circle, square, triangle: two classes that share a colour differ in shape
MOST_CLASSES = SHAPES * len(PALETTE)  # 3 and 7 have no common divisor
_MOST_DECIMALS = 6


@dataclass(frozen=True)
class Axis:
    """One axis of a plane: its values, and what is printed for them."""

    name: str  # "xs" or "ys", for what goes wrong
    label: str
    values: list  # numbers that rise or fall throughout, or words
    decimals: int  # tell neighbours apart

    @classmethod
    def of(cls, name: str, label: str, values: Sequence) -> "Axis":
        """An axis over values as a caller gives them; CourseError for what is no axis."""
        found = [value.item() if hasattr(value, "item") else value for value in values]
        if not found:
            raise CourseError(f"{name} is empty: give a value for each of the pictures.")
        if all(isinstance(value, str) for value in found):
            if len(set(found)) < len(found):
                raise CourseError(f"{name} has a word twice: each names one place.")
            return cls(name, label, found, 0)
        if not all(isinstance(v, Real) and math.isfinite(v) for v in found):
            raise CourseError(f"{name} holds numbers, all finite, or words alone.")
        steps = np.diff(np.asarray(found, dtype=np.float64))
        if not ((steps > 0).all() or (steps < 0).all()):
            raise CourseError(f"{name} rises or falls from each value to the next: sort it.")
        return cls(name, label, found, _decimals(found, steps))

    @property
    def words(self) -> bool:
        """Whether the values are words, between which nothing lies."""
        return isinstance(self.values[0], str)

    @property
    def texts(self) -> list[str]:
        """What is printed for each value."""
        return [value if self.words else self._text(value) for value in self.values]

    def _text(self, value: float) -> str:
        text = f"{value:.{self.decimals}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return "0" if text == "-0" else text

    def nearest(self, value):
        """The value of the axis that is nearest; CourseError for what lies outside."""
        return self.values[round(float(self.places([self.inside(value)])[0]))]

    def inside(self, value):
        """A value on the axis, as it came; CourseError for what lies outside or is unknown."""
        label, value = self.label, value.item() if hasattr(value, "item") else value
        if self.words:
            if value not in self.values:
                known = ", ".join(self.values)
                raise CourseError(f"{label} is one of {known} here, not {value!r}.")
            return value
        low, high = sorted((self.values[0], self.values[-1]))
        spare = 1e-9 * max(abs(low), abs(high))  # what a browser's sum may be off by
        if not isinstance(value, Real) or not low - spare <= value <= high + spare:
            ends = f"{self._text(low)} to {self._text(high)}"
            raise CourseError(f"{label} is {ends} here, not {value!r}.")
        return min(max(value, low), high)

    def places(self, values: Sequence) -> np.ndarray:
        """The places of values, float64; outside by the line of the outermost two."""
        if self.words:
            return np.asarray([self.values.index(value) for value in values], dtype=np.float64)
        at, known = np.asarray(values, dtype=np.float64), np.asarray(self.values, np.float64)
        if len(known) == 1:
            return at - known[0]
        sign = 1.0 if known[1] > known[0] else -1.0  # numpy wants what rises
        at, known = sign * at, sign * known
        places = np.interp(at, known, np.arange(len(known)))
        below = (at - known[0]) / (known[1] - known[0])
        above = len(known) - 1 + (at - known[-1]) / (known[-1] - known[-2])
        return np.where(at < known[0], below, np.where(at > known[-1], above, places))

    def spec(self) -> dict:
        """What the browser must know."""
        texts = self.texts
        return {
            "label": self.label,
            "values": self.values,
            "texts": texts,
            "decimals": self.decimals,
        }


def _decimals(values: list, steps: np.ndarray) -> int:
    """As many as tell neighbours apart to a tenth of the smallest step; 0 for whole
    numbers.
    """
    if all(float(value).is_integer() for value in values):
        return 0
    smallest = np.abs(steps).min() if len(steps) else abs(values[0])
    power = math.floor(math.log10(smallest or 1.0) + 1e-4)  # 0.0999999 of a float32 is 0.1
    return int(np.clip(1 - power, 0, _MOST_DECIMALS))


@dataclass(frozen=True)
class Scatter:
    """Points on a plane, as they are drawn: a class has the colour PALETTE[i % 7] and the
    shape i % SHAPES.
    """

    places: np.ndarray  # [N, 2] place on x, place on y
    classes: np.ndarray  # [N] whole numbers; all 0 where there are no names
    names: list[str]  # of the classes, or none
    outside: int  # how many more lie outside the pad

    @classmethod
    def of(cls, points, labels, x: Axis, y: Axis) -> "Scatter":
        """Points [N, 2] of values and their labels; CourseError for what can't be drawn."""
        if hasattr(points, "detach"):
            points = points.detach().cpu().float().numpy()
        points = np.asarray(points, dtype=np.float64)
        if x.words or y.words:
            raise CourseError("points need numbers on both axes, and one of them has words.")
        if points.ndim != 2 or points.shape[1] != 2:
            raise CourseError(
                f"points is an array {list(points.shape)}, but it must be [N, 2]: an x and a "
                "y for each."
            )
        if not np.isfinite(points).all():
            raise CourseError("points holds values that are not finite: leave those out.")
        classes, names = _classes(labels, len(points))
        places = np.stack([x.places(points[:, 0]), y.places(points[:, 1])], 1)
        ends = np.asarray([len(x.values), len(y.values)]) - 0.5
        seen = ((places >= -0.5) & (places <= ends)).all(1)
        return cls(places[seen], classes[seen], names, int((~seen).sum()))

    def spec(self) -> dict:
        """What the browser must know: the places as x, y, x, y ..."""
        return {
            "places": self.places.round(2).ravel().tolist(),
            "classes": self.classes.tolist(),
            "names": self.names,
            "colours": list(PALETTE if self.names else PALETTE[-1:]),
            "outside": self.outside,
        }


def _classes(labels: Sequence | None, count: int) -> tuple[np.ndarray, list[str]]:
    """Each point's class and the classes' names, sorted."""
    if labels is None:
        return np.zeros(count, dtype=np.int64), []
    found = [label.item() if hasattr(label, "item") else label for label in labels]
    if len(found) != count:
        raise CourseError(f"There are {len(found)} labels for {count} points: give one each.")
    try:
        kinds = sorted(set(found))
    except TypeError:
        raise CourseError("labels mixes numbers and words: give one kind of them.") from None
    if len(kinds) > MOST_CLASSES:
        raise CourseError(
            f"labels names {len(kinds)} classes, but at most {MOST_CLASSES} can be told apart."
        )
    number = {kind: i for i, kind in enumerate(kinds)}
    return np.asarray([number[kind] for kind in found], np.int64), [str(k) for k in kinds]
