"""Activations: elementwise functions of one input. `inplace` overwrites the input."""

from __future__ import annotations

from ..op import Extra, Op, Work, op
from ..size import numel


class Activation(Op):
    """(any shape) -> the same. Subclasses say what the derivative reads and how many operations it takes.

    In-place forms whose derivative reads the input keep a clone of it (torch: `self.clone()` before the call). The
    overwritten content is a tensor of its own either way, so nothing needs saying about it here.
    """

    operations = (1, 1)  # per element: forward, backward

    def shape(self, x):
        return x

    def work(self, y, x):
        n = numel(y)
        forward, backward = self.operations
        return {"forward": Work(0, forward * n), "x": Work(0, backward * n)}

    def module(self, library):
        return getattr(library.nn, self.torch_name)(inplace=self.inplace)


class Masked(Activation):
    """An activation whose derivative takes two values: one bit per element tells which."""

    def needs(self):
        return {"x": ("mask",)}

    def extras(self, x):
        return {"mask": Extra(x, 1)}

    def carriers(self):
        return {"mask": "y"}

    def torch_needs(self):
        return {"x": ("x",)}


@op("relu")
class ReLU(Masked):
    """max(x, 0). torch keeps its output (threshold_backward of result); y > 0 is the mask."""

    inplace: bool = False
    torch_name = "ReLU"

    def torch_needs(self):
        return {"x": ("y",)}


@op("relu6")
class ReLU6(Masked):
    """min(max(x, 0), 6). torch keeps its input (hardtanh); 0 < y < 6 is the mask."""

    inplace: bool = False
    torch_name = "ReLU6"
    operations = (2, 1)


@op("hardsigmoid")
class Hardsigmoid(Masked):
    """relu6(x + 3) / 6. The derivative is 1/6 where -3 < x < 3; y is rounded, so the mask cannot be read off it."""

    inplace: bool = False
    torch_name = "Hardsigmoid"
    operations = (4, 2)

    def carriers(self):
        return {}


@op("hardswish")
class Hardswish(Activation):
    """x * relu6(x + 3) / 6."""

    inplace: bool = False
    torch_name = "Hardswish"
    operations = (5, 4)

    def needs(self):
        return {"x": ("x",)}


@op("silu")
class SiLU(Activation):
    """x * sigmoid(x)."""

    inplace: bool = False
    torch_name = "SiLU"
    operations = (4, 6)

    def needs(self):
        return {"x": ("x",)}


@op("sigmoid")
class Sigmoid(Activation):
    """1 / (1 + exp(-x)); dx = g * y * (1 - y) reads the output."""

    operations = (3, 3)

    def needs(self):
        return {"x": ("y",)}

    def module(self, library):
        return library.nn.Sigmoid()


@op("gelu")
class GELU(Activation):
    """x * Phi(x), with the error function or its tanh approximation."""

    approximate: str = "none"
    operations = (5, 9)

    def needs(self):
        return {"x": ("x",)}

    def module(self, library):
        return library.nn.GELU(self.approximate)


for _cls in (ReLU, ReLU6, Hardsigmoid, Hardswish, SiLU):
    _cls.examples = ((_cls(), (2, 8, 5, 3)), (_cls(inplace=True), (3, 7)))
Sigmoid.examples = ((Sigmoid(), (2, 8, 1, 1)),)
GELU.examples = ((GELU(), (2, 8, 5, 3)), (GELU("tanh"), (2, 9)))
