"""Configs to plain JSON and back: frozen dataclasses of numbers, texts, tuples and other
configs.
"""

import dataclasses
import math
import types
import typing

from course_lib.errors import CourseError

MOST = 2**24  # a whole number in a config: no net has so many channels, layers or words


class ConfigError(CourseError):
    """Plain data do not make the config that they are said to make."""


def from_plain(kind: type, data, where: str = "config"):
    """What dataclasses.asdict and JSON made plain, as a `kind` again: lists become tuples, and
    dicts the configs within.

    kind is a dataclass, a plain type or a tuple's, for example tuple[int, ...]. Fields that
    are not there keep their defaults. Raises ConfigError for unknown fields, other types, and
    numbers that are not finite or not a size.
    """
    if dataclasses.is_dataclass(kind):
        return _config(kind, data, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments, data, where)
    if origin is tuple:
        return _tuple(arguments, data, where)
    if kind is float and type(data) is int:
        data = float(data)
    if kind is typing.Any:
        return data
    if type(data) is not kind:
        name = getattr(kind, "__name__", kind)
        raise ConfigError(f"{where} is {_short(data)}, not a {name}")
    if isinstance(data, float) and not math.isfinite(data):
        raise ConfigError(f"{where} is {data}, not a finite number")
    if type(data) is int and not -MOST <= data <= MOST:
        raise ConfigError(f"{where} is {_short(data)}, which is no size")
    return data


def _short(data) -> str:
    """Data as a sentence shows them."""
    if type(data) is int and abs(data) > 10**40:  # Python itself refuses to print a long one
        return "a number of more than forty digits"
    text = repr(data)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _config(kind: type, data, where: str):
    """A dataclass from a dict of its fields."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where} is {_short(data)}, not a {kind.__name__}")
    kinds = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind) if field.init}
    if unknown := sorted(data.keys() - names):
        raise ConfigError(f"a {kind.__name__} has no {', '.join(unknown)[:80]}")
    return kind(**{name: from_plain(kinds[name], value, name) for name, value in data.items()})


def _one_of(kinds: tuple, data, where: str):
    """A value of a union, int | None for example: the first kind that fits."""
    if data is None and type(None) in kinds:
        return None
    errors = []
    for kind in kinds:
        if kind is type(None):
            continue
        try:
            return from_plain(kind, data, where)
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


def _tuple(kinds: tuple, data, where: str):
    """A tuple from a list: tuple[int, ...] of any length, tuple[int, float] of two."""
    if not isinstance(data, list | tuple):
        raise ConfigError(f"{where} is {_short(data)}, not a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(data)
    if len(kinds) != len(data):
        raise ConfigError(f"{where} has {len(data)} values, not {len(kinds)}")
    return tuple(from_plain(kind, each, where) for kind, each in zip(kinds, data, strict=True))
