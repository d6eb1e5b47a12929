"""Pointwise convolutions as products of matrices: where they are made, what they give, and what they allocate."""

import pytest
import torch
from torch import nn

from costmodel.ops.lean import LeanConv2d
from costmodel.pytorch import realize
from costmodel.pytorch.allocations import trace
from costmodel.pytorch.lean import products
from costmodel.pytorch.lean.gradients import gradients
from costmodel.pytorch.lean.products import IS_X86, is_product, is_weight_product, product, weight_product
from costmodel.targets import parse
from costmodel.targets.machine import OF_ARM
from costmodel.targets.setting import Setting

PLAIN = ((1, 1), (0, 0), (1, 1), 1)
LAYOUTS = [torch.contiguous_format, torch.channels_last]
on_x86 = pytest.mark.skipif(not IS_X86, reason="elsewhere stock kernels make all")


def case(size=5, dtype=torch.float64, batch=3, inputs=8, outputs=6):
    """An input, a pointwise weight, a bias and a gradient of the output."""
    x, g = (torch.randn(batch, channels, size, size, dtype=dtype) for channels in (inputs, outputs))
    return x, torch.randn(outputs, inputs, 1, 1, dtype=dtype), torch.randn(outputs, dtype=dtype), g


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_product_is_the_convolution(size, batch, layout):
    x, weight, bias, g = case(size, batch=batch)
    x, g = (t.contiguous(memory_format=layout) for t in (x, g))
    assert product(x, weight.flatten(1)).is_contiguous(memory_format=layout)
    for shift in (None, bias):
        torch.testing.assert_close(product(x, weight.flatten(1), shift), nn.functional.conv2d(x, weight, shift))
    torch.testing.assert_close(product(g, weight.flatten(1).t()), nn.functional.conv_transpose2d(g, weight))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("wanted", [(1, 0, 0), (1, 1, 0), (1, 1, 1), (0, 1, 1), (1, 0, 1)], ids=str)
@pytest.mark.parametrize("size", [1, 5])
def test_gradients_are_torchs(size, wanted, layout, one_thread):
    x, weight, bias, g = (t.requires_grad_() for t in case(size))
    x, g = (t.detach().contiguous(memory_format=layout) for t in (x, g))
    y = nn.functional.conv2d(x.requires_grad_(), weight, bias)
    expected = torch.autograd.grad(y, (x, weight, bias), g)
    with torch.no_grad():
        found = gradients(g, x, weight, PLAIN, [bool(one) for one in wanted], biased=True)
    for one, gradient, made in zip(wanted, expected, found):
        assert (made is not None) == bool(one)
        if one:
            torch.testing.assert_close(made, gradient, rtol=1e-12, atol=1e-12)


@on_x86
@pytest.mark.parametrize("changed, expected", [
    ({}, True), ({"dtype": torch.float32}, True), ({"dtype": torch.bfloat16}, False),
    ({"layout": True, "size": 1}, True), ({"stride": (2, 2)}, False), ({"padding": (1, 1)}, False),
])  # fmt: skip
def test_what_is_a_product(changed, expected):
    x, weight, *_ = case(changed.get("size", 5), changed.get("dtype", torch.float64))
    x = x.contiguous(memory_format=torch.channels_last) if "layout" in changed else x
    options = (changed.get("stride", (1, 1)), changed.get("padding", (0, 0)), (1, 1), 1)
    assert is_product(x, weight, options) == expected
    assert not is_product(x, weight[:, :4], (*options[:3], 2))  # two groups
    assert not is_product(x, torch.randn(6, 8, 3, 3, dtype=x.dtype), options)


@on_x86
def test_maps_of_channels_last_are_multiplied_on_one_thread_alone(one_thread):
    x, weight, _, g = case()
    last_x, last_g = (t.contiguous(memory_format=torch.channels_last) for t in (x, g))
    assert is_product(last_x, weight, PLAIN) and is_product(last_x, weight, PLAIN, last_g)
    assert not is_product(last_x, weight, PLAIN, g) and not is_product(x, weight, PLAIN, last_g)
    torch.set_num_threads(2)  # then oneDNN's own kernel is as fast
    assert not is_product(last_x, weight, PLAIN) and is_product(x, weight, PLAIN)


