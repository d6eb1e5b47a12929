"""Ops that move numbers without arithmetic: copies, concatenation, padding."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from ..graph.op import Axes, Casts, Op, Scratch, Stock, Work, check, op
from ..sizes.size import Shape, Size, maximum, numel, require
from ..targets.memory_order import CHANNELS_LAST, MemoryOrder, around, contiguous, dense, differs, of_images
from ..targets.setting import NUMBER_BYTES, Setting


class Rewritten(Op):
    """Base class of ops that write their input's numbers anew: a tensor of its shape, whose gradient reads nothing."""

    timed_as = ("copy",)
    in_16_bits = True

    def shape(self, x: Shape) -> Shape:
        return x

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work()}


@op("copy")
class Copy(Rewritten):
    """x.contiguous() where x is not, or x.clone().

    channels_last: the copy is in that memory format. keeps: it lies as x does, as a clone.
    """

    channels_last: bool = False
    keeps: bool = False

    passes = ("x",)

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        if self.keeps:
            return dense(xs[0])
        return CHANNELS_LAST if self.channels_last else contiguous(axes)

    def module(self, library: Any) -> Callable:
        if self.keeps:
            return library.torch.clone
        to = library.torch.channels_last if self.channels_last else library.torch.contiguous_format
        return lambda x: x.clone(memory_format=to)


@op("repeat")
class Repeat(Op):
    """x.repeat: copies of x side by side, along each axis of the output.

    times: for each axis of the output a number of copies, or n for the batch's; `images` is read only for its batch.
    """

    timed_as = ("copy",)

    times: str

    inputs = ("x", "images")
    shape_only = ("images",)

    def __post_init__(self) -> None:
        times = self.times.split()
        given = bool(times) and all(t == "n" or t.isdecimal() and int(t) >= 1 for t in times)
        check(given, f"times is {self.times!r}; allowed: numbers >= 1 or n, as in 'n 1 2'")

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))  # a sum

    def shape(self, x: Shape, images: Shape) -> Shape:
        times = [images[0] if t == "n" else int(t) for t in self.times.split()]
        require(len(times) >= len(x), "repeat takes a number for each axis of {}", x)
        return tuple(t * size for t, size in zip(times, (*(1 for _ in times[len(x) :]), *x)))

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def work(self, y: Shape, x: Shape, images: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work(0, numel(y))}

    def scratch(self, setting: Setting, y: Shape, x: Shape, images: Shape) -> Scratch:
        # aten::repeat lists axes: a number for each, another, and both lists as one. Its backward sums the leading
        # axes that x lacks one after the other, then the repetitions along the others at once.
        lists = 4 * NUMBER_BYTES * len(y) if setting.kernels else 0
        lead = len(y) - len(x)
        sums = [numel(y[i + 1 :]) for i in range(lead)]
        again = self.times.split()[lead:] != ["1"] * len(x)
        level = [0, *sums, numel(x)] if again else [0, *sums]
        highest: Size = 0
        for before, after in zip(level, level[1:]):
            highest = maximum(highest, before + after)
        return Scratch(lists, setting.item * maximum(highest - numel(x), 0))

    def module(self, library: Any) -> Callable:
        return lambda x, images: x.repeat([images.shape[0] if t == "n" else int(t) for t in self.times.split()])


MOST_INPUTS = 2**16  # of one op


@op("cat")
class Cat(Op):
    """torch.cat of `count` tensors along an axis. The gradient of each is a view of the output's."""

    timed_as = ("copy",)

    count: int
    axis: int = 1

    def __post_init__(self) -> None:
        fits = 1 <= self.count <= MOST_INPUTS and self.axis >= 0
        check(fits, f"count {self.count}, axis {self.axis}; allowed: 1 to {MOST_INPUTS}, >= 0")

    @classmethod
    def infer(cls, *xs: Shape) -> dict[str, int]:
        return {"count": len(xs)}

    @property
    def inputs(self) -> tuple[str, ...]:
        return self._inputs

    @cached_property
    def _inputs(self) -> tuple[str, ...]:
        return tuple(f"x{i}" for i in range(self.count))

    passes = inputs
    gradient_views = True
    in_16_bits = True
    casts = Casts.WIDEST

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return CHANNELS_LAST if all(map(CHANNELS_LAST.__eq__, map(dense, xs))) else contiguous(axes)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return around(gradient, self.axis)

    def shape(self, *xs: Shape) -> Shape:
        first, axis = xs[0], self.axis
        require(axis < len(first), "axis {} is not there in {}", (axis,), first)
        for x in xs[1:]:
            fits = len(x) == len(first) and all(i == axis or _same(m, n) for i, (m, n) in enumerate(zip(x, first)))
            require(fits, "{} and {} differ along other axes than {}", first, x, (axis,))
        return (*first[:axis], sum(x[axis] for x in xs), *first[axis + 1 :])

    def needs(self) -> dict[str, tuple[str, ...]]:
        return dict.fromkeys(self.inputs, ())

    def work(self, y: Shape, *xs: Shape) -> dict[str, Work]:
        return {"forward": Work(), **dict.fromkeys(self.inputs, Work())}

    def module(self, library: Any) -> Callable:
        return lambda *xs: library.torch.cat(xs, self.axis)


def _same(m: Size, n: Size) -> bool:
    same = m == n
    return same if isinstance(same, bool) else bool(same.all())


#: Pixels that a side has at least beside its padding, in modes that fill that with pixels of other places.
WRAPPED = {"circular": 0, "reflect": 1}


