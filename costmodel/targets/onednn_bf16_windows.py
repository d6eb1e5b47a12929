"""Scratch of oneDNN's convolutions of bfloat16 by windows: sums in 32 bits, and copies in pairs of numbers.

Each function repeats what oneDNN 3.12 computes, for one case; the file is named at each. n: images. h, w: of the input,
oh, ow: of the output.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from .onednn_bf16_products import CACHE, FLOAT, ITEM, SUM, VECTOR, divided
from .onednn_formulas import BOOKED, PAGE, up

WHOLE = 48 * 1024  # bytes of the lines of a map up to which a kernel takes a map as a whole


class Window(NamedTuple):
    """A convolution in a setting. inputs, outputs: channels of one group."""

    threads: int
    flat: bool
    groups: int
    inputs: int
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    bias: bool


@cache
def weight_sums(conv: Window, n: int, h: int, w: int, oh: int, ow: int) -> int:
    """Bytes of the scratch of a weight gradient (jit_avx512_core_bf16_conv_kernel.cpp: bwd_weights)."""
    first = conv.inputs < VECTOR and conv.groups == 1
    padded = conv.groups == 1 and not first and not conv.flat
    inputs, outputs = (up(conv.inputs, VECTOR), up(conv.outputs, VECTOR)) if padded else (conv.inputs, conv.outputs)
    width = conv.inputs if first else VECTOR
    left, right = -(-inputs // width), -(-outputs // VECTOR)  # blocks
    (kh, kw), (sh, sw), (ph, pw) = conv.kernel, conv.stride, conv.padding
    after = max(0, (ow - 1) * sw + kw - w - pw), max(0, (oh - 1) * sh + kh - h - ph)  # right and below
    pad = up(max(pw, after[0] + 1), 2)
    copied = not first or conv.flat and conv.inputs > 1
    line = up(-(-w // sw) + pad, 2) * sw if copied else w
    out_line = up(ow, 2)
    together = not (first and outputs * oh * ow >= CACHE // SUM and ow >= 124 and oh > 1)
    lines = ITEM * (width * line + VECTOR * out_line) * max(1, after[1], ph)
    whole = (h, w) == (oh, ow) and 1 not in conv.kernel and conv.stride == (1, 1) and not first
    whole = whole and (ph, pw) == (kh // 2, kw // 2) and lines <= WHOLE and inputs >= 128
    units = n if whole else n * oh
    images, k, c, used = _teams(conv, (inputs, outputs), (left, right, width), (line, out_line), units, (n, h, oh))
    total = ITEM * pad + BOOKED
    if copied:
        total += ITEM * width * line * h * (images * left * conv.groups if together else used)
    total += up_lock(together and k > 1, used // k)
    total += ITEM * VECTOR * out_line * oh * (images * right * conv.groups if together else used) + BOOKED
    total += up_lock(together and c > 1, used // c)
    made = conv.groups * right * VECTOR
    total += SUM * images * (made * left * width * kh * kw + conv.bias * made) + BOOKED
    return total + up_lock(together, 1)


def up_lock(there: bool, number: int) -> int:
    """Bytes of locks, if they are there."""
    return (number * PAGE + PAGE) if there else 0


def _teams(
    conv: Window,
    channels: tuple[int, int],
    blocks: tuple[int, int, int],
    lines: tuple[int, int],
    units: int,
    sizes: tuple[int, int, int],
) -> tuple[int, int, int, int]:
    """Threads that share the images, the outputs and the inputs, and all that work (`balance`)."""
    if conv.threads < conv.groups:
        return 1, 1, 1, conv.threads
    (inputs, outputs), (left, right, width), (line, out_line), (n, h, oh) = channels, blocks, lines, sizes
    threads, area, (sh, sw) = conv.threads // conv.groups, conv.kernel[0] * conv.kernel[1], conv.stride
    x_size, y_size = n * inputs * h * line * ITEM, n * outputs * oh * out_line * ITEM
    scale = FLOAT(0.5) * FLOAT(y_size + x_size) / FLOAT(outputs * inputs * area * SUM)
    ratio = FLOAT(right) / FLOAT(left)
    of_x = max(FLOAT(1) / ratio, FLOAT(1)) * FLOAT(4 if scale < 1 else 1)
    of_y, of_weight = max(ratio, FLOAT(1)), max(scale, FLOAT(1))

    def product(number: Any, *factors: int) -> Any:
        for factor in factors:
            number = number * FLOAT(factor)
        return number

    def data(images: int, k: int, c: int) -> Any:
        mine = -(-units // images)
        x = product(of_x, mine, 1, -(-left // c), n, width, 1, h, line)
        x = x / FLOAT(units) / FLOAT(1) / FLOAT(sh) / FLOAT(sw)
        weight = product(of_weight, 1, -(-right // k), -(-left // c), conv.kernel[0], conv.kernel[1], 1, width, VECTOR)
        y = product(of_y, mine, 1, -(-right // k), n, VECTOR, 1, oh, out_line) / FLOAT(units)
        return x + y + weight

    images, k, c = divided(threads, units, left, right, data)
    if threads // 2 < images < threads:
        images = min(units, threads)
    return images, k, c, images * conv.groups * k * c


@cache
def depthwise_sums(conv: Window, n: int, oh: int) -> int:
    """Bytes of the sums of a depthwise weight gradient (jit_uni_dw_conv_kernel_utils.cpp: bwd_weights)."""
    blocks, made = -(-conv.groups // VECTOR), up(conv.groups, VECTOR)
    area, threads = conv.kernel[0] * conv.kernel[1], conv.threads
    convert = SUM * (conv.groups if conv.flat else made) + BOOKED if conv.bias else 0
    if conv.flat:
        pairs = [(g, m) for g in range(1, min(blocks, threads) + 1) for m in range(1, min(n, threads // g) + 1)]
        images = max(g * m * min(oh, threads // g // m) for g, m in pairs)
        biases = SUM * conv.groups * images + BOOKED if conv.bias else 0
    else:
        images = min(max(1, threads // min(blocks, threads)), n)
        biases = SUM * made * (images - 1) + BOOKED if conv.bias and images > 1 else 0
    return SUM * made * area * images + BOOKED + biases + convert


@cache
def gathered(conv: Window, n: int, oh: int, ow: int) -> int:
    """Bytes of a weight gradient of columns (gemm_convolution_utils.cpp: contiguous, bwd_w)."""
    shared = oh * ow // conv.threads < 256 and (n != 1 or conv.groups > 2)
    threads = conv.threads if shared else 1
    area = conv.kernel[0] * conv.kernel[1]
    weights = ITEM * conv.groups * conv.outputs * conv.inputs * area  # bytes, of which each is booked as a sum
    biases = SUM * conv.groups * conv.outputs + BOOKED if conv.bias else 0
    columns = ITEM * threads * conv.inputs * area * oh * ow + BOOKED
    return SUM * weights * threads + BOOKED + SUM * weights + BOOKED + biases + columns


@cache
def strided_copies(conv: Window, block: int, n: int, h: int, w: int, oh: int, ow: int) -> int:
    """Bytes of the scratch of a strided input's gradient (jit_brgemm_conv_bwd_utils.cpp), by blocks of `block` inputs.

    Each thread copies an image of the output's gradient, with the zeros read around it, and sums up a line.
    """
    threads, stride = conv.threads, conv.stride
    padded = []
    for size, out, reach, padding, step in zip((h, w), (oh, ow), conv.kernel, conv.padding, stride):
        after = max(0, size + padding - 1 - (out - 1) * step)
        padded.append(out + max(0, reach - 1 - padding) // step + after // step)
    uneven = w % stride[1] > 0
    outputs = up(conv.outputs, 2) if uneven else conv.outputs
    tasks = _blocks_of_lines(conv, block, n, h) * conv.groups
    total = threads * up(PAGE, 40) + PAGE  # lists of operands
    total += threads * ITEM * up(padded[0] * padded[1] * conv.groups * outputs, PAGE) + PAGE
    total += threads * up(tasks, PAGE) + PAGE
    line = up(w, stride[1])
    if uneven:
        total += threads * ITEM * up(line * stride[1] * conv.groups * conv.inputs, PAGE) + PAGE
    return total + threads * SUM * block * (line // stride[1]) + PAGE


def _blocks_of_lines(conv: Window, block: int, n: int, h: int) -> int:
    """Blocks of lines of an image that threads share."""
    channels = (conv.groups if conv.inputs > 32 else 1) * conv.inputs
    teams = -(-conv.threads // (n * -(-channels // block)))
    lines, stride = -(-h // teams), conv.stride[0]
    while lines < h and (lines % stride or h % stride == 0 and h % lines):
        lines += 1
    return -(-h // lines)


def strided_block(inputs: int) -> int:
    """Inputs of a block in a strided input's gradient, on small maps; 0 where oneDNN searches among several."""
    padded = up(inputs, VECTOR)
    if padded <= 2 * VECTOR:
        return padded
    if padded % (4 * VECTOR) == 0 and padded < 384:
        return 4 * VECTOR
    return 2 * VECTOR if padded == 3 * VECTOR else 0
