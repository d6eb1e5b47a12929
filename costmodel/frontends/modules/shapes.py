"""Translates torch's shape functions into ops: views, copies, slices, concatenation, padding, resizing."""

from __future__ import annotations

from typing import Any

import torch

from ...graph.op import OPS
from ...ops.view import Slice
from ...sizes.size import LARGEST
from ..patterns import expand_pattern, reshape_pattern
from . import installed
from .functions import FUNCTIONS, contiguous_like, function, two
from .masks import as_numbers
from .recorder import tensors_in
from .reductions import axes_of


@function("reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze", "ravel", "reshape_as", "view_as")
def reshape(t, x, *args, **named):
    y = t.call(x, *args, **named)
    if y is x:
        return x
    if y.shape == x.shape and t.shares(y, x):
        return _same_shape(t, x, y)
    if x.dim() >= 2 and y.dim() == 2 and y.shape[0] == x.shape[0] and t.shares(y, x):
        return t.emit(OPS["flatten"](), [x], y)
    return t.emit(OPS["reshape"](reshape_pattern(x.shape, y.shape, t.batch), not t.shares(y, x)), [x], y)


def _same_shape(t, x, y):
    """A view y in the shape of x, as a node."""
    return t.emit(OPS["reshape"](" ".join(f"x{i}" for i in range(x.dim()))), [x], y)


