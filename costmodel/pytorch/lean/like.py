"""Stand-ins for tensors that are not kept: sizes without values."""

from __future__ import annotations

import mmap

import torch
from torch import Tensor


class Like:
    """Shape, strides, dtype and device of a tensor, for formulas that do not read its values."""

    def __init__(self, x: Tensor) -> None:
        self.shape, self.strides, self.dtype, self.device = x.shape, x.stride(), x.dtype, x.device

    def tensor(self) -> Tensor:
        """A tensor of these sizes, for kernels that take a tensor but read only its sizes.

        On the CPU it is a mapping of pages that are never touched, so it takes no memory.
        """
        if self.device.type != "cpu":
            return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device=self.device)
        elements = 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides))
        pages = mmap.mmap(-1, elements * self.dtype.itemsize)
        return torch.frombuffer(pages, dtype=self.dtype).as_strided(self.shape, self.strides)
