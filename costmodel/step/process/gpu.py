"""The memory of a GPU that a process takes: what its steps allocate, and what the caching allocator reserves for it.

A step's allocations go through a simulated allocator (caching_allocator.py), from the parameters on, until its pools
grow no more. Beside them cuBLAS has a workspace for every thread that multiplies matrices: torch's own and, for the
backward pass, autograd's (aten/src/ATen/cuda/CublasHandlePool.cpp, since torch 2.0). Workspaces of cuDNN are in the
step if it was probed; the CUDA context is not PyTorch's, and not counted.
"""

from __future__ import annotations

from typing import NamedTuple

from ...targets.cuda import Cuda
from .caching_allocator import CachingAllocator
from .priced import Priced
from .resident_tensors import resident_tensors
from .steps import steps_through

#: cuBLAS' workspace where torch is not told otherwise (CUBLAS_WORKSPACE_CONFIG): 2 of 4 MiB and 8 of 16 KiB.
WORKSPACE = 2 * 2**22 + 8 * 2**14
#: On architectures 9.x (Hopper). Some releases of torch take it on 10.x and 12.x too.
HOPPER, LARGE_WORKSPACE = range(90, 100), 32 * 2**20


class GpuMemory(NamedTuple):
    """Bytes of a GPU's memory, at most, as torch.cuda.max_memory_allocated and max_memory_reserved tell them.

    workspaces: cuBLAS', which are in both.
    """

    allocated: int
    reserved: int
    workspaces: int


def gpu_memory(estimate: Priced) -> GpuMemory:
    """What a process allocates and reserves that makes some steps, all gradients set to None in between."""
    pools = CachingAllocator()
    for size in resident_tensors(estimate):
        pools.allocate(size)
    workspaces = workspaces_of(estimate)
    for step in steps_through(estimate, pools.allocate, pools.release):
        if step == 0:  # the first one asks for them
            for size in workspaces:
                pools.allocate(size)
    return GpuMemory(pools.most_allocated, pools.reserved, sum(workspaces))


def workspaces_of(estimate: Priced) -> list[int]:
    """Bytes of cuBLAS' workspaces: one for each thread that multiplies matrices."""
    products = [i for i, node in enumerate(estimate.graph.nodes) if node.op.is_product]
    backward = any(estimate.graph.demanded[i] for i in products)
    target = estimate.request.target
    size = LARGE_WORKSPACE if isinstance(target, Cuda) and target.sm in HOPPER else WORKSPACE
    return [size] * (bool(products) + backward)
