"""All families on one table: what the cards say, beside pictures that no net has made."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from course_lib.anchors import ANCHORS
from course_lib.data.assets import ASSETS
from course_lib.data.fashion import TRAINED_ON
from course_lib.device import processor_name
from course_lib.errors import CourseError
from course_lib.files import check_destination, read_json, reading, written_whole
from course_lib.metrics import Maker, measure
from course_lib.metrics.measure import with_row
from course_lib.metrics.yardsticks import FASHION
from course_lib.recipes import RECIPES, maker, recipe
from course_lib.weights import WEIGHTS, listed, load_weights, read_card, write_card

RECORD = ASSETS / "showdown.json"  # the rows without a net, and the seconds of all
FULL = 10_000  # images of the full protocol
TIMED = 32  # images that a picture's seconds are the mean of
SEEDS = (0, 1, 2)  # of the error bars; the table's own is the first
DEAREST = 1000  # calls from which a way is measured with one seed alone: each takes an hour
SECONDS = f"CPU seconds of one core, {TIMED} pictures together"
# what a table shows: the key of a row, its heading, how it is written
COLUMNS = (
    ("name", "", "{}"),
    ("calls", "network calls", "{:,}"),
    ("fd", "distance", "{:.3f}"),
    ("times", "times the floor", "{:.3g}"),
    ("fd_full", "distance, 10,000", "{:.3f}"),
    ("knn_precision", "precision", "{:.2f}"),
    ("knn_recall", "recall", "{:.2f}"),
    ("bits", "bits a dimension", "{}"),
    ("seconds_per_image", "seconds a picture", "{:.2g}"),
    ("parameters", "parameters", "{:.2f} M"),
    ("training_minutes", "training minutes", "{:,.0f}"),
)


@dataclass(frozen=True)
class Entrant:
    """One way of making pictures: a row of the table."""

    card: dict  # of the weights, or the record's of an anchor
    maker: Maker
    net: bool  # whether there is one

    def row(self, n: int, seed: int = 0) -> dict:
        """The card's row of n images made so, with one seed; {} where it has none."""
        asked = {**self.maker.cost, "n": n, "seed": seed}
        rows = self.card.get("figures", {}).get("rows", [])
        return next((r for r in rows if asked.items() <= r.items()), {})


def models() -> list[str]:
    """The shipped models that make pictures of Fashion-MNIST, in the recipes' order; snapshots
    on the way are none of them.
    """
    there = [name for name in RECIPES if name in listed() and recipe(name).makes_images]
    data = TRAINED_ON["data_sha256"]
    return [name for name in there if read_card(name).get("data_sha256") == data]


def _entrants(record: dict) -> Iterator[Entrant]:
    for name, anchor in ANCHORS.items():
        yield Entrant(record.get("anchors", {}).get(name, {}), anchor.maker(), False)
    for name in models():
        card, net = read_card(name), load_weights(name, device="cpu")
        for way in recipe(name).ways():
            yield Entrant(card, maker(name, net, **way), True)


def _record() -> dict:
    mend = (
        "get it again: git checkout -- assets, or make it: python -m course_lib showdown "
        "--measure"
    )
    record = read_json(RECORD, mend)
    with reading(RECORD, "is damaged", mend):
        rows = [*record["seconds"], *record["anchors"].values()]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a row of it is none")
        if not {"protocol", "machine"} <= record.keys():
            raise ValueError("it does not say how it was measured")
    return record


def _seconds(record: dict, made: Maker) -> float | None:
    wanted = {"name": made.name, **made.cost, "weights": list(made.weights)}
    rows = record.get("seconds", [])
    return next((r["seconds_per_image"] for r in rows if wanted.items() <= r.items()), None)


def _line(entrant: Entrant, record: dict) -> dict:
    """A row of the table."""
    card, small, full = entrant.card, entrant.row(FASHION.small), entrant.row(FULL)
    found = {key: small.get(key) for key in ("fd", "fd_floor", "knn_precision", "knn_recall")}
    likelihood = card.get("figures", {}).get("likelihood", {})
    trained = card.get("training_seconds")
    return {
        "name": entrant.maker.name,
        **entrant.maker.cost,
        "n": small.get("n"),
        **found,
        "n_full": full.get("n"),
        "fd_full": full.get("fd"),
        "fd_floor_full": full.get("fd_floor"),
        "bits_per_dim": likelihood.get("bits_per_dim"),
        "nats": likelihood.get("nats"),
        "protocol": likelihood.get("protocol"),
        "seconds_per_image": _seconds(record, entrant.maker),
        "parameters": entrant.maker.parameters,
        "training_minutes": trained and round(trained / 60, 1),
        "trained_on": card.get("machine"),
        "what": card.get("what"),
    }


def table() -> dict:
    """{"rows": [...], and how they were measured}: anchors first, then what is shipped. What a
    card doesn't have is None.
    """
    record = _record()
    return {
        "rows": [_line(entrant, record) for entrant in _entrants(record)],
        "reference": f"the first {FASHION.small:,} test images; n_full: all {FULL:,}",
        "features": FASHION.net,
        "neighbours": 3,
        "seconds": record["protocol"],
        "machine": record["machine"],
    }


def _again(entrant: Entrant, record: dict, seed: int) -> dict:
    """The small protocol's row of a way with one seed, from its card or from the record; {}
    where neither has one of these weights.
    """
    made = entrant.maker
    asked = {"name": made.name, **made.cost, "seed": seed, "weights": list(made.weights)}
    kept = (row for row in record.get("seeds", []) if asked.items() <= row.items())
    return entrant.row(FASHION.small, seed) or next(kept, {})


