"""A lean module in evaluation mode: noise is off there, and the gradient that it passes may belong to others, too."""

import copy

import pytest
import torch
from real import seldom
from torch import nn
from torch.nn.functional import cross_entropy
from torchvision.ops import StochasticDepth

import costmodel
from costmodel.pytorch import measure, realize

NOISES = {"dropout": nn.Dropout(0.1), "dropout2d": nn.Dropout2d(0.1), "depth": StochasticDepth(0.1, "row")}


class Block(nn.Module):
    """A sum of its input and of a convolution's, norm's and activation's result times noise."""

    def __init__(self, act, noise):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.act, self.noise = act, noise

    def forward(self, x):
        return x + self.noise(self.act(self.norm(self.conv(x))))


def network(act, noise):
    stem = (nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
    head = (nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return nn.Sequential(*stem, Block(act, noise), *head)


def gradients(module, images):
    cross_entropy(module(images), torch.tensor([0, 1])).backward()
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("strategy", ["full", *seldom("full,recompute=mixed", "full,recompute=none", "norm+last")])
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("act", [nn.Hardswish(), nn.ReLU(), *seldom(nn.SiLU(), nn.Identity())], ids=str)
def test_gradients_are_stocks(act, noise, strategy):
    loaded = costmodel.load(network(act, NOISES[noise]), resolution=16, blocks_are="3")
    plain = strategy.partition(",recompute=")[0]
    stock, lean = (copy.deepcopy(realize(loaded, *how)).double().eval() for how in ((plain,), (strategy, "lean")))
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected, found = gradients(stock, images), gradients(lean, images)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)


def test_a_frozen_prefix_with_noise_of_channels_in_slices():
    loaded = costmodel.load(network(nn.ReLU(), nn.Dropout2d(0.1)), resolution=16, blocks_are="3")
    strategy = "last,prefix_slices=2"
    found = costmodel.estimate(loaded, strategy, 2, 16, "lean", target="none")
    real = measure(realize(loaded, strategy, "lean"), 2, 16, target="cpu,threads=1")
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)
