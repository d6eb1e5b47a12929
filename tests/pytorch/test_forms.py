"""Forms: layers that keep their input pooled, pruned or rounded: bytes as in a real run, gradients as in dense sums."""

import math

import pytest
import torch
from real import seldom
from torch import nn
from torch.nn import functional as F

import costmodel
from costmodel.errors import CostmodelError
from costmodel.ops.forms._formed import Formed, LeanOnly
from costmodel.ops.forms._restored import RestoredConv2d, RestoredLinear
from costmodel.ops.forms.inplace_norm import InplaceActivatedNorm
from costmodel.ops.forms.patches import PatchedConv2d
from costmodel.ops.forms.pruned import PrunedConv2d, PrunedLinear
from costmodel.ops.forms.quantised import GROUP, QuantisedBatchNorm, QuantisedConv2d, QuantisedLinear
from costmodel.pytorch import lean
from costmodel.pytorch.lean.forms.patches import PatchedConv2d as PatchedLayer
from costmodel.pytorch.lean.forms.pruned import PrunedConv2d as PrunedLayer
from costmodel.pytorch.lean.forms.quantised import QuantisedConv2d as QuantisedLayer
from costmodel.pytorch.lean.forms.restored import FormedConv2d, FormedLinear
from costmodel.pytorch.lean.forms.sliced import SlicedConv2d as SlicedLayer
from costmodel.pytorch.lean.like import Like
from costmodel.pytorch.validate import validate
from costmodel.strategies import MODIFIERS, STRATEGIES, apply, read_text
from costmodel.strategies._forms import in_form
from costmodel.strategies.gradfilter import gradfilter
from costmodel.strategies.iabn import iabn

SPARSE = "sparse,bias=12,weights=20:.5/23:1/26:.25/28:.3"
STRATEGIES_IN_FORM = (
    "gradfilter:4", "gradfilter:2,r=3", "backrazor", "backrazor,rho=.97", "quantised", "mobiletl:3+quantised,bits=2",
    SPARSE, "blocks:3,checkpoint=blocks+quantised,bits=8",
    "iabn", "mobiletl:5+gradfilter:4", "full,checkpoint=blocks+iabn", "blocks:2+backrazor,rho=.5",
    "mobiletl:2+iabn+quantised", "blocks:3+iabn",
)  # fmt: skip
CASES = [("mcunet_5fps", strategy, (2, 97)) for strategy in STRATEGIES_IN_FORM[::2]]
CASES += seldom(*(
    (name, strategy, size)
    for name in ("mobilenet_v2", "mcunet_5fps", "proxyless_mobile")
    for strategy in STRATEGIES_IN_FORM
    for size in ((3, 97), (8, 128))
))  # fmt: skip


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name, strategy, size", CASES)
def test_a_network_in_a_form_saves_and_allocates_what_is_said(name, strategy, size):
    for check in validate(costmodel.load(name), strategy, *size, "lean", target="cpu"):
        assert check.error == 0, check


IN_OTHER_NUMBERS = (
    dict(amp="bfloat16"), dict(amp="float16"), dict(dtype="bfloat16"), dict(target="cpu,channels_last"),
)  # fmt: skip
FORMS = ("backrazor", "backrazor,rho=.5", "quantised", "quantised,bits=2", "iabn", "gradfilter:4", "gradfilter:2,r=3",
         "mobiletl:2+iabn+quantised", "blocks:3+quantised,bits=8")  # fmt: skip


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name, strategy, of", [
    ("mcunet_5fps", "backrazor", dict(dtype="bfloat16")), ("mcunet_5fps", "gradfilter:4", dict(amp="bfloat16")),
    ("mcunet_5fps", "mobiletl:2+iabn+quantised", dict(amp="bfloat16")),
    ("mcunet_5fps", SPARSE, dict(target="cpu,channels_last")),
    *seldom(*(("mcunet_5fps", SPARSE, of) for of in IN_OTHER_NUMBERS)),
    *seldom(*((n, s, of) for n in ("mobilenet_v2", "mcunet_5fps") for s in FORMS for of in IN_OTHER_NUMBERS)),
])  # fmt: skip
def test_a_network_in_a_form_in_other_numbers(name, strategy, of):
    """Tensors to the byte; kernels of 16 bits without a rule may take more than the step's lower bound."""
    for check in validate(costmodel.load(name), strategy, 2, 97, "lean", **{"target": "cpu", **of}):
        assert check.holds and (check.error == 0 or check.bound), check


