"""Activations: elementwise functions of one input. `inplace` overwrites the input."""

from __future__ import annotations

from typing import ClassVar

from ..graph.op import Extra, Op, Work, check, op
from ..sizes.size import numel
from ..targets.memory_order import dense


class Activation(Op):
    """(any shape) -> the same. Subclasses say what the derivative reads and how many operations it takes.

    signed: MobileTL's backward, which passes the gradient where the input was >= 0. Stock PyTorch ignores it.

    In-place forms whose derivative reads the input keep a clone of it (torch: `self.clone()` before the call). The
    overwritten content is a tensor of its own either way, so nothing needs saying about it here.
    """

    reads: ClassVar[str] = "x"  # by the exact derivative; "mask": it takes two values, and a bit tells which
    torch_reads: ClassVar[str] = "x"  # by torch's formula
    torch_name: ClassVar[str]  # of torch's layer, where it takes nothing but `inplace`
    onnx_name: ClassVar[str]  # of ONNX's operator, where it has no attributes
    operations: ClassVar[tuple] = (1, 1)  # per element: forward, backward
    #: The output tells the mask: y > 0 for ReLU, 0 < y < 6 for ReLU6, the sign bit of y for the smooth ones.
    carries_mask: ClassVar[bool] = True

    inplace = False
    signed = False
    torch_excuse = "stock activations keep a whole map where a bit per element, or nothing, would do"

    def shape(self, x):
        return x

    def needs(self):
        return {"x": ("mask" if self.signed else self.reads,)}

    def torch_needs(self):
        return {"x": (self.torch_reads,)}

    def extras(self, x):
        return {"mask": Extra(x, 1)}

    def carriers(self):
        return {"mask": "y"} if self.carries_mask else {}

    def work(self, y, x):
        n = numel(y)
        forward, backward = self.operations
        return {"forward": Work(0, forward * n), "x": Work(0, backward * n)}

    def module(self, library):
        return getattr(library.nn, self.torch_name)(inplace=self.inplace)


@op("relu")
class ReLU(Activation):
    """max(x, 0). torch keeps its output (threshold_backward of result)."""

    inplace: bool = False
    signed: bool = False

    reads = "mask"
    torch_reads = "y"
    torch_name = "ReLU"
    onnx_name = "Relu"

    def gradient_layout(self, gradient, y, x):
        return dense(y)  # threshold_backward takes the result first


@op("relu6")
class ReLU6(Activation):
    """min(max(x, 0), 6). torch keeps its input (hardtanh)."""

    inplace: bool = False
    signed: bool = False

    reads = "mask"
    torch_name = "ReLU6"
    operations = (2, 1)

    def extras(self, x):
        # Some count which side of 0 and 6 each element is on; the derivative needs only the mask.
        return {**super().extras(x), "sides": Extra(x, 2)}


@op("hardsigmoid")
class Hardsigmoid(Activation):
    """relu6(x + 3) / 6. The derivative is 1/6 where -3 < x < 3; y is rounded, so the mask cannot be read off it."""

    inplace: bool = False

    reads = "mask"
    torch_name = "Hardsigmoid"
    operations = (4, 2)
    carries_mask = False


@op("hardswish")
class Hardswish(Activation):
    """x * relu6(x + 3) / 6."""

    inplace: bool = False
    signed: bool = False

    torch_name = "Hardswish"
    onnx_name = "HardSwish"
    operations = (5, 4)


@op("silu")
class SiLU(Activation):
    """x * sigmoid(x)."""

    inplace: bool = False
    signed: bool = False

    torch_name = "SiLU"
    operations = (4, 6)


@op("sigmoid")
class Sigmoid(Activation):
    """1 / (1 + exp(-x)); dx = g * y * (1 - y) reads the output."""

    inplace: bool = False

    torch_name = "Sigmoid"
    reads = torch_reads = "y"
    operations = (3, 3)

    def module(self, library):
        return library.torch.Tensor.sigmoid_ if self.inplace else library.nn.Sigmoid()


@op("gelu")
class GELU(Activation):
    """x * Phi(x), with the error function or its tanh approximation."""

    approximate: str = "none"
    signed: bool = False

    operations = (5, 9)

    def __post_init__(self):
        check(self.approximate in ("none", "tanh"), f"approximate is {self.approximate!r}; allowed: none, tanh")

    def module(self, library):
        return library.nn.GELU(self.approximate)


for _cls in (ReLU, ReLU6, Hardsigmoid, Hardswish, SiLU):
    _cls.examples = ((_cls(), (2, 8, 5, 3)), (_cls(inplace=True), (3, 7)))
Sigmoid.examples = ((Sigmoid(), (2, 8, 1, 1)), (Sigmoid(inplace=True), (2, 8)))
GELU.examples = ((GELU(), (2, 8, 5, 3)), (GELU("tanh"), (2, 9)))
