"""Weights as safetensors, with the config that builds the net in the file, and a card beside
it.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib import eight_bits
from course_lib.cards import card_bytes, card_of
from course_lib.checkpoint import plain_state
from course_lib.configs import from_plain
from course_lib.eight_bits import SCALE
from course_lib.errors import CourseError
from course_lib.files import reading, written_whole
from course_lib.meta import TooManyError, shapes_alone, without_memory

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
LIST = "SHA256SUMS"  # in WEIGHTS: what the course ships, as `sha256sum` writes it


class WeightsError(CourseError):
    """A weights file is missing, damaged or of another kind than was asked for."""


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- writing


def _beside(path: str | Path, ending: str) -> Path:
    """The file of a model's pair, .safetensors or .json, by the name that both share or by
    either of them.

    Path.with_suffix would make lr-0.json of lr-0.1, and so one file of two models.
    """
    path = Path(path)
    name = path.stem if path.suffix in (".safetensors", ".json") else path.name
    return path.with_name(name + ending)


def _tensors(module: nn.Module, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """A module's tensors as they are stored; WeightsError where one holds NaN or infinity."""
    tensors = {}
    for key, value in plain_state(module).items():
        kind = dtype if dtype and value.is_floating_point() else value.dtype
        parts = eight_bits.stored(key, value) if kind == torch.int8 else {key: value.to(kind)}
        for name, part in parts.items():
            tensors[name] = part.contiguous().cpu()
            if part.is_floating_point() and not torch.isfinite(part).all():
                raise WeightsError(
                    f"{key} holds values that are not finite in {part.dtype}: nothing was "
                    "written. Train again, at a smaller learning rate."
                )
    return tensors


