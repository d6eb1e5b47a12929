"""Convolutions that keep their input only if their weight trains, and that can take over a frozen norm's work."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from ...ops._gradients import is_pointwise, is_wide
from ..modules import FrozenBatchNorm2d, pads_zeros, recorded
from .casting import convolved, like, lowered
from .gradients import gradients
from .like import Like
from .norms import channel_scale, channel_sums
from .once import once_differentiable
from .products import is_product, product
from .recipes import Link, Remade, dropped
from .stretch import InStretch


class Frozen(NamedTuple):
    """A norm whose scale and statistics are frozen, beside its shift: scale, mean and variance (C)."""

    weight: Tensor
    mean: Tensor
    variance: Tensor
    eps: float


class _FrozenConv(Function):
    """A convolution with a frozen weight, perhaps with a norm folded into it whose scale and statistics are frozen."""

    @staticmethod
    def forward(ctx, x, weight, bias, shift, norm, options):
        """shift: the norm's bias. norm: Frozen, or None. options: stride, padding, dilation, groups."""
        ctx.x, ctx.options, ctx.eps, ctx.of_sums = Like(x), options, norm and norm.eps, weight.dtype
        if ctx.needs_input_grad[0] or norm and ctx.needs_input_grad[2]:
            ctx.save_for_backward(weight, *((norm.weight, norm.variance) if norm else ()))
        return _with_norm(x, weight, bias, shift, norm, options)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        weight, *scale = ctx.saved_tensors or (None,)
        want_x, _, want_bias, want_shift, *_ = ctx.needs_input_grad
        gx = shift = bias = None
        if want_shift or want_bias and scale:  # before the input's, as a norm of its own does
            shift = channel_sums(g, ctx.of_sums)
        scale = channel_scale(scale[0], scale[1], ctx.eps) if scale and (want_x or want_bias) else None
        if want_x:
            gx = input_gradient(g, like(g, _scaled(weight, scale)), ctx.x, ctx.options)
        if want_bias:
            bias = channel_sums(g, ctx.of_sums) if scale is None else shift * scale
        return gx, None, bias, shift if want_shift else None, None, None


class _TrainedConv(Function):
    """A convolution that makes its gradients, and keeps its weight, under autocast too, and not the weight's cast."""

    @staticmethod
    def forward(ctx, x, weight, bias, options):
        ctx.options, ctx.biased = options, bias is not None
        ctx.save_for_backward(x, weight)
        return convolved(x, weight, bias, options)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        x, weight = ctx.saved_tensors
        gx, *made = gradients(g, x, like(x, weight), ctx.options, ctx.needs_input_grad[:3], ctx.biased)
        return gx, *(None if one is None else one.to(weight.dtype) for one in made), None


def input_gradient(g: Tensor, weight: Tensor, x: Like, options: Sequence) -> Tensor:
    """The gradient of a convolution's input, computed without the input's values."""
    if g.device.type == "cpu":  # the stock kernel reads only the input's sizes
        return gradients(g, x.tensor(), weight, options, [True, False, False], biased=False)[0]
    stride, padding, dilation, groups = options
    rest = [
        size - (d * (k - 1) + 1) + 2 * p - (out - 1) * s
        for size, out, k, s, p, d in zip(x.shape[2:], g.shape[2:], weight.shape[2:], stride, padding, dilation)
    ]
    return F.conv_transpose2d(g, weight, None, stride, padding, rest, groups, dilation)


def _scaled(weight: Tensor, scale: Tensor | None) -> Tensor:
    return weight if scale is None else weight * scale.view(-1, 1, 1, 1)


def _folded(weight: Tensor, bias: Tensor | None, shift: Tensor, norm: Frozen) -> tuple[Tensor, Tensor]:
    """The weight and bias of a convolution with a frozen norm of this shift folded into it."""
    scale = channel_scale(norm.weight, norm.variance, norm.eps)
    mean = norm.mean if bias is None else norm.mean - bias
    return _scaled(weight, scale), torch.addcmul(shift, mean, scale, value=-1)


