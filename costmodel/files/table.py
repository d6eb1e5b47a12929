"""Reads tables: CSV files with a header, and Parquet files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import CostmodelError
from ..escapes import from_cell
from . import parquet
from .parquet import is_parquet
from .reading import check_cells, text_of


def read_table(path: str) -> dict[str, list[Any]]:
    """The columns of a Parquet file, or of a CSV file with a header. A cell is a number if its whole column is numeric.

    A blank cell of a numeric column is None. Raises CostmodelError for a missing file, header or row, or a row of
    another length than the header.
    """
    if is_parquet(path):
        return parquet.read(path)
    text = text_of(path, "table")
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    except csv.Error as error:
        raise CostmodelError(f"cannot read {path!r}: {error}") from None
    if len(lines) < 2:
        raise CostmodelError(f"{path!r} has no rows; allowed: a line of column names, and rows below it")
    header = [name.strip() for name in lines[0]]
    check_cells(path, len(lines), len(header))
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise CostmodelError(f"{path!r} has two columns called {twice!r}; allowed: one")
    for number, row in enumerate(lines, 1):
        if len(row) != len(header):
            raise CostmodelError(f"{path!r}, row {number}: {len(row)} cells under {len(header)} column names")
    return {name: _column(cells[1:]) for name, cells in zip(header, zip(*lines))}


def _column(cells: Sequence[str]) -> list[Any]:
    for read in (int, float):
        try:
            return [read(cell) if cell and not cell.isspace() else None for cell in cells]
        except ValueError:
            continue
    return [from_cell(cell.strip()) for cell in cells]


def is_table(source: str) -> bool:
    """Whether a source is a table rather than a network."""
    return Path(source).suffix == ".csv" or is_parquet(source)
