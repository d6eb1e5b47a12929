"""Whether a step fits, in words and as a table."""

from __future__ import annotations

from ..sizes.size import show
from ..sizes.units import show_size
from ..step.estimate import Estimate
from ..studies.needs import Process
from ..studies.needs import peak as need_of_peak
from .records import step_record, table_of, within
from .shared import detected_note
from .table import Column, Lines, words, yes_or_no


def fit_lines(
    found: Estimate, budget: int, axis: str | None, value: int | None, around: Process | None = None
) -> list[str]:
    """The answer, the request, and whether its target was found out, as lines.

    axis, value: what was maximised, if anything; None: nothing fits. around: the process that must fit, if any.
    """
    peak, there = (around or need_of_peak)(found), show_size(budget)
    held = "peak" if around is None else "process"
    what = f"{found.network}, {found.strategy}, batch {found.batch} of {show(found.input_shape)}"
    what += f", on {found.request.target}"
    if peak > budget:
        least = "" if axis is None else f" Not even the least {axis} fits."
        answer = f"no: the {held} of {show_size(peak)} exceeds {there} by {show_size(peak - budget)}.{least}"
        answer += alone(found, budget)
    else:
        most = "" if axis is None else f"{axis} {value} is the most that fits. "
        answer = f"yes: {most}The {held} of {show_size(peak)} leaves {show_size(budget - peak)} of {there}."
    return [answer, what, *detected_note(found.request.target)]


def fit_table(
    found: Estimate, budget: int, axis: str | None, value: int | None, around: Process | None = None
) -> Lines:
    """The answer as a table of one row, below it the answer in words. axis, value, around: as in `fit_lines`."""
    sought = {} if axis is None else {"maximised": axis, "largest": value}
    seen = [
        words("network", "network"),
        words("strategy", "strategy"),
        Column("batch", "batch"),
        Column("resolution", "resolution"),
        Column("peak_bytes", "peak", show_size),
        Column("budget_bytes", "budget", show_size),
        Column("headroom_bytes", "left", show_size),
        yes_or_no("fits", "fits"),
    ]
    row = {**step_record(found), **within(found, budget, around), **sought}
    return [table_of([row], seen)], [fit_lines(found, budget, axis, value, around)[0]]


def alone(found: Estimate, budget: int) -> str:
    """A sentence for a budget that not even holds the parameters and buffers; else ""."""
    memory = found.memory_bytes
    least = memory["parameters"] + memory["buffers"]
    return f" The parameters and buffers alone take {show_size(least)}." if budget < least else ""
