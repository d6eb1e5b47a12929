"""Activations: elementwise functions of one input. With `inplace` they overwrite it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..graph.op import Casts, Extra, Op, Scratch, Stock, Work, check, op, shared_fields
from ..sizes.size import Shape, maximum, numel
from ..targets.memory_order import MemoryOrder, contiguous, copy_of, dense
from ..targets.setting import Setting

#: How activations with an exponential are timed.
EXPONENTIAL = ("exponential",)


class Usual:
    """The examples of an activation class: default fields, out of place and, if it can, in place."""

    def __get__(self, op: Any, cls: type[Op]) -> tuple[Any, ...]:
        more = ((cls(inplace=True), (3, 7)),) if "inplace" in cls.__dataclass_fields__ else ()
        return ((cls(), (2, 8, 5, 3)), *more)


class Activation(Op):
    """An elementwise function: any shape -> the same. Subclasses say what the derivative reads and what it costs.

    A plain activation has no fields but `inplace` and `signed`. Its class gives `torch_name`; frontends find it by this
    name, by `onnx_name` and by its kind, the name of its function in torch.nn.functional.

    signed: MobileTL's backward, which passes the gradient where the input was >= 0. Stock PyTorch ignores it.

    An in-place form whose derivative reads the input keeps a clone of it (torch: `self.clone()` before the call). The
    clone needs no rule here: the input's value and the output's are two tensors in either form.
    """

    timed_as = ("activation",)
    #: Name of a plain activation's class in torch.nn; "" for others.
    torch_name: ClassVar[str] = ""
    #: Name of a plain activation's ONNX operator; "" for others. Exporters write some plain ones as several operators.
    onnx_name: ClassVar[str] = ""
    #: Whether torch.nn's class takes `inplace`; if not, the in-place form is the tensor method named kind + "_".
    torch_inplace: ClassVar[bool] = True
    reads: ClassVar[str] = "x"  # by the exact derivative; "mask": it has two values, which a bit tells apart
    torch_reads: ClassVar[str] = "x"  # by torch's formula
    operations: ClassVar[tuple[int, int]] = (1, 1)  # per element: forward, backward
    #: Whether the mask follows from the output, on every instruction set and in every data type: y > 0 for ReLU,
    #: 0 < y < 6 for ReLU6, the sign bit of y for h-swish and SiLU (tests/ops/test_masks.py).
    carries_mask: ClassVar[bool] = True

    inplace = False
    signed = False
    in_16_bits = True
    examples: ClassVar[Usual | tuple[Any, ...]] = Usual()

    def shape(self, x: Shape) -> Shape:
        return x

    def extras(self, x: Shape) -> dict[str, Extra]:
        return {"mask": Extra(x, 1)}

    stock = Stock(excuse="stock activations keep a whole map where a bit per element, or nothing, would do")

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("mask" if self.signed else self.reads,)}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": (self.torch_reads,)}

    def carriers(self) -> dict[str, str]:
        return {"mask": "y"} if self.carries_mask else {}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = numel(y)
        forward, backward = self.operations
        return {"forward": Work(0, forward * n), "x": Work(0, backward * n)}

    def module(self, library: Any) -> Callable:
        if self.torch_inplace:
            return getattr(library.nn, self.torch_name)(inplace=self.inplace)
        if self.inplace:
            return getattr(library.torch.Tensor, f"{self.kind}_")
        return getattr(library.nn, self.torch_name)()


@shared_fields
class InPlace(Activation):
    """An activation that may overwrite its input."""

    inplace: bool = False


@shared_fields
class Signed(InPlace):
    """An activation that also has MobileTL's backward."""

    signed: bool = False


@op("relu")
class ReLU(Signed):
    """max(x, 0). torch keeps its output (threshold_backward of result)."""

    torch_name = "ReLU"
    onnx_name = "Relu"
    reads = "mask"
    torch_reads = "y"

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return dense(y)  # threshold_backward takes the result first


@op("relu6")
class ReLU6(Signed):
    """min(max(x, 0), 6). torch keeps its input (hardtanh)."""

    torch_name = "ReLU6"
    reads = "mask"
    operations = (2, 1)

    def extras(self, x: Shape) -> dict[str, Extra]:
        # Some conventions count on which side of 0 and 6 each element is; the derivative needs only the mask.
        return {**super().extras(x), "sides": Extra(x, 2)}


@op("hardsigmoid")
class Hardsigmoid(InPlace):
    """relu6(x + 3) / 6. The derivative is 1/6 where -3 < x < 3; y is rounded, so it does not tell the mask."""

    torch_name = "Hardsigmoid"
    reads = "mask"
    operations = (4, 2)
    carries_mask = False


@op("hardswish")
class Hardswish(Signed):
    """x * relu6(x + 3) / 6."""

    torch_name = "Hardswish"
    onnx_name = "HardSwish"
    operations = (5, 4)


@op("silu")
class SiLU(Signed):
    """x * sigmoid(x)."""

    timed_as = EXPONENTIAL
    torch_name = "SiLU"
    operations = (4, 6)


