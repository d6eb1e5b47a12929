"""glibc's malloc (ptmalloc, as in 2.26 to 2.37), simulated: the main arena of one thread, chunk by chunk.

It decides what glibc decides: which hole a request gets, when the heap grows and is trimmed, and what is mapped by
itself. Nothing is allocated. Addresses are bytes above the first byte of the heap; those above MAPPED are of chunks
that have a mapping of their own.

Checked against glibc 2.36: of all 1.9 million calls of a process that trains (MobileNetV2 and MnasNet, six steps), each
got the address that glibc gave it.
"""

from __future__ import annotations

from bisect import bisect_left, insort

PAGE = 4096
HEADER = 16  # bytes from a chunk's address to the memory it hands out
LEAST = 32  # MINSIZE: bytes of the smallest chunk
LEAST_LARGE = 1024  # the smallest chunk of the large bins
LARGEST_FAST = 128  # the largest chunk of the fast bins
LARGEST_CACHED = 1040  # the largest chunk of the thread's cache
CACHED = 7  # chunks of one size in the thread's cache
CONSOLIDATION = 1 << 16  # a freed chunk of this size empties the fast bins, and lets the heap be trimmed
TOP_PAD = 128 << 10  # M_TOP_PAD: what the heap grows beyond the request, and what trimming leaves
THRESHOLD = 128 << 10  # M_MMAP_THRESHOLD at the start
LARGEST_THRESHOLD = 32 << 20  # the highest that the threshold rises to by itself
MAPPED = 1 << 50
SCAN = 10_000  # freed chunks that one request sorts into bins at most


def chunk_size(nbytes: int) -> int:
    """Bytes of the chunk for a request."""
    return max(LEAST, (nbytes + 23) & ~15)


def bin_of(size: int) -> int:
    """Number of the large bin for chunks of a size."""
    for shift, most, first in ((6, 48, 48), (9, 20, 91), (12, 10, 110), (15, 4, 119), (18, 2, 124)):
        if size >> shift <= most:
            return first + (size >> shift)
    return 126


