"""Whatever makes images, seen from outside, and how far its images are from real ones."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from course_lib.draws import check_seed
from course_lib.errors import CourseError
from course_lib.files import check_destination, reading, written_whole
from course_lib.metrics.frechet import frechet_distance
from course_lib.metrics.neighbours import K, precision_recall
from course_lib.metrics.yardsticks import YARDSTICKS
from course_lib.progress import progress

MOST = 10**6  # images at a time: more is a slip of the finger


def check_number(n: int):
    """CourseError where n is no number of images, before anything is made n times."""
    if not 1 <= n <= MOST:
        raise CourseError(f"Ask for 1 or more images, {MOST:,} at most, not {n}.")


@dataclass(frozen=True, kw_only=True)
class Maker:
    """A trained model of any family, ready to make images in one way.

    batches(n, seed, cond=None, start=0) yields (images [B, C, H, W] in [-1, 1] on the CPU,
    what they are of), beginning with number `start` of n. cond: what the n images are to be
    of, n labels or n texts; by default the family's own choice. Image i is a function of
    (seed, i, its condition) alone: a run of fewer images is the start of a longer one.
    """

    name: str
    shape: tuple[int, int, int]  # (C, H, W)
    yardstick: str  # its name in YARDSTICKS
    cost: dict  # "calls" of a net an image, and whatever else decides what an image costs
    batches: Callable[..., Iterator[tuple[Tensor, object]]]
    weights: tuple[str, ...] = ()  # SHA-256 of every file that images are made from
    parameters: int = 0  # of its net
    precision: str = "float32"  # what its nets compute in: by no means all in the device's
    # figures of its own beside the distance: (images [B, C, H, W], the first one's number) ->
    # name -> a value for each [B], whose mean is taken; NAME_real, if any, is a real picture's
    more: Callable[[Tensor, int], dict[str, Tensor]] | None = None
    judges: tuple[str, ...] = ()  # SHA-256 of the files that `more` judges by

    def checked(self, n: int, seed: int = 0, cond=None, start: int = 0) -> Iterator[tuple]:
        """`batches`, with what goes in and what comes out looked at first: CourseError."""
        check_number(n)
        check_seed(seed)
        for images, shown in self.batches(n, seed, cond, start):
            if not torch.isfinite(images).all():
                raise CourseError(
                    f"{self.name} made values that are not finite: try it with less guidance."
                )
            yield images, shown

    def make(self, n: int, seed: int = 0, cond=None) -> tuple[Tensor, object]:
        """n images [n, C, H, W] in [-1, 1] on the CPU, and what they are of: labels [n] or a
        list of n texts.
        """
        images, shown = zip(*self.checked(n, seed, cond), strict=True)
        if isinstance(shown[0], Tensor):
            return torch.cat(images), torch.cat(shown)
        return torch.cat(images), [each for part in shown for each in part]


def _sealed(made: str, features: Tensor, seconds: str, sums: str) -> str:
    """The SHA-256 of all that a checkpoint says."""
    found = hashlib.sha256(json.dumps([made, seconds, sums]).encode())
    found.update(features.contiguous().numpy())
    return found.hexdigest()


def _take_up(path: Path, made: str, n: int, empty: Tensor) -> tuple[Tensor, float, dict]:
    """What a measurement of images made in the way `made` has left in a checkpoint: their
    features [N, D], the seconds, and the sums of the maker's own figures. empty: features
    [0, D] of no image.
    """
    from safetensors import safe_open

    mend = "name another file or a new one"
    with reading(path, "is no checkpoint of an evaluation", mend):
        with safe_open(path, framework="pt") as file:
            kept = file.metadata() or {}
            shape = file.get_slice("features").get_shape()
            if len(shape) != 2 or shape[1] != empty.shape[1]:
                raise ValueError(f"its features are {shape}")
            features = file.get_tensor("features").clone()
        summed = kept.get("sums", "{}")
        was, seconds, sums = kept["made"], float(kept["seconds"]), json.loads(summed)
        numbers = [seconds, *sums.values()]
        if features.dtype != empty.dtype or not torch.isfinite(features).all():
            raise ValueError("its features are no numbers")
        if not all(type(each) is float and math.isfinite(each) for each in numbers):
            raise ValueError("its sums are no numbers")
        if seconds < 0:
            raise ValueError(f"it took {seconds} seconds")
        if strange := kept.keys() - {"made", "seconds", "sums", "sha256"}:
            raise ValueError(f"nothing is known of {min(strange)!r}")
        said = _sealed(was, features, kept["seconds"], summed)
        if kept.get("sha256", said) != said:  # files of earlier versions have none
            raise ValueError("it holds other values than were saved")
    if was != made:
        raise CourseError(
            f"{path} holds images made in another way, {was}: name another file or a new one."
        )
    if len(features) > n:
        raise CourseError(
            f"{path} holds {len(features)} images already: ask for as many or more, not {n}."
        )
    return features, seconds, sums


def _put_down(path: Path, made: str, features: Tensor, seconds: float, sums: dict):
    from safetensors.torch import save_file

    kept = {"made": made, "seconds": f"{seconds:.3f}", "sums": json.dumps(sums)}
    kept["sha256"] = _sealed(made, features, kept["seconds"], kept["sums"])
    with written_whole(path) as part:
        save_file({"features": features}, part, kept)


def _beside(maker: Maker, cond) -> dict:
    """Who gives a maker's own figures; nothing where none are taken."""
    return {} if maker.more is None or cond is not None else {"more": list(maker.judges)}


