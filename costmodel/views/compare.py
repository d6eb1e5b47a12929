"""A table of strategies side by side."""

from __future__ import annotations

from collections.abc import Sequence

from ..sizes.size import show
from ..sizes.units import in_unit, show_count, unit_of
from ..step.estimate import Estimate
from .table import Column, Table


def compare(estimates: Sequence[Estimate], budget: int | None) -> Table:
    """A table with a row per estimate. budget: in bytes; with one, a column says which estimates fit."""
    first = estimates[0]
    memories = [e.memory_bytes for e in estimates]
    unit = unit_of(max(memory["peak"] or memory["saved"] for memory in memories))

    def size(value: int) -> str:
        return in_unit(value, unit)

    columns = [
        Column("strategy", right=False),
        Column("trained parameters", lambda n: f"{n:,}"),
        Column(f"saved, {unit}", size),
        Column(f"peak, {unit}", size),
        Column("forward FLOPs", show_count),
        Column("backward FLOPs", show_count),
        *([Column("fits", right=False)] if budget is not None else []),
    ]
    rows = [
        [
            e.strategy,
            e.trainable_parameters,
            e.saved_bytes,
            memory["peak"],
            e.flops["forward"],
            e.flops["backward"],
            *(["yes" if memory["peak"] <= budget else "no"] if budget is not None else []),
        ]
        for e, memory in zip(estimates, memories)
    ]
    title = f"{first.network}, batch {first.batch} of {show(first.input_shape)}, counted by {first.convention}"
    return Table(title, columns, rows)
