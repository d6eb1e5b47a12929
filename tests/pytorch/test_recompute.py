"""`recompute=maps`: one map per convolution, norm and activation, exact, and predicted to the byte."""

import copy

import pytest
import torch
from costs import assert_costs_are_equal
from hypothesis import note, reject
from hypothesis import strategies as st
from networks import loaded, on_random_networks
from real import seldom
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

import costmodel
from costmodel.errors import CostmodelError
from costmodel.ops import remade
from costmodel.pytorch import measure, realize
from costmodel.step.certainty import NOT_MODELLED

pytestmark = pytest.mark.usefixtures("one_thread")

MAPS, MIXED = "recompute=maps", "recompute=mixed"
STRATEGIES = ["full", "last", "norm+last", "bias", "blocks:1", "blocks:all"]


def hold(network, strategy, batch, resolution, memory_format="contiguous"):
    """Hold a step's bytes against the estimates, of tensors alone and of the allocator."""
    also = "" if memory_format == "contiguous" else f",{memory_format}"
    module = realize(network, strategy, "lean", memory_format=memory_format)
    measured = measure(module, batch, resolution, target=f"cpu,threads=1{also}")
    alone, whole = (
        costmodel.estimate(network, strategy, batch, resolution, "lean", target=f"{target}{also}")
        for target in ("none", "cpu,threads=1")
    )
    assert_costs_are_equal(alone, alone, measured)
    case = (strategy, batch, resolution, memory_format)
    assert whole.step_peak_bytes <= measured.step_peak_bytes, case
    assert whole.step_peak_bytes == measured.step_peak_bytes or whole.certainty.step_peak == NOT_MODELLED, case
    return whole


def gradients(module, images, labels):
    """Output, gradients by name, and buffers of a step, in float64."""
    torch.manual_seed(2)  # of dropout and stochastic depth
    out = module(images)
    cross_entropy(out, labels).backward()
    return out.detach(), {name: p.grad for name, p in module.named_parameters() if p.grad is not None}, module.buffers()


def hold_gradients(network, strategy, batch, resolution, memory_format="contiguous", close=1e-12):
    """Hold output and buffers, which must be equal, and gradients against the stock module's, in float64."""
    torch.manual_seed(0)
    plain = strategy.partition(",recompute=")[0]
    stock, lean = realize(network, plain).double(), realize(network, strategy, "lean").double()
    for norm in (m for m in stock.modules() if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm))):
        nn.init.uniform_(norm.weight, 0.3, 1.5)
        nn.init.uniform_(norm.bias, -1, 1)
        norm.weight.data[0] = 0
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_var.uniform_(0.5, 2)
    for module in (stock, lean):  # the stock one too: weights that are standardised once are so in float64 then
        module.load_state_dict(stock.state_dict())
    order = getattr(torch, "contiguous_format" if memory_format == "contiguous" else memory_format)
    stock, lean = stock.to(memory_format=order), lean.to(memory_format=order)
    images = torch.randn(batch, 3, resolution, resolution, dtype=torch.float64).contiguous(memory_format=order)
    labels = torch.arange(batch) % 2
    (out, expected, buffers), (found_out, found, found_buffers) = (
        gradients(module, images, labels) for module in (stock, lean)
    )
    assert found.keys() == expected.keys()
    assert torch.allclose(out, found_out, rtol=1e-10, atol=1e-12)
    for one, other in zip(buffers, found_buffers):
        assert torch.allclose(one.double(), other.double(), rtol=1e-12)
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for name, gradient in expected.items():
        scale = max(gradient.abs().max().item(), largest / 10)  # of what is zero by mathematics, rounding is left
        assert (gradient - found[name]).abs().max().item() <= close * scale, name
    return torch.equal(out, found_out)


@pytest.mark.parametrize("name, memory_format, strategies", [
    ("mobilenet_v2", "channels_last", ("full",)), ("mobilenet_v3_large", "contiguous", ("mobiletl:3",)), *seldom(*(
        (name, memory_format, ("full", "blocks:3", "mobiletl:3", "norm+last", "full,checkpoint=blocks"))
        for name in ("mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "mcunet_5fps")
        for memory_format in ("contiguous", "channels_last")
    )),
])  # fmt: skip
def test_shipped_networks(name, memory_format, strategies):
    for strategy in strategies:
        for again in (MAPS, MIXED):
            hold(name, f"{strategy},{again}", 3, 97, memory_format)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name, memory_format", [
    ("mobilenet_v2", "contiguous"), ("efficientnet_b0", "channels_last"), *seldom(
        ("mobilenet_v2", "channels_last"), ("efficientnet_b0", "contiguous"), *(
            (name, memory_format)
            for name in ("mnasnet_b1", "mobilenet_v3_small") for memory_format in ("contiguous", "channels_last")
        ),
    ),
])  # fmt: skip
def test_gradients_are_exact(name, memory_format, monkeypatch):
    # Hardsigmoid's backward multiplies by 1/6 in float32, whatever the data type.
    close = 1e-7 if name == "mobilenet_v3_small" else 1e-12
    for cut in (60_000, remade.SLICE_BYTES):
        monkeypatch.setattr(remade, "SLICE_BYTES", cut)
        for strategy in (f"full,{MAPS}", f"full,{MIXED}"):
            assert hold_gradients(name, strategy, 3, 64, memory_format, close)


