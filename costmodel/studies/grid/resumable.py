"""A grid written to a file chunk by chunk: memory stays bounded, and an interrupted sweep goes on where it was.

Until it is whole the table stands as CSV in FILE.unfinished, and FILE.unfinished.json tells how much of it is good. A
Parquet file, which nothing can be added to, is made of it at the end.
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
from .columns import TYPES
from .sweep import SweepPlan, write_rows


def write(plan: SweepPlan, path: str, shard: tuple[int, int] = (1, 1), force: bool = False) -> Iterator[int]:
    """Write a grid, or the i-th of n parts of it, with a header; yields the cells of each chunk once it is written.

    What an interrupted call of the same request left is gone on with, and first yielded as a whole. force: replace a
    file that is there, and what another request left unfinished; a file that is there stays until the new one is whole.
    Raises CostmodelError, before anything is written, where either is there without force, or cannot be written.
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
            parquet.convert(unfinished, made, TYPES)
            os.replace(made, target)
            unfinished.unlink()
        else:
            os.replace(unfinished, target)
        state.unlink(missing_ok=True)
    except OSError as error:
        raise CostmodelError(f"output {path!r} cannot be written: {error.strerror or error}") from None


def check_output(path: str, force: bool) -> None:
    """Raise CostmodelError where a grid cannot be written to a file of this name, or must not be."""
    if Path(path).suffix not in (".csv", ".parquet"):
        raise CostmodelError(f"output {path!r}; allowed: a name that ends in .csv or .parquet")
    if is_parquet(path):
        parquet.arrow()
    check_free(Path(path), force)


def check_free(target: Path, force: bool) -> None:
    """Raise CostmodelError where a file is there already, and must not be replaced."""
    if target.is_dir():
        raise CostmodelError(f"output {str(target)!r} is a folder; allowed: a file")
    if target.exists() and not force:
        raise CostmodelError(f"output {str(target)!r} exists; allowed: another name, or --force to replace it")


def fingerprint(plan: SweepPlan, shard: tuple[int, int]) -> str:
    """What decides each byte of the output."""
    graphs = [f"{network.channels} {network.graph}" for network in plan.networks.values()]
    requests = [plan.request(number)[1] for number in range(len(plan.outer))]
    # A strategy file may say something else by now.
    read = [[str(request.target), str(request.strategy)] for request in requests]
    asked = [__version__, plan.network, graphs, plan.axes, read, shard, plan.column_names, len(plan.chunks(shard))]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _progress(unfinished: Path, state: Path, request: str, force: bool) -> tuple[int, int]:
    """Chunks and bytes that an earlier call has written for good."""
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
    """Note how many chunks are in the file, once they really are."""
    file.flush()
    os.fsync(file.fileno())
    size = file.tell()
    fresh = state.with_name(f"{state.name}.new")
    fresh.write_text(json.dumps({"request": request, "chunks": chunks, "bytes": size}))
    os.replace(fresh, state)
    return size
