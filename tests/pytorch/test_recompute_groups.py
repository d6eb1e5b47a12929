"""`recompute=maps` behind group norms, and with standardised weights: exact, and predicted to the byte."""

import copy

import pytest
import torch
from real import seldom
from test_recompute import MAPS, MIXED, SCALES, Scaled, gradients, hold, hold_gradients
from test_remade_layers import STOCK
from torch import nn

import costmodel
from costmodel.ops import remade
from costmodel.pytorch import measure, realize
from costmodel.pytorch.lean import Passed, RemadeGroupNorm, RemakingStandardisedConv2d
from costmodel.pytorch.modules import StandardisedConv2d

pytestmark = pytest.mark.usefixtures("one_thread")

TINYTL = "proxyless_mobile_tinytl"
#: In channels_last, torch's own group norm ends the process in the backward pass of small maps if its scale trains and
#: its input needs no gradient, as with norm+last behind a frozen stem. Units do not ask for that; a norm in none does.
FORMATS = ("contiguous", "channels_last")
STRATEGIES = ("full", "blocks:3", "mobiletl:3", "tinytl-l", "full,checkpoint=blocks", "bias", "norm+last", "tinytl-lb")


@pytest.mark.one_in(2)
@pytest.mark.parametrize("batch, resolution, memory_format, strategies", [
    (2, 48, "contiguous", ("full,checkpoint=blocks",)), (3, 97, "channels_last", ("blocks:3",)), *seldom(
        *((*size, memory_format, STRATEGIES) for size in ((3, 97), (2, 48), (5, 130)) for memory_format in FORMATS),
    ),
])  # fmt: skip
def test_the_shipped_network(batch, resolution, memory_format, strategies):
    for strategy in strategies:
        for again in (MAPS, MIXED):
            hold(TINYTL, f"{strategy},{again}", batch, resolution, memory_format)


def test_units_within_parts():
    hold(TINYTL, "full,recompute=parts", 3, 97)


@pytest.mark.parametrize("memory_format, cuts, strategies", [
    ("contiguous", (60_000,), ("full",)), *seldom(*(
        (one, (60_000, remade.SLICE_BYTES), ("full", "tinytl-l", "blocks:3", "full,checkpoint=blocks"))
        for one in FORMATS
    )),
])  # fmt: skip
def test_gradients_are_exact(memory_format, cuts, strategies, monkeypatch):
    for cut in cuts:
        monkeypatch.setattr(remade, "SLICE_BYTES", cut)
        for strategy in strategies:
            for again in (MAPS, MIXED):
                assert hold_gradients(TINYTL, f"{strategy},{again}", 3, 64, memory_format)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name, strategy", [
    (TINYTL, "mobiletl:3"), ("mobilenet_v2", "mobiletl:3,norm=full"), ("mobilenet_v2", "mobiletl:3,norm=scale"),
])  # fmt: skip
def test_mobiletls_backward_of_relu6_is_that_of_lean_modules_without(name, strategy):
    """In units behind group norms, and behind batch norms that keep their input."""
    hold(name, strategy, 3, 65)
    torch.manual_seed(0)
    plain, maps = (realize(name, f"{strategy}{more}", "lean").double() for more in (",recompute=none", ""))
    kinds = {layer.of for layer in maps.modules() if hasattr(layer, "of")}
    assert "signed_relu6" in kinds
    for module in (maps, plain):
        module.load_state_dict(plain.state_dict())
    images, labels = torch.randn(3, 3, 65, 65, dtype=torch.float64), torch.arange(3)
    (out, expected, _), (found_out, found, _) = (gradients(module, images, labels) for module in (plain, maps))
    assert torch.equal(out, found_out) and expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("strategy", ["mobiletl:3", "blocks:3"])
def test_what_the_last_blocks_keep(strategy):
    """Batch 8 at 224: four bytes a number."""
    of = (strategy, 8, 224, "lean")
    image = 8 * 4
    # Channels of maps that convolutions and norms read: blocks 19, 20, 21, the head; 7 x 7, in the branches 3 x 3.
    main = 49 * image * (2 * (192 + 2 * 576 + 192) + (192 + 2 * 1152 + 320) + (320 + 1280))
    branches = 9 * image * (2 * 3 * 192 + (2 * 192 + 320))
    # Mean and deviation of each group of 8 channels.
    normed = 2 * (2 * 576 + 192 + 2 * 192) + (2 * 1152 + 320 + 192 + 320) + 1280
    statistics = 2 * image * normed // 8
    # Dropout's mask, the classifier's input, log-probabilities, labels, and the loss's weight.
    head = 1280 * 8 // 8 + image * 1280 + image * 102 + 8 * 8 + 4
    assert costmodel.estimate(TINYTL, *of).saved_bytes == main + branches + statistics + head == 12_384_260
    # Without making anything again: ReLU6's outputs, a bit per element in the head, where no convolution reads it, and
    # of each trained weight two maps and two numbers per output channel.
    outputs = 49 * image * (2 * 2 * 576 + 2 * 1152) + 9 * image * 3 * 192 + 49 * 8 * 1280 // 8
    module = realize(TINYTL, strategy)
    convs = [m for m in module.modules() if isinstance(m, StandardisedConv2d) and m.weight.requires_grad]
    weights = sum(2 * 4 * (conv.weight.numel() + conv.out_channels) for conv in convs)
    plain = costmodel.estimate(TINYTL, f"{strategy},recompute=none", *of[1:]).saved_bytes
    assert plain == main + branches + statistics + head + outputs + weights == 37_401_348


