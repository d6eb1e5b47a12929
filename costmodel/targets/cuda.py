"""A GPU: every block rounded up to 512 bytes; the workspaces of cuDNN are not modelled, but can be probed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .target import CHANNELS_LAST, Option, Target, device, whole_number

MOST_SM = 200


@device("cuda")
@dataclass(frozen=True)
class Cuda(Target):
    """A GPU with PyTorch's caching allocator (c10/cuda/CUDACachingAllocator.cpp: kMinBlockSize).

    sm: its architecture, if it is known: 62 for a Jetson TX2, 87 for Orin, 90 for Hopper.
    """

    sm: int | None = None

    options = {
        "sm": Option(whole_number(MOST_SM), "sm= the architecture's number, 87 for 8.7"),
        "channels_last": CHANNELS_LAST,
    }
    block_bytes = 512
    is_confirmed = False  # no GPU was at hand: tests/cuda/README.md says what to run on one
    takes_foreach = True  # torch/optim/optimizer.py: _default_to_fused_or_foreach

    def to_dict(self) -> dict[str, Any]:
        sm = {} if self.sm is None else {"sm": self.sm}
        return {"device": "cuda", **sm, "memory_format": self.memory_format, "block_bytes": self.block_bytes}

    def __str__(self) -> str:
        sm = "" if self.sm is None else f"sm_{self.sm}, "
        return f"cuda ({sm}{self.memory_format}, blocks of {self.block_bytes} bytes)"
