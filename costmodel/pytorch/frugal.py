"""Keeps out of a process what training does not need."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

import torch

from ..heap.library import is_loaded, settle

DYNAMO = "torch._dynamo"
#: Modules of torch that ask torch._dynamo for what does nothing while nothing is compiled.
OPTIMIZERS = ("torch._compile", "torch.optim")


class Frugal(NamedTuple):
    """How far a process is frugal. heap: it has the heap for large blocks. dynamo: torch._dynamo is kept out of it."""

    heap: bool
    dynamo: bool


def frugal() -> Frugal:
    """Keep torch._dynamo out of this process, and tell whether its heap is the one for large blocks.

    torch's optimizers import torch._dynamo, some 70 MB of code for torch.compile that they do not use. A stand-in takes
    its place until somebody else asks for it, torch.compile say; then it is imported. Call it before the first
    optimizer is made. The heap must be there from the start: `python -m costmodel.frugal SCRIPT.py` loads it, and calls
    this. What the heap holds and nobody uses is given back.
    """
    settle()
    return Frugal(is_loaded(), _keep_dynamo_out())


class _Dynamo(ModuleType):
    """torch._dynamo as long as optimizers alone ask for it."""

    def __init__(self, spec: ModuleSpec | None) -> None:
        super().__init__(DYNAMO)
        self.__spec__ = spec
        self._lock = threading.RLock()
        self._undecorated: list[Any] = []  # functions of optimizers to which it has told nothing yet

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        asks = sys._getframe(1).f_globals.get("__name__", "")
        if name in ("disable", "graph_break") and asks.startswith(OPTIMIZERS):
            return getattr(self, f"_{name}")
        return getattr(self._real(), name)

    def _disable(self, function: Any, *args: Any, **options: Any) -> Any:
        self._undecorated.append(function)
        return function

    def _graph_break(self, *args: Any, **options: Any) -> None:
        pass

    def _real(self) -> ModuleType:
        """The module itself, which takes this one's place."""
        with self._lock:
            if sys.modules.get(DYNAMO) is self:
                del sys.modules[DYNAMO]
            found = importlib.import_module(DYNAMO)
            while self._undecorated:  # torch._compile asks again
                self._undecorated.pop().__dict__.pop("__dynamo_disable", None)
            return found


class _Imported(MetaPathFinder, Loader):
    """Finds modules of torch._dynamo that its own import has made, where their import began with the stand-in."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name.startswith(f"{DYNAMO}.") and name in sys.modules else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = sys.modules[spec.name]
        self._own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__spec__"] = self._own  # some modules refuse to have attributes set


def _keep_dynamo_out() -> bool:
    """Put the stand-in in its place. Returns whether it is there."""
    if DYNAMO not in sys.modules:
        stand_in = _Dynamo(importlib.util.find_spec(DYNAMO))
        sys.meta_path.insert(0, _Imported())
        sys.modules[DYNAMO] = stand_in
        torch._dynamo = stand_in
    return isinstance(sys.modules[DYNAMO], _Dynamo)