def test_by_mobiletls_rule_gradients_are_those_of_lean_modules_without():
    """The signed activations stay as they are; products of squeeze-and-excite, and trained norms, make maps again."""
    torch.manual_seed(0)
    plain, maps = (
        realize("mobilenet_v3_small", f"mobiletl:3{more}", "lean").double() for more in (",recompute=none", "")
    )
    maps.load_state_dict(plain.state_dict())
    images, labels = torch.randn(3, 3, 65, 65, dtype=torch.float64), torch.arange(3)
    (out, expected, _), (found_out, found, _) = (gradients(module, images, labels) for module in (plain, maps))
    assert torch.equal(out, found_out) and expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)


class Scaled(nn.Module):
    """Convolution, norm, activation, what `scale` does with the result and its average p (N, C, 1, 1), convolution."""

    def __init__(self, scale):
        super().__init__()
        self.a, self.norm, self.act, self.b = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Hardswish(), nn.Conv2d(8, 8, 1)
        self.gate, self.single, self.fc = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 1, 1), nn.Linear(8, 5)
        self.scale = scale

    def forward(self, x):
        y = self.act(self.norm(self.a(x)))
        return self.fc(self.b(self.scale(self, y, y.mean((2, 3), keepdim=True))).mean((2, 3)))


def add_in_place(module, y, p):
    y += module.gate(p).sigmoid()
    return y


#: What is done to a map -> whether the product is made again.
SCALES = {
    "a gate": (lambda m, y, p: y * m.gate(p).sigmoid(), True),
    "the gate first": (lambda m, y, p: m.gate(p).sigmoid() * y, True),
    "the average alone": (lambda m, y, p: y * p.sigmoid(), True),
    "one number an image": (lambda m, y, p: y * m.single(p).sigmoid(), False),
    "as large as the map": (lambda m, y, p: y * interpolate(m.gate(p).sigmoid(), size=(14, 14)), False),
    "over the channels": (lambda m, y, p: y * m.gate(p).softmax(1), False),
    "over the batch": (lambda m, y, p: y * m.gate(p).mean(0, keepdim=True), False),
    "a sum, in place": (add_in_place, False),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", SCALES)
def test_only_a_gate_of_channels_is_one(name):
    scale, again = SCALES[name]
    module = Scaled(scale)
    network = costmodel.load(module, resolution=16)
    kinds = {node.op.kind for node in hold(network, "full", 2, 16).graph.nodes}
    assert ("remaking_mul" in kinds) == again
    images, labels = torch.randn(2, 3, 16, 16, dtype=torch.float64), torch.arange(2)
    lean = realize(network, "full", "lean").double()
    stock = copy.deepcopy(module).double()
    lean.load_state_dict(stock.state_dict())
    (out, expected, _), (found_out, found, _) = (gradients(one, images, labels) for one in (stock, lean))
    assert torch.equal(out, found_out)
    for path, gradient in expected.items():
        torch.testing.assert_close(found[path], gradient, rtol=1e-10, atol=1e-13)


def on_random(spec, strategy_and_again, batch):
    network, (strategy, again) = loaded(spec), strategy_and_again
    strategy = strategy.replace("all", str(len(network.graph.blocks)))
    note(f"{network}\n{strategy}, batch {batch}")
    try:
        hold(network, f"{strategy},{again}", batch, network.resolution)
    except CostmodelError as error:
        assert "batch statistics of one value per channel" in str(error)
        reject()
    hold_gradients(network, f"{strategy},{again}", batch, network.resolution, close=1e-6)


test_blocks, test_nodes, test_many_of_blocks, test_many_of_nodes = on_random_networks(
    on_random, st.tuples(st.sampled_from(STRATEGIES), st.sampled_from([MAPS, MIXED]))
)


KEPT = """\
network: kept
resolution: 17
classes: 5
norm: {op: batch_norm}
activation: {op: sigmoid}
squeeze_excite: {of: input, ratio: 0.25, activation: {op: sigmoid}, gate: {op: sigmoid}}
stem:
  - {conv: 8, kernel: 3, stride: 2, at: [stem.conv, stem.norm, stem.activation]}
stages:
  - {out: 8, kernel: 1, squeeze_excite: true}
tail:
  - {op: adaptive_avg_pool2d, at: pool}
  - {op: flatten, at: flatten}
  - {op: linear, out_features: classes, at: classifier}
"""


def test_a_product_of_a_kept_map_holds_nothing_for_a_norm(spec_file):
    """Sigmoid is done by no norm, so that its result is kept; what the projection reads is made again of it."""
    found = hold(costmodel.load(spec_file(KEPT)), f"full,{MAPS}", 1, 17)
    projection = next(node.op for node in found.graph.nodes if node.name == "blocks.0.project.conv")
    assert projection.kept and projection.gated and not projection.batch
