"""Functions that overwrite their input, under the names that torch has for them beside inplace=True."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import costmodel
from costmodel.pytorch import measure


class Overwritten(nn.Module):
    """A convolution whose output a function overwrites."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function, self.fc = nn.Conv2d(3, 4, 3), function, nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.function(self.layer(x)).mean((2, 3)))


@pytest.mark.parametrize("name", ["elu_", "celu_", "selu_", "relu_", "leaky_relu_", "hardtanh_"])
def test_a_function(name):
    module, target = Overwritten(getattr(F, name)), f"cpu,threads={torch.get_num_threads()}"
    said, real = costmodel.estimate(module, "full", 2, 9, target=target), measure(module, 2, 9, target=target)
    assert said.certainty.saved == "checked"
    assert (said.saved_bytes, said.step_peak_bytes) == (real.saved_bytes, real.step_peak_bytes)
