"""Reads files that people name: regular ones of a bounded size alone, so that none hangs or fills the memory."""

from __future__ import annotations

import os
import stat

from ..errors import CostmodelError
from ..sizes.units import show_size

#: Bytes of the largest file of each kind that is read.
LARGEST = {
    "code": 4 * 2**20,  # Python files, and settings in TOML, which Python itself reads: some MB a second
    "text": 32 * 2**20,  # specs, strategies, results: a spec of 100,000 nodes has 10 to 20 MB
    "table": 256 * 2**20,  # some 3 million rows of a sweep
    "network": 4 * 2**30,  # an ONNX file with its weights
}
MOST_CELLS = 2**25  # of a table: some 3 GB in Python
#: What is no regular file, in words.
NO_FILES = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link",
}  # fmt: skip


def check_readable(path: str, kind: str = "text") -> None:
    """Raise CostmodelError unless a path leads to a regular file that is no larger than files of its kind may be.

    Nothing is opened: to open a named pipe waits for somebody who writes into it.
    """
    size = check_regular(path)
    if size > LARGEST[kind]:
        most = show_size(LARGEST[kind])
        raise CostmodelError(f"cannot read {path!r}: it has {show_size(size)}; allowed: at most {most}")


def check_regular(path: str, links: bool = True) -> int:
    """The bytes of a regular file. Raises CostmodelError if a path leads to none. links: whether it may be a link."""
    try:
        found = os.stat(path) if links else os.lstat(path)
    except (OSError, ValueError) as error:  # ValueError: a null in the path
        raise unreadable(path, error) from None
    if not stat.S_ISREG(found.st_mode):
        what = NO_FILES.get(stat.S_IFMT(found.st_mode), "no file")
        raise CostmodelError(f"cannot read {path!r}: it is {what}; allowed: a regular file")
    return found.st_size


def check_cells(path: str, rows: int, columns: int) -> None:
    """Raise CostmodelError for a table that is larger than what is read; packed, it may be a small file."""
    if rows * columns > MOST_CELLS:
        raise CostmodelError(
            f"cannot read {path!r}: it has {rows:,} x {columns:,} cells; allowed: at most {MOST_CELLS:,}"
        )


def text_of(path: str, kind: str = "text") -> str:
    """The text of a file, UTF-8. Raises CostmodelError if it cannot be read."""
    check_readable(path, kind)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            found = file.read(LARGEST[kind] + 1)  # files under /proc say that they are empty
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if len(found) > LARGEST[kind]:
        raise CostmodelError(f"cannot read {path!r}: it has more than {show_size(LARGEST[kind])}, which is the most")
    return found


def unreadable(path: str, error: Exception) -> CostmodelError:
    """The error for a file that cannot be read."""
    coding = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
    return CostmodelError(f"cannot read {path!r}: {getattr(error, 'strerror', None) or coding}")
