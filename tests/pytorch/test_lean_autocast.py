"""Lean modules under autocast: they keep no casts, cost what is estimated, and compute what stock modules do."""

import copy

import pytest
import torch
from real import seldom
from test_mixed_steps import hold
from torch import nn
from torch.nn.functional import cross_entropy

import costmodel
from costmodel import CostmodelError
from costmodel.pytorch import realize
from costmodel.pytorch.lean.casting import convolved, like, lowered

IN_BFLOAT16 = [
    ("mobilenet_v3_small", "full"), ("mcunet_5fps", "blocks:3,prefix_slices=2"), ("mcunet_5fps", "mobiletl:3"),
    ("proxyless_mobile_tinytl", "full,recompute=mixed"),
]  # fmt: skip
STRATEGIES = (
    "full", "full,recompute=none", "full,recompute=mixed", "blocks:3", "mobiletl:3", "mobiletl:3,act=exact,norm=scale",
    "bias", "last", "norm+last", "full,checkpoint=blocks", "blocks:4,checkpoint=blocks,recompute=mixed",
    "blocks:3,prefix_slices=2",
)  # fmt: skip
NETWORKS = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "mobilenet_v4_conv_small",
            "mnasnet_b1", "mcunet_5fps", "proxyless_mobile_tinytl")  # fmt: skip
#: Casts in float16 are slow on CPUs that have no arithmetic for it.
IN_FLOAT16 = [("mcunet_5fps", "full,checkpoint=blocks")]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("amp, name, strategy", [
    *(("bfloat16", *case) for case in IN_BFLOAT16), *(("float16", *case) for case in IN_FLOAT16),
    *seldom(*((amp, n, s) for amp in ("bfloat16", "float16") for n in NETWORKS for s in STRATEGIES
              if (n, s) not in (IN_FLOAT16 if amp == "float16" else IN_BFLOAT16))),
])  # fmt: skip
def test_a_step_costs_what_is_estimated(amp, name, strategy):
    network, form = costmodel.load(name), "channels_last" if amp == "float16" else ""
    module = realize(network, strategy, "lean", memory_format=form or "contiguous")
    hold(module, network, strategy, 3, 97, form and f",{form}", amp=amp, convention="lean")


def test_micro_steps():
    network = costmodel.load("mobilenet_v3_small")
    hold(realize(network, "full", "lean"), network, "full", 2, 97, amp="bfloat16", convention="lean", accumulate=3)


def step(module, images, labels, amp):
    """Output, gradients by name and buffers of a step."""
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        out = module(images)
        loss = cross_entropy(out, labels)
    loss.backward()
    return out.detach(), {n: p.grad.double() for n, p in module.named_parameters() if p.grad is not None}, module


@pytest.mark.one_in(3)
@pytest.mark.parametrize("strategy", ["full", "full,recompute=mixed", "full,recompute=none", "bias"])
@pytest.mark.parametrize(
    "name", ["mobilenet_v3_small", *seldom("mobilenet_v2", "efficientnet_b0", "proxyless_mobile_tinytl")]
)
def test_it_computes_what_stock_modules_do(name, strategy):
    """Equal outputs and buffers; gradients in float32, as far from those of float64 as stock modules' are."""
    torch.manual_seed(0)
    plain = strategy.partition(",")[0]
    stock, exact, lean = realize(name, plain), realize(name, plain), realize(name, strategy, "lean")
    lean.load_state_dict(stock.state_dict())
    exact.load_state_dict(stock.state_dict())
    images, labels = torch.randn(4, 3, 96, 96), torch.arange(4)
    out, gradients, _ = step(stock, images, labels, True)
    found_out, found, _ = step(lean, images, labels, True)
    _, true, _ = step(exact.double(), images.double(), labels, False)
    assert torch.equal(out, found_out)
    assert all(torch.equal(one, other) for one, other in zip(stock.buffers(), lean.buffers()))
    assert {p.grad.dtype for p in lean.parameters() if p.grad is not None} == {torch.float32}

    def error(some):
        return torch.cat([(some[n] - g).flatten() for n, g in true.items()]).norm().item()

    assert found.keys() == true.keys()
    assert error(found) <= 1.02 * error(gradients)


def test_no_cast_of_a_weight_is_kept():
    """Stock modules save a cast of each convolution's weight, of 2 bytes a number; lean ones cast it again."""
    network = costmodel.load("mobilenet_v3_small")
    stock, lean = (
        costmodel.estimate(network, "full,recompute=none", 1, 64, convention, amp="bfloat16")
        for convention in ("torch", "lean")
    )

    def casts(estimate):
        nodes = estimate.graph.nodes
        convolutions = {node.name for node in nodes if "conv2d" in node.op.kind}
        made = [nodes[one.value - 1] for one in estimate.kept if one.value]
        return [n for n in made if n.op.kind == "cast" and n.host in convolutions and "weight" in n.name]

    assert len(casts(stock)) > 50 and casts(lean) == []


def test_layers_alone_and_outside():
    x, weight = torch.randn(1, 3, 5, 5), torch.randn(2, 3, 3, 3)
    options = (1, 0, 1, 1)
    assert lowered(x) is x and like(x, weight) is weight
    assert torch.equal(convolved(x, weight, None, options), torch.conv2d(x, weight))
    with torch.autocast("cpu", torch.bfloat16):
        y = lowered(x)
        assert y.dtype is torch.bfloat16 and lowered(y) is y
        assert torch.equal(convolved(y, weight, None, options), torch.conv2d(x, weight))
        assert convolved(x, weight, None, options).dtype is torch.float32  # in x's own type


class InTwoWidths(nn.Module):
    """A convolution's result in 16 bits plus the image in 32: the norm's result is cast for the next convolution."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.act = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()
        self.second, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.second(self.act(self.norm(x + self.first(x)))).mean((2, 3)))


def test_what_is_refused():
    with pytest.raises(CostmodelError, match="its input is cast, which lean modules then keep.*recompute=none"):
        costmodel.estimate(InTwoWidths(), "full", convention="lean", amp="bfloat16")


def test_a_map_in_32_bits_is_cast_as_in_stock_modules():
    stock = InTwoWidths()
    lean = realize(copy.deepcopy(stock), "full", "lean")
    images, labels = torch.randn(2, 3, 9, 9), torch.arange(2)
    out, gradients, _ = step(stock, images, labels, True)
    found_out, found, _ = step(lean, images, labels, True)
    assert torch.equal(out, found_out)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4)