@on_x86
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("size", [1, 5])
def test_only_the_result_is_allocated(size, layout, one_thread):
    x, weight, bias, g = case(size, torch.float32)
    x, g = (t.contiguous(memory_format=layout) for t in (x, g))
    with torch.no_grad():
        assert trace(lambda: product(x, weight.flatten(1), bias)).peak == 4 * 3 * 6 * size**2
        found = trace(lambda: gradients(g, x, weight, PLAIN, [True, False, False], biased=False))
    assert found.peak == 4 * 3 * 8 * size**2


def test_autocast_does_not_see_it():
    x, weight, bias, _ = case(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert product(x, weight.flatten(1), bias).dtype is torch.float32


# -- on 64-bit ARM, where the weight's gradient is a product, too ------------------------------------------------------


@pytest.fixture
def as_on_arm(monkeypatch):
    """Lean layers call the kernels that they call there. (What these allocate is the same here: test_neon.py.)"""
    monkeypatch.setattr(products, "OWN", OF_ARM)
    monkeypatch.setattr(products, "DTYPES", [getattr(torch, name) for name in OF_ARM.dtypes])


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("batch, size", [(1, 1), (3, 1), (1, 5), (3, 30)])
def test_the_gradient_of_a_weight_is_torchs(batch, size, layout):
    x, weight, _, g = case(size, batch=batch)
    x, g = (t.contiguous(memory_format=layout) for t in (x, g))
    expected = torch.ops.aten.convolution_backward(
        g, x, weight, [0], *PLAIN[:3], False, [0, 0], 1, [False, True, False]
    )
    torch.testing.assert_close(weight_product(g, x), expected[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size, channels, expected", [
    (7, (320, 1280), True), (14, (96, 576), True), (14, (24, 144), False), (1, (2, 2), True), (112, (16, 96), False),
])  # fmt: skip
def test_contiguous_maps_are_transposed_where_that_takes_less_than_four_times_the_weights(
    size, channels, expected, as_on_arm
):
    inputs, outputs = channels
    assert (size**2 * (inputs + outputs) < 4 * inputs * outputs) == expected
    x, weight, _, g = case(size, torch.float32, 1, inputs, outputs)
    assert is_weight_product(g, x, weight, PLAIN) == expected
    flat = [t.contiguous(memory_format=torch.channels_last) for t in (g, x)]
    assert is_weight_product(*flat, weight, PLAIN)  # whose maps need not be transposed


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize(
    "batch, size, channels", [(2, 4, (8, 16)), (2, 7, (64, 128)), (3, 7, (96, 160)), (2, 1, (8, 6))]
)
def test_a_weights_gradient_allocates_what_is_said(batch, size, channels, last):
    """Beside the weight's gradient: an image's maps, transposed, by way of a block of 60 x 60 where that fits in."""
    inputs, outputs = channels
    x, _, _, g = case(size, torch.float32, batch, inputs, outputs)
    if last:
        x, g = (t.contiguous(memory_format=torch.channels_last) for t in (x, g))
    conv, target = LeanConv2d(inputs, outputs, 1), f"cpu,isa=neon,threads=4,cores=4{',channels_last' * last}"
    setting = Setting(parse(target), 4, True, ("weight",))
    said = conv.scratch(setting, tuple(g.shape), tuple(x.shape)).backward
    assert trace(lambda: weight_product(g, x)).peak - 4 * inputs * outputs == said
    image = 4 * size**2 * (inputs + outputs) + 14_400 * (size**2 * max(channels) >= 3_600)
    assert said == (0 if last or size == 1 else image)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_lean_step_there_has_the_gradients_of_stock(layout, as_on_arm):
    torch.manual_seed(0)
    stock, lean = (realize("mobilenet_v3_small", "full", convention) for convention in ("torch", "lean"))
    lean.load_state_dict(stock.state_dict())
    images = torch.randn(4, 3, 97, 97).contiguous(memory_format=layout)
    found = []
    for module in (stock, lean):
        module.to(memory_format=layout)
        for part in module.modules():
            if isinstance(part, nn.Dropout):
                part.eval()
        nn.functional.cross_entropy(module(images), torch.tensor([1, 2, 3, 4])).backward()
        found.append({path: p.grad for path, p in module.named_parameters()})
    scale = max(gradient.abs().max().item() for gradient in found[0].values())
    for path, gradient in found[0].items():
        torch.testing.assert_close(found[1][path], gradient, rtol=1e-3, atol=1e-4 * scale)
