"""Where a checkpointed function stops to run again: what an op in the middle has made is gone when it ends."""

import pytest
from real import seldom
from strange import Base
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import costmodel
from costmodel.pytorch import measure

#: What runs again after a convolution: ops that keep what they make, or what they are given, or nothing.
ENDS = {
    "batch norm": lambda m, x: m.norm(x),
    "group norm": lambda m, x: F.group_norm(x, 2),
    "sort": lambda m, x: x.sort(1)[0],
}
MORE_ENDS = {
    "relu": lambda m, x: F.relu(x),
    "softmax": lambda m, x: x.softmax(1),
    "max": lambda m, x: x.max(1, True)[0].expand(x.shape),
    "exp": lambda m, x: x.exp(),
    "sine": lambda m, x: x.exp().sin(),
    "square": lambda m, x: x**2,
    "layer norm": lambda m, x: F.layer_norm(x, (10, 10)),
    "convolution": lambda m, x: m.second(x),
    "sum": lambda m, x: x + 1,
}


class Again(Base):
    """A convolution and an op that run again in the backward pass."""

    def __init__(self, end):
        super().__init__(nn.Conv2d(8, 8, 3, padding=1))
        self.end = end

    def forward(self, x):
        y = checkpoint(lambda y: self.end(self, self.second(y)), self.first(x), use_reentrant=False)
        return self.head(self.extra(y))


def hold(module, **more):
    found, real = costmodel.estimate(module, "as_is", 2, 10, target="none", **more), measure(module, 2, 10, **more)
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)


@pytest.mark.parametrize("amp", [None, "bfloat16"])
@pytest.mark.parametrize("name", [*ENDS, *seldom(*MORE_ENDS)])
def test_a_second_run_that_stops_in_an_op(name, amp):
    hold(Again({**ENDS, **MORE_ENDS}[name]), amp=amp)


class InParts(Base):
    def __init__(self):
        super().__init__(nn.Conv2d(8, 8, 3, padding=1))

    def forward(self, x):
        parts = nn.Sequential(self.first, self.norm, nn.ReLU(), self.second, self.extra)
        return self.head(checkpoint_sequential(parts, 2, x, use_reentrant=False))


@pytest.mark.parametrize("amp", [None, "bfloat16"])
def test_a_sequence_in_two_parts(amp):
    hold(InParts(), amp=amp)
