"""A frozen prefix runs in slices of the batch only if each image is seen by itself."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import costmodel
from costmodel.errors import CostmodelError
from costmodel.pytorch.validate import validate
from costmodel.strategies._mixing import mixes_images


class Net(nn.Module):
    def __init__(self, within):
        super().__init__()
        self.first, self.second, self.fc, self.within = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5), within

    def forward(self, x):
        return self.fc(self.second(self.within(self.first(x))).mean((2, 3)))


MIXING = {
    "mean": lambda y: y - y.mean(0, keepdim=True),
    "flip": lambda y: y.flip(0),
    "roll": lambda y: y.roll(1, 0),
    "slice": lambda y: y * y[:1],
    "vector_norm": lambda y: y / y.norm(),
    "softmax": lambda y: y.softmax(0),
    "cumsum": lambda y: y.transpose(0, 1).cumsum(1).transpose(0, 1),
    "amax": lambda y: y - y.amax(0, keepdim=True),
    "standardise": lambda y: F.batch_norm(y, None, None, training=True),
}


@pytest.mark.parametrize("kind", MIXING)
def test_slices_are_refused_where_images_mix(kind):
    network = costmodel.load(Net(MIXING[kind]), resolution=8)
    with pytest.raises(CostmodelError, match=rf"prefix_slices, but {kind} \({kind}\) reads several images of a batch"):
        costmodel.estimate(network, "last,prefix_slices=2", 4, convention="lean")
    costmodel.estimate(network, "last", 4, convention="lean")


@pytest.mark.parametrize("within", [
    lambda y: y * 2,
    lambda y: torch.cat([y, 0.9 * y]).chunk(2)[1],
    lambda y: y.softmax(1).cumsum(2),
    lambda y: y.transpose(0, 1).softmax(0).transpose(0, 1),
    lambda y: F.instance_norm(y),
    lambda y: y.flatten(1).softmax(1).reshape(y.shape),
])  # fmt: skip
def test_slices_equal_a_real_step_where_they_do_not(within):
    network = costmodel.load(Net(within), resolution=8)
    sliced = costmodel.estimate(network, "last,prefix_slices=2", 4, convention="lean")
    assert mixes_images(sliced.graph) is None
    assert all(check.holds for check in validate(network, "last,prefix_slices=2", 4, None, "lean"))