@function("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "T", "mT")
def permute(t, x, *args, **named):
    y = t.call(x, *args, **named)
    marks = t.run(t.torch.Tensor.as_strided, x, x.shape, tuple(range(1, x.dim() + 1)))  # axis i has stride i + 1
    axes = tuple(stride - 1 for stride in t.call(marks, *args, **named).stride())
    return t.emit(OPS["permute"](axes), [x], y)


@function("contiguous", "clone")
def contiguous(t, x, *args, **named):
    y = t.call(x, *args, **named)
    if t.name == "clone" and named.get("memory_format", t.torch.preserve_format) is t.torch.preserve_format:
        return t.emit(OPS["copy"](keeps=True), [x], y)
    return y if y is x else copy(t, x, y)


def copy(t, x, y):
    """A copy of x, as a node. y: a tensor that lies in memory as the copy does."""
    last = y.dim() == 4 and not y.is_contiguous() and y.is_contiguous(memory_format=t.torch.channels_last)
    return t.emit(OPS["copy"](last), [x], y)


@function("expand", "expand_as", "broadcast_to")
def expand(t, x, *args, **named):
    y = t.call(x, *args, **named)
    if y.dim() > x.dim():
        x = FUNCTIONS["reshape"](t.named("reshape"), x, (1,) * (y.dim() - x.dim()) + tuple(x.shape))
    if y.shape == x.shape:
        return _same_shape(t, x, y)
    return t.emit(OPS["expand"](expand_pattern(x.shape, y.shape, t.batch)), [x, t.images], y)


def piece(t, x, axis: int, start: int, stop: int = LARGEST, step: int = 1, drop: bool = False, split: bool = False):
    """A slice of x along an axis, as a node. Bounds that are multiples of the batch count parts of the axis."""
    batches, rest = divmod(x.shape[axis], t.batch)
    if axis == 0 and batches > 1 and not rest and step == 1 and not drop and start >= 0:
        last = min(stop, x.shape[0])
        if start % t.batch == 0 == last % t.batch and start < last:
            return part(t, x, start // t.batch, last // t.batch, batches, split)
    if drop:
        stop = start + 1 if start != -1 else LARGEST
    where = start if drop else slice(start, None if stop == LARGEST else stop, step)
    y = t.run(t.torch.Tensor.__getitem__, x, (slice(None),) * axis + (where,))
    return t.emit(OPS["slice"](axis, start, stop, step, drop, split), [x], y)


def part(t, x, start: int, stop: int, parts: int, split: bool):
    """Some parts of the batch, or of several batches, as a node."""
    op = Slice(0, start, stop, split=split, parts=parts)
    a, b = op.bounds(x.shape[0])
    return t.emit(op, [x], t.run(lambda x: x[a:b], x))


@function("chunk", "split", "tensor_split", "split_with_sizes", "unbind", "__iter__")
def split(t, x, *args, **named):
    if t.name == "unbind" or t.name == "__iter__":
        axis = (args[0] if args else named.get("dim", 0)) % x.dim()
        return tuple(piece(t, x, axis, i, drop=True, split=True) for i in range(x.shape[axis]))
    axis = (args[1] if len(args) > 1 else named.get("dim", 0)) % x.dim()
    if t.name == "chunk" and axis == 0 and x.shape[0] % t.batch == 0:
        parts = args[0] if args else named["chunks"]
        return tuple(part(t, x, i, i + 1, parts, True) for i in range(len(t.call(x, *args, **named))))
    starts = [0]
    for y in t.call(x, *args, **named):
        starts.append(starts[-1] + y.shape[axis])
    return tuple(piece(t, x, axis, a, b, split=True) for a, b in zip(starts, starts[1:]))


@function("narrow")
def narrow(t, x, dim, start, length):
    return piece(t, x, dim % x.dim(), start, start + length)


@function("select")
def select(t, x, dim, index):
    return piece(t, x, dim % x.dim(), index, drop=True)


@function("__getitem__")
def getitem(t, x, index):
    alone = not isinstance(index, tuple)
    index = [index] if alone else list(index)
    index = [torch.tensor(i) if isinstance(i, list) and all(type(n) is int for n in i) else i for i in index]
    if any(isinstance(i, (list, bool)) for i in index) or sum(isinstance(i, t.torch.Tensor) for i in index) > 1:
        raise t.error("indexing by bools or by several tensors")
    at = next((k for k, i in enumerate(index) if i is Ellipsis), None)
    if at is not None:
        index[at : at + 1] = [Ellipsis] * (x.dim() - sum(i is not None for i in index) + 1)
    axis = 0
    picked: tuple[int, Any] | None = None
    for i in index:
        if i is None:
            x = FUNCTIONS["unsqueeze"](t.named("unsqueeze"), x, axis)
        elif isinstance(i, slice):
            if alone or not passes_over(i, x.shape[axis]):
                x = piece(t, x, axis, i.start or 0, LARGEST if i.stop is None else i.stop, i.step or 1)
        elif isinstance(i, t.torch.Tensor):
            picked = (axis, i)  # torch applies a tensor of indices last
        elif i is not Ellipsis:
            x = piece(t, x, axis, int(i), drop=True)
            axis -= 1
        axis += 1
    return pick(t, x, *picked) if picked else x


def passes_over(i: slice, size: int) -> bool:
    """Whether torch skips a slice among several indices, since it takes the whole axis of this size."""
    whole = i.stop == size or not installed.open_slices_are_nodes() and (i.stop is None or i.stop > size)
    return whole and not i.start and i.step in (None, 1)


def pick(t, x, axis: int, at, select: bool = False):
    """The elements along an axis at a tensor of indices, as a node. select: as torch.index_select does it."""
    t.as_values(at)
    if at.dtype != t.torch.int64 or not t.is_constant(at):
        raise t.error("indexing by a tensor that is no constant of int64")
    y = t.run(lambda x, at: x[(slice(None),) * axis + (at,)], x, at)
    return t.emit(OPS["index"](axis, select), [x, at], y)


@function("index_select")
def index_select(t, x, dim, index):
    return pick(t, x, dim % x.dim(), index, select=True)


@function("roll")
def roll(t, x, shifts, dims=None):
    shifts, dims = ((v,) if isinstance(v, int) else tuple(v) if v is not None else () for v in (shifts, dims))
    op = OPS["roll"](shifts, tuple(d % x.dim() for d in dims))
    return t.emit(op, [x], t.run(t.torch.roll, x, shifts, dims))


@function("repeat")
def repeat(t, x, *times):
    times = tuple(times[0]) if len(times) == 1 and isinstance(times[0], (tuple, list)) else times
    y = t.run(t.torch.Tensor.repeat, x, times)
    return t.emit(OPS["repeat"](" ".join("n" if n == t.batch else str(n) for n in times)), [x, t.images], y)


@function("tile")
def tile(t, x, *times):
    times = tuple(times[0]) if len(times) == 1 and isinstance(times[0], (tuple, list)) else times
    return repeat(t.named("repeat"), x, (1,) * (x.dim() - len(times)) + times)


@function("repeat_interleave")
def repeat_interleave(t, x, repeats, dim=None, output_size=None):
    """torch expands a new axis, copies, and flattens the two."""
    if not isinstance(repeats, int) or dim is None:
        raise t.error("repeat_interleave by several numbers, or of a flat tensor")
    axis = dim % x.dim()
    rows = FUNCTIONS["unsqueeze"](t.named("unsqueeze"), x, axis + 1)
    sizes = [-1] * (axis + 1) + [repeats] + [-1] * (x.dim() - axis - 1)
    rows = expand(t.named("expand"), rows, *sizes)
    rows = copy(t, rows, contiguous_like(rows))
    return FUNCTIONS["flatten"](t.named("flatten"), rows, axis, axis + 1)


@function("flip")
def flip(t, x, *dims):
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    return t.emit(OPS["flip"](axes_of(t, x, tuple(given))), [x], t.like(x))


@function("pixel_shuffle", "pixel_unshuffle")
def pixel_shuffle(t, x, factor):
    y = t.run(getattr(t.torch, t.name), x, factor)
    return t.emit(OPS["pixel_shuffle"](int(factor), t.name == "pixel_unshuffle"), [x], y)


@function("channel_shuffle")
def channel_shuffle(t, x, groups):
    n, channels = x.shape[:2]
    seen = reshape(t.named("view"), x, (n, groups, channels // groups, -1))
    seen = permute(t.named("permute"), seen, (0, 2, 1, 3))
    return reshape(t.named("reshape"), seen, x.shape)


@function("cat", "concat", "concatenate")
def cat(t, tensors, dim=0, axis=None):
    dim = (dim if axis is None else axis) % tensors[0].dim()
    return t.emit(OPS["cat"](len(tensors), dim), list(tensors), t.run(t.torch.cat, list(tensors), dim))


@function("stack")
def stack(t, tensors, dim=0):
    dim = dim % (tensors[0].dim() + 1)
    seen = [FUNCTIONS["unsqueeze"](t.named("unsqueeze"), x, dim) for x in tensors]
    return FUNCTIONS["cat"](t.named("cat"), seen, dim)


@function("pad")
def pad(t, x, pad, mode="constant", value=None):
    y = t.run(t.torch.nn.functional.pad, x, list(pad), mode)
    if mode != "constant":
        return t.emit(OPS["pad"](tuple(int(p) for p in pad), 0.0, mode), [x], y)
    fill = 0.0 if value is None else float(value)
    module = t.module
    if type(module).__name__.endswith("2dSame"):  # timm's convolutions and pools with TensorFlow's padding
        dilation = two(getattr(module, "dilation", 1))
        op = OPS["pad_same"](two(module.kernel_size), two(module.stride), dilation, fill)
        if op.shape(tuple(x.shape)) == tuple(y.shape):
            return t.emit(op, [x], y)
    return t.emit(OPS["pad"](tuple(int(p) for p in pad), fill), [x], y)


def twice(value: Any) -> tuple[Any, ...]:
    """A number for each of two axes."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


@function("interpolate")
def interpolate(
    t, x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None, antialias=False
):
    if x.dim() != 4:
        raise t.error("interpolation that is not of images")
    corners = bool(align_corners)
    options = (size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    y = t.run(t.torch.nn.functional.interpolate, x, *options)
    if scale_factor is None or recompute_scale_factor:
        op = OPS["interpolate"](tuple(y.shape[2:]), mode, corners=corners, antialias=antialias)
        return t.emit(op, [x], y)
    scales = tuple(map(float, twice(scale_factor)))
    if mode == "bilinear" and scales[0] == scales[1] and scales[0].is_integer() and not (corners or antialias):
        return t.emit(OPS["upsample"](int(scales[0])), [x], y)
    return t.emit(OPS["interpolate"](mode=mode, scales=scales, corners=corners, antialias=antialias), [x], y)


@function("detach", "data")
def detach(t, x):
    return t.emit(OPS["detach"](), [x], t.run(t.torch.Tensor.detach, x))


@function("to", "type", "type_as", "float", "cpu")
def same(t, x, *args, **named):
    if t.name == "cpu":
        return x
    here = [value for value in args if not is_device(value)]
    more = {name: value for name, value in named.items() if not is_device(value)}
    y = t.call(x, *here, **more) if here or more or t.name == "float" else x
    if x.dtype is t.torch.bool and y.dtype is t.images.dtype:
        return as_numbers(t, x, y)
    if y.dtype != x.dtype and t.is_constant(x):
        real = not any(one.device.type == "meta" for one in (x, *tensors_in((here, more))))
        return t.function(x, *here, **more) if real else y
    if y.dtype != x.dtype:
        raise t.error(f"a change of data type from {x.dtype} to {y.dtype}")
    return x if t.shares(y, x) else copy(t, x, y)


def is_device(value: Any) -> bool:
    """Whether a value names a device: tensors of a trace are on none, and stay there."""
    return isinstance(value, torch.device) or isinstance(value, str) and value.partition(":")[0] in ("cpu", "cuda")
