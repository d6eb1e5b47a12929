"""Memory-lean layers: as the stock ones, but they keep only what the demanded gradients read.

Tensors are kept through save_for_backward alone, where the saved-tensor hooks see them; sizes are plain attributes.
What a stock layer already does leanly (a convolution with a trained weight, a norm with a trained scale) is left to it.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .bits import INTEGERS, between_0_and_6, layout, masked, not_negative, pack, positive, within_3
from .modules import FrozenBatchNorm2d

aten = torch.ops.aten


class _Like:
    """What a formula must know of a tensor that it need not read: shape, strides, dtype, device."""

    def __init__(self, x: Tensor) -> None:
        self.shape, self.strides, self.dtype, self.device = x.shape, x.stride(), x.dtype, x.device

    def tensor(self) -> Tensor:
        """A tensor like it, for formulas that take one and look at its sizes only. On the CPU it is a mapping of
        pages that are never touched, so it takes no memory."""
        if self.device.type != "cpu":
            return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device=self.device)
        elements = 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides))
        pages = mmap.mmap(-1, elements * self.dtype.itemsize)
        return torch.frombuffer(pages, dtype=self.dtype).as_strided(self.shape, self.strides)


def _recorded(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


# Convolutions


class _FrozenConv(Function):
    """A convolution whose weight is frozen, and with it the scale and statistics of a norm folded into it, if any."""

    @staticmethod
    def forward(ctx, x, weight, bias, shift, norm, options):
        """shift: the norm's bias. norm: the norm, or None. options: stride, padding, dilation, groups."""
        ctx.x, ctx.options, ctx.eps = _Like(x), options, norm and norm.eps
        if ctx.needs_input_grad[0] or norm and ctx.needs_input_grad[2]:
            ctx.save_for_backward(weight, *((norm.weight, norm.running_var) if norm else ()))
        return F.conv2d(x, *_folded(weight, bias, norm), *options)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        weight, *scale = ctx.saved_tensors or (None,)
        want_x, _, want_bias, want_shift, *_ = ctx.needs_input_grad
        scale = _scale(*scale, ctx.eps) if scale and (want_x or want_bias) else None
        gx = shift = bias = None
        if want_x:
            gx = _input_gradient(g, _scaled(weight, scale), ctx.x, ctx.options)
        if want_bias or want_shift:
            shift = g.sum((0, 2, 3))
            bias = shift if scale is None else shift * scale if want_bias else None
        return gx, None, bias if want_bias else None, shift if want_shift else None, None, None


def _input_gradient(g: Tensor, weight: Tensor, x: _Like, options: Sequence) -> Tensor:
    """The gradient of a convolution's input, without that input."""
    stride, padding, dilation, groups = options
    if g.device.type == "cpu":  # the stock kernel, which reads the input's sizes only
        how = (stride, padding, dilation, False, [0, 0], groups)
        return aten.convolution_backward(g, x.tensor(), weight, None, *how, [True, False, False])[0]
    rest = [
        size - (d * (k - 1) + 1) + 2 * p - (out - 1) * s
        for size, out, k, s, p, d in zip(x.shape[2:], g.shape[2:], weight.shape[2:], stride, padding, dilation)
    ]
    return F.conv_transpose2d(g, weight, None, stride, padding, rest, groups, dilation)


def _scale(weight: Tensor, variance: Tensor, eps: float) -> Tensor:
    """A frozen norm's factor per channel."""
    return variance.add(eps).rsqrt_().mul_(weight)


def _scaled(weight: Tensor, scale: Tensor | None) -> Tensor:
    return weight if scale is None else weight * scale[:, None, None, None]


def _folded(weight: Tensor, bias: Tensor | None, norm: nn.Module | None) -> tuple[Tensor, Tensor | None]:
    """The weight and bias of a convolution that does its frozen norm's work too."""
    if norm is None:
        return weight, bias
    scale = _scale(norm.weight, norm.running_var, norm.eps)
    mean = norm.running_mean if bias is None else norm.running_mean - bias
    return _scaled(weight, scale), torch.addcmul(norm.bias, mean, scale, value=-1)


