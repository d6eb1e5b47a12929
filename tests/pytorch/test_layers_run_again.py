"""Single layers in a block that runs again: what a second run unpacked is freed before the engine sums a gradient."""

import pytest
import torch
from torch import nn

import costmodel
from costmodel.errors import CostmodelError
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


def hold(module, strategy, convention, resolution, threads, dtype=None):
    priced = costmodel.load(module, resolution=resolution, blocks_are="[12]")
    target = f"cpu,threads={threads}"
    real = measure(realize(priced, strategy, convention), 2, resolution, target=target, dtype=dtype)
    for where in (target, f"none,threads={threads}"):
        said = costmodel.estimate(priced, strategy, 2, convention=convention, target=where, dtype=dtype)
        found = real.step_peak_bytes if where == target else real.tensor_peak_bytes
        assert said.saved_bytes == real.saved_bytes
        if said.certainty.step_peak in ("checked", "rule"):
            assert said.step_peak_bytes == found
        else:
            assert said.step_peak_bytes <= found


def hold_tensors(name, strategy, convention, resolution, dtype):
    said = costmodel.estimate(name, strategy, 3, resolution, convention, dtype=dtype, target="none,threads=1")
    real = measure(realize(name, strategy, convention), 3, resolution, dtype=dtype, target="cpu,threads=1")
    assert said.certainty.tensor_peak in ("checked", "rule") and said.step_peak_bytes == real.tensor_peak_bytes


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


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("strategy", ["full,checkpoint=blocks", "norm+last,checkpoint=blocks"])
@pytest.mark.parametrize("convention", ["torch", "lean"])
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer != "rms_norm"])
def test_a_layer_of_16_bits(layer, shared, convention, strategy, dtype):
    hold(network(layer, shared), strategy, convention, 32, 1, dtype)


@pytest.mark.parametrize("convention", ["torch", "lean"])
def test_statistics_of_16_bits_are_freed_when_they_are_copied(convention):
    """Where a norm with an activation after it makes the peak: two numbers of two bytes for each channel."""
    for name in ("mcunet_5fps", "mobilenet_v3_small"):
        hold_tensors(name, "norm+last,checkpoint=blocks", convention, 48, "bfloat16")


@pytest.mark.parametrize("strategy", ["full,checkpoint=blocks", "blocks:1"])
def test_an_rms_norm_of_16_bits_is_not_described(strategy):
    """torch makes numbers of 32 bits of its input, and keeps those."""
    priced = costmodel.load(network("rms_norm", False), resolution=32, blocks_are="[12]")
    with pytest.raises(CostmodelError, match="torch computes rms_norm in float32, and what it keeps for that"):
        costmodel.estimate(priced, strategy, 2, convention="lean", dtype="bfloat16")
    alone = costmodel.estimate(priced, "full", 2, dtype="bfloat16", target="none")
    real = measure(priced.module, 2, 32, dtype="bfloat16")
    assert (alone.saved_bytes, alone.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)


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
