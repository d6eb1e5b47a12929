"""Writes files as a whole or not at all, and over another file only if that is asked for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import CostmodelError
from .reading import NO_FILES


def check_free(target: Path, force: bool) -> None:
    """Raise CostmodelError if a file exists and must not be replaced, or if it is no file at all."""
    try:
        found = os.stat(target) if force else os.lstat(target)
    except (OSError, ValueError):
        return  # there is none, or whoever writes it will tell
    kind = NO_FILES.get(stat.S_IFMT(found.st_mode))
    if kind is not None and not stat.S_ISLNK(found.st_mode):
        raise CostmodelError(f"output {str(target)!r} is {kind}; allowed: a file")
    if not force:
        raise CostmodelError(f"output {str(target)!r} exists; allowed: another name, or --force to replace it")


@contextmanager
def replacing(*paths: Path, what: str = "output", really: bool = True, force: bool = True) -> Iterator[list[Path]]:
    """The names to write under; the files then take the places of `paths`, all of them or none.

    what: the files in messages. really: if not, only whether they can be written is found out. force: whether files
    that are there by then may be replaced. Raises CostmodelError if one cannot be written.
    """
    places = [path.resolve() if os.path.islink(path) else path for path in paths]  # a link stays one
    unfinished = [path.with_name(f".unfinished-{os.getpid()}-{n}") for n, path in enumerate(places)]
    now = paths[0]
    try:
        for now in paths:
            with suppress(FileNotFoundError):
                os.lstat(now)  # a name may be too long, or a folder on its way no folder
        yield unfinished
        for now, made in zip(paths, unfinished):
            kept_on_disk(made)
        for now, made, place in zip(paths, unfinished, places) if really else ():
            put(made, place, force)
    except OSError as error:
        named = next((path for path, made in zip(paths, unfinished) if str(made) == str(error.filename)), now)
        raise CostmodelError(f"{what} {str(named)!r} cannot be written: {error.strerror or error}") from None
    finally:
        for made in unfinished:
            with suppress(OSError):  # it was never made
                made.unlink()


def put(made: Path, place: Path, force: bool) -> None:
    """Give a file its name. Raises CostmodelError without force if another process was faster, OSError if it fails."""
    if not force:
        try:
            os.link(made, place)  # fails where there is a file, unlike a rename
        except FileExistsError:
            check_free(place, force)
            raise
        except OSError:  # a file system without links
            check_free(place, force)
        else:
            made.unlink()
            return
    os.replace(made, place)


def kept_on_disk(path: Path) -> None:
    """Wait until what was written to a file is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_all(contents: dict[Path, bytes], what: str = "output", really: bool = True, force: bool = True) -> None:
    """Write files, all of them or none; the rest is as for `replacing`. Raises CostmodelError if one is not."""
    with replacing(*contents, what=what, really=really, force=force) as unfinished:
        for path, content in zip(unfinished, contents.values()):
            path.write_bytes(content)


def write_text(path: str | Path, text: str, force: bool = True) -> None:
    """Write a text file as a whole. Raises CostmodelError if it cannot be written."""
    write_all({Path(path): text.encode()}, force=force)
