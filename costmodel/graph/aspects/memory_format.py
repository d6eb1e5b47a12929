"""In which order the axes of an op's tensors lie in memory, in networks that mix memory formats.

Words:
- A layout is the order of a tensor's axes from the largest stride to the smallest (targets/memory_order.py).
- A tensor is contiguous if its axes lie in their own order, and channels_last if the channels lie innermost.
- Elementwise ops keep their input's layout; kernels of images know the two formats; some ops always give contiguous
  results.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ...sizes.size import Shape
from ...targets.memory_order import Layout, contiguous, dense
from .autograd import Result


class MemoryFormat:
    """The hooks that tell how an op's output and gradients lie in memory."""

    #: Its input's gradient comes contiguous, whatever the memory format.
    contiguous_gradient: ClassVar[bool] = False

    def layout(self, axes: int, *xs: Layout) -> Layout:
        """Layout of the output, which has `axes` axes. xs: layouts of the inputs, broadcast ones left out.

        Elementwise ops take after their first input.
        """
        if self.result.is_view or self.result is Result.INPLACE:
            return xs[0]
        return next((dense(x) for x in xs if len(x.order) == axes), contiguous(axes))

    def gradient_layout(self, gradient: Layout, y: Layout, x: Layout) -> Layout:
        """Layout of an input's gradient, from the layouts of the output's gradient, the output and the input."""
        if len(gradient.order) != len(x.order):
            return contiguous(len(x.order))
        return gradient if self.passes else dense(gradient)

    def copies_gradient(self, gradient: Layout, y: Shape) -> Any:
        """Whether backward first copies the output's gradient, by a node of autograd, because of its layout."""
        return False
