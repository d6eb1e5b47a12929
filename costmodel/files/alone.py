"""A lock beside a file: while one process writes the file, another one is told so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import CostmodelError


@contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Within this, no other process may write a file. Raises CostmodelError if one does.

    The operating system lets go of the lock when its process ends, however that ends.
    """
    from filelock import FileLock, Timeout

    if not path.parent.is_dir():  # which the lock would make
        raise CostmodelError(f"output {str(path)!r} cannot be written: there is no folder {str(path.parent)!r}")
    beside = path.with_name(f".{path.name}.lock")
    lock = FileLock(beside, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise CostmodelError(
            f"output {str(path)!r} is being written by another process; allowed: to wait for it, or another name"
        ) from None
    except OSError as error:
        raise CostmodelError(f"output {str(path)!r} cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            beside.unlink()  # before it is free, so that nobody else's is removed
        lock.release()
