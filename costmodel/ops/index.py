"""Ops that select elements by index, or move them along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Axes, Op, Scratch, Stock, Work, check, op, shared_fields
from ..sizes.size import Shape, numel, require
from ..targets.memory_order import MemoryOrder, contiguous, of_images
from ..targets.setting import Setting


@op("index")
class Index(Op):
    """x[..., at, ...] along an axis, where `at` is a tensor of indices: a lookup in a table of position biases, say.

    The gradient reads the indices. It is as large as x, and zero where nothing was selected.
    select: as torch.index_select does it, whose result is contiguous.
    """

    timed_as = ("copy",)

    axis: int = 0
    select: bool = False

    inputs = ("x", "at")
    shape_only = ("at",)
    input_bits = {"at": 64}

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes) if self.select else self._iterated(axes, xs[0])

    def _iterated(self, axes: int, x: MemoryOrder) -> MemoryOrder:
        """The order that torch's loop over the output gives it.

        It sorts the axes by the input's strides; those of the indices are as good in any place, and stay
        (aten/src/ATen/TensorIterator.cpp: reorder_dimensions).
        """
        own = axes - len(x.order) + 1  # axes of the indices
        place = {axis + (own - 1) * (axis > self.axis): i for i, axis in enumerate(x.order) if axis != self.axis}
        fastest = list(range(axes - 1, -1, -1))
        for i in range(1, axes):
            here = i
            for j in range(i - 1, -1, -1):
                slower, faster = place.get(fastest[j]), place.get(fastest[here])
                if slower is None or faster is None:
                    continue
                if slower > faster:
                    break
                fastest[j], fastest[here] = fastest[here], fastest[j]
                here = j
        return MemoryOrder(tuple(reversed(fastest)))

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))

    def scratch(self, setting: Setting, y: Shape, x: Shape, at: Shape) -> Scratch:
        copied = self.select and setting.kernels  # unless it is contiguous
        return Scratch(setting.contiguous_copy_of_input(x) if copied else 0)

    def __post_init__(self) -> None:
        check(self.axis >= 0, f"axis is {self.axis}; allowed: >= 0")

    def shape(self, x: Shape, at: Shape) -> Shape:
        require(self.axis < len(x), "axis {} is not there in {}", (self.axis,), x)
        return (*x[: self.axis], *at, *x[self.axis + 1 :])

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("at",)}

    def work(self, y: Shape, x: Shape, at: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work(0, numel(y))}

    def module(self, library: Any) -> Callable:
        if self.select:
            return lambda x, at: library.torch.index_select(x, self.axis, at)
        index = library.torch.ops.aten.index.Tensor  # x[:, at] may be a slice of each axis to autograd
        return lambda x, at: index(x, [None] * self.axis + [at])


@shared_fields
class AtIndices(Op):
    """An op along an axis whose gradient reads indices, `at`."""

    timed_as = ("copy",)

    axis: int

    shape_only = ("at",)
    input_bits = {"at": 64}

    def __post_init__(self) -> None:
        check(self.axis >= 0, f"axis is {self.axis}; allowed: >= 0")


@op("gather")
class Gather(AtIndices):
    """x.gather(axis, at): for each place in `at`, the element along the axis that it says.

    torch's backward keeps the input, only for its shape.
    """

    inputs = ("x", "at")
    stock = Stock(excuse="stock gather keeps its input for its shape alone")

    def shape(self, x: Shape, at: Shape) -> Shape:
        require(len(x) == len(at) > self.axis, "{} at {}: not as many axes, or none to gather along", x, at)
        return at

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("at",)}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x", "at")}

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))

    def work(self, y: Shape, x: Shape, at: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work(0, numel(y))}

    def module(self, library: Any) -> Callable:
        return lambda x, at: library.torch.gather(x, self.axis, at)


@shared_fields
class AddAt(AtIndices):
    """x, with a source added at indices along an axis. The gradient of the source is gathered there."""

    inplace: bool = False

    inputs = ("x", "at", "source")
    passes = ("x",)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": (), "source": ("at",)}

    def work(self, y: Shape, x: Shape, at: Shape, source: Shape) -> dict[str, Work]:
        return {"forward": Work(0, numel(source)), "x": Work(), "source": Work()}

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return super().layout(axes, *xs) if self.inplace else contiguous(axes)

    def modelled(self, setting: Setting, y: Shape, *xs: Shape) -> Any:
        return super().modelled(setting, y, *xs) and not setting.layouts

    def module(self, library: Any) -> Callable:
        name = self.kind + ("_" if self.inplace else "")
        return lambda x, at, source: getattr(x, name)(self.axis, at, source)


@op("index_add")
class IndexAdd(AddAt):
    """torch.index_add: each slice of the source along an axis is added to the slice of x that its index says.

    torch's backward keeps the source, only for its shape.
    """

    stock = Stock(excuse="stock index_add keeps its source for its shape alone")

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": (), "source": ("at", "source")}

    def shape(self, x: Shape, at: Shape, source: Shape) -> Shape:
        require(len(x) == len(source) > self.axis, "{} and {} differ in axes, or lack that one", x, source)
        require(at[0] == source[self.axis], "{} indices do not fit the source {}", at, source)
        return x


@op("scatter_add")
class ScatterAdd(AddAt):
    """torch.scatter_add: each element of the source is added to the element of x along an axis that its index says."""

    def shape(self, x: Shape, at: Shape, source: Shape) -> Shape:
        require(len(x) == len(source) == len(at) > self.axis, "{}, {} and {} differ in axes", x, at, source)
        return x


@op("argmax")
class Argmax(Op):
    """The index of the largest element along an axis, or of the smallest with `least`. It has no gradient."""

    axis: int
    keepdim: bool = False
    least: bool = False

    differentiable = False
    bits = 64

    def __post_init__(self) -> None:
        check(self.axis >= 0, f"axis is {self.axis}; allowed: >= 0")

    def shape(self, x: Shape) -> Shape:
        require(self.axis < len(x), "axis {} is not there in {}", (self.axis,), x)
        return (*x[: self.axis], *((1,) if self.keepdim else ()), *x[self.axis + 1 :])

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(0, numel(x))}

    def module(self, library: Any) -> Callable:
        function = library.torch.argmin if self.least else library.torch.argmax
        return lambda x: function(x, self.axis, self.keepdim)


class Move(Op):
    """Copies elements to other places. The gradient is copied back."""

    timed_as = ("copy",)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work()}


@op("roll")
class Roll(Move):
    """torch.roll: elements that leave at one end of an axis come in at the other. Several axes take a further copy."""

    shifts: Axes
    axes: Axes

    def __post_init__(self) -> None:
        fits = len(self.shifts) == len(self.axes) and bool(self.axes)
        check(fits, f"shifts {self.shifts}, axes {self.axes}; allowed: as many of the one as of the other")

    def shape(self, x: Shape) -> Shape:
        require(max(self.axes) < len(x), "axes {} are not all there in the input {}", self.axes, x)
        return x

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        further = setting.item * numel(x) if setting.kernels and len(self.axes) > 1 else 0
        return Scratch(further, further)

    def module(self, library: Any) -> Callable:
        return lambda x: library.torch.roll(x, self.shifts, self.axes)


@op("flip")
class Flip(Move):
    """torch.flip: the elements along some axes in reverse order."""

    axes: Axes

    def __post_init__(self) -> None:
        check(bool(self.axes) and min(self.axes) >= 0, f"axes is {self.axes}; allowed: a list of axes >= 0")

    def shape(self, x: Shape) -> Shape:
        require(max(self.axes) < len(x), "axes {} are not all there in the input {}", self.axes, x)
        return x

    def module(self, library: Any) -> Callable:
        return lambda x: library.torch.flip(x, self.axes)


@op("cumsum")
class Cumsum(Op):
    """torch.cumsum: the sum of all elements up to each one along an axis. The gradient is summed from the other end."""

    axis: int

    def shape(self, x: Shape) -> Shape:
        require(-len(x) <= self.axis < len(x), "axis {} is not there in {}", (self.axis,), x)
        # torch's backward then hands on the gradient itself.
        require(x[self.axis] > 1, "axis {} of {} has one element: nothing to sum", (self.axis,), x)
        return x

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = Work(0, numel(y))
        return {"forward": n, "x": n}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(backward=2 * setting.item * numel(y))  # flipped, summed, flipped back

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes)

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) and not setting.layouts and not setting.channels_last

    def module(self, library: Any) -> Callable:
        return lambda x: library.torch.cumsum(x, self.axis)


@op("pixel_shuffle")
class PixelShuffle(Move):
    """torch.pixel_shuffle: (N, C * factor ** 2, H, W) -> (N, C, H * factor, W * factor); with `back` the way back."""

    factor: int
    back: bool = False

    def __post_init__(self) -> None:
        check(self.factor >= 1, f"factor is {self.factor}; allowed: >= 1")

    def shape(self, x: Shape) -> Shape:
        f = self.factor
        require(len(x) == 4, "pixel_shuffle takes (N, C, H, W), the input is {}", x)
        n, c, h, w = x
        if self.back:
            require((h % f == 0) & (w % f == 0), "sides of {} are no multiples of {}", x, (f,))
            return (n, c * f * f, h // f, w // f)
        require(c % (f * f) == 0, "channels of {} are no multiple of {}", x, (f * f,))
        return (n, c // (f * f), h * f, w * f)

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) and not setting.layouts

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return of_images(xs[0])

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return of_images(gradient)

    def module(self, library: Any) -> Callable:
        layer = library.nn.PixelUnshuffle if self.back else library.nn.PixelShuffle
        return layer(self.factor)


Gather.examples = ((Gather(1), (2, 5, 4), (2, 3, 4)), (Gather(1), (2, 5, 4, 3), (2, 1, 4, 3)))
IndexAdd.examples = ((IndexAdd(0), (5, 4), (5,), (5, 4)), (IndexAdd(1), (2, 5, 4, 3), (5,), (2, 5, 4, 3)))
ScatterAdd.examples = (
    (ScatterAdd(1, inplace=True), (2, 5, 4), (2, 3, 4), (2, 3, 4)),
    (ScatterAdd(1), (2, 5, 4), (2, 3, 4), (2, 3, 4)),
    (ScatterAdd(2), (2, 5, 4, 3), (2, 5, 1, 3), (2, 5, 1, 3)),
)
Argmax.examples = ((Argmax(1, True), (2, 5, 4, 3)), (Argmax(2, least=True), (2, 5, 4)))
Flip.examples = ((Flip((1,)), (2, 5, 4)), (Flip((2, 3)), (2, 5, 4, 3)))
Cumsum.examples = ((Cumsum(1), (2, 5, 4)), (Cumsum(-1), (2, 5, 4, 3)))
PixelShuffle.examples = ((PixelShuffle(2), (2, 8, 5, 3)),)
Index.examples = (
    (Index(), (9, 3), (20,)),
    (Index(1), (4, 9), (5, 5)),
    (Index(1), (2, 8, 5, 3), (3,)),
    (Index(1, select=True), (2, 8, 5, 3), (3,)),
)
Roll.examples = ((Roll((1,), (1,)), (2, 5, 4)), (Roll((-1, 2), (1, 2)), (2, 5, 4, 3)))
