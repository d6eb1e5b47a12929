"""Scratch memory of convolutions, against the allocator's events in real calls (torch 2.13, oneDNN 3.12)."""

import json
from pathlib import Path

import numpy as np
import pytest

from costmodel.ops.conv import Conv2d
from costmodel.targets import parse
from costmodel.targets.onednn import ConvolutionScratch
from costmodel.targets.setting import Setting

MEASURED = json.loads((Path(__file__).parent / "data" / "convolutions.json").read_text())
MASKS = {
    "forward": (), "100": ("x",), "010": ("weight",), "001": ("bias",), "110": ("x", "weight"),
    "111": ("x", "weight", "bias"),
}  # fmt: skip
# For each target: the least share of measured calls that are exact, and the largest error of the others, relative to
# the highest level. Inexact are: on many threads how many of them copy the pixels that a strided product reads, and in
# channels_last the number of channels to which weights are padded (assumed is the nearest multiple of the vector
# length; oneDNN may take up to 64). Where the rules are said to hold, all are exact.
BOUNDS = {
    "cpu,isa=avx512,threads=1": (1, 0),
    "cpu,isa=avx512,threads=2": (1, 0),
    "cpu,isa=avx512,threads=4": (1, 0),
    "cpu,isa=avx512,threads=16": (0.99, 0.08),
    "cpu,isa=avx2,threads=2": (1, 0),
    "cpu,isa=avx512,threads=1,channels_last": (1, 0),
    "cpu,isa=avx512,threads=2,channels_last": (0.9, 0.25),
    "cpu,isa=avx512,threads=4,channels_last": (0.9, 0.6),
    "cpu,isa=avx2,threads=2,channels_last": (0.9, 0.25),
}


def transients(conv, x, target, demanded=("x", "weight")):
    """Bytes beyond the results, forward and backward."""
    setting = Setting(parse(target), 4, True, demanded)
    assert isinstance(setting.target.convolution(conv, setting), ConvolutionScratch) or target in ("none", "cuda")
    found = conv.scratch(setting, conv.shape(x), x)
    return found.forward, found.backward


def cases(target):
    """(convolution, input's shape, what is asked for, bytes beyond the results)."""
    for x, out, kernel, stride, padding, groups, bias, levels, masks in MEASURED[target]:
        conv = Conv2d(x[1], out, tuple(kernel), stride, padding, 1, groups, bool(bias))
        for mask, level in zip(masks.split(), levels):
            yield conv, tuple(x), mask, level


def results(conv, x, mask):
    """Bytes of what the call returns."""
    if mask == "forward":
        return 4 * np.prod(conv.shape(x))
    weight = conv.out_channels * conv.in_channels // conv.groups * conv.kernel[0] * conv.kernel[1]
    return 4 * sum(int(m) * size for m, size in zip(mask, (np.prod(x), weight, conv.out_channels)))


# -- the arithmetic spelled out, map by map ----------------------------------------------------------------


def test_product_on_blocks():
    """16 -> 96 channels, 1x1, on 112x112; one image. Channels come in whole blocks: copies are as large as tensors."""
    conv, x = Conv2d(16, 96, 1), (1, 16, 112, 112)
    gx, gy, w = 4 * 16 * 112**2, 4 * 96 * 112**2, 4 * 16 * 96
    # Forward +x' +w' +y' -w' -x', then +y -y': either x', w' and y' without y, or y' beside y.
    # The input's gradient +gy' +w' +gx' -w' -gy', then +gx -gx'. The weight's, beside gx: +gy' +x' +gw' and scratch;
    # 12544 pixels are many more than channels: both threads share them, and one sums up weights of its own.
    sums = w + 128 + 2 * 4096
    forward, backward = transients(conv, x, "cpu,isa=avx512,threads=2")
    assert forward == max(gx + w, gy)
    assert backward == gx + gy + w + gx + sums - (gx + w)
    # One thread leaves so plain a product to PyTorch's own loops, and they need nothing.
    assert transients(conv, x, "cpu,isa=avx512,threads=1") == (0, 0)


