"""PyTorch's caching allocator of a GPU, simulated (c10/cuda/CUDACachingAllocator.cpp, as in torch 2.4 to 2.15).

What it takes from the GPU it keeps: the bytes that it has *reserved* are the sum of its segments, those that it has
*allocated* the sum of the blocks in use. A block may be larger than what was asked for, since small rests are not split
off. Options of PYTORCH_CUDA_ALLOC_CONF are left as they are: no expandable segments, no limit to splitting.

Checked against the source alone: no GPU was at hand. Where segments lie is assumed to be ascending; it decides only
between free blocks of one size.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

BLOCK = 512  # kMinBlockSize: every request is rounded up to a multiple
SMALL = 2**20  # kSmallSize: the largest request that goes to the pool of small blocks
SMALL_SEGMENT = 2 * 2**20  # kSmallBuffer
LARGE_SEGMENT = 20 * 2**20  # kLargeBuffer: for requests below LEAST_OWN
LEAST_OWN = 10 * 2**20  # kMinLargeAlloc: from here on a request gets a segment of its own
ROUNDED = 2 * 2**20  # kRoundLarge: to a multiple of which that is rounded up


@dataclass(eq=False)
class Block:
    """A part of a segment. before, after: its neighbours in the segment. is_small: of the pool of small blocks."""

    address: int
    nbytes: int
    is_small: bool
    is_free: bool = True
    before: Block | None = None
    after: Block | None = None


class CachingAllocator:
    """A GPU's allocator from the start of a process on.

    allocated, reserved: bytes in use, and bytes of all segments. most_allocated: the highest `allocated` so far.
    Segments are never given back, so `reserved` is at its highest.
    """

    def __init__(self) -> None:
        self.allocated = self.reserved = self.most_allocated = 0
        self._free: dict[bool, list[tuple[int, int]]] = {True: [], False: []}  # (bytes, address), ascending
        self._at: dict[int, Block] = {}  # address -> free block

    def allocate(self, nbytes: int) -> Block:
        """A block of at least these bytes, which must be more than 0."""
        size = -(-nbytes // BLOCK) * BLOCK
        is_small = size <= SMALL
        block = self._found(size, is_small) or self._segment(size, is_small)
        rest = block.nbytes - size
        if rest >= BLOCK if is_small else rest > SMALL:
            behind = Block(block.address + size, rest, is_small, before=block, after=block.after)
            if block.after is not None:
                block.after.before = behind
            block.after, block.nbytes = behind, size
            self._put(behind)
        block.is_free = False
        self.allocated += block.nbytes
        self.most_allocated = max(self.most_allocated, self.allocated)
        return block

    def release(self, block: Block) -> None:
        """Give a block back to its pool, joined with free neighbours."""
        self.allocated -= block.nbytes
        first = self._joined(block.before, block) if block.before is not None and block.before.is_free else block
        if first.after is not None and first.after.is_free:
            first = self._joined(first, first.after)
        self._put(first)

    def _found(self, size: int, is_small: bool) -> Block | None:
        """The smallest free block that is large enough, the first in memory among equals."""
        free = self._free[is_small]
        position = bisect_left(free, (size, -1))
        return self._taken(self._at[free[position][1]]) if position < len(free) else None

    def _segment(self, size: int, is_small: bool) -> Block:
        """A new segment, as one block."""
        nbytes = SMALL_SEGMENT if is_small else LARGE_SEGMENT if size < LEAST_OWN else -(-size // ROUNDED) * ROUNDED
        block = Block(self.reserved, nbytes, is_small)
        self.reserved += nbytes
        return block

    def _joined(self, block: Block, behind: Block) -> Block:
        """Two neighbours as one block, in no pool."""
        for one in (block, behind):
            if self._at.get(one.address) is one:
                self._taken(one)
        block.nbytes, block.after = block.nbytes + behind.nbytes, behind.after
        if behind.after is not None:
            behind.after.before = block
        return block

    def _put(self, block: Block) -> None:
        block.is_free = True
        self._at[block.address] = block
        insort(self._free[block.is_small], (block.nbytes, block.address))

    def _taken(self, block: Block) -> Block:
        """A free block, taken out of its pool."""
        free = self._free[block.is_small]
        del free[bisect_left(free, (block.nbytes, block.address))]
        del self._at[block.address]
        return block
