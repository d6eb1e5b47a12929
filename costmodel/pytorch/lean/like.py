"""Stand-ins for tensors that are not kept: sizes without values."""

from __future__ import annotations

import mmap
from functools import lru_cache

import torch
from torch import Tensor


class Like:
    """Shape, strides, dtype and device of a tensor, for formulas that do not read its values."""

    __slots__ = ("device", "dtype", "shape", "strides")

    def __init__(self, x: Tensor) -> None:
        self.shape, self.strides, self.dtype, self.device = x.shape, x.stride(), x.dtype, x.device

    def tensor(self) -> Tensor:
        """A tensor of these sizes, for kernels that take a tensor but read only its sizes."""
        if self.device.type != "cpu":
            return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device=self.device)
        return untouched(self.shape, self.strides, self.dtype)


#: One mapping of pages for all stand-ins, as large as the largest asked for. Nobody reads or writes it, so it takes no
#: memory.
_pages = mmap.mmap(-1, mmap.PAGESIZE)


@lru_cache(maxsize=1024)  # a mapping in each call would take as long as a small kernel
def untouched(shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor on the CPU without values."""
    global _pages
    elements = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if len(_pages) < elements * dtype.itemsize:
        _pages = mmap.mmap(-1, elements * dtype.itemsize)
    return torch.frombuffer(_pages, dtype=dtype, count=elements).as_strided(shape, strides)
