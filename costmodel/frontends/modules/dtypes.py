"""The data type that a module calls its own."""

from __future__ import annotations

import torch
from torch import nn


def dtype_of(module: nn.Module) -> str:
    """The data type of a module's first floating point parameter; float32 without one."""
    first = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    return str(first).removeprefix("torch.")
