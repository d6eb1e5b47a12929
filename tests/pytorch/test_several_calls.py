"""Modules that are called more than once, under strategies: one flag, one mode and one lean form for all calls."""

import pytest
from real import seldom
from torch import nn

import costmodel
from costmodel.conventions.lean import different_calls, lower
from costmodel.pytorch.validate import validate
from costmodel.strategies import apply


class NormTwice(nn.Module):
    """One norm after two convolutions."""

    def __init__(self):
        super().__init__()
        self.one, self.other, self.norm = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
        )
        self.squeeze, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        x = self.norm(self.one(x)).relu()
        x = self.squeeze(self.norm(self.other(x)).relu())
        return self.head(x.mean((2, 3)))


class ConvTwice(nn.Module):
    """One convolution that is called twice, with a norm of its own after each call."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norms, self.head = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2)), nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        for norm in self.norms:
            x = norm(self.conv(x)).relu()
        return self.head(x.mean((2, 3)))


CASES = [
    (NormTwice, "gradfilter:2"), (ConvTwice, "last"), (NormTwice, "lora:2"), *seldom(
        (NormTwice, "sparse,bias=2,weights=1:.5"), (NormTwice, "lora:2,fa=1"), (NormTwice, "full"), (NormTwice, "bias"),
        (ConvTwice, "last+quantised"), (ConvTwice, "layers:100"), (ConvTwice, "full+quantised"), (ConvTwice, "bias"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("kind, strategy", CASES)
def test_a_lean_step_is_what_is_estimated(kind, strategy):
    for check in validate(costmodel.load(kind(), resolution=32), strategy, 2, 32, "lean", target="cpu"):
        assert check.error == 0, check


def test_what_trains_in_one_call_trains_in_all_and_a_norm_has_one_mode():
    graph = apply("sparse,bias=2,weights=1:.5", costmodel.load(NormTwice(), resolution=32).graph)
    calls = [node for node in graph.nodes if node.owner == "norm"]
    assert [node.trains for node in calls] == [{"bias"}] * 2
    assert {node.op.statistics for node in calls} == {"frozen"}


def test_calls_that_would_differ_stay_stock():
    graph = apply("last", costmodel.load(ConvTwice(), resolution=32).graph)
    lowered = lower(graph)
    assert not different_calls(lowered)
    assert {node.op.kind for node in lowered.nodes if node.owner == "conv"} == {"conv2d"}
    one, other = [node for node in graph.nodes if node.owner == "conv"]
    assert one.op == other.op and different_calls(graph) == {}