def test_padding_to_blocks():
    """24 channels are copied into two blocks of 16 with AVX512, and into three of 8 with AVX2."""
    conv, x, pixel = Conv2d(24, 24, 3, padding=1, groups=24), (2, 24, 28, 28), 4 * 2 * 28**2
    assert transients(conv, x, "cpu,isa=avx512,threads=1", ()) == (2 * 32 * pixel + 4 * 32 * 9 - 24 * pixel, 0)
    assert transients(conv, x, "cpu,isa=avx2,threads=1", ()) == (24 * pixel + 4 * 24 * 9, 0)


def test_an_image_is_read_in_place():
    """The first convolution of a network: three channels are too few to be worth a copy."""
    conv, x, y = Conv2d(3, 32, 3, stride=2, padding=1), (1, 3, 224, 224), 4 * 32 * 112**2
    # +w' +y' -w' +y -y'; the weights' gradient +gy' +gw' -gy' +gw -gw', and gw' is as large as gw.
    assert transients(conv, x, "cpu,isa=avx512,threads=1", ("weight",)) == (y, y)


def test_large_depthwise_weight_gradient():
    """A 5x5 depthwise weight gradient gathers columns: weights four times, columns of one channel of one image."""
    conv, x = Conv2d(96, 96, 5, padding=2, groups=96), (2, 96, 28, 28)
    weights = 4 * 96 * 25
    # +gw' +scratch -scratch +gw -gw'
    scratch = (4 * weights + 128) + (4 * 25 * 28**2 + 128)
    assert transients(conv, x, "cpu,isa=avx512,threads=1", ("weight",))[1] == weights + scratch - weights
    # In channels_last a kernel for dense weights takes it: each is padded to 16x16. Then +gw +gw, one of either layout.
    target = "cpu,isa=avx512,threads=1,channels_last"
    assert transients(conv, x, target, ("weight",))[1] == 256 * weights + 2 * weights - weights


def test_loops_of_pytorch():
    """A single small dense image is gathered into columns, in the forward pass and for the weights' gradient."""
    conv, x, columns = Conv2d(8, 4, 3, padding=1), (1, 8, 20, 20), 4 * 8 * 9 * 400
    assert transients(conv, x, "cpu,threads=2") == (columns, columns)
    assert transients(conv, x, "cpu,threads=2", ("x",)) == (columns, 0)


def test_unwanted_weight_gradient():
    """oneDNN computes the weights' gradient with the bias's, wanted or not; an unwanted one is freed at once."""
    conv, x = Conv2d(8, 16, 3, bias=True), (2, 8, 9, 9)
    assert transients(conv, x, "none", ("bias",)) == (0, 4 * 16 * 8 * 9)
    assert transients(conv, x, "none", ("weight", "bias")) == transients(conv, x, "cuda", ("bias",)) == (0, 0)
    assert transients(conv, (1, 8, 9, 9), "none", ("bias",)) == (0, 0)  # its own loops do not


# -- measured ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", MEASURED)
def test_measured(target):
    exact = worst = total = 0
    for conv, x, mask, level in cases(target):
        predicted = transients(conv, x, target, MASKS[mask])[mask != "forward"]
        total += 1
        exact += predicted == level
        setting = Setting(parse(target), 4, True, MASKS[mask])
        assert predicted == level or not conv.modelled(setting, conv.shape(x), x), (conv, x, mask)
        worst = max(worst, abs(predicted - level) / (level + results(conv, x, mask)))
    share, error = BOUNDS[target]
    assert exact >= share * total, f"{exact} of {total} are exact"
    assert worst <= error


@pytest.mark.parametrize("target", MEASURED)
def test_a_grid_is_its_cases(target):
    """Each size in an array costs the same as that size alone."""
    batch = np.array([1, 2, 7, 16]).reshape(4, 1)
    side = np.array([9, 12, 33, 64])
    convs = {conv for conv, *_ in cases(target)} | {op for op, _ in Conv2d.examples}
    for conv in sorted(convs, key=str)[::6]:
        for demanded in (("x", "weight", "bias"), ("bias",), ("x",)):
            grid = transients(conv, (batch, conv.in_channels, side, side), target, demanded)
            for (i, j), n in np.ndenumerate(np.broadcast_to(batch, (4, 4))):
                alone = transients(conv, (int(n), conv.in_channels, int(side[j]), int(side[j])), target, demanded)
                assert tuple(int(np.broadcast_to(bytes_, (4, 4))[i, j]) for bytes_ in grid) == alone
                assert all(type(bytes_) is int for bytes_ in alone)
