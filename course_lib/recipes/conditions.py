"""What images are to be of: the conditions that several families share."""

import torch
from torch import Tensor

from course_lib.draws import Draws
from course_lib.errors import CourseError
from course_lib.runs import Flag

LABEL_FLAG = Flag(
    "--label",
    {"type": int, "help": "one class for all images; by default each in turn"},
    cond=True,
)


class Labelled:
    """Beside `Recipe`: its images are of classes, and one may be asked for."""

    def flags(self) -> tuple[Flag, ...]:
        """The class that images are to be of."""
        return (LABEL_FLAG,)

    def conditions(self, n: int, *, label: int | None = None):
        """That class n times, where it was asked for."""
        return None if label is None else [label] * n


def labels_of(n: int, classes: int, cond=None) -> Tensor:
    """The classes [n] that images are to be of, by default each in turn; CourseError for
    others than the net's, of which `classes` means none.
    """
    try:
        labels = torch.arange(n) % max(classes, 1) if cond is None else torch.as_tensor(cond)
    except (TypeError, ValueError, RuntimeError):  # texts, for example
        labels = torch.empty(0)
    if labels.shape != (n,) or labels.is_floating_point() or not 0 <= labels.min():
        labels = None
    if labels is None or labels.max() > classes:
        raise CourseError(
            f"labels must be {n} classes from 0 to {classes - 1} ({classes}: no class)."
        )
    return labels


def drop_labels(labels: Tensor, null_class: int, draws: Draws, share: float = 0.1) -> Tensor:
    """Replace a tenth of the labels [B] by "no class" (Ho & Salimans 2022, Algorithm 1, line
    3).
    """
    dropped = draws.uniform(len(labels)) < share
    return torch.where(dropped.to(labels.device), null_class, labels)
