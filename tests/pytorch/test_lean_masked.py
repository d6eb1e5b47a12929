"""Lean layers that keep one bit per element, against stock autograd."""

import itertools

import pytest
import torch
from leanlayers import LAYOUTS, images, kept, layouts, run, same
from torch import nn

from costmodel.pytorch import bits, lean

EXACT = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hardsigmoid": nn.Hardsigmoid}


SIGNED = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hardswish": nn.Hardswish, "silu": nn.SiLU, "gelu": nn.GELU}


TELLS = ("relu", "relu6", "hardswish", "silu")  # whose output tells the mask


EXACT_KEPT = [(kind, keep) for kind in EXACT for keep in ("mask", "y") if keep == "mask" or kind in TELLS]


SIGNED_KEPT = [(kind, keep) for kind in SIGNED for keep in ("mask", "y") if keep == "mask" or kind in TELLS]


DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


SHAPES = [(3, 5, 7, 7), (2, 8, 1, 1), (3, 7), (1,), (2, 16, 70, 70)]


@layouts
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind, keep", EXACT_KEPT)
def test_exact_mask(kind, keep, shape, dtype, layout):
    x = (torch.randn(shape) * 5).to(dtype)
    if x.ndim == 4:
        x = x.contiguous(memory_format=layout)
    for inplace in (False, True):
        layer = lean.MaskedActivation(kind, keep=keep, inplace=inplace)
        stock = EXACT[kind](inplace=inplace)
        same(layer, stock, x, exact=kind != "hardsigmoid", inplace=True)
        bytes_kept = -(-x.numel() // 8) if keep == "mask" else x.numel() * x.element_size()
        assert kept(layer, x.detach().requires_grad_(True).mul(1)) == (0 if keep == "y" and inplace else bytes_kept)


@pytest.mark.parametrize("kind, keep", EXACT_KEPT)
def test_values_at_the_corners(kind, keep):
    tiny = torch.finfo(torch.float32).smallest_normal
    corners = [0.0, -0.0, 3, -3, 6, -6, tiny, -tiny, tiny / 4, torch.inf, -torch.inf, 5.9999995, 2.9999998]
    same(lean.MaskedActivation(kind, keep=keep), EXACT[kind](), torch.tensor(corners))


@layouts
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind, keep", SIGNED_KEPT)
def test_signed_mask(kind, keep, dtype, layout):
    x = (images(5, 9, layout) * 4).to(dtype)
    for inplace in (False, True):
        layer = lean.MaskedActivation(kind, signed=True, keep=keep, inplace=inplace)
        y, (gradient,) = run(layer, x, g := torch.randn_like(x), inplace=True)
        assert torch.equal(y, SIGNED[kind]()(x))
        assert torch.equal(gradient, torch.where(x >= 0, g, torch.zeros_like(g)))
        if keep == "mask":
            assert kept(layer, x.detach().requires_grad_(True).mul(1)) == -(-x.numel() // 8)


@pytest.mark.parametrize("given", ["plain", "channels_last", "expanded"])
@layouts
def test_mask_meets_a_gradient_in_another_layout(given, layout):
    x = images(6, 9, layout)
    g = {"plain": torch.randn(3, 6, 9, 9), "expanded": torch.randn(3, 6, 1, 1).expand(3, 6, 9, 9)}
    g["channels_last"] = g["plain"].contiguous(memory_format=torch.channels_last)
    before = g[given].clone()
    same(lean.MaskedActivation("relu6"), nn.ReLU6(), x, g=g[given])
    same(lean.MaskedActivation("relu6"), nn.ReLU6(), x.transpose(2, 3), g=g[given])
    assert torch.equal(g[given], before)


def test_bits_are_packed_alike_on_every_device():
    x = torch.randn(1003)
    packed = bits.pack(x, bits.positive)
    on_device = torch.empty_like(packed)
    assert torch.equal(bits.pack_on_device(x > 0, on_device), packed)
    assert torch.equal(bits.unpack_on_device(packed, 1003).bool(), x > 0)


@pytest.mark.parametrize("g_layout", LAYOUTS.values(), ids=list(LAYOUTS))
@layouts
def test_overwritten_gradients(layout, g_layout):
    norms = [lean.ShiftNorm2d(6, owns_gradient=own) for own in (False, True)]
    masks = [
        [lean.MaskedActivation(*options, owns_gradient=own) for own in (False, True)]
        for options in itertools.product(["relu", "relu6"], [False], ["mask", "y"])
    ]
    for keep in ("mask", "y"):
        masks.append([lean.MaskedActivation("silu", True, keep, owns_gradient=own) for own in (False, True)])
    x, g = images(6, 9, layout), images(6, 9, g_layout)
    for plain, owner in [norms, *masks]:
        for module in (plain, owner):
            for name, parameter in module.named_parameters():
                parameter.requires_grad_(name == "bias")
        expanded = torch.randn(3, 6, 1, 1).expand(3, 6, 9, 9)
        same(plain, owner, x, g=expanded)
        same(plain, owner, x, g=g.clone())
        spent = g.clone()
        _, (gradient, *_) = run(owner, x, spent)
        assert (gradient.data_ptr() == spent.data_ptr()) == (g_layout == layout or getattr(owner, "keep", "y") == "y")


def test_unknown_masks_are_refused():
    for arguments in (
        ("silu",),
        ("hardsigmoid", True),
        ("hardsigmoid", False, "y"),
        ("gelu", True, "y"),
        ("relu", False, "x"),
    ):
        with pytest.raises(ValueError):
            lean.MaskedActivation(*arguments)


@layouts
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("inplace", [False, True], ids=["out of place", "in place"])
@pytest.mark.parametrize("p", [0.0, 0.2, 0.7, 1.0])
def test_dropout(p, inplace, dtype, layout):
    x = images(5, 9, layout).abs().add(1).to(dtype)
    layer, count = lean.PackedDropout(p, inplace), -(-x.numel() // 8)
    y, (gradient,) = run(layer, x, torch.ones_like(x), inplace=True)
    assert torch.equal(y == 0, gradient == 0)
    if p < 1:
        torch.testing.assert_close(y[y != 0], (x / (1 - p))[y != 0])
        torch.testing.assert_close(gradient[y != 0], torch.full_like(gradient, 1 / (1 - p))[y != 0])
    assert abs((y == 0).double().mean() - p) < 0.1 and kept(layer, x.requires_grad_(True).mul(1)) == (count if p else 0)
    assert layer.eval()(x) is x


def test_dropout_draws_as_the_stock_layer_does():
    x = torch.randn(8, 1280)
    torch.manual_seed(1)
    y = lean.PackedDropout(0.2)(x)
    torch.manual_seed(1)
    torch.testing.assert_close(y, nn.Dropout(0.2)(x))
