"""How lean layers run under torch.autocast: they cast their parameters in each pass, and keep these as they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def lowered(x: Tensor) -> Tensor:
    """A layer's input as autocast casts it."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and x.dtype is torch.float32:
        return x.to(torch.get_autocast_dtype(kind))
    return x


def like(x: Tensor, parameter: Tensor) -> Tensor:
    """A parameter in the data type of a map."""
    return parameter if parameter.dtype is x.dtype else parameter.to(x.dtype)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, options: Sequence) -> Tensor:
    """A convolution in x's own data type, to which weight and bias are cast, out of autocast's sight.

    options: stride, padding, dilation, groups.
    """
    if not torch.is_autocast_enabled(x.device.type):
        return F.conv2d(x, like(x, weight), None if bias is None else like(x, bias), *options)
    # Autocast would remember casts that it makes where autograd is off, and give them to others.
    with torch.autocast(x.device.type, enabled=False):
        return F.conv2d(x, like(x, weight), None if bias is None else like(x, bias), *options)
