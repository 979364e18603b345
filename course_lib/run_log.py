"""The log of a run, which outlives the pieces that it is cut into."""

import contextlib
import json
import math
import time
from pathlib import Path

from course_lib.files import writing, written_whole
from course_lib.training import TrainStep


def _row(line: str) -> dict | None:
    """A line of the log; None where it is empty, was cut short or says something else."""
    with contextlib.suppress(ValueError, RecursionError, OverflowError):
        row = json.loads(line)
        if isinstance(row, dict) and all(
            type(row.get(key)) in (int, float) and math.isfinite(row[key])
            for key in ("step", "seconds")
        ):
            return row
    return None


class RunLog:
    """The losses of a leg, a line every 100 steps, and the training time over all the pieces
    that it was cut into; of an earlier run, or of steps that no checkpoint holds, nothing is
    kept.
    """

    def __init__(self, path: Path, start: int, tell):
        # a log is for people: what cannot be read of it is left out
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        found = [row for row in map(_row, text.splitlines()) if row]
        rows = [row for row in found if start and row["step"] <= start]
        if len(rows) < len(found):
            with written_whole(path) as part:
                part.write_text("".join("\n" + json.dumps(row) for row in rows), "utf-8")
        self.before = max((row["seconds"] for row in rows), default=0.0)
        self.path, self.tell, self.began, self.losses = path, tell, time.time(), []

    @property
    def seconds(self) -> float:
        """Training time so far."""
        return self.before + time.time() - self.began

    def note(self, done: TrainStep):
        """Keep a step's loss; every hundredth writes a line."""
        self.losses.append(done.loss)
        if done.step % 100 == 0:
            self.write(done)

    def write(self, done: TrainStep):
        """Write a line of what was noted since the last one."""
        if not self.losses:
            return
        mean = sum(self.losses) / len(self.losses)  # of the last 100 steps, fewer after a cut
        row = {
            "step": done.step,
            "seconds": round(self.seconds, 1),
            "loss": round(mean, 5),
            "lr": done.lr,
        }
        with writing(self.path), open(self.path, "a", encoding="utf-8") as file:
            # in front, so that a line cut short by a full disk spoils no other
            file.write("\n" + json.dumps(row))
        self.tell(row)
        self.losses.clear()
