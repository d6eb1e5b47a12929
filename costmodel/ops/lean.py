"""Memory-lean forms of ops, which costmodel/pytorch/lean/ runs, and the rules for when they replace stock ops."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import fields, replace
from typing import Any, NamedTuple

from ..graph.op import Casts, Op, Scratch, Stock, op
from ..sizes.size import Shape, maximum, numel
from ..targets.memory_order import MemoryOrder, dense, of_images
from ..targets.setting import Setting
from ._cast import casts_of
from ._gradients import OwnGradients
from .activation import Activation
from .conv import Conv2d
from .lean_folded import FoldedConv2d, FoldedNorm
from .lean_standardised import LeanStandardisedConv2d
from .noise import Dropout
from .norm import BatchNorm, GroupNorm
from .pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d


class Place(NamedTuple):
    """What decides the lean form of an op at its place in the graph.

    demanded: the gradients that its backward computes; none in a frozen prefix, which runs without autograd.
    trains: its parameters that train.
    alone: a convolution makes its input, nobody else reads that input, and no node keeps it.
    carried: another node keeps its output, so a mask can be read from it.
    owns: its output has a single reader, which hands over the gradient, so the op may overwrite that gradient.
    partner: path of the norm that is folded into this convolution, or of the convolution into which this norm is
        folded; "" if there is none.
    again: what is not kept may be made again.
    """

    demanded: tuple[str, ...]
    trains: frozenset
    alone: bool
    carried: bool
    owns: bool
    partner: str
    again: bool = False


#: Stock op -> function that gives its lean form at a place, or None if the stock op is lean enough.
LEAN: dict[type, Callable[[Any, Place], Op | None]] = {}


def lean(stock: Op, place: Place) -> Op:
    """The lean form of an op at a place; the op itself if it has no lean form there."""
    form = next((LEAN[cls] for cls in type(stock).__mro__ if cls in LEAN), None)
    return (form(stock, place) if form else None) or stock


def stands_for(*stock: type) -> Callable[[Callable], Callable]:
    """Decorator: registers a function (op, place) -> lean form for stock ops."""

    def register(form: Callable[[Any, Place], Op | None]) -> Callable:
        LEAN.update(dict.fromkeys(stock, form))
        return form

    return register


def as_op(cls: type, stock: Op, **more: Any) -> Op:
    """A lean op with a stock op's fields."""
    return cls(**{field.name: getattr(stock, field.name) for field in fields(stock)}, **more)


@op("lean_conv2d")
class LeanConv2d(OwnGradients):
    """A convolution that keeps its input only for its weight's gradient.

    With a frozen weight the input's gradient is a convolution of the output's gradient: with the rotated weight at
    stride 1, a transposed convolution at other strides. The bias's gradient is a sum.
    drops: its output is made again by the first that reads it backward.
    """

    drops: bool = False

    stock = Stock(in_python=True)

    casts = Casts.INSIDE

    def saves_late(self, operands: Set[str]) -> bool:
        return self.makes_gradients or "x" not in operands  # lean functions save late; a stock layer saves x

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        if "weight" in setting.demanded:
            forward, backward = self.kernels(setting, y, x)
            if setting.casts_parameters:
                wanted = (n for name, n in (("weight", numel(self.params()["weight"])), ("bias", self.out_channels))
                          if name in setting.demanded)  # fmt: skip
                made = sum(wanted)  # gradients, first as the maps are
                narrow, own = setting.item * made, setting.parameter_item * made
                forward = forward + casts_of(self, setting)
                # The cast weight is gone when the gradients are brought into the parameters' own type.
                backward = narrow + maximum(backward + casts_of(self, setting, bias=False) - own, 0)
            return Scratch(forward, backward, again=forward * self.drops)
        alone = setting._replace(demanded=setting.demanded[:1] if "x" in setting.demanded else ())
        forward, backward = self.kernels(alone, y, x)
        forward = forward + casts_of(self, setting)
        if not alone.demanded:  # the bias's gradient is a sum
            return Scratch(forward)
        # The bias's gradient is made after the input's.
        bias = setting.parameter_item * self.out_channels if "bias" in setting.demanded else 0
        return Scratch(forward, maximum(backward + casts_of(self, setting, bias=False) - bias, 0))

    def _is_usual(self, setting: Setting) -> bool:
        return setting.target.knows(setting.dtype)

    def module(self, library: Any) -> Callable:
        module = library.lean.LeanConv2d(*self.arguments(), drops=self.drops)
        return library.standardised_once(module) if self.fixed else module