SPEC = """\
network: groups
resolution: 33
classes: 5
norm: {{op: group_norm, per_group: 4}}
activation: {{op: {act}}}
convolution: {{standardise: true}}
stem:
  - {{conv: 8, kernel: 3, stride: 2, at: [stem.conv, stem.norm, stem.act]}}
stages:
  - {{expand: 2, out: 8, kernel: 5}}
  - {{expand: 3, out: 16, stride: 2, repeat: 2}}
tail:
  - {{op: adaptive_avg_pool2d, at: pool}}
  - {{op: flatten, at: flatten}}
  - {{op: linear, out_features: classes, at: classifier}}
"""


ACTS = ("relu", "hardswish", "silu", "gelu")


@pytest.mark.one_in(2)
@pytest.mark.parametrize("cut", [9_000, remade.SLICE_BYTES])
@pytest.mark.parametrize("act, memory_format", [
    ("relu6, inplace: true", "contiguous"), *seldom(
        ("relu6, inplace: true", "channels_last"), *((act, one) for act in ACTS for one in FORMATS),
    ),
])  # fmt: skip
def test_specs(act, memory_format, cut, spec_file, monkeypatch):
    network = costmodel.load(spec_file(SPEC.format(act=act)))
    strategies = ("full", "blocks:2", "mobiletl:2", "mobiletl:3,norm=full", "full,checkpoint=blocks")
    monkeypatch.setattr(remade, "SLICE_BYTES", cut)
    for strategy in (*strategies, *(("bias", "norm+last") if memory_format == "contiguous" else ())):
        for batch, resolution in ((5, 33), (2, 47)):
            hold(network, strategy, batch, resolution, memory_format)
    for strategy in (f"full,{MAPS}", f"blocks:2,{MAPS}", f"full,{MIXED}"):
        assert hold_gradients(network, strategy, 5, 33, memory_format)


@pytest.mark.parametrize("dtype", ["bfloat16", *seldom("float16")])
@pytest.mark.parametrize("strategy", ["full", *seldom("norm+last")])
def test_16_bits(strategy, dtype):
    """Saved bytes and the tensors' peak are exact; what kernels allocate is not modelled."""
    found = costmodel.estimate(TINYTL, strategy, 3, 65, "lean", dtype=dtype, target="none")
    real = measure(realize(TINYTL, strategy, "lean"), 3, 65, dtype=dtype, target="cpu,threads=1")
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)


def test_between_ideal_and_torch():
    for strategy in STRATEGIES:
        for recompute in ("maps", "mixed", "none"):
            ideal, lean, stock = (
                costmodel.estimate(TINYTL, f"{strategy},recompute={recompute}", 8, 97, convention).saved_bytes
                for convention in ("ideal", "lean", "torch")
            )
            assert ideal <= lean <= stock
            if recompute != "none":
                assert lean - ideal == 4  # the loss, which stock modules keep the sum of


class Maps(nn.Module):
    """A convolution, then a norm, an activation and a convolution, a norm alone and two that read it.

    norm_groups: of the norms; 0 for batch norms.
    """

    def __init__(self, act, norm_groups, kernel, groups):
        super().__init__()
        self.a, self.act = nn.Conv2d(3, 16, 3, padding=1), act
        self.b = nn.Conv2d(16, 16, kernel, 2, kernel // 2, groups=groups)
        self.c, self.d, self.fc = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1), nn.Linear(8, 5)
        self.norm, self.alone = (nn.GroupNorm(norm_groups, 16) if norm_groups else nn.BatchNorm2d(16) for _ in range(2))

    def forward(self, x):
        y = self.alone(self.b(self.act(self.norm(self.a(x)))))
        return self.fc((self.c(y) + self.d(y)).mean((2, 3)))


ACTIVATIONS = (nn.ReLU(), nn.ReLU6(inplace=True), nn.SiLU(), nn.Identity())