def test_gradient_filter_leaves_squeezed_maps_out():
    """The last convolutions of mobilenet_v3_small with pixels: the head's and the last block's projection."""
    graph = apply("gradfilter:3", costmodel.load("mobilenet_v3_small").graph)
    filtered = [node.name for node in graph.nodes if node.op.kind == "patched_conv2d"]
    assert filtered == ["features.11.block.1.0", "features.11.block.3.0", "features.12.0"]
    for check in validate(costmodel.load("mobilenet_v3_small"), "gradfilter:3", 2, 97, "lean", target="cpu"):
        assert check.error == 0, check


def test_a_prelu_stays_one_behind_an_in_place_activated_norm():
    class Prelu(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.act = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.PReLU()
            self.last, self.head = nn.Conv2d(8, 8, 3), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(self.last(self.act(self.norm(self.conv(x)))).mean((2, 3)))

    for check in validate(costmodel.load(Prelu(), resolution=16), "iabn", 2, 16, "lean", target="cpu"):
        assert check.error == 0 or check.bound and check.predicted <= check.measured, check


# -- gradients, beside dense arithmetic ----------------------------------------------------------------------


def gradients(layer, x, g):
    """Of the input and of the parameters."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(layer(x), [x, *layer.parameters()], g)


def stock_gradients(layer, x, g):
    """Of a stock layer with the same parameters, from an input."""
    x = x.clone().requires_grad_()
    weight, bias = layer.weight.detach().requires_grad_(), layer.bias
    if isinstance(layer, nn.Conv2d):
        y = F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    else:
        y = F.linear(x, weight, bias)
    return torch.autograd.grad(y, [x, weight, *([] if bias is None else [bias])], g)


GEOMETRIES = (
    ((6, 8, 3), dict(padding=1), (3, 6, 7, 9)),
    ((6, 6, 5), dict(padding=2, groups=6, stride=2, bias=True), (2, 6, 13, 8)),
    ((6, 9, 1), dict(groups=3, bias=False), (2, 6, 8, 8)),
)


@pytest.mark.parametrize("rho", [0.3, 0.9])
@pytest.mark.parametrize("arguments, more, shape", GEOMETRIES)
def test_a_pruned_convolution_has_the_weight_gradient_of_its_largest_inputs(arguments, more, shape, rho):
    torch.manual_seed(0)
    layer = PrunedLayer(*arguments, rho=rho, **more).double()
    x = torch.randn(shape, dtype=torch.float64)
    g = torch.randn_like(layer(x))
    kept = x.flatten(1).clone()
    for row in kept:
        left_out = row.abs().argsort()[: math.floor(rho * row.numel())]
        row[left_out] = 0
    dense, exact = stock_gradients(layer, kept.view(shape), g), stock_gradients(layer, x, g)
    found = gradients(layer, x, g)
    torch.testing.assert_close(found[0], exact[0])  # the input's is exact, and the bias'
    torch.testing.assert_close(found[1:], dense[1:])


def test_of_equal_magnitudes_as_many_are_kept_as_are_said():
    layer = PrunedLayer(2, 2, 1, rho=0.5)
    x = torch.tensor([0.0, -3.0, 3.0, 3.0, 0.0, 0.0, -3.0, 1.0]).view(1, 2, 2, 2)
    values, bits = layer.keep(x)
    assert values.tolist() == [[-3.0, 3.0, 3.0, -3.0]] and bits.tolist() == [[0b01001110]]
    nothing = torch.zeros(1, 2, 2, 2)
    values, bits = layer.keep(nothing)
    assert values.tolist() == [[0.0] * 4] and bits.tolist() == [[0b00001111]]
    nan = torch.full((1, 2, 2, 2), float("nan"))
    assert layer.keep(nan)[0].isnan().all()


def decoded(codes, lows, steps, bits, shape):
    """A rounded input, number by number."""
    numbers, found = math.prod(shape[1:]), []
    in_a_byte = 8 // bits
    for n in range(shape[0]):
        for i in range(numbers):
            code = codes[n, i // in_a_byte].item() >> (bits * (i % in_a_byte)) & (2**bits - 1)
            found.append(lows[n, i // GROUP].item() + code * steps[n, i // GROUP].item())
    return torch.tensor(found).view(shape)


def run_and_kept(layer, x):
    """A layer's output, with the input that it comes from, and what it keeps."""
    packed, own = [], x.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
        return layer(own), own, packed


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_rounded_convolution_has_the_weight_gradient_of_what_it_keeps(bits):
    torch.manual_seed(bits)
    layer, x = QuantisedLayer(6, 6, 3, padding=1, groups=2, bits=bits), torch.randn(2, 6, 7, 9)  # 378 numbers
    g = torch.randn_like(layer(x))
    y, own, (_, codes, lows, steps) = run_and_kept(layer, x)
    rounded = decoded(codes, lows, steps, bits, x.shape)
    groups = x.flatten(1).split(GROUP, 1)
    for k, group in enumerate(groups):
        assert torch.equal(lows[:, k], group.amin(1))
        torch.testing.assert_close(steps[:, k], (group.amax(1) - group.amin(1)) / (2**bits - 1))
        off = (rounded.flatten(1).split(GROUP, 1)[k] - group).abs()
        assert (off <= steps[:, k, None] * (1 + 1e-5)).all()
    found, dense = torch.autograd.grad(y, [own, *layer.parameters()], g), stock_gradients(layer, rounded, g)
    torch.testing.assert_close(found[1:], dense[1:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[0], stock_gradients(layer, x, g)[0])


@pytest.mark.parametrize("kind", [lean.QuantisedBatchNorm2d, lean.FrozenQuantisedBatchNorm2d])
def test_a_rounded_norm_has_the_gradients_of_what_it_keeps_with_the_statistics_of_what_it_got(kind):
    torch.manual_seed(0)
    layer, x = kind(6, bits=4), torch.randn(3, 6, 7, 9) * 2 + 1
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    frozen = kind is lean.FrozenQuantisedBatchNorm2d
    mean, var = (layer.running_mean, layer.running_var) if frozen else (x.mean((0, 2, 3)), x.var((0, 2, 3), False))
    inverse = (var + layer.eps).rsqrt()
    y, own, packed = run_and_kept(layer, x)
    scale, shift = layer.weight.detach(), layer.bias.detach()
    wanted = (x - mean[:, None, None]) * (inverse * scale)[:, None, None] + shift[:, None, None]
    torch.testing.assert_close(y, wanted, rtol=1e-4, atol=1e-4)
    rounded = (decoded(*packed[-3:], 4, x.shape) - mean[:, None, None]) * inverse[:, None, None]
    g = torch.randn_like(y)
    found = torch.autograd.grad(y, [own, layer.weight, layer.bias], g)
    sums, products, numbers = g.sum((0, 2, 3)), (g * rounded).sum((0, 2, 3)), x.numel() / 6
    back = g if frozen else g - sums[:, None, None] / numbers - rounded * products[:, None, None] / numbers
    dense = (back * (scale * inverse)[:, None, None], products, sums)
    torch.testing.assert_close(found, dense, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind, plain", [
    ("hardswish", F.hardswish), ("silu", F.silu), ("gelu", F.gelu),
    ("gelu tanh", lambda x: F.gelu(x, approximate="tanh")),
])  # fmt: skip
def test_a_rounded_activation_has_the_slope_at_what_it_keeps(kind, plain):
    torch.manual_seed(0)
    kind, _, approximate = kind.partition(" ")
    layer, x = lean.QuantisedActivation(kind, approximate or "none", bits=4), torch.randn(3, 6, 7, 9) * 3
    y, own, packed = run_and_kept(layer, x)
    assert torch.equal(y, plain(x)) and len(packed) == 3
    rounded = decoded(*packed, 4, x.shape).requires_grad_()
    g = torch.randn_like(y)
    (dense,) = torch.autograd.grad(plain(rounded), rounded, g)
    (found,) = torch.autograd.grad(y, own, g)
    torch.testing.assert_close(found, dense, rtol=1e-4, atol=1e-4)


def test_rounding_is_right_on_average():
    """The mean of 400 roundings to 2 bits is within 5 standard deviations of a step's half for every number."""
    torch.manual_seed(0)
    layer, x = QuantisedLayer(4, 4, 1, bits=2), torch.rand(1, 4, 8, 8)
    total = torch.zeros_like(x)
    for _ in range(400):
        total += layer.restore(layer.keep(x), Like(x))
    step = (x.max() - x.min()) / 3
    assert ((total / 400 - x).abs() <= 5 * 0.5 * step / math.sqrt(400)).all()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("arguments, more, shape", [*GEOMETRIES[:2], ((6, 12, 3), dict(groups=6), (2, 6, 6, 6))])
def test_a_sliced_convolution_has_the_gradient_of_its_largest_channels(arguments, more, shape, channels):
    torch.manual_seed(0)
    layer = SlicedLayer(*arguments, channels=channels, **more).double()
    x = torch.randn(shape, dtype=torch.float64)
    g = torch.randn_like(layer(x))
    found, exact = gradients(layer, x, g), stock_gradients(layer, x, g)
    squares, depthwise = layer.weight.detach().square(), layer.groups > 1
    sums = squares.view(6, -1).sum(1) if depthwise else squares.sum((0, 2, 3))
    mask = torch.zeros(6, dtype=torch.float64)
    mask[sums.argsort()[-channels:]] = 1
    mask = mask.repeat_interleave(len(layer.weight) // 6)[:, None] if depthwise else mask
    torch.testing.assert_close(found[0], exact[0])
    torch.testing.assert_close(found[1], exact[1] * mask[..., None, None])
    torch.testing.assert_close(found[2:], exact[2:])
    state = layer.state_dict()
    state["weight"] = state["weight"].flip(0 if depthwise else 1)
    before = layer.chosen.clone()
    layer.load_state_dict(state)
    assert "chosen" not in state and layer.chosen.tolist() == sorted((5 - before).tolist())


@pytest.mark.parametrize("slope", [0.01, 1.0])
@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("kind", [lean.InplaceActivatedNorm2d, lean.FrozenInplaceActivatedNorm2d])
def test_an_in_place_activated_norm_has_the_gradients_of_norm_and_leaky_relu(kind, inplace, slope):
    torch.manual_seed(0)
    layer = kind(5, slope=slope, inplace=inplace).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.5, -0.7, 0.02, -2.0, 1.0]))
        layer.bias.normal_()
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    x = torch.randn(3, 5, 6, 7, dtype=torch.float64, requires_grad=True)
    g, batch = torch.randn(3, 5, 6, 7, dtype=torch.float64), layer.training
    mean, var = layer.running_mean.clone(), layer.running_var.clone()
    scale = layer.weight.detach().clone().requires_grad_()
    shift = layer.bias.detach().clone().requires_grad_()
    z = F.batch_norm(x, mean, var, scale.abs() + layer.eps, shift, batch, 0.1, layer.eps)
    wanted = torch.autograd.grad(F.leaky_relu(z, slope), [x, scale, shift], g)
    own = x.detach().clone().requires_grad_()
    y = layer(own.clone())
    torch.testing.assert_close(y, F.leaky_relu(z, slope))
    for found, exact in zip(torch.autograd.grad(y, [own, layer.weight, layer.bias], g), wanted, strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(layer.running_mean, mean)
    torch.testing.assert_close(layer.running_var, var)
    assert layer.num_batches_tracked.item() == batch
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(x.detach().clone()), F.leaky_relu(
            F.batch_norm(x, mean, var, scale.abs() + layer.eps, shift, False, 0.1, layer.eps), slope
        ))  # fmt: skip


