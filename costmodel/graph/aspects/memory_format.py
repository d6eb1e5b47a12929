"""The order of the axes of an op's tensors in memory, for networks that mix memory formats.

Words:
- A layout is the order of a tensor's axes from the largest stride to the smallest (targets/memory_order.py).
- A tensor is contiguous if its axes are in their own order, and channels_last if the channels are innermost.
- Elementwise ops keep their input's layout; kernels for images know the two formats; some ops always give contiguous
  results.
- A gradient is handed over if it is a new tensor with the input's layout: the op that made the input may overwrite it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ...sizes.size import Shape
from ...targets.memory_order import CHANNELS_LAST, MemoryOrder, contiguous, dense
from .autograd import Autograd, Result


class MemoryFormat(Autograd):
    """The hooks for the memory order of an op's output and gradients."""

    #: Whether the op reads channels_last images in place; if not, it makes a contiguous copy first.
    reads_channels_last: ClassVar[bool] = True
    #: Whether a channels_last weight makes the output and the input's gradient channels_last, whatever the input is.
    follows_weight: ClassVar[bool] = False

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        """Layout of the output, which has `axes` axes. xs: layouts of the inputs, without broadcast ones.

        By default it is the layout of the first input with as many axes.
        """
        if self.result.is_view or self.result is Result.INPLACE:
            return xs[0]
        return next((dense(x) for x in xs if len(x.order) == axes), contiguous(axes))

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        """Layout of an input's gradient, from the layouts of the output's gradient, the output and the input."""
        if len(gradient.order) != len(x.order):
            return contiguous(len(x.order))
        return gradient if self.passes else dense(gradient)

    def in_one_format(self) -> Any:
        """This op as it runs where frozen maps lie as all others do, and not in channels_last (ops/lean_folded.py)."""
        return self

    def hands_over(self, name: str) -> bool:
        """Whether the gradient of an input is handed over, whatever the memory format.

        It is not if the op passes it or returns a view, nor if it is contiguous for channels_last images: then the op
        that made the input copies it anyway.
        """
        if name in self.passes or self.result.is_view:
            return False
        as_it_comes = self.gradient_layout(CHANNELS_LAST, CHANNELS_LAST, CHANNELS_LAST)
        return not self.reads_channels_last or as_it_comes.order == CHANNELS_LAST.order

    def copies_gradient(self, gradient: MemoryOrder, y: Shape) -> Any:
        """Whether an autograd node copies the output's gradient before the op's backward, because of its layout."""
        return False


class ContiguousOnly(MemoryFormat):
    """An op whose kernels take contiguous tensors, copying others first, and whose results are contiguous."""

    reads_channels_last = False

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))
