"""Where the rules for oneDNN's convolutions (onednn.py) hold: found by measuring random convolutions.

Outside, kernels search among ways that differ little, or PyTorch takes other paths. Where kernels only pad further than
the rule says, what the rule gives is the least that they allocate. tests/ops/test_kernels.py draws random calls on 1, 2
and 4 threads and in both memory formats, and holds both.
"""

from __future__ import annotations

from typing import Any

from ..sizes.size import Shape
from .onednn_facts import Facts

WIDEST = 7  # kernels up to this width were studied
WIDEST_PATCH = 16  # and patches, kernels as wide as their stride without padding, up to this one
STUDIED = 2  # threads; of more, how many copy an image of a strided convolution, say, is estimated
MOST = 1536  # channels of a convolution in channels_last that were studied
MANY = 256  # products of more channels may take blocks of 3 vectors too, if strided or on several threads
MANYS_WHOLE = 192
FEW = 3  # depthwise convolutions of so few channels take the kernels for images
COLOURS = 4  # channels of images at most; of these, kernels of WIDEST_OF_IMAGES were studied
WIDEST_OF_IMAGES = 5


def within(facts: Facts, y: Shape, x: Shape) -> Any:
    """Whether the rules hold for a convolution, with an output and an input of these shapes."""
    if pads_further(facts) or _has_many(facts):
        return False
    found = bounded(facts, y, x)
    if facts.flat and facts.kernel[0] != facts.kernel[1]:  # a map of one line is in several memory formats
        found = found & (y[2] > 1) & (y[3] > 1)
    if _takes_whole_lines(facts):
        found = found & (x[3] > facts.kernel[1])
    return found


def bounded(facts: Facts, y: Shape, x: Shape) -> Any:
    """Whether a convolution allocates at least what the rules say."""
    if not _of_known_form(facts) or facts.area > 1 and _has_many(facts):
        return False
    if max(facts.padding) > 1 and not facts.depthwise:  # what lies beside a map narrower than that is passed over
        wide = (y[2] >= facts.padding[0]) & (y[3] >= facts.padding[1])
        return _bounded(facts, y, x) & wide
    return _bounded(facts, y, x)


def _bounded(facts: Facts, y: Shape, x: Shape) -> Any:
    gradient = "x" in facts.demanded
    # A map of one pixel is in both memory formats at once.
    maps, maps_out = x[2] * x[3] > 1, y[2] * y[3] > 1
    if facts.depthwise:
        if facts.flat and not facts.demanded:
            return maps | facts.told
        same = all(k % 2 == 1 and p in (0, k // 2) for k, p in zip(facts.kernel, facts.padding))
        square = same and facts.kernel[0] == facts.kernel[1]
        known = not facts.kept or facts.inputs > FEW and (square or _window(facts))
        if facts.flat and facts.kept and facts.threads > STUDIED:
            return False  # how many of them share a channels_last image is estimated
        # On smaller channels_last maps kernels of 3x3 allocate many times more.
        lowest = facts.least_height() if facts.kept and max(facts.kernel) <= 3 else 3
        return known & (x[2] >= lowest) & (x[3] > 2) if facts.flat else known
    if facts.groups > 1:
        known = facts.block() > 0 and not (facts.strided and gradient)
        return known and maps if facts.flat else known
    if min(facts.inputs, facts.outputs) == 1 and (facts.flat or facts.strided and gradient):
        return False  # one channel is in both memory formats too
    if facts.strided and gradient:
        whole_lines = True
        if min(facts.kernel) == 1 or facts.threads > 1:  # lines that the stride does not divide may be copied in parts
            whole_lines = x[3] % facts.stride[1] == 0
        return maps & maps_out & whole_lines
    return True if facts.area == 1 and not facts.flat else maps


def _has_many(facts: Facts) -> bool:
    """Whether a convolution in channels_last has more channels than were studied."""
    return facts.flat and max(facts.inputs, facts.outputs) > MOST


def pads_further(facts: Facts) -> bool:
    """Whether a convolution may pad its channels to more than one vector.

    Kernels that write channels_last maps do; PyTorch asks for such maps in the input's gradient of dense strided ones.
    """
    if facts.depthwise:
        return False
    if facts.flat and not facts.demanded and _of_images(facts) and facts.k == 4 * facts.lanes:
        return False  # four vectors at once, or one after the other
    gradient = "x" in facts.demanded
    written = [facts.k] * facts.flat + [facts.c] * (gradient and (facts.flat or facts.strided))
    whole = 64 if facts.lanes == 16 else 96
    searched = facts.pixelwise and facts.groups == 1 and (facts.strided or facts.threads > 1)
    if searched and any(channels > MANY for channels in written):
        whole = MANYS_WHOLE
    return any(channels > 2 * facts.lanes and channels % whole for channels in written)


def _takes_whole_lines(facts: Facts) -> bool:
    """Whether a kernel of AVX512 takes more for a map in channels_last that is as wide as the window."""
    unpadded = facts.padding[1] == 0 and facts.stride[1] == facts.kernel[1]
    return facts.flat and facts.lanes == 16 and unpadded and facts.area > 1 and not facts.depthwise


def _of_images(facts: Facts) -> bool:
    """Whether it is a convolution of images, of a kernel that was studied."""
    return facts.groups == 1 and facts.c <= COLOURS and 1 < min(facts.kernel) and max(facts.kernel) <= WIDEST_OF_IMAGES


def _of_known_form(facts: Facts) -> bool:
    """Whether convolutions of this kernel were studied, whatever their channels and sizes."""
    if facts.dilated or any(p > k // 2 for p, k in zip(facts.padding, facts.kernel)):
        return False
    if facts.area == 1 and facts.groups > 1 and (facts.threads == 1 or facts.flat):
        return False  # products of groups, one after the other
    if facts.threads > STUDIED and facts.strided and not facts.depthwise:
        if "x" in facts.demanded or facts.pixelwise:
            return False  # how many threads copy an image, or its pixels, is estimated
    even = any(k % 2 == 0 for k in facts.kernel) and not _patch(facts) and not _window(facts)
    if facts.threads > 1 and "weight" in facts.demanded and even:
        return False
    return max(facts.kernel) <= (WIDEST_PATCH if _patch(facts) else WIDEST)


def _window(facts: Facts) -> bool:
    """Whether it makes the gradient of some columns of a depthwise weight (ops/_gradients.py).

    Studied with AVX512 and AVX2, of 5 or 7 rows: contiguous ones on up to 8 threads, channels_last ones on up to
    STUDIED (tests/pytorch/test_windows.py; with ONEDNN_MAX_CPU_ISA=AVX2 for isa=avx2).
    """
    columns = facts.depthwise and not any(facts.padding) and facts.kernel[1] <= 3 < facts.kernel[0]
    return columns and facts.demanded == ("weight",)


def _patch(facts: Facts) -> bool:
    return facts.kernel == facts.stride and facts.padding == (0, 0) and not facts.flat
