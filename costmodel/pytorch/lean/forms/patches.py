"""A convolution that keeps its input summed over patches (costmodel/ops/forms/patches.py has the formulas)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from ...modules import recorded
from ..casting import convolved, like, lowered
from ..norms import channel_sums
from ..once import once_differentiable


class _Patched(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, layer):
        ctx.layer, ctx.sides = layer, x.shape[2:]
        y = convolved(x, weight, bias, layer.options)
        ctx.grid = [-(-side // layer.r) for side in y.shape[2:]]
        patches = layer.summed(x, ctx.grid) if ctx.needs_input_grad[1] else None
        ctx.save_for_backward(patches, weight if ctx.needs_input_grad[0] else None)
        ctx.area, ctx.of_weight = weight.shape[2:], weight.dtype
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        (patches, weight), layer = ctx.saved_tensors, ctx.layer
        want_x, want_weight, want_bias, _ = ctx.needs_input_grad
        gx = gw = None
        averaged = layer.averaged(g, ctx.grid) if want_x or want_weight else None
        if want_x:
            gx = layer.input_gradient(averaged, weight, ctx.sides)
        if want_weight:
            gw = layer.weight_gradient(averaged, patches, ctx.area).to(ctx.of_weight)
        del averaged
        return gx, gw, channel_sums(g, ctx.of_weight) if want_bias else None, None


class PatchedConv2d(nn.Conv2d):
    """A convolution whose gradients are those of patches of r x r pixels of its output; its result is exact."""

    def __init__(self, *args: Any, r: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.r = r

    @property
    def options(self) -> tuple:
        """Stride, padding, dilation, groups."""
        return self.stride, self.padding, self.dilation, self.groups

    def forward(self, x: Tensor) -> Tensor:
        if not recorded(x, self.weight, self.bias):
            return super().forward(x)
        return _Patched.apply(lowered(x), self.weight, self.bias, self)

    def edges(self, sides: torch.Size, grid: list[int]) -> list[int]:
        """Pixels by which the patches reach beyond the input, before its first row and column."""
        return [-((side - p * self.r * s) // 2) for side, p, s in zip(sides, grid, self.stride)]

    def summed(self, x: Tensor, grid: list[int]) -> Tensor:
        """The input (N, C, H, W) summed over each patch: (N, C, *grid)."""
        size = [self.r * s for s in self.stride]
        made = F.avg_pool2d(x, size, size, self.edges(x.shape[2:], grid), divisor_override=1)
        return made.contiguous()

    def averaged(self, g: Tensor, grid: list[int]) -> Tensor:
        """The output's gradient averaged over each patch, (N, groups, outputs of one, patches)."""
        edges = [-((side - p * self.r) // 2) for side, p in zip(g.shape[2:], grid)]
        made = F.avg_pool2d(g, self.r, self.r, edges, count_include_pad=False).contiguous()
        return made.view(len(g), self.groups, -1, grid[0] * grid[1])

    def input_gradient(self, averaged: Tensor, weight: Tensor, sides: torch.Size) -> Tensor:
        """The input's gradient (N, C, *sides): of each patch, spread over its pixels."""
        grid = [-(-out // self.r) for out in self.outputs(sides)]
        kernel = (weight.sum((2, 3)) if weight[0, 0].numel() > 1 else weight).view(self.groups, -1, weight.shape[1])
        kernel = like(averaged, kernel)
        of_patches = averaged.new_empty(len(averaged), self.groups, weight.shape[1], averaged.shape[-1])
        for one, made in zip(averaged, of_patches):
            torch.bmm(kernel.mT, one, out=made)
        rows, columns = (
            (torch.arange(side) + edge).div_(self.r * s, rounding_mode="floor")
            for side, edge, s in zip(sides, self.edges(sides, grid), self.stride)
        )
        rows, columns = rows.to(averaged.device), columns.to(averaged.device)
        return of_patches.view(len(averaged), self.in_channels, *grid)[:, :, rows[:, None], columns]

    def outputs(self, sides: torch.Size) -> list[int]:
        """Sides of the output for those of an input."""
        return [
            (side + 2 * p - d * (k - 1) - 1) // s + 1
            for side, k, s, p, d in zip(sides, self.kernel_size, self.stride, self.padding, self.dilation)
        ]

    def weight_gradient(self, averaged: Tensor, patches: Tensor, area: torch.Size) -> Tensor:
        """The weight's gradient (O, C / groups, *area), the same at each place of the kernel."""
        n, _, outputs, _ = averaged.shape
        inputs = self.in_channels // self.groups
        made = averaged.new_zeros(self.groups, outputs, inputs)
        for one, of_input in zip(averaged, patches.view(n, self.groups, inputs, -1)):
            torch.baddbmm(made, one, of_input.mT, out=made)
        made = made.view(self.out_channels, inputs, 1, 1)
        return made.expand(-1, -1, *area).contiguous()
