"""Writes output shapes as text in terms of the input's axes, valid for any batch: `Reshape.to`, `Expand.to`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod


def reshape_pattern(x: Sequence[int], y: Sequence[int], batch: int) -> str:
    """Pattern of a reshape from shape x to shape y.

    Axes are matched from the left, in the smallest groups of equal products. In each group one output axis is not
    written as a number but takes what the others leave: an axis as long as the first input axis of the group, else one
    as long as the batch, else a multiple of a batch in the group, else the first.
    """
    tokens, i, j = [], 0, 0
    while i < len(x) and j < len(y):
        ins, outs = [i], [j]
        while prod(x[k] for k in ins) != prod(y[k] for k in outs):
            if prod(x[k] for k in ins) < prod(y[k] for k in outs):
                i += 1
                ins.append(i)
            else:
                j += 1
                outs.append(j)
        i, j = i + 1, j + 1
        likely = [k for length in (x[ins[0]], batch) for k in outs if y[k] == length]
        if batch in (x[k] for k in ins):
            likely += [k for k in outs if y[k] % batch == 0]
        rest = (likely or outs)[0]
        divisor = prod(y[k] for k in outs if k != rest)
        whole = "*".join(f"x{k}" for k in ins) + (f"/{divisor}" if divisor != 1 else "")
        tokens += [whole if k == rest else str(y[k]) for k in outs]
    if i < len(x):  # trailing axes of size 1 that the reshape drops
        tokens[-1] += "".join(f"*x{k}" for k in range(i, len(x)))
    return " ".join([*tokens, *("1" for _ in y[j:])])


def expand_pattern(x: Sequence[int], y: Sequence[int], batch: int) -> str:
    """Pattern of an expansion from shape x to y: an unchanged axis is xI, another one a number, or n for the batch."""
    return " ".join(f"x{i}" if m == n else "n" if n == batch else str(n) for i, (m, n) in enumerate(zip(x, y)))
