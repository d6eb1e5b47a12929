"""Finds the storages that autograd keeps for the backward pass of a real step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..frontends.modules.dry.kept import SavedStorages


def own_storages(module: nn.Module) -> set[int]:
    """Addresses of a module's parameters and buffers."""
    return {t.untyped_storage().data_ptr() for t in [*module.parameters(), *module.buffers()]}


def saved_storages(module: nn.Module, forward: Callable[[], Any]) -> dict[int, int]:
    """Bytes, by address, of the distinct storages that autograd keeps after one forward pass of a module.

    The module's own parameters and buffers are left out.
    """
    saved = SavedStorages(own_storages(module))
    saved.start()
    try:
        result = forward()
    finally:
        saved.stop()
    saved.settle(result if isinstance(result, torch.Tensor) else None)
    return {**saved.storages, **saved.beside}
