"""A GPU, whose caching allocator writes down what it does (torch.cuda.memory._record_memory_history).

The history has the bytes that were asked for. Each block is counted as whole units of the target (512 bytes), which is
what it takes of a fresh segment. `torch.cuda.max_memory_allocated` says more where a block was not split: by up to
1 MiB a block, and depending on what ran before (c10/cuda/CUDACachingAllocator.cpp: should_split).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ...errors import CostmodelError
from ...frontends.modules.untouched import uncollected
from ...targets.cuda import Cuda
from .device import Blocks, Device, Most, T


class Gpu(Device):
    """The GPU that torch uses by default."""

    kind = "cuda"
    _before = Most(0, 0)

    @property
    def name(self) -> str:
        """The GPU, its architecture, and the versions of CUDA and cuDNN, on which kernels depend."""
        major, minor = torch.cuda.get_device_capability()
        versions = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        return f"{torch.cuda.get_device_name()}, sm_{major}{minor}, {versions}"

    def refuse_if_absent(self) -> None:
        if not torch.cuda.is_available():
            raise CostmodelError("target 'cuda': torch finds no GPU here")

    def wait(self) -> None:
        torch.cuda.synchronize()

    def start_over(self) -> None:
        self.wait()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        self._before = Most(torch.cuda.memory_allocated(), torch.cuda.memory_reserved())

    def most(self) -> Most | None:
        self.wait()
        allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        return Most(allocated - self._before.allocated, reserved - self._before.reserved)

    def recorded(self, run: Callable[[], T]) -> tuple[T, Blocks]:
        memory: Any = torch.cuda.memory
        self.wait()
        with uncollected():
            memory._record_memory_history("all", context=None, stacks="python")
            try:
                result = run()
                self.wait()
                history = memory._snapshot()["device_traces"][torch.cuda.current_device()]
            finally:
                memory._record_memory_history(None)  # which clears it
        return result, blocks(history)


def blocks(history: list[dict[str, Any]]) -> Blocks:
    """The allocations and releases in a device's history, each of whole blocks."""
    signs, rounded = {"alloc": 1, "free_requested": -1}, Cuda().rounded
    return [(one["addr"], signs[one["action"]] * rounded(one["size"])) for one in history if one["action"] in signs]
