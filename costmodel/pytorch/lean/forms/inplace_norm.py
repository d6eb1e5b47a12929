"""Batch norms that overwrite their input, and keep their output (formulas: costmodel/ops/forms/inplace_norm.py)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from ...modules import FrozenStatistics, recorded
from ..once import once_differentiable
from ..remade import RemadeNorm2d

aten = torch.ops.aten


class _InplaceNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, module):
        if module.inplace:
            ctx.mark_dirty(x)
        y, invstd = module.activated(x, weight, bias)
        ctx.slope, ctx.eps, ctx.batch = module.slope, module.eps, invstd is not None
        ctx.save_for_backward(y, weight, bias, module.running_var if invstd is None else invstd)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        y, weight, bias, statistic = ctx.saved_tensors
        u = y
        if ctx.slope < 1:
            g = aten.leaky_relu_backward(g, y, ctx.slope, True)
            u = F.leaky_relu(y, 1 / ctx.slope)
        # Of a norm whose input is u: its mean is the shift, its deviation the scale, by which u is divided again.
        scale = weight.abs().add_(ctx.eps)
        invstd = statistic if ctx.batch else statistic.add(ctx.eps).rsqrt_()
        factor = scale.square().mul_(invstd)
        if ctx.batch:
            known = (None, None, bias, scale.reciprocal_(), True, 0.0)
        else:
            known = (bias, scale.square_(), None, None, False, 0.0)
        gx, gw, gb = aten.native_batch_norm_backward(g, u, factor, *known, list(ctx.needs_input_grad[:3]))
        return gx, None if gw is None else gw.mul_(weight.sign()), gb, None


class InplaceActivatedNorm2d(RemadeNorm2d):
    """A batch norm of images, whose scale counts by its magnitude, and a leaky ReLU, which keep their output alone.

    slope: of the leaky ReLU; 1: there is none. inplace: whether it overwrites its input.
    """

    def __init__(self, *args: Any, slope: float, inplace: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.slope, self.inplace = slope, inplace

    def forward(self, x: Tensor) -> Tensor:
        if recorded(x, self.weight, self.bias):
            return _InplaceNorm.apply(x, self.weight, self.bias, self)
        with torch.no_grad():
            return self.activated(x, self.weight, self.bias)[0]

    def activated(self, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor | None]:
        """The result, and one over the batch's deviation; None with stored statistics."""
        batch = self.takes_batch
        factor = self.average_factor() if batch else 0.0
        scale = weight.abs().add_(self.eps)
        mean, invstd = (weight.new_empty(len(weight) if batch else 0) for _ in range(2))
        y = x if self.inplace else torch.empty_like(x)
        known = (scale, bias, self.running_mean, self.running_var, batch, factor, self.eps)
        aten.native_batch_norm.out(x, *known, out=y, save_mean=mean, save_invstd=invstd)
        if self.slope < 1:
            F.leaky_relu_(y, self.slope)
        return y, invstd if batch else None


class FrozenInplaceActivatedNorm2d(FrozenStatistics, InplaceActivatedNorm2d):
    """The same with frozen statistics."""