class Heap:
    """The main arena.

    top: address of the chunk at the heap's end; end: where the heap ends (the break). mapped: bytes of the chunks that
    have a mapping of their own. touched: the highest address in use since the heap was last trimmed to below it.
    peak: the most bytes in memory so far: of the heap that were touched and not trimmed since, and of mapped chunks.
    """

    def __init__(self, mmap_threshold: int = THRESHOLD) -> None:
        """An empty heap. mmap_threshold: as what was freed before has left it."""
        self.mmap_threshold = mmap_threshold
        self.trim_threshold = 2 * mmap_threshold if mmap_threshold > THRESHOLD else THRESHOLD
        self.top = self.end = self.touched = 0
        self.mapped = 0
        self.peak = 0
        self._size: dict[int, int] = {}  # of every chunk but the top
        self._ends: dict[int, int] = {}  # end of a free chunk -> its address
        self._unsorted: dict[int, None] = {}  # freed chunks that are in no bin yet, the oldest first
        self._bins: dict[int, list[int]] = {}  # size -> free chunks of the size
        self._sizes: list[int] = []  # keys of _bins, ascending
        self._fast: dict[int, list[int]] = {}
        self._cache: dict[int, list[int]] = {}
        self._remainder = -1
        self._next_mapping = MAPPED
        self._lead: dict[int, int] = {}  # of mapped chunks: bytes before an aligned one

    # ---- what a process calls ----

    def malloc(self, nbytes: int) -> int:
        """Allocate. Returns an address for `free`."""
        size = chunk_size(nbytes)
        if size <= LARGEST_CACHED and self._cache.get(size):
            return self._cache[size].pop() + HEADER
        return self._allocate(size) + HEADER

    def memalign(self, alignment: int, nbytes: int) -> int:
        """Allocate at a multiple of an alignment, which is a power of two. Returns an address for `free`."""
        if alignment <= HEADER:
            return self.malloc(nbytes)
        size = chunk_size(nbytes)
        chunk = self._allocate(chunk_size(size + alignment + LEAST))
        lead = -(chunk + HEADER) % alignment
        if lead and lead < LEAST:
            lead += alignment
        if chunk >= MAPPED:
            if lead:
                self._size[chunk + lead] = self._size.pop(chunk) - lead
                self._lead[chunk + lead] = lead
            return chunk + lead + HEADER
        if lead:
            self._size[chunk + lead] = self._size[chunk] - lead
            self._size[chunk] = lead
            self._free(chunk)
            chunk += lead
        whole = self._size[chunk]
        if whole > size + LEAST:
            self._size[chunk] = size
            self._size[chunk + size] = whole - size
            self._free(chunk + size)
        return chunk + HEADER

    def free(self, address: int) -> None:
        """Release what was allocated."""
        chunk = address - HEADER
        if chunk < MAPPED:
            self._free(chunk)
            return
        size = self._size.pop(chunk)
        if self.mmap_threshold < size <= LARGEST_THRESHOLD:
            self.mmap_threshold, self.trim_threshold = size, 2 * size
        self.mapped -= size + self._lead.pop(chunk, 0)

    # ---- how glibc does it ----

    def _note(self) -> None:
        """Note the level after something grew."""
        self.touched = max(self.touched, self.top)
        self.peak = max(self.peak, self.touched + self.mapped)

    def _allocate(self, size: int) -> int:
        """_int_malloc: a chunk of a size, from a bin, from the top, or from the system."""
        small = size < LEAST_LARGE
        cacheable = size <= LARGEST_CACHED
        if size <= LARGEST_FAST and self._fast.get(size):
            fast = self._fast[size]
            chunk = fast.pop()
            cache = self._cache.setdefault(size, [])
            while fast and len(cache) < CACHED:
                cache.append(fast.pop())
            return chunk
        if small:
            if size in self._bins:
                chunk = self._pop(size, -1)
                cache = self._cache.setdefault(size, [])
                while size in self._bins and len(cache) < CACHED:
                    cache.append(self._pop(size, -1))
                return chunk
        elif self._fast:
            self._consolidate()
        while True:
            found = self._from_unsorted(size, small, cacheable)
            if found >= 0:
                return found
            found = self._best_fit(size, small)
            if found >= 0:
                return found
            if self.end - self.top >= size + LEAST:
                chunk = self.top
                self.top += size
                self._size[chunk] = size
                self._note()
                return chunk
            if not self._fast:
                return self._from_system(size)
            self._consolidate()

    def _from_unsorted(self, size: int, small: bool, cacheable: bool) -> int:
        """Sort freed chunks into bins until one fits exactly; -1 if none does."""
        unsorted, sizes = self._unsorted, self._size
        cached = False
        for _ in range(SCAN):
            if not unsorted:
                break
            chunk = next(iter(unsorted))
            found = sizes[chunk]
            if small and len(unsorted) == 1 and chunk == self._remainder and found > size + LEAST:
                del unsorted[chunk]
                del self._ends[chunk + found]
                self._split(chunk, found, size, True)
                return chunk
            del unsorted[chunk]
            if found == size:
                del self._ends[chunk + found]
                cache = self._cache.setdefault(size, []) if cacheable else None
                if cache is not None and len(cache) < CACHED:
                    cache.append(chunk)
                    cached = True
                    continue
                return chunk
            group = self._bins.get(found)
            if group is None:
                self._bins[found] = [chunk]
                insort(self._sizes, found)
            else:
                group.insert(0 if found < LEAST_LARGE else 1, chunk)
        return self._cache[size].pop() if cached else -1

    def _best_fit(self, size: int, small: bool) -> int:
        """The smallest binned chunk that is large enough, cut to size; -1 if there is none."""
        k = bisect_left(self._sizes, size)
        if k == len(self._sizes):
            return -1
        found = self._sizes[k]
        group = self._bins[found]
        same_bin = not small and found >= LEAST_LARGE and bin_of(found) == bin_of(size)
        chunk = self._pop(found, 1 if same_bin and len(group) > 1 else -1)
        if found - size >= LEAST:
            self._split(chunk, found, size, small)
        return chunk

    def _split(self, chunk: int, found: int, size: int, small: bool) -> None:
        """Cut a chunk in two; the rest counts as freed last."""
        rest = chunk + size
        self._size[chunk], self._size[rest] = size, found - size
        self._ends[chunk + found] = rest
        self._unsorted[rest] = None
        if small:
            self._remainder = rest

    def _from_system(self, size: int) -> int:
        """sysmalloc: a mapping of its own, or a longer heap."""
        if size >= self.mmap_threshold:
            chunk = self._next_mapping
            pages = size + 8 + -(size + 8) % PAGE
            self._next_mapping += pages
            self._size[chunk] = pages
            self.mapped += pages
            self._note()
            return chunk
        more = size + TOP_PAD + LEAST - (self.end - self.top)
        self.end += more + -more % PAGE
        chunk = self.top
        self.top += size
        self._size[chunk] = size
        self._note()
        return chunk

    def _free(self, chunk: int) -> None:
        """_int_free of a chunk of the heap."""
        size = self._size[chunk]
        if size <= LARGEST_CACHED:
            cache = self._cache.setdefault(size, [])
            if len(cache) < CACHED:
                cache.append(chunk)
                return
            if size <= LARGEST_FAST:
                self._fast.setdefault(size, []).append(chunk)
                return
        if self._merge(chunk, size) >= CONSOLIDATION:
            if self._fast:
                self._consolidate()
            if self.end - self.top >= self.trim_threshold:
                self._trim()

    def _merge(self, chunk: int, size: int) -> int:
        """Join a chunk with its free neighbours. Returns the size of what it is then, the top included."""
        sizes, ends = self._size, self._ends
        after = chunk + size
        before = ends.get(chunk)
        if before is not None:
            del sizes[chunk]
            self._unlink(before)
            size += sizes[before]
            chunk = before
        if after == self.top:
            sizes.pop(chunk, None)
            self.top = chunk
            return self.end - chunk
        more = sizes[after]
        if ends.get(after + more) == after:
            self._unlink(after)
            del sizes[after]
            size += more
        sizes[chunk] = size
        ends[chunk + size] = chunk
        self._unsorted[chunk] = None
        return size

    def _consolidate(self) -> None:
        """malloc_consolidate: the chunks of the fast bins become free."""
        fast, self._fast = self._fast, {}
        for size in sorted(fast):
            for chunk in reversed(fast[size]):
                self._merge(chunk, size)

    def _trim(self) -> None:
        """systrim: give the heap's end back."""
        area = self.end - self.top - LEAST - 1
        if area > TOP_PAD:
            self.end -= (area - TOP_PAD) // PAGE * PAGE
            self.touched = min(self.touched, self.end)

    def _pop(self, size: int, at: int) -> int:
        """Take a chunk out of its bin."""
        group = self._bins[size]
        chunk = group.pop(at)
        if not group:
            del self._bins[size]
            del self._sizes[bisect_left(self._sizes, size)]
        del self._ends[chunk + size]
        return chunk

    def _unlink(self, chunk: int) -> None:
        """Take a chunk out of wherever it is free."""
        size = self._size[chunk]
        del self._ends[chunk + size]
        if chunk in self._unsorted:
            del self._unsorted[chunk]
            return
        group = self._bins[size]
        group.remove(chunk)
        if not group:
            del self._bins[size]
            del self._sizes[bisect_left(self._sizes, size)]
