"""What a module holds: parameters and buffers, whether or not a layer reads them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ...graph.graph import INPUT, Graph, Node
from ...graph.op import OPS, Extra
from .dtypes import dtype_of


def not_traced(module: nn.Module) -> Graph:
    """The graph of a module whose layers cannot be found: one unknown node."""
    node = Node("network", OPS["unknown"]("network", (0, 1)), (INPUT,))
    return Graph((node,), idle=parameters_of(module), idle_buffers=buffers_of(module))


def with_contents(graph: Graph, module: nn.Module) -> Graph:
    """A module's graph, with the order of its parameters, and with what it holds beside its layers."""
    parameters = parameters_of(module)
    return replace(
        graph,
        registered=tuple(one[:2] for one in parameters),
        idle=tuple(one for one in parameters if one[:2] not in graph.parameters),
        idle_buffers=tuple(one for one in buffers_of(module) if one[:2] not in graph.buffers),
    )


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
