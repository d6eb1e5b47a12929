"""Ops that change the resolution of a map."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import Any

import numpy as np

from ..graph.op import Factors, Op, Pair, Scratch, Work, check, op, pair, two
from ..sizes.size import Shape, Size, numel, require, where
from ..targets.memory_order import MemoryOrder, contiguous, copy_of, of_images
from ..targets.setting import NUMBER_BYTES, Setting


@op("upsample")
class Upsample(Op):
    """torch.nn.functional.interpolate(mode="bilinear", align_corners=False): (N, C, H, W) -> (N, C, H', W').

    The output has the height and width of a second input, `like`, or without one `scale` times the input's. It keeps
    nothing.
    """

    timed_as = ("copy",)

    scale: int = 0

    in_16_bits = True
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

    def modelled(self, setting: Setting, y: Shape, x: Shape, like: Shape | None = None) -> Any:
        return super().modelled(setting, y, x) and takes(setting, x)

    def scratch(self, setting: Setting, y: Shape, x: Shape, like: Shape | None = None) -> Scratch:
        return Scratch(resizing(setting, "bilinear", y, x), gradient_copy(setting, "bilinear", y))

    def module(self, library: Any) -> Callable:
        interpolate = library.torch.nn.functional.interpolate
        if self.scale:
            return lambda x: interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return lambda x, like: interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


@op("interpolate")
class Interpolate(Op):
    """torch.nn.functional.interpolate to a fixed height and width, or by a factor of each. It keeps nothing.

    scales: the factors; torch reads the input at multiples of 1 / factor, also where the output's size is rounded down.
    corners: corners of the output are corners of the input (align_corners). antialias: an output weights as many inputs
    as it stands for.
    """

    timed_as = ("copy",)

    size: Pair = 0
    mode: str = "nearest"
    scales: Factors = ()
    corners: bool = False
    antialias: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", pair(self.size, "size", 0))
        object.__setattr__(self, "scales", tuple(map(float, self.scales)))
        by_factor = len(self.scales) == 2 and min(self.scales) > 0 and two(self.size) == (0, 0)
        check(by_factor or not self.scales and min(two(self.size)) > 0, "interpolate takes a size or two factors > 0")
        check(not self.corners or self.mode in ("bilinear", "bicubic"), "corners belong to bilinear and bicubic")
        check(not self.antialias or self.mode in ("bilinear", "bicubic"), "antialias belongs to bilinear and bicubic")
        check(self.mode in _TAPS, f"mode is {self.mode!r}; allowed: {', '.join(_TAPS)}")

    layout = Upsample.layout

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(4) if self.mode == "bicubic" else of_images(gradient)

    def shape(self, x: Shape) -> Shape:
        require(len(x) == 4, "interpolate takes (N, C, H, W), the input is {}", x)
        if not self.scales:
            return (*x[:2], *two(self.size))
        return (*x[:2], *(scaled(size, factor) for size, factor in zip(x[2:], self.scales)))

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = Work(0, 2 * _TAPS[self.mode] * numel(y))  # each neighbour is weighted and added
        return {"forward": n, "x": n}

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        # Bicubic gradients are contiguous whatever the input is.
        known = not self.antialias and (self.mode != "bicubic" or not setting.channels_last)
        return super().modelled(setting, y, x) and known and takes(setting, x)

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(resizing(setting, self.mode, y, x), gradient_copy(setting, self.mode, y))

    def module(self, library: Any) -> Callable:
        more = {} if self.mode in ("nearest", "nearest-exact") else {"align_corners": self.corners}
        size: dict[str, Any] = {"scale_factor": self.scales} if self.scales else {"size": self.size}
        more |= {"antialias": True} if self.antialias else {}
        return lambda x: library.torch.nn.functional.interpolate(x, **size, mode=self.mode, **more)


def takes(setting: Setting, x: Shape) -> Any:
    """Whether it is known how the kernels take a map that lies otherwise than the target's.

    Among channels_last images it is not. A map of one pixel may be taken for channels_last wherever it was cut out.
    """
    return not setting.layouts or (not setting.target.channels_last) & (x[2] * x[3] > 1)


def scaled(size: Size, factor: float) -> Size:
    """A size times a factor, rounded down as torch does."""
    return int(size * factor) if isinstance(size, int) else np.floor(size * factor).astype(np.int64)


def resizing(setting: Setting, mode: str, y: Shape, x: Shape) -> Size:
    """Bytes that the kernels of a resize allocate in the forward pass (aten/src/ATen/native/cpu/UpSampleKernel.cpp).

    One kernel takes channels_last maps, and copies others. It runs for small outputs, for channels_last maps of more
    than three channels, and bilinear on one thread for images of three. A map of one pixel or of one channel is in both
    formats. The other kernel makes a table for each axis: the places and weights of each output's neighbours.
    """
    if not setting.kernels:
        return 0
    height, width = y[2:]
    tables = isqrt(_TAPS[mode]) * (NUMBER_BYTES + setting.item) * (height + width)
    if mode == "bicubic":
        return tables
    channels = x[1]
    pixel, pixel_out, flat = x[2] * x[3] == 1, height * width == 1, channels == 1
    last, last_out = (
        pixel | flat | setting.channels_last,
        pixel_out | flat | (setting.channels_last & (x[2] * x[3] > 1)),
    )
    copies = where(last, 0, numel(x)) + where(last_out, 0, numel(y))
    image = mode == "bilinear" and setting.target.threads == 1 and channels == 3
    by_pixel = (height + width <= 128) | (last & (channels > 3)) | image
    return where(by_pixel, setting.item * copies, tables)


def gradient_copy(setting: Setting, mode: str, y: Shape) -> Size:
    """Bytes of the copy that the backward pass of a resize makes of a gradient.

    Bicubic takes contiguous ones, the others channels_last ones too, whatever the format of the maps.
    """
    if not setting.kernels or setting.gradient is None:
        return 0
    order = (contiguous(4) if mode == "bicubic" else of_images(setting.gradient)).order
    return copy_of(setting.gradient, y, order, setting.item * numel(y))


_TAPS = {"nearest": 1, "nearest-exact": 1, "bilinear": 4, "bicubic": 16}  # neighbours read for one output
Interpolate.examples = (
    (Interpolate((9, 4), "bilinear", corners=True), (2, 3, 5, 7)),
    (Interpolate((3, 9), "bilinear", antialias=True), (2, 4, 5, 7)),
    (Interpolate((9, 4), "bicubic", antialias=True), (2, 3, 5, 7)),
    (Interpolate(mode="bicubic", scales=(2.0, 2.0), corners=True), (2, 3, 5, 7)),
    (Interpolate((5, 7)), (2, 4, 3, 3)),
    (Interpolate(6, "bilinear"), (2, 4, 3, 3)),
    (Interpolate((100, 29), "nearest-exact"), (1, 3, 5, 5)),
    (Interpolate((2, 3), "bicubic"), (2, 4, 3, 3)),
    (Interpolate(mode="bilinear", scales=(1.5, 1.7)), (2, 4, 3, 3)),
)
Upsample.examples = (
    (Upsample(), (2, 8, 3, 4), (2, 4, 7, 8)),
    (Upsample(scale=2), (2, 8, 3, 4)),
    (Upsample(), (2, 8, 1, 1), (2, 8, 5, 5)),
)