def test_in_place_activated_norms_are_where_nobody_overwrites_what_they_keep():
    """All 42 norms of mcunet_5fps overwrite a convolution's output; 28 have the ReLU6 after them in them."""
    norms = [
        node.op for node in iabn(costmodel.load("mcunet_5fps").graph).nodes if isinstance(node.op, InplaceActivatedNorm)
    ]
    assert len(norms) == 42 and all(norm.inplace for norm in norms)
    assert sum(norm.slope < 1 for norm in norms) == 28 and isinstance(norms[0], LeanOnly)
    with pytest.raises(CostmodelError, match="no batch norm of images may keep its output"):
        iabn(costmodel.load("proxyless_mobile_tinytl").graph)


@pytest.mark.parametrize("r", [1, 2, 3])
@pytest.mark.parametrize("arguments, more, shape", [*GEOMETRIES, ((6, 12, 3), dict(padding=1, groups=6), (2, 6, 6, 6))])
def test_a_patched_convolution_has_the_gradients_of_the_paper(arguments, more, shape, r):
    """By loops over patches and images (equations 2 to 5, on the grid of the authors' code)."""
    torch.manual_seed(0)
    layer = PatchedLayer(*arguments, r=r, **more).double()
    x = torch.randn(shape, dtype=torch.float64)
    y = layer(x)
    torch.testing.assert_close(y, F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, 1, layer.groups))
    g = torch.randn_like(y)
    n, channels, *sides = x.shape
    outputs, per_out, per_in = y.shape[1], y.shape[1] // layer.groups, channels // layer.groups
    grid = [math.ceil(side / r) for side in y.shape[2:]]
    reach = [r * s for s in layer.stride]
    edge_x = [math.ceil((p * k - side) / 2) for p, k, side in zip(grid, reach, sides)]
    edge_g = [math.ceil((p * r - side) / 2) for p, side in zip(grid, y.shape[2:])]

    def window(tensor, at, size, edge):
        rows, columns = (slice(max(i * k - e, 0), i * k + k - e) for i, k, e in zip(at, size, edge))
        return tensor[:, :, rows, columns]

    gx, gw = torch.zeros_like(x), torch.zeros_like(layer.weight)
    kernel = layer.weight.detach().sum((2, 3))
    for i in range(grid[0]):
        for j in range(grid[1]):
            below = window(x, (i, j), reach, edge_x)
            summed, mean = below.sum((2, 3)), window(g, (i, j), (r, r), edge_g).mean((2, 3))
            for o in range(outputs):
                for c in range(per_in):
                    of = o // per_out * per_in + c
                    gw[o, c] += (mean[:, o] * summed[:, of]).sum()
                    spread = mean[:, o, None, None] * kernel[o, c]
                    window(gx[:, of : of + 1], (i, j), reach, edge_x).add_(spread[:, None])
    found = gradients(layer, x, g)
    torch.testing.assert_close(found[0], gx)
    torch.testing.assert_close(found[1], gw)
    if layer.bias is not None:
        torch.testing.assert_close(found[2], g.sum((0, 2, 3)))


