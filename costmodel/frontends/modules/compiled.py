"""Code that a compiler of torch's has taken over: torch.compile's runs as it was written, TorchScript's is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from ...errors import CostmodelError

#: Said of a network with code that torch.compile compiled.
NOTE = "The network calls code that torch.compile compiled; the figures are of that code as it was written."
ALLOWED = "PYTORCH_JIT=0 in the environment makes torch leave torch.jit.script out"


def uncompiled(module: nn.Module) -> tuple[nn.Module, list[str]]:
    """The module of which torch.compile made this one, or the module itself, and notes."""
    return (module._orig_mod, [NOTE]) if type(module).__name__ == "OptimizedModule" else (module, [])


def refuse_torchscript(module: nn.Module) -> None:
    """Raise CostmodelError for a module that TorchScript compiled, or that has one inside."""
    if isinstance(module, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
        raise CostmodelError("the network is compiled by TorchScript; allowed: the module that it was made from")
    for path, child in module.named_modules():
        if isinstance(child, torch.jit.ScriptModule):
            raise CostmodelError(f"{path!r} is compiled by TorchScript; allowed: the module that it was made from")


@contextmanager
def as_written(notes: list[str] | None = None) -> Iterator[None]:
    """Within this, code that torch.compile compiled runs as it was written, and functions of TorchScript are refused.

    notes: gets a note if the former happens.
    """

    def refused(function: torch.jit.ScriptFunction, *_: Any, **__: Any) -> None:
        raise CostmodelError(
            f"the network calls {function.name}, which TorchScript compiled: what its executor keeps depends on how"
            f" often it ran; {ALLOWED}"
        )

    with ExitStack() as patches:
        patches.enter_context(patch.object(torch.jit.ScriptFunction, "__call__", refused))
        dynamo: Any = sys.modules.get("torch._dynamo.eval_frame")  # it is there if anything was compiled
        for name in ("set_eval_frame", "_maybe_set_eval_frame"):
            if hasattr(dynamo, name):
                patches.enter_context(patch.object(dynamo, name, _off(getattr(dynamo, name), notes)))
        yield


def _off(set_frame: Any, notes: list[str] | None) -> Any:
    """torch.compile's switch, which stays off. notes: gets a note when somebody wants it on."""

    def switch(callback: Any, *more: Any) -> Any:
        if callable(callback):
            callback = None
            if notes is not None and NOTE not in notes:
                notes.append(NOTE)
        return set_frame(callback, *more)

    return switch
