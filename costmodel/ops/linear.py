"""Fully connected layers."""

from __future__ import annotations

from ..layouts import contiguous, differs
from ..op import Op, Work, check, op
from ..size import numel, require


@op("linear")
class Linear(Op):
    """torch.nn.Linear: (N, ..., in_features) -> (N, ..., out_features)."""

    in_features: int
    out_features: int
    bias: bool = True

    def __post_init__(self):
        for name in ("in_features", "out_features"):
            check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; allowed: >= 1")

    @classmethod
    def infer(cls, x):
        return {"in_features": x[-1]}

    def params(self):
        weight = (self.out_features, self.in_features)
        return {"weight": weight, "bias": (self.out_features,)} if self.bias else {"weight": weight}

    def shape(self, x):
        require(len(x) >= 2, "linear takes (N, ..., features), the input is {}", x)
        fits = x[-1] == self.in_features
        require(fits, "the input has {} features, the layer takes {}", x[-1:], (self.in_features,))
        return (*x[:-1], self.out_features)

    def needs(self):
        # addmm keeps its input only for the weight's gradient: the one layer that gets cheaper when frozen.
        needs = {"x": ("weight",), "weight": ("x",)}
        return {**needs, "bias": ()} if self.bias else needs

    def layout(self, axes, *xs):
        return contiguous(axes)

    def gradient_layout(self, gradient, y, x):
        return contiguous(len(x.order))

    def copies_gradient(self, gradient, y):
        # Of more axes it is a product of matrices between two views, and the second one's backward makes a matrix.
        return len(y) > 2 and differs(gradient, y, contiguous(len(y)).order)

    def work(self, y, x):
        n = numel(y)
        macs = n * self.in_features
        work = {"forward": Work(macs, n if self.bias else 0), "x": Work(macs), "weight": Work(macs)}
        return {**work, "bias": Work(0, n)} if self.bias else work

    def module(self, library):
        return library.nn.Linear(self.in_features, self.out_features, self.bias)


Linear.examples = ((Linear(6, 4), (3, 6)), (Linear(5, 7, bias=False), (2, 5)), (Linear(6, 4), (3, 5, 6)))
