"""What a convolution allocates on x86 without AVX2, with vectors of SSE4.1 or AVX: next to nothing is known.

Restricted to SSE4.1, oneDNN runs kernels that allocate more or less than those for AVX2. Of calls that were drawn for
each kind of convolution (240 on 1, 2 and 4 threads each, in both memory formats) the rules for AVX2 held in all of
products of contiguous maps on one thread, which are not oneDNN's, and of no other kind (torch 2.13).
"""

from __future__ import annotations

from typing import Any

from ..sizes.size import Shape
from .onednn import ConvolutionScratch


class OlderScratch(ConvolutionScratch):
    """The scratch of one convolution in one setting; the rules hold where it is a product of torch's own."""

    def modelled(self, y: Shape, x: Shape) -> Any:
        return self.product and not (self.picked or self.flat) and self.threads == 1

    def bounded(self, y: Shape, x: Shape) -> Any:
        return self.modelled(y, x)
