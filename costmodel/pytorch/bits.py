"""Masks of one bit per element, packed 8 to a byte in memory order, and gradients masked by them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 1 << 16  # elements processed at a time: they and numpy's temporary bytes stay in the cache
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by size in bytes; numpy lacks bfloat16
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def format_of(x: Tensor) -> torch.memory_format:
    """The memory format of a tensor: channels_last if it is dense in that only, else contiguous."""
    if x.is_contiguous() or x.ndim != 4 or not x.is_contiguous(memory_format=torch.channels_last):
        return torch.contiguous_format
    return torch.channels_last


def dense(x: Tensor) -> bool:
    """Whether a tensor's elements have no gaps in memory, in contiguous or channels_last order."""
    return x.is_contiguous() or x.is_contiguous(memory_format=format_of(x))


def _flat(x: Tensor) -> Tensor:
    """A dense tensor's elements in memory order, as integers of the same size."""
    return x.detach().as_strided((x.numel(),), (1,)).view(INTEGERS[x.element_size()])


def pack(x: Tensor, passes: Callable) -> Tensor:
    """A mask with one bit for each of the n elements of a dense tensor, in ceil(n / 8) bytes.

    A bit is 1 where passes(elements as integers) holds.
    """
    flat = _flat(x)
    packed = torch.empty((flat.numel() + 7) // 8, dtype=torch.uint8, device=x.device)
    if x.device.type != "cpu":
        return pack_on_device(passes(flat), packed)
    source, target = flat.numpy(), packed.numpy()
    for i in range(0, source.size, CHUNK):
        bits = np.packbits(passes(source[i : i + CHUNK]), bitorder="little")
        target[i // 8 : i // 8 + bits.size] = bits
    return packed


def mask(x: Tensor, packed: Tensor, out: Tensor) -> Tensor:
    """x where its bit is 1, else 0, bit for bit; written to out, which may be x and has the memory format of x."""
    source, target = _flat(x), _flat(out)
    if x.device.type != "cpu":
        torch.mul(source, unpack_on_device(packed, source.numel()), out=target)
        return out
    source, target, bits = source.numpy(), target.numpy(), packed.numpy()
    for i in range(0, source.size, CHUNK):
        part = source[i : i + CHUNK]
        ones = np.unpackbits(bits[i // 8 : (i + CHUNK) // 8], count=part.size, bitorder="little")
        np.multiply(part, ones, out=target[i : i + CHUNK])
    return out


def masked(x: Tensor, packed: Tensor, order: torch.memory_format, overwrite: bool = False) -> Tensor:
    """x masked by bits packed in this memory format; overwrite: whether x itself may take the result."""
    there = x.contiguous(memory_format=order)
    return mask(there, packed, there if overwrite or there is not x else torch.empty_like(x))


def has_nan(x: Tensor) -> bool:
    """Whether an element is NaN. On the CPU this allocates no tensor."""
    if x.device.type != "cpu":
        return bool(x.isnan().any())
    flat, infinity = x.detach().view(INTEGERS[x.element_size()]).numpy(), _INFINITY[x.dtype]
    unsigned = flat.view(f"u{flat.itemsize}")
    return bool(flat.max(initial=0) > infinity or unsigned.max(initial=0) > infinity + (1 << 8 * flat.itemsize - 1))


def pack_on_device(bits: Tensor, packed: Tensor) -> Tensor:
    eights = F.pad(bits, (0, 8 * packed.numel() - bits.numel())).view(-1, 8)
    powers = 2 ** torch.arange(8, dtype=torch.uint8, device=bits.device)
    return torch.sum(eights * powers, 1, dtype=torch.uint8, out=packed)


def unpack_on_device(packed: Tensor, elements: int) -> Tensor:
    shifts = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return (packed[:, None] >> shifts & 1).view(-1)[:elements]


# Conditions on integers with the same bits as the floats. The integers of floats from +0.0 up are in the floats' order,
# with NaN above infinity. Those of negative floats are negative: the lowest is -0.0, and they rise with the magnitude.


def positive(bits: Tensor) -> Tensor:
    return bits > 0


def above_0(dtype: torch.dtype) -> Callable:
    """x > 0 or x is NaN, that is: not x <= 0."""
    minus_infinity = _MINUS_INFINITY[dtype]
    return lambda bits: (bits > minus_infinity) & (bits != 0)


def not_negative(dtype: torch.dtype) -> Callable:
    """x is +0.0 or above; neither -0.0 nor NaN."""
    infinity = _INFINITY[dtype]
    return lambda bits: (bits >= 0) & (bits <= infinity)


def between_0_and_6(dtype: torch.dtype) -> Callable:
    six = _SIX[dtype]
    return lambda bits: (bits > 0) & (bits < six)


def within_3(dtype: torch.dtype) -> Callable:
    """-3 < x < 3."""
    three, magnitude = _THREE[dtype], torch.iinfo(INTEGERS[dtype.itemsize]).max
    return lambda bits: (bits & magnitude) < three


def _as_integers(value: float) -> dict:
    return {dtype: torch.tensor(value, dtype=dtype).view(INTEGERS[dtype.itemsize]).item() for dtype in DTYPES}


_THREE, _SIX = _as_integers(3.0), _as_integers(6.0)
_INFINITY, _MINUS_INFINITY = _as_integers(torch.inf), _as_integers(-torch.inf)
