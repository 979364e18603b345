"""Lesson 09's figure of an article's claim: text encoder or U-Net, by the rows that
benchmarks/encoder_or_unet.py leaves.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from course_lib.errors import CourseError
from course_lib.widgets.plots import BLUE, GREEN, GREY, ORANGE, RED

RECORD = Path(__file__).resolve().parents[2] / "benchmarks" / "encoder_or_unet.jsonl"
ENCODERS = {"bag of words": BLUE, "tower": GREEN, "MiniLM": RED}
SIZES = {"small": "-", "large": "--"}
HELD, NEW = "held-out pairs", "unseen concepts"
SHOWN = 3  # the guidance at which steps are compared


def claim_rows(path: str | Path = RECORD) -> list[dict]:
    """The rows of all trained nets whose every figure is there, and those of the artists' own
    pictures. CourseError where the file is missing, or lacks a net.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CourseError(
            f"{path} cannot be read ({error.strerror}). Get it again: git checkout -- "
            "benchmarks"
        ) from None
    rows = [json.loads(line) for line in lines if line.endswith("}")]  # none cut short
    figures = [row for row in rows if row["row"] == "figures"]
    settings = {(row["crowd"], row["guidance"]) for row in figures}
    counts = Counter(map(_net, figures))
    rows = [r for r in rows if r["row"] == "real" or counts[_net(r)] == len(settings)]
    for encoder in ENCODERS:
        for size in SIZES:
            if not seeds_of(rows, encoder, size):
                raise CourseError(
                    f"{path} has no whole run of {encoder} with the {size} U-Net: call "
                    "benchmarks/encoder_or_unet.py until it has."
                )
    return rows


def _net(row: dict) -> tuple:
    return tuple(row.get(key) for key in ("encoder", "size", "seed"))


def seeds_of(rows: Sequence[dict], encoder: str, size: str) -> list[int]:
    """The seeds that a net was trained with."""
    return sorted({row["seed"] for row in rows if _net(row)[:2] == (encoder, size)})


def _figure(rows: Sequence[dict], key: str, **asked) -> dict[int, float]:
    """One figure of one net, by seed."""
    found = (r for r in rows if r["row"] == "figures" and asked.items() <= r.items())
    return {row["seed"]: row[key] for row in found}


def curve(rows: Sequence[dict], encoder: str, size: str, key: str) -> np.ndarray:
    """A figure on held-out pairs as guidance goes up: float [seeds, guidances]."""
    net = {"encoder": encoder, "size": size, "crowd": HELD}
    found = [_figure(rows, key, **net, guidance=w) for w in guidances(rows)]
    seeds = seeds_of(rows, encoder, size)
    return np.array([[each[seed] for each in found] for seed in seeds])


def guidances(rows: Sequence[dict]) -> list[float]:
    """Those that were swept, upwards."""
    return sorted(
        {r["guidance"] for r in rows if r["row"] == "figures" and r["crowd"] == HELD}
    )


def steps(rows: Sequence[dict], key: str, crowd: str = HELD) -> dict[str, np.ndarray]:
    """What each step to a better encoder or a larger U-Net changes in a figure at guidance 3,
    seed by seed, of those that both nets have: name -> float [seeds].
    """

    def change(before: tuple[str, str], after: tuple[str, str]) -> np.ndarray:
        a, b = (
            _figure(rows, key, encoder=e, size=s, guidance=SHOWN, crowd=crowd)
            for e, s in (before, after)
        )
        return np.array([b[seed] - a[seed] for seed in sorted(a.keys() & b.keys())])

    bag, *others = ENCODERS
    encoders = {
        f"{bag} to {other}, {size} U-Net": change((bag, size), (other, size))
        for other in others
        for size in SIZES
    }
    larger = {
        f"small to large U-Net, {encoder}": change((encoder, "small"), (encoder, "large"))
        for encoder in ENCODERS
    }
    return encoders | larger


def error_of(values: np.ndarray) -> np.ndarray:
    """The standard error of a mean over seeds: values [seeds, ...] to [...]; 0 of one seed."""
    if len(values) < 2:
        return np.zeros(values.shape[1:])
    return values.std(axis=0, ddof=1) / len(values) ** 0.5


