"""Lean layers against stock autograd: results, gradients, bytes kept."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from leanlayers import images, keeps_input, kept, layouts, same
from torch import nn

from costmodel.pytorch import lean, modules
from costmodel.pytorch.allocations import trace
from costmodel.pytorch.lean.convolutions import input_gradient
from costmodel.pytorch.lean.like import Like
from costmodel.pytorch.lean.once import once_differentiable

CONVOLUTIONS = {
    "pointwise": (dict(in_channels=8, out_channels=6, kernel_size=1), 5),
    "strided pointwise": (dict(in_channels=8, out_channels=6, kernel_size=1, stride=2), 6),
    "depthwise": (dict(in_channels=8, out_channels=8, kernel_size=3, padding=1, groups=8), 7),
    "strided depthwise": (dict(in_channels=8, out_channels=8, kernel_size=5, stride=2, padding=2, groups=8), 8),
    "grouped": (dict(in_channels=8, out_channels=4, kernel_size=3, stride=2, padding=1, groups=2), 9),
    "dense": (dict(in_channels=3, out_channels=8, kernel_size=3, stride=2, padding=1), 8),
    "dilated": (dict(in_channels=4, out_channels=8, kernel_size=3, padding=2, dilation=2), 8),
    "uneven": (dict(in_channels=4, out_channels=8, kernel_size=(5, 3), stride=(2, 1), padding=(2, 0)), 9),
}
convolutions = pytest.mark.parametrize("options, size", CONVOLUTIONS.values(), ids=list(CONVOLUTIONS))


def moved(norm):
    """A norm with statistics, scale and shift of its own."""
    with torch.no_grad():
        for tensor in (norm.running_var, norm.weight):
            tensor.uniform_(0.5, 2)
        for tensor in (norm.running_mean, norm.bias):
            tensor.normal_()
    return norm


# Convolutions


@layouts
@convolutions
@pytest.mark.parametrize("trains", [(), ("bias",), ("weight",), ("weight", "bias")], ids="+".join)
def test_convolution(options, size, layout, trains):
    stock, layer = nn.Conv2d(**options), lean.LeanConv2d(**options)
    layer.load_state_dict(stock.state_dict())
    for module in (stock, layer):
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in trains)
    x = images(options["in_channels"], size, layout)
    same(layer, stock, x, exact=not layer.makes_gradients and ("bias" not in trains or "weight" in trains))
    x.requires_grad_(True)
    assert keeps_input(layer, x) == ("weight" in trains)
    assert kept(layer, x) == 0


@convolutions
def test_convolution_without_bias_and_batch_of_one(options, size):
    stock, layer = nn.Conv2d(bias=False, **options), lean.LeanConv2d(bias=False, **options)
    layer.load_state_dict(stock.state_dict())
    for module in (stock, layer):
        module.requires_grad_(False)
    same(layer, stock, images(options["in_channels"], size, batch=1))


@convolutions
def test_convolution_elsewhere_than_on_the_cpu(options, size, monkeypatch):
    """The formula for other devices, which needs no input at all."""
    layer = nn.Conv2d(**options).requires_grad_(False)
    x = images(options["in_channels"], size).requires_grad_(True)
    y = layer(x)
    g = torch.randn_like(y)

    class Elsewhere(torch.Tensor):
        device = torch.device("cuda")

    options = (layer.stride, layer.padding, layer.dilation, layer.groups)
    found = input_gradient(g.as_subclass(Elsewhere), layer.weight, Like(x), options)
    torch.testing.assert_close(found.as_subclass(torch.Tensor), *torch.autograd.grad(y, x, g))


@convolutions
@pytest.mark.parametrize("has_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("trains", [False, True], ids=["frozen", "shift trains"])
def test_folded_norm(options, size, has_bias, trains):
    conv, norm = nn.Conv2d(bias=has_bias, **options), moved(modules.FrozenBatchNorm2d(options["out_channels"]))
    stock = nn.Sequential(conv, norm).double().requires_grad_(False)
    folded = copy.deepcopy(stock)
    lean.fold(*folded)
    if trains:
        for module in (stock, folded):
            module[1].bias.requires_grad_(True)
            if has_bias:
                module[0].bias.requires_grad_(True)
    x = images(options["in_channels"], size, dtype=torch.float64)
    same(folded, stock, x, exact=False)
    assert kept(folded, x.requires_grad_(True)) == 0
    assert folded.state_dict().keys() == stock.state_dict().keys()


def test_folded_norm_survives_copies_moves_and_loading():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), moved(nn.BatchNorm2d(8))).requires_grad_(False)
    lean.fold(*net)
    other = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), moved(nn.BatchNorm2d(8))).eval()
    twin = copy.deepcopy(net)
    assert twin[0].norm is twin[1] and twin[1] is not net[1]
    twin.load_state_dict(other.state_dict())
    twin.train().double().to(memory_format=torch.channels_last)
    x = images(3, 6)
    torch.testing.assert_close(twin(x.double()).float(), other(x))
    assert not torch.allclose(net(x), other(x))
    file = io.BytesIO()
    torch.save(twin, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert again[0].norm is again[1]
    torch.testing.assert_close(again(x.double()), twin(x.double()))


def test_folded_convolution_refuses_to_train():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    lean.fold(*net)
    with pytest.raises(RuntimeError, match="frozen weight and scale"):
        net(images(3))
    with pytest.raises(ValueError, match="zero padding"):
        lean.fold(nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8))


# The shift-only norm


@layouts
@pytest.mark.parametrize("inplace", [False, True], ids=["out of place", "in place"])
@pytest.mark.parametrize("size", [7, 1])
def test_shift_norm(inplace, layout, size):
    stock = moved(modules.FrozenBatchNorm2d(6))
    layer = lean.ShiftNorm2d(6, inplace=inplace)
    layer.load_state_dict(stock.state_dict())
    for module in (stock, layer):
        module.weight.requires_grad_(False)
        module.train()
    x = images(6, size, layout)
    same(layer, stock, x, exact=False, inplace=True)
    y = x.clone()
    assert torch.equal(layer(y), stock(x)) and (layer(y).data_ptr() == y.data_ptr()) == inplace
    assert kept(layer, x.requires_grad_(True).mul(1)) == 0
    layer.weight.requires_grad_(True)
    same(layer, copy.deepcopy(layer), x, inplace=True)


def test_shift_norm_without_gradient_of_its_input():
    layer = moved(lean.ShiftNorm2d(6, inplace=True))
    layer.weight.requires_grad_(False)
    x = images(6)
    g = torch.randn_like(x)
    (gradient,) = torch.autograd.grad(layer(x), layer.bias, g)
    torch.testing.assert_close(gradient, g.sum((0, 2, 3)))


def test_gradients_in_float64():
    norm = moved(lean.ShiftNorm2d(4)).double()
    norm.weight.requires_grad_(False)
    conv = lean.LeanConv2d(4, 6, 3, stride=2, padding=1, groups=2).double()
    conv.weight.requires_grad_(False)
    pools = [lean.LeanAvgPool2d(2), lean.LeanAdaptiveAvgPool2d((2, 3)), lean.LeanMaxPool2d(3, 2, 1)]
    x = images(4, 5, dtype=torch.float64, batch=2).requires_grad_(True)
    for module in (norm, conv, *pools, *(lean.MaskedActivation(kind) for kind in ("relu", "relu6", "hardsigmoid"))):
        assert torch.autograd.gradcheck(module, (x * 3 if isinstance(module, lean.MaskedActivation) else x,))


# Masks


# Dropout


# Pooling

POOLS = {
    "average": (lean.LeanAvgPool2d, nn.AvgPool2d, dict(kernel_size=2), 0),
    "padded average": (lean.LeanAvgPool2d, nn.AvgPool2d, dict(kernel_size=3, stride=2, padding=1, ceil_mode=True), 0),
    "max": (lean.LeanMaxPool2d, nn.MaxPool2d, dict(kernel_size=3, stride=2, padding=1), 8),
    "adaptive": (lean.LeanAdaptiveAvgPool2d, nn.AdaptiveAvgPool2d, dict(output_size=(2, 3)), 0),
    "global": (lean.LeanAdaptiveAvgPool2d, nn.AdaptiveAvgPool2d, dict(output_size=1), 0),
}


@layouts
@pytest.mark.parametrize("lean_type, stock_type, options, index_bytes", POOLS.values(), ids=list(POOLS))
def test_pooling(lean_type, stock_type, options, index_bytes, layout):
    x = images(5, 9, layout)
    layer = lean_type(**options)
    same(layer, stock_type(**options), x)
    x.requires_grad_(True)
    assert kept(layer, x) == index_bytes * layer(x).numel() and not keeps_input(layer, x)


# Slices


@layouts
@pytest.mark.parametrize("slices", [1, 2, 3, 4, 7, 9])
def test_slices(slices, layout):
    net = nn.Conv2d(3, 8, 3)
    seen = []
    net.register_forward_hook(lambda module, args, y: seen.append(len(args[0])))
    x = images(3, 6, layout, batch=7)
    y = modules.sliced(net, x, slices)
    size = -(-7 // slices)
    assert seen == [size] * (7 // size) + ([7 % size] if 7 % size else [])
    assert not y.requires_grad and y.is_contiguous(memory_format=layout)
    torch.testing.assert_close(y, net(x))


# What stays allocated is what is saved


@layouts
def test_level_after_forward_is_what_is_saved(layout):
    net = nn.Sequential(
        lean.LeanConv2d(4, 8, 3, padding=1, bias=False),
        lean.ShiftNorm2d(8, inplace=True),
        lean.MaskedActivation("relu6", inplace=True),
        lean.LeanAvgPool2d(2),
        lean.MaskedActivation("hardswish", signed=True, inplace=True),
        lean.LeanConv2d(8, 8, 3, groups=8),
        lean.PackedDropout(0.3, inplace=True),
        lean.LeanMaxPool2d(2, 1),
    ).to(memory_format=layout)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
    x = images(4, 13, layout)
    net(x).sum().backward()
    y = net(x)
    bits = -(-3 * 8 * 13 * 13 // 8) + -(-3 * 8 * 6 * 6 // 8) + -(-3 * 8 * 4 * 4 // 8)
    assert kept(net, x) == bits + 8 * y.numel()
    assert trace(lambda: net(x)).left == bits + 8 * y.numel() + 4 * y.numel()


def test_a_second_derivative_is_refused():
    """Also where autograd records the backward pass, whose guard is asked for only then."""
    layer = lean.LeanConv2d(8, 8, 1).requires_grad_(False)
    x = images().requires_grad_(True)
    (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        gradient.sum().backward()


def test_a_backward_pass_that_is_recorded_is_guarded():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            assert not torch.is_grad_enabled()
            return 2 * g

    x = torch.ones(2, requires_grad=True)
    assert torch.autograd.grad(Doubled.apply(x).sum(), x)[0].tolist() == [2, 2]
    (gradient,) = torch.autograd.grad(Doubled.apply(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        gradient.sum().backward()


def test_stand_ins_share_memory():
    sizes = [(2, 3, 4, 4), (8, 3, 4, 4), (2, 3, 4, 4)]
    made = [Like(torch.empty(size)).tensor() for size in sizes]
    assert [tuple(one.shape) for one in made] == sizes
    assert made[0] is made[2]
