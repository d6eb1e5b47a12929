"""What a module holds: parameters and buffers, whether or not a layer reads them."""

from __future__ import annotations

import torch
from torch import nn

from ...graph.graph import INPUT, Graph, Node
from ...graph.op import OPS, Extra
from .dtypes import dtype_of


def not_traced(module: nn.Module) -> Graph:
    """The graph of a module whose layers cannot be found: one unknown node."""
    node = Node("network", OPS["unknown"]("network", (0, 1)), (INPUT,))
    return Graph((node,), idle=parameters_of(module), idle_buffers=buffers_of(module))


def parameters_of(module: nn.Module) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
    """(owner, name, shape) of a module's parameters."""
    return tuple((*path.rpartition(".")[::2], tuple(p.shape)) for path, p in module.named_parameters())


def buffers_of(module: nn.Module) -> tuple[tuple[str, str, Extra], ...]:
    """(owner, name) of a module's buffers, with shape and bits."""
    own = getattr(torch, dtype_of(module))
    return tuple(
        (*path.rpartition(".")[::2], Extra(tuple(b.shape), None if b.dtype == own else 8 * b.itemsize))
        for path, b in module.named_buffers()
    )
