"""Convolutions that standardise their weight in the forward pass, and again in the backward pass: it is not kept."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..modules import StandardisedConv2d, recorded
from .like import Like
from .recipes import Link, Remade, dropped
from .weights import Standardised

aten = torch.ops.aten


class _Conv(Function):
    @staticmethod
    def forward(ctx, x, raw, bias, options):
        ctx.options, ctx.biased, ctx.x = options, bias is not None, Like(x)
        want_x, want_weight, *_ = ctx.needs_input_grad
        if want_x or want_weight:
            ctx.save_for_backward(raw, *((x,) if want_weight else ()))
        return F.conv2d(x, Standardised.of(raw).weight, bias, *options)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        want_x, want_weight, want_bias, _ = ctx.needs_input_grad
        if not (want_x or want_weight):
            return None, None, g.sum((0, 2, 3)), None
        raw, *kept = ctx.saved_tensors
        made, (stride, padding, dilation, groups) = Standardised.of(raw), ctx.options
        x = kept[0] if kept else ctx.x.tensor()
        how = ([len(raw)] if ctx.biased else [0], stride, padding, dilation, False, [0, 0], groups)
        gx, weight, bias = aten.convolution_backward(g, x, made.weight, *how, [want_x, want_weight, want_bias])
        return gx, made.gradient_(raw, weight) if want_weight else None, bias, None


class LeanStandardisedConv2d(StandardisedConv2d):
    """A convolution that keeps its input and its raw weight, which is standardised anew in either pass.

    drops: its output is made again by the first that reads it in the backward pass.
    """

    standardises = True

    def __init__(self, *args: Any, drops: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drops = drops

    def forward(self, x: Tensor) -> Tensor:
        plain = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        if not plain:
            return super().forward(x)
        if not recorded(x, self.weight, self.bias):
            with torch.no_grad():
                return self._conv_forward(x, Standardised.of(self.weight).weight, self.bias)
        y = _Conv.apply(x, self.weight, self.bias, (self.stride, self.padding, self.dilation, self.groups))
        return dropped(y, self, Remade(None, (x,), Link())) if self.drops else y
