"""Files damaged in every way that a seed can think of, and what their readers make of them.

    python tests/mutated.py [COUNT [SEED]]

Each reader must answer with a CourseError or with right data. Prints one JSON object: what
went wrong, and the most memory and processor time that a single file took.
"""

import copy
import json
import lzma
import math
import os
import random
import sys
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

import nbformat
import torch
from safetensors.torch import load_file, save_file

from course_lib import Batches, Ema, Phase, load_state, save_state, showdown, train
from course_lib import weights as lib
from course_lib.data import assets
from course_lib.errors import CourseError
from course_lib.legs import leg_card
from course_lib.metrics.measure import _put_down, _take_up
from course_lib.models import UNet, UNetConfig
from course_lib.run_log import RunLog
from course_lib.weights import list_shipped, listed, load_denoiser, load_weights, save_weights
from course_lib.widgets.export import to_html

CONFIG = UNetConfig(widths=(16, 32), blocks=1, head_dim=16, emb_dim=24)
OTHERS = [[], [1], {}, {"a": []}, 3, -5, 1.5, "x", "", None, True, 10**30, 1e300, "9" * 3000]
OTHERS += [float("nan"), float("inf"), [[[]]], {"": None}]
HUGE = [-1, 0, 3000, 10**5, 2**24, 10**8, [], [0], [32, 20000, 20000], [16] * 2000, None, 1e9]


# ---- bytes


def flipped(data: bytes, dice: random.Random, bits: int) -> bytes:
    """Some bits turned over."""
    changed = bytearray(data)
    for _ in range(bits):
        place = dice.randrange(len(changed))
        changed[place] ^= 1 << dice.randrange(8)
    return bytes(changed)


def spoiled(data: bytes, dice: random.Random) -> bytes:
    """Bytes cut short, flipped, blanked, shifted, or none of the file's at all."""
    way, place = dice.randrange(9), dice.randrange(len(data))
    if way < 2:
        return data[:place]
    if way < 6:
        return flipped(data, dice, (1, 1, 2, 16)[way - 2])
    if way == 6:
        return data[:place] + bytes(min(64, len(data) - place)) + data[place + 64 :]
    if way == 7:
        return data[:place] + dice.randbytes(dice.randrange(1, 9)) + data[place:]
    return dice.choice([b"", b"{}", b"[]", b"\xff" * 100, b"[" * 50_000, dice.randbytes(500)])


def places(tree, path=()) -> list[tuple]:
    """Where in a tree of dicts and lists something stands."""
    found = [path] if path else []
    keys = tree if isinstance(tree, dict) else range(len(tree)) if type(tree) is list else ()
    return found + [each for key in keys for each in places(tree[key], (*path, key))]


def regrown(tree, dice: random.Random, others=OTHERS):
    """A tree with something of another kind in a place of it, or without what stood there."""
    tree = copy.deepcopy(tree)
    *way, last = dice.choice(places(tree))
    branch = tree
    for key in way:
        branch = branch[key]
    if dice.random() < 0.2:
        del branch[last]
    else:
        branch[last] = copy.deepcopy(dice.choice(others))
    return tree


def plain(config) -> dict:
    """A config as JSON has it."""
    return json.loads(json.dumps(asdict(config)))


def as_json(tree) -> bytes:
    return json.dumps(tree).encode()


# ---- what is read


