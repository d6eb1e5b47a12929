"""glibc's heap, simulated: what it does with blocks as torch asks for them."""

import random

import pytest

from costmodel.step.process.ptmalloc import HEADER, LARGEST_THRESHOLD, MAPPED, PAGE, THRESHOLD, TOP_PAD, Heap, bin_of

M = 2**20


def test_a_block_takes_its_pages_and_the_heap_grows_by_a_pad():
    heap = Heap(8 * M)
    address = heap.memalign(64, M)
    assert address % 64 == 0 and address >= HEADER
    assert M < heap.peak < M + 256  # what was touched, lead and trailer included
    assert heap.end % PAGE == 0 and M + TOP_PAD <= heap.end < M + TOP_PAD + 2 * PAGE


def test_a_hole_is_used_again_only_if_nothing_lies_beside_it():
    """A block asks for 112 bytes more than it keeps, so the hole of its like is too small with a block in the gap."""
    heap = Heap(8 * M)
    for _ in range(7):  # fill the thread's cache, as it is in a process that runs
        for size in range(24, 120, 16):
            heap.malloc(size)
    blocks = [heap.memalign(64, M) for _ in range(3)]
    end = heap.end
    heap.free(blocks[1])
    assert heap.memalign(64, M - 4096) < blocks[2] and heap.end == end  # in the hole


def test_large_blocks_are_mapped_until_one_of_them_was_freed():
    heap = Heap()
    block = heap.memalign(64, 4 * M)
    assert block > MAPPED and heap.mapped >= 4 * M and heap.end == 0
    heap.free(block)
    assert heap.mapped == 0 and heap.mmap_threshold > 4 * M and heap.trim_threshold == 2 * heap.mmap_threshold
    assert heap.memalign(64, 4 * M - PAGE) < MAPPED
    huge = heap.memalign(64, LARGEST_THRESHOLD + M)
    heap.free(huge)
    assert huge > MAPPED and heap.mmap_threshold < LARGEST_THRESHOLD  # it never rises to that


def test_a_free_end_is_given_back():
    heap = Heap(THRESHOLD)
    blocks = [heap.malloc(THRESHOLD - 64) for _ in range(8)]
    grown = heap.end
    for block in reversed(blocks):
        heap.free(block)
    assert heap.end < grown // 4 and heap.peak >= 8 * (THRESHOLD - 64)


@pytest.mark.parametrize("seed", range(10))
def test_blocks_never_overlap(seed):
    draw, heap, live = random.Random(seed), Heap(64 * M), {}
    for _ in range(400):
        if live and draw.random() < 0.5:
            address = draw.choice(list(live))
            heap.free(address)
            del live[address]
        else:
            nbytes = int(2 ** draw.uniform(4, 22))
            address = heap.memalign(64, nbytes) if nbytes >= 1024 else heap.malloc(nbytes)
            assert address not in live
            live[address] = nbytes
        spans = sorted((address, address + nbytes) for address, nbytes in live.items())
        assert all(one[1] <= other[0] for one, other in zip(spans, spans[1:]))
        assert not spans or spans[-1][1] <= heap.end
    assert heap.peak >= sum(live.values())


def test_bins_are_those_of_the_source():
    """malloc.c: largebin_index_64, 64 bytes apart up to 3 KiB, then 512, 4,096, 32,768 and 262,144."""
    assert [bin_of(size) for size in (1024, 1088, 3120, 3136, 10752, 45056, 163840, 10**6)] == [
        64, 65, 96, 97, 112, 120, 124, 126,
    ]  # fmt: skip
