"""Convolutions that make their standardised weight again: equal to stock layers, and kept is the input alone."""

import copy

import pytest
import torch
from leanlayers import images, kept, layouts, run

from costmodel.pytorch.lean.standardised import LeanStandardisedConv2d
from costmodel.pytorch.lean.weights import Standardised
from costmodel.pytorch.modules import StandardisedConv2d, standardised

SHAPES = [
    dict(kernel_size=3, padding=1),
    dict(kernel_size=1, bias=False),
    dict(kernel_size=5, stride=2, padding=2, groups=8),
    dict(kernel_size=(1, 3), dilation=2, groups=2, bias=False),
]


def pair(layout=torch.contiguous_format, dtype=torch.float64, **shape):
    """(stock, lean), with equal weights, of which one channel's is the same number everywhere."""
    stock = StandardisedConv2d(8, 8, **shape).to(dtype)
    stock.weight.data[3] = 0.25
    lean = LeanStandardisedConv2d(8, 8, **shape).to(dtype)
    lean.load_state_dict(stock.state_dict())
    return stock.to(memory_format=layout), lean.to(memory_format=layout)


@layouts
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_stock_layer(shape, layout):
    stock, lean = pair(layout, **shape)
    x = images(layout=layout, dtype=torch.float64)
    (y, gradients), (stock_y, stock_gradients) = run(lean, x), run(stock, x)
    assert torch.equal(y, stock_y)
    for one, other in zip(gradients, stock_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * other.abs().max().item())
        assert one.isfinite().all() and one.stride() == other.stride()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_float32_it_rounds_no_worse_than_the_stock_layer(shape):
    x, (stock, lean) = images(), pair(dtype=torch.float32, **shape)
    exact = run(copy.deepcopy(stock).double(), x.double())[1]
    theirs, mine = ([(a - b).norm() / a.norm() for a, b in zip(exact, run(m, x)[1])] for m in (stock, lean))
    assert all(one <= 2 * other + 1e-6 for one, other in zip(mine, theirs, strict=True))


def test_it_keeps_the_input_alone():
    stock, lean = pair(**SHAPES[0])
    x = images(dtype=torch.float64).requires_grad_()
    of_weight = 2 * stock.weight.numel() + 2 * 8  # w^ and what it is divided by, with deviation and divisor
    assert kept(stock, x) == 8 * of_weight and kept(lean, x) == 0


@pytest.mark.parametrize("frozen", [("weight",), ("weight", "bias"), ("bias",)])
def test_what_is_frozen_later_gets_no_gradient(frozen):
    stock, lean = pair(**SHAPES[0])
    x = images(dtype=torch.float64)
    for module in (stock, lean):
        for name in frozen:
            getattr(module, name).requires_grad_(False)
    (_, mine), (_, theirs) = run(lean, x), run(stock, x)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    y = x.clone().requires_grad_()
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.data_ptr()) or t, lambda t: t):
        lean(y)
    assert (y.data_ptr() in held) == ("weight" not in frozen)


def test_other_paddings_are_the_stock_layers_and_nothing_is_recorded_without_gradients():
    x = images(dtype=torch.float64)
    for shape in (dict(kernel_size=3, padding="same"), dict(kernel_size=3, padding=1, padding_mode="reflect")):
        stock, lean = pair(**shape)
        assert torch.equal(lean(x), stock(x))
    stock, lean = pair(**SHAPES[0])
    with torch.no_grad():
        assert torch.equal(lean(x), stock(x))


def test_the_weight_is_made_as_the_stock_layer_makes_it():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        raw = torch.randn(6, 4, 3, 3).to(dtype)
        assert torch.equal(Standardised.of(raw).weight, standardised(raw))
