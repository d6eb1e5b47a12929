"""layers:MASK: any convolutions and linear layers train, each with its norm, as a real run says."""

import random

import pytest
import torch
from real import seldom
from torch import nn

import costmodel
from costmodel.errors import CostmodelError
from costmodel.ops.layers_in_order import layers_of
from costmodel.pytorch import realize
from costmodel.pytorch.validate import validate
from costmodel.strategies import apply

NETWORKS = ("mcunet_5fps", "mobilenet_v3_small", *seldom("mobilenet_v2", "efficientnet_b0"))


def mask_of(name, seed):
    """A random mask, with holes, of the last layers or of all."""
    generator, count = random.Random(seed), len(layers_of(costmodel.load(name).graph))
    frozen = generator.choice([0, count // 2, count - 5])
    return "0" * frozen + "".join(generator.choice("01") for _ in range(count - frozen - 1)) + "1"


@pytest.mark.one_in(3)
@pytest.mark.parametrize("convention", ["torch", "lean"])
@pytest.mark.parametrize("seed", [0, *seldom(*range(1, 8))])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_layers_train_as_a_real_run_says(name, seed, convention):
    for check in validate(costmodel.load(name), f"layers:{mask_of(name, seed)}", 2, 65, convention, target="cpu"):
        assert check.error == 0, check


def test_a_layer_and_its_norm_train_together_and_no_others_statistics_move():
    network = costmodel.load("mcunet_5fps")
    layers = layers_of(network.graph)
    assert len(layers) == 43  # 42 convolutions, and the classifier
    mask = "".join("1" if k in (3, 17, 42) else "0" for k in range(43))
    graph = apply(f"layers:{mask}", network.graph)
    trained = {node.owner for node in graph.nodes if node.trains}
    chosen = [layers[k] for k in (3, 17, 42)]
    assert trained == {layer.owner for layer in chosen} | {norm for layer in chosen for norm in layer.norms}
    batch = {node.owner for node in graph.nodes if getattr(node.op, "statistics", "") == "batch"}
    assert batch == {norm for layer in chosen for norm in layer.norms}
    module = realize(network, f"layers:{mask}")
    assert {name.rpartition(".")[0] for name, p in module.named_parameters() if p.requires_grad} == trained


def test_a_module_that_is_called_twice_is_one_layer():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(3, 2)

        def forward(self, x):
            return self.head(self.norm(self.conv(self.conv(x))).mean((2, 3)))

    torch.manual_seed(0)
    network = costmodel.load(Twice(), resolution=8)
    assert [layer.owner for layer in layers_of(network.graph)] == ["conv", "head"]
    for mask in ("10", "01", "11"):
        for check in validate(network, f"layers:{mask}", 2, 8, target="cpu"):
            assert check.error == 0, check


@pytest.mark.parametrize("strategy", ["layers", "layers:", "layers:01", f"layers:{'2' * 43}", f"layers:{'1' * 44}"])
def test_a_mask_of_another_length_is_one_message(strategy):
    with pytest.raises(
        CostmodelError, match="allowed: 43 digits 0 or 1, one for each .* from first_conv.conv to classif"
    ):
        costmodel.estimate("mcunet_5fps", strategy, 2)


@pytest.mark.parametrize("strategy, message", [
    ("blocks:3+foo", "unknown form or modifier 'foo'"),
    ("full+foo,bits=4", "unknown form or modifier 'foo'"),
    ("norm+last+foo", "unknown strategy|unknown form or modifier"),
])  # fmt: skip
def test_an_unknown_modifier_is_one_message(strategy, message):
    with pytest.raises(CostmodelError, match=message):
        costmodel.estimate("mcunet_5fps", strategy, 2)