# -- what a form is of --------------------------------------------------------------------------------------


def test_stock_modules_have_no_forms_and_papers_count_them():
    with pytest.raises(CostmodelError, match="stock modules keep all of it; allowed: the convention lean"):
        costmodel.estimate("mcunet_5fps", "backrazor", 2)
    for convention in ("ideal", "tinytl", "mobiletl"):
        whole = costmodel.estimate("mcunet_5fps", "full,recompute=none", 2, convention=convention).saved_bytes
        assert costmodel.estimate("mcunet_5fps", "backrazor", 2, convention=convention).saved_bytes < whole


def test_ideal_is_at_most_lean():
    for strategy in STRATEGIES_IN_FORM:
        lean_one, ideal = (costmodel.estimate("mcunet_5fps", strategy, 2, convention=c) for c in ("lean", "ideal"))
        assert ideal.saved_bytes <= lean_one.saved_bytes


def test_a_strategys_text_is_what_was_given():
    for text in (*STRATEGIES_IN_FORM, "norm+last", "norm+last+quantised,bits=4", "plan.yaml+backrazor"):
        assert str(read_text(text)) == text
    assert read_text("norm+last+quantised").name == "norm+last"
    assert MODIFIERS.keys() <= STRATEGIES.keys()


def test_a_form_is_of_layers_whose_weight_trains():
    graph = apply("mobiletl:2+quantised", costmodel.load("mcunet_5fps").graph)
    formed = [(node, needed) for node, needed in zip(graph.nodes, graph.demanded) if isinstance(node.op, Formed)]
    assert {type(node.op) for node, _ in formed} == {QuantisedConv2d, QuantisedLinear, QuantisedBatchNorm}
    for node, needed in formed:  # a norm's input may be read for the gradient of its own input
        assert "weight" in node.trains or isinstance(node.op, QuantisedBatchNorm) and "x" in needed
    assert issubclass(QuantisedConv2d, RestoredConv2d) and issubclass(QuantisedLinear, RestoredLinear)
    assert issubclass(PrunedLayer, FormedConv2d) and issubclass(lean.PrunedLinear, FormedLinear)
    with pytest.raises(CostmodelError, match="no weight trains"):
        in_form(apply("full", costmodel.load("mcunet_5fps").graph), {}, names=())
    some = gradfilter(apply("full", costmodel.load("mcunet_5fps").graph), "3")
    assert sum(isinstance(node.op, PatchedConv2d) for node in some.nodes) == 3


def test_bytes_by_hand():
    """8 channels of 7 x 5: 280 numbers an image. 28 are kept at rho .9, with 35 bytes of bits; 140 bytes of 4 bits."""
    x = (2, 8, 7, 5)
    pruned, rounded = PrunedConv2d(8, 4, 1).extras(x), QuantisedConv2d(8, 4, 1).extras(x)
    assert (pruned["values"].shape, pruned["map"].shape) == ((2, 28), (2, 35))
    assert (rounded["codes"].shape, rounded["lows"].shape) == ((2, 140), (2, 2))
    assert PrunedLinear(3, 2).extras((5, 3))["values"].shape == (5, 1)
    assert PatchedConv2d(8, 4, 3, padding=1, r=2).extras(x)["patches"].shape == (2, 8, 4, 3)