@op("casting_conv2d")
class CastingConv2d(LeanConv2d):
    """A convolution with a trained weight under autocast, which keeps its input and the weight itself, not a cast."""

    examples = ()  # elsewhere its module does what a stock one does

    def saves_late(self, operands: Set[str]) -> bool:
        return True


@stands_for(Conv2d)
def lean_conv(stock: Conv2d, place: Place) -> Op | None:
    if stock.has_epilogue:
        return as_op(LeanStandardisedConv2d, stock) if place.demanded and place.again else None
    if place.demanded:
        return as_op(LeanConv2d, stock)
    return as_op(FoldedConv2d, stock, norm=place.partner) if place.partner else None


@op("shift_norm")
class ShiftNorm(BatchNorm):
    """A norm with frozen statistics and scale: y = x * a + b with constant a, so that no gradient reads x.

    inplace: it overwrites its input. owns: in the backward pass it overwrites its output's gradient (see Place).
    """

    stock = Stock(in_python=True)

    inplace: bool = False
    owns: bool = False

    @property
    def passes(self) -> tuple[str, ...]:
        return ("x",) if self.owns else ()

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return dense(gradient)  # a product with the scale

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # Forward: the stock kernel's folded scale and shift, in float32. Backward: the sum for the shift, then the
        # scale, of which first the variance meets a number.
        forward = 8 * self.channels if setting.kernels else 0
        sums = setting.channel_sums(y) if "bias" in setting.demanded else 0
        if "x" not in setting.demanded:
            return Scratch(forward, sums)
        made = 0 if self.owns else setting.item * numel(x)
        scale = setting.parameter_item * self.channels
        if setting.casts_parameters:
            scale = scale + setting.item * self.channels
        return Scratch(forward, maximum(scale + maximum(setting.scalar - made, 0), sums - made))

    def module(self, library: Any) -> Callable:
        how = {"inplace": self.inplace, "owns_gradient": self.owns}
        return library.lean.ShiftNorm2d(self.channels, self.eps, self.momentum, **how)


@stands_for(BatchNorm)
def lean_norm(stock: BatchNorm, place: Place) -> Op | None:
    if stock.statistics != "frozen" or "weight" in place.trains or not stock.is_plain:
        return None
    if place.partner and not place.demanded:
        return as_op(FoldedNorm, stock)
    return as_op(ShiftNorm, stock, inplace=place.alone, owns=place.owns)


@op("lean_group_norm")
class LeanGroupNorm(GroupNorm):
    """A group norm of which only the shift trains, and whose input needs no gradient. It keeps nothing."""

    stock = Stock(in_python=True)

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) and not setting.channels_last

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # Mean and deviation of the groups are freed when the forward ends; the shift's gradient is a sum.
        if setting.demanded != ("bias",):
            return super().scratch(setting, y, x)
        return Scratch(2 * setting.item * x[0] * self.groups, setting.channel_sums(y))

    def module(self, library: Any) -> Callable:
        return library.lean.LeanGroupNorm(self.groups, self.channels, self.eps)


@stands_for(GroupNorm)
def lean_group_norm(stock: GroupNorm, place: Place) -> Op | None:
    return as_op(LeanGroupNorm, stock) if place.demanded == ("bias",) else None


@op("masked_activation")
class MaskedActivation(Activation):
    """An activation whose backward reads one bit per element, packed 8 to a byte or taken from the output.

    of: the stock op's kind. keep: "mask", or "y" if the output is kept anyway. owns: as for ShiftNorm.
    """

    stock = Stock(in_python=True)

    of: str
    keep: str = "mask"
    inplace: bool = False
    signed: bool = False
    approximate: str = "none"
    owns: bool = False

    @property
    def passes(self) -> tuple[str, ...]:
        return ("x",) if self.owns else ()

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": (self.keep,)}

    torch_needs = needs

    def carriers(self) -> dict[str, str]:
        return {}

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        if self.keep == "mask":
            return of_images(x)  # in which the bits are packed
        return dense(gradient if self.of == "relu6" and not self.signed else y)  # as the stock kernels

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) and setting.is_regular(x)  # others are copied before they are packed

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # Hardsigmoid's gradient is divided by 6.
        return Scratch(backward=setting.python_number if self.of == "hardsigmoid" else 0)

    def module(self, library: Any) -> Callable:
        return library.lean.MaskedActivation(self.of, self.signed, self.keep, self.inplace, self.approximate, self.owns)


