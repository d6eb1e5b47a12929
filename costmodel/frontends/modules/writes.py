"""Translates writes into a part of a tensor, and functions that read or add at indices, into ops."""

from __future__ import annotations

from math import prod
from typing import Any

from ...graph.op import OPS, Result
from ...ops.write import WriteNumber, WritePart
from ...sizes.size import LARGEST
from .functions import FUNCTIONS, function


@function("__setitem__")
def setitem(t, x, index, value):
    """x[index] = value, by whole numbers and slices."""
    x = t.without_data([x])[0]
    made = t.value(x)
    if made is None or made.op.result in (Result.RESIDENT, Result.VIEW, Result.PIECE):
        raise t.error("a write into a view, or into what exists before the step,")
    axes = bounds_of(t, x, index)
    starts, stops, steps = (tuple(one) for one in zip(*axes))
    if not isinstance(value, t.torch.Tensor):
        return t.emit(WriteNumber(starts, stops, steps, float(value)), [x], x)
    op = WritePart(starts, stops, steps)
    shape, seen = op.part(tuple(x.shape)), t.run(t.torch.Tensor.__getitem__, x, index)
    if value.numel() < prod(shape):
        value = FUNCTIONS["expand"](t.named("expand"), value, tuple(seen.shape))
    value = t.without_data([value])[0]
    if value.numel() != prod(shape) or value.dtype != x.dtype:
        raise t.error(f"a write of {tuple(value.shape)} into a part of the shape {shape}")
    return t.emit(op, [x, value], x)


def bounds_of(t, x, index: Any) -> list[tuple[int, int, int]]:
    """(start, stop, step) of an index along each axis, as far as it goes."""
    index = list(index) if isinstance(index, tuple) else [index]
    if not all(i is Ellipsis or isinstance(i, (int, slice)) and not isinstance(i, bool) for i in index):
        raise t.error("a write at other than numbers and slices")
    at = next((k for k, i in enumerate(index) if i is Ellipsis), None)
    if at is not None:
        index[at : at + 1] = [slice(None)] * (x.dim() - len(index) + 1)
    return [
        (i.start or 0, LARGEST if i.stop is None else i.stop, i.step or 1)
        if isinstance(i, slice)
        else (i, i + 1 if i != -1 else LARGEST, 1)
        for i in index
    ]


@function("gather")
def gather(t, x, dim, index, sparse_grad=False):
    y = t.torch.empty(tuple(index.shape), dtype=x.dtype, device="meta")
    return t.emit(OPS["gather"](dim % x.dim()), [x, index], y)


@function("index_add", "scatter_add")
def add_at(t, x, dim, index, source, alpha=1, inplace=False):
    if alpha != 1:
        raise t.error(f"{t.name} with alpha")
    y = t.without_data([x])[0] if inplace else t.torch.empty(tuple(x.shape), dtype=x.dtype, device="meta")
    return t.emit(OPS[t.name.rstrip("_")](dim % x.dim(), inplace), [x, index, source], y)


@function("argmax", "argmin")
def argmax(t, x, dim=None, keepdim=False):
    if dim is None:
        raise t.error(f"{t.name} of a flat tensor")
    y = t.run(getattr(t.torch, t.name), x, dim, keepdim)
    return t.emit(OPS["argmax"](dim % x.dim(), keepdim, t.name == "argmin"), [x], y)
