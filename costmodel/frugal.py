"""Starts a script, or a module, in a process that takes less memory:

    python -m costmodel.frugal train.py ...
    python -m costmodel.frugal -m package.train ...

The process has the heap for large blocks (heap.c), and torch._dynamo stays out of it until something asks for it
(costmodel.pytorch.frugal). Where the heap cannot be had, a message says so, and the C library's stays.
"""

from __future__ import annotations

import os
import runpy
import sys

from .errors import CostmodelError
from .heap.library import environment, is_loaded

USAGE = "usage: python -m costmodel.frugal SCRIPT.py ..., or -m MODULE ..."


def main(arguments: list[str]) -> int:
    """Run a script. Returns 2 for a bad request, else what the script does not end with itself."""
    if not arguments or arguments[0] == "-m" and not arguments[1:]:
        print(USAGE, file=sys.stderr)
        return 2
    if not is_loaded():
        try:
            command = [sys.executable, "-m", "costmodel.frugal", *arguments]
            os.execve(sys.executable, command, environment())
        except CostmodelError as error:
            print(f"costmodel.frugal: {error}: the C library's heap stays", file=sys.stderr)
    from .pytorch import frugal

    frugal()
    module = arguments[0] == "-m"
    name, *sys.argv[1:] = arguments[module:]
    if module:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        sys.argv[0] = name
        sys.path[0] = os.path.dirname(os.path.abspath(name))
        runpy.run_path(name, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
