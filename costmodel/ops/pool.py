"""Average and max pooling."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, ClassVar

from ..graph.op import Extra, Op, Pair, Scratch, Work, check, op, pair, shared_fields, two
from ..sizes.size import Shape, numel, require, window
from ..targets.memory_order import CHANNELS_LAST, MemoryOrder, contiguous, of_images
from ..targets.setting import Setting


class WindowPool(Op):
    """Base class of average and max pooling: (N, C, H, W) -> (N, C, H', W') by a sliding window."""

    timed_as = ("pool",)

    kernel: Pair
    stride: Pair
    padding: Pair
    ceil: bool

    dilation: Pair = (1, 1)

    grid = "strided"
    in_16_bits = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", pair(self.kernel, "kernel"))
        # In torch the default stride is the kernel's size.
        object.__setattr__(self, "stride", pair(self.kernel if self.stride == 0 else self.stride, "stride"))
        object.__setattr__(self, "padding", pair(self.padding, "padding", 0))
        for k, p in zip(two(self.kernel), two(self.padding)):
            check(2 * p <= k, f"padding {p} is more than half of the kernel {k}")

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return of_images(xs[0])

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return of_images(x)

    def shape(self, x: Shape) -> Shape:
        require(len(x) == 4, f"{self.kind} takes (N, C, H, W), the input is {{}}", x)
        kernel = two(self.kernel)
        h, w = (
            window(size, k, s, p, d, self.ceil)
            for size, k, s, p, d in zip(x[2:], kernel, two(self.stride), two(self.padding), two(self.dilation))
        )
        require((h >= 1) & (w >= 1), "no output: the window {} does not fit into {}", kernel, x)
        return (x[0], x[1], h, w)

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) and takes(setting)

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return copies(setting, y, x)

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        per_window = Work(0, numel(y) * prod(two(self.kernel)))
        return {"forward": per_window, "x": per_window}


def copies(setting: Setting, y: Shape, x: Shape) -> Scratch:
    """Scratch of a kernel that copies an input or a gradient that is neither contiguous nor channels_last."""
    return Scratch(setting.copy_of_input(x), setting.copy_of_gradient(y)) if setting.kernels else Scratch()


def takes(setting: Setting) -> bool:
    """Whether a kernel takes its output's gradient as it takes others: one of channels_last images must be so too."""
    return not setting.is_mixed or setting.gradient in (None, CHANNELS_LAST)


class AveragePool(Op):
    """What average pools of images and volumes share: torch's backward keeps the input, only for its shape."""

    timed_as = ("pool",)
    layer: ClassVar[str]  # its name in torch.nn

    kernel: Any
    stride: Any
    padding: Any
    ceil: bool
    count_include_pad: bool
    divisor: int

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x",)}

    def module(self, library: Any) -> Callable:
        more = (self.ceil, self.count_include_pad, self.divisor or None)
        return getattr(library.nn, self.layer)(self.kernel, self.stride, self.padding, *more)


@op("avg_pool2d")
class AvgPool2d(AveragePool, WindowPool):
    """torch.nn.AvgPool2d. Stride 0: the kernel's size.

    divisor: by which windows' sums are divided, 0 for the number of their elements.
    """

    kernel: Pair
    stride: Pair = 0
    padding: Pair = 0
    ceil: bool = False
    count_include_pad: bool = True
    divisor: int = 0

    layer = "AvgPool2d"


@op("max_pool2d")
class MaxPool2d(WindowPool):
    """torch.nn.MaxPool2d. The gradient reads which element of a window won: 4 bits for 3x3, 64 bits in torch."""

    timed_as = ("max_pool",)

    kernel: Pair
    stride: Pair = 0
    padding: Pair = 0
    ceil: bool = False
    dilation: Pair = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "dilation", pair(self.dilation, "dilation"))

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("winner",)}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x", "indices")}

    def extras(self, x: Shape) -> dict[str, Extra]:
        y = self.shape(x)
        bits = max(1, (prod(two(self.kernel)) - 1).bit_length())
        return {"winner": Extra(y, bits), "indices": Extra(y, 64)}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        forward, backward, *_ = copies(setting, y, x)
        return Scratch(forward + (0 if setting.recorded else 8 * numel(y)), backward)  # the indices

    def module(self, library: Any) -> Callable:
        return library.nn.MaxPool2d(self.kernel, self.stride, self.padding, self.dilation, ceil_mode=self.ceil)


@shared_fields
class AdaptivePool(Op):
    """Base class of adaptive pooling: (N, C, H, W) -> (N, C, *output)."""

    timed_as = ("pool",)

    output: Pair = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", pair(self.output, "output"))

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return of_images(xs[0])

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return of_images(x)

    def shape(self, x: Shape) -> Shape:
        require(len(x) == 4, f"{self.kind} takes (N, C, H, W), the input is {{}}", x)
        return (x[0], x[1], *two(self.output))


@op("adaptive_max_pool2d")
class AdaptiveMaxPool2d(AdaptivePool):
    """torch.nn.AdaptiveMaxPool2d: (N, C, H, W) -> (N, C, *output). The gradient reads which element won."""

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("indices",)}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x", "indices")}

    def extras(self, x: Shape) -> dict[str, Extra]:
        return {"indices": Extra(self.shape(x), 64)}

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) and takes(setting)

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        forward, backward, *_ = copies(setting, y, x)
        return Scratch(forward + (0 if setting.recorded else 8 * numel(y)), backward)

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(0, numel(x)), "x": Work(0, numel(y))}

    def module(self, library: Any) -> Callable:
        return library.nn.AdaptiveMaxPool2d(self.output)


@op("adaptive_avg_pool2d")
class AdaptiveAvgPool2d(AdaptivePool):
    """torch.nn.AdaptiveAvgPool2d: (N, C, H, W) -> (N, C, *output).

    For a 1x1 output torch takes a mean, which keeps nothing. For others backward keeps the input, only for its shape.
    """

    grid = "none"
    in_16_bits = True

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(4) if self.output == (1, 1) else super().gradient_layout(gradient, y, x)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": () if self.output == (1, 1) else ("x",)}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        # If the sizes do not divide, windows overlap by one line at most; one addition per input element is counted.
        n = Work(0, numel(x))
        return {"forward": n, "x": n}

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) and (self.output == (1, 1) or takes(setting))

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # For a 1x1 output torch takes a mean, whose gradient is divided by a number.
        return Scratch(setting.mean(y, x), setting.scalar) if self.output == (1, 1) else copies(setting, y, x)

    def module(self, library: Any) -> Callable:
        return library.nn.AdaptiveAvgPool2d(self.output)


AvgPool2d.examples = (
    (AvgPool2d(2), (2, 4, 6, 7)),
    (AvgPool2d(3, stride=2, padding=1, ceil=True), (2, 4, 6, 6)),
    (AvgPool2d(2, divisor=3), (2, 4, 6, 7)),
)
MaxPool2d.examples = (
    (MaxPool2d(3, stride=2, padding=1), (2, 4, 7, 9)),
    (MaxPool2d(2, ceil=True), (1, 3, 5, 5)),
    (MaxPool2d(2, stride=1, dilation=2), (1, 3, 5, 5)),
)
AdaptiveMaxPool2d.examples = ((AdaptiveMaxPool2d(), (2, 3, 7, 7)), (AdaptiveMaxPool2d((3, 2)), (2, 3, 7, 7)))
AdaptiveAvgPool2d.examples = ((AdaptiveAvgPool2d(), (2, 4, 5, 7)), (AdaptiveAvgPool2d((2, 3)), (2, 4, 5, 7)))