@stands_for(Activation)
def lean_activation(stock: Activation, place: Place) -> Op | None:
    if not place.demanded:
        return None
    if stock.signed or stock.kind in ("relu", "relu6", "hardsigmoid"):
        keep = "y" if place.carried and stock.carriers() else "mask"
        approximate = getattr(stock, "approximate", "none")
        return MaskedActivation(stock.kind, keep, stock.inplace, stock.signed, approximate, place.owns)
    # The op keeps its input. Out of place the input need not be cloned first.
    return replace(stock, inplace=False) if stock.inplace else None


@op("packed_dropout")
class PackedDropout(Dropout):
    """Dropout that keeps one bit per element."""

    stock = Stock(in_python=True)

    def noise_shape(self, x: Shape) -> Shape:
        return x

    def saves_late(self, operands: Set[str]) -> bool:
        return True

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return of_images(x)

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return self.needs()

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # One byte per element is drawn and packed before the output is made; then the output is scaled by a number.
        output = 0 if self.inplace else setting.item * numel(y)
        return Scratch(maximum(maximum(numel(x) - output, 0), setting.python_number), setting.python_number)

    def module(self, library: Any) -> Callable:
        return library.lean.PackedDropout(self.p, self.inplace)


@stands_for(Dropout)
def lean_dropout(stock: Dropout, place: Place) -> Op | None:
    return as_op(PackedDropout, stock) if place.demanded and not stock.result.is_view else None


@op("lean_avg_pool2d")
class LeanAvgPool2d(AvgPool2d):
    """Average pooling that keeps nothing."""

    stock = Stock(in_python=True)

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return self.needs()

    def module(self, library: Any) -> Callable:
        more = (self.ceil, self.count_include_pad, self.divisor or None)
        return library.lean.LeanAvgPool2d(self.kernel, self.stride, self.padding, *more)


@op("lean_adaptive_avg_pool2d")
class LeanAdaptiveAvgPool2d(AdaptiveAvgPool2d):
    """Adaptive average pooling that keeps nothing."""

    stock = Stock(in_python=True)

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return self.needs()

    def module(self, library: Any) -> Callable:
        return library.lean.LeanAdaptiveAvgPool2d(self.output)


@op("lean_max_pool2d")
class LeanMaxPool2d(MaxPool2d):
    """Max pooling that keeps only the indices."""

    stock = Stock(in_python=True)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("indices",)}

    torch_needs = needs

    def module(self, library: Any) -> Callable:
        return library.lean.LeanMaxPool2d(self.kernel, self.stride, self.padding, self.dilation, ceil_mode=self.ceil)


@stands_for(AvgPool2d, AdaptiveAvgPool2d, MaxPool2d)
def lean_pool(stock: Op, place: Place) -> Op | None:
    forms = {AvgPool2d: LeanAvgPool2d, AdaptiveAvgPool2d: LeanAdaptiveAvgPool2d, MaxPool2d: LeanMaxPool2d}
    if not place.demanded or stock.torch_needs() == {"x": ()}:
        return None
    return as_op(forms[type(stock)], stock)


LeanConv2d.examples = tuple((as_op(LeanConv2d, op), x) for op, x in Conv2d.examples if not op.standardise)
ShiftNorm.examples = ((ShiftNorm(8, "frozen"), (2, 8, 5, 3)), (ShiftNorm(8, "frozen", inplace=True), (2, 8, 5, 3)))
LeanGroupNorm.examples = ((LeanGroupNorm(2, 8), (2, 8, 5, 3)),)
MaskedActivation.examples = (
    (MaskedActivation("relu6"), (2, 8, 5, 3)),
    (MaskedActivation("relu", keep="y", inplace=True), (3, 7)),
    (MaskedActivation("hardsigmoid"), (2, 8, 1, 1)),
    (MaskedActivation("hardswish", signed=True, inplace=True), (2, 8, 5, 3)),
    (MaskedActivation("gelu", signed=True), (2, 9)),
)
PackedDropout.examples = ((PackedDropout(0.2), (2, 9)), (PackedDropout(0.2, inplace=True), (2, 9)))
LeanAvgPool2d.examples = tuple((as_op(LeanAvgPool2d, stock), x) for stock, x in AvgPool2d.examples)
LeanAdaptiveAvgPool2d.examples = ((LeanAdaptiveAvgPool2d((2, 3)), (2, 4, 5, 7)),)
LeanMaxPool2d.examples = tuple((as_op(LeanMaxPool2d, stock), x) for stock, x in MaxPool2d.examples)
