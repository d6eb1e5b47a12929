"""Leaves modules as they were: what running somebody's code changed in them and in the generators is put back."""

from __future__ import annotations

import gc
import random
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

#: Larger tensors that are attributes are not copied.
MOST_COPIED_BYTES = 2**20
#: Collections within collections are looked into so deep: they may hold themselves.
DEEPEST = 4
#: Python's own types, whose values hold nothing else.
PLAIN = (int, float, str, bytes)


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """After this, a module has what it had: attributes, and what lists and dictionaries among them hold, flags, modes,
    hooks, gradients, the memory of its parameters.
    """
    held = {child: _held(child) for child in module.modules()}
    parameters = [(p, p.requires_grad, p.grad, p.data) for p in module.parameters()]
    copies = [(tensor, tensor.detach().clone()) for tensor in _attributes(module)]
    try:
        yield
    finally:
        for child, (attributes, contents) in held.items():
            child.__dict__.clear()
            child.__dict__.update(attributes)
            for value, content in contents:
                value.clear()
                value.update(content) if isinstance(value, (dict, set)) else value.extend(content)
        for parameter, flag, gradient, data in parameters:
            if parameter.data_ptr() != data.data_ptr() or parameter.shape != data.shape:
                parameter.data = data
            parameter.requires_grad_(flag)
            parameter.grad = gradient
        with torch.no_grad():
            for tensor, value in copies:
                _put_back(tensor.data, value)


@contextmanager
def same_generators() -> Iterator[None]:
    """After this, the generators of Python, numpy and torch have the states that they had."""
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


@contextmanager
def uncollected() -> Iterator[None]:
    """Within this, Python collects no cycles. When it does depends on what else runs, and frees what they hold."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class State:
    """What the code of a module may change in it: attributes, the contents of collections, tensors and their data.

    It does not keep tensors alive.
    """

    def __init__(self, module: nn.Module) -> None:
        self.values = dict(_state(module))

    def changed_since(self, before: State) -> list[str]:
        """Paths of what is no longer the same."""
        return [path for path, value in self.values.items() if not _same(value, before.values.get(path))]

    def counters_changed_since(self, before: State) -> list[str]:
        """Paths of the numbers that are no longer the same: what runs may depend on them."""
        return [path for path in self.changed_since(before) if isinstance(self.values[path], (int, float, _Integers))]


class _Data(NamedTuple):
    """A tensor, its storage, and how often it was written to."""

    tensor: weakref.ref[torch.Tensor]
    storage: weakref.ref[torch.UntypedStorage]
    version: int


class _Integers(_Data):
    """A buffer of integers."""


def _state(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """(path, value) of what the code of a module may change; the statistics of norms, which count steps, left out."""
    for path, child in module.named_modules():
        for name, value in child.__dict__.items():
            if name in ("_buffers", "_parameters"):
                if name == "_parameters" or not isinstance(child, nn.modules.batchnorm._NormBase):
                    yield from ((f"{path}.{key}".lstrip("."), _seen(tensor)) for key, tensor in value.items())
            else:
                yield f"{path}.{name}".lstrip("."), _seen(value)


def _seen(value: Any, depth: int = DEEPEST) -> Any:
    """What tells whether a value has changed. It keeps no tensor alive, nor what may hold some."""
    if isinstance(value, (tuple, dict, set, list, deque)):
        held = value.items() if isinstance(value, dict) else value
        return tuple(_seen(one, depth - 1) for one in held) if depth else ()
    if not isinstance(value, torch.Tensor):
        return value if isinstance(value, PLAIN) else _reference(value)
    of_numbers = not value.is_floating_point() and not value.is_complex()
    version = 0 if value.is_inference() else value._version
    return (_Integers if of_numbers else _Data)(weakref.ref(value), weakref.ref(value.untyped_storage()), version)


def _reference(value: Any) -> Any:
    """A weak reference to an object, or the object itself if there can be none."""
    try:
        return weakref.ref(value)
    except TypeError:
        return value


def _same(value: Any, other: Any) -> bool:
    """Whether two values are the same object, or equal ones of Python's own types."""
    if value is other:
        return True
    if type(value) is not type(other):
        return False
    if isinstance(value, weakref.ref):
        return value() is not None and value() is other()
    if isinstance(value, tuple):
        return len(value) == len(other) and all(map(_same, value, other))
    return isinstance(value, PLAIN) and value == other


def _held(module: nn.Module) -> tuple[dict[str, Any], list[tuple[Any, Any]]]:
    """What a module holds: its attributes, and (collection, its content) of each that is one."""
    attributes = dict(module.__dict__)
    collections = (value for value in attributes.values() if isinstance(value, (dict, set, list, deque)))
    return attributes, [(value, value.copy()) for value in collections]


def _put_back(tensor: torch.Tensor, value: torch.Tensor) -> None:
    """Give a tensor its values again. Of an expanded one, whose elements are one in memory, each is written once."""
    once = tuple(slice(0, 1) if step == 0 else slice(None) for step in tensor.stride())
    tensor[once].copy_(value[once])


def _attributes(module: nn.Module) -> Iterator[torch.Tensor]:
    """Buffers, and tensors that are plain attributes, of a size that is copied."""
    plain = (value for child in module.modules() for value in child.__dict__.values())
    for tensor in [*module.buffers(), *(value for value in plain if isinstance(value, torch.Tensor))]:
        if tensor.layout is torch.strided and not tensor.is_meta and tensor.nbytes <= MOST_COPIED_BYTES:
            yield tensor
