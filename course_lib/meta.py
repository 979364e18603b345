"""Modules built without memory: to be filled from a file, or to see what shapes they have."""

import contextlib

import torch
from torch import nn


class TooManyError(ValueError):
    """A module asks for more parameters than it may have."""


@contextlib.contextmanager
def without_memory():
    """Modules built in here have parameters of the right shapes that take no memory (on the
    "meta" device), to be filled from a file by load_state_dict(..., assign=True).

    Buffers are real: those that no file holds, tables that a constructor computes, stay right.
    """
    register = nn.Module.register_parameter

    def on_meta(self, name, parameter):
        if parameter is not None:
            kept = parameter.requires_grad
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=kept)
        register(self, name, parameter)

    nn.Module.register_parameter = on_meta
    try:
        yield
    finally:
        nn.Module.register_parameter = register


@contextlib.contextmanager
def shapes_alone(most: int):
    """Modules built in here have shapes and no memory, their buffers too; TooManyError as soon
    as they have more than `most` parameters, for a config may ask for a million layers.
    """
    register, count = nn.Module.register_parameter, 0

    def counted(self, name, parameter):
        nonlocal count
        count += parameter is not None
        if count > most:
            raise TooManyError(f"more than {most} parameters")
        register(self, name, parameter)

    nn.Module.register_parameter = counted
    try:
        with torch.device("meta"):
            yield
    finally:
        nn.Module.register_parameter = register
