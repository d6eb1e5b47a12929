"""Reads and writes grids as Parquet files. Needs pyarrow, which is imported on first use.

Types are exact: strings for names, int64 for integers, null for a missing number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CostmodelError
from ..escapes import QUOTED
from .reading import check_cells, check_readable, unreadable
from .whole import replacing

BLOCK = 2**20  # bytes of CSV that are converted at a time; pyarrow reads dozens of such blocks ahead
GROUP = 2**16  # rows of one row group, or a few more


def is_parquet(path: str) -> bool:
    """Whether a path names a Parquet file, by its suffix."""
    return Path(path).suffix == ".parquet"


def arrow() -> Any:
    """The package pyarrow, with the modules used here loaded. Raises CostmodelError if it is not installed."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise CostmodelError("a Parquet file needs pyarrow: pip install pyarrow") from None
    return pyarrow


def schema(names: Iterable[str], types: Mapping[str, type]) -> Any:
    """The schema of a table with these columns. types: int, float or str by column; int for a column not in it."""
    pa = arrow()
    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    return pa.schema([(name, kinds[types.get(name, int)]) for name in names])


def write(columns: dict[str, np.ndarray], path: str, types: Mapping[str, type]) -> None:
    """Write columns to a file. types: see `schema`. Raises CostmodelError if the file cannot be written."""
    pa = arrow()
    fields = schema(columns, types)
    arrays = [
        pa.array(np.ma.getdata(column), mask=np.ma.getmaskarray(column), type=field.type)
        for column, field in zip(columns.values(), fields)
    ]
    # As a whole, and through a file, since a name may be no UTF-8.
    with replacing(Path(path)) as (unfinished,), open(unfinished, "wb") as file:
        pa.parquet.write_table(pa.Table.from_arrays(arrays, schema=fields), file)


def convert(table: Path, path: Path, types: Mapping[str, type]) -> None:
    """Convert a CSV file to a Parquet file, some rows at a time. types: see `schema`."""
    pa = arrow()
    with open(table, encoding="utf-8") as file:
        fields = schema(file.readline().strip().split(","), types)
    reading = pa.csv.ReadOptions(use_threads=False, block_size=BLOCK)
    kinds = pa.csv.ConvertOptions(column_types=fields, null_values=[""], strings_can_be_null=True)
    with (
        open(table, "rb") as source,
        open(path, "wb") as made,
        pa.csv.open_csv(source, reading, convert_options=kinds) as rows,
        pa.parquet.ParquetWriter(made, fields) as file,
    ):
        group = []
        for block in rows:
            group.append(_texts(block, pa))
            if sum(len(block) for block in group) >= GROUP:
                file.write_table(pa.Table.from_batches(group, fields))
                group = []
        file.write_table(pa.Table.from_batches(group, fields))


def _texts(block: Any, pa: Any) -> Any:
    """A block of CSV with its cells as the texts that they stand for."""
    columns = [
        pa.compute.replace_substring_regex(column, QUOTED, r"\1") if pa.types.is_string(column.type) else column
        for column in block.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=block.schema)


def read(path: str) -> dict[str, list[Any]]:
    """The columns of a file, None for a missing number. Raises CostmodelError if it has no rows or cannot be read."""
    pa = arrow()
    check_readable(path, "table")
    try:
        with open(path, "rb") as file:
            told = pa.parquet.read_metadata(file)
            check_cells(path, told.num_rows, told.num_columns)
            fields = pa.parquet.read_schema(file)
            for field in fields:
                if not (pa.types.is_string(field.type) or _is_number(field.type, pa)):
                    raise CostmodelError(
                        f"{path!r}: the column {field.name!r} is {field.type}; allowed: numbers, texts"
                    )
            names = [field.name for field in fields if pa.types.is_string(field.type)]
            columns = pa.parquet.read_table(file, read_dictionary=names)  # a text that stands a million times, once
        found = {name: _cells(column, pa) for name, column in zip(columns.column_names, columns.columns)}
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
        if isinstance(error, CostmodelError):
            raise
        raise unreadable(path, error) from None
    if not any(found.values()):
        raise CostmodelError(f"{path!r} has no rows; allowed: one or more")
    return found


def _is_number(kind: Any, pa: Any) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _cells(column: Any, pa: Any) -> list[Any]:
    """The values of a column; equal texts are one object."""
    if not pa.types.is_dictionary(column.type):
        return column.to_pylist()
    found: list[Any] = []
    for chunk in column.chunks:
        texts = chunk.dictionary.to_pylist()
        found += [None if i is None else texts[i] for i in chunk.indices.to_pylist()]
    return found