@op("pad")
class Pad(Op):
    """torch.nn.functional.pad. pads: before and after each axis, the last axis first; below 0 they crop (constant).

    In mode reflect or replicate torch's backward keeps the input, only for its shape (reflection_pad2d and the like).
    """

    timed_as = ("copy",)

    pads: Axes
    value: float = 0.0
    mode: str = "constant"

    def __post_init__(self) -> None:
        modes = ("constant", "reflect", "replicate", "circular")
        check(self.mode in modes, f"mode is {self.mode!r}; allowed: {', '.join(modes)}")
        even = bool(self.pads) and len(self.pads) % 2 == 0
        check(even, f"pads is {self.pads}; allowed: two per axis, last axis first")

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes) if self.mode == "circular" else of_images(xs[0])

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return of_images(gradient)

    def shape(self, x: Shape) -> Shape:
        require(2 * len(x) >= len(self.pads), "pads {} are more than {} has axes", self.pads, x)
        y = list(x)
        for i in range(len(self.pads) // 2):
            widest = max(self.pads[2 * i : 2 * i + 2])
            if self.mode in WRAPPED:
                fits = x[-1 - i] >= widest + WRAPPED[self.mode]
                require(fits, f"{self.mode} padding by {{}} takes more than {{}} has", self.pads, x)
            y[-1 - i] = y[-1 - i] + self.pads[2 * i] + self.pads[2 * i + 1]
            require(y[-1 - i] >= 1, "pads {} cut all of {}", self.pads, x)
        return tuple(y)

    @property
    def casts(self) -> Casts:
        return Casts.FULL if self.mode in ("reflect", "replicate") else Casts.NONE

    stock = Stock(excuse="stock padding by reflection keeps its input for its shape alone")

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x",) if self.mode in ("reflect", "replicate") else ()}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work()}

    def copies_gradient(self, gradient: MemoryOrder, y: Shape) -> Any:
        # Where a gradient has gaps or repeats elements, the first of circular padding's copies takes its place.
        return self.mode == "circular" and differs(gradient, y, gradient.order)

    def _wrapped(self, y: Shape, x: Shape) -> Size:
        """Elements that the backward of circular padding holds beside the gradients.

        Each side is a slice of the result that is copied in place (aten::_pad_circular). Its gradient is cut out of a
        copy of the result's, beside that of what was copied.
        """
        largest: Size = 0
        for i, pad in enumerate(self.pads):
            axis = len(y) - 1 - i // 2
            largest = maximum(largest, numel((*y[:axis], pad, *y[axis + 1 :])))
        return numel(y) + maximum(2 * largest - numel(x), 0)

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        mixed = setting.is_mixed and setting.gradient not in (None, CHANNELS_LAST)
        return super().modelled(setting, y, x) and (self.mode == "constant" or not mixed)

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        if self.mode == "circular":
            return Scratch(backward=setting.item * self._wrapped(y, x))
        if not setting.kernels or self.mode not in ("reflect", "replicate"):
            return Scratch()
        return Scratch(setting.copy_of_input(x), setting.copy_of_gradient(y))

    def module(self, library: Any) -> Callable:
        pad, value = library.torch.nn.functional.pad, self.value if self.mode == "constant" else None
        return lambda x: pad(x, self.pads, self.mode, value)


@op("pad_same")
class PadSame(Op):
    """Padding as TensorFlow's "same" (timm.layers.pad_same).

    It pads as much as a window needs to give ceil(size / stride) outputs; of an odd amount the end gets one more.
    """

    timed_as = ("copy",)

    kernel: Axes
    stride: Axes
    dilation: Axes = (1, 1)
    value: float = 0.0

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "dilation"):
            found = getattr(self, name)
            check(len(found) == 2 and min(found) >= 1, f"{name} is {list(found)}; allowed: two integers >= 1")

    def pads(self, x: Shape) -> list[Size]:
        """Elements to add before and after each axis, the last axis first."""
        found = []
        windows = zip(x[2:], self.kernel, self.stride, self.dilation)
        for size, k, s, d in reversed(tuple(windows)):
            missing = (-(-size // s) - 1) * s + (k - 1) * d + 1 - size
            missing = missing * (missing > 0)
            found += [missing // 2, missing - missing // 2]
        return found

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return of_images(xs[0])

    gradient_layout = Pad.gradient_layout

    def shape(self, x: Shape) -> Shape:
        require(len(x) == 4, "pad_same takes (N, C, H, W), the input is {}", x)
        left, right, top, bottom = self.pads(x)
        return (x[0], x[1], x[2] + top + bottom, x[3] + left + right)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work()}

    def module(self, library: Any) -> Callable:
        return lambda x: library.torch.nn.functional.pad(x, self.pads(tuple(x.shape)), value=self.value)


Repeat.examples = (
    (Repeat("n 1 2"), (1, 3, 4), (2, 5)),
    (Repeat("2 1 3"), (3, 4), (2, 5)),
    (Repeat("2 3 1 1"), (3, 4), (2, 5)),
)
Copy.examples = ((Copy(), (2, 3, 4)), (Copy(channels_last=True), (2, 3, 4, 5)), (Copy(keeps=True), (2, 3, 4, 5)))
Cat.examples = ((Cat(2), (2, 3, 4, 5), (2, 6, 4, 5)), (Cat(3, axis=2), (2, 3, 1), (2, 3, 4), (2, 3, 2)))
Pad.examples = ((Pad((0, 1, 0, 1)), (2, 3, 4, 5)), (Pad((1, 2)), (2, 3, 4)), (Pad((-1, 0)), (2, 3, 4)),
                (Pad((1, 1, 1, 1), mode="reflect"), (2, 3, 4, 5)),
                (Pad((3, 1, 0, 2), mode="circular"), (2, 3, 4, 5)))  # fmt: skip
PadSame.examples = ((PadSame((3, 3), (2, 2)), (2, 3, 8, 8)), (PadSame((5, 5), (2, 2)), (2, 3, 9, 7)))
