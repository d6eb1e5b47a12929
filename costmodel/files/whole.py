"""Writes a file as a whole: until it is complete it has another name, so that no half-written one is left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CostmodelError


@contextmanager
def replacing(path: str | Path, what: str = "output") -> Iterator[Path]:
    """The name to write under; the file then takes the place of `path`. Raises CostmodelError if that is impossible.

    what: the file in the message.
    """
    target = Path(path)
    unfinished = target.with_name(f".unfinished-{os.getpid()}")
    try:
        yield unfinished
        os.replace(unfinished, target)
    except OSError as error:
        raise CostmodelError(f"{what} {str(path)!r} cannot be written: {error.strerror or error}") from None
    finally:
        unfinished.unlink(missing_ok=True)


def write_all(contents: dict[Path, bytes], what: str = "output", really: bool = True) -> None:
    """Write files, all of them or none. Raises CostmodelError if one cannot be written.

    what: the files in the message. really: if not, only whether they can be written is found out.
    """
    unfinished = {path: path.with_name(f".unfinished-{os.getpid()}-{n}") for n, path in enumerate(contents)}
    path = next(iter(contents))
    try:
        for path, content in contents.items():
            unfinished[path].write_bytes(content)
        for path, made in unfinished.items():
            if really:
                os.replace(made, path)
    except OSError as error:
        raise CostmodelError(f"{what} {str(path)!r} cannot be written: {error.strerror or error}") from None
    finally:
        for made in unfinished.values():
            made.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as a whole. Raises CostmodelError if it cannot be written."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
