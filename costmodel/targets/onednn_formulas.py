"""Scratch of oneDNN's convolutions that depends on sizes: gathered columns, copies of images, threads' own sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..sizes.size import Size, maximum, minimum, where
from .onednn_split import Split, sharing

PAGE = 4096
BOOKED = 128  # bytes added to every buffer of a kernel's scratch for its alignment
LOCK = 2 * PAGE  # bytes booked for a lock of threads that share sums

Sizes = tuple[Size, Size, Size, Size, Size]  # batch, height and width of the input, height and width of the output
Job = tuple[int, int, bool]  # number of jobs, bytes of one, whether it sums over all positions rather than images
More = Callable[[Sizes], Size]


def up(number: Size, multiple: int) -> Size:
    """The number rounded up to a multiple."""
    return -(-number // multiple) * multiple


def gather(threads: int, columns: int, most: int, sizes: Sizes) -> Size:
    """Each thread's columns of an image, or of the part of it that fits into `most` bytes."""
    *_, oh, ow = sizes
    each = minimum(columns * oh * ow, most)
    return where(each > 0, threads * each + BOOKED, 0)


def input_columns(facts: Any, sizes: Sizes) -> Size:
    """Threads' columns of the input's gradient, and in channels_last with groups their own images.

    All threads work on columns of their own where these are small, and images and groups share out as evenly as blocks
    of pixels and channels, or the product is small (gemm_convolution_utils.cpp: outer_threading).
    """
    n, h, w, oh, ow = sizes
    threads, images = facts.threads, n * facts.groups
    columns = facts.gathered() * oh * ow
    image = facts.item * facts.c * h * w if facts.flat and facts.groups > 1 else 0
    blocks = up(h * w, facts.lanes) // facts.lanes * -(-facts.c // facts.lanes)
    even = images * up(blocks, threads) >= blocks * up(images, threads)
    shared = even | (h * w * facts.c * facts.k // threads < 65536)
    if not facts.flat:
        shared = shared & ((oh * ow < 512 * threads) | (facts.area < 64)) & ((n > 1) | (facts.groups > 2))
    elif not facts.depthwise:
        shared = shared & (h * w < 64 * threads) & (n > 1)
    return where(shared, threads, 1) * (columns + image) + BOOKED * (
        0 + (columns > 0) + (image > 0)
    )  # numpy's True + True is True


def gather_and_sum(threads: int, many: bool, columns: int, own: int, image: int, sizes: Sizes) -> Size:
    """Each thread's columns of an image and its own sums (`own`); on large maps only one thread works."""
    n, h, w, oh, ow = sizes
    shared = (oh * ow < 256 * threads) & (many | (n > 1))
    each = own + columns * oh * ow + image * h * w
    return where(shared, threads, 1) * each + BOOKED * (1 + (columns > 0) + (image > 0))


def picked_pixels(conv: Any, each: int, sizes: Sizes) -> Size:
    """A copy of the pixels that a strided product reads, if the stride divides the map."""
    _, h, w, oh, ow = sizes
    return where((h == oh * conv.stride[0]) & (w == ow * conv.stride[1]), each * oh * ow + BOOKED, 0)


def strided_copies(conv: Any, sizes: Sizes) -> Size:
    """Each thread's copy of one image of the output's gradient, with the zeros read around it, and smaller buffers."""
    _, h, w, oh, ow = sizes
    padded = []
    for size, out, reach, padding, stride in zip((h, w), (oh, ow), conv.reach, conv.padding, conv.stride):
        after = size + padding - 1 - (out - 1) * stride  # how far the input extends beyond the last window's start
        padded.append(out + max(0, reach - 1 - padding) // stride + maximum(after, 0) // stride)
    images = conv.threads * (conv.item * up(padded[0] * padded[1] * conv.outputs, PAGE) + PAGE) + 2 * PAGE
    stride = conv.stride[1]
    line = conv.item * up(up(w, stride) * stride * conv.inputs, PAGE)  # needed if the stride does not divide w
    return conv.lists() + images + where(w % stride > 0, conv.threads * line + PAGE, 0)


def depthwise_sums(own: int, booked: int, sharing: int, parts: int, sizes: Sizes) -> Size:
    """Own sums of all threads but one that share the images of a depthwise convolution."""
    n, _, _, oh, _ = sizes
    others = minimum(n * oh * parts if parts else n, sharing) - 1
    return where(others > 0, others * own + booked, 0)


def dense_sums(
    threads: int, split: Split | None, own: int, jobs: tuple[Job, ...], pick: More | None, sizes: Sizes
) -> Size:
    """Own sums of the threads that share a dense convolution's images, and of those that share its jobs.

    split: how threads divide it; None: by jobs alone.
    """
    n, _, _, oh, ow = sizes
    pixels, total = n * oh * ow, 0
    if split:
        others = sharing(split, sizes) - 1
        total = where(others > 0, others * own + (BOOKED + LOCK), 0)
    for count, job, flat in jobs:
        total = total + teams(threads, count, job, pixels if flat else n, flat)
    return total + pick(sizes) if pick else total


def thin(blocks: int, most: int) -> int:
    """Blocks of one job: all blocks, halved or divided by three until they are at most `most`."""
    while blocks > most and (blocks % 2 == 0 or blocks % 3 == 0):
        blocks //= 2 if blocks % 2 == 0 else 3
    return blocks


def teams(threads: int, jobs: int, job: int, terms: Size, flat: bool) -> Size:
    """Own sums of the threads that share jobs. The number of teams is the one that finishes first."""
    least, total = jobs * terms + 1, 0
    for teams in range(min(threads, jobs), 0, -1):
        each, share = -(-jobs // teams), maximum(1, minimum(terms, threads // teams))
        time = each * (-(-terms // share) + (share > 1))
        # The first thread of a team adds into the result itself, unless the sums are flat.
        own = teams * each * job * (share - (not flat)) + (teams + 1) * PAGE + (BOOKED if flat else PAGE)
        total = where(time < least, where(share > 1, own, 0), total)
        least = minimum(time, least)
    return total
