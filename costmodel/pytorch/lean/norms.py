"""Norms that keep no feature map if only their shift trains."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from ..bits import dense
from ..modules import FrozenBatchNorm2d, recorded
from .once import once_differentiable

aten = torch.ops.aten


def channel_scale(weight: Tensor, variance: Tensor, eps: float) -> Tensor:
    """A frozen norm's factor per channel."""
    return variance.add(eps).rsqrt_().mul_(weight)


def channel_sums(g: Tensor, dtype: torch.dtype) -> Tensor:
    """The gradient of a shift (C) of a type: sums of a gradient (N, C, H, W)."""
    return g.sum((0, 2, 3), dtype=None if g.dtype is dtype else dtype)


class _Shift(Function):
    @staticmethod
    def forward(ctx, x, bias, norm):
        ctx.eps, ctx.owns_gradient, ctx.of_bias = norm.eps, norm.owns_gradient, bias.dtype
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(norm.weight, norm.running_var)
        if norm.inplace:
            ctx.mark_dirty(x)
        return norm.normalised(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        saved = ctx.saved_tensors  # first, because this runs a checkpointed block again
        shift = channel_sums(g, ctx.of_bias) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, shift, None
        weight, variance = saved
        scale = channel_scale(weight, variance, ctx.eps).to(g.dtype)[:, None, None]
        return g.mul_(scale) if ctx.owns_gradient and dense(g) else g * scale, shift, None


class ShiftNorm2d(FrozenBatchNorm2d):
    """A norm with frozen statistics that keeps no feature map while its scale is frozen.

    inplace: whether it overwrites its input. owns_gradient: whether it overwrites the gradient of its output. It may if
    nothing else uses that gradient: every reader of the output must make a new gradient (as a convolution, norm,
    pooling or product does; a sum or a view passes its own on).
    """

    def __init__(self, *args, inplace: bool = False, owns_gradient: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.inplace, self.owns_gradient = inplace, owns_gradient

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.requires_grad:
            return super().forward(x)
        if recorded(x, self.bias):
            return _Shift.apply(x, self.bias, self)
        with torch.no_grad():
            return self.normalised(x)

    def normalised(self, x: Tensor) -> Tensor:
        """The normalised x, by one pass of the stock kernel, which may overwrite its input."""
        arguments = (x, self.weight, self.bias, self.running_mean, self.running_var, False, 0.0, self.eps)
        if not self.inplace:
            return aten.native_batch_norm(*arguments)[0]
        none = self.weight.new_empty(0)  # statistics have the parameters' type
        aten.native_batch_norm.out(*arguments, out=x, save_mean=none, save_invstd=none)
        return x


class _ShiftOfGroups(Function):
    @staticmethod
    def forward(ctx, x, bias, norm):
        return F.group_norm(x, norm.num_groups, norm.weight, bias, norm.eps)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return None, g.sum([axis for axis in range(g.ndim) if axis != 1]), None


class LeanGroupNorm(nn.GroupNorm):
    """A group norm that keeps nothing if only its shift needs a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad or self.weight.requires_grad or not recorded(self.bias):
            return super().forward(x)
        return _ShiftOfGroups.apply(x, self.bias, self)
