"""What glibc's heap holds for six steps: the tensors' events, in a simulated heap, and what small blocks add to it.

A process allocates thousands of small blocks between its tensors, torch's and oneDNN's, which differ from run to run.
Where one lasts in the gap beside a tensor, the tensor's hole is lost for its like. So a heap with tensors alone is
the least, and equal processes differ: of 117 runs of 55 cases (10 networks, 7 strategies, batch 4 to 16; x86, glibc
2.36, torch 2.13, 2 threads) what the heap took was 0.7 to 1.8 times that in 9 of 10, 1.35 in the middle. (Where the
heap is small, other parts of the process differ by as much.)
"""

from __future__ import annotations

from .priced import Priced
from .ptmalloc import CACHED, LARGEST_FAST, LEAST, LEAST_LARGE, Heap

ALIGNMENT = 64  # of what torch asks for (c10/core/alignment.h)
STEPS = 6
#: To which the imports raise the size from which blocks are mapped one by one (measured, torch 2.13).
MMAP_THRESHOLD = 1_925_120
#: The heap of a process by that of its tensors: least, middle, most.
SURPLUS = (0.9, 1.4, 2.0)


def heap_of_tensors(estimate: Priced) -> int:
    """Bytes of a heap that has the tensors of six steps alone, at most."""
    heap, sizes = Heap(MMAP_THRESHOLD), estimate.slot_sizes
    small = [heap.malloc(size - 8) for size in range(LEAST, LARGEST_FAST + 1, 16) for _ in range(CACHED)]
    for address in small:  # the cache of a process that has run for a while is full
        heap.free(address)
    heap.peak = 0
    left: dict[int, int] = {}
    for _ in range(STEPS):
        for address in left.values():  # gradients, which are set to None
            heap.free(address)
        left = {}
        for event in estimate.timeline.events:
            size = int(sizes[event.slot])
            if event.sign > 0 and size >= LEAST_LARGE:
                left[event.storage] = heap.memalign(ALIGNMENT, size)
            elif event.sign < 0 and event.storage in left:
                heap.free(left.pop(event.storage))
    return heap.peak
