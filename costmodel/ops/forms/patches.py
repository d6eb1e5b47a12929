"""Gradient Filter: a convolution keeps its input summed over patches, and its gradients are those of patches.

Yang, Li, Marculescu, CVPR 2023, arXiv 2301.00330. With r pixels a side of a patch on the output's grid:

- kept: x~, the input summed over the r * stride pixels below each patch, the map centred on the patches;
- g~, the output's gradient averaged over each patch, those at the edge over the pixels that they have;
- the weight's gradient is the product of g~ and x~ over all patches and images, the same at each place of the kernel;
- the input's gradient is the product of g~ and the kernel's sum, spread over the patch's pixels; the bias's is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph.op import Extra, Scratch, Work, check, op, two
from ...sizes.size import Shape, beyond, numel, require
from ...targets.memory_order import MemoryOrder, contiguous
from ...targets.setting import Setting
from ..conv import Conv2d
from ._formed import Formed

INDEX = 8  # bytes of a place in a map


@op("patched_conv2d")
class PatchedConv2d(Formed, Conv2d):
    """A convolution that keeps its input summed over patches of r x r pixels of its output (Gradient Filter)."""

    r: int = 2

    form = ("patches",)
    in_words = "pooled over patches"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.r >= 1, f"r is {self.r}; allowed: an integer >= 1")
        check(not self.standardise, "a standardised weight has no form of patches; allowed: an ordinary one")
        check(max(two(self.dilation)) < self.r or self.dilation == (1, 1), "a dilated kernel has no form of patches")

    def grid_of(self, y: Shape) -> tuple[Any, Any]:
        """The patches of an output, in both axes."""
        return -(-y[2] // self.r), -(-y[3] // self.r)

    def shape(self, x: Shape) -> Shape:
        y = super().shape(x)
        for side, out, patches, stride in zip(x[2:], y[2:], self.grid_of(y), two(self.stride)):
            require(self.r <= out, "patches of {} pixels are larger than the output {}", (self.r,), y)
            size = self.r * stride
            require(patches * size >= side, "the patches of the output {} do not cover the input {}", y, x)
            fits = (patches * size - side + 1) // 2 <= size // 2
            require(fits, "the patches of the output {} reach too far beyond the input {}", y, x)
        return y

    def extras(self, x: Shape) -> dict[str, Extra]:
        return {**super().extras(x), "patches": Extra((*x[:2], *self.grid_of(self.shape(x))))}

    def carriers(self) -> dict[str, str]:
        return {"patches": "x"}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        work, patches = super().work(y, x), numel((y[0], *self.grid_of(y)))
        weights = numel(self.params()["weight"])
        product, spread = Work(patches * weights // self._area, 0), numel(x)
        forward, averaging = work["forward"], numel(y)
        summed = weights if self._area > 1 else 0
        return {
            **work,
            "forward": Work(forward.macs, forward.elementwise + numel(x)),
            "x": Work(product.macs, averaging + summed + spread),
            "weight": Work(product.macs, averaging + summed),
        }

    @property
    def _area(self) -> int:
        """Places of the kernel."""
        height, width = two(self.kernel)
        return height * width

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(4)

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        item, n = setting.item, y[0]
        rows, columns = self.grid_of(y)
        patches = {"x": item * n * x[1] * rows * columns, "y": item * n * y[1] * rows * columns}
        numbers = numel(self.params()["weight"])
        weights, made = setting.parameter_item * numbers, item * numbers
        summed = weights // self._area if self._area > 1 else 0  # the kernel's sum, and below the same as maps have it
        cast = made // self._area if setting.casts_parameters else 0
        gradient = made // self._area if self._area > 1 else 0  # the weight's at one place of the kernel
        forward, _ = self.kernels(setting, y, x)
        forward = beyond(patches["x"] if "weight" in setting.demanded else 0, forward)
        gradients = {
            "x": item * numel(x) if "x" in setting.demanded else 0,
            "weight": weights if "weight" in setting.demanded else 0,
            "bias": setting.parameter_item * y[1] if "bias" in setting.demanded else 0,
        }
        averaged, levels = patches["y"], []
        if "x" in setting.demanded:
            places, kernel = INDEX * (x[2] + x[3]), cast or summed
            levels += [averaged + summed + cast, averaged + kernel + patches["x"] + gradients["x"] + places]
        if "weight" in setting.demanded:
            levels += [averaged + gradients["x"] + made + gradient]
            levels += [averaged + gradients["x"] + made + weights] if setting.casts_parameters else []
        return Scratch(forward, beyond(sum(gradients.values()), *levels))

    def module(self, library: Any) -> Callable:
        return library.lean.PatchedConv2d(*self.arguments(), r=self.r)


PatchedConv2d.examples = (
    (PatchedConv2d(8, 12, 3, padding=1), (2, 8, 7, 5)),
    (PatchedConv2d(8, 8, 3, 2, 1, groups=8, bias=True, r=3), (3, 8, 9, 7)),
    (PatchedConv2d(8, 16, 1, r=4), (2, 8, 7, 7)),
    (PatchedConv2d(8, 12, 5, padding=2, groups=4, r=1), (2, 8, 6, 5)),
)
