"""Writes a grid to a file chunk by chunk: memory stays bounded, and an interrupted sweep resumes where it stopped.

Until it is complete, the table is CSV in FILE.unfinished, and FILE.unfinished.json says how much of it is valid. A
Parquet file cannot be appended to, so it is converted from the CSV at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ...errors import CostmodelError
from ...files import parquet
from ...files.parquet import is_parquet
from ...version import __version__
from .columns import types_of
from .sweep import SweepPlan, write_rows


def write(plan: SweepPlan, path: str, shard: tuple[int, int] = (1, 1), force: bool = False) -> Iterator[int]:
    """Write a grid with a header; yields the number of cells of each chunk after it is written.

    shard: (i, n) writes the i-th of n parts. An interrupted call of the same request is resumed; its cells are yielded
    first, as one number. force: replace an existing file, or the unfinished file of another request; an existing file
    stays until the new one is complete. Raises CostmodelError, before anything is written, if either exists without
    force or if the file cannot be written.
    """
    target = Path(path)
    unfinished, state, made = (target.with_name(f"{target.name}.unfinished{end}") for end in ("", ".json", ".parquet"))
    check_output(path, force)
    request = fingerprint(plan, shard)
    chunks = plan.chunks(shard)
    try:
        done, size = _progress(unfinished, state, request, force)
        with open(unfinished, "r+b" if size else "wb") as raw:
            raw.truncate(size)
        with open(unfinished, "a", newline="", encoding="utf-8") as file:
            if not size:
                write_rows(file, plan.header, header=True)
                size = _book(file, state, request, 0)
            yield sum(chunk.cells for chunk in chunks[:done])
            for number, chunk in enumerate(chunks[done:], done + 1):
                write_rows(file, plan.columns(chunk), header=False)
                _book(file, state, request, number)
                yield chunk.cells
        if is_parquet(path):
            parquet.convert(unfinished, made, types_of(plan.axes["resolution"]))
            os.replace(made, target)
            unfinished.unlink()
        else:
            os.replace(unfinished, target)
        state.unlink(missing_ok=True)
    except OSError as error:
        raise CostmodelError(f"output {path!r} cannot be written: {error.strerror or error}") from None


def check_output(path: str, force: bool) -> None:
    """Raise CostmodelError if a grid cannot or must not be written to a file of this name."""
    if Path(path).suffix not in (".csv", ".parquet"):
        raise CostmodelError(f"output {path!r}; allowed: a name that ends in .csv or .parquet")
    if is_parquet(path):
        parquet.arrow()
    check_free(Path(path), force)


def check_free(target: Path, force: bool) -> None:
    """Raise CostmodelError if a file exists and must not be replaced, or if it is a folder."""
    if os.path.isdir(target):
        raise CostmodelError(f"output {str(target)!r} is a folder; allowed: a file")
    if os.path.exists(target) and not force:
        raise CostmodelError(f"output {str(target)!r} exists; allowed: another name, or --force to replace it")


def fingerprint(plan: SweepPlan, shard: tuple[int, int]) -> str:
    """A hash of everything that determines the output's bytes."""
    graphs = [str(network) for network in plan.networks.values()]
    requests = [plan.request(number)[1] for number in range(len(plan.outer))]
    # The contents of strategies, since a strategy file may have changed.
    read = [[str(request.target), str(request.strategy), str(request.loss)] for request in requests]
    asked = [__version__, plan.network, graphs, plan.axes, read, shard, plan.column_names, len(plan.chunks(shard))]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _progress(unfinished: Path, state: Path, request: str, force: bool) -> tuple[int, int]:
    """The numbers of chunks and of bytes that an earlier call wrote completely."""
    if not (unfinished.exists() and state.exists()):
        return 0, 0
    try:
        kept = json.loads(state.read_text())
        same = kept["request"] == request and unfinished.stat().st_size >= kept["bytes"]
        done, size = int(kept["chunks"]), int(kept["bytes"])
    except (ValueError, KeyError, TypeError):
        same = False
    if same:
        return done, size
    if not force:
        raise CostmodelError(
            f"{str(unfinished)!r} is what another sweep left unfinished; allowed: that sweep again, which goes on with "
            "it, another name, or --force to start anew"
        )
    return 0, 0


def _book(file: IO[Any], state: Path, request: str, chunks: int) -> int:
    """Note in the state file how many chunks are on disk, after flushing them; returns the file's size in bytes."""
    file.flush()
    os.fsync(file.fileno())
    size = file.tell()
    fresh = state.with_name(f"{state.name}.new")
    fresh.write_text(json.dumps({"request": request, "chunks": chunks, "bytes": size}))
    os.replace(fresh, state)
    return size
