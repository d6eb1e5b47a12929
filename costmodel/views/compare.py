"""Strategies side by side."""

from __future__ import annotations

from typing import Optional, Sequence

from ..estimates import Estimate
from ..size import show
from ..units import in_unit, show_count, unit_of
from .table import Column, Table


def compare(estimates: Sequence[Estimate], budget: Optional[int]) -> Table:
    """A line per estimate."""
    first = estimates[0]
    unit = unit_of(max(e.at_least_bytes for e in estimates))

    def size(value: int) -> str:
        return in_unit(value, unit)

    columns = [
        Column("strategy", right=False),
        Column("trained parameters", lambda n: f"{n:,}"),
        Column(f"saved, {unit}", size),
        Column(f"at least, {unit}", size),
        Column("forward FLOPs", show_count),
        Column("backward FLOPs", show_count),
        *([Column("within budget", right=False)] if budget is not None else []),
    ]
    rows = [
        [
            e.strategy,
            e.trainable_parameters,
            e.saved_bytes,
            e.at_least_bytes,
            e.flops["forward"],
            e.flops["backward"],
            *(["no" if e.at_least_bytes > budget else "maybe"] if budget is not None else []),
        ]
        for e in estimates
    ]
    title = f"{first.network}, batch {first.batch} of {show(first.input_shape)}, counted by {first.convention}"
    return Table(title, columns, rows)
