"""Convolutions that standardise their weight in the forward pass, and again in the backward pass: it is not kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from ..modules import StandardisedConv2d, pads_zeros, recorded
from .casting import convolved, like, lowered
from .gradients import gradients
from .like import Like
from .norms import channel_sums
from .once import once_differentiable
from .recipes import Link, Remade, dropped
from .weights import Standardised


class _Conv(Function):
    @staticmethod
    def forward(ctx, x, raw, bias, options):
        ctx.options, ctx.biased, ctx.x, ctx.of_bias = options, bias is not None, Like(x), raw.dtype
        want_x, want_weight, *_ = ctx.needs_input_grad
        if want_x or want_weight:
            ctx.save_for_backward(raw, *((x,) if want_weight else ()))
        return convolved(x, like(x, Standardised.of(raw).weight), bias, options)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        want_x, want_weight, want_bias, _ = ctx.needs_input_grad
        if not (want_x or want_weight):
            return None, None, channel_sums(g, ctx.of_bias), None
        raw, *kept = ctx.saved_tensors
        made, x = Standardised.of(raw), kept[0] if kept else ctx.x.tensor()
        wanted = [want_x, want_weight, want_bias]
        gx, weight, bias = gradients(g, x, like(x, made.weight), ctx.options, wanted, ctx.biased)
        if want_weight:
            weight = weight.to(raw.dtype)
            weight = made.gradient_(raw, weight)
        return gx, weight, bias.to(raw.dtype) if want_bias else None, None


class LeanStandardisedConv2d(StandardisedConv2d):
    """A convolution that keeps its input and its raw weight, which is standardised anew in either pass.

    drops: its output is made again by the first that reads it in the backward pass.
    """

    standardises = True

    def __init__(self, *args: Any, drops: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drops = drops

    def forward(self, x: Tensor) -> Tensor:
        if not pads_zeros(self):
            return super().forward(x)
        if not recorded(x, self.weight, self.bias):
            with torch.no_grad():
                return self._conv_forward(x, Standardised.of(self.weight).weight, self.bias)
        x = lowered(x)
        y = _Conv.apply(x, self.weight, self.bias, (self.stride, self.padding, self.dilation, self.groups))
        return dropped(y, self, Remade(None, (x,), Link())) if self.drops else y
