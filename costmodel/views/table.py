"""The one writer of tables: every --format except JSON.

People read `head` and cells in words; programs read `key` and cells as plain numbers. Keys stand in `schema.py`.
"""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ..escapes import as_cell, in_markdown, visible

#: The formats of this module.
FORMATS = ("table", "csv", "markdown", "latex")
NARROWEST = 8  # characters to which a column of words is cut at most
PADDING = 2  # characters by which tabulate makes a column wider than its head


class Column(NamedTuple):
    """A column. key: its name in CSV and JSON, None if only people see it; head: its name for people, None if only
    programs see it. show: how people read a cell (None is blank). right: right-aligned.
    """

    key: str | None
    head: str | None
    show: Callable[[Any], str] = str
    right: bool = True


def words(key: str | None, head: str | None) -> Column:
    """A column of words, on the left."""
    return Column(key, head, right=False)


def yes_or_no(key: str, head: str) -> Column:
    """A column of yes and no."""
    return Column(key, head, lambda value: "yes" if value else "no", right=False)


def hidden(key: str) -> Column:
    """A column that only programs see."""
    return Column(key, None)


class Table(NamedTuple):
    """Rows of plain values under columns.

    name: says in a CSV of several tables which one a row is from. most: rows that people see; rest: what tells them how
    to see the others. total: number of rows, if there are more than `rows` has.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    name: str = ""
    most: int | None = None
    rest: str = ""
    total: int | None = None


#: The head of a column that is drawn, and has no name.
DRAWN = ""
Lines = tuple[list[Table], list[str]]


def render(tables: Sequence[Table], notes: Sequence[str], form: str, width: int | None = None) -> str:
    """The tables one below the other, then the notes, in one of FORMATS. CSV has only the tables, as one.

    width: characters of a line, for "table".
    """
    if form == "csv":
        return csv_text(tables)
    parts = [
        part for table in tables if any(c.head is not None for c in table.columns) for part in _seen(table, form, width)
    ]
    said = [visible(note, lines=True) for note in notes]
    if form == "latex":
        parts += [_comment(note) for note in said]
    elif form == "markdown":
        parts += [in_markdown(note) for note in said]
    elif width is not None:
        parts += ["\n".join(_wrapped(line, width) for line in note.split("\n")) for note in said]
    else:
        parts += said
    return "\n\n".join(parts)


def _wrapped(line: str, width: int) -> str:
    """A line of words in lines of at most this width. An indented line is a command, which stays whole."""
    if line.startswith(" "):
        return line
    return textwrap.fill(line, max(width, 20), break_long_words=False, break_on_hyphens=False)


def records(table: Table) -> list[dict[str, Any]]:
    """A table's rows as programs read them: values by key."""
    keys = [column.key for column in table.columns]
    return [{key: cell for key, cell in zip(keys, row) if key is not None} for row in table.rows]


def csv_text(tables: Iterable[Table]) -> str:
    """Tables as one CSV table without its last line end: of several, a row says in `table` which one it is from.

    Numbers are plain, an empty cell is None, yes is 1 and no is 0, lists are joined by "x".
    """
    told = [table for table in tables if any(column.key is not None for column in table.columns)]
    apart = {"table": None} if len(told) > 1 else {}
    header = list(dict.fromkeys([*apart, *(c.key for table in told for c in table.columns if c.key is not None)]))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, header, lineterminator="\n")
    writer.writeheader()
    for table in told:
        for row in records(table):
            which = {"table": table.name} if apart else {}
            writer.writerow({**which, **{key: _plain(cell) for key, cell in row.items()}})
    return buffer.getvalue().rstrip("\n")


def _plain(cell: Any) -> Any:
    if isinstance(cell, bool):
        return int(cell)
    cell = "x".join(map(str, cell)) if isinstance(cell, (list, tuple)) else cell
    return as_cell(cell) if isinstance(cell, str) else cell


def _seen(table: Table, form: str, width: int | None) -> list[str]:
    """A table as people read it, below its title, with a line for the rows that are left out."""
    from tabulate import tabulate

    seen = [i for i, column in enumerate(table.columns) if column.head is not None]
    columns = [table.columns[i] for i in seen]
    most = len(table.rows) if table.most is None or form != "table" else table.most
    safe = (lambda text: in_markdown(visible(text))) if form == "markdown" else visible
    columns = [column._replace(head=safe(str(column.head))) for column in columns]
    cells = [
        ["" if row[i] is None else safe(column.show(row[i])) for i, column in zip(seen, columns)]
        for row in table.rows[:most]
    ]
    if width is not None and form == "table":
        columns, cells = _narrowed(columns, cells, width)
    drawn = tabulate(
        cells,
        headers=[str(column.head) for column in columns],
        tablefmt={"table": "simple", "markdown": "github", "latex": "latex_booktabs"}[form],
        colalign=["right" if column.right else "left" for column in columns] if cells else None,
        disable_numparse=True,
        preserve_whitespace=True,
    )
    left = (table.total or len(table.rows)) - len(cells)
    title = visible(table.title, lines=True)
    titles = [{"table": title, "markdown": f"**{in_markdown(title)}**", "latex": _comment(title)}[form]]
    cut = f"... {left:,} more; {table.rest}" if left else ""
    if form == "table":
        return [*(titles if table.title else []), "\n".join(filter(None, (drawn, cut)))]
    cuts = [_comment(cut) if form == "latex" else cut]  # apart from the table: else it would be a row
    return [*(titles if table.title else []), drawn, *(cuts if left else [])]


def _comment(text: str) -> str:
    """Lines as a comment in LaTeX."""
    return "\n".join(f"% {line}" for line in text.split("\n"))


def _narrowed(columns: list[Column], cells: list[list[str]], width: int) -> tuple[list[Column], list[list[str]]]:
    """Columns and cells that fit into a line: without what is only drawn, then with words cut; numbers stay whole."""

    def widths() -> list[int]:
        heads = [len(str(column.head)) + PADDING for column in columns]
        return [max([head, *(len(row[i]) for row in cells)]) for i, head in enumerate(heads)]

    def too_wide() -> int:
        return sum(widths()) + 2 * (len(columns) - 1) - width

    if too_wide() > 0:
        kept = [i for i, column in enumerate(columns) if column.head or column.key is not None]
        columns, cells = [columns[i] for i in kept], [[row[i] for i in kept] for row in cells]
    while (over := too_wide()) > 0:
        wide, at = max(((w, i) for i, w in enumerate(widths()) if not columns[i].right), default=(0, 0))
        if wide <= NARROWEST:
            break
        room = max(wide - over, NARROWEST)
        cells = [[*row[:at], _cut(row[at], room), *row[at + 1 :]] for row in cells]
        columns[at] = columns[at]._replace(head=_cut(str(columns[at].head), room - PADDING))
    return columns, cells


def _cut(text: str, room: int) -> str:
    """A text in so many characters: of a sentence its beginning, of a name its end, which tells it from others."""
    if len(text) <= room:
        return text
    return f"{text[: room - 1]}…" if " " in text else f"…{text[1 - room :]}"


def bar(part: float, whole: float, width: int = 12) -> str:
    """A horizontal bar whose length is part / whole of `width` characters, in steps of 1/8 character, rounded up."""
    eighths = int(-(-8 * width * part // whole)) if whole else 0
    return "█" * (eighths // 8) + ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]