def _made(maker: Maker, seed: int, cond) -> str:
    """All that decides a measurement's features, so that no two are mixed in a checkpoint."""
    from course_lib.weights import read_card

    ruler = YARDSTICKS[maker.yardstick].net
    weights = [*maker.weights, *([read_card(ruler)["sha256"]] if ruler else [])]
    cond = cond.tolist() if isinstance(cond, Tensor) else cond
    return json.dumps(
        {
            **maker.cost,
            "seed": seed,
            "cond": cond,
            "weights": [digest[:12] for digest in weights],
            "precision": maker.precision,
            **_beside(maker, cond),
        }
    )


def _added(sums: dict, maker: Maker, images: Tensor, start: int, cond) -> dict:
    """The sums of a maker's own figures, with those of a batch; none where the pictures were
    asked for otherwise than the maker would, since it knows its own choice alone.
    """
    if maker.more is None or cond is not None:
        return {}
    found = maker.more(images, start)
    return {key: sums.get(key, 0.0) + v.double().sum().item() for key, v in found.items()}


def _crowd(
    maker: Maker, n: int, seed: int, cond, kept: Path | None
) -> tuple[Tensor, float, dict]:
    """The features [n, D] of n images, the seconds that making them took, and the sums of the
    maker's own figures.
    """
    yardstick, made = YARDSTICKS[maker.yardstick], _made(maker, seed, cond)
    features, seconds, sums = yardstick.real(n)[:0].cpu(), 0.0, {}
    if kept is not None and kept.exists():
        features, seconds, sums = _take_up(kept, made, n, features)
    done, parts = len(features), [features]
    batches, what = maker.checked(n, seed, cond, done), f"{maker.cost['calls']} calls"
    with progress(total=n, initial=done, unit="image", desc=what) as bar:
        while done < n:
            began = time.perf_counter()
            images, _ = next(batches)
            seconds += time.perf_counter() - began
            sums = _added(sums, maker, images, done, cond)
            parts.append(yardstick.features(images).cpu())
            done += len(images)
            bar.update(len(images))
            if kept is not None:
                _put_down(kept, made, torch.cat(parts), seconds, sums)
    return torch.cat(parts), seconds, sums


def measure(
    maker: Maker,
    n: int,
    *,
    seed: int = 0,
    cond=None,
    checkpoint: str | Path | None = None,
) -> dict:
    """The course's figures of a maker: Fréchet distance of n images, its floor, precision and
    recall by 3 neighbours, and what they cost.

    checkpoint: a file for the features so far, written after each batch and gone on from, for
    runs of hours; a run of more images goes on from that of fewer. Raises CourseError where it
    holds something else.
    """
    if n < 2:
        raise CourseError(f"A distance takes N of 2 or more images, not {n}.")
    if checkpoint is not None:  # and before the minutes, or hours, that it is to keep
        check_destination(checkpoint, make=True)
    yardstick = YARDSTICKS[maker.yardstick]
    floor = yardstick.floor(n)  # before the images, since it refuses an n that is too large
    kept, reference = checkpoint and Path(checkpoint), yardstick.reference(n)
    crowd, seconds, sums = _crowd(maker, n, seed, cond, kept)
    return {
        "name": maker.name,
        "fd": round(frechet_distance(crowd, reference), 4),
        "fd_floor": round(floor, 4),
        **_by_neighbours(yardstick.real(n).cpu(), crowd),
        **{key: round(total / n, 4) for key, total in sums.items()},
        "n": n,
        **maker.cost,
        "seconds_per_image": round(seconds / n, 5),
        "parameters": maker.parameters,
        "reference": reference.n,
        "features": yardstick.net,
        "precision": maker.precision,
        "seed": seed,
    }


def _by_neighbours(real: Tensor, made: Tensor) -> dict:
    """Precision and recall, where there are images enough for a third neighbour."""
    if min(len(real), len(made)) <= K:
        return {}
    shares = precision_recall(real, made)
    return {f"knn_{name}": round(share, 4) for name, share in shares._asdict().items()}


# what a measurement found; all else of a row says what was measured, and in which way.
# "precision" is what networks computed in, "knn_precision" the share of made images that look
# real
FOUND = ("fd", "fd_floor", "knn_precision", "knn_recall", "precision")
APART = ("name", "parameters", "seconds_per_image")  # of no row: the card says them once


def _found(row: dict, key: str) -> bool:
    """Whether an entry was measured: the distances, and what stands beside a `_real`."""
    return key in FOUND or key.endswith("_real") or f"{key}_real" in row


def _settings(row: dict) -> dict:
    return {key: value for key, value in row.items() if not _found(row, key)}


def _order(row: dict) -> list:
    last = ("calls", "seed")
    names = ["n", *(key for key in _settings(row) if key not in ("n", *last)), *last]
    kinds = {type(None): 0, int: 1, float: 1}
    values = [row.get(name) for name in names]
    ranks = [kinds.get(type(value), 2) for value in values]
    return [(k, (0, v, str(v))[k]) for k, v in zip(ranks, values, strict=True)]


def with_row(rows: list[dict], figures: dict) -> list[dict]:
    """The rows of a card with a new measurement in place of an earlier one of the same n, cost
    and seed, in order of these.
    """
    row = {key: value for key, value in figures.items() if key not in APART}
    kept = [old for old in rows if _settings(old) != _settings(row)]
    return sorted([*kept, row], key=_order)
