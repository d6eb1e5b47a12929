"""Which tensors share a storage: of a module, which count more than once; of a trace, which an op in place changes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import nn

from ...sizes.units import show_size


def note_on_shared(module: nn.Module) -> tuple[str, ...]:
    """A note if a module's parameters and buffers take other memory than the sum of their bytes."""
    tensors = [*module.parameters(), *module.buffers()]
    tensors = [x for x in tensors if x.layout is torch.strided and not torch.nn.parameter.is_lazy(x)]
    storages = {storage._cdata: storage.nbytes() for storage in (x.untyped_storage() for x in tensors)}
    counted, held = sum(x.nbytes for x in tensors), sum(storages.values())
    if counted == held:
        return ()
    return (
        f"Parameters and buffers share storages or are parts of larger ones: they hold {show_size(held)}, and count as "
        f"{show_size(counted)}, each by itself.",
    )


class Shared:
    """The tensors of a trace by storage."""

    def __init__(self) -> None:
        self._tensors: dict[int, list[weakref.ref[torch.Tensor]]] = {}

    def add(self, tensor: torch.Tensor, gone: Callable[[Any], None]) -> None:
        """Follow a tensor. gone: called when it is freed."""
        address = tensor.untyped_storage()._cdata
        alive = [ref for ref in self._tensors.get(address, ()) if ref() is not None]
        self._tensors[address] = [*alive, weakref.ref(tensor, gone)]

    def others(self, tensor: torch.Tensor) -> Iterator[torch.Tensor]:
        """The other tensors that are alive and have an element in common with this one."""
        for ref in self._tensors.get(tensor.untyped_storage()._cdata, ()):
            other = ref()
            if other is not None and other is not tensor and overlap(tensor, other):
                yield other


def overlap(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors in one storage have an element in common."""
    marks = np.zeros(a.untyped_storage().nbytes() // min(a.element_size(), b.element_size()), bool)
    one, other = (as_strided(marks[x.storage_offset() :], tuple(x.shape), x.stride()) for x in (a, b))
    one[...] = True
    return bool(other.any())