@pytest.mark.one_in(2)
@pytest.mark.parametrize("norm_groups, kernel, groups", [(1, 1, 1), (4, 3, 16), (16, 3, 1), (0, 3, 1)])
@pytest.mark.parametrize("act, memory_format", [
    (nn.Hardswish(), "channels_last"),
    *seldom((nn.Hardswish(), "contiguous"), *((act, one) for act in ACTIVATIONS for one in FORMATS)),
], ids=str)  # fmt: skip
def test_biased_convolutions_and_norms_behind_frozen_ones(act, memory_format, norm_groups, kernel, groups, monkeypatch):
    network = costmodel.load(Maps(act, norm_groups, kernel, groups), resolution=17)
    for cut in (20_000, remade.SLICE_BYTES):
        monkeypatch.setattr(remade, "SLICE_BYTES", cut)
        for strategy, batch, resolution in (("full", 3, 17), ("norm+last", 3, 40), ("full", 5, 9), ("full", 2, 3)):
            if strategy == "full" or memory_format == "contiguous":
                hold(network, strategy, batch, resolution, memory_format)


@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU6(inplace=True), nn.Hardswish(), nn.SiLU(), nn.Identity()], ids=str)
def test_a_modules_gradients(act):
    torch.manual_seed(0)
    module = Maps(act, 4, 3, 16).double()
    network = costmodel.load(module, resolution=17)
    lean = realize(network, "full", "lean").double()
    lean.load_state_dict(module.state_dict())
    images, labels = torch.randn(3, 3, 17, 17, dtype=torch.float64), torch.arange(3)
    (out, expected, _), (found_out, found, _) = (
        gradients(one, images, labels) for one in (copy.deepcopy(module), lean)
    )
    assert torch.equal(out, found_out)
    for path, gradient in expected.items():
        torch.testing.assert_close(found[path], gradient, rtol=1e-12, atol=1e-12 * gradient.abs().max().item())


class TwoReaders(nn.Module):
    """A norm's result is read by a convolution and by a sum, whose gradient makes the sum of both contiguous."""

    def __init__(self, norm):
        super().__init__()
        self.a, self.norm, self.b, self.fc = (
            nn.Conv2d(3, 32, 3, padding=1),
            norm,
            nn.Conv2d(32, 32, 1),
            nn.Linear(32, 5),
        )

    def forward(self, x):
        y = self.norm(self.a(x))
        return self.fc((self.b(y) + y).mean((2, 3)))


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_gradient_that_lies_otherwise(memory_format, monkeypatch):
    module = TwoReaders(nn.GroupNorm(4, 32))
    network = costmodel.load(module, resolution=30)
    for cut in (50_000, remade.SLICE_BYTES):
        monkeypatch.setattr(remade, "SLICE_BYTES", cut)
        hold(network, "full", 3, 30, memory_format)
        assert hold_gradients(network, f"full,{MAPS}", 3, 30, memory_format)


@pytest.mark.parametrize("finishes", ["norm", ""])
@pytest.mark.parametrize("of", ["relu", "relu6", "hardswish", "silu", ""])
def test_layers_alone(of, finishes):
    """A lean norm and convolution, the latter with a standardised weight, behind a tensor with gaps."""
    stock = nn.Sequential(nn.GroupNorm(2, 8), copy.deepcopy(STOCK[of]), StandardisedConv2d(8, 8, 3)).double()
    lean = nn.Sequential(RemadeGroupNorm(2, 8, of=of), Passed(), RemakingStandardisedConv2d(8, 8, 3, finishes=finishes))
    lean.load_state_dict(stock.state_dict())
    lean.double()
    for x in (
        torch.randn(3, 8, 7, 6),
        torch.randn(3, 7, 6, 8).permute(0, 3, 1, 2),
        torch.randn(3, 9, 14, 6)[:, 1:, ::2],
    ):
        results = []
        for module in (stock, lean):
            leaf = x.double().requires_grad_()
            y = module(leaf)
            results.append((y.detach(), torch.autograd.grad(y.sin().sum(), [leaf, *module.parameters()])))
        (y, expected), (found_y, found) = results
        assert torch.equal(y, found_y)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * other.abs().max().item())


@pytest.mark.parametrize(
    "norm, kinds",
    [
        (nn.GroupNorm(2, 8), {"remade_group_norm", "remaking_mul_of_groups", "remaking_conv2d_of_groups"}),
        (nn.BatchNorm2d(8), {"remade_norm", "remaking_mul", "remaking_conv2d"}),
    ],
    ids=str,
)
def test_a_gate_behind_a_group_norm(norm, kinds):
    module = Scaled(SCALES["a gate"][0])
    module.norm = norm
    network = costmodel.load(module, resolution=16)
    assert kinds <= {node.op.kind for node in hold(network, "full", 2, 16).graph.nodes}
    assert hold_gradients(network, f"full,{MAPS}", 2, 16)


def test_a_norm_without_a_shift_stays():
    network = costmodel.load(Maps(nn.ReLU(), 4, 3, 1), resolution=9)
    assert hold(network, "full", 2, 9).graph.nodes[1].op.kind == "remade_group_norm"
    module = Maps(nn.ReLU(), 4, 3, 1)
    module.norm.register_parameter("bias", None)
    assert hold(costmodel.load(module, resolution=9), "full", 2, 9).graph.nodes[1].op.kind == "group_norm"