class LeanConv2d(nn.Conv2d):
    """A convolution that keeps its input only where its weight trains."""

    norm: nn.BatchNorm2d | None = None

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        shift = norm.bias if norm else None
        plain = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        options = (self.stride, self.padding, self.dilation, self.groups)
        if self.weight.requires_grad and norm is None or not plain:
            return super().forward(x)
        weight = self._buffers.get("standardised", self.weight)
        if _recorded(x, self.bias, shift):
            return _FrozenConv.apply(x, weight, self.bias, shift, norm, options)
        with torch.no_grad():
            return F.conv2d(x, *_folded(weight, self.bias, norm), *options)


class FoldedConv2d(LeanConv2d):
    """A convolution that does the work of the frozen norm after it too, with a scaled weight made for each call.

    The weight and the norm's scale must be frozen; biases and shift may train. The norm stays registered where it
    was and is not registered here: state dicts, `.to()`, loading and copies of the whole see it once.
    """

    _norms: tuple[nn.BatchNorm2d, ...] = ()

    @property
    def norm(self) -> nn.BatchNorm2d | None:
        return self._norms[0] if self._norms else None

    def fold(self, norm: FoldedNorm2d) -> None:
        """Take over the work of a norm that hands on its input."""
        if self.padding_mode != "zeros" or isinstance(self.padding, str):
            raise ValueError("only a convolution with zero padding, given in numbers, takes over a norm")
        self._norms = (norm,)  # in a tuple, so that it is not registered

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.requires_grad or self.norm is not None and self.norm.weight.requires_grad:
            raise RuntimeError("a convolution that does a norm's work has a frozen weight and scale")
        return super().forward(x)


class FoldedNorm2d(FrozenBatchNorm2d):
    """A frozen norm whose work the convolution before it does."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Make a stock convolution do the work of the frozen norm after it, both staying where they are."""
    conv.__class__, norm.__class__ = FoldedConv2d, FoldedNorm2d
    norm.eval()
    conv.fold(norm)


# The shift-only norm


