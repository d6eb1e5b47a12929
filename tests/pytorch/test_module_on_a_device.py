"""A module of one's own, priced on a device."""

import torch
from strange import LargeBatch
from torch import nn

import costmodel


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 10)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))


def test_it_is_held_against_a_dry_step_and_has_seconds():
    found = costmodel.estimate(Plain(), batch=2, inputs=["3x16x16"], device="raspberry_pi_4b")
    assert found.seconds > 0 and found.certainty.saved == "checked"
    again = costmodel.estimate(Plain(), batch=2, inputs=["3x16x16"], device="raspberry_pi_4b,memory=1GB")
    assert again.seconds == found.seconds  # memory does not change it


def test_without_a_layer_graph_there_are_no_seconds():
    found = costmodel.estimate(LargeBatch(), "as_is", batch=4, resolution=10, device="raspberry_pi_4b")
    assert found.certainty.saved == "dry" and found.seconds is None
    assert found.to_dict()["seconds"] is None
