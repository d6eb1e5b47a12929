"""How oneDNN's threads divide a weight gradient with AVX512: those that share the images keep sums of their own.

A split gives `images` threads parts of the batch, and of their threads `k` the blocks of outputs and `c` the blocks of
inputs. Source: oneDNN 3.12, `balance` of jit_avx512_common_conv_kernel.cpp (windows) and of
jit_avx512_common_1x1_conv_kernel.cpp (products).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..sizes.by_batch import dense
from ..sizes.size import Size, maximum, minimum, where

VECTOR = 16  # channels
ROWS = 9  # threads share an image only by so many rows of it
MORE = 1.1  # data that a split may touch, against the least, if its threads have less to compute


class Split(NamedTuple):
    """What decides the split, besides sizes.

    threads: of the process; groups: of the convolution. inputs, outputs: blocks of channels of one group; width:
    channels of a block of inputs. area: weights of a window; stride: of both axes. product: whether it is a product of
    matrices. by_rows: whether threads may share an image.
    """

    threads: int
    groups: int
    inputs: int
    outputs: int
    width: int
    area: int
    stride: tuple[int, int]
    product: bool
    by_rows: bool

    def candidates(self) -> Iterator[tuple[int, int, int]]:
        """(images, k, c) of the splits, in oneDNN's order."""
        threads = self.threads // self.groups
        for images in range(1, threads + 1):
            for k in range(1, min(threads // images, self.outputs) + 1):
                yield images, k, min(threads // images // k, self.inputs)


def sharing(split: Split, sizes: tuple[Size, ...]) -> Size:
    """How many threads share the images. sizes: batch, height and width of the input, height and width of the output.

    First the split that touches the least data is found; of windows then one of those whose threads compute less.
    """
    n, h, w, oh, ow = map(dense, sizes)
    if split.threads < split.groups:
        return 1
    (units, unit_x, unit_y), most = _of_product(n, oh, ow) if split.product else _of_window(split, n, h, w, oh, ow)

    def data(images: int, k: int, c: int) -> Size:
        """Elements that one thread touches; those of the weights count 8 times, or 12."""
        inputs, outputs = -(-split.inputs // c), -(-split.outputs // k)
        x = _up(units[0], images) * inputs * split.width * unit_x
        x = x if split.product else x // split.stride[0] // split.stride[1]
        y = _up(units[1], images) * outputs * VECTOR * unit_y
        weight = 12 if split.product else 8 * split.area
        return x + y + weight * inputs * outputs * split.width * VECTOR

    def work(images: int, k: int, c: int) -> Size:
        """Blocks that one thread computes."""
        return _up(units[1], images) * -(-split.outputs // k) * -(-split.inputs // c)

    candidates = [(one[0], data(*one), work(*one)) for one in split.candidates()]
    found, least, least_work = candidates[0]  # all channels to one thread each, as far as there are threads
    for images, mine, mine_work in candidates[1:]:
        better = (images <= most) & (mine <= least)
        found, least, least_work = (
            where(better, images, found),
            where(better, mine, least),
            where(better, mine_work, least_work),
        )
    for images, mine, mine_work in candidates if not split.product else ():
        better = (mine_work <= least_work) & (mine < MORE * least) | (4 * mine_work <= 3 * least_work)
        better = better & (images <= most)
        least_work, found = where(better, mine_work, least_work), where(better, images, found)
    all_of_them = n if split.product else most
    nearly_all = (found > split.threads // 2) & (found < split.threads)
    return where(nearly_all, minimum(all_of_them, split.threads), found)


def _of_window(split: Split, n: Size, h: Size, w: Size, oh: Size, ow: Size) -> tuple[tuple[Any, Size, Size], Size]:
    """((units of input and output that threads share, elements of a channel in each), the most threads).

    A unit is an image, or on maps of more than 9 rows a row of one.
    """
    rows = split.by_rows & (oh > ROWS)
    units = where(rows, n * h, n), where(rows, n * oh, n)
    return (units, where(rows, w, h * w), where(rows, ow, oh * ow)), where(rows, n * maximum(1, oh // ROWS), n)


def _of_product(n: Size, oh: Size, ow: Size) -> tuple[tuple[Any, Size, Size], Size]:
    """The same: a unit is a part of the pixels of an image, of equal parts of 7 to 16 if these divide them."""
    part = np.vectorize(pixels_of_a_part, otypes=[np.int64])(oh, ow)
    part = int(part) if part.ndim == 0 else part
    units = n * _up(oh * ow, part)
    return ((units, units), part, part), units


@cache
def pixels_of_a_part(oh: int, ow: int) -> int:
    """Pixels of a part of an image."""
    part = divisor(oh * ow, 7, 16, largest=True)
    if oh * ow % part:
        part = divisor(ow, 4, ow, largest=False)
    return part if part <= 256 else 1


def divisor(number: int, least: int, most: int, largest: bool, step: int = 1) -> int:
    """The part of a number, in these limits, that fills its multiples best; of several the largest or the smallest.

    step: only every so many parts are tried, from the largest on.
    """
    most = max(1, min(most, number))
    parts = range(max(1, min(least, most)), most + 1)
    parts = parts if step == 1 else range(most, parts[0] - 1, -step)[::-1]
    loss = {part: np.float32(-number % part) / np.float32(_up(number, part) * part) for part in parts}
    return min(reversed(parts) if largest else parts, key=loss.__getitem__)


def _up(number: Size, parts: Size) -> Size:
    """A number divided, rounded up."""
    return -(-number // parts)
