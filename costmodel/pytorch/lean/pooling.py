"""Pooling layers that keep no feature map: max pooling keeps the indices of the maxima, average pooling nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import Function

from ..modules import recorded
from .like import Like
from .once import once_differentiable

aten = torch.ops.aten


class _Pool(Function):
    @staticmethod
    def forward(ctx, x, forward, backward, arguments):
        """forward: returns y, or y and indices. backward: takes g, a stand-in for x, the arguments and the indices."""
        ctx.x, ctx.backward_op, ctx.arguments = Like(x), backward, arguments
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
        if not recorded(x):
            return super().forward(x)
        size, step, padding = _pair(self.kernel_size), _pair(self.stride), _pair(self.padding)
        arguments = (size, step, padding, self.ceil_mode, self.count_include_pad, self.divisor_override)
        return _Pool.apply(x, aten.avg_pool2d, aten.avg_pool2d_backward, arguments)


class LeanMaxPool2d(nn.MaxPool2d):
    """Max pooling that keeps the indices of the maxima, and not its input."""

    def forward(self, x: Tensor) -> Tensor:
        if not recorded(x) or self.return_indices:
            return super().forward(x)
        sizes = [_pair(size) for size in (self.kernel_size, self.stride, self.padding, self.dilation)]
        forward, backward = aten.max_pool2d_with_indices, aten.max_pool2d_with_indices_backward
        return _Pool.apply(x, forward, backward, (*sizes, self.ceil_mode))


class LeanAdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """Adaptive average pooling that keeps nothing. For output 1x1 the stock layer keeps nothing either, and is used."""

    def forward(self, x: Tensor) -> Tensor:
        output = _pair(self.output_size)
        if not recorded(x) or tuple(output) == (1, 1) or None in output:
            return super().forward(x)
        return _Pool.apply(x, lambda x: aten._adaptive_avg_pool2d(x, output), aten._adaptive_avg_pool2d_backward, ())


def _pair(size) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)
