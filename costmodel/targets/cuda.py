"""A GPU: every block rounded up to 512 bytes; the workspaces of cuDNN are not modelled, but can be probed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .target import CHANNELS_LAST, Target, device


@device("cuda")
@dataclass(frozen=True)
class Cuda(Target):
    """A GPU with PyTorch's caching allocator (c10/cuda/CUDACachingAllocator.cpp: kMinBlockSize)."""

    options = {"channels_last": CHANNELS_LAST}
    block_bytes = 512
    is_confirmed = False  # no GPU was at hand: tests/cuda/README.md says what to run on one
    takes_foreach = True  # torch/optim/optimizer.py: _default_to_fused_or_foreach

    def to_dict(self) -> dict[str, Any]:
        return {"device": "cuda", "memory_format": self.memory_format, "block_bytes": self.block_bytes}

    def __str__(self) -> str:
        return f"cuda ({self.memory_format}, blocks of {self.block_bytes} bytes)"
