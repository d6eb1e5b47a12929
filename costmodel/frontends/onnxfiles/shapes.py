"""Translates ONNX's shape operators into ops: views, copies, slices, concatenation, padding, resizing."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...errors import CostmodelError
from ...sizes.size import LARGEST, broadcast, show
from ..patterns import expand_pattern, reshape_pattern
from .layers import operator, refuse
from .strides import contiguous, viewed


def reshaped(r, x, to: Sequence[int]) -> Any:
    """x in another shape: a view if its strides allow one by torch's rule, else a copy."""
    x, to = r.live(x), tuple(to)
    if to == x.shape:
        return x
    strides = viewed(x.shape, x.strides, to)
    if strides is not None and len(to) == 2 <= len(x.shape) and to[0] == x.shape[0]:
        return r.emit("flatten", {}, [x], strides)
    fields = {"to": reshape_pattern(x.shape, to, r.batch), **({"copy": True} if strides is None else {})}
    return r.emit("reshape", fields, [x], strides or contiguous)


@operator("Reshape")
def reshape(r, x, shape=None):
    x, wanted = r.live(x), r.integers("shape", shape)
    if r.fixed is None or wanted[:1] == [r.batch] or not r.has_batch(x):
        return reshaped(r, x, resolved(r, x.shape, wanted))
    # The file's numbers hold for its own batch size, and the batch stays in the first axis.
    own = resolved(r, (x.shape[0] // r.batch * r.fixed, *x.shape[1:]), wanted)
    refuse(own[0] * r.batch % r.fixed, f"a reshape to {wanted} of a batch of {r.fixed}")
    return reshaped(r, x, (own[0] * r.batch // r.fixed, *own[1:]))


def resolved(r, x: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
    """The shape that a Reshape's numbers mean: 0 copies an input axis, -1 takes what is left."""
    copies = not r.attribute("allowzero", 0)
    y = [x[i] if size == 0 and copies and i < len(x) else size for i, size in enumerate(wanted)]
    if y.count(-1) == 1:
        known = prod(size for size in y if size != -1)
        y[y.index(-1)] = prod(x) // known if known else 0
    if prod(y) != prod(x) or min(y, default=1) < 0:
        raise CostmodelError(f"the input {show(tuple(x))} cannot take the shape {list(wanted)} that the file fixes")
    return tuple(y)


@operator("Flatten")
def flatten(r, x):
    x, axis = r.live(x), r.attribute("axis", 1)
    axis = axis % len(x.shape) if axis < 0 else axis
    return reshaped(r, x, (prod(x.shape[:axis]), prod(x.shape[axis:])))


@operator("Squeeze")
def squeeze(r, x, axes=None):
    x, axes = r.live(x), r.integers("axes", axes)
    gone = {a % len(x.shape) for a in axes} if axes is not None else {i for i, s in enumerate(x.shape) if s == 1}
    refuse(any(x.shape[a] != 1 for a in gone), f"to squeeze axes {sorted(gone)} of {show(x.shape)}")
    return reshaped(r, x, [size for i, size in enumerate(x.shape) if i not in gone])


@operator("Unsqueeze")
def unsqueeze(r, x, axes=None):
    x, axes = r.live(x), r.integers("axes", axes)
    rank = len(x.shape) + len(axes)
    new, sizes = {a % rank for a in axes}, iter(x.shape)
    return reshaped(r, x, [1 if i in new else next(sizes) for i in range(rank)])


@operator("Transpose")
def transpose(r, x):
    x = r.live(x)
    axes = r.attribute("perm", list(reversed(range(len(x.shape)))))
    return r.emit("permute", {"axes": axes}, [x], tuple(x.strides[a] for a in axes))


@operator("Expand")
def expand(r, x, shape):
    x, wanted = r.live(x), r.integers("shape", shape)
    if r.fixed is not None and wanted and wanted[0] == r.fixed and len(wanted) >= len(x.shape):
        wanted = [r.batch, *wanted[1:]]
    return expanded(r, x, broadcast(x.shape, tuple(wanted)))


def expanded(r, x, to: Sequence[int]) -> Any:
    """x broadcast to a shape."""
    x = reshaped(r, x, (1,) * (len(to) - len(x.shape)) + x.shape)
    if x.shape == tuple(to):
        return x
    strides = tuple(s if m == n else 0 for s, m, n in zip(x.strides, x.shape, to))
    return r.emit("expand", {"to": expand_pattern(x.shape, to, r.batch)}, [x, r.images], strides)


# Pieces.


def piece(r, x, axis: int, start: int, stop: int = LARGEST, step: int = 1, drop: bool = False, split: bool = False):
    """A slice of x along an axis."""
    strides = tuple(s * step if i == axis else s for i, s in enumerate(x.strides) if not (drop and i == axis))
    fields = {"axis": axis, "start": start, "stop": stop, "step": step, "drop": drop, "split": split}
    return r.emit("slice", fields, [x], strides)


@operator("Slice")
def cut(r, x, starts=None, ends=None, axes=None, steps=None):
    x = r.live(x)
    starts, ends = r.integers("starts", starts), r.integers("ends", ends)
    axes = r.integers("axes", axes) or range(len(starts))
    for axis, start, end, step in zip(axes, starts, ends, r.integers("steps", steps) or [1] * len(starts)):
        axis %= len(x.shape)
        refuse(step < 1, f"a slice with the step {step}")
        whole = range(x.shape[axis])[start:end:step] == range(x.shape[axis])
        refuse(axis == 0 and r.has_batch(x) and not whole, "a slice of the batch")
        if not whole:
            x = piece(r, x, axis, start, LARGEST if end >= x.shape[axis] else end, step)
    return x


@operator("Split")
def split(r, x, sizes=None):
    x, sizes = r.live(x), r.integers("split", sizes)
    axis = r.attribute("axis", 0) % len(x.shape)
    refuse(axis == 0 and r.has_batch(x), "a split of the batch")
    if sizes is None:
        count = r.attribute("num_outputs", len(r.node.output))
        refuse(count != len(r.node.output), f"a split into {count} parts of which {len(r.node.output)} have names")
        each = -(-x.shape[axis] // count)
        sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    starts = np.cumsum([0, *sizes]).tolist()
    read = (name in r.readers for name in r.node.output)
    return [piece(r, x, axis, a, b, split=True) if wanted else x for a, b, wanted in zip(starts, starts[1:], read)]


@operator("Gather")
def gather(r, x, indices):
    x, index = r.live(x), r.array(indices, "indices")
    axis = r.attribute("axis", 0) % len(x.shape)
    refuse(axis == 0 and r.has_batch(x), "to gather along the batch")
    if index.ndim == 0:
        at = int(index)
        return piece(r, x, axis, at, at + 1 if at != -1 else LARGEST, drop=True)
    found = index.ravel().tolist()
    run = index.ndim == 1 and bool(found) and found == list(range(found[0], found[0] + len(found))) and found[0] >= 0
    refuse(not run, "to gather other than one element or a run of them")
    return x if len(found) == x.shape[axis] else piece(r, x, axis, found[0], found[-1] + 1)


@operator("GatherElements")
def gather_elements(r, x, indices):
    x = r.live(x)
    return r.emit("gather", {"axis": r.attribute("axis", 0) % len(x.shape)}, [x, indices])


@operator("ArgMax", "ArgMin")
def argmax(r, x):
    refuse(r.attribute("select_last_index", 0), f"{r.node.op_type} with select_last_index")
    x = r.live(x)
    fields = {"axis": r.attribute("axis", 0) % len(x.shape), "keepdim": bool(r.attribute("keepdims", 1))}
    return r.emit("argmax", {**fields, "least": r.node.op_type == "ArgMin"}, [x])


@operator("Concat")
def concat(r, *xs):
    values = [with_batch(r, r.live(x)) for x in xs]
    axis = r.attribute("axis") % len(values[0].shape)
    return r.emit("cat", {"count": len(values), "axis": axis}, values) if len(values) > 1 else values[0]


def with_batch(r, x):
    """x, expanded to the batch if it is a class token that the exporter repeated for each image of the file's batch."""
    if r.fixed is None or r.has_batch(x) or x.shape[:1] != (r.fixed,):
        return x
    return expanded(r, x, (r.batch, *x.shape[1:]))


# Sizes of maps.


@operator("Pad")
def pad(r, x, pads=None, value=None, axes=None):
    x, pads = r.live(x), r.integers("pads", pads)
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}.get(
        r.attribute("mode", "constant")
    )
    axes = [a % len(x.shape) for a in r.integers("axes", axes) or range(len(pads) // 2)]
    of = {axis: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    each = [of.get(axis, (0, 0)) for axis in range(len(x.shape))]
    fill = r.attribute("value", 0.0) if value is None else r.number(value)
    refuse(fill is None or mode is None, f"padding in the mode {r.attribute('mode')}, or with what is computed")
    while each and each[0] == (0, 0):
        each.pop(0)
    if not each:
        return x
    refuse(len(each) == len(x.shape), "padding of the batch")
    return r.emit("pad", {"pads": [n for two in reversed(each) for n in two], "value": fill, "mode": mode}, [x])


@operator("Resize", "Upsample")
def resize(r, x, *more):
    x, mode = r.live(x), r.attribute("mode", "nearest")
    refuse(len(x.shape) != 4, "to resize other than maps")
    upsample = r.node.op_type == "Upsample"
    scales, sizes = (more[0], None) if upsample or r.opset < 11 else (*more[1:], None, None)[:2]
    given = [] if scales is None else r.array(scales, "scales").astype(float).tolist()
    if sizes is not None:
        _, channels, height, width = r.integers("sizes", sizes)
        refuse(channels != x.shape[1], "to resize channels")
    else:
        refuse(len(given) != 4 or given[:2] != [1.0, 1.0], f"to resize by {given}")
        height, width = (int(size * scale + 1e-9) for size, scale in zip(x.shape[2:], given[2:]))
    how = r.attribute("coordinate_transformation_mode", "asymmetric" if upsample or r.opset < 11 else "half_pixel")
    if upsample and mode == "linear":
        how = "half_pixel"  # torch's exporter has no other operator for half_pixel in opset 9
    kind = {
        ("nearest", "asymmetric"): "nearest",
        ("nearest", "half_pixel"): "nearest-exact",
        ("linear", "half_pixel"): "bilinear",
        ("linear", "pytorch_half_pixel"): "bilinear",
        ("cubic", "half_pixel"): "bicubic",
        ("cubic", "pytorch_half_pixel"): "bicubic",
    }.get((mode, how))
    refuse(kind is None or r.attribute("antialias", 0), f"to resize in the mode {mode}, {how},")
    if kind == "bilinear" and given and given[2] == given[3] and given[2].is_integer():
        return r.emit("upsample", {"scale": int(given[2])}, [x])
    return r.emit("interpolate", {"size": [height, width], "mode": kind}, [x])
