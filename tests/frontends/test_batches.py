"""Constants whose sizes follow the batch, and others that only look as if they did."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import costmodel
from costmodel.frontends.modules.batches import for_any_batch, sizes_of
from costmodel.pytorch import measure


class Twins(nn.Module):
    """Two views of each image, as in a contrastive loss."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 8)

    def of(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))

    def forward(self, a, b):
        return torch.cat((self.of(a), self.of(b)))


def contrast(outputs):
    z = F.normalize(outputs, dim=1)
    n = len(z)
    likeness = (z @ z.T / 0.5).masked_fill(torch.eye(n, dtype=torch.bool), -1e9)
    return F.cross_entropy(likeness, (torch.arange(n) + n // 2) % n)


class Letters(nn.Module):
    """Numbers of the 26 letters and of half of them: twice the batch of a trace and once, but no batch."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(26, 4)
        self.held = torch.ones(13)

    def forward(self, x):
        y = self.fc(x * torch.arange(26.0)) * self.held.sum()
        return y * (y.mean() * torch.ones(13)).sum()


@pytest.mark.parametrize("batch", [2, 5])
def test_constants_of_twice_the_batch(batch):
    given = {"inputs": [(3, 8, 8)] * 2, "loss": contrast}
    found = costmodel.estimate(Twins(), "as_is", batch, target="none", **given)
    real = measure(Twins(), batch, **given)
    assert found.certainty.saved == "checked", found.notes
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)
    sizes = [sizes_of(node) for node in found.graph.nodes if sizes_of(node)]
    assert sizes == [(-2, -2), (-2,)]  # the mask and the targets
    grid = costmodel.sweep(Twins(), ["full", "last"], [batch], target="none", **given)
    assert grid.to_dict()["step_peak_bytes"][0] == real.tensor_peak_bytes


@pytest.mark.parametrize("batch", [2, 13])
def test_other_constants_keep_their_sizes(batch):
    found = costmodel.estimate(Letters(), "as_is", batch, inputs=(26,), target="none")
    assert found.certainty.saved == "checked", found.notes
    assert [sizes_of(node) for node in found.graph.nodes if sizes_of(node)] == [(26,), (13,)]


class Odd(nn.Module):
    """Runs at odd batches alone, on a constant of twice the batch."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        if len(x) % 2 == 0:
            raise ValueError
        return self.fc(x) * torch.ones(2 * len(x)).sum()


def test_a_module_that_does_not_run_at_another_batch():
    assert [node.op.kind for node in costmodel.load(Odd(), inputs=(6,)).graph.nodes][:1] == ["linear"]


def test_a_run_of_other_layers_is_not_compared():
    graphs = {
        batch: costmodel.load(nn.Sequential(*[nn.ReLU()] * (batch - 12)), inputs=(26,)).graph for batch in (13, 14)
    }
    assert for_any_batch(graphs.get, 13) is graphs[13]
