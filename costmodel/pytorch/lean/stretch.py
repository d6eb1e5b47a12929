"""Layers of a stretch: the part of a frozen prefix that runs in channels_last though the network is contiguous.

It does so on x86 and 64-bit ARM, in float32. Elsewhere, and where the network is in channels_last itself, its layers do
what others do. So do they where a gradient is recorded: of images, say.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...ops.lean_folded import STRETCH_DTYPE
from ..modules import recorded
from .products import OWN, is_product, product

DTYPE = getattr(torch, STRETCH_DTYPE)


class InStretch:
    """What layers of a stretch share. enters, leaves: it is the first, the last one."""

    enters = leaves = False
    _first: tuple[Any, ...] = ()

    def join(self, first: nn.Conv2d) -> None:
        """Take a place in a stretch. first: the network's first convolution, whose weight tells its memory format."""
        self._first = (first,)  # in a tuple, so that it is not registered

    def changes_format(self, x: Tensor, *parameters: Tensor | None) -> bool:
        """Whether maps are in channels_last there, and nowhere else. x: the layer's input."""
        if not self._first or OWN is None or x.dtype is not DTYPE or x.device.type != "cpu":
            return False
        if torch.is_autocast_enabled("cpu") or recorded(x, *parameters):
            return False
        return self._first[0].weight.is_contiguous()

    def entered(self, x: Tensor) -> Tensor:
        """The input as the layer takes it. Of one pixel a map lies in both formats; its strides tell which."""
        return x.clone(memory_format=torch.channels_last) if self.enters and x.is_contiguous() else x

    def left(self, y: Tensor) -> Tensor:
        """The result as the layer gives it."""
        return y.clone(memory_format=torch.contiguous_format) if self.leaves else y

    def returned(self, y: Tensor) -> Tensor:
        """The result of a layer that does what others do. Its input may be in channels_last all the same."""
        leaves = self.leaves and self._first and self._first[0].weight.is_contiguous()
        return y.contiguous() if leaves else y


class FrozenConv2d(InStretch, nn.Conv2d):
    """A frozen pointwise convolution, a product of matrices in a stretch."""

    def forward(self, x: Tensor) -> Tensor:
        options = (self.stride, self.padding, self.dilation, self.groups)
        weight = self.weight
        if self.changes_format(x, weight, self.bias) and is_product(x, weight, options, on_threads=True):
            with torch.no_grad():
                return product(x, weight.flatten(1), self.bias, torch.channels_last)
        return super().forward(x)


class LeavingAdd(InStretch, nn.Module):
    """The sum at the end of a stretch, written as a contiguous map."""

    leaves = True

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if self.changes_format(a, b):
            made = torch.empty(torch.broadcast_shapes(a.shape, b.shape), dtype=a.dtype)
            return torch.add(a, b, out=made)
        return self.returned(a.add_(b) if self.inplace else a + b)
