"""Convolutions."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from functools import cached_property, lru_cache
from math import prod
from typing import Any

from ..graph.aspects.timing import of_convolution
from ..graph.op import Casts, Extra, Op, Pair, Scratch, Stock, Work, check, op, pair, shared_fields, two
from ..sizes.size import Shape, Size, numel, require, window
from ..targets.memory_order import CHANNELS_LAST, MemoryOrder, contiguous, of_images
from ..targets.setting import Setting
from ..targets.target import ConvolutionKernels

EPS = 1e-5  # of weight standardisation


class Convolution(Op):
    """What all convolutions share. `bias`: they have one."""

    bias: bool

    timed_as = ("convolution",)
    casts = Casts.LOWER

    # aten::convolution_backward is one call for all three gradients, and convolution keeps its input and weight
    # whenever one of them is demanded (derivatives.yaml: convolution_overrideable, mkldnn_convolution).
    stock = Stock(joint=True, excuse="stock convolutions keep their input even where their weight is frozen")

    def needs(self) -> dict[str, tuple[str, ...]]:
        needs: dict[str, tuple[str, ...]] = {"x": ("weight",), "weight": ("x",)}
        return {**needs, "bias": ()} if self.bias else needs

    def products(self, y: Shape, per_output: int) -> dict[str, Work]:
        """The work, for an output of shape y and the multiply-adds of one of its elements."""
        # Each weight meets each output position once, in the forward pass and in either gradient: a strided or
        # grouped convolution makes no difference.
        n = numel(y)
        both = Work(n * per_output)
        work = {"forward": both, "x": both, "weight": both}
        return {**work, "forward": Work(both.macs, n), "bias": Work(0, n)} if self.bias else work


@shared_fields
class ConvolutionLayer(Convolution):
    """A convolution with a weight of its own, of the shape (out_channels, in_channels / groups, *kernel)."""

    in_channels: int
    out_channels: int
    kernel: Pair
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = False

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels", "groups"):
            check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; allowed: >= 1")
        for name in ("in_channels", "out_channels"):
            channels = getattr(self, name)
            check(channels % self.groups == 0, f"groups {self.groups} does not divide {name} {channels}")

    @classmethod
    def infer(cls, x: Shape) -> dict[str, int]:
        return {"in_channels": x[1]}

    def params(self) -> dict[str, tuple[int, ...]]:
        kernel = self.kernel if isinstance(self.kernel, tuple) else (self.kernel,)
        weight = (self.out_channels, self.in_channels // self.groups, *kernel)
        return {"weight": weight, "bias": (self.out_channels,)} if self.bias else {"weight": weight}

    def arguments(self) -> tuple[int, int, Pair, Pair, Pair, Pair, int, bool]:
        """Those of the layer in torch.nn."""
        return (self.in_channels, self.out_channels, self.kernel, self.stride, self.padding, self.dilation, self.groups,
                self.bias)  # fmt: skip

    @property
    def timed_as(self) -> tuple[str, ...]:
        kernel = self.kernel if isinstance(self.kernel, tuple) else (self.kernel,)
        return (of_convolution(self.in_channels, self.groups, kernel),)


@op("conv2d")
class Conv2d(ConvolutionLayer):
    """torch.nn.Conv2d with zero padding: (N, in_channels, H, W) -> (N, out_channels, H', W').

    standardise: it convolves with w^ = (weight - mean) / (std + eps), per output channel (weight standardisation).
    fixed: the weight does not train, so that it is standardised once, when the module is made, and costs nothing.
    """

    standardise: bool = False
    fixed: bool = False

    of_parameters = ("mean", "std")
    grid = "strided"
    follows_weight = True

    def __post_init__(self) -> None:
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(getattr(self, name), name, least))
        super().__post_init__()
        check(self.standardise or not self.fixed, "fixed belongs to standardise; allowed: standardise: true")
        several = not self.standardise or self.macs_per_output > 1
        check(several, "standardise wants more than one weight per output channel")

    @cached_property
    def macs_per_output(self) -> int:
        """Multiply-adds of one element of the output."""
        return self.in_channels // self.groups * prod(two(self.kernel))

    @cached_property
    def _windows(self) -> tuple[tuple[int, int], ...]:
        """Kernel, stride, padding and dilation, in both axes."""
        return two(self.kernel), two(self.stride), two(self.padding), two(self.dilation)

    @cached_property
    def _kernels(self) -> dict[Setting, ConvolutionKernels]:
        """By setting, what depends on it alone."""
        return {}

    def trained(self, names: Set[str]) -> Op:
        return replace(self, fixed="weight" not in names) if self.standardise else self

    @property
    def standardises(self) -> bool:
        """Whether it standardises its weight in each call."""
        return self.standardise and not self.fixed

    @property
    def standardising(self) -> Size:
        """Operations that standardise the weight: mean, difference, two sums of the deviation, quotient."""
        return 5 * numel(self.params()["weight"]) if self.standardises else 0

    @property
    def has_epilogue(self) -> bool:
        return self.standardises

    def buffers(self) -> dict[str, Extra]:
        return {"standardised": Extra(self.params()["weight"])} if self.fixed else {}

    def shape(self, x: Shape) -> Shape:
        require(len(x) == 4, "conv2d takes (N, C, H, W), the input is {}", x)
        n, c, h, w = x
        require(c == self.in_channels, "the input has {} channels, the convolution takes {}", (c,), (self.in_channels,))
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = self._windows
        h, w = window(h, kh, sh, ph, dh), window(w, kw, sw, pw, dw)
        require((h >= 1) & (w >= 1), "no output: the kernel {} does not fit into the input {}", (kh, kw), x)
        return (n, self.out_channels, h, w)

    def needs(self) -> dict[str, tuple[str, ...]]:
        if not self.has_epilogue:
            return super().needs()
        # With c = weight - mean, s = std and K weights per channel, and v the gradient of w^:
        # dweight = u - mean(u), u = v / (s + eps) - c * sum(v * c) / (s * (s + eps)^2 * (K - 1)).
        return {**super().needs(), "x": ("weight", "mean", "std"), "weight": ("x", "weight", "mean", "std")}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        if not self.has_epilogue:
            return self.needs()
        # The convolution keeps w^, the division both its operands, std its input and result.
        return {**self.needs(), "x": ("standardised",), "weight": ("x", "centred", "std", "divisor")}

    def saves_late(self, operands: Set[str]) -> bool:
        return False

    def extras(self, x: Shape) -> dict[str, Extra]:
        if not self.has_epilogue:
            return {}
        weight, per_channel = Extra(self.params()["weight"]), Extra((self.out_channels,))
        return {
            "mean": per_channel,
            "std": per_channel,
            "divisor": per_channel,
            "centred": weight,
            "standardised": weight,
        }

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        work = self.products(y, self.macs_per_output)
        if not self.standardises:
            return work
        # Backward as a norm with batch statistics.
        weights, forward = numel(self.params()["weight"]), work["forward"]
        standardised = Work(forward.macs, forward.elementwise + self.standardising)
        return {**work, "forward": standardised, "weight": Work(forward.macs, 6 * weights)}

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return of_images(xs[0])

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return of_images(x)

    def recast(self, setting: Setting) -> tuple[str, ...]:
        # A kernel of channels_last images gives the weight's gradient in that format. AccumulateGrad copies what does
        # not have the parameter's strides (torch/csrc/autograd/utils/grad_layout_contract.h).
        return ("weight",) if self.relays(setting) and "weight" in setting.demanded else ()

    def relays(self, setting: Setting) -> bool:
        """Whether the weight has to be brought into channels_last, since the input is; the format of 1x1 is both."""
        one, area = self.in_channels == self.groups, self.kernel == (1, 1)
        return setting.is_mixed and not setting.target.channels_last and not one and not area

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        forward, backward = self.kernels(setting, y, x)
        if not self.has_epilogue:
            return Scratch(forward, backward)
        # DivBackward holds four maps of the weight besides the incoming gradient (FunctionsManual.cpp:
        # div_tensor_other_grad), while what it and StdBackward keep is alive. One of these maps is the gradient.
        after = setting.item * (5 * numel(self.params()["weight"]) + 2 * self.out_channels)
        return Scratch(forward, backward, after)

    def kernels_in(self, setting: Setting) -> ConvolutionKernels:
        """The kernels that run in a setting."""
        if setting.target.channels_last:  # then the weight is too, and decides
            setting = setting._replace(layouts=(), gradient=None)
        kernels = self._kernels.get(setting)
        if kernels is None:
            kernels = self._kernels[setting] = setting.target.convolution(self, setting)
        return kernels

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return self._is_usual(setting) and self.kernels_in(setting).modelled(y, x)

    def bounded(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return self._is_usual(setting) and self.kernels_in(setting).bounded(y, x)

    def _is_usual(self, setting: Setting) -> bool:
        """Whether the kernels are known, and take tensors in other orders as they do elsewhere."""
        # Where other layouts are copied, a bias's gradient without the weight's is at times summed in place.
        summed = bool(setting.layouts) and "bias" in setting.demanded and "weight" not in setting.demanded
        return setting.target.knows(setting.dtype) and not summed

    def kernels(self, setting: Setting, y: Shape, x: Shape) -> tuple[Size, Size]:
        """Scratch of the convolution itself in the forward and in the backward pass, without weight standardisation."""
        forward, backward = self.kernels_in(setting)(y, x)
        if not (setting.kernels and setting.layouts):
            return forward, backward
        # Tensors in another order than the kernel's are copied first, and freed last.
        channels_last = setting.target.channels_last or setting.channels_last
        order = (CHANNELS_LAST if channels_last else contiguous(4)).order
        more = setting.item * numel(self.params()["weight"]) if self.relays(setting) else 0
        return forward + more + setting.copies(order, None, x), backward + more + setting.copies(order, y, x)

    def module(self, library: Any) -> Callable:
        module = (library.StandardisedConv2d if self.has_epilogue else library.nn.Conv2d)(*self.arguments())
        return library.standardised_once(module) if self.fixed else module


@op("conv1d")
class Conv1d(ConvolutionLayer):
    """torch.nn.Conv1d: (N, C, L) -> (N, out_channels, L'). It runs as a convolution of images of height 1."""

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            check(getattr(self, name) >= least, f"{name} is {getattr(self, name)}; allowed: >= {least}")

    def shape(self, x: Shape) -> Shape:
        require(len(x) == 3, "conv1d takes (N, C, L), the input is {}", x)
        fits = x[1] == self.in_channels
        require(fits, "the input has {} channels, the convolution takes {}", x[1:2], (self.in_channels,))
        length = window(x[2], self.kernel, self.stride, self.padding, self.dilation)
        require(length >= 1, "no output: the kernel {} does not fit into the input {}", (self.kernel,), x)
        return (x[0], self.out_channels, length)

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return self.products(y, self.in_channels // self.groups * self.kernel)

    @cached_property
    def _of_images(self) -> Conv2d:
        """The same convolution of images of height 1 (ATen/native/Convolution.cpp: view1d_as_2d)."""
        one = (1, self.kernel), (1, self.stride), (0, self.padding), (1, self.dilation)
        return Conv2d(self.in_channels, self.out_channels, *one, self.groups, self.bias)

    def _flat(self, setting: Setting) -> Setting:
        """The setting of that convolution: its images are contiguous."""
        return setting._replace(target=replace(setting.target, channels_last=False), layouts=(), gradient=None)

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return not setting.layouts and self._of_images.modelled(self._flat(setting), _one_high(y), _one_high(x))

    def bounded(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return not setting.layouts and self._of_images.bounded(self._flat(setting), _one_high(y), _one_high(x))

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        flat = self._flat(setting)
        forward, backward = self._of_images.kernels(flat, _one_high(y), _one_high(x))
        order = contiguous(3).order  # other tensors are copied first
        if not setting.kernels:
            return Scratch(forward, backward)
        return Scratch(forward + setting.copies(order, None, x), backward + setting.copies(order, y, x))

    def module(self, library: Any) -> Callable:
        return library.nn.Conv1d(*self.arguments())


def _one_high(x: Shape) -> Shape:
    """The shape of images of height 1."""
    return (*x[:2], 1, x[2])


@op("convolve")
class Convolve(Convolution):
    """torch.nn.functional.conv2d by a weight that is a value, a fixed blur say: (N, C, H, W) and (O, C/groups, h, w).

    bias: one is given, as a value too.
    """

    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("x", "weight", "bias") if self.bias else ("x", "weight")

    def __post_init__(self) -> None:
        for name, least in (("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(getattr(self, name), name, least))
        check(self.groups >= 1, f"groups is {self.groups}; allowed: >= 1")

    def shape(self, x: Shape, weight: Shape, bias: Shape | None = None) -> Shape:
        require(len(x) == len(weight) == 4, "convolve takes maps and a weight of four axes, not {} and {}", x, weight)
        fits = x[1] == weight[1] * self.groups
        require(fits, "the input has {} channels, the weight {} per group", x[1:2], weight[1:2])
        windows = zip(x[2:], weight[2:], two(self.stride), two(self.padding), two(self.dilation))
        h, w = (window(*each) for each in windows)
        require((h >= 1) & (w >= 1), "no output: the weight {} does not fit into the input {}", weight, x)
        require(bias is None or bias[0] == weight[0], "the weight {} and the bias {} do not fit", weight, bias or ())
        return (x[0], weight[0], h, w)

    def work(self, y: Shape, x: Shape, weight: Shape, bias: Shape | None = None) -> dict[str, Work]:
        return self.products(y, numel(weight[1:]))

    def scratch(self, setting: Setting, y: Shape, x: Shape, weight: Shape, bias: Shape | None = None) -> Scratch:
        found = _layer(self, weight).scratch(_of_maps(setting), y, x)  # it is the same kernels
        if not (setting.kernels and setting.layouts):
            return found
        copied = setting._replace(layouts=setting.layouts[1:2]).contiguous_copy_of_input(weight)
        return found._replace(forward=found.forward + copied, backward=found.backward + copied)

    def modelled(self, setting: Setting, y: Shape, x: Shape, weight: Shape, bias: Shape | None = None) -> Any:
        return not _mixes(setting) and _layer(self, weight).modelled(_of_maps(setting), y, x)

    def bounded(self, setting: Setting, y: Shape, x: Shape, weight: Shape, bias: Shape | None = None) -> Any:
        return not _mixes(setting) and _layer(self, weight).bounded(_of_maps(setting), y, x)

    layout, gradient_layout, follows_weight = Conv2d.layout, Conv2d.gradient_layout, True

    def module(self, library: Any) -> Callable:
        conv2d, rest = library.torch.nn.functional.conv2d, (self.stride, self.padding, self.dilation, self.groups)
        return lambda x, weight, bias=None: conv2d(x, weight, bias, *rest)


def _of_maps(setting: Setting) -> Setting:
    """The setting of a convolution by a value, as a layer's, whose maps alone may lie otherwise."""
    return setting._replace(layouts=setting.layouts[:1])


def _mixes(setting: Setting) -> bool:
    """Whether maps or a weight lie otherwise where others are channels_last: no rule says which of them is copied."""
    return bool(setting.layouts) and (setting.target.channels_last or setting.is_mixed)


@lru_cache(maxsize=1024)
def _layer(op: Convolve, weight: Shape) -> Conv2d:
    """The layer that convolves by a weight of this shape."""
    outputs, per_group, height, width = weight
    layer = (op.stride, op.padding, op.dilation, op.groups, op.bias)
    return Conv2d(per_group * op.groups, outputs, (height, width), *layer)


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
Conv1d.examples = ((Conv1d(1, 1, 3, padding=1), (2, 1, 9)), (Conv1d(6, 4, 3, stride=2, groups=2, bias=True), (2, 6, 9)))
Convolve.examples = (
    (Convolve(groups=8, stride=2), (2, 8, 7, 7), (8, 1, 3, 3)),
    (Convolve(padding=1), (2, 4, 5, 5), (6, 4, 3, 3)),
    (Convolve(bias=True), (2, 4, 5, 5), (6, 4, 1, 1), (6,)),
)
