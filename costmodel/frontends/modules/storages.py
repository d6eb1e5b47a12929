"""Which tensors of a trace share a storage: an op that overwrites one of them changes the others."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided


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
