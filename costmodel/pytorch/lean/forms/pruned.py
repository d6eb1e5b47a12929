"""Layers that keep the largest numbers of their input, and a bit for each number (costmodel/ops/forms/pruned.py)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...bits import CHUNK, INTEGERS, pack_on_device, unpack_on_device
from ..like import Like
from .restored import Form, FormedConv2d, FormedLinear, like_input, rows_of


class Pruned(Form):
    """Of each image, the share rho of the numbers with the smallest magnitudes is 0; of equal ones the last are."""

    def __init__(self, *args: Any, rho: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rho = rho

    def kept_of(self, numbers: int) -> int:
        """How many of an image's numbers are kept."""
        left_out = Fraction(str(self.rho))
        return max(numbers - numbers * left_out.numerator // left_out.denominator, 1)

    def keep(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = rows_of(x)
        count, numbers = rows.shape
        values = x.new_empty(count, self.kept_of(numbers))
        bits = torch.empty(count, (numbers + 7) // 8, dtype=torch.uint8, device=x.device)
        magnitudes = torch.empty(numbers, dtype=INTEGERS[x.element_size()], device=x.device)
        for row, chosen, packed in zip(rows, values, bits):
            as_integers(row, magnitudes)
            (choose if x.device.type == "cpu" else choose_on_device)(row, magnitudes, chosen, packed)
        return values, bits

    def restore(self, form: Sequence[Tensor], x: Like) -> Tensor:
        made = like_input(x).zero_()
        rows = rows_of(made)
        for row, values, packed in zip(rows, *form):
            if made.device.type != "cpu":
                row[unpack_on_device(packed, len(row))] = values
                continue
            target, source, bits, used = integers(row), integers(values), packed.numpy(), 0
            for i in range(0, target.size, CHUNK):
                part = target[i : i + CHUNK]
                ones = np.unpackbits(bits[i // 8 : (i + CHUNK) // 8], count=part.size, bitorder="little")
                places = np.flatnonzero(ones)
                part[places] = source[used : used + len(places)]
                used += len(places)
        return made


def as_integers(row: Tensor, out: Tensor) -> None:
    """Magnitudes of numbers as integers in the same order: a float's bits without its sign."""
    torch.bitwise_and(row.view(out.dtype), torch.iinfo(out.dtype).max, out=out)


def integers(values: Tensor) -> np.ndarray:
    """Numbers as integers of the same bits, as numpy lacks some types of floats."""
    return values.view(INTEGERS[values.element_size()]).numpy()


def choose(row: Tensor, magnitudes: Tensor, values: Tensor, packed: Tensor) -> None:
    """Write the numbers with the largest magnitudes, in order, and their bits. magnitudes: is partitioned."""
    order, count = magnitudes.numpy(), len(values)
    order.partition(order.size - count)
    least = order[order.size - count]
    equal_left = count - int(np.count_nonzero(order[order.size - count :] > least))
    source, target, bits, used = integers(row), integers(values), packed.numpy(), 0
    for i in range(0, source.size, CHUNK):
        part = source[i : i + CHUNK]
        size = part & np.iinfo(part.dtype).max
        chosen = size > least
        equal = np.flatnonzero(size == least)[:equal_left]
        chosen[equal] = True
        equal_left -= len(equal)
        ones = np.packbits(chosen, bitorder="little")
        bits[i // 8 : i // 8 + ones.size] = ones
        taken = part[chosen]
        target[used : used + taken.size] = taken
        used += taken.size


def choose_on_device(row: Tensor, magnitudes: Tensor, values: Tensor, packed: Tensor) -> None:
    """The same by torch's own functions."""
    places = magnitudes.topk(len(values), sorted=False).indices.sort().values
    chosen = torch.zeros_like(row, dtype=torch.bool)
    chosen[places] = True
    torch.index_select(row, 0, places, out=values)
    pack_on_device(chosen, packed)


class PrunedConv2d(Pruned, FormedConv2d):
    """A convolution that keeps the largest numbers of its input."""


class PrunedLinear(Pruned, FormedLinear):
    """A linear layer that keeps the largest numbers of its input."""
