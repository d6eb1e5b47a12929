"""A frontier as a table, as CSV and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..studies.grid.columns import UNITS
from ..studies.pareto import Objective
from .sweep import column
from .table import Table, hidden, records

SHOWN = 200  # most rows of the table


def axes_of(columns: dict[str, list[Any]]) -> list[str]:
    """The columns that are not costs, without those that have the same value in all rows; `strategy` always counts."""
    axes = [name for name in columns if name not in UNITS]
    return [name for name in axes if name == "strategy" or len(set(columns[name])) > 1]


def frontier_table(
    title: str, columns: dict[str, list[Any]], on: Sequence[bool], objectives: Sequence[Objective]
) -> tuple[list[Table], list[str]]:
    """The rows on the frontier, sorted by the first objective with the best first, and a note of their number."""
    names = [*axes_of(columns), *(o.column for o in objectives)]
    first, less = objectives[0].column, objectives[0].less
    rows = sorted((i for i, one in enumerate(on) if one), key=lambda i: columns[first][i], reverse=not less)
    shown = [[columns[name][i] for name in names] for i in rows]
    notes = [f"{len(rows)} of {len(on)} are on the frontier: {', '.join(map(str, objectives))}."]
    heads = [column(name, columns[name]) for name in names]
    return [Table(title, heads, shown, most=SHOWN, rest="--format csv has all")], notes


def all_rows(columns: dict[str, list[Any]], on: Sequence[bool]) -> Table:
    """All rows for programs, with a column `frontier`: whether a row is on the frontier."""
    return Table("", [*map(hidden, columns), hidden("frontier")], list(zip(*columns.values(), map(bool, on))))


def document(
    title: str, columns: dict[str, list[Any]], on: Sequence[bool], objectives: Sequence[Objective]
) -> dict[str, Any]:
    """All rows for JSON: one object for each row."""
    return {
        "of": title,
        "objectives": [{"column": o.column, "better": "less" if o.less else "more"} for o in objectives],
        "points": records(all_rows(columns, on)),
    }
