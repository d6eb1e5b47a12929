"""Leaves modules as they were: what running somebody's code changed in them and in the generators is put back."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

#: Larger tensors that are attributes are not copied.
MOST_COPIED_BYTES = 2**20


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
                tensor.data.copy_(value)


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


def _held(module: nn.Module) -> tuple[dict[str, Any], list[tuple[Any, Any]]]:
    """What a module holds: its attributes, and (collection, its content) of each that is one."""
    attributes = dict(module.__dict__)
    collections = (value for value in attributes.values() if isinstance(value, (dict, set, list, deque)))
    return attributes, [(value, value.copy()) for value in collections]


def _attributes(module: nn.Module) -> Iterator[torch.Tensor]:
    """Buffers, and tensors that are plain attributes, of a size that is copied."""
    plain = (value for child in module.modules() for value in child.__dict__.values())
    for tensor in [*module.buffers(), *(value for value in plain if isinstance(value, torch.Tensor))]:
        if tensor.layout is torch.strided and not tensor.is_meta and tensor.nbytes <= MOST_COPIED_BYTES:
            yield tensor
