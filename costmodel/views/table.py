"""Tables in every --format except JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A column. show: how people read a cell (None is blank); CSV has the cells unchanged. right: right-aligned."""

    name: str
    show: Callable[[Any], str] = str
    right: bool = True


def words(name: str) -> Column:
    """A column of words, on the left."""
    return Column(name, right=False)


class Table(NamedTuple):
    """Rows of plain values under columns."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]


Lines = tuple[list[Table], list[str]]


def render(tables: Sequence[Table], notes: Sequence[str], form: str) -> str:
    """The tables one below the other, then the notes, as "table", "markdown" or "csv". CSV has only the tables."""
    if form == "csv":
        return "\n\n".join(_csv(table) for table in tables)
    from tabulate import tabulate

    parts = []
    for table in tables:
        if table.title:
            parts.append(f"**{table.title}**" if form == "markdown" else table.title)
        cells = [
            ["" if cell is None else column.show(cell) for column, cell in zip(table.columns, row)]
            for row in table.rows
        ]
        parts.append(
            tabulate(
                cells,
                headers=[column.name for column in table.columns],
                tablefmt="github" if form == "markdown" else "simple",
                colalign=["right" if column.right else "left" for column in table.columns] if cells else None,
                disable_numparse=True,
                preserve_whitespace=True,
            )
        )
    return "\n\n".join([*parts, *notes])


def _csv(table: Table) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    writer.writerows(table.rows)
    return buffer.getvalue().rstrip("\n")


def bar(part: int, whole: int, width: int = 12) -> str:
    """A horizontal bar whose length is part / whole of `width` characters, in steps of 1/8 character, rounded up."""
    eighths = -(-8 * width * part // whole) if whole else 0
    return "█" * (eighths // 8) + ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]
