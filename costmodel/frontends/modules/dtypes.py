"""The data type that a module calls its own."""

from __future__ import annotations

from collections import Counter

import torch
from torch import nn


def dtype_of(module: nn.Module) -> str:
    """The data type of most of a module's floating point parameters, by their numbers; float32 without any."""
    numbers = Counter({torch.float32: 0})
    for parameter in module.parameters():
        if parameter.is_floating_point():
            numbers[parameter.dtype] += parameter.numel()
    return str(max(numbers, key=numbers.__getitem__)).removeprefix("torch.")
