"""A table of strategies side by side."""

from __future__ import annotations

from collections.abc import Sequence

from ..sizes.size import show
from ..sizes.units import in_unit, show_count, show_seconds, unit_of
from ..step.estimate import Estimate
from ..studies.needs import Process
from .records import step_record, table_of, within
from .table import Column, Table, words, yes_or_no


def compare(estimates: Sequence[Estimate], budget: int | None, around: Process | None = None) -> Table:
    """A table with a row per estimate. budget: in bytes; with one, a column says which estimates fit.

    around: the process that must be within it instead of the peak, if any.
    """
    first = estimates[0]
    memories = [e.memory_bytes for e in estimates]
    unit = unit_of(max(memory["peak"] or memory["saved"] for memory in memories))

    def size(value: int) -> str:
        return in_unit(value, unit)

    is_timed = any(e.seconds is not None for e in estimates)
    seen = [
        words("strategy", "strategy"),
        Column("trainable_parameters", "trained parameters", lambda n: f"{n:,}"),
        Column("saved_bytes", f"saved, {unit}", size),
        Column("peak_bytes", f"peak, {unit}", size),
        Column("forward_flops", "forward FLOPs", show_count),
        Column("backward_flops", "backward FLOPs", show_count),
        *([Column("highest_process_bytes", f"process, {unit}", size)] if around is not None else []),
        *([yes_or_no("fits", "fits")] if budget is not None else []),
        *([Column("step_seconds", "a step", show_seconds)] if is_timed else []),
    ]
    title = f"{first.network}, batch {first.batch} of {show(first.input_shape)}, counted by {first.convention}"
    records = [
        {
            **step_record(e),
            **within(e, budget, around),
            **({} if around is None else {"highest_process_bytes": around(e)}),
            **({"step_seconds": e.seconds} if is_timed else {}),
        }
        for e in estimates
    ]
    return table_of(records, seen, title)
