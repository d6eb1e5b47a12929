"""The heap for large blocks as a library: compiled once with the system's compiler, and loaded before the C library.

Only what runs before a process starts can take the place of its allocator, so a launcher sets LD_PRELOAD. Without a
compiler, or on a system without LD_PRELOAD, the C library's heap stays.
"""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from ..errors import CostmodelError

SOURCE = Path(__file__).with_name("heap.c")
PRELOAD = "LD_PRELOAD"
COMPILER = "CC"  # the variable that names the compiler, cc if it is not set
FLAGS = ("-O2", "-shared", "-fPIC")
LIBRARIES = ("-ldl", "-lpthread")
TOLD = "costmodel_heap"  # the library's own function


def is_loaded() -> bool:
    """Whether this process has the heap."""
    return _symbol() is not None


def heap_bytes() -> tuple[int, int, int] | None:
    """Bytes of the heap's blocks now and at most, and bytes of it in memory; None if this process has no such heap."""
    told = _symbol()
    if told is None:
        return None
    found = (ctypes.c_size_t * 3)()
    told(found)
    return found[0], found[1], found[2]


def _symbol() -> ctypes._NamedFuncPointer | None:
    try:
        return getattr(ctypes.CDLL(None), TOLD, None)
    except (OSError, TypeError):  # Windows
        return None


def library() -> Path:
    """The compiled heap. Raises CostmodelError if it cannot be compiled here."""
    if not sys.platform.startswith("linux"):
        raise CostmodelError(f"the heap for large blocks runs on Linux; found {sys.platform}")
    compiler = os.environ.get(COMPILER) or "cc"
    told = f"{SOURCE.read_text(encoding='utf-8')} {platform.machine()} {platform.libc_ver()} {compiler}"
    name = f"heap-{sha256(told.encode()).hexdigest()[:16]}.so"
    for folder in (cache(), Path(tempfile.gettempdir())):
        found = folder / name
        if found.exists() and found.stat().st_uid == os.getuid():
            return found
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as made:
                return _compiled(compiler, Path(made, name), found)
        except OSError:  # nothing can be written there
            continue
    raise CostmodelError(f"the heap for large blocks cannot be written to {cache()} or {tempfile.gettempdir()}")


def cache() -> Path:
    """The folder for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "costmodel"


def _compiled(compiler: str, made: Path, target: Path) -> Path:
    """The library at its place: compiled beside it first, so that nobody loads half of it."""
    command = [*compiler.split(), *FLAGS, "-o", str(made), str(SOURCE), *LIBRARIES]
    try:
        run = subprocess.run(command, capture_output=True, text=True)
    except (FileNotFoundError, PermissionError) as error:
        raise CostmodelError(
            f"no C compiler {compiler!r} ({error.strerror}); allowed: one in the variable {COMPILER}"
        ) from None
    if run.returncode:
        said = (run.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise CostmodelError(f"{compiler!r} does not compile the heap for large blocks: {said}")
    os.replace(made, target)
    return target


def environment() -> dict[str, str]:
    """The environment of a process that has the heap. Raises CostmodelError if it cannot be compiled here."""
    others = [path for path in os.environ.get(PRELOAD, "").split(":") if path]
    return {**os.environ, PRELOAD: ":".join([str(library()), *others])}
