"""The larger and the smaller of two tensors, and the largest and the smallest elements along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Axes, Extra, Op, Scratch, Work, check, op, shared_fields
from ..sizes.size import Shape, beyond, broadcast, numel, require
from ..targets.memory_order import MemoryOrder, contiguous, dense
from ..targets.setting import COUNT_BYTES, Setting
from .arithmetic import reduction, summed
from .reduce import Reduction


class Larger(Op):
    """torch.maximum or torch.minimum of two inputs that broadcast. Equal ones get half of the gradient each."""

    inputs = ("a", "b")
    broadcasts = True

    def shape(self, a: Shape, b: Shape) -> Shape:
        return broadcast(a, b)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"a": ("sides",), "b": ("sides",)}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"a": ("a", "b"), "b": ("a", "b")}

    def extras(self, a: Shape, b: Shape) -> dict[str, Extra]:
        return {"sides": Extra(broadcast(a, b), 2)}  # which is the larger, or neither

    def work(self, y: Shape, a: Shape, b: Shape) -> dict[str, Work]:
        n = numel(y)  # half of the gradient, two comparisons, two selections
        both = {name: Work(0, 5 * n + reduction(y, x).elementwise) for name, x in (("a", a), ("b", b))}
        return {"forward": Work(0, n), **both}

    def modelled(self, setting: Setting, y: Shape, a: Shape, b: Shape) -> Any:
        return super().modelled(setting, y, a, b) and not setting.layouts

    def scratch(self, setting: Setting, y: Shape, a: Shape, b: Shape) -> Scratch:
        # where(a == b, g / 2, g).masked_fill_(a < b, 0): beside each result half of the gradient and two masks; then
        # gradients of smaller inputs are summed.
        return Scratch(backward=summed(setting, y, {"a": a, "b": b}, (setting.item + 2) * numel(y)))

    def module(self, library: Any) -> Callable:
        return getattr(library.torch, self.kind)


@op("maximum")
class Maximum(Larger):
    """torch.maximum."""


@op("minimum")
class Minimum(Larger):
    """torch.minimum."""


@shared_fields
class Extreme(Reduction):
    """torch.amax or torch.amin over axes. The gradient is shared by all elements that are as large as the result."""

    axes: Axes
    keepdim: bool = False

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return dense(x)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x", "y")}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = numel(x)  # comparison, count, product
        return {"forward": Work(0, n), "x": Work(0, 3 * n + numel(y))}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # g / mask.sum() * mask: the mask, the sums of its copy as int64, the quotient; the product converts the mask.
        mask, map_ = numel(x), setting.item * numel(x)
        if not setting.kernels:
            return Scratch(backward=mask + (setting.item + COUNT_BYTES) * numel(y))
        counted = (1 + COUNT_BYTES) * mask + COUNT_BYTES * numel(y) + setting.shared_sum(x, numel(y), COUNT_BYTES)
        multiplied = mask + (setting.item + COUNT_BYTES) * numel(y) + 2 * map_
        return Scratch(setting.shared_sum(x, numel(y)), beyond(map_, counted, multiplied))

    def module(self, library: Any) -> Callable:
        return lambda x: getattr(x, self.kind)(self.axes, keepdim=self.keepdim)


@op("amax")
class Amax(Extreme):
    """torch.amax."""


@op("amin")
class Amin(Extreme):
    """torch.amin."""


@op("max_along")
class MaxAlong(Op):
    """The values of torch.max along an axis, or of torch.min with `least`. The gradient reads their indices."""

    axis: int
    keepdim: bool = False
    least: bool = False

    def __post_init__(self) -> None:
        check(self.axis >= 0, f"axis is {self.axis}; allowed: >= 0")

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))

    def shape(self, x: Shape) -> Shape:
        require(self.axis < len(x), "axis {} is not there in {}", (self.axis,), x)
        return (*x[: self.axis], *((1,) if self.keepdim else ()), *x[self.axis + 1 :])

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("indices",)}

    def extras(self, x: Shape) -> dict[str, Extra]:
        return {"indices": Extra(self.shape(x), 64)}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(0, numel(x)), "x": Work(0, numel(y))}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(0 if setting.recorded else COUNT_BYTES * numel(y))

    def module(self, library: Any) -> Callable:
        function = library.torch.min if self.least else library.torch.max
        return lambda x: function(x, self.axis, self.keepdim)[0]


for _of_two in (Maximum, Minimum):
    _of_two.examples = ((_of_two(), (2, 8, 5, 3), (2, 8, 5, 3)), (_of_two(), (2, 8, 5, 3), (8, 1, 1)))
for _along in (Amax, Amin):
    _along.examples = ((_along((2, 3), True), (2, 4, 5, 7)), (_along((1,)), (2, 4, 5)))
MaxAlong.examples = ((MaxAlong(1, True), (2, 4, 5, 7)), (MaxAlong(2, least=True), (2, 4, 5)))
