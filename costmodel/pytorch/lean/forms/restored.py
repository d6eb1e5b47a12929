"""Layers that make another input of a form of it, for the gradient of their weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from ...bits import dense
from ...modules import recorded
from ..casting import convolved, like, lowered
from ..convolutions import input_gradient
from ..gradients import gradients
from ..like import Like
from ..norms import channel_sums
from ..once import once_differentiable


class _Restored(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, layer):
        ctx.layer, ctx.x, ctx.of_weight = layer, Like(x), weight.dtype
        want_x, want_weight, *_ = ctx.needs_input_grad
        y = layer.computed(x, weight, bias)
        if want_x or want_weight:
            ctx.save_for_backward(weight, *(layer.keep(x) if want_weight else ()))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        layer = ctx.layer
        want_x, want_weight, want_bias, _ = ctx.needs_input_grad
        weight: Any
        weight, *form = ctx.saved_tensors or (None,)
        gx = gw = None
        if want_weight:
            x = layer.restore(form, ctx.x)
            gw = layer.weight_gradient(g, x, like(g, weight)).to(weight.dtype)
            del x
        if want_x:
            gx = layer.input_gradient(g, like(g, weight), ctx.x)
        return gx, gw, layer.bias_gradient(g, ctx.of_weight) if want_bias else None, None


class Form:
    """What is kept of an input, and what is made of it again."""

    def keep(self, x: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the form."""
        raise NotImplementedError

    def restore(self, form: Sequence[Tensor], x: Like) -> Tensor:
        """A tensor like the input."""
        raise NotImplementedError


def rows_of(x: Tensor) -> Tensor:
    """The numbers of each image in the order of memory: (N, numbers of an image)."""
    x = x.detach()
    x = x if dense(x) else x.contiguous()
    return x.as_strided((len(x), x[0].numel()), (x[0].numel(), 1))


def like_input(x: Like) -> Tensor:
    """A new tensor with the sizes and the memory order of an input."""
    made = torch.empty_strided(x.shape, x.strides, dtype=x.dtype, device=x.device)
    return made if dense(made) else torch.empty(x.shape, dtype=x.dtype, device=x.device)


class FormedConv2d(Form, nn.Conv2d):
    """A convolution that keeps a form of its input for its weight's gradient."""

    @property
    def options(self) -> tuple:
        """Stride, padding, dilation, groups."""
        return self.stride, self.padding, self.dilation, self.groups

    def forward(self, x: Tensor) -> Tensor:
        if not recorded(x, self.weight, self.bias):
            return super().forward(x)
        return _Restored.apply(lowered(x), self.weight, self.bias, self)

    def computed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolved(x, weight, bias, self.options)

    def weight_gradient(self, g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return gradients(g, x, weight, self.options, [False, True, False], biased=False)[1]

    def input_gradient(self, g: Tensor, weight: Tensor, x: Like) -> Tensor:
        return input_gradient(g, weight, x, self.options)

    def bias_gradient(self, g: Tensor, dtype: torch.dtype) -> Tensor:
        return channel_sums(g, dtype)


class FormedLinear(Form, nn.Linear):
    """A linear layer that keeps a form of its input for its weight's gradient."""

    def forward(self, x: Tensor) -> Tensor:
        if not recorded(x, self.weight, self.bias):
            return super().forward(x)
        return _Restored.apply(lowered(x), self.weight, self.bias, self)

    def computed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        parameters: list[Any] = [None if one is None else like(x, one) for one in (weight, bias)]
        if not torch.is_autocast_enabled(x.device.type):
            return F.linear(x, *parameters)
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x, *parameters)

    def weight_gradient(self, g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return g.reshape(-1, g.shape[-1]).t() @ x.reshape(-1, x.shape[-1])

    def input_gradient(self, g: Tensor, weight: Tensor, x: Like) -> Tensor:
        return g @ weight

    def bias_gradient(self, g: Tensor, dtype: torch.dtype) -> Tensor:
        return g.sum(tuple(range(g.ndim - 1)), dtype=dtype)
