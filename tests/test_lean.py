"""Lean layers against stock autograd: results, gradients, bytes kept."""

from __future__ import annotations

import copy
import io
import itertools

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.autograd.graph import saved_tensors_hooks  # noqa: E402

from costmodel.pytorch import bits, lean, modules  # noqa: E402
from costmodel.pytorch.allocations import trace  # noqa: E402
from costmodel.pytorch.lean.convolutions import input_gradient  # noqa: E402
from costmodel.pytorch.lean.like import Like  # noqa: E402

LAYOUTS = {"plain": torch.contiguous_format, "channels_last": torch.channels_last}
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))

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


def images(channels=8, size=7, layout=torch.contiguous_format, dtype=torch.float32, batch=3):
    return torch.randn(batch, channels, size, size, dtype=dtype).contiguous(memory_format=layout)


def kept(module, x):
    """Bytes of the distinct storages that a forward pass keeps, those of the module and x left out."""
    own = {t.untyped_storage().data_ptr() for t in [*module.parameters(), *module.buffers(), x]}
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage
        return tensor.detach()

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        y = module(x)
    del y
    return sum(storage.nbytes() for storage in storages.values())


def keeps_input(module, x):
    pointers = []
    with saved_tensors_hooks(lambda t: pointers.append(t.data_ptr()) or t.detach(), lambda t: t):
        module(x)
    return x.data_ptr() in pointers


def run(module, x, g=None, inplace=False):
    """The output, and the gradients of the input and of what trains."""
    x = x.detach().clone().requires_grad_(True)
    y = module(x.clone() if inplace else x)
    g = torch.linspace(-2, 2, y.numel()).to(y.dtype).view(y.shape) if g is None else g
    gradients = torch.autograd.grad(y, [x, *(p for p in module.parameters() if p.requires_grad)], g)
    return y, gradients


def same(lean_module, stock, x, exact=True, g=None, inplace=False):
    (y, gradients), (stock_y, stock_gradients) = (run(m, x, g, inplace) for m in (lean_module, stock))
    tolerance = dict(rtol=0, atol=0) if exact else {}
    torch.testing.assert_close(y, stock_y, **tolerance)
    for gradient, stock_gradient in zip(gradients, stock_gradients, strict=True):
        torch.testing.assert_close(gradient, stock_gradient, **tolerance)


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
    same(layer, stock, x, exact="bias" not in trains or "weight" in trains)
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
    """The formula for other devices, which wants no input at all."""
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


# Dropout


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
