"""Reads tables: CSV files with a header, and Parquet files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from ..errors import CostmodelError
from ..escapes import from_cell
from . import parquet
from .parquet import is_parquet
from .reading import text_of


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
    header, rows = [name.strip() for name in lines[0]], lines[1:]
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise CostmodelError(f"{path!r}, row {number}: {len(row)} cells under {len(header)} column names")
    return {name: _numbers([from_cell(row[i].strip()) for row in rows]) for i, name in enumerate(header)}


def _numbers(cells: list[str]) -> list[Any]:
    for read in (int, float):
        try:
            return [read(cell) if cell else None for cell in cells]
        except ValueError:
            continue
    return list(cells)


def is_table(source: str) -> bool:
    """Whether a source is a table rather than a network."""
    return Path(source).suffix == ".csv" or is_parquet(source)
