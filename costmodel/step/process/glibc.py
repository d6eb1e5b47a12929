"""What glibc's heap holds for six steps: the tensors' events, in a simulated heap, and what small blocks add to it.

A process allocates thousands of small blocks between its tensors, torch's and oneDNN's, which differ from run to run.
Where one lasts in the gap beside a tensor, the tensor's hole is lost for its like. So a heap with tensors alone is
the least, and equal processes differ: of 117 runs of 55 cases (10 networks, 7 strategies, batch 4 to 16; x86, glibc
2.36, torch 2.13, 2 threads) what the heap took was 0.7 to 1.8 times that in 9 of 10, 1.35 in the middle. (Where the
heap is small, other parts of the process differ by as much.)
"""

from __future__ import annotations

import platform
from functools import partial

from .priced import Priced
from .ptmalloc import CACHED, LARGEST_FAST, LEAST, LEAST_LARGE, Heap
from .steps import steps_through

ALIGNMENT = 64  # of what torch asks for (c10/core/alignment.h)
SIMULATED = ((2, 26), (2, 37))  # the first and the last release of glibc whose heap this is
#: To which the imports raise the size from which blocks are mapped one by one (measured, torch 2.13).
MMAP_THRESHOLD = 1_925_120
#: The heap of a process by that of its tensors: least, middle, most.
SURPLUS = (0.9, 1.4, 2.0)


def heap_of_tensors(estimate: Priced) -> int:
    """Bytes of a heap that has the tensors of six steps alone, at most."""
    heap = Heap(MMAP_THRESHOLD)
    small = [heap.malloc(size - 8) for size in range(LEAST, LARGEST_FAST + 1, 16) for _ in range(CACHED)]
    for address in small:  # the cache of a process that has run for a while is full
        heap.free(address)
    heap.peak = 0
    for _ in steps_through(estimate, partial(heap.memalign, ALIGNMENT), heap.free, LEAST_LARGE):
        pass
    return heap.peak


def other_heap_here() -> str:
    """This system's C library, if its heap is not the one that is simulated; else ""."""
    name, version = platform.libc_ver()
    release = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if name == "glibc" and SIMULATED[0] <= release <= SIMULATED[1]:
        return ""
    return f"{name} {version}" if name else "not glibc"
