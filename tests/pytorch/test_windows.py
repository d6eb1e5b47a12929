"""Gradients of depthwise weights in windows of columns: what they are, what they allocate, and where they are made."""

import random
from itertools import accumulate

import pytest
import torch
from torch import nn

from costmodel.ops._gradients import WINDOWS, OwnGradients
from costmodel.ops.lean_folded import FoldedConv2d
from costmodel.ops.remade import RemakingConv2d
from costmodel.pytorch.allocations import trace
from costmodel.pytorch.lean.gradients import gradients
from costmodel.pytorch.lean.products import IS_X86
from costmodel.pytorch.lean.windows import has_windows, in_windows
from costmodel.targets.setting import Setting
from costmodel.targets.texts import of_text

pytestmark = pytest.mark.skipif(not IS_X86, reason="elsewhere stock kernels make all")
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def case(kernel=5, stride=1, size=7, layout=torch.contiguous_format, channels=24, batch=3, padding=None):
    """An input, a depthwise weight, a gradient of the output, and the options."""
    options = ((stride, stride), (kernel // 2 if padding is None else padding,) * 2, (1, 1), channels)
    x = torch.randn(batch, channels, size, size).contiguous(memory_format=layout)
    weight = torch.randn(channels, 1, kernel, kernel).contiguous(memory_format=layout)
    return x, weight, torch.randn_like(nn.functional.conv2d(x, weight, None, *options)), options


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("kernel, stride, size, padding", [
    (5, 1, 7, 2), (5, 2, 8, 2), (5, 2, 7, 2), (5, 1, 2, 2), (5, 1, 9, 0), (5, 1, 4, 4), (7, 1, 14, 3), (7, 2, 9, 3),
    (7, 1, 3, 3),
])  # fmt: skip
def test_it_is_the_gradient(kernel, stride, size, padding, layout):
    x, weight, g, options = case(kernel, stride, size, layout, padding=padding)
    assert has_windows(g, x, weight, options)
    exact = nn.grad.conv2d_weight(x.double(), weight.shape, g.double(), *options)
    made = in_windows(g, x, weight, options)
    assert made.stride() == weight.stride()
    torch.testing.assert_close(made.double(), exact, rtol=1e-5, atol=1e-5 * exact.abs().max().item())


def test_with_those_of_input_and_bias():
    x, weight, g, options = case()
    x.requires_grad_(), weight.requires_grad_()
    bias = torch.zeros(24, requires_grad=True)
    expected = torch.autograd.grad(nn.functional.conv2d(x, weight, bias, *options), (x, weight, bias), g)
    with torch.no_grad():
        for found, gradient in zip(gradients(g, x, weight, options, [True] * 3, biased=True), expected):
            torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("changed", [{"kernel": 3}, {"size": 1}, {"layouts": True}, {"dtype": True}, {"groups": True}])
def test_what_has_none(changed):
    x, weight, g, options = case(changed.get("kernel", 5), size=changed.get("size", 7))
    if "layouts" in changed:
        g = g.contiguous(memory_format=torch.channels_last)
    if "dtype" in changed:
        x, weight, g = (t.double() for t in (x, weight, g))
    if "groups" in changed:
        weight, options = torch.randn(24, 2, 5, 5), (*options[:3], 12)
    assert not has_windows(g, x, weight, options)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("kernel, stride, size", [(5, 1, 7), (5, 2, 14), (5, 1, 28), (7, 1, 14), (7, 2, 15)])
@pytest.mark.parametrize("channels, threads", [(24, 1), (72, 1), (40, 2), (96, 2)])
@pytest.mark.parametrize("wanted", [(True, True), (False, True)], ids=str)
def test_its_bytes(kernel, stride, size, layout, channels, threads, wanted):
    """What is allocated is what is said, on one thread and on two."""
    x, weight, g, options = case(kernel, stride, size, layout, channels, batch=4)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            deltas = trace(lambda: gradients(g, x, weight, options, [*wanted, False], biased=False)).deltas
    finally:
        torch.set_num_threads(before)
    results = 4 * (weight.numel() + x.numel() * wanted[0])
    conv = RemakingConv2d(channels, channels, kernel, stride, kernel // 2, groups=channels)
    setting = Setting(target(threads, layout), 4, True, ("x", "weight")[not wanted[0] :])
    if not setting.target.is_modelled:
        pytest.skip("another machine's kernels")
    assert OwnGradients.modelled(conv, setting, tuple(g.shape), tuple(x.shape))
    assert max(accumulate(deltas)) == results + conv.kernels(setting, tuple(g.shape), tuple(x.shape))[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_bytes_of_many_windows(seed):
    """Where the rules are said to hold they do: calls drawn at random, on up to 8 threads."""
    drawn, threads = random.Random(seed), torch.get_num_threads()
    held = 0
    try:
        for _ in range(200):
            kernel, stride, size = (
                drawn.choice((5, 7)),
                drawn.choice((1, 2)),
                drawn.choice((2, 3, 4, 7, 14, 16, 28, 31)),
            )
            channels, batch = drawn.choice((4, 5, 16, 24, 40, 72, 96, 120, 200)), drawn.choice((1, 2, 3, 8))
            layout, number = drawn.choice(LAYOUTS), drawn.choice((1, 2, 3, 4, 8))
            x, weight, g, options = case(kernel, stride, size, layout, channels, batch)
            torch.set_num_threads(number)
            deltas = trace(lambda x=x, g=g, w=weight, o=options: in_windows(g, x, w, o)).deltas
            conv = RemakingConv2d(channels, channels, kernel, stride, kernel // 2, groups=channels)
            call = Setting(target(number, layout), 4, True, ("weight",)), tuple(g.shape), tuple(x.shape)
            if OwnGradients.modelled(conv, *call):
                held += 1
                assert max(accumulate(deltas)) == 4 * weight.numel() + conv.kernels(*call)[1]
    finally:
        torch.set_num_threads(threads)
    assert held > 100 or not call[0].target.is_modelled


def test_windows_cover_each_column_once():
    for columns, windows in WINDOWS.items():
        assert [start + i for start, width in windows for i in range(width)] == [*range(columns)]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_folded_pointwise_convolution_of_contiguous_maps_has_no_scratch(threads):
    setting = Setting(of_text(f"cpu,threads={threads},isa=avx2"), 4, False, ())
    scratch = FoldedConv2d(16, 32, 1).scratch(setting, (4, 32, 14, 14), (4, 16, 14, 14)).forward
    assert scratch == 4 * (32 * 16 + 32)  # scaled weight, and bias


def target(threads, layout):
    """This machine as a target."""
    return of_text(f"cpu,threads={threads}" + (",channels_last" if layout is torch.channels_last else ""))
