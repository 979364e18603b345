"""Weights as safetensors, with the config that builds the net in the file, and a card beside
it.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
from pathlib import Path

import torch
from torch import nn

from course_lib.files import written_whole

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
# where all that the recipes ship must be; WEIGHTS may be pointed at another folder
COURSE = WEIGHTS


class WeightsError(ValueError):
    """A weights file is missing, damaged or of another kind than was asked for."""


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(path: str | Path, ending: str) -> Path:
    """The file of a model's pair, .safetensors or .json, by the name that both share or by
    either of them.

    Path.with_suffix would make lr-0.json of lr-0.1, and so one file of two models.
    """
    path = Path(path)
    name = path.stem if path.suffix in (".safetensors", ".json") else path.name
    return path.with_name(name + ending)


def save_weights(
    module: nn.Module, path: str | Path, card: dict, dtype: torch.dtype | None = None
) -> Path:
    """Write the module's weights to path (.safetensors) and its card beside it (.json);
    atomic, card last.

    The module's class must be in MODELS and have a dataclass `config`. dtype, if given, is
    what floats are stored in. The card is a dict of what a reader should know; the file's
    SHA-256 and size are added to it.
    """
    from safetensors.torch import save_file

    from course_lib.models import MODELS

    if type(module).__name__ not in MODELS:
        raise WeightsError(
            f"A {type(module).__name__} could not be loaded again: it is not in "
            "course_lib.models.MODELS."
        )
    path = _beside(path, ".safetensors")
    tensors = {
        key: value.to(dtype if dtype and value.is_floating_point() else value.dtype)
        .contiguous()
        .cpu()
        for key, value in module.state_dict().items()
    }
    metadata = {
        "model": type(module).__name__,
        "config": json.dumps(dataclasses.asdict(module.config)),
    }
    with written_whole(path) as part:
        save_file(tensors, part, metadata)
        part.chmod(0o644)  # safetensors writes for the owner alone
    card = {**card, "file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
    write_card(path, card)
    return path


def write_card(path: str | Path, card: dict):
    """Write the card of a weights file, as JSON that a person can read."""
    with written_whole(_beside(path, ".json")) as part:
        part.write_text(
            json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def read_card(name: str) -> dict:
    """The card of a shipped model."""
    path = WEIGHTS / f"{name}.json"
    if not path.exists():
        if name in shipped():
            raise _missing()
        raise WeightsError(
            f"There is no shipped model {name!r}; there are: {', '.join(shipped()) or 'none'}."
        )
    with contextlib.suppress(ValueError):
        card = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(card, dict) and "sha256" in card:
            return card
    raise WeightsError(f"{path} is damaged. Get it again: git checkout -- weights/{path.name}")


def shipped() -> list[str]:
    """The names of the models whose weights come with the course: what the recipes make, and
    what lies there.
    """
    there = {
        path.stem for kind in ("json", "safetensors") for path in WEIGHTS.glob(f"*.{kind}")
    }
    return sorted(there | _promised())


def _promised() -> set[str]:
    """The names that the recipes ship, whether their files are there or not."""
    from course_lib.recipes import RECIPES, recipe

    if WEIGHTS != COURSE:
        return set()
    return {
        each for name in RECIPES for each in (name, *getattr(recipe(name), "SNAPSHOTS", ()))
    }


def _missing() -> WeightsError:
    """The error that names every file that is missing, so that one mend does."""
    names = shipped()
    lost = [
        file
        for name in names
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
    if kind == "json" and name not in _promised():
        text += f", or move {name}.safetensors elsewhere if it is your own"
    return WeightsError(text)


@functools.cache
def _verified(path: Path, size: int, mtime: int, expected: str) -> None:
    found = sha256(path)
    if found != expected:
        raise WeightsError(
            f"{path} is damaged: its SHA-256 is {found}, its card says {expected}. "
            f"Get it again: git checkout -- weights/{path.name}"
        )


def verify(name: str):
    """Check a shipped file against its card; raises WeightsError with the mend."""
    path, card = WEIGHTS / f"{name}.safetensors", read_card(name)
    if not path.exists():
        raise _missing()
    stat = path.stat()
    _verified(path, stat.st_size, stat.st_mtime_ns, card["sha256"])


def _build(metadata: dict, path: Path, cls: type | None) -> nn.Module:
    from course_lib.models import MODELS

    model = (metadata or {}).get("model")
    if model not in MODELS or (cls is not None and MODELS[model][0] is not cls):
        wanted = cls.__name__ if cls is not None else " or ".join(MODELS)
        raise WeightsError(f"{path} holds a {model}, not a {wanted}.")
    build, config_class = MODELS[model]
    try:
        config = {
            k: tuple(v) if isinstance(v, list) else v
            for k, v in json.loads(metadata["config"]).items()
        }
        return build(config_class(**config))
    except (TypeError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} was made by another version of {model}: {error}. Train it again."
        ) from None


def load_weights(
    cls_or_name: type | str,
    path: str | Path | None = None,
    device: torch.device | str | None = None,
) -> nn.Module:
    """A trained module in eval mode and float32, ready to use on `device` (by default
    course_lib.default_device()).

    By name ("ddpm-fashion"), checked by hash; or by class and path. Raises WeightsError in one
    sentence.
    """
    from safetensors import SafetensorError, safe_open

    from course_lib.device import default_device, place

    cls = None if isinstance(cls_or_name, str) else cls_or_name
    if path is None:
        if cls is not None:
            raise WeightsError(
                f"Say which file holds the {cls.__name__}: load_weights({cls.__name__}, path)."
            )
        verify(cls_or_name)
        path = WEIGHTS / f"{cls_or_name}.safetensors"
    path = Path(path)
    if not path.exists():
        raise WeightsError(f"There is no weights file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            module = _build(file.metadata(), path, cls)
            state = {key: file.get_tensor(key) for key in file.keys()}
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is no whole safetensors file ({error}); copy or train it again."
        ) from None
    try:
        module.load_state_dict(state)  # copies into float32 parameters
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not fit its own config: {str(error).splitlines()[0]}"
        ) from None
    return place(module.eval().requires_grad_(False), device or default_device())
