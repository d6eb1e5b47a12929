"""A convolution's gradients, by other kernels than stock ones where these are slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .norms import channel_sums
from .products import is_product, is_weight_product, product, weight_product
from .windows import has_windows, in_windows

convolution_backward = torch.ops.aten.convolution_backward.default


def gradients(
    g: Tensor, x: Tensor, weight: Tensor, options: Sequence, wanted: Sequence[bool], biased: bool
) -> tuple[Any, Any, Any]:
    """A convolution's gradients of its input x, weight and bias, as far as they are wanted.

    x may be a stand-in where the weight's is not wanted. options: stride, padding, dilation, groups.
    """
    stride, padding, dilation, groups = options
    want_x, want_weight, want_bias = wanted
    how = ([weight.shape[0]] if biased else [0], stride, padding, dilation, False, [0, 0], groups)
    if want_weight and has_windows(g, x, weight, options):
        of_weight, of_bias = in_windows(g, x, weight, options), channel_sums(g, g.dtype) if want_bias else None
        return (
            convolution_backward(g, x, weight, *how, [want_x, False, False])[0] if want_x else None,
            of_weight,
            of_bias,
        )
    if want_weight and is_weight_product(g, x, weight, options):
        of_weight, of_bias = weight_product(g, x), channel_sums(g, g.dtype) if want_bias else None
        return product(g, weight.flatten(1).t()) if want_x else None, of_weight, of_bias
    if not (want_x and is_product(x, weight, options, g)):
        return convolution_backward(g, x, weight, *how, wanted)
    of_weight = of_bias = None
    if want_weight or want_bias:
        _, of_weight, of_bias = convolution_backward(g, x, weight, *how, [False, want_weight, want_bias])
        if not want_weight:
            of_weight = None  # of channels_last maps some kernels make it nevertheless
    return product(g, weight.flatten(1).t()), of_weight, of_bias
