"""Pointwise convolutions of contiguous maps as products of matrices, one for each image, on x86.

MKL writes them where they belong. Of the kernels that a convolution calls there, oneDNN's, which runs with several
threads, copies maps and weights into blocks of channels, which takes up to four times as long, and torch's own fills
the gradient of the input with zeros first. costmodel/ops/_products.py says what this saves.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...targets.machine import X86

IS_X86 = platform.machine().lower() in X86
DTYPES = (torch.float32, torch.float64)

convolution_backward = torch.ops.aten.convolution_backward.default


def is_product(x: Tensor, weight: Tensor, options: Sequence) -> bool:
    """Whether a convolution of an input x is made so. options: stride, padding, dilation, groups."""
    stride, padding, _, groups = options
    if groups != 1 or weight.shape[2:] != (1, 1) or stride != (1, 1) or padding != (0, 0) or not IS_X86:
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


def gradients(
    g: Tensor, x: Tensor, weight: Tensor, options: Sequence, wanted: Sequence[bool], biased: bool
) -> tuple[Any, Any, Any]:
    """A convolution's gradients of its input x, weight and bias, as far as they are wanted.

    x may be a stand-in where the weight's is not wanted.
    """
    stride, padding, dilation, groups = options
    how = ([len(weight)] if biased else [0], stride, padding, dilation, False, [0, 0], groups)
    if not (wanted[0] and is_product(x, weight, options) and g.is_contiguous()):
        return convolution_backward(g, x, weight, *how, wanted)
    others = [False, *wanted[1:]]
    _, of_weight, of_bias = convolution_backward(g, x, weight, *how, others) if any(others) else (None, None, None)
    return product(g, weight.flatten(1).t()), of_weight, of_bias
