"""Sizes of a tensor that is not kept."""

from __future__ import annotations

import mmap

import torch
from torch import Tensor


class Like:
    """What a formula must know of a tensor that it need not read: shape, strides, dtype, device."""

    def __init__(self, x: Tensor) -> None:
        self.shape, self.strides, self.dtype, self.device = x.shape, x.stride(), x.dtype, x.device

    def tensor(self) -> Tensor:
        """A tensor like it, for formulas that take one and look at its sizes only. On the CPU it is a mapping of
        pages that are never touched, so it takes no memory."""
        if self.device.type != "cpu":
            return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device=self.device)
        elements = 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides))
        pages = mmap.mmap(-1, elements * self.dtype.itemsize)
        return torch.frombuffer(pages, dtype=self.dtype).as_strided(self.shape, self.strides)
