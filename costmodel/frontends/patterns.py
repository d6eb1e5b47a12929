"""Output shapes as text in terms of the input's axes, so that they hold for any batch: `Reshape.to`, `Expand.to`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod


def reshape_pattern(x: Sequence[int], y: Sequence[int], batch: int) -> str:
    """The output's axes of a reshape from the input's.

    Axes are matched from the left, in the smallest groups of equal products. Of axes that one is split into, one takes
    what the others leave: the one that is as long as the first of the group, else the batch, else the first.
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
        rest = next((k for length in (x[ins[0]], batch) for k in outs if y[k] == length), outs[0])
        divisor = prod(y[k] for k in outs if k != rest)
        whole = "*".join(f"x{k}" for k in ins) + (f"/{divisor}" if divisor != 1 else "")
        tokens += [whole if k == rest else str(y[k]) for k in outs]
    if i < len(x):  # axes of 1 that go
        tokens[-1] += "".join(f"*x{k}" for k in range(i, len(x)))
    return " ".join([*tokens, *("1" for _ in y[j:])])


def expand_pattern(x: Sequence[int], y: Sequence[int], batch: int) -> str:
    """The output's axes of an expansion: the input's, and numbers where one of 1 is seen as more; n for the batch."""
    return " ".join(f"x{i}" if m == n else "n" if n == batch else str(n) for i, (m, n) in enumerate(zip(x, y)))
