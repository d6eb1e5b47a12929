"""Translates torch's functions along axes into ops: sums, norms, extremes."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...graph.op import OPS
from .arithmetic import larger
from .functions import contiguous_like, function, keep_dtype
from .not_followed import NotFollowed


@function("mean")
def mean(t, x, dim=None, keepdim=False, dtype=None):
    keep_dtype(t, x, dtype)
    axes = axes_of(t, x, dim)
    return t.emit(OPS["mean"](axes, keepdim), [x], t.run(t.torch.mean, x, axes, keepdim))


def axes_of(t, x, dim) -> tuple[int, ...]:
    """The axes of a reduction, counted from 0, in order."""
    return tuple(sorted(d % x.dim() for d in ((dim,) if isinstance(dim, int) else dim or range(x.dim()))))


@function("sum")
def sum_(t, x, dim=None, keepdim=False, dtype=None):
    keep_dtype(t, x, dtype)
    axes = axes_of(t, x, dim)
    return t.emit(OPS["sum"](axes, keepdim), [x], t.run(t.torch.sum, x, axes, keepdim))


@function("norm", "linalg_vector_norm", "vector_norm")
def norm(t, x, p="fro", dim=None, keepdim=False, dtype=None, ord=2):
    keep_dtype(t, x, dtype)
    if p not in ("fro", 2) or ord != 2:
        raise t.error("a norm that is not Euclidean")
    axes = axes_of(t, x, dim)
    return t.emit(OPS["vector_norm"](axes, keepdim), [x], t.run(t.torch.sum, x, axes, keepdim))


@function("var", "std")
def spread(t, x, dim=None, unbiased=True, keepdim=False, correction=None):
    axes = axes_of(t, x, dim)
    correction = int(unbiased) if correction is None else correction
    return t.emit(OPS[t.name](axes, correction, keepdim), [x], t.run(t.torch.sum, x, axes, keepdim))


@function("amax", "amin")
def extreme(t, x, dim=None, keepdim=False):
    axes = axes_of(t, x, dim)
    return t.emit(OPS[t.name](axes, keepdim), [x], t.run(t.torch.sum, x, axes, keepdim))


class Selected(NamedTuple):
    """What torch.max gives along an axis. indices: follows no graph, so any use of it is refused."""

    values: Any
    indices: Any


@function("max", "min")
def selected(t, x, dim=None, keepdim=False):
    if isinstance(dim, t.torch.Tensor):
        return larger(t.named(f"{t.name}imum"), x, dim)
    if dim is None:
        raise t.error(f"{t.name} over the batch")
    (axis,) = axes_of(t, x, dim)
    values = t.emit(OPS["max_along"](axis, keepdim, t.name == "min"), [x], t.run(t.torch.sum, x, axis, keepdim))
    return Selected(values, NotFollowed(t, f"to use the indices of {t.name} (those of argmax can be)"))


@function("cumsum")
def cumsum(t, x, dim, dtype=None):
    keep_dtype(t, x, dtype)
    (axis,) = axes_of(t, x, dim)
    return t.emit(OPS["cumsum"](axis), [x], contiguous_like(x))
