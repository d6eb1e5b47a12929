"""Gradients that lean layers overwrite, against real steps: the readers of a layer's output decide if it may."""

import pytest
import torch
from real import seldom
from torch import nn

import costmodel
from costmodel.frontends.modules.trace import trace
from costmodel.graph.inputs import images
from costmodel.pytorch import measure, realize


class Head(nn.Module):
    """A function of the maps as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Net(nn.Module):
    """Two convolutions with norms, an activation, and a head that makes one number of each map."""

    def __init__(self, head):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.head, self.classifier = head, nn.Linear(8, 10)

    def forward(self, x):
        return self.classifier(self.head(self.body(self.stem(x))))


class Turned(nn.Module):
    """A linear layer over the channels: the output that the activation reads is in channels_last."""

    def __init__(self):
        super().__init__()
        self.layer, self.activation = nn.Linear(8, 8), nn.ReLU6()

    def forward(self, x):
        return self.activation(self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)).var((2, 3))


#: name -> (head, whether the activation may overwrite its gradient)
HEADS = {
    "var": (Head(lambda x: x.var((2, 3))), True),
    "vector_norm": (Head(lambda x: torch.linalg.vector_norm(x, 2, (2, 3))), True),
    "mean": (Head(lambda x: x.mean((2, 3))), False),
    "sum": (Head(lambda x: x.sum((2, 3))), False),
    "pool to 1x1": (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), False),
    "pool to 2x3": (nn.Sequential(nn.AdaptiveAvgPool2d((2, 3)), Head(lambda x: x.var((2, 3)))), True),
}
#: These copy tensors that are not contiguous, which is counted if the target's own format is contiguous.
COPYING = {
    "matmul": (Head(lambda x: (x @ x).var((2, 3))), False),
    "softmax": (Head(lambda x: x.softmax(1).var((2, 3))), True),
    "turned": (Turned(), False),
}
CASES = [(name, *case, memory_format) for name, case in HEADS.items() for memory_format in ("", ",channels_last")]
CASES += [(name, *case, "") for name, case in COPYING.items()]


@pytest.mark.one_in(5)
@pytest.mark.parametrize("strategy", ["full", "full,recompute=none", *seldom("bias")])
@pytest.mark.parametrize("name, head, overwrites, memory_format", CASES, ids=lambda value: str(value).split("(")[0])
def test_a_gradient_is_overwritten_where_it_is_handed_over(name, head, overwrites, memory_format, strategy):
    network, target = trace(Net(head), images(16)), f"cpu,threads=1{memory_format}"
    predicted = costmodel.estimate(network, strategy, 2, 16, "lean", target=target)
    # The activation's function, or the norm's, which does its work.
    ops = {node.name: node.op for node in predicted.graph.nodes}
    own = next(ops[name] for name in ("body.2", "body.1") if hasattr(ops[name], "owns"))
    assert own.owns == overwrites
    measured = measure(realize(network, strategy, "lean"), 2, 16, target=target)
    tensors = costmodel.estimate(network, strategy, 2, 16, "lean", target="none,threads=1")
    assert predicted.saved_bytes == measured.saved_bytes
    assert tensors.step_peak_bytes == measured.tensor_peak_bytes
    assert predicted.step_peak_bytes == measured.step_peak_bytes
