"""Writes a grid to a file chunk by chunk: memory stays bounded, and an interrupted sweep resumes where it stopped.

Until it is complete, the table is CSV in FILE.unfinished, and FILE.unfinished.log has a line for each chunk in it, with
a checksum. A Parquet file cannot be appended to, so it is converted from the CSV at the end.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from ...errors import CostmodelError
from ...files import parquet
from ...files.alone import alone_with
from ...files.parquet import is_parquet
from ...files.reading import check_regular
from ...files.whole import check_free, kept_on_disk, put, write_text
from ...version import __version__
from .columns import types_of
from .sweep import SweepPlan, write_rows

LONGEST_ENDING = ".unfinished.parquet"  # of the names that are written beside a table


def write(
    plan: SweepPlan,
    path: str,
    shard: tuple[int, int] = (1, 1),
    force: bool = False,
    tell: Callable[[str], None] = lambda note: None,
) -> Iterator[int]:
    """Write a grid with a header; yields the number of cells of each chunk after it is written.

    shard: (i, n) writes the i-th of n parts. An interrupted call of the same request is resumed; its cells are yielded
    first, as one number. force: replace an existing file, or the unfinished file of another request; an existing file
    stays until the new one is complete. tell: is given a note if a part of an unfinished file was damaged since. Raises
    CostmodelError, before anything is written, if either exists without force, if another process writes the file, or
    if it cannot be written.
    """
    target = Path(path)
    check_output(path, force)
    with alone_with(target):
        check_output(path, force)  # the process that had the lock may have finished the file
        try:
            yield from _written(plan, target, shard, force, tell)
        except OSError as error:
            raise CostmodelError(f"output {path!r} cannot be written: {error.strerror or error}") from None


def _written(
    plan: SweepPlan, target: Path, shard: tuple[int, int], force: bool, tell: Callable[[str], None]
) -> Iterator[int]:
    unfinished, log, made = (target.with_name(f"{target.name}.unfinished{end}") for end in ("", ".log", ".parquet"))
    request, chunks = fingerprint(plan, shard), plan.chunks(shard)
    for path in (unfinished, log, made):
        if path.is_symlink() or path.exists():
            check_regular(str(path), links=False)
    sums = _progress(unfinished, log, request, force, tell)
    begun = "".join(f"{json.dumps(line)}\n" for line in ({"request": request}, *sums))
    if not log.exists() or log.read_bytes() != begun.encode():
        write_text(log, begun)  # as a whole: without it, what is there would be lost
    with open(unfinished, "r+b" if sums else "wb") as table, open(log, "a", encoding="utf-8", newline="") as notes:
        table.truncate(sum(size for size, _ in sums))
        table.seek(0, os.SEEK_END)
        if not sums:
            _append(table, notes, plan.header, header=True)
        yield sum(chunk.cells for chunk in chunks[: max(len(sums) - 1, 0)])
        for chunk in chunks[max(len(sums) - 1, 0) :]:
            _append(table, notes, plan.columns(chunk), header=False)
            yield chunk.cells
    if is_parquet(str(target)):
        parquet.convert(unfinished, made, types_of(plan.axes["resolution"]))
        kept_on_disk(made)
        put(made, target, force)
        unfinished.unlink()
    else:
        put(unfinished, target, force)
    log.unlink(missing_ok=True)


def _append(table: IO[bytes], notes: IO[str], columns: Any, header: bool) -> None:
    """Append rows to the table, and once they are on the disk, their size and checksum to the log."""
    rows = io.StringIO(newline="")
    write_rows(rows, columns, header=header)
    content = rows.getvalue().encode()
    table.write(content)
    table.flush()
    os.fsync(table.fileno())
    notes.write(json.dumps(_sum_of(content)) + "\n")
    notes.flush()
    os.fsync(notes.fileno())


def _sum_of(content: bytes) -> list[Any]:
    """Size and checksum of a chunk, as in the log."""
    return [len(content), hashlib.sha256(content).hexdigest()]


def check_output(path: str, force: bool) -> None:
    """Raise CostmodelError if a grid cannot or must not be written to a file of this name."""
    if Path(path).suffix not in (".csv", ".parquet"):
        raise CostmodelError(f"output {path!r}; allowed: a name that ends in .csv or .parquet")
    if is_parquet(path):
        parquet.arrow()
    check_free(Path(path), force)
    try:
        os.lstat(f"{path}{LONGEST_ENDING}")
    except FileNotFoundError:
        pass
    except OSError as error:  # no room for the names beside it
        raise CostmodelError(f"output {path!r} cannot be written: {error.strerror or error}") from None


def fingerprint(plan: SweepPlan, shard: tuple[int, int]) -> str:
    """A hash of everything that determines the output's bytes."""
    graphs = [str(network) for network in plan.networks.values()]
    requests = [plan.request(number)[1] for number in range(len(plan.outer))]
    # The contents of strategies, since a strategy file may have changed.
    read = [[str(request.target), str(request.strategy), str(request.loss)] for request in requests]
    of_device = repr(plan.device and plan.device.processor)  # its constants, since a device's file may have changed
    columns, chunks = plan.column_names, len(plan.chunks(shard))
    asked = [__version__, plan.network, graphs, plan.axes, read, shard, columns, chunks, of_device]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _progress(unfinished: Path, log: Path, request: str, force: bool, tell: Callable[[str], None]) -> list[list[Any]]:
    """Sizes and checksums of the header and of the chunks that an earlier call wrote, up to the first damaged one."""
    if unfinished.exists() and not log.exists() and not force:
        raise CostmodelError(
            f"{str(unfinished)!r} exists, without a log; allowed: another name, or --force to replace it"
        )
    if not (unfinished.exists() and log.exists()):
        return []
    first, *noted = _lines_of(log)
    if first != {"request": request}:
        if force:
            return []
        raise CostmodelError(
            f"{str(unfinished)!r} is what another sweep left unfinished; allowed: that sweep again, which goes on with "
            "it, another name, or --force to start anew"
        )
    whole, size = [], unfinished.stat().st_size
    with open(unfinished, "rb") as table:
        for number, one in enumerate(noted):
            left = size - table.tell()  # a damaged size may be larger than the memory
            if one[0] > left or _sum_of(table.read(one[0])) != one:
                tell(f"{str(unfinished)!r} is damaged in part {number + 1} of {len(noted)}, and goes on from there")
                break
            whole.append(one)
    return whole


def _lines_of(log: Path) -> list[Any]:
    """The lines of a log, up to the first that is not whole; None in place of a first one that says no request."""
    found: list[Any] = []
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
        try:
            one = json.loads(line)
        except (ValueError, RecursionError):
            break
        if found and not (isinstance(one, list) and len(one) == 2 and isinstance(one[0], int) and one[0] >= 0):
            break
        found.append(one)
    return found or [None]