@op("mish")
class Mish(InPlace):
    """x * tanh(softplus(x))."""

    timed_as = EXPONENTIAL
    torch_name = "Mish"
    onnx_name = "Mish"
    operations = (6, 10)


@op("sigmoid")
class Sigmoid(InPlace):
    """1 / (1 + exp(-x)); dx = g * y * (1 - y) reads the output."""

    timed_as = EXPONENTIAL
    torch_name = "Sigmoid"
    torch_inplace = False
    reads = torch_reads = "y"
    operations = (3, 3)


@op("tanh")
class Tanh(InPlace):
    """tanh(x); dx = g * (1 - y * y)."""

    timed_as = EXPONENTIAL
    torch_name = "Tanh"
    onnx_name = "Tanh"
    torch_inplace = False
    reads = torch_reads = "y"
    operations = (4, 3)


@op("gelu")
class GELU(Activation):
    """x * Phi(x), with the error function or its tanh approximation.

    Far below 0 the output is +0.0 or -0.0, depending on the instruction set, so it does not tell the input's sign.
    """

    timed_as = EXPONENTIAL

    approximate: str = "none"
    signed: bool = False

    operations = (5, 9)
    carries_mask = False

    def __post_init__(self) -> None:
        check(self.approximate in ("none", "tanh"), f"approximate is {self.approximate!r}; allowed: none, tanh")

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # oneDNN's backward of the exact function copies a gradient with gaps or repeated elements, if x is contiguous.
        if not setting.kernels or setting.gradient is None or self.approximate != "none":
            return Scratch()
        if setting.layouts[0] != contiguous(len(x)):
            return Scratch()
        return Scratch(backward=copy_of(setting.gradient, y, setting.gradient.order, setting.item * numel(y)))

    def module(self, library: Any) -> Callable:
        return library.nn.GELU(self.approximate)


@op("hardtanh")
class Hardtanh(Activation):
    """min(max(x, low), high), as torch.nn.Hardtanh or, with `clamp`, as torch.clamp.

    The gradient passes between the bounds and, with `clamp`, also at the bounds. With `clamp` the output does not tell
    the mask, since an input at a bound and one beyond it give the same output.
    """

    low: float = -1.0
    high: float = 1.0
    inplace: bool = False
    clamp: bool = False

    reads = "mask"
    operations = (2, 1)

    def __post_init__(self) -> None:
        check(self.low <= self.high, f"low {self.low} is above high {self.high}")

    @property
    def carries_mask(self) -> bool:
        # An output cut at a bound that the data type rounds may lie beyond that bound. These bounds are exact in all.
        return not self.clamp and all(abs(bound) <= 256 and bound == int(bound) for bound in (self.low, self.high))

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The bounds as torch.clamp takes them: None for no bound."""
        low, high = (None if abs(bound) >= 1e38 else bound for bound in (self.low, self.high))
        return low, high

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # The backward of torch.clamp compares x with each bound, and selects from the gradient and a zero.
        compared = sum(bound is not None for bound in self.bounds)
        return Scratch(backward=compared * numel(x) + setting.item if self.clamp else 0)

    def module(self, library: Any) -> Callable:
        if not self.clamp:
            return library.nn.Hardtanh(self.low, self.high, self.inplace)
        return lambda x: (x.clamp_ if self.inplace else x.clamp)(*self.bounds)


@op("leaky_relu")
class LeakyReLU(Activation):
    """x where x > 0, else slope * x. In place torch's derivative reads the output."""

    slope: float = 0.01
    inplace: bool = False

    reads = "mask"

    @property
    def carries_mask(self) -> bool:
        return self.slope >= 0  # else the output is positive on both sides of 0

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("y" if self.inplace else "x",)}

    def module(self, library: Any) -> Callable:
        return library.nn.LeakyReLU(self.slope, self.inplace)


@op("prelu")
class PReLU(Activation):
    """x where x > 0, else weight * x, with one weight or one per channel."""

    channels: int = 1

    in_16_bits = False
    casts = Casts.LOWER

    def params(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.channels,)}

    stock = Stock(joint=True)
    broadcast_parameters = ("weight",)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x", "weight"), "weight": ("x",)}

    torch_needs = needs

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = numel(y)
        return {"forward": Work(0, 2 * n), "x": Work(0, n), "weight": Work(0, 2 * n)}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # One call makes both gradients as large as x; then the engine sums the weight's (_prelu_kernel_backward).
        full, weight = setting.item * numel(x), setting.item * self.channels
        if "weight" not in setting.demanded or setting.summed_late:
            return Scratch(backward=full if "x" in setting.demanded else 2 * full)
        summed = full + setting.shared_sum(x, self.channels)
        return Scratch(backward=summed if "x" in setting.demanded else maximum(2 * full - weight, summed))

    def module(self, library: Any) -> Callable:
        return library.nn.PReLU(self.channels)


GELU.examples = ((GELU(), (2, 8, 5, 3)), (GELU("tanh"), (2, 9)))
Hardtanh.examples = (*Hardtanh.examples, (Hardtanh(0.0, 6.0, clamp=True), (2, 9)))
PReLU.examples = ((PReLU(8), (2, 8, 5, 3)), (PReLU(), (2, 9)))
