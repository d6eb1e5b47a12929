"""Writes files as a whole: until one is complete it has another name, so that no half-written one is left behind.

The old file stays until the new one is on the disk: one that is full, or a power cut, costs the new file alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CostmodelError


def check_free(target: Path, force: bool) -> None:
    """Raise CostmodelError if a file exists and must not be replaced, or if it is a folder."""
    if os.path.isdir(target):
        raise CostmodelError(f"output {str(target)!r} is a folder; allowed: a file")
    if os.path.exists(target) and not force:
        raise CostmodelError(f"output {str(target)!r} exists; allowed: another name, or --force to replace it")


@contextmanager
def replacing(*paths: Path, what: str = "output", really: bool = True) -> Iterator[list[Path]]:
    """The names to write under; the files then take the places of `paths`, all of them or none.

    what: the files in messages. really: if not, only whether they can be written is found out. Raises CostmodelError if
    one cannot be written.
    """
    unfinished = [path.with_name(f".unfinished-{os.getpid()}-{n}") for n, path in enumerate(paths)]
    now = paths[0]
    try:
        yield unfinished
        for now, made in zip(paths, unfinished):
            kept_on_disk(made)
        for now, made in zip(paths, unfinished):
            if really:
                os.replace(made, now)
    except OSError as error:
        named = next((path for path, made in zip(paths, unfinished) if str(made) == str(error.filename)), now)
        raise CostmodelError(f"{what} {str(named)!r} cannot be written: {error.strerror or error}") from None
    finally:
        for made in unfinished:
            made.unlink(missing_ok=True)


def kept_on_disk(path: Path) -> None:
    """Wait until what was written to a file is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_all(contents: dict[Path, bytes], what: str = "output", really: bool = True) -> None:
    """Write files, all of them or none; what and really are as for `replacing`. Raises CostmodelError if one is not."""
    with replacing(*contents, what=what, really=really) as unfinished:
        for path, content in zip(unfinished, contents.values()):
            path.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as a whole. Raises CostmodelError if it cannot be written."""
    write_all({Path(path): text.encode()})
