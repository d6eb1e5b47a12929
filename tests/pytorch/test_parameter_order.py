"""The order in which a module lists its parameters, and an optimizer updates them: as the graph has it."""

import pytest
import torch
from real import seldom
from torch import nn

import costmodel
from costmodel.errors import CostmodelError
from costmodel.files.shipped import shipped_names
from costmodel.graph.parameter_order import in_order
from costmodel.pytorch import measure, realize

NAMES = shipped_names("networks")
STRATEGIES = ("full", "blocks:2", "tinytl-lb", "da3", "repnet", "lora:2", "mobiletl:2+quantised")


def test_a_tree():
    used = [("a", "weight"), ("b.c", "weight"), ("b", "weight"), ("b.d", "bias"), ("e", "x"), ("a", "bias")]
    assert in_order(used, ()) == [
        ("a", "weight"), ("a", "bias"), ("b", "weight"), ("b.c", "weight"), ("b.d", "bias"), ("e", "x")
    ]  # fmt: skip
    registered = [("b.d", "bias"), ("not.used", "weight"), ("b.c", "weight"), ("a", "bias")]
    assert in_order(used, registered) == [
        ("b", "weight"), ("b.d", "bias"), ("b.c", "weight"), ("a", "bias"), ("a", "weight"), ("e", "x")
    ]  # fmt: skip


def listed(module):
    return [path for path, parameter in module.named_parameters() if parameter.requires_grad]


def assert_as_listed(network, strategy, convention):
    found = costmodel.estimate(network, strategy, 2, convention=convention, target="none")
    named = [".".join(key).lstrip(".") for key, (_, trains) in found.graph.parameters.items() if trains]
    assert listed(realize(network, strategy, convention)) == named


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", [NAMES[0], *seldom(*NAMES[1:])])
def test_shipped_networks(name, strategy):
    for convention in ("lean", *(() if "+" in strategy else ("torch",))):
        try:
            assert_as_listed(name, strategy, convention)
        except CostmodelError as refused:
            assert any(word in str(refused) for word in ("allowed", "no adaptor", "needs")), refused


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Conv2d(48, 16, 1)
        self.expand, self.norm = nn.Conv2d(16, 48, 1), nn.BatchNorm2d(48)

    def forward(self, x):
        return x + self.project(self.norm(self.expand(x)).relu())


class HeadFirst(nn.Module):
    """What runs last is listed first, and so it is within a block."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 3000)
        self.second, self.first, self.stem = Block(), Block(), nn.Conv2d(3, 16, 3)

    def forward(self, x):
        return self.fc(self.second(self.first(self.stem(x))).mean((2, 3)))


def network():
    return costmodel.load(HeadFirst(), resolution=12, blocks_are="Block")


@pytest.mark.parametrize("convention", ["torch", "lean"])
@pytest.mark.parametrize("strategy", ["full", "blocks:1", "lora:2", "tinytl-lb"])
def test_a_module_that_lists_them_otherwise(strategy, convention):
    assert_as_listed(network(), strategy, convention)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "adagrad", "nadam", "adam,foreach", "adam,in_place"])
@pytest.mark.parametrize("convention", ["torch", "lean"])
def test_the_peak_of_an_update(convention, optimizer):
    """The tensor that an update leaves to the next one is of the parameter that is listed before."""
    target, priced = f"cpu,threads={torch.get_num_threads()}", network()
    said = costmodel.estimate(priced, "full", 2, convention=convention, optimizer=optimizer, target="none")
    real = measure(realize(priced, "full", convention), 2, 12, optimizer=optimizer, target=target)
    assert said.step_peak_bytes == real.tensor_peak_bytes
    if convention == "torch":
        assert (
            measure(priced.module, 2, 12, optimizer=optimizer, target=target).tensor_peak_bytes
            == real.tensor_peak_bytes
        )


def test_adam_holds_a_tensor_of_the_parameter_before():
    """Adam's temporaries of the largest parameter, 3000 x 16 numbers, stand twice; none is before it in the list."""
    said = costmodel.estimate(network(), "full", 1, optimizer="adam", target="none")
    assert said.peak_at["phase"] == "update"
    gradients = 4 * said.trainable_parameters
    assert said.step_peak_bytes == gradients + 2 * 4 * 3000 * 16 + 4 + 8  # the loss, and a Python number


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_no_plan_where_parts_are_updated_in_another_order(optimizer):
    with pytest.raises(CostmodelError, match="the parameters of 'classifier' before those of 'second'"):
        costmodel.plan(network(), 10**9, optimizer=optimizer, target="none")
    costmodel.plan(network(), 10**9, optimizer="adam,foreach", target="none")
    costmodel.plan(network(), 10**9, optimizer="momentum", target="none")
