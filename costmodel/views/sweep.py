"""A sweep as a table."""

from __future__ import annotations

from typing import Any

from ..sizes.units import in_unit, show_count, show_seconds, unit_of
from ..step.certainty import CHECKED, RULE
from ..studies.grid.certainties import CERTAINTIES
from ..studies.grid.columns import BYTES, FLOPS, PARAMETERS, SECONDS, UNITS
from .table import Column, Table, hidden

MOST_ROWS = 10_000
SHOWN = 40  # most rows of the table that people read


def column(name: str, values: list[Any]) -> Column:
    """One of a sweep's columns as people read it: bytes in one unit for all rows, FLOPs by their magnitude."""
    counted = UNITS.get(name)
    if counted == BYTES:
        unit = unit_of(max((value for value in values if isinstance(value, int)), default=0))
        head = name.removesuffix("_bytes").replace("_", " ")
        return Column(name, f"{head}, {unit}", lambda size: in_unit(size, unit))
    if counted == FLOPS:
        return Column(name, in_words(name), show_count)
    if counted == SECONDS:
        return Column(name, "a step" if name == "step_seconds" else in_words(name), show_seconds)
    if counted == PARAMETERS:
        return Column(name, in_words(name), lambda count: f"{count:,}")
    return Column(name, in_words(name), str, right=isinstance(next(iter(values), None), (int, float)))


def in_words(name: str) -> str:
    """A column's name in words."""
    return name.replace("_", " ").replace("flops", FLOPS)


def table(columns: dict[str, list[Any]], fixed: dict[str, Any], total: int | None = None) -> Table:
    """A table of these columns. fixed: values that hold for all rows, shown in the title. total: number of rows, if
    not all are given.
    """
    title = ", ".join(
        f"{value}" if name == "network" else f"{name} {value}" for name, value in fixed.items() if value is not None
    )

    def is_told(name: str, values: list[Any]) -> bool:
        """Whether the title has it, or the notes would."""
        if name == "target":
            return len(set(values)) == 1
        return name in CERTAINTIES and {None, RULE, CHECKED}.issuperset(values)

    heads = [hidden(name) if is_told(name, values) else column(name, values) for name, values in columns.items()]
    return Table(title, heads, list(zip(*columns.values())), most=SHOWN, rest="-o FILE writes all", total=total)
