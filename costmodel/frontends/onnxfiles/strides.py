"""The strides that torch gives to tensors: of new outputs, of views, and whether a reshape is a view."""

from __future__ import annotations

from collections.abc import Sequence

Strides = tuple[int, ...]


def contiguous(shape: Sequence[int]) -> Strides:
    """Strides of a new contiguous tensor."""
    return in_order(shape, range(len(shape)))


def in_order(shape: Sequence[int], axes: Sequence[int]) -> Strides:
    """Dense strides with the axes in the given order, outermost first."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(axes):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)


def like(shape: Sequence[int], strides: Strides) -> Strides:
    """Dense strides with the axis order of another tensor's strides (torch.empty_like, infer_dense_strides)."""
    return in_order(shape, sorted(range(len(shape)), key=lambda axis: -strides[axis]))


def viewed(shape: Sequence[int], strides: Strides, to: Sequence[int]) -> Strides | None:
    """Strides of a view of the tensor in another shape, or None if it must be copied (aten: computeStride_impl)."""
    found = [0] * len(to)
    left = len(to) - 1
    chunk, inside = 1, 1  # elements of the current run of axes dense in memory, and of the view's axes within it
    base = strides[-1] if strides else 1
    for axis in reversed(range(len(shape))):
        chunk *= shape[axis]
        ends = axis == 0 or (shape[axis - 1] != 1 and strides[axis - 1] != chunk * base)
        if not ends:
            continue
        while left >= 0 and (inside < chunk or to[left] == 1):
            found[left] = inside * base
            inside *= to[left]
            left -= 1
        if inside != chunk:
            return None
        if axis > 0:
            base, chunk, inside = strides[axis - 1], 1, 1
    return tuple(found) if left == -1 else None
