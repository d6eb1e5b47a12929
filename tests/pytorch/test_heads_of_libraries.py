"""Networks of libraries that return several tensors, or maps, and recurrent heads: held against real steps."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import costmodel
from costmodel.frontends import load_or_dry
from costmodel.pytorch.validate import validate

SEGMENTATION = ("torchvision:lraspp_mobilenet_v3_large", "torchvision:deeplabv3_mobilenet_v3_large")


def with_auxiliary_heads(outputs, targets):
    beside = cross_entropy(outputs.aux_logits1, targets) + cross_entropy(outputs.aux_logits2, targets)
    return cross_entropy(outputs.logits, targets) + 0.3 * beside


def classes(batch):
    return torch.zeros(batch, dtype=torch.int64)


class Recurrent(nn.Module):
    """Convolutions over a spectrogram, an LSTM over time, and a class at each time."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.rnn = nn.LSTM(8 * 20, 24, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(48, 11)

    def forward(self, x):
        x = self.conv(x).permute(0, 3, 1, 2).flatten(2)
        return self.fc(self.rnn(x)[0]).transpose(1, 2)


def assert_exact(network, strategy, certainty="checked"):
    for batch in (2, 3):
        assert costmodel.estimate(network, strategy, batch).certainty.saved == certainty
        for check in validate(network, strategy, batch, None):
            assert check.holds, (batch, check)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["full", "last", "inference"])
@pytest.mark.parametrize("name", SEGMENTATION)
def test_segmentation(name, strategy):
    assert_exact(costmodel.load(name, resolution=65), strategy)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["full", "last", "bias"])
def test_googlenet_with_its_auxiliary_heads(strategy):
    more = {"loss": with_auxiliary_heads, "targets": classes}
    assert_exact(costmodel.load("torchvision:googlenet", resolution=65, **more), strategy)


@pytest.mark.parametrize("strategy", ["full", "as_is", "inference"])
def test_a_recurrent_head_is_answered_by_a_dry_step(strategy):
    assert_exact(load_or_dry(Recurrent(), inputs=(1, 40, 96)), strategy, "dry")
