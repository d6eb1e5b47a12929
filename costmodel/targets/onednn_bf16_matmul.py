"""Scratch of oneDNN's products of two matrices of bfloat16, which linear layers run.

`scratch` repeats what oneDNN 3.12 computes (matmul/brgemm_matmul_utils.cpp: compute_blocking_heuristic_avx512,
init_aux_values, init_scratchpad) on processors with AVX512's instructions for bfloat16, and without AMX.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from ..sizes.size import Size
from .onednn_bf16_products import FLOAT, ITEM, SUM, each
from .onednn_formulas import BOOKED, up

LEAST = 16**3  # multiply-adds up to which torch multiplies by itself (aten/src/ATen/native/mkldnn/Matmul.cpp)
MOST_ROWS = 1023  # of the left matrix that were studied; of more, it is copied at times
COLUMNS = 64  # of a block of the right matrix, which is copied
PAIRS = 32  # numbers of a column that lie together in that copy
LIST = 16 * 40  # bytes of a thread's list of blocks


class Product(NamedTuple):
    """A product of a left matrix of (m, k) and a right one of (k, n). transposed: the left one lies as (k, m)."""

    threads: int
    m: int
    k: int
    n: int
    transposed: bool


def products_bytes(setting: Any, rows: Size, inputs: int, outputs: int) -> tuple[Size, Size]:
    """The scratch of a linear layer's products, forward and backward. rows: of its input."""

    def forward(rows: int) -> int:
        return scratch(Product(setting.target.threads, rows, inputs, outputs, False))

    def backward(rows: int) -> int:
        """Of the input's gradient, then the weight's: with what later stays in the way of the first."""
        bytes_of = {"x": rows * inputs, "weight": inputs * outputs, "bias": outputs}
        made = {name: ITEM * bytes_of[name] for name in ("x", "weight", "bias") if name in setting.demanded}
        first = scratch(Product(setting.target.threads, rows, outputs, inputs, False)) if "x" in made else 0
        last = scratch(Product(setting.target.threads, outputs, rows, inputs, True)) if "weight" in made else 0
        later, after = made.get("weight", 0) + made.get("bias", 0), made.get("bias", 0)
        return max(first - later, last - after, 0)

    return each(forward, rows), each(backward, rows)


def in_onednn(m: int, k: int, n: int) -> bool:
    """Whether torch leaves a product to oneDNN."""
    return m * k * n > LEAST


@cache
def scratch(product: Product) -> int:
    """Bytes of each thread's copies of blocks, and of its sums."""
    if not in_onednn(*product[1:4]):
        return 0
    depth = min(product.k, 1024 if product.k > 1024 and product.m > 1 and not product.transposed else 512)
    rows, columns, chunk = _blocks(product, depth)
    right = ITEM * COLUMNS * up(depth, PAIRS)
    sums = SUM * columns * rows * (chunk if up(depth, 2) < product.k else 1)
    left = 0
    if product.transposed:
        line = up(depth, PAIRS)
        left = ITEM * rows * (line + PAIRS if line >= 512 and line & (line - 1) == 0 else line)
    each = product.threads * (LIST + left + right + sums)
    return each + BOOKED * (4 if product.transposed else 3)


def _blocks(product: Product, depth: int) -> tuple[int, int, int]:
    """(rows, columns, blocks of columns of one task): of those that divide the work best, the largest."""
    threads, m, k, n, transposed = product
    columns, least = min(COLUMNS, n), min(32, m)
    parts = -(-n // columns)
    first = min(16 if transposed else 1, parts)
    if threads > parts:
        least = min(16, m)
    found, best = (0, 0, 0), FLOAT(1)
    for chunk, rows in _candidates(first, min(256, m), least):
        tasks = -(-m // rows) * -(-n // (columns * chunk))
        if tasks < 3 * threads and tasks % threads:
            continue
        loss = _imbalance(product, depth, rows, columns, chunk)
        if loss < best:
            found, best = (rows, columns, chunk), loss
    return found if found[0] else (least, columns, 1)


def _candidates(first: int, most: int, least: int) -> Iterator[tuple[int, int]]:
    for chunk in range(first, 0, -1):
        for rows in range(most, least - 1, -1):
            yield chunk, rows


def _imbalance(product: Product, depth: int, rows: int, columns: int, chunk: int) -> FLOAT:
    """How much threads wait for one another, and how much of blocks is padding."""
    threads, m, k, n, _ = product
    blocks = -(-n // columns)
    padding = FLOAT(rows * -(-m // rows) % m) / FLOAT(m)
    chunks = (FLOAT(-(-blocks // chunk)) * FLOAT(chunk) - FLOAT(blocks)) / FLOAT(blocks)
    tasks = _uneven(-(-m // rows) * -(-n // (columns * chunk)), threads)
    return (tasks + padding + chunks + FLOAT(0) + _uneven(k, depth)) / FLOAT(5)


def _uneven(work: int, parts: int) -> FLOAT:
    rest = work % parts
    return FLOAT(parts - rest if work < parts else min(parts - rest, rest)) / FLOAT(parts)
