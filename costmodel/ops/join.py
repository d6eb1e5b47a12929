"""Ops of two inputs."""

from __future__ import annotations

from ..graph.op import Op, Scratch, Work, op
from ..sizes.size import broadcast, maximum, numel, require, where


class Join(Op):
    """Elementwise in two inputs that broadcast; `inplace` overwrites a, which must then have the output's shape."""

    inputs = ("a", "b")
    broadcasts = True

    def shape(self, a, b):
        y = broadcast(a, b)
        if self.inplace:
            require(len(y) == len(a) and numel(y) == numel(a), "in place, {} cannot take the shape {}", a, y)
        return y


@op("add")
class Add(Join):
    """a + b, as at the end of a residual block."""

    inplace: bool = False
    passes = ("a", "b")

    def needs(self):
        return {"a": (), "b": ()}

    def work(self, y, a, b):
        # The gradient is passed on as it is, or summed over the axes that were broadcast.
        return {"forward": Work(0, numel(y)), "a": reduction(y, a), "b": reduction(y, b)}

    def module(self, library):
        return library.torch.Tensor.add_ if self.inplace else library.torch.add


@op("mul")
class Mul(Join):
    """a * b, as squeeze-and-excite scales its channels: the gradient of either reads the other."""

    def needs(self):
        return {"a": ("b",), "b": ("a",)}

    def work(self, y, a, b):
        n = numel(y)
        return {
            "forward": Work(0, n),
            "a": Work(0, n + reduction(y, a).elementwise),
            "b": Work(0, n + reduction(y, b).elementwise),
        }

    inplace: bool = False

    def scratch(self, setting, y, a, b):
        return Scratch(backward=summed(self, setting, y, a, b))

    def module(self, library):
        return library.torch.Tensor.mul_ if self.inplace else library.torch.mul


def summed(op, setting, y, a, b, most=0):
    """Bytes beyond the gradients where each is made in the output's shape, and then summed where an input is smaller.

    most: maps of the output's shape that there are at once before.
    """
    full = numel(y)
    sizes = [numel(operand) for name, operand in zip(op.inputs, (a, b)) if name in setting.demanded]
    level = full * len(sizes)
    highest = maximum(level, most * full)
    for size in sizes:
        highest = maximum(highest, level + where(size == full, 0, size))
        level = level - full + size
    return setting.item * (highest - level)


def reduction(y, operand):
    """Work of summing a gradient of y's shape over the axes along which the operand was broadcast."""
    n = numel(y)
    return Work(0, where(numel(operand) == n, 0, n))


Add.examples = (
    (Add(), (2, 8, 5, 3), (2, 8, 5, 3)),
    (Add(inplace=True), (2, 8, 5, 3), (2, 8, 5, 3)),
    (Add(), (2, 8, 5, 3), (8, 1, 1)),
)
Mul.examples = (
    (Mul(), (2, 8, 1, 1), (2, 8, 5, 3)),
    (Mul(), (2, 8, 5, 3), (2, 8, 5, 3)),
    (Mul(), (2, 8, 5, 3), (3,)),
)