def _with_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None, shift: Tensor | None, norm: Frozen | None, options: Sequence,
    in_stretch: bool = False,
) -> Tensor:  # fmt: skip
    """A convolution, with the work of a frozen norm after it if there is one, whose bias is the shift.

    in_stretch: x is in channels_last, in a stretch of them.
    """
    if norm is None:
        return convolved(x, weight, bias, options)
    assert shift is not None
    weight, shift = _folded(weight, bias, shift, norm)
    if not is_product(x, weight, options, on_threads=in_stretch):
        return convolved(x, weight, shift, options)
    return product(x, weight.flatten(1), shift, torch.channels_last if in_stretch else None)


class LeanConv2d(nn.Conv2d):
    """A convolution that keeps its input only if its weight trains.

    drops: its output is made again by the first that reads it in the backward pass.
    """

    drops = False

    def __init__(self, *args: Any, drops: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drops = drops

    @cached_property
    def makes_gradients(self) -> bool:
        """Whether it makes gradients by other kernels than stock ones, on some machine."""
        pointwise = is_pointwise(self.kernel_size, self.stride, self.padding, self.groups)
        return pointwise or is_wide(self.kernel_size, self.dilation, self.groups, self.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if not weight.requires_grad and pads_zeros(self):
            return self.frozen(x, weight, None, None)
        own = self.makes_gradients or torch.is_autocast_enabled(x.device.type)
        if own and pads_zeros(self) and recorded(x, weight):
            x = lowered(x)
            y = _TrainedConv.apply(x, weight, self.bias, (self.stride, self.padding, self.dilation, self.groups))
        else:
            y = super().forward(x)
        return dropped(y, self, Remade(None, (x,), Link())) if self.drops and recorded(y) else y

    def frozen(self, x: Tensor, weight: Tensor, shift: Tensor | None, norm: Frozen | None) -> Tensor:
        """Its output, with its weight frozen, with the work of a norm with this shift if there is one."""
        x, bias = lowered(x), self.bias
        weight = self._buffers.get("standardised", weight)
        options = (self.stride, self.padding, self.dilation, self.groups)
        if recorded(x, bias, shift):
            return _FrozenConv.apply(x, weight, bias, shift, norm, options)
        with torch.no_grad():
            return _with_norm(x, weight, bias, shift, norm, options)


class FoldedConv2d(InStretch, LeanConv2d):
    """A convolution that also does the work of the frozen norm after it, with a scaled weight made for each call.

    The weight and the norm's scale must be frozen; bias and shift may train. The norm stays registered at its own place
    and is not registered here, so state dicts, `.to()`, loading and copies of the whole network see it once.
    """

    _norms: tuple[nn.BatchNorm2d, ...] = ()

    def __init__(self, *args: Any, enters: bool = False, leaves: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.enters, self.leaves = enters, leaves

    @property
    def norm(self) -> nn.BatchNorm2d | None:
        return self._norms[0] if self._norms else None

    def fold(self, norm: FoldedNorm2d) -> None:
        """Take over the work of a norm; the norm itself returns its input unchanged."""
        if not pads_zeros(self):
            raise ValueError("only a convolution with zero padding, given in numbers, takes over a norm")
        self._norms = (norm,)  # in a tuple, so that it is not registered

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        if norm is None:
            return super().forward(x)
        weight, scale = self.weight, norm.weight
        if weight.requires_grad or scale.requires_grad:
            raise RuntimeError("a convolution that does a norm's work has a frozen weight and scale")
        shift, frozen = norm.bias, Frozen(scale, norm.running_mean, norm.running_var, norm.eps)
        if not self.changes_format(x, self.bias, shift):
            return self.returned(self.frozen(x, weight, shift, frozen))
        options = (self.stride, self.padding, self.dilation, self.groups)
        with torch.no_grad():
            y = _with_norm(self.entered(x), weight, self.bias, shift, frozen, options, in_stretch=True)
            return self.left(y)


class FoldedNorm2d(FrozenBatchNorm2d):
    """A frozen norm that returns its input, since the convolution before it does the norm's work."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Make a stock convolution do the work of the frozen norm after it; both stay at their places in the network."""
    conv.__class__, norm.__class__ = FoldedConv2d, FoldedNorm2d
    norm.eval()
    conv.fold(norm)
