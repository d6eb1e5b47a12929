"""Knows where torch runs attention by one fused kernel, into which nobody sees: in evaluation, without gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def by_parts() -> Iterator[None]:
    """Within this, torch runs attention by its parts, of which each can be counted."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def is_fused(module: nn.Module, args: tuple[Any, ...]) -> bool:
    """Whether torch takes the fused kernel for a call of a layer (nn.MultiheadAttention.forward: why_not_fast_path).

    What it depends on beside is not asked: a call may be named that runs by parts.
    """
    attention = module.self_attn if isinstance(module, nn.TransformerEncoderLayer) else module
    if not isinstance(attention, nn.MultiheadAttention) or module.training or not attention.batch_first:
        return False
    tensors = [x for x in args if isinstance(x, torch.Tensor)]
    if any(x is not tensors[0] for x in tensors[:3]) or attention.num_heads % 2 or torch.is_autocast_enabled("cpu"):
        return False
    needs = any(x.requires_grad for x in (*tensors[:1], *module.parameters()))
    return torch.backends.mha.get_fastpath_enabled() and not (torch.is_grad_enabled() and needs)
