"""Ops that change the resolution of a map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Op, Pair, Scratch, Work, check, op, pair, two
from ..sizes.size import Shape, numel, require, where
from ..targets.memory_order import MemoryOrder, of_images
from ..targets.setting import Setting


@op("upsample")
class Upsample(Op):
    """torch.nn.functional.interpolate(mode="bilinear", align_corners=False): (N, C, H, W) -> (N, C, H', W').

    The output has the height and width of a second input, `like`, or without one `scale` times the input's. It keeps
    nothing.
    """

    scale: int = 0

    shape_only = ("like",)

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("x",) if self.scale else ("x", "like")

    def __post_init__(self) -> None:
        check(self.scale >= 0, f"scale is {self.scale}; allowed: >= 1, or 0 with a second input")

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return of_images(xs[0])

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return of_images(gradient)

    def shape(self, x: Shape, like: Shape | None = None) -> Shape:
        for value in (x,) if like is None else (x, like):
            require(len(value) == 4, "upsample takes (N, C, H, W), the input is {}", value)
        return (*x[:2], x[2] * self.scale, x[3] * self.scale) if like is None else (*x[:2], *like[2:])

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def work(self, y: Shape, x: Shape, like: Shape | None = None) -> dict[str, Work]:
        # Forward: four neighbours are weighted and summed. Backward: four weighted parts are added to the neighbours.
        n = numel(y)
        return {"forward": Work(0, 7 * n), "x": Work(0, 8 * n)}

    def scratch(self, setting: Setting, y: Shape, x: Shape, like: Shape | None = None) -> Scratch:
        # aten/src/ATen/native/cpu/UpSampleKernel.cpp works on channels_last copies of input and output. A 1x1 input is
        # in both formats at once, and so is a 1x1 output.
        if not setting.kernels or setting.channels_last:
            return Scratch()
        point, point_out = x[2] * x[3] == 1, y[2] * y[3] == 1
        copies = where(point & point_out, 0, numel(y)) + where(point, 0, numel(x))
        return Scratch(setting.item * copies)

    def module(self, library: Any) -> Callable:
        interpolate = library.torch.nn.functional.interpolate
        if self.scale:
            return lambda x: interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return lambda x, like: interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


@op("interpolate")
class Interpolate(Op):
    """torch.nn.functional.interpolate to a fixed height and width. It keeps nothing."""

    size: Pair
    mode: str = "nearest"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", pair(self.size, "size"))
        check(self.mode in _TAPS, f"mode is {self.mode!r}; allowed: {', '.join(_TAPS)}")

    layout, gradient_layout = Upsample.layout, Upsample.gradient_layout

    def shape(self, x: Shape) -> Shape:
        require(len(x) == 4, "interpolate takes (N, C, H, W), the input is {}", x)
        return (*x[:2], *two(self.size))

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = Work(0, 2 * _TAPS[self.mode] * numel(y))  # each neighbour is weighted and added
        return {"forward": n, "x": n}

    def module(self, library: Any) -> Callable:
        more = {} if self.mode in ("nearest", "nearest-exact") else {"align_corners": False}
        return lambda x: library.torch.nn.functional.interpolate(x, self.size, mode=self.mode, **more)


_TAPS = {"nearest": 1, "nearest-exact": 1, "bilinear": 4, "bicubic": 16}  # neighbours read for one output
Interpolate.examples = ((Interpolate((5, 7)), (2, 4, 3, 3)), (Interpolate(6, "bilinear"), (2, 4, 3, 3)))
Upsample.examples = (
    (Upsample(), (2, 8, 3, 4), (2, 4, 7, 8)),
    (Upsample(scale=2), (2, 8, 3, 4)),
    (Upsample(), (2, 8, 1, 1), (2, 8, 5, 5)),
)