class Weights:
    """A weights file of one's own, with its hash inside or, as earlier versions wrote it,
    without, and the second with its card beside it or alone.

    A file with neither inner hash nor card can be known wrong only where it is none, where its
    shapes are not its config's, or where a number is not finite: values that were traded
    within a shape, or a bit that was flipped, are what it says, and count as right.
    """

    def __init__(self, folder: Path):
        self.path = save_weights(UNet(CONFIG), folder / "net", {"recipe": "mine"})
        self.card = self.path.with_suffix(".json")
        self.card.unlink()
        self.good = self.path.read_bytes()
        # copies: what is read stays mapped to the file, which is about to be written over
        self.tensors = {key: value.clone() for key, value in load_file(self.path).items()}
        said = {"model": "UNet", "config": json.dumps(plain(CONFIG))}
        save_file(self.tensors, self.path, said)
        self.unsealed = self.path.read_bytes()
        self.digest = lib.sha256(self.path)
        self.said, self.traded = plain(CONFIG), False

    def mutate(self, dice):
        config, self.traded = plain(CONFIG), False
        self.said = config
        self.card.unlink(missing_ok=True)
        if dice.random() < 0.5:
            sealed = dice.random() < 0.7
            self.path.write_bytes(spoiled(self.good if sealed else self.unsealed, dice))
            if not sealed and dice.random() < 0.5:
                self.card.write_text(json.dumps({"sha256": self.digest}))
            elif not sealed:  # nothing is left that could know another number for wrong
                self.traded, self.said = True, None
            return
        tensors = dict(self.tensors)
        if dice.random() < 0.6:
            config = regrown(config, dice, dice.choice([OTHERS, HUGE]))
        else:
            self.traded = True
            a, b = dice.sample(sorted(tensors), 2)
            tensors[a], tensors[b] = dice.choice(
                [
                    (tensors[b], tensors[a]),
                    (tensors[a] * float("nan"), tensors[b]),
                    (tensors[a] / 0, tensors[b]),
                    (tensors[a].unsqueeze(0), tensors[b]),
                    (tensors[a].long(), tensors[b]),
                    (tensors[a].to(torch.complex64), tensors[b]),
                ]
            )
        self.said = config
        save_file(tensors, self.path, {"model": "UNet", "config": json.dumps(config)})
        if dice.random() < 0.3:  # the card of the file as it was
            self.card.write_text(json.dumps({"sha256": self.digest}))

    def read(self) -> bool:
        net, own = load_weights(UNet, self.path, device="cpu"), plain(UNetConfig())
        state = net.state_dict()
        # a config that fits all shapes is one, though not the one that was saved
        right = self.said is None or plain(net.config) == {**own, **self.said}
        if self.card.exists():  # it vouches for every bit
            return self.path.read_bytes() == self.unsealed and right
        for key, value in state.items():
            right &= value.dtype == torch.float32 and value.shape == self.tensors[key].shape
            right &= torch.equal(value, self.tensors[key]) or self.traded
            right &= bool(torch.isfinite(value).all())
        return right


class Shipped:
    """A model by its name, its card altered: the net and how it is read stay right."""

    reading = {"schedule": {"name": "cosine", "T": 50}, "target": "v"}

    def __init__(self, folder: Path):
        card = {"recipe": "mine", "reading": self.reading, "legs": [{"images": 3}]}
        card |= {"figures": {"rows": [{"n": 8, "fd": 1.0}], "likelihood": {"nats": 3.0}}}
        self.path = save_weights(UNet(CONFIG), folder / "mine", card).with_suffix(".json")
        self.good = self.path.read_bytes()
        self.tensors = load_file(self.path.with_suffix(".safetensors"))
        list_shipped("mine")

    def mutate(self, dice):
        tree = regrown(json.loads(self.good), dice)
        self.path.write_bytes(dice.choice([spoiled(self.good, dice), as_json(tree)]))

    def read(self) -> bool:
        lib.read_card("mine")
        found = load_denoiser("mine", device="cpu")
        right = (found.schedule.T, found.target) == (50, "v")
        state = found.net.state_dict()
        return right and all(torch.equal(state[key], v) for key, v in self.tensors.items())


class Listed:
    """The list of what is shipped."""

    def __init__(self, folder: Path):
        save_weights(UNet(CONFIG), folder / "theirs", {"recipe": "mine"})
        list_shipped("theirs")
        self.path = lib.WEIGHTS / lib.LIST
        self.good = self.path.read_bytes()

    def mutate(self, dice):
        self.path.write_bytes(spoiled(self.good, dice))

    def read(self) -> bool:
        if "theirs" in listed():  # a list of fewer names vouches for fewer
            lib.verify("theirs")
            return listed()["theirs"].encode() in self.good
        return True


class Checkpoint:
    """A run's state; edits of what it says bear the hash of what they are."""

    def __init__(self, folder: Path):
        self.path, self.sealed = folder / "state.pt", True
        phase, batches = self.parts()
        steps = train(phase, batches, 3, precision=torch.float32)
        self.step = [done.step for done in steps][-1]
        save_state(self.path, 3, phase, batches, run="mine")
        self.good = self.path.read_bytes()
        self.state = torch.load(self.path, weights_only=True)
        self.weight = phase.module.weight.detach().clone()

    def parts(self):
        torch.manual_seed(0)
        net = torch.nn.Linear(16, 8)

        def loss(batch):
            return {"loss": net(batch[0].flatten(1)).square().mean()}

        images = torch.arange(256, dtype=torch.uint8).repeat(8).reshape(128, 4, 4)
        batches = Batches(images, torch.zeros(128, dtype=torch.int64), 8, 0)
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        return Phase("net", net, loss, optimizer, Ema(net)), batches

    def mutate(self, dice):
        self.sealed = dice.random() < 0.6  # with what was saved
        if self.sealed:
            self.path.write_bytes(spoiled(self.good, dice))
            return
        tensors = [torch.zeros(3), torch.zeros(8, 16), torch.zeros(16, 8), torch.tensor(3.0)]
        state = regrown(self.state, dice, [*OTHERS, *tensors, {0: {}}, (1, 2)])
        with patch.object(torch, "save", lambda _, part: save(state, part)):
            save_state(self.path, 3, *self.parts(), run="mine")

    def read(self) -> bool:
        phase, batches = self.parts()
        step = load_state(self.path, phase, batches, run="mine")
        right = step == 3 and torch.equal(phase.module.weight, self.weight)
        next(train(phase, batches, step + 1, start=step, precision=torch.float32))
        return right or not self.sealed


