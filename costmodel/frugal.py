"""Starts a script, or a module, in a process that takes less memory:

    python -m costmodel.frugal train.py ...
    python -m costmodel.frugal -m package.train ...

The process has the heap for large blocks (heap/heap.c), and torch._dynamo stays out of it until something asks for it
(costmodel.pytorch.frugal). Where the heap cannot be had, a message says so, and the C library's stays.
"""

from __future__ import annotations

import os
import runpy
import sys
from importlib.machinery import SourceFileLoader

from .errors import CostmodelError
from .heap.library import is_loaded, with_the_heap

USAGE = "usage: python -m costmodel.frugal SCRIPT.py ..., or -m MODULE ..."
STARTED = "COSTMODEL_FRUGAL"  # of the environment: the launcher has started this process


def main(arguments: list[str]) -> int:
    """Run a script. Returns 2 for a bad request, else what the script does not end with itself."""
    is_module = arguments[:1] == ["-m"]
    name, *rest = arguments[is_module:] or [""]
    if not name or not is_module and not os.path.isfile(name):
        print(f"{USAGE}; found {name!r}, which is no file" if name else USAGE, file=sys.stderr)
        return 2
    if not is_loaded():
        say_why_not(arguments)
    os.environ.pop(STARTED, None)
    from .pytorch import frugal

    frugal()
    sys.argv = [name, *rest]
    if is_module:
        sys.path[0] = os.getcwd()
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        run(name)
    return 0


def say_why_not(arguments: list[str]) -> None:
    """Start this process anew with the heap. Returns where that cannot be, when a message has said so."""
    try:
        if os.environ.get(STARTED):
            raise CostmodelError("the heap for large blocks was not loaded")
        flags = sys.orig_argv[1 : sys.orig_argv.index("-m")] if "-m" in sys.orig_argv else []
        command = [sys.executable, *flags, "-m", "costmodel.frugal", *arguments]
        os.execve(sys.executable, command, {**with_the_heap(), STARTED: "1"})
    except CostmodelError as error:
        print(f"costmodel.frugal: {error}: the C library's heap stays", file=sys.stderr)


def run(script: str) -> None:
    """Run a script as `python script` does: as the module __main__, which it is to the end of the process."""
    path = os.path.abspath(script)
    sys.path[0] = os.path.dirname(os.path.realpath(script))
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    loader = SourceFileLoader("__main__", path)
    told = {
        "__file__": path,
        "__loader__": loader,
        **dict.fromkeys(("__spec__", "__package__", "__cached__", "__doc__")),
    }
    own = sys.modules["__main__"].__dict__
    for name in [name for name in own if not name.startswith("__")]:
        del own[name]
    own.update(told)
    exec(code, own)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