def _digest(metadata: dict[str, str], tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of all that a weights file says, in whatever order it stands there."""
    said = sorted((key, value) for key, value in metadata.items() if key != "sha256")
    found = hashlib.sha256(json.dumps(said).encode())
    for key, value in sorted(tensors.items()):
        found.update(f"{key} {value.dtype} {list(value.shape)}".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def save_weights(
    module: nn.Module, path: str | Path, card: dict, dtype: torch.dtype | None = None
) -> Path:
    """Write the module's weights to path (.safetensors) and its card beside it (.json); both
    are whole before either takes its place, the card last.

    The module's class must be in MODELS and have a dataclass `config`. dtype, if given, is
    what floats are stored in. The card is a dict of what a reader should know; the file's
    SHA-256 and size are added to it. Its "recipe" and "reading", how the net's answer is to be
    read (`load_denoiser`), go into the file as well. In int8, half of float16, only what has
    rows is stored (`eight_bits`). WeightsError, and no file touched, for what can't be
    written.
    """
    from safetensors.torch import save_file

    from course_lib.models import MODELS

    module = getattr(module, "_orig_mod", module)  # the net within torch.compile's wrapper
    if type(module).__name__ not in MODELS:
        raise WeightsError(
            f"A {type(module).__name__} could not be loaded again: it is not in "
            "course_lib.models.MODELS."
        )
    path = _beside(path, ".safetensors")
    card_bytes(path.name, card)
    tensors = _tensors(module, dtype)
    metadata = {
        "model": type(module).__name__,
        "config": json.dumps(dataclasses.asdict(module.config)),
        **{key: json.dumps(card[key]) for key in ("recipe", "reading") if key in card},
    }
    metadata["sha256"] = _digest(metadata, tensors)
    with written_whole(_beside(path, ".json")) as beside, written_whole(path) as part:
        save_file(tensors, part, metadata)
        part.chmod(0o644)  # safetensors writes for the owner alone
        made = {"file": path.name, "bytes": part.stat().st_size, "sha256": sha256(part)}
        beside.write_bytes(card_bytes(path.name, {**card, **made}))
    return path


def write_card(path: str | Path, card: dict):
    """Write the card of a weights file, as JSON that a person can read."""
    path = _beside(path, ".json")
    text = card_bytes(path.name, card)
    with written_whole(path) as part:
        part.write_bytes(text)


# ---- what is shipped


def listed() -> dict[str, str]:
    """What the course ships: name -> SHA-256 of its weights file. Empty in another folder."""
    path = WEIGHTS / LIST
    if not path.exists():
        return {}
    mend = f"get it again: git checkout -- weights/{LIST}"
    with reading(path, "cannot be read", mend, WeightsError):
        text = path.read_text(encoding="utf-8")
    rows = [line.split() for line in text.splitlines() if line]
    if not all(len(row) == 2 and re.fullmatch("[0-9a-f]{64}", row[0]) for row in rows):
        raise WeightsError(f"{path} is damaged. Get it again: git checkout -- weights/{LIST}")
    return {_beside(file, "").name: digest for digest, file in rows}


def list_shipped(*names: str):
    """Take the present weights of these names into the list of what the course ships."""
    rows = {**listed(), **{name: sha256(WEIGHTS / f"{name}.safetensors") for name in names}}
    files = sorted((f"{name}.safetensors", digest) for name, digest in rows.items())
    lines = [f"{digest}  {file}\n" for file, digest in files]
    with written_whole(WEIGHTS / LIST) as part:
        part.write_text("".join(lines), encoding="utf-8")


def shipped() -> list[str]:
    """The names of the models whose weights come with the course: what the list says, and what
    lies there.
    """
    kinds = ("json", "safetensors")
    there = {path.stem for kind in kinds for path in WEIGHTS.glob(f"*.{kind}")}
    return sorted(there | set(listed()))


def _missing() -> WeightsError:
    """The error that names every file that is missing, so that one mend does."""
    lost = [
        file
        for name in shipped()
        for file in (f"{name}.json", f"{name}.safetensors")
        if not (WEIGHTS / file).exists()
    ]
    if len(lost) > 1:
        return WeightsError(
            f"{', '.join(lost)} are missing from {WEIGHTS}. Get them again: git checkout -- "
            "weights"
        )
    text = f"{WEIGHTS / lost[0]} is missing. Get it again: git checkout -- weights/{lost[0]}"
    name, _, kind = lost[0].rpartition(".")
    if kind == "json" and name not in listed():
        text += f", or move {name}.safetensors elsewhere if it is your own"
    return WeightsError(text)


def read_card(name: str) -> dict:
    """The card of a shipped model."""
    path = WEIGHTS / f"{name}.json"
    if not path.exists():
        if name in shipped():
            raise _missing()
        raise WeightsError(
            f"There is no shipped model {name!r}; there are: {', '.join(shipped()) or 'none'}."
        )
    mend = f"get it again: git checkout -- weights/{path.name}"
    if name not in listed():
        mend = "make it again, or remove it and its weights"
    return card_of(path, mend, WeightsError)


@functools.cache
def _hash(path: Path, size: int, mtime: int) -> str:
    """A file's SHA-256, taken once a process for each version of it."""
    return sha256(path)


def verify(name: str):
    """Check a shipped file against its card and the course's list; raises WeightsError with
    the mend.
    """
    path, card = WEIGHTS / f"{name}.safetensors", read_card(name)
    if not path.exists():
        raise _missing()
    stat = path.stat()
    found = _hash(path, stat.st_size, stat.st_mtime_ns)
    mend = f"Get both again: git checkout -- weights/{path.name} weights/{name}.json"
    if name not in listed():
        mend = "A save of it was cut, or it was changed since: make it again, or remove both"
    for who, expected in (("its card", card["sha256"]), (LIST, listed().get(name, found))):
        if found != expected:
            raise WeightsError(
                f"{path} is damaged: its SHA-256 is {found}, {who} says {expected}. {mend}"
            )


# ---- reading


def _config(metadata: dict, path: Path, cls: type | None) -> tuple:
    """What a file's metadata describe: the class that builds it, and its config."""
    from course_lib.models import MODELS

    model = (metadata or {}).get("model")
    if model not in MODELS or (cls is not None and MODELS[model][0] is not cls):
        wanted = cls.__name__ if cls is not None else " or ".join(MODELS)
        raise WeightsError(f"{path} holds a {model}, not a {wanted}.")
    build, kind = MODELS[model]
    with _building(path, model):
        return build, from_plain(kind, json.loads(metadata["config"]))


@contextlib.contextmanager
def _building(path: Path, model: str):
    """Whatever a constructor raises over a config that is none becomes one sentence."""
    try:
        yield
    except TooManyError:
        raise WeightsError(
            f"{path} does not fit its own config, which asks for more tensors than it holds."
        ) from None
    except Exception as error:
        said = str(error).partition("\n")[0][:200]
        raise WeightsError(
            f"{path} was made by another version of {model}: {said}. Train it again."
        ) from None


def _build(file, path: Path, cls: type | None) -> nn.Module:
    """The module that an open safetensors file describes, its parameters without memory yet:
    built as shapes alone first, and again once every shape is the file's.
    """
    build, config = _config(file.metadata(), path, cls)
    # a weight that two layers share is counted twice
    with _building(path, build.__name__), shapes_alone(2 * len(file.keys())):
        inside = {key: list(value.shape) for key, value in build(config).state_dict().items()}
    found = {key: list(file.get_slice(key).get_shape()) for key in file.keys()}
    # of what is stored in eight bits: a scale a row
    scales = {k + SCALE: shape[:1] for k, shape in inside.items() if k + SCALE in found}
    wanted = inside | scales
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise WeightsError(
                f"{path} does not fit its own config: {key} has the shape {found.get(key)}, "
                f"the config says {wanted.get(key)}."
            )
    with _building(path, build.__name__), without_memory():
        return build(config)


def _fill(module: nn.Module, file, path: Path, dtype: torch.dtype | None):
    """Give the module the tensors of an open safetensors file, once their hash is right."""
    metadata, own, state = file.metadata(), module.state_dict(), {}
    found = {key: file.get_tensor(key) for key in file.keys()}
    for key, like in own.items():
        value = found[key]
        if key + SCALE in found:
            value = eight_bits.restored(value, found[key + SCALE])
        elif value.dtype == torch.int8:
            raise WeightsError(f"{path} has eight-bit {key} without a scale: get it again.")
        if value.is_floating_point() != like.is_floating_point():
            raise WeightsError(
                f"{path} does not fit its own config: {key} is {value.dtype} there."
            )
        kind = (dtype or torch.float32) if value.is_floating_point() else like.dtype
        state[key] = value.to(kind, copy=True)  # else it stays a part of the open file
    if "sha256" not in metadata:
        _check_unsealed(path, metadata, found)
    elif metadata["sha256"] != _digest(metadata, found):
        raise WeightsError(
            f"{path} is damaged: it holds other values than it was saved with. Copy or train "
            "it again."
        )
    module.load_state_dict(state, assign=True)


def _check_unsealed(path: Path, metadata: dict[str, str], found: dict[str, Tensor]):
    """All that can be known of a file of earlier versions, which holds no hash of its own:
    that it is the one that its card beside it tells of, and that its numbers are finite.
    """
    if strange := sorted(metadata.keys() - {"format", "model", "config", "recipe", "reading"}):
        raise WeightsError(  # "sha256" itself, with a bit turned over
            f"{path} is damaged: nothing is known of {strange[0]!r}. Copy or train it again."
        )
    beside = _beside(path, ".json")
    if beside.exists():
        said = card_of(beside, "copy it again, or take it away", WeightsError)["sha256"]
        stat = path.stat()
        if (own := _hash(path, stat.st_size, stat.st_mtime_ns)) != said:
            raise WeightsError(
                f"{path} is damaged, or {beside.name} is another file's: its SHA-256 is "
                f"{own}, the card says {said}. Copy both again."
            )
    for key, value in found.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WeightsError(
                f"{path} is damaged: {key} holds values that are not finite. Copy or train it "
                "again."
            )


def load_weights(
    cls_or_name: type | str,
    path: str | Path | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """A trained module in eval mode, ready to use on `device` (by default
    course_lib.default_device()) with its floats in `dtype` (by default float32).

    By name ("ddpm-fashion"), checked by hash; or by class and path. Raises WeightsError in one
    sentence.
    """
    from safetensors import safe_open

    from course_lib.device import default_device, place

    cls = None if isinstance(cls_or_name, str) else cls_or_name
    path = _path_of(cls_or_name, path)
    mend = "copy or train it again"
    with reading(path, "is no whole safetensors file", mend, WeightsError):
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        with safe_open(path, framework="pt") as file:
            module = _build(file, path, cls)
            _fill(module, file, path, dtype)
    return place(module.eval().requires_grad_(False), device or default_device())


def _path_of(cls_or_name: type | str, path: str | Path | None) -> Path:
    """The file that load_weights is to read, checked by hash where it is asked for by name."""
    if path is None:
        if not isinstance(cls_or_name, str):
            name = cls_or_name.__name__
            raise WeightsError(f"Say which file holds the {name}: load_weights({name}, path).")
        verify(cls_or_name)
        return WEIGHTS / f"{cls_or_name}.safetensors"
    if not Path(path).exists():
        raise WeightsError(f"There is no weights file {path}.")
    return Path(path)


def read_reading(name: str) -> dict:
    """How a shipped net's answer is read, from its card: {"schedule": ..., "target": ...}."""
    from safetensors import safe_open

    path, said = WEIGHTS / f"{name}.safetensors", read_card(name).get("reading")
    if not isinstance(said, dict) or not {"schedule", "target"} <= said.keys():
        raise WeightsError(
            f"{name} is no denoiser: its card says nothing of a schedule and a target."
        )
    with reading(path, "is no whole safetensors file", "copy or train it again", WeightsError):
        with safe_open(path, framework="pt") as file:
            own = json.loads((file.metadata() or {}).get("reading", "null"))
    if own not in (None, said):
        raise WeightsError(
            f"{path} is read in another way than its card says: get both again, or train it "
            "again."
        )
    return said


def load_denoiser(
    name: str,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
):
    """A shipped diffusion net as a `Denoiser`, read as its card says: it has `net`, `schedule`
    and `target`.
    """
    from course_lib.diffusion import denoiser_from

    return denoiser_from(load_weights(name, device=device, dtype=dtype), read_reading(name))