def claim_figure(rows: Sequence[dict]):
    """On the left a curve of Fréchet distance against CLIP score for each encoder and size,
    with standard errors over the seeds; on the right what each step gains in CLIP score, a
    mark a seed.
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.2), width_ratios=[1.15, 1])
    _draw_curves(left, rows)
    real = next(row for row in rows if row["row"] == "real" and row["crowd"] == HELD)
    place = real["clip_score"], real["fd"]
    left.scatter(*place, marker="*", s=160, color=GREY)
    left.annotate("artists", place, (-20, 10), textcoords="offset points")
    left.set(
        xlabel="CLIP score of the judge (right is better)",
        ylabel="Fréchet distance, log scale (down is better)",
        yscale="log",
    )
    counts = [len(seeds_of(rows, e, s)) for e in ENCODERS for s in SIZES]
    n = "-".join(map(str, sorted({min(counts), max(counts)})))
    left.set_title(f"guidance from 1 to 10 (ringed), seeds: {n}")
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter("{x:g}")
    left.legend(fontsize=10)
    _draw_steps(right, rows)
    return figure


def _draw_curves(axis, rows: Sequence[dict]):
    """A curve a net: means over its seeds, with standard errors both ways."""
    for encoder, colour in ENCODERS.items():
        for size, dashes in SIZES.items():
            scores = curve(rows, encoder, size, "clip_score")
            distances = curve(rows, encoder, size, "fd")
            across, up = scores.mean(axis=0), distances.mean(axis=0)
            mark = "o" if size == "small" else "s"
            axis.errorbar(
                across,
                up,
                yerr=error_of(distances),
                xerr=error_of(scores),
                color=colour,
                linestyle=dashes,
                marker=mark,
                markersize=5,
                elinewidth=1,
                label=f"{encoder}, {size}",
            )
            ring = {"color": colour, "markerfacecolor": "none", "markersize": 10}
            axis.plot(across[-1], up[-1], mark, **ring)


def _draw_steps(axis, rows: Sequence[dict]):
    """A row a step, a mark a seed: filled on held-out pairs, open on unseen concepts."""
    looks = (HELD, "o", None, 0.14), (NEW, "D", "none", -0.14)
    for crowd, marker, face, lift in looks:
        for k, (name, gains) in enumerate(steps(rows, "clip_score", crowd).items()):
            colour = ORANGE if name.startswith("small") else BLUE
            label = crowd if k == 0 else None
            style = {"color": colour, "marker": marker, "facecolors": face or colour}
            axis.scatter(gains, np.full(len(gains), k - lift), label=label, s=45, **style)
    names = list(steps(rows, "clip_score"))
    axis.set_yticks(range(len(names)), [name.replace(", ", ",\n") for name in names])
    axis.tick_params(axis="y", labelsize=10)
    axis.axvline(0, color=GREY, linewidth=1)
    axis.invert_yaxis()
    axis.set(xlabel=f"gain in CLIP score at guidance {SHOWN}, a mark a seed")
    axis.set_title("blue: encoder, orange: U-Net")
    axis.legend(fontsize=10)


def claim_table(rows: Sequence[dict]) -> str:
    """The steps as text: the mean change over seeds with its standard error, of CLIP score and
    Fréchet distance on held-out pairs and of CLIP score on unseen concepts.
    """
    columns = (("clip_score", HELD), ("fd", HELD), ("clip_score", NEW))
    found = [steps(rows, *column) for column in columns]
    heads = ("seeds", "CLIP score, pairs", "distance, pairs", "CLIP score, unseen")
    lines = [f"{'at guidance 3':37}{heads[0]:7}" + "".join(f"{h:20}" for h in heads[1:])]
    for name in found[0]:
        cells = [f"{name:37}{len(found[0][name]):<7}"]
        cells += [f"{_with_error(each[name]):20}" for each in found]
        lines.append("".join(cells))
    return "\n".join(line.rstrip() for line in lines)


def _with_error(changes: np.ndarray) -> str:
    """A mean, and what a single seed does not have: its standard error."""
    if not len(changes):
        return "-"
    error = f" +- {error_of(changes):.3f}" if len(changes) > 1 else ""
    return f"{changes.mean():+.3f}{error}"


def seconds_of(rows: Sequence[dict]) -> dict[str, float]:
    """Processor seconds of a training, the mean over encoders and seeds: by size."""
    return {
        size: float(
            np.mean(
                [
                    row["processor_seconds"]
                    for row in rows
                    if row["row"] == "training"
                    and row["size"] == size
                    and "processor_seconds" in row
                ]
            )
        )
        for size in SIZES
    }