def over_seeds() -> list[dict]:
    """What other noise changes, a row for each way of a model below DEAREST calls: its name,
    its cost, "n", and "fd", "knn_precision" and "knn_recall", a list each over those of SEEDS
    that were measured.
    """
    record, found = _record(), []
    for entrant in _entrants(record):
        made = entrant.maker
        if not entrant.net or made.cost["calls"] >= DEAREST:
            continue
        rows = [row for seed in SEEDS if (row := _again(entrant, record, seed))]
        keys = ("fd", "knn_precision", "knn_recall")
        figures = {key: [row.get(key) for row in rows] for key in keys}
        found.append({"name": made.name, **made.cost, "n": FASHION.small, **figures})
    return found


# ---- in print


def _cells(row: dict) -> list[str]:
    bits, nats = row["bits_per_dim"], row["nats"]
    shown = {
        **row,
        "times": row["fd"] and row["fd"] / row["fd_floor"],
        "bits": f"{bits:.3f}" if bits else nats and f"{nats:.1f} nats",
        "parameters": row["parameters"] / 1e6 or None,
    }
    return ["" if shown[key] is None else form.format(shown[key]) for key, _, form in COLUMNS]


def markdown(rows: list[dict]) -> str:
    """A table's rows as Markdown."""
    heads = [head for _, head, _ in COLUMNS]
    lines = [heads, ["---"] * len(heads), *map(_cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text(rows: list[dict]) -> str:
    """A table's rows in columns, each heading over two lines at most."""
    heads = [head.rpartition(" ")[::2] for _, head, _ in COLUMNS]
    lines = [[a for a, _ in heads], [b for _, b in heads], *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


# ---- measured


def cpu_seconds(made: Maker, n: int = TIMED) -> float:
    """Seconds of one core that a picture takes, where n are made together: the process's own
    time, so that a busy machine changes little.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        made.make(1)  # what is built at the first call
        began = time.process_time()
        made.make(n)
        return (time.process_time() - began) / n
    finally:
        torch.set_num_threads(threads)


def _anchor_card(name: str) -> dict:
    anchor = ANCHORS[name]
    rows = with_row([], measure(anchor.maker(), FASHION.small))
    return {"what": anchor.what, "figures": {"likelihood": anchor.likelihood(), "rows": rows}}


def _complete(name: str):
    """Measure the ways that a model's card has no row of, and write them there."""
    for way in recipe(name).ways():
        made = maker(name, **way)
        if Entrant(read_card(name), made, True).row(FASHION.small):
            continue
        row = measure(made, FASHION.small)
        card = read_card(name)  # as it is by now: the row may have taken an hour
        if card["sha256"] != made.weights[0]:
            raise CourseError(
                f"{name} was made again while it was measured: start the same command again."
            )
        figures = card.setdefault("figures", {})
        figures["rows"] = with_row(figures.get("rows", []), row)
        write_card(WEIGHTS / name, card)


def _machine() -> str:
    return f"{processor_name()}, 1 thread, torch {torch.__version__}"


def _begun() -> dict:
    """The present record, to be completed; an empty one where there is none, or one of another
    machine, whose seconds are not to be mixed with this one's.
    """
    try:
        kept = _record()
    except CourseError:
        kept = {}
    if kept.get("machine") != _machine():
        kept = {"anchors": {}, "seconds": [], "protocol": SECONDS, "machine": _machine()}
    return {"seeds": [], **kept}


def _write(kept: dict):
    with written_whole(RECORD) as part:
        part.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _measure_seeds(kept: dict, log):
    """Measure each way with the seeds that are missing, and write the record after each."""
    entrants = [e for e in _entrants(kept) if e.net and e.maker.cost["calls"] < DEAREST]
    ours = [list(e.maker.weights) for e in entrants]
    kept["seeds"] = [row for row in kept["seeds"] if row["weights"] in ours]
    for entrant in sorted(entrants, key=lambda e: _seconds(kept, e.maker)):  # cheapest first
        made = entrant.maker
        for seed in SEEDS:
            if _again(entrant, kept, seed):
                continue
            (row,) = with_row([], measure(made, FASHION.small, seed=seed))
            log(f"{made.name}, {made.cost['calls']} calls, seed {seed}: {row['fd']}")
            kept["seeds"].append({"name": made.name, **row, "weights": list(made.weights)})
            _write(kept)


def record(log=print) -> dict:
    """Complete RECORD, or make it again where it is gone or of another machine: anchors are
    measured, all ways timed, and measured with other seeds (a quarter of an hour); and the
    rows that a card lacks are measured (a thousand calls take an hour).
    """
    check_destination(RECORD)
    for name in models():
        log(name)
        _complete(name)
    kept = _begun()
    for name in ANCHORS:
        if name not in kept["anchors"]:
            log(name)
            kept["anchors"][name] = _anchor_card(name)
    for entrant in _entrants(kept):
        made = entrant.maker
        if entrant.net and _seconds(kept, made) is None:
            taken = float(f"{cpu_seconds(made):.3g}")
            log(f"{made.name}, {made.cost['calls']} calls: {taken} s a picture")
            kept["seconds"].append(
                {
                    "name": made.name,
                    **made.cost,
                    "seconds_per_image": taken,
                    "weights": list(made.weights),
                }
            )
    _write(kept)
    _measure_seeds(kept, log)
    return kept
