"""Records in which memory formats kernels of convolutions, norms, poolings and windows take maps in a dry step."""

from __future__ import annotations

from typing import Any

import torch

from ....graph.dry import AVG_POOL, BATCH_NORM, CONVOLUTION, MAX_POOL, UNFOLD, KernelCall

aten = torch.ops.aten
#: Kernel -> (its op, place of the input, place of the output's gradient, None in the forward pass).
WATCHED: dict[Any, tuple[str, int, int | None]] = {
    aten.convolution: (CONVOLUTION, 0, None),
    aten.convolution_backward: (CONVOLUTION, 1, 0),
    aten.native_batch_norm: (BATCH_NORM, 0, None),
    aten.native_batch_norm_backward: (BATCH_NORM, 1, 0),
    aten.max_pool2d_with_indices: (MAX_POOL, 0, None),
    aten.max_pool2d_with_indices_backward: (MAX_POOL, 1, 0),
    aten.avg_pool2d: (AVG_POOL, 0, None),
    aten.avg_pool2d_backward: (AVG_POOL, 1, 0),
    aten.im2col: (UNFOLD, 0, None),  # the gradient is of columns
}


def call_of(func: Any, args: tuple) -> KernelCall | None:
    """What a kernel is called with; None for a kernel that is not watched, and for other tensors than maps."""
    watched = WATCHED.get(func.overloadpacket)
    if watched is None or args[watched[1]].dim() != 4:
        return None
    kind, x, gradient = watched
    seen = None if gradient is None else _formats(args[gradient])
    weight = _formats(args[x + 1]) if kind == CONVOLUTION else None
    return KernelCall(kind, tuple(args[x].shape), _formats(args[x]), seen, weight)


def _formats(tensor: torch.Tensor) -> tuple[bool, bool]:
    return tensor.is_contiguous(), tensor.is_contiguous(memory_format=torch.channels_last)