save = torch.save


class Evaluation:
    """The features of a measurement so far."""

    def __init__(self, folder: Path):
        self.path, self.sealed = folder / "evaluation", True
        self.features = torch.randn(20, 6)
        _put_down(self.path, "so", self.features, 1.5, {"clip": 3.0})
        self.good = self.path.read_bytes()

    def mutate(self, dice):
        self.path.write_bytes(spoiled(self.good, dice))
        self.sealed = dice.random() < 0.5
        if not self.sealed:
            kept = {"made": "so", "seconds": "1.5", "sums": '{"clip": 3.0}'}
            shape = dice.choice([(20,), (20, 7), (6, 20), (0, 6), (2, 20, 6), (21, 6)])
            features = torch.randn(shape) if dice.random() < 0.5 else self.features
            key = dice.choice(list(kept))
            kept[key] = dice.choice(["", "nan", "-5", "[]", "x", '{"a": NaN}', "[1]", "{}"])
            bad = features.log() if dice.random() < 0.3 else features.long()
            save_file({"features": dice.choice([features, bad])}, self.path, kept)

    def read(self) -> bool:
        found, seconds, sums = _take_up(self.path, "so", 20, self.features[:0])
        finite = seconds >= 0 and all(isinstance(each, float) for each in sums.values())
        right = finite and found.shape[1] == 6 and len(found) <= 20
        return right and (not self.sealed or torch.equal(found, self.features))


class Leg:
    """The card of a finished leg."""

    def __init__(self, folder: Path):
        legs = [{"steps": 3, "images": 6, "seconds": 1}]
        card = {"run": "mine", "legs": legs, "recipe": "mine"}
        self.weights = save_weights(UNet(CONFIG), folder / "leg-1-3", card)
        self.path = self.weights.with_suffix(".json")
        self.good = self.path.read_bytes()

    def mutate(self, dice):
        tree = regrown(json.loads(self.good), dice)
        self.path.write_bytes(dice.choice([spoiled(self.good, dice), as_json(tree)]))

    def read(self) -> bool:
        card = leg_card(self.weights)
        sums = [sum(leg[key] for leg in card["legs"]) for key in ("images", "seconds")]
        right = card["sha256"] == lib.sha256(self.weights) and len(sums) == 2
        return right and all(math.isfinite(each) and each >= 0 for each in sums)


class Log:
    """The log of a leg, of which only what can be read counts."""

    def __init__(self, folder: Path):
        self.path = folder / "leg-1.jsonl"
        rows = [{"step": 100 * i, "seconds": 1.0 * i, "loss": 0.1, "lr": 1e-3} for i in (1, 2)]
        self.rows = rows
        self.good = "\n".join(map(json.dumps, rows)).encode()

    def mutate(self, dice):
        tree = as_json(regrown(self.rows, dice))
        self.path.write_bytes(dice.choice([spoiled(self.good, dice), tree]))

    def read(self) -> bool:
        return RunLog(self.path, 200, print).before >= 0


class Record:
    """The showdown's record."""

    def __init__(self, folder: Path):
        self.path = showdown.RECORD
        row = {"name": "a", "calls": 1, "seconds_per_image": 0.1}
        self.tree = {"anchors": {"a": {"figures": {}}}, "seconds": [row]}
        self.tree |= {"protocol": "so", "machine": "this"}
        self.good = as_json(self.tree)

    def mutate(self, dice):
        tree = as_json(regrown(self.tree, dice))
        self.path.write_bytes(dice.choice([spoiled(self.good, dice), tree]))

    def read(self) -> bool:
        record = showdown._record()
        return all(isinstance(row, dict) for row in record["seconds"])


