"""Convolution along one axis."""

from __future__ import annotations

from ..graph.op import Op, Stock, Work, check, op
from ..sizes.size import numel, require, window


@op("conv1d")
class Conv1d(Op):
    """torch.nn.Conv1d: (N, C, L) -> (N, out_channels, L'). What its kernels allocate inside is not modelled."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    bias: bool = False

    def __post_init__(self):
        for name in ("in_channels", "out_channels", "kernel", "stride", "dilation", "groups"):
            check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; allowed: >= 1")
        check(self.padding >= 0, f"padding is {self.padding}; allowed: >= 0")
        fits = self.in_channels % self.groups == 0 == self.out_channels % self.groups
        check(fits, f"groups {self.groups} does not divide channels {self.in_channels} and {self.out_channels}")

    @classmethod
    def infer(cls, x):
        return {"in_channels": x[1]}

    def params(self):
        weight = (self.out_channels, self.in_channels // self.groups, self.kernel)
        return {"weight": weight, "bias": (self.out_channels,)} if self.bias else {"weight": weight}

    def shape(self, x):
        require(len(x) == 3, "conv1d takes (N, C, L), the input is {}", x)
        fits = x[1] == self.in_channels
        require(fits, "the input has {} channels, the convolution takes {}", x[1:2], (self.in_channels,))
        length = window(x[2], self.kernel, self.stride, self.padding, self.dilation)
        require(length >= 1, "no output: the kernel {} does not fit into the input {}", (self.kernel,), x)
        return (x[0], self.out_channels, length)

    stock = Stock(joint=True)  # as conv2d

    def needs(self):
        needs = {"x": ("weight",), "weight": ("x",)}
        return {**needs, "bias": ()} if self.bias else needs

    def work(self, y, x):
        n = numel(y)
        each = Work(n * numel(self.params()["weight"][1:]))
        work = {"forward": Work(each.macs, n if self.bias else 0), "x": each, "weight": each}
        return {**work, "bias": Work(0, n)} if self.bias else work

    def module(self, library):
        return library.nn.Conv1d(
            self.in_channels, self.out_channels, self.kernel, self.stride, self.padding, self.dilation, self.groups,
            self.bias,
        )  # fmt: skip


Conv1d.examples = (
    (Conv1d(1, 1, 3, padding=1), (2, 1, 9)),
    (Conv1d(6, 4, 3, stride=2, groups=2, bias=True), (2, 6, 9)),
)
