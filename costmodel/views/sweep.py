"""A sweep as a table."""

from __future__ import annotations

from typing import Any

from ..sizes.units import in_unit, show_count, unit_of
from ..studies.grid.columns import BYTES, FLOPS, PARAMETERS, UNITS
from .table import Column, Table

MOST_ROWS = 10_000


def column(name: str, values: list[Any]) -> Column:
    """One of a sweep's columns as people read it: bytes in one unit for all rows, FLOPs by their magnitude."""
    counted = UNITS.get(name)
    if counted == BYTES:
        unit = unit_of(max((value for value in values if isinstance(value, int)), default=0))
        return Column(f"{name.removesuffix('_bytes')}, {unit}", lambda size: in_unit(size, unit))
    if counted == FLOPS:
        return Column(name, show_count)
    if counted == PARAMETERS:
        return Column(name, lambda count: f"{count:,}")
    return Column(name, str, right=isinstance(next(iter(values), None), (int, float)))


def table(columns: dict[str, list[Any]], fixed: dict[str, Any]) -> Table:
    """A table of these columns. fixed: values that hold for all rows, shown in the title."""
    title = ", ".join(
        f"{value}" if name == "network" else f"{name} {value}" for name, value in fixed.items() if value is not None
    )
    return Table(title, [column(name, values) for name, values in columns.items()], list(zip(*columns.values())))
