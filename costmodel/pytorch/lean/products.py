"""Pointwise convolutions of contiguous maps as products of matrices, one for each image, on x86.

MKL writes them where they belong. Of the kernels that a convolution calls there, oneDNN's, which runs with several
threads, copies maps and weights into blocks of channels, which takes up to four times as long, and torch's own fills
the gradient of the input with zeros first. costmodel/ops/_gradients.py says where.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...ops._gradients import PRODUCT_DTYPES, is_pointwise
from ...targets.machine import is_x86

IS_X86 = is_x86()
DTYPES = [getattr(torch, name) for name in PRODUCT_DTYPES]


def is_product(x: Tensor, weight: Tensor, options: Sequence) -> bool:
    """Whether a convolution of an input x is made so. options: stride, padding, dilation, groups."""
    stride, padding, _, groups = options
    if not is_pointwise(weight.shape[2:], stride, padding, groups) or not IS_X86:
        return False
    return x.dtype in DTYPES and x.dtype is weight.dtype and x.is_contiguous() and x.device.type == "cpu"


def product(maps: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """A matrix (K, C) times each pixel's channels of contiguous maps (N, C, H, W), plus a bias (K): (N, K, H, W).

    The forms with `out` compute in the maps' own data type, out of autocast's sight.
    """
    n, c, *sides = maps.shape
    made = torch.empty((n, len(matrix), *sides), dtype=maps.dtype)
    if sides == [1, 1]:
        rows, out = maps.view(n, c), made.view(n, -1)
        if bias is None:
            torch.mm(rows, matrix.t(), out=out)
        else:
            torch.addmm(bias, rows, matrix.t(), out=out)
        return made
    pixels, out = maps.view(n, c, -1), made.view(n, len(matrix), -1)
    matrices = matrix.expand(n, *matrix.shape)
    if bias is None:
        torch.bmm(matrices, pixels, out=out)
    else:
        torch.baddbmm(bias[:, None], matrices, pixels, out=out)
    return made
