"""The gradient of what a module returns is the caller's: no lean layer overwrites it, whatever the module ends in."""

import copy

import pytest
import torch
from costs import assert_costs_are_equal
from torch import nn

import costmodel
from costmodel.pytorch import measure, realize


class Gate(nn.Module):
    """A convolution, a norm and an activation, times a gate of its channels."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.gate = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        y = self.norm(self.conv(x)).relu()
        return y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()


class Sum(nn.Module):
    """The sum of a map and of what a convolution and a norm make of it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])

    def forward(self, x):
        y = self.norms[0](self.first(x)).relu()
        return y + self.norms[1](self.second(y))


def ended(*layers):
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *layers)


ENDS = {
    "batch norm and ReLU": lambda: ended(nn.BatchNorm2d(4), nn.ReLU()),
    "batch norm and h-swish": lambda: ended(nn.BatchNorm2d(4), nn.Hardswish()),
    "group norm and ReLU": lambda: ended(nn.GroupNorm(2, 4), nn.ReLU()),
    "group norm and SiLU": lambda: ended(nn.GroupNorm(2, 4), nn.SiLU()),
    "batch norm": lambda: ended(nn.BatchNorm2d(4)),
    "ReLU": lambda: ended(nn.ReLU()),
    "gate": Gate,
    "sum": Sum,
}


@pytest.mark.one_in(6)
@pytest.mark.parametrize("strategy", ["full", "full,recompute=mixed", "bias", "norm+last"])
@pytest.mark.parametrize("name", ENDS)
def test_it_is_not_overwritten(name, strategy):
    torch.manual_seed(0)
    module = ENDS[name]()
    network = costmodel.load(copy.deepcopy(module), resolution=8)
    first, second = torch.randn(2, 2, 3, 8, 8, dtype=torch.float64)
    weights = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    gradients = []
    for convention in ("torch", "lean"):
        realised = realize(network, strategy, convention).double()
        realised.load_state_dict(module.state_dict())
        ((realised(first) + realised(second)) * weights).sum().backward()  # a sum hands one gradient to both
        own = weights.clone()
        realised(first).backward(own)
        assert torch.equal(own, weights)
        gradients.append([p.grad for p in realised.parameters() if p.grad is not None])
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    found = costmodel.estimate(network, strategy, 2, 8, "lean", target="none")
    assert_costs_are_equal(found, found, measure(realize(network, strategy, "lean"), 2, 8))


@pytest.mark.parametrize("recompute", ["maps", "mixed"])
def test_inference_mode(recompute):
    module = realize("mobilenet_v3_small", f"full,recompute={recompute}", "lean").eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = module(images)
    with torch.inference_mode():
        assert torch.equal(module(images), expected)