class _Shift(Function):
    @staticmethod
    def forward(ctx, x, bias, norm):
        ctx.eps, ctx.owns_gradient = norm.eps, norm.owns_gradient
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(norm.weight, norm.running_var)
        if norm.inplace:
            ctx.mark_dirty(x)
        return norm.normalised(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        saved = ctx.saved_tensors  # first: a checkpointed block is run again here
        shift = g.sum((0, 2, 3)) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, shift, None
        scale = _scale(*saved, ctx.eps).to(g.dtype)[:, None, None]
        return g.mul_(scale) if ctx.owns_gradient and _dense(g) else g * scale, shift, None


class ShiftNorm2d(FrozenBatchNorm2d):
    """A norm by frozen statistics that keeps nothing while its scale is frozen.

    inplace: it overwrites its input. owns_gradient: the gradient of its output is made for it alone, so it overwrites
    that too. That holds where every reader of the output makes a new gradient (a convolution, a norm, a pooling, a
    product, but not a sum or a view, which hand theirs on).
    """

    def __init__(self, *args, inplace: bool = False, owns_gradient: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.inplace, self.owns_gradient = inplace, owns_gradient

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.requires_grad:
            return super().forward(x)
        if _recorded(x, self.bias):
            return _Shift.apply(x, self.bias, self)
        with torch.no_grad():
            return self.normalised(x)

    def normalised(self, x: Tensor) -> Tensor:
        """One pass of the stock kernel, which may write where it reads."""
        arguments = (x, self.weight, self.bias, self.running_mean, self.running_var, False, 0.0, self.eps)
        if not self.inplace:
            return aten.native_batch_norm(*arguments)[0]
        none = x.new_empty(0)
        aten.native_batch_norm.out(*arguments, out=x, save_mean=none, save_invstd=none)
        return x


# Activations whose derivative takes two values, and dropout

class _ShiftOfGroups(Function):
    @staticmethod
    def forward(ctx, x, bias, norm):
        return F.group_norm(x, norm.num_groups, norm.weight, bias, norm.eps)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return None, g.sum([axis for axis in range(g.ndim) if axis != 1]), None


class LeanGroupNorm(nn.GroupNorm):
    """A group norm that keeps nothing where its shift alone wants a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad or self.weight.requires_grad or not _recorded(self.bias):
            return super().forward(x)
        return _ShiftOfGroups.apply(x, self.bias, self)


_FORWARD = {  # out of place, in place
    "relu": (aten.relu, aten.relu_),
    "relu6": (aten.relu6, aten.relu6_),
    "hardsigmoid": (aten.hardsigmoid, aten.hardsigmoid_),
    "hardswish": (aten.hardswish, aten.hardswish_),
    "silu": (aten.silu, aten.silu_),
    "gelu": (aten.gelu, aten.gelu_),
}


class _Activate(Function):
    @staticmethod
    def forward(ctx, x, module):
        ctx.module, ctx.layout = module, layout(x)
        if module.inplace:
            ctx.mark_dirty(x)
        if module.kind == "hardsigmoid":  # y is rounded: only x tells where the derivative is 1/6
            kept = pack(x.contiguous(memory_format=ctx.layout), module.passes(x.dtype))
        y = module.activated(x)
        if module.keep == "y":
            kept = y
        elif module.kind != "hardsigmoid":
            kept = pack(y.contiguous(memory_format=ctx.layout), module.passes(x.dtype))
        ctx.save_for_backward(kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        (kept,), module = ctx.saved_tensors, ctx.module
        own = module.owns_gradient and _dense(g)
        if module.keep == "mask":
            gx = masked(g, kept, ctx.layout, own)
            return gx.mul_(1 / 6) if module.kind == "hardsigmoid" else gx, None
        into = {"grad_input": g} if own else {}
        if module.kind == "relu6" and not module.signed:
            return (aten.hardtanh_backward.grad_input if own else aten.hardtanh_backward)(g, kept, 0, 6, **into), None
        threshold_backward = aten.threshold_backward.grad_input if own else aten.threshold_backward
        if module.kind in ("relu", "relu6"):
            return threshold_backward(g, kept, 0, **into), None
        # As integers of the same bits, what has its sign bit set is below 0.
        integer = INTEGERS[g.element_size()]
        into = {name: t.view(integer) for name, t in into.items()}
        return threshold_backward(g.view(integer), kept.view(integer), -1, **into).view(g.dtype), None


def _dense(g: Tensor) -> bool:
    return g.is_contiguous() or g.is_contiguous(memory_format=layout(g))


class MaskedActivation(nn.Module):
    """An activation whose derivative, exact or as MobileTL has it, takes two values.

    kind: relu, relu6 or hardsigmoid, exact; or, with signed=True, relu, relu6, hardswish, silu or gelu, which pass
    the gradient where the input is not negative. keep: "mask" keeps one bit per element; "y" keeps the output, which
    costs nothing where another layer keeps it anyway. owns_gradient: see ShiftNorm2d.
    """

    def __init__(self, kind: str, signed: bool = False, keep: str = "mask", inplace: bool = False,
                 approximate: str = "none", owns_gradient: bool = False) -> None:  # fmt: skip
        super().__init__()
        exact, smooth = ("relu", "relu6", "hardsigmoid"), ("relu", "relu6", "hardswish", "silu", "gelu")
        if kind not in (smooth if signed else exact) or keep not in ("mask", "y"):
            raise ValueError(f"no mask is known for kind={kind!r}, signed={signed}, keep={keep!r}")
        if kind == "hardsigmoid" and keep == "y":
            raise ValueError("hardsigmoid's output is rounded: its mask cannot be read off it")
        self.kind, self.signed, self.keep, self.inplace, self.owns_gradient = kind, signed, keep, inplace, owns_gradient
        self.options = {"approximate": approximate} if kind == "gelu" else {}

    def forward(self, x: Tensor) -> Tensor:
        return _Activate.apply(x, self) if _recorded(x) else self.activated(x)

    def activated(self, x: Tensor) -> Tensor:
        return _FORWARD[self.kind][self.inplace](x, **self.options)

    def passes(self, dtype: torch.dtype) -> Callable:
        """Where the bits of the output, or of hardsigmoid's input, let the gradient pass."""
        if self.kind == "hardsigmoid":
            return within_3(dtype)
        if self.kind == "relu6" and not self.signed:
            return between_0_and_6(dtype)
        return positive if self.kind in ("relu", "relu6") else not_negative

    def extra_repr(self) -> str:
        return f"{self.kind}, signed={self.signed}, keep={self.keep}, inplace={self.inplace}"


class _Drop(Function):
    @staticmethod
    def forward(ctx, x, p, inplace):
        ctx.layout, ctx.scale = layout(x), 1 / (1 - p) if p < 1 else 1.0
        if inplace:
            ctx.mark_dirty(x)
        drawn = torch.empty(x.shape, dtype=torch.int8, device=x.device, memory_format=ctx.layout).bernoulli_(1 - p)
        packed = pack(drawn, positive)
        del drawn
        ctx.save_for_backward(packed)
        y = masked(x, packed, ctx.layout, overwrite=inplace).mul_(ctx.scale)
        return x.copy_(y) if inplace and y is not x else y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        (kept,) = ctx.saved_tensors
        return masked(g, kept, ctx.layout).mul_(ctx.scale), None, None


class PackedDropout(nn.Dropout):
    """Dropout that keeps one bit per element. It draws as stock dropout does."""

    def forward(self, x: Tensor) -> Tensor:
        return _Drop.apply(x, self.p, self.inplace) if self.training and self.p > 0 else x


# Pooling


class _Pool(Function):
    @staticmethod
    def forward(ctx, x, forward, backward, arguments):
        """forward makes y, or y and indices; backward takes g, an input that it reads the sizes of, then the rest."""
        ctx.x, ctx.backward_op, ctx.arguments = _Like(x), backward, arguments
        made = forward(x, *arguments)
        y, *indices = made if isinstance(made, tuple) else (made,)
        ctx.save_for_backward(*indices)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return ctx.backward_op(g, ctx.x.tensor(), *ctx.arguments, *ctx.saved_tensors), None, None, None


class LeanAvgPool2d(nn.AvgPool2d):
    """Average pooling that keeps nothing."""

    def forward(self, x: Tensor) -> Tensor:
        if not _recorded(x):
            return super().forward(x)
        size, step, padding = _pair(self.kernel_size), _pair(self.stride), _pair(self.padding)
        arguments = (size, step, padding, self.ceil_mode, self.count_include_pad, self.divisor_override)
        return _Pool.apply(x, aten.avg_pool2d, aten.avg_pool2d_backward, arguments)


class LeanMaxPool2d(nn.MaxPool2d):
    """Max pooling that keeps the indices of the elements that won, and not its input."""

    def forward(self, x: Tensor) -> Tensor:
        if not _recorded(x) or self.return_indices:
            return super().forward(x)
        sizes = [_pair(size) for size in (self.kernel_size, self.stride, self.padding, self.dilation)]
        forward, backward = aten.max_pool2d_with_indices, aten.max_pool2d_with_indices_backward
        return _Pool.apply(x, forward, backward, (*sizes, self.ceil_mode))


class LeanAdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """Adaptive average pooling that keeps nothing. To 1x1 the stock layer does not either."""

    def forward(self, x: Tensor) -> Tensor:
        output = _pair(self.output_size)
        if not _recorded(x) or tuple(output) == (1, 1) or None in output:
            return super().forward(x)
        return _Pool.apply(x, lambda x: aten._adaptive_avg_pool2d(x, output), aten._adaptive_avg_pool2d_backward, ())


def _pair(size) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)

