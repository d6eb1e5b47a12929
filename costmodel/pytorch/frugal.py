"""Keeps out of a process what training does not need."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any, NamedTuple

import torch

from ..heap.library import is_loaded

DYNAMO = "torch._dynamo"


class Frugal(NamedTuple):
    """How far a process is frugal. heap: it has the heap for large blocks. dynamo: torch._dynamo is kept out of it."""

    heap: bool
    dynamo: bool


def frugal() -> Frugal:
    """Keep torch._dynamo out of this process, and tell whether its heap is the one for large blocks.

    torch's optimizers import torch._dynamo, some 70 MB of code for torch.compile that they do not use. A stand-in takes
    its place until something asks for more, torch.compile say; then it is imported. Call it before the first optimizer
    is made. The heap must be there from the start: `python -m costmodel.frugal SCRIPT.py` loads it, and calls this.
    """
    return Frugal(is_loaded(), _keep_dynamo_out())


class _Dynamo(ModuleType):
    """torch._dynamo until something asks for more of it than optimizers do, which want nothing to happen."""

    @staticmethod
    def graph_break(*args: Any, **options: Any) -> None:
        pass

    @staticmethod
    def disable(fn: Any = None, *args: Any, **options: Any) -> Any:
        return fn if fn is not None else lambda function: function

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        if sys.modules.get(DYNAMO) is self:
            del sys.modules[DYNAMO]
        return getattr(importlib.import_module(DYNAMO), name)


def _keep_dynamo_out() -> bool:
    """Put the stand-in in its place. Returns whether it is there."""
    if DYNAMO not in sys.modules:
        stand_in = _Dynamo(DYNAMO)
        sys.modules[DYNAMO] = stand_in
        torch._dynamo = stand_in
    return isinstance(sys.modules[DYNAMO], _Dynamo)
