"""Convolution."""

from __future__ import annotations

from dataclasses import replace

from ..graph.op import Extra, Op, Pair, Work, check, op, pair
from ..sizes.size import numel, require, where, window
from ..targets.memory_order import CHANNELS_LAST, contiguous, of_images
from ..targets.onednn import Scratch, in_onednn


@op("conv2d")
class Conv2d(Op):
    """torch.nn.Conv2d with zero padding: (N, in_channels, H, W) -> (N, out_channels, H', W').

    standardise: it convolves with w^ = (weight - mean) / (std + eps), per output channel (weight standardisation).
    fixed: the weight does not train, so that it is standardised once, when the module is made, and costs nothing.
    """

    in_channels: int
    out_channels: int
    kernel: Pair
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = False
    standardise: bool = False
    fixed: bool = False

    # aten::convolution_backward is one call for all three gradients, and convolution keeps its input and weight
    # whenever one of them is demanded (derivatives.yaml: convolution_overrideable, mkldnn_convolution).
    grid = "strided"
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
        check(self.standardise or not self.fixed, "fixed belongs to standardise; allowed: standardise: true")
        check(not self.standardise or per_output > 1, "standardise wants more than one weight per output channel")

    def trained(self, names):
        return replace(self, fixed="weight" not in names) if self.standardise else self

    @property
    def has_epilogue(self):
        return self.standardise and not self.fixed

    @classmethod
    def infer(cls, x):
        return {"in_channels": x[1]}

    def params(self):
        weight = (self.out_channels, self.in_channels // self.groups, *self.kernel)
        return {"weight": weight, "bias": (self.out_channels,)} if self.bias else {"weight": weight}

    def buffers(self):
        return {"standardised": Extra(self.params()["weight"])} if self.fixed else {}

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
        if self.has_epilogue:
            # With c = weight - mean, s = std and K weights per channel, and v the gradient of w^:
            # dweight = u - mean(u), u = v / (s + eps) - c * sum(v * c) / (s * (s + eps)^2 * (K - 1)).
            needs = {"x": ("weight", "mean", "std"), "weight": ("x", "weight", "mean", "std")}
        return {**needs, "bias": ()} if self.bias else needs

    def torch_needs(self):
        if not self.has_epilogue:
            return self.needs()
        # The convolution keeps w^, the division both its operands, std its input and result.
        needs = {"x": ("standardised",), "weight": ("x", "centred", "std", "divisor")}
        return {**needs, "bias": ()} if self.bias else needs

    def saves_late(self, operands):
        return False

    def extras(self, x):
        if not self.has_epilogue:
            return {}
        weight, per_channel = Extra(self.params()["weight"]), Extra((self.out_channels,))
        return {"mean": per_channel, "std": per_channel, "divisor": per_channel, "centred": weight,
                "standardised": weight}  # fmt: skip

    def epilogue(self, setting, y, x):
        # DivBackward has four maps of the weight beside the gradient that came in (FunctionsManual.cpp:
        # div_tensor_other_grad); what it and StdBackward keep is still there. One map of those is the gradient.
        if not self.has_epilogue:
            return 0
        return setting.item * (5 * numel(self.params()["weight"]) + 2 * self.out_channels)

    def work(self, y, x):
        # Each weight meets each output position once, in the forward pass and in either gradient: a strided or
        # grouped convolution makes no difference.
        n = numel(y)
        macs = n * self._macs_per_output
        both = Work(macs)
        work = {"forward": both, "x": both, "weight": both}
        if self.has_epilogue:
            # Mean, difference, two sums of the deviation, quotient; backward as a norm with batch statistics.
            weights = numel(self.params()["weight"])
            work = {"forward": Work(macs, 5 * weights), "x": both, "weight": Work(macs, 6 * weights)}
        if not self.bias:
            return work
        forward = work["forward"]
        return {**work, "forward": Work(macs, forward.elementwise + n), "bias": Work(0, n)}

    def layout(self, axes, *xs):
        return of_images(xs[0])

    def gradient_layout(self, gradient, y, x):
        return of_images(x)

    def recast(self, setting):
        # A kernel of channels_last images gives the weight's gradient in that format. AccumulateGrad copies what does
        # not have the parameter's strides (torch/csrc/autograd/utils/grad_layout_contract.h).
        return ("weight",) if self.relays(setting) and "weight" in setting.demanded else ()

    def relays(self, setting):
        """Whether the weight has to be brought into channels_last, since the input is; the format of 1x1 is both."""
        one, area = self.in_channels == self.groups, self.kernel == (1, 1)
        return bool(setting.layouts) and setting.channels_last and not one and not area

    def transients(self, setting, y, x):
        if setting.kernels:
            scratch = self._scratch.get(setting)
            if scratch is None:
                scratch = self._scratch[setting] = Scratch(self, setting)
            forward, backward = scratch(y, x)
            if not setting.layouts:
                return forward, backward
            # What does not lie as the kernel takes it is copied first, and let go last.
            order = (CHANNELS_LAST if setting.channels_last else contiguous(4)).order
            more = setting.item * numel(self.params()["weight"]) if self.relays(setting) else 0
            return (
                forward + more + setting.copies(order, None, x),
                backward + more + setting.copies(order, y, x),
            )
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
        module = (library.StandardisedConv2d if self.has_epilogue else library.nn.Conv2d)(*self.arguments())
        return library.standardised_once(module) if self.fixed else module


Conv2d.examples = (
    (Conv2d(3, 8, 3, stride=2, padding=1), (2, 3, 9, 9)),
    (Conv2d(8, 8, 3, padding=1, groups=8), (2, 8, 7, 5)),
    (Conv2d(8, 16, 1, bias=True), (3, 8, 5, 5)),
    (Conv2d(8, 4, (5, 3), stride=(2, 1), padding=(2, 0), groups=2, bias=True), (2, 8, 11, 6)),
    (Conv2d(4, 8, 3, padding=2, dilation=2), (2, 4, 8, 8)),
    (Conv2d(8, 16, 3, padding=1, groups=2, standardise=True), (2, 8, 7, 5)),
    (Conv2d(8, 16, 1, bias=True, standardise=True, fixed=True), (2, 8, 7, 5)),
    (Conv2d(6, 12, 7, stride=3, padding=3, groups=3), (1, 6, 17, 16)),
)
