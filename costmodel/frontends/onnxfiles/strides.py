"""How a tensor lies in memory, as torch lays it out: whether a reshape is a view, and how an output lies."""

from __future__ import annotations

from collections.abc import Sequence

Strides = tuple[int, ...]


def contiguous(shape: Sequence[int]) -> Strides:
    """Strides of a new tensor."""
    return in_order(shape, range(len(shape)))


def in_order(shape: Sequence[int], axes: Sequence[int]) -> Strides:
    """Dense strides with the axes in this order, outermost first."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(axes):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)


def like(shape: Sequence[int], strides: Strides) -> Strides:
    """Dense strides whose axes stand in the order of another tensor's (torch.empty_like, infer_dense_strides)."""
    return in_order(shape, sorted(range(len(shape)), key=lambda axis: -strides[axis]))


def viewed(shape: Sequence[int], strides: Strides, to: Sequence[int]) -> Strides | None:
    """Strides of the tensor seen in another shape, or None where it must be copied (aten: computeStride_impl)."""
    found = [0] * len(to)
    left = len(to) - 1
    chunk, inside = 1, 1  # elements of the run of axes that lie side by side, and of the view's axes laid into it
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
