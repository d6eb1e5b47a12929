"""Scratch of oneDNN's products of matrices of bfloat16: what runs a convolution by one pixel without stride.

Each function repeats what oneDNN 3.12 computes, for one case (jit_avx512_core_bf16_1x1_conv_kernel.cpp: init_conf,
balance, init_scratchpad). n: images. rows, columns: of a map.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..sizes.by_batch import dense
from ..sizes.size import Size
from .onednn_formulas import BOOKED, LOCK, up
from .onednn_split import divisor

VECTOR = 16  # channels
ITEM = 2  # bytes of a number of bfloat16
SUM = 4  # bytes of a sum, which is rounded last
CACHE = 2**20  # of a core of every processor with instructions for bfloat16 and without AMX
FLOAT = np.float32  # costs are compared in this precision


def each(function: Callable[..., int], *sizes: Size) -> Size:
    """A function of numbers, in each case of arrays."""
    known = tuple(map(dense, sizes))
    if not any(isinstance(size, np.ndarray) for size in known):
        return function(*map(int, known))
    return np.vectorize(lambda *case: function(*map(int, case)), otypes=[np.int64])(*known)


@cache
def sums(threads: int, reduce: int, load: int, n: int, rows: int, columns: int) -> int:
    """Bytes of the threads' sums of a map. reduce, load: channels of what is read and of what is made, padded."""
    positions, several = rows * columns, 8 * n // threads >= 1
    at_once = _positions_at_once(several, load, rows, positions)
    blocks, parts = load // VECTOR, -(-positions // at_once)
    groups = _groups(threads, reduce, blocks, n, positions, at_once)
    if several and positions <= 64 and load * reduce >= CACHE // ITEM:
        groups = max(groups, 4)
    elif positions <= 49 and n <= threads and load > 512 and load // reduce >= 4:
        groups = max(groups, 2)
    if ITEM * n * positions * reduce < 8192 and 1 < threads > parts * blocks:
        threads = min(threads, max(parts, blocks))
    share = -(-threads // -(-threads // groups))
    return SUM * threads * up(positions, at_once) * up(-(-load // share), VECTOR) + BOOKED


def _positions_at_once(several: bool, load: int, rows: int, positions: int) -> int:
    """Positions that a kernel computes at once."""
    most, least = (9, 6) if several else (30, 9)
    if several and 128 < load < 256 and 10 < rows < 28:
        most, least = 6, 5
    numbers = range(most, least - 1, -1)
    for number in numbers:
        if (rows if rows >= 14 else positions) % number == 0:
            return number
    found, tail = min(most, positions), positions % most
    for number in numbers:
        if positions % number > tail or positions % number == 0:
            found, tail = number, positions % number
            if tail == 0:
                break
    return found


def _groups(threads: int, reduce: int, blocks: int, n: int, positions: int, at_once: int) -> int:
    """Into how many groups threads are divided, each for channels of its own."""
    parts = -(-positions // at_once)
    if threads > 28 or n >= threads or blocks * parts <= threads:
        least = -(-threads // (n * parts))
        return divisor(threads, least, 2 * least, largest=False)
    ratio = FLOAT(blocks * VECTOR * reduce) / FLOAT(n * positions * reduce)

    def cost(mine: int, teams: int, memory: float) -> FLOAT:
        """Of a thread with so many blocks of channels, of so many teams that share the positions."""
        pixels, channels = FLOAT(n * -(-parts // teams) * at_once), FLOAT(mine * VECTOR)
        return FLOAT(0.01) * (pixels * channels * FLOAT(reduce)) + FLOAT(memory) * ((pixels + channels) * FLOAT(reduce))

    numbers = range(threads, 0, -1) if ratio > 1 else range(1, threads + 1)
    costs = {}
    for groups in numbers:
        least, most = threads // groups, -(-threads // groups)
        memory = 1.0 if most == 1 else 1.3
        whole = cost(-(-blocks // groups), least if threads % groups < blocks % groups else most, memory)
        if threads % groups >= blocks % groups:
            whole = max(whole, cost(blocks // groups, least, memory))
        costs[groups] = whole
    return min(numbers, key=costs.__getitem__)


@cache
def weight_sums(
    threads: int, flat: bool, inputs: int, outputs: int, bias: bool, n: int, rows: int, columns: int
) -> int:
    """Bytes of the scratch of a weight gradient: sums, and in pairs of positions what is multiplied."""
    x, y = up(inputs, VECTOR), up(outputs, VECTOR)
    left, right = x // VECTOR, y // VECTOR  # blocks
    positions, in_order = rows * columns, not flat and rows > 14 and columns > 14
    channels = (inputs, outputs) if flat else (x, y)
    images, used = _teams(threads, channels, n, _part(rows, columns, in_order), positions)
    total = SUM * images * (x * y + bias * y) + BOOKED + (LOCK if images > 1 else 0)
    if bias and outputs % VECTOR:
        total += ITEM * (outputs if flat else y) + BOOKED
    if not in_order:
        at_once = divisor(right, 16, right, largest=False), divisor(left, 5, left, largest=False)
        total += sum(ITEM * used * up(positions, 2) * VECTOR * blocks + BOOKED for blocks in at_once)
    return total


def _part(rows: int, columns: int, in_order: bool) -> int:
    """Positions of a part of an image."""
    positions = rows * columns
    least, most = (7, min(256, positions)) if in_order else (8, 16)
    part = divisor(positions, least, most, largest=True, step=2)
    if positions % part:
        part = divisor(columns, 4, columns, largest=in_order, step=2)
    part = 1 if part > 256 else part
    return part if in_order else up(part, 2)


def _teams(threads: int, channels: tuple[int, int], n: int, part: int, positions: int) -> tuple[int, int]:
    """How many threads share the images, and how many work: the division that touches the least data."""
    inputs, outputs = channels
    left, right, units = -(-inputs // VECTOR), -(-outputs // VECTOR), n * -(-positions // part)
    weight = 4 * max(1, outputs // inputs)

    def data(images: int, k: int, c: int) -> int:
        mine, x, y = -(-units // images), -(-left // c), -(-right // k)
        return mine * (x + y) * VECTOR * part + weight * x * y * VECTOR * VECTOR

    images, k, c = divided(threads, units, left, right, data)
    if threads // 2 < images < threads:
        images = min(n, threads)
    return images, images * k * c


def divided(threads: int, units: int, left: int, right: int, data: Callable[[int, int, int], Any]) -> tuple[int, ...]:
    """How many threads share the units, the outputs and the inputs: the division that touches the least data.

    left, right: blocks of inputs and of outputs. data: what such a division touches; of equal ones the last counts.
    """
    found, least = (1, 1, 1), data(1, 1, 1)
    for images in range(1, min(threads, units) + 1):
        for k in range(1, min(threads // images, right) + 1):
            one = images, k, min(threads // images // k, left)
            if data(*one) <= least:
                found, least = one, data(*one)
    return found
