"""Convolutions that standardise their weight in the forward pass, and again in the backward pass: it is not kept."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ...ops.conv import EPS
from ..modules import OF_CHANNELS, StandardisedConv2d, recorded
from .like import Like

aten = torch.ops.aten


class Standardised(NamedTuple):
    """A standardised weight, and what it is made with of the raw one: (O, 1, 1, 1) each. Made out of autograd's sight.

    It is equal to the last bit to what `standardised` of pytorch/modules.py makes: the same steps, one in place.
    """

    weight: Tensor
    mean: Tensor
    std: Tensor
    divisor: Tensor

    @classmethod
    def of(cls, raw: Tensor) -> Standardised:
        mean = raw.mean(OF_CHANNELS, keepdim=True)
        weight = raw - mean
        std = weight.std(OF_CHANNELS, keepdim=True)
        divisor = std + EPS
        return cls(weight.div_(divisor), mean, std, divisor)

    def gradient_(self, raw: Tensor, g: Tensor) -> Tensor:
        """The gradient of the raw weight, written over that of the standardised one, g; this weight is overwritten too.

        With c = raw - mean, s = std, d = divisor and K weights per channel it is u - mean(u), where
        u = g / d - c * sum(g * c / d) / (s * d * (K - 1)); the sum counts as 0 where s is 0, as autograd has it.
        """
        weight, mean, std, divisor = self
        share = weight.mul_(g).sum(OF_CHANNELS, keepdim=True).div_(std).div_(divisor)
        share.masked_fill_(std == 0, 0)
        torch.sub(raw, mean, out=weight)
        g.div_(divisor).addcmul_(weight, share, value=-1 / (raw[0].numel() - 1))
        return g.sub_(g.mean(OF_CHANNELS, keepdim=True))


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
    """A convolution that keeps its input and its raw weight, which is standardised anew in either pass."""

    def forward(self, x: Tensor) -> Tensor:
        plain = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        if not plain:
            return super().forward(x)
        if not recorded(x, self.weight, self.bias):
            with torch.no_grad():
                return self._conv_forward(x, Standardised.of(self.weight).weight, self.bias)
        return _Conv.apply(x, self.weight, self.bias, (self.stride, self.padding, self.dilation, self.groups))
