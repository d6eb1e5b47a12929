"""A frontier as a table, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from ..studies.grid.columns import UNITS
from ..studies.pareto import Objective
from .sweep import column
from .table import Column, Table

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
    shown = [[columns[name][i] for name in names] for i in rows[:SHOWN]]
    notes = [f"{len(rows)} of {len(on)} are on the frontier: {', '.join(map(str, objectives))}."]
    if len(rows) > SHOWN:
        notes.append(f"The first {SHOWN} are shown; --format csv has all.")
    heads = [column(name, columns[name]) if name in columns else Column(name) for name in names]
    return [Table(title, heads, shown)], notes


def csv_text(columns: dict[str, list[Any]], on: Sequence[bool]) -> str:
    """All rows as CSV, with a column `frontier`: 1 for rows on the frontier, else 0."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*columns, "frontier"])
    writer.writerows(zip(*columns.values(), map(int, on)))
    return buffer.getvalue()


def document(
    title: str, columns: dict[str, list[Any]], on: Sequence[bool], objectives: Sequence[Objective]
) -> dict[str, Any]:
    """All rows for JSON: one object for each row."""
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return {
        "of": title,
        "objectives": [{"column": o.column, "better": "less" if o.less else "more"} for o in objectives],
        "points": [{**row, "frontier": bool(one)} for row, one in zip(rows, on)],
    }
