"""The gradient of a depthwise weight of 5x5 or 7x7, made in windows of its columns, on x86.

oneDNN has a kernel of its own for that gradient where a row of the weight has at most three columns and the map next to
no padding, several times as fast as what it calls else. It adds up the same products, in another order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...ops._gradients import WINDOW_DTYPE, WINDOWS, is_wide
from .like import untouched
from .products import IS_X86

DTYPE = getattr(torch, WINDOW_DTYPE)

convolution_backward = torch.ops.aten.convolution_backward.default


def has_windows(g: Tensor, x: Tensor, weight: Tensor, options: Sequence) -> bool:
    """Whether a weight's gradient is made so. options: stride, padding, dilation, groups."""
    _, _, dilation, groups = options
    if weight.shape[1] != 1 or not is_wide(weight.shape[2:], dilation, groups, weight.shape[0]) or not IS_X86:
        return False
    if x.dtype is not DTYPE or weight.dtype is not x.dtype or x.device.type != "cpu":
        return False
    order = torch.contiguous_format if x.is_contiguous() else torch.channels_last
    return x.shape[2:] != (1, 1) and x.is_contiguous(memory_format=order) and g.is_contiguous(memory_format=order)


def in_windows(g: Tensor, x: Tensor, weight: Tensor, options: Sequence) -> Tensor:
    """The gradient of a depthwise weight, of which only the sizes are read."""
    made = torch.empty_like(weight)
    for start, width in WINDOWS[weight.shape[3]]:
        made[..., start : start + width] = _window(g, x, weight, options, start, width)
    return made


def _window(g: Tensor, x: Tensor, weight: Tensor, options: Sequence, start: int, width: int) -> Tensor:
    """The gradient of some of a kernel's columns."""
    stride, (above, beside), _, groups = options
    rows = weight.shape[2]
    height, breadth = ((sides - 1) * step + size for sides, step, size in zip(g.shape[2:], stride, (rows, width)))
    left = beside - start
    part = F.pad(x, (left, breadth - left - x.shape[3], above, height - above - x.shape[2]))  # below 0 it cuts
    window = untouched((groups, 1, rows, width), (rows * width, rows * width, width, 1), x.dtype)
    how = ([0], stride, (0, 0), (1, 1), False, [0, 0], groups)
    return convolution_backward(g, part, window, *how, [False, True, False])[1]
