"""Transposed convolutions: the gradient of a convolution as a layer, which makes maps larger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Pair, Scratch, Work, op, pair, two
from ..sizes.size import Shape, numel, require
from ..targets.memory_order import MemoryOrder, of_images
from ..targets.setting import Setting
from .conv import ConvolutionLayer


@op("conv_transpose2d")
class ConvTranspose2d(ConvolutionLayer):
    """torch.nn.ConvTranspose2d: (N, in_channels, H, W) -> (N, out_channels, H', W').

    Each element of the input adds a window to the output. more: rows and columns that the output has besides
    (output_padding). What its kernels allocate inside is not modelled.
    """

    more: Pair = 0

    follows_weight = True

    def __post_init__(self) -> None:
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("more", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(getattr(self, name), name, least))
        super().__post_init__()

    def params(self) -> dict[str, tuple[int, ...]]:
        weight = (self.in_channels, self.out_channels // self.groups, *two(self.kernel))
        return {"weight": weight, "bias": (self.out_channels,)} if self.bias else {"weight": weight}

    def shape(self, x: Shape) -> Shape:
        require(len(x) == 4, "conv_transpose2d takes (N, C, H, W), the input is {}", x)
        fits = x[1] == self.in_channels
        require(fits, "the input has {} channels, the convolution takes {}", x[1:2], (self.in_channels,))
        windows = (two(self.kernel), two(self.stride), two(self.padding), two(self.dilation), two(self.more))
        h, w = ((n - 1) * s - 2 * p + d * (k - 1) + m + 1 for n, k, s, p, d, m in zip(x[2:], *windows))
        require((h >= 1) & (w >= 1), "no output: the padding {} takes all of the input {}", two(self.padding), x)
        return (x[0], self.out_channels, h, w)

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        per_input = numel(self.params()["weight"][1:])
        work = {name: Work(numel(x) * per_input) for name in ("forward", "x", "weight")}
        if not self.bias:
            return work
        return {**work, "forward": Work(work["forward"].macs, numel(y)), "bias": Work(0, numel(y))}

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return of_images(xs[0])

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return of_images(x)

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return False

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # The weights' gradient is computed with the bias's, wanted or not.
        unwanted = "bias" in setting.demanded and "weight" not in setting.demanded
        return Scratch(backward=setting.item * numel(self.params()["weight"]) * unwanted)

    def module(self, library: Any) -> Callable:
        sizes = (self.kernel, self.stride, self.padding, self.more, self.groups, self.bias, self.dilation)
        return library.nn.ConvTranspose2d(self.in_channels, self.out_channels, *sizes)


ConvTranspose2d.examples = (
    (ConvTranspose2d(4, 6, 2, stride=2), (2, 4, 5, 7)),
    (ConvTranspose2d(4, 6, 3, stride=2, padding=1, more=1, groups=2, bias=True), (2, 4, 5, 7)),
)
