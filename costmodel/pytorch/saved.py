"""Finds the storages that autograd keeps for the backward pass of a real step, and what is kept beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from ..frontends.modules.dry.kept import SavedStorages
from ..frontends.modules.untouched import uncollected
from .allocations import not_freed
from .devices import Device


def own_storages(module: nn.Module) -> set[int]:
    """Addresses of a module's parameters and buffers."""
    return {t.untyped_storage().data_ptr() for t in [*module.parameters(), *module.buffers()]}


class Kept(NamedTuple):
    """What a forward pass leaves.

    saved: bytes, by address, of the distinct storages that autograd keeps, the module's own parameters and buffers left
    out. made: the same of all that the forward pass made and that is alive after it. noted_bytes: of numbers that count
    in `saved` at addresses of their own, since those in `made` are not known.
    """

    saved: dict[int, int]
    made: dict[int, int]
    noted_bytes: int


def kept_after(module: nn.Module, forward: Callable[[], Any], device: Device) -> tuple[Kept, Any]:
    """What one forward pass of a module on a device leaves, and its result."""
    saved = SavedStorages(own_storages(module))
    saved.start()
    try:
        result, found = device.recorded(forward)
    finally:
        saved.stop()
    saved.settle(result if isinstance(result, torch.Tensor) else None)
    noted = saved.noted if device.place.type == "cpu" else 0  # Python's numbers lie there, whatever the device
    return Kept({**saved.storages, **saved.beside}, not_freed(found), noted), result


def kept_in_a_step(module: nn.Module, forward: Callable[[], torch.Tensor], device: Device) -> tuple[Kept, int]:
    """What the forward pass of a step of a module leaves, and bytes of it that are kept beside autograd.

    They are what the backward pass frees that neither autograd nor the loss has kept. What lives longer is held from
    step to step: of that autograd need not know.
    """
    with uncollected():  # what cycles hold is not freed in between, where its addresses would be given to others
        kept, loss = kept_after(module, forward, device)
        known, losses = {*kept.saved, loss.untyped_storage().data_ptr()}, [loss]
        del loss
        _, found = device.recorded(lambda: losses.pop().backward())  # with the loss go the nodes, and what they hold
    freed = {address for address, size in found if size < 0}
    beside = sum(size for address, size in kept.made.items() if address in freed - known)
    return kept, beside - kept.noted_bytes
