"""What Arm Compute Library allocates for a convolution's forward pass, on 64-bit ARM without SVE.

oneDNN calls it on channels_last tensors. Its products of matrices have two kernels, and it takes the one for which it
estimates fewer cycles; depthwise convolutions have kernels of their own. The rates are constants of the library, the
same for all cores (src/core/NEON/kernels/arm_gemm: performance_parameters). `cores` are the threads of its scheduler,
which are set when torch is imported. Checked against the allocator's events under emulation, torch 2.13, library 52.6.
"""

from __future__ import annotations

from ..sizes.by_batch import dense
from ..sizes.size import Size, maximum, where
from .onednn_formulas import BOOKED, PAGE, up

ITEM = 4  # bytes of a float32
LINE = 64  # bytes of a line of the cache, to which buffers are rounded up
#: Rows and columns of a product that the kernels compute at a time.
HYBRID, INTERLEAVED = (6, 16), (8, 12)
DEEPEST = 341  # of a product's depth that an interleaved kernel takes at a time: half of a cache of 32 kB
#: Multiply-adds, bytes that are prepared and bytes that are merged, per cycle.
HYBRID_RATE, RATE, PREPARED, MERGED = 13.16, 12.56, 9.83, 3.02
#: (Kernel, stride) of depthwise convolutions with a kernel of their own -> sides of its tiles, of which the first with
#: the fewest pixels is taken.
TILES = {(3, 1): (4, 3, 2), (3, 2): (2,), (5, 1): (2,)}
OTHERS_TILE = 3


def product_bytes(n: Size, pixels: Size, outputs: int, depth: int, cores: int) -> Size:
    """The workspace of the products of n matrices (pixels x depth) with one of weights (depth x outputs).

    The hybrid kernel needs none. The interleaved one copies its whole input in the order in which it reads it, and has
    a result of its own for each core.
    """
    (_, wide), (high, broad) = HYBRID, INTERLEAVED
    columns = up(outputs, broad)
    hybrid = pixels * (up(outputs, wide) * depth / HYBRID_RATE)  # cycles of one image
    if outputs < wide or wide < outputs < 2 * wide:
        hybrid = hybrid * 1.15
    parts = -(-depth // DEEPEST)
    rows = up(pixels, high)
    cycles = rows * (columns * depth / RATE + ITEM * depth / PREPARED) + pixels * (ITEM * parts * columns / MERGED)
    blocks = maximum(n * (rows // high), 1)  # of no images too
    cycles = cycles * maximum(1.0, cores / (0.9 * dense(blocks)))  # few blocks leave cores without work
    each = ITEM * -(-depth // parts)
    alone = (blocks < cores) | (5 * up(blocks, cores) > 6 * blocks)  # cores take columns of one block of rows
    copied = where(alone, each * high * cores, each * rows * n)
    own = up(ITEM * high * columns, LINE)
    return where(hybrid <= cycles, 0, up(copied, LINE) + cores * own + BOOKED + PAGE)


def depthwise_bytes(
    channels: int, kernel: int, stride: int, width: Size, height_out: Size, width_out: Size, cores: int
) -> Size:
    """The workspace of a depthwise convolution: each core's rows of input, and the weights in its own order.

    width: of the input. It depends on neither the batch nor padding nor dilation.
    """
    tiles = TILES.get((kernel, stride))
    if tiles is None:
        side, rows, pointers, own = OTHERS_TILE, 2 * stride + kernel, 72 * kernel**2, kernel**2
        return _depthwise(channels, kernel, width, side, rows, pointers, own, cores)
    found = least = None
    for side in tiles:
        rows = (side - 1) * stride + kernel
        size = _depthwise(channels, kernel, width, side, rows, 8 * rows**2, kernel**2 + 1, cores)
        pixels = up(height_out, side) * up(width_out, side)
        found = size if least is None else where(pixels < least, size, found)
        least = pixels if least is None else where(pixels < least, pixels, least)
    return found


def _depthwise(
    channels: int, kernel: int, width: Size, side: int, rows: int, pointers: int, own: int, cores: int
) -> Size:
    each = 48 + 8 * side**2 + pointers + ITEM * channels * (2 + (rows + kernel) * (width + kernel))
    return cores * each + ITEM * up(channels, 4) * own + 2 * PAGE


def linear_bytes(rows: Size, inputs: int, outputs: int) -> Size:
    """What a linear layer copies while its product runs: its weights, which are transposed, and a single row.

    Weights of one output are in both orders. A product with a matrix that is not transposed copies nothing.
    """
    if outputs == 1:
        return 0
    return ITEM * inputs * up(outputs, 4) + where(rows == 1, ITEM * inputs + BOOKED, 0)
