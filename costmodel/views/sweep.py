"""A sweep as a table."""

from __future__ import annotations

from typing import Any, Dict, List

from ..sizes.units import in_unit, show_count, unit_of
from .table import Column, Table

MOST_ROWS = 10_000


def column(name: str, values: List[Any]) -> Column:
    """How people read one of a sweep's columns: bytes in one unit, counts by their magnitude."""
    largest = max((value for value in values if isinstance(value, int)), default=0)
    if name.endswith("_bytes"):
        unit = unit_of(largest)
        return Column(f"{name[:-6]}, {unit}", lambda size: in_unit(size, unit))
    if name.endswith("_flops"):
        return Column(name, show_count)
    if name.endswith("_parameters"):
        return Column(name, lambda count: f"{count:,}")
    return Column(name, str, right=isinstance(next(iter(values), None), (int, float)))


def table(columns: Dict[str, List[Any]], fixed: Dict[str, Any]) -> Table:
    """Columns under what is the same in all of them."""
    title = ", ".join(f"{value}" if name == "network" else f"{name} {value}" for name, value in fixed.items()
                      if value is not None)  # fmt: skip
    return Table(title, [column(name, values) for name, values in columns.items()], list(zip(*columns.values())))
