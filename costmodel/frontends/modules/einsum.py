"""Translates torch.einsum of two tensors into what torch makes of it: permutations around one product of matrices."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import prod
from typing import Any

from .functions import FUNCTIONS, function


@function("einsum")
def einsum(t, equation, *operands):
    """aten/src/ATen/native/Linear.cpp (sumproduct_pair).

    Axes in both operands and in the output make batches of matrices, axes of one operand their rows or columns, axes
    that are not in the output are summed. An axis of size 1 counts as if it was not there.
    """
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    names = re.fullmatch(r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]*)", equation.replace(" ", ""))
    if names is None or len(operands) != 2 or any(len({*name}) != len(name) for name in names.groups()):
        raise t.error(f"einsum {equation!r}, other than of two tensors with an axis for each of their letters,")
    left, right, out = names.groups()
    a, b = operands
    t.run(t.torch.einsum, equation, a, b)  # raises what torch does for shapes that do not fit
    summed = [name for name in sorted({*left, *right} - {*out})]
    a, b = _alone_summed(t, a, left, right, b, summed), _alone_summed(t, b, right, left, a, summed)
    in_a, in_b = _wide(a, left), _wide(b, right)
    both = [name for name in out if name in in_a and name in in_b]
    rows, columns = ([name for name in out if name in one and name not in both] for one in (in_a, in_b))
    inner = [name for name in summed if name in in_a and name in in_b]
    if not inner:
        raise t.error(f"einsum {equation!r}, which sums over no axis of both tensors,")
    size = {**in_a, **in_b}
    x = _as_matrices(t, a, left, size, both, rows, inner)
    y = _as_matrices(t, b, right, size, both, inner, columns)
    made = FUNCTIONS["matmul"](t, x, y)
    order = [*both, *rows, *columns, *(name for name in out if name not in size)]
    made = FUNCTIONS["view"](t.named("view"), made, tuple(size.get(name, 1) for name in order))
    return FUNCTIONS["permute"](t.named("permute"), made, tuple(order.index(name) for name in out))


def _wide(x: Any, names: str) -> dict[str, int]:
    """The sizes of a tensor's axes by name, without those of size 1."""
    return {name: size for name, size in zip(names, x.shape) if size != 1}


def _alone_summed(t: Any, x: Any, names: str, others: str, other: Any, summed: Iterable[str]) -> Any:
    """A tensor, summed over the axes that only it has."""
    beside = _wide(other, others)
    axes = tuple(names.index(name) for name in summed if name in _wide(x, names) and name not in beside)
    return FUNCTIONS["sum"](t.named("sum"), x, axes, True) if axes else x


def _as_matrices(t: Any, x: Any, names: str, size: dict[str, int], *groups: list[str]) -> Any:
    """A tensor as (batch, rows, columns), each of which is a group of its axes."""
    there = [name for group in groups for name in group]
    order = [*there, *(name for name in names if name not in there)]
    moved = FUNCTIONS["permute"](t.named("permute"), x, tuple(names.index(name) for name in order))
    sizes = tuple(prod(size[name] for name in group) for group in groups)
    return FUNCTIONS["reshape"](t.named("reshape"), moved, sizes)