class Packed:
    """A packed data file and its unpacked copy in the cache."""

    def __init__(self, folder: Path):
        raw = random.Random(1).randbytes(5000)
        packed = lzma.compress(raw)
        digests = [assets.hashlib.sha256(data).hexdigest() for data in (packed, raw)]
        self.raw = raw
        self.asset = assets.Asset("tiny", "Tiny", *digests, len(raw), (len(packed),))
        self.files = {self.asset.file: packed, self.asset.cache_file(): raw}
        self.restore()

    def restore(self):
        for path, data in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def mutate(self, dice):
        self.restore()
        path = dice.choice(list(self.files))
        path.unlink()  # the cached one may be mapped
        path.write_bytes(spoiled(self.files[path], dice))
        assets._raw_bytes.cache_clear()

    def read(self) -> bool:
        self.asset.verify()
        return self.asset.raw().tobytes() == self.raw


class Notebook:
    """A notebook on its way to a page: any page is right, of what can be read."""

    def __init__(self, folder: Path):
        self.path, v4 = folder / "n.ipynb", nbformat.v4
        shown = {"text/html": "<b>x</b>", "text/plain": "x", "image/png": "iVBORw0KGgo="}
        outputs = [
            v4.new_output("display_data", shown),
            v4.new_output("stream", text="said"),
            v4.new_output("error", ename="E", evalue="e", traceback=["t"]),
        ]
        cells = [
            v4.new_markdown_cell(r"# A\n\n$x_t$ and $\text{<b>}$ ![](https://far.off/a.png)"),
            v4.new_code_cell("1 + 1", outputs=outputs),
        ]
        self.tree = json.loads(nbformat.writes(v4.new_notebook(cells=cells)))
        self.good = as_json(self.tree)

    def mutate(self, dice):
        tree = as_json(regrown(self.tree, dice))
        self.path.write_bytes(dice.choice([spoiled(self.good, dice), tree, tree]))

    def read(self) -> bool:
        page = to_html(self.path).read_text(encoding="utf-8")
        return page.strip().startswith("<!DOCTYPE html>") and '<img src="https' not in page


# how many of a hundred are of each
SHARES = {
    Weights: 23,
    Shipped: 16,
    Listed: 4,
    Checkpoint: 22,
    Evaluation: 10,
    Leg: 7,
    Log: 4,
    Record: 4,
    Packed: 4,
    Notebook: 6,
}


# ---- judged


def memory(reset: bool = False) -> int:
    """The most bytes that this process has held, since the last reset where Linux has it."""
    if reset:
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    return 0


def judged(kind, dice: random.Random) -> dict:
    """What a reader made of one damaged file, what that cost, and whether it is a fault."""
    kind.mutate(dice)
    before, began = memory(reset=True), time.process_time()
    try:
        said = "right" if kind.read() else "WRONG DATA"
    except CourseError as error:
        said = "sentence" if str(error).strip() else "EMPTY SENTENCE"
    except Exception as error:
        said = f"{type(error).__name__}: {str(error)[:200]}"
    if said not in ("right", "sentence"):
        print(type(kind).__name__, said, file=sys.stderr, flush=True)
    cost = {"bytes": memory() - before, "seconds": time.process_time() - began}
    return {"kind": type(kind).__name__, "said": said, **cost}


def warm(kind):
    """Read the whole file once, so that imports and caches count for no damaged one."""
    if hasattr(kind, "path"):
        kind.path.write_bytes(kind.good)
    assert kind.read(), f"{type(kind).__name__} is not read where it is whole"


def main(count: int, seed: int) -> dict:
    """Damage `count` files, read each, and sum up."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    found, dice = [], random.Random(seed)
    with (
        tempfile.TemporaryDirectory() as name,
        patch.dict(os.environ, MARBLE_CACHE=f"{name}/c"),
    ):
        folder = Path(name)
        for each in ("weights", "assets", "files"):
            (folder / each).mkdir()
        with (
            patch.object(lib, "WEIGHTS", folder / "weights"),
            patch.object(assets, "ASSETS", folder / "assets"),
            patch.object(showdown, "RECORD", folder / "showdown.json"),
        ):
            shipped = (Shipped, Listed)
            for make, share in SHARES.items():
                place = "weights" if make in shipped else "files"
                kind = make(folder / place)
                warm(kind)
                for _ in range(round(count * share / 100)):
                    found.append(judged(kind, dice))
                if make in shipped:
                    kind.path.write_bytes(kind.good)
    worst = {key: max(found, key=lambda each: each[key]) for key in ("bytes", "seconds")}
    fine = ("right", "sentence")
    return {
        "count": len(found),
        "right": sum(each["said"] == "right" for each in found),
        "sentences": sum(each["said"] == "sentence" for each in found),
        "faults": [each for each in found if each["said"] not in fine],
        "worst": worst,
    }


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:]] + [400, 0][len(sys.argv) - 1 :]
    print(json.dumps(main(*numbers)))
