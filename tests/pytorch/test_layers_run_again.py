"""Single layers in a block that runs again: what a second run unpacked is freed before the engine sums a gradient."""

import pytest
import torch
from torch import nn

import costmodel
from costmodel.pytorch import measure, realize

CHANNELS = 12


class Block(nn.Module):
    """A layer between a norm and a convolution. shared: a sum reads the layer's input, too."""

    def __init__(self, layer, shared):
        super().__init__()
        self.expand, self.norm = nn.Conv2d(6, CHANNELS, 1, bias=False), nn.BatchNorm2d(CHANNELS)
        self.layer, self.shared = layer(), shared
        self.project, self.last = nn.Conv2d(CHANNELS, 6, 1, bias=False), nn.BatchNorm2d(6)

    def forward(self, x):
        y = self.norm(self.expand(x))
        z = self.layer(y)
        return x + self.last(self.project(y + z if self.shared else z))


class Scaled(nn.Module):
    """A product with a parameter of one number per channel."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((CHANNELS, 1, 1), 0.5))

    def forward(self, x):
        return x * self.scale


class OfPixels(nn.Module):
    """A norm of the channels of each pixel."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm(CHANNELS)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


LAYERS = {
    "prelu": nn.PReLU, "prelu_of_channels": lambda: nn.PReLU(CHANNELS), "scaled": Scaled,
    "layer_norm": lambda: OfPixels(nn.LayerNorm), "rms_norm": lambda: OfPixels(nn.RMSNorm),
    "group_norm": lambda: nn.GroupNorm(3, CHANNELS), "instance_norm": lambda: nn.InstanceNorm2d(CHANNELS, affine=True),
    "depthwise": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS), "celu": nn.CELU,
}  # fmt: skip


def network(layer, shared):
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
    return nn.Sequential(stem, Block(LAYERS[layer], shared), Block(LAYERS[layer], shared), head)


def hold(module, strategy, convention, resolution, threads):
    priced = costmodel.load(module, resolution=resolution, blocks_are="[12]")
    target = f"cpu,threads={threads}"
    for where in (target, f"none,threads={threads}"):
        said = costmodel.estimate(priced, strategy, 2, convention=convention, target=where)
        real = measure(realize(priced, strategy, convention), 2, resolution, target=target)
        found = real.step_peak_bytes if where == target else real.tensor_peak_bytes
        assert said.saved_bytes == real.saved_bytes
        if said.certainty.step_peak in ("checked", "rule"):
            assert said.step_peak_bytes == found
        else:
            assert said.step_peak_bytes <= found


@pytest.mark.parametrize("convention", ["torch", "lean"])
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer(layer, shared, convention):
    hold(network(layer, shared), "full,checkpoint=blocks", convention, 32, 1)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["full,checkpoint=blocks", "blocks:1,checkpoint=blocks", "bias,checkpoint=blocks"])
@pytest.mark.parametrize("convention", ["torch", "lean"])
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_of_large_maps_on_two_threads(layer, shared, convention, strategy):
    """A sum of 32,768 numbers and more is shared between threads."""
    hold(network(layer, shared), strategy, convention, 96, 2)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("convention", ["torch", "lean"])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_alone_trains(layer, convention, blocks):
    """In the first block, or in both."""
    module = network(layer, False)
    if blocks == 1:
        module[2] = nn.Identity()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(".layer." in name and not name.startswith("0"))
    if not any(p.requires_grad for p in module.parameters()):
        pytest.skip("the layer has no parameters")
    hold(module, "as_is,checkpoint=blocks", convention, 32, 1)
