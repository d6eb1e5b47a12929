"""The heap for large blocks as a library: compiled once with the system's compiler, and loaded before the C library.

Only what is there when a process starts can take the place of its allocator, so a launcher sets LD_PRELOAD. Without a
compiler, or on a system without LD_PRELOAD, the C library's heap stays.
"""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from ..errors import CostmodelError

SOURCE = Path(__file__).with_name("heap.c")
PRELOAD = "LD_PRELOAD"
COMPILER = "CC"  # the variable that names the compiler, cc if it is not set
#: The heap holds what was in use at most, and of holes one part in as many.
SLACK = 64
FLAGS = ("-O2", "-shared", "-fPIC", f"-DSLACK={SLACK}")
LIBRARIES = ("-ldl", "-lpthread")
TOLD, SETTLE = "costmodel_heap", "costmodel_heap_settle"  # the library's own functions
STEM = "costmodel-heap-"  # of the library's file
IN_PRELOAD = " :$"  # characters that LD_PRELOAD takes for something else
#: Ends with 0 if the process has the heap.
CHECK = f"import ctypes, sys; sys.exit(not hasattr(ctypes.CDLL(None), {TOLD!r}))"


def is_loaded() -> bool:
    """Whether this process has the heap."""
    return heap_bytes() is not None


def heap_bytes() -> tuple[int, int, int] | None:
    """Bytes of the heap's blocks now and at most lately, and bytes of it in memory; None if there is no such heap."""
    told = _symbol(TOLD)
    if told is None:
        return None
    found = (ctypes.c_size_t * 4)()
    told(found)
    return (found[0], found[1], found[2]) if found[3] else None


def settle() -> None:
    """Give back to the system what the heap holds and nobody uses, if this process has it."""
    settled = _symbol(SETTLE)
    if settled is not None:
        settled()


def _symbol(name: str) -> ctypes._NamedFuncPointer | None:
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # Windows
        return None


def library() -> Path:
    """The compiled heap. Raises CostmodelError if it cannot be compiled here, or loaded."""
    if not sys.platform.startswith("linux"):
        raise CostmodelError(f"the heap for large blocks runs on Linux; found {sys.platform}")
    compiler = os.environ.get(COMPILER) or "cc"
    told = f"{SOURCE.read_text(encoding='utf-8')} {platform.machine()} {platform.libc_ver()} {compiler} {FLAGS}"
    name = f"{STEM}{sha256(told.encode()).hexdigest()[:16]}.so"
    folders = [folder for folder in (cache(), temporary()) if folder and not any(c in str(folder) for c in IN_PRELOAD)]
    for folder in folders:
        try:
            if not _is_own(folder):
                continue
            found = folder / name
            if found.exists():
                return found
            with tempfile.TemporaryDirectory(dir=folder) as made:
                return _compiled(compiler, Path(made, name), found)
        except OSError:  # nothing can be written there
            continue
    looked = " or ".join(map(str, folders)) or "a folder without spaces, colons and dollar signs"
    raise CostmodelError(f"the heap for large blocks cannot be written to {looked}; allowed: to set XDG_CACHE_HOME")


def cache() -> Path | None:
    """The folder for what can be made again; None if nobody knows where that is."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "costmodel"
    except RuntimeError:
        return None


def temporary() -> Path:
    """A folder of this user's own among temporary ones."""
    return Path(tempfile.gettempdir(), f"costmodel-{os.getuid()}")


def _is_own(folder: Path) -> bool:
    """Whether a folder, which is made if need be, is this user's, so that nobody else can change what is loaded."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = os.lstat(folder)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _compiled(compiler: str, made: Path, target: Path) -> Path:
    """The library at its place: compiled beside it and loaded first, so that nobody loads half of it."""
    command = [*compiler.split(), *FLAGS, "-o", str(made), str(SOURCE), *LIBRARIES]
    try:
        run = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise CostmodelError(
            f"no C compiler {compiler!r} ({error.strerror}); allowed: one in the variable {COMPILER}"
        ) from None
    if run.returncode:
        said = (run.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise CostmodelError(f"{compiler!r} does not compile the heap for large blocks: {said}")
    if subprocess.run([sys.executable, "-c", CHECK], env=_with(made), capture_output=True).returncode:
        raise CostmodelError(f"what {compiler!r} compiles is not loaded before the C library ({PRELOAD})")
    os.replace(made, target)
    return target


def _with(heap: Path | None) -> dict[str, str]:
    """The environment with a library to load first, and none of this package's beside it."""
    others = [path for path in os.environ.get(PRELOAD, "").split(":") if path and STEM not in path]
    found = {**os.environ, PRELOAD: ":".join([*([str(heap)] if heap else []), *others])}
    return {name: value for name, value in found.items() if name != PRELOAD or value}


def with_the_heap() -> dict[str, str]:
    """The environment of a process that has the heap. Raises CostmodelError if it cannot be compiled here."""
    return _with(library())


def without_the_heap() -> dict[str, str]:
    """The environment of a process that has the C library's heap."""
    return _with(None)
