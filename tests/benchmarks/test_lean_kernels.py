"""How fast the kernels are that lean layers call on x86 beside the stock ones, on the maps of mobile networks.

Ratios are printed (`-s`) and recorded (`--junit-xml`), not held: they are one machine's.
"""

import pytest
import torch
from pace import turns

from costmodel.pytorch.lean.gradients import gradients

convolution_backward = torch.ops.aten.convolution_backward.default
BATCH = 8
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def ratio(case, weight, x, y_sides, options, wanted, record):
    """The fastest call's seconds by the clock, of lean layers' over the stock kernels'."""
    stride, padding, dilation, groups = options
    g = torch.randn(BATCH, len(weight), *y_sides)
    if not x.is_contiguous():
        g = g.contiguous(memory_format=torch.channels_last)
    how = ([0], stride, padding, dilation, False, [0, 0], groups, wanted)
    with torch.no_grad():
        stock, lean = turns(
            lambda: convolution_backward(g, x, weight, *how),
            lambda: gradients(g, x, weight, options, wanted, biased=False),
        )
    before, after = min(stock[1]), min(lean[1])
    record("ratio", after / before)
    print(f"\n{case}: {after / before:.2f}, {1000 * after:.2f} ms and not {1000 * before:.2f}")


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("inputs, outputs, side", [
    (16, 96, 112), (24, 144, 56), (144, 24, 56), (192, 32, 28), (64, 384, 14), (576, 96, 14), (160, 960, 7),
    (960, 160, 7), (240, 80, 8), (160, 960, 4),
])  # fmt: skip
def test_the_gradient_of_a_pointwise_convolutions_input(inputs, outputs, side, layout, record_property):
    x = torch.randn(BATCH, inputs, side, side).contiguous(memory_format=LAYOUTS[layout])
    weight = torch.randn(outputs, inputs, 1, 1)
    options = ((1, 1), (0, 0), (1, 1), 1)
    case = f"product, {inputs} to {outputs} at {side}, {layout}"
    ratio(case, weight, x, (side, side), options, [True, False, False], record_property)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels, kernel, stride, side", [
    (72, 5, 2, 56), (120, 5, 1, 28), (240, 5, 1, 28), (672, 5, 2, 14), (960, 5, 1, 7), (576, 7, 1, 14), (960, 5, 1, 4),
])  # fmt: skip
def test_the_gradient_of_a_wide_depthwise_weight(channels, kernel, stride, side, layout, record_property):
    x = torch.randn(BATCH, channels, side, side).contiguous(memory_format=LAYOUTS[layout])
    weight = torch.randn(channels, 1, kernel, kernel).contiguous(memory_format=LAYOUTS[layout])
    options = ((stride, stride), (kernel // 2,) * 2, (1, 1), channels)
    case = f"windows, {channels} of {kernel}x{kernel}, stride {stride}, at {side}, {layout}"
    ratio(case, weight, x, (-(-side // stride),) * 2, options, [False, True, False], record_property)
