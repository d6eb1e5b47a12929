"""A module that is made of another one is held against it: what trains otherwise is refused, with its place."""

import random

import pytest
import torch
from strange import CASES, Base, conv, of
from torch import nn
from torch.nn import functional as F

import costmodel
from costmodel import CostmodelError
from costmodel.frontends.modules import functions
from costmodel.ops.activation import ReLU
from costmodel.ops.resize import Interpolate, scaled
from costmodel.pytorch import measure, proof, realize
from costmodel.strategies import apply

OTHERWISE = "the realised module does not train as the original: "


def load(module):
    return costmodel.load(module, resolution=10)


@pytest.mark.parametrize("name, said", [
    ("HalfBatch", "outputs differ, first that of second"),
    ("LargeBatch", "outputs differ"),
    ("Chance", "outputs differ"),
    ("PythonChance", "outputs differ"),
    ("ForImages", "cannot be held against it, which fails at 3x10x10"),
])  # fmt: skip
def test_what_does_something_else_is_refused(name, said):
    torch.manual_seed(0)
    random.seed(3)
    network = load(CASES[name]().train())
    with pytest.raises(CostmodelError, match=f"{OTHERWISE}{said}.*; check=False realises it anyhow"):
        realize(network)
    assert isinstance(realize(network, check=False), nn.Module)


def test_the_first_layer_whose_output_differs_is_named(monkeypatch):
    monkeypatch.setattr(ReLU, "module", lambda self, library: lambda x: x.relu() * 1.001)
    net = nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 4), nn.Flatten(), nn.LazyLinear(5))
    net(torch.zeros(1, 3, 10, 10))
    with pytest.raises(CostmodelError, match=f"{OTHERWISE}outputs differ, first that of 2;"):
        realize(load(net))


def test_the_gradient_that_differs_is_named(monkeypatch):
    class Turned(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.relu()

        @staticmethod
        def backward(ctx, gradient):
            return -gradient

    monkeypatch.setattr(ReLU, "module", lambda self, library: Turned.apply)
    with pytest.raises(CostmodelError, match=f"{OTHERWISE}outputs are equal, but not the gradient of norm.bias"):
        realize(load(Base()))
    assert realize(load(Base()), "last")  # no gradient passes there
    assert realize(load(Base()), "inference")


def test_a_forgotten_stop_of_gradients_is_found(monkeypatch):
    monkeypatch.setitem(functions.FUNCTIONS, "detach", lambda t, x: x)
    with pytest.raises(CostmodelError, match=f"{OTHERWISE}outputs are equal, but not the gradient of second"):
        realize(load(CASES["Detached"]()))


def everything(module):
    state = {key: value.clone() for key, value in module.state_dict().items()}
    flags = {path: (p.requires_grad, p.grad) for path, p in module.named_parameters()}
    modes = {path: (child.training, len(child._forward_hooks)) for path, child in module.named_modules()}
    return state, flags, modes, torch.get_rng_state(), random.getstate()


def test_nothing_of_the_original_changes():
    module = nn.Sequential(Base(nn.Dropout(0.5)), nn.ReLU()).train()
    module[0].first.requires_grad_(False)
    module[0].norm.eval()
    module[0].fc.weight.grad = torch.ones(5, 8)
    network, before = load(module), everything(module)
    for strategy in ("full", "as_is", "inference"):
        realised = realize(network, strategy)
        assert all(p.grad is None for p in realised.parameters())
    after = everything(module)
    assert all(torch.equal(after[0][key], value) for key, value in before[0].items())
    assert after[1:3] == before[1:3] and after[4] == before[4] and torch.equal(after[3], before[3])


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "strategy", ["full", "bias", "mobiletl:2", "last,prefix_slices=2", "blocks:2,checkpoint=blocks"]
)
def test_lean_modules_prove_themselves(strategy):
    network = costmodel.load("timm:mobilenetv3_small_050")
    assert isinstance(realize(network, strategy, "lean"), nn.Module)


def test_only_exact_gradients_are_compared():
    graph = costmodel.load("torchvision:mobilenet_v2").graph
    exact = proof._exact_parameters(apply("mobiletl:2", graph))
    assert {"classifier.1.weight", "features.18.0.weight", "features.17.conv.3.bias"} <= exact
    assert not {"features.17.conv.0.0.weight", "features.0.0.weight"} & exact
    every = {".".join(key) for key in graph.parameters}
    assert proof._exact_parameters(apply("full", graph)) == every


# -- resizing by a factor ------------------------------------------------------------------------------------


@pytest.mark.one_in(4)
@pytest.mark.parametrize("more", [
    {"scale_factor": 1.5}, {"scale_factor": 1.7, "mode": "bilinear"}, {"scale_factor": (0.63, 2.2), "mode": "bicubic"},
    {"scale_factor": 1.7, "mode": "bilinear", "recompute_scale_factor": True}, {"size": (11, 7)}, {"scale_factor": 2},
    {"scale_factor": 2.3, "mode": "nearest-exact"},
        {"scale_factor": 2.04, "mode": "bilinear"},
])  # fmt: skip
def test_a_map_resized_by_a_factor_is_the_same_map(more):
    torch.manual_seed(0)
    module = of(lambda x: F.interpolate(x, **more))()
    realised = realize(load(module), "as_is")
    x = torch.randn(2, 3, 10, 10)
    assert torch.equal(realised(x), module(x))
    found = costmodel.estimate(module, "as_is", 4, 10, target="none")
    assert found.step_peak_bytes == measure(module, 4, 10).tensor_peak_bytes and found.certainty.saved == "checked"


def test_a_factor_gives_torchs_size_at_every_resolution():
    op = Interpolate(mode="bilinear", scales=(1.7, 0.35))
    for side in range(3, 60):
        map_ = torch.zeros(1, 1, side, side)
        assert op.shape((1, 1, side, side)) == F.interpolate(map_, scale_factor=(1.7, 0.35)).shape
    assert [scaled(side, 1.7) for side in (9, 10)] == [15, 17]
    for bad in ({}, {"size": 3, "scales": (1.0, 1.0)}, {"scales": (1.0,)}, {"scales": (1.0, 0.0)}):
        with pytest.raises(CostmodelError, match="takes a size or two factors > 0"):
            Interpolate(**bad)
