"""Convolution."""

from __future__ import annotations

from ..onednn import Scratch, in_onednn
from ..op import Op, Pair, Work, check, op, pair
from ..size import numel, require, where, window


@op("conv2d")
class Conv2d(Op):
    """torch.nn.Conv2d with zero padding: (N, in_channels, H, W) -> (N, out_channels, H', W')."""

    in_channels: int
    out_channels: int
    kernel: Pair
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = False

    # aten::convolution_backward is one call for all three gradients, and convolution keeps its input and weight
    # whenever one of them is demanded (derivatives.yaml: convolution_overrideable, mkldnn_convolution).
    torch_joint = True
    torch_excuse = "stock convolutions keep their input even where their weight is frozen"

    def __post_init__(self):
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(getattr(self, name), name, least))
        for name in ("in_channels", "out_channels", "groups"):
            check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; allowed: >= 1")
        for name in ("in_channels", "out_channels"):
            channels = getattr(self, name)
            check(channels % self.groups == 0, f"groups {self.groups} does not divide {name} {channels}")
        per_output = self.in_channels // self.groups * self.kernel[0] * self.kernel[1]
        object.__setattr__(self, "_macs_per_output", per_output)
        object.__setattr__(self, "_scratch", {})  # by setting: what depends on it alone

    @classmethod
    def infer(cls, x):
        return {"in_channels": x[1]}

    def params(self):
        weight = (self.out_channels, self.in_channels // self.groups, *self.kernel)
        return {"weight": weight, "bias": (self.out_channels,)} if self.bias else {"weight": weight}

    def shape(self, x):
        require(len(x) == 4, "conv2d takes (N, C, H, W), the input is {}", x)
        n, c, h, w = x
        require(c == self.in_channels, "the input has {} channels, the convolution takes {}", (c,), (self.in_channels,))
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = self.kernel, self.stride, self.padding, self.dilation
        h, w = window(h, kh, sh, ph, dh), window(w, kw, sw, pw, dw)
        require((h >= 1) & (w >= 1), "no output: the kernel {} does not fit into the input {}", self.kernel, x)
        return (n, self.out_channels, h, w)

    def needs(self):
        needs = {"x": ("weight",), "weight": ("x",)}
        return {**needs, "bias": ()} if self.bias else needs

    def work(self, y, x):
        # Each weight meets each output position once, in the forward pass and in either gradient: a strided or
        # grouped convolution makes no difference.
        n = numel(y)
        macs = n * self._macs_per_output
        if not self.bias:
            both = Work(macs)
            return {"forward": both, "x": both, "weight": both}
        return {"forward": Work(macs, n), "x": Work(macs), "weight": Work(macs), "bias": Work(0, n)}

    def transients(self, setting, y, x):
        if setting.kernels:
            scratch = self._scratch.get(setting)
            if scratch is None:
                scratch = self._scratch[setting] = Scratch(self, setting)
            return scratch(y, x)
        if setting.target.device == "none" and "bias" in setting.demanded and "weight" not in setting.demanded:
            # oneDNN makes the weights' gradient too: a tensor, let go at once.
            made = setting.item * self.out_channels * self._macs_per_output
            return (0, where(in_onednn(self, setting.target.threads, x[0], x[2] * x[3]), made, 0))
        return (0, 0)

    def arguments(self):
        """Those of torch.nn.Conv2d."""
        return (self.in_channels, self.out_channels, self.kernel, self.stride, self.padding, self.dilation,
                self.groups, self.bias)  # fmt: skip

    def module(self, library):
        return library.nn.Conv2d(*self.arguments())


Conv2d.examples = (
    (Conv2d(3, 8, 3, stride=2, padding=1), (2, 3, 9, 9)),
    (Conv2d(8, 8, 3, padding=1, groups=8), (2, 8, 7, 5)),
    (Conv2d(8, 16, 1, bias=True), (3, 8, 5, 5)),
    (Conv2d(8, 4, (5, 3), stride=(2, 1), padding=(2, 0), groups=2, bias=True), (2, 8, 11, 6)),
    (Conv2d(4, 8, 3, padding=2, dilation=2), (2, 4, 8, 8)),
    (Conv2d(6, 12, 7, stride=3, padding=3, groups=3), (1, 6, 17, 16)),
)
