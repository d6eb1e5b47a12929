"""Convolution and pooling of volumes (N, C, D, H, W)."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ..graph.op import Axes, Casts, Extra, Op, Scratch, Work, check, op, shared_fields
from ..sizes.size import Shape, numel, require, window
from ..targets.memory_order import MemoryOrder, contiguous
from ..targets.setting import Setting
from .conv import ConvolutionLayer
from .pool import AveragePool, copies


def three(value: Any, name: str, least: int = 1) -> Axes:
    """The three ints of a field given as one int for all axes, or as three. Raises CostmodelError if one is too small.

    least: the smallest that is allowed.
    """
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * 3
    fits = len(values) == 3 and all(isinstance(v, int) and not isinstance(v, bool) and v >= least for v in values)
    check(fits, f"{name} is {value!r}; allowed: three integers >= {least}")
    return values


@op("conv3d")
class Conv3d(ConvolutionLayer):
    """torch.nn.Conv3d: (N, in_channels, D, H, W) -> (N, out_channels, D', H', W').

    What its kernels allocate inside is not modelled.
    """

    kernel: Axes = (1, 1, 1)  # type: ignore[assignment]
    stride: Axes = (1, 1, 1)  # type: ignore[assignment]
    padding: Axes = (0, 0, 0)  # type: ignore[assignment]
    dilation: Axes = (1, 1, 1)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, three(getattr(self, name), name, least))
        super().__post_init__()

    def shape(self, x: Shape) -> Shape:
        require(len(x) == 5, "conv3d takes (N, C, D, H, W), the input is {}", x)
        fits = x[1] == self.in_channels
        require(fits, "the input has {} channels, the convolution takes {}", x[1:2], (self.in_channels,))
        sides = tuple(map(window, x[2:], self.kernel, self.stride, self.padding, self.dilation))
        for side in sides:
            require(side >= 1, "no output: the kernel {} does not fit into the input {}", self.kernel, x)
        return (x[0], self.out_channels, *sides)

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return self.products(y, self.in_channels // self.groups * prod(self.kernel))

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return False

    def module(self, library: Any) -> Callable:
        return library.nn.Conv3d(*self.arguments())


@shared_fields
class VolumePool(Op):
    """Base class of average and max pooling by a sliding window. Torch's backward keeps the input."""

    timed_as = ("pool",)

    kernel: Axes
    stride: Axes
    padding: Axes = (0, 0, 0)
    ceil: bool = False

    grid = "none"

    def __post_init__(self) -> None:
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0)):
            object.__setattr__(self, name, three(getattr(self, name), name, least))
        for k, p in zip(self.kernel, self.padding):
            check(2 * p <= k, f"padding {p} is more than half of the kernel {k}")

    def shape(self, x: Shape) -> Shape:
        require(len(x) == 5, f"{self.kind} takes (N, C, D, H, W), the input is {{}}", x)
        windows = zip(x[2:], self.kernel, self.stride, self.padding)
        sides = tuple(window(size, k, s, p, ceil=self.ceil) for size, k, s, p in windows)
        for side in sides:
            require(side >= 1, "no output: the window {} does not fit into {}", self.kernel, x)
        return (*x[:2], *sides)

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        per_window = Work(0, numel(y) * prod(self.kernel))
        return {"forward": per_window, "x": per_window}

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return copies(setting, y, x)

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) and setting.is_regular(x)


@op("avg_pool3d")
class AvgPool3d(AveragePool, VolumePool):
    """torch.nn.AvgPool3d. divisor: by which windows' sums are divided, 0 for the number of their elements."""

    count_include_pad: bool = True
    divisor: int = 0

    layer = "AvgPool3d"
    casts = Casts.FULL


@op("max_pool3d")
class MaxPool3d(VolumePool):
    """torch.nn.MaxPool3d. The gradient reads which element of a window won."""

    in_16_bits = True
    casts = Casts.FULL

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("indices",)}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x", "indices")}

    def extras(self, x: Shape) -> dict[str, Extra]:
        return {"indices": Extra(self.shape(x), 64)}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        forward, backward, *_ = super().scratch(setting, y, x)
        return Scratch(forward + (0 if setting.recorded else 8 * numel(y)), backward)

    def module(self, library: Any) -> Callable:
        return library.nn.MaxPool3d(self.kernel, self.stride, self.padding, ceil_mode=self.ceil)


Conv3d.examples = (
    (Conv3d(3, 8, (3, 3, 3), padding=(1, 1, 1), bias=True), (2, 3, 4, 5, 7)),
    (Conv3d(4, 8, (1, 3, 3), stride=(1, 2, 2), groups=2), (2, 4, 3, 7, 5)),
)
AvgPool3d.examples = (
    (AvgPool3d((3, 1, 1), (1, 1, 1)), (2, 1, 7, 5, 4)),
    (AvgPool3d((2, 2, 2), (2, 2, 2), (1, 0, 1), count_include_pad=False), (2, 3, 4, 5, 6)),
)
MaxPool3d.examples = (
    (MaxPool3d((1, 2, 2), (1, 2, 2)), (2, 3, 3, 4, 6)),
    (MaxPool3d((3, 3, 3), (2, 2, 2), (1, 1, 1), ceil=True), (2, 3, 5, 4, 6)),
)
