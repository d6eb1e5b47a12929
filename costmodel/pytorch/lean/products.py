"""Pointwise convolutions as products of matrices: on x86 of contiguous maps, and of channels_last ones on one thread.

MKL writes them where they belong: of contiguous maps one for each image, of others one for all. Of the kernels that a
convolution calls there, oneDNN's, which runs with several threads, copies contiguous maps and weights into blocks of
channels, which takes up to four times as long (channels_last ones it takes as they are, as fast as MKL); torch's own,
which runs with one, makes a product for each image in both formats, and fills the gradient of the input with zeros
first. costmodel/ops/_gradients.py says where.

On 64-bit ARM both gradients of such convolutions are oneDNN's plain products, each thread of which takes four times the
weights, and the input's a map more. There both are BLAS' products, in either format. Where the second matrix alone is
transposed, torch hands a product to Arm Compute Library, which copies more than that matrix; so it is copied before.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...ops._gradients import is_pointwise, takes_less
from ...targets.machine import is_x86, own_kernels_here
from ..bits import format_of

IS_X86 = is_x86()
OWN = own_kernels_here()
DTYPES = [getattr(torch, name) for name in OWN.dtypes] if OWN else []


def is_product(x: Tensor, weight: Tensor, options: Sequence, g: Tensor | None = None, on_threads: bool = False) -> bool:
    """Whether a convolution of an input x is made so; its gradient, if g, the gradient of its output, is given.

    options: stride, padding, dilation, groups. on_threads: of channels_last maps on several threads, too.
    """
    stride, padding, _, groups = options
    if not is_pointwise(weight.shape[2:], stride, padding, groups) or OWN is None:
        return False
    if x.dtype not in DTYPES or x.dtype is not weight.dtype or x.device.type != "cpu":
        return False
    if x.is_contiguous() and (g is None or g.is_contiguous()):
        return True
    anyhow = on_threads if g is None else OWN.on_threads
    return (anyhow or torch.get_num_threads() == 1) and are_flat(*((x,) if g is None else (x, g)))


def are_flat(*maps: Tensor) -> bool:
    """Whether maps are in channels_last; of one pixel they may be contiguous, too."""
    return all(one.is_contiguous(memory_format=torch.channels_last) for one in maps)


def product(
    maps: Tensor, matrix: Tensor, bias: Tensor | None = None, order: torch.memory_format | None = None
) -> Tensor:
    """A matrix (K, C) times each pixel's channels of dense maps (N, C, H, W), plus a bias (K): (N, K, H, W).

    order: the result's memory format, the maps' own by default; of one pixel they may be in both. The forms with `out`
    compute in the maps' own data type, out of autocast's sight.
    """
    n, c, *sides = maps.shape
    k, area = matrix.shape[0], sides[0] * sides[1]  # -1 in a view would not do for an empty batch
    made = torch.empty((n, k, *sides), dtype=maps.dtype, memory_format=order or format_of(maps))
    copies = OWN is not None and OWN.copies
    if not maps.is_contiguous() or sides == [1, 1] and not copies:
        rows, out = maps.permute(0, 2, 3, 1).view(n * area, c), made.permute(0, 2, 3, 1).view(n * area, k)
        right = matrix.t().contiguous() if copies else matrix.t()
        if bias is None:
            torch.mm(rows, right, out=out)
        else:
            torch.addmm(bias, rows, right, out=out)
        return made
    pixels, out = maps.view(n, c, area), made.view(n, k, area)
    matrices = matrix.expand(n, k, c)
    if bias is None:
        torch.bmm(matrices, pixels, out=out)
    else:
        torch.baddbmm(bias.unsqueeze(1), matrices, pixels, out=out)
    return made


def is_weight_product(g: Tensor, x: Tensor, weight: Tensor, options: Sequence) -> bool:
    """Whether a weight's gradient is made so. g: the gradient of the output; others as of `is_product`."""
    if OWN is None or not OWN.of_weights or not is_product(x, weight, options, g):
        return False
    outputs, inputs, *_ = weight.shape
    return are_flat(g, x) or takes_less(x.shape[2] * x.shape[3], inputs, outputs)


def weight_product(g: Tensor, x: Tensor) -> Tensor:
    """The gradient (K, C, 1, 1) of a weight, of an input (N, C, H, W) and the gradient of the output (N, K, H, W)."""
    n, c, height, width = x.shape
    k, area = g.shape[1], height * width
    made = torch.empty((k, c), dtype=g.dtype)
    if are_flat(g, x):
        left, right = g.permute(0, 2, 3, 1).reshape(n * area, k), x.permute(0, 2, 3, 1).reshape(n * area, c)
        return torch.mm(left.t(), right, out=made).view(k, c, 1, 1)
    left, right = torch.empty((area, k), dtype=g.dtype), torch.empty((area, c), dtype=g.dtype)
    made.zero_()
    for i in range(n):
        left.copy_(g[i].view(k, area).t())
        right.copy_(x[i].view(c, area).t())
        made.addmm_(left.t(), right)
    return made.view(k, c, 1, 1)
