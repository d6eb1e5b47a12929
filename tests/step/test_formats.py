"""Memory formats: of networks whose maps do not all lie as the images do, every figure is right or a dry step's."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import costmodel
from costmodel.graph.dry import DryStep, KernelCall
from costmodel.pytorch import measure
from costmodel.step.certainty import NOT_MODELLED
from costmodel.step.formats import other_formats

WIDTH, SIDE = 16, 17
TARGET = "cpu,channels_last,threads=1"


def attention(x):
    q = x.flatten(2).transpose(1, 2).unflatten(-1, (2, -1)).transpose(1, 2)
    return F.scaled_dot_product_attention(q, q, q).transpose(1, 2).flatten(2).transpose(1, 2).reshape(x.shape)


#: What stands between a norm and a layer.
BETWEEN = {
    "nothing": lambda x: x,
    "relu": F.relu,
    "hardswish": F.hardswish,
    "pool": lambda x: F.adaptive_avg_pool2d(x, 1),
    "sum": lambda x: x.sum((2, 3), keepdim=True),
    "max pool": lambda x: F.max_pool2d(x, 2),
    "gate": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "attention": attention,
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "layer norm": lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (WIDTH,)).permute(0, 3, 1, 2),
    "transposed": lambda x: x.transpose(2, 3),
    "every second": lambda x: torch.cat([x, x], 1)[:, ::2],
    "contiguous": lambda x: x.contiguous(),
    "expanded": lambda x: x.mean((2, 3), keepdim=True).expand(x.shape) * 1,
    "shuffle": lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2),
    "roll": lambda x: x.roll(1, 2),
}
LAYERS = {
    "none": nn.Identity,
    "convolution": lambda: nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
    "depthwise": lambda: nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH),
    "norm": lambda: nn.BatchNorm2d(WIDTH),
    "group norm": lambda: nn.GroupNorm(2, WIDTH),
}


class Mixed(nn.Module):
    def __init__(self, between, layer):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH)
        self.between, self.layer, self.fc = between, layer, nn.Linear(WIDTH, 4)

    def forward(self, x):
        return self.fc(self.layer(self.between(self.norm(self.first(x)))).mean((2, 3)))


CASES = [
    pytest.param(name, layer, marks=[] if layer in ("none", "convolution") else pytest.mark.slow)
    for name in BETWEEN
    for layer in LAYERS
]


@pytest.mark.one_in(6)
@pytest.mark.parametrize("name, layer", CASES)
def test_channels_last(name, layer):
    module = Mixed(BETWEEN[name], LAYERS[layer]())
    found = costmodel.estimate(module, "as_is", 2, SIDE, target=TARGET)
    alone = costmodel.estimate(module, "as_is", 2, SIDE, target="none,threads=1,channels_last")
    real = measure(module, 2, SIDE, target=TARGET)
    assert found.saved_bytes == real.saved_bytes and alone.step_peak_bytes == real.tensor_peak_bytes
    if found.certainty.step_peak == "not_modelled":
        assert found.step_peak_bytes <= real.step_peak_bytes
    else:
        assert found.step_peak_bytes == real.step_peak_bytes


def test_a_map_in_another_format_is_found():
    module = Mixed(F.relu, nn.Identity())
    estimate = costmodel.estimate(module, "full", 2, SIDE, target="none,threads=1,channels_last")
    step = DryStep((), 0, {}, {}, frozenset(), {}, 0, 0, frozenset(), 0, 0)
    shape = (2, WIDTH, SIDE, SIDE)
    as_said, other = ((KernelCall("batch_norm", shape, x, None)) for x in ((False, True), (True, False)))
    assert other_formats(estimate, step._replace(calls=frozenset({as_said}))) == []
    assert other_formats(estimate, step._replace(calls=frozenset({other}))) == [
        "the memory format of what batch_norm takes"
    ]
    elsewhere = other._replace(shape=(1, 2, 3, 4))  # a kernel that no node of the graph runs tells nothing
    assert other_formats(estimate, step._replace(calls=frozenset({elsewhere}))) == []


def test_an_instance_norm_of_one_image_is_not_modelled():
    """It makes the map contiguous, and no tensor's size tells that: one image of maps has the same shape before."""
    module = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.InstanceNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = costmodel.estimate(module, "as_is", 1, 128, target="cpu,threads=1,channels_last")
    assert found.certainty.step_peak == NOT_MODELLED
    assert found.step_peak_bytes <= measure(module, 1, 128, target="cpu,threads=1,channels_last").step_peak_bytes


class MadeContiguous(nn.Module):
    """Makes a map contiguous between two layers: a copy in channels_last, and nothing where it is contiguous."""

    def __init__(self, then):
        super().__init__()
        self.stem, self.then, self.head = nn.Conv2d(3, 8, 3, padding=1), then, nn.LazyLinear(3)

    def forward(self, x):
        return self.head(self.then(self.stem(x).contiguous()).flatten(1))


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("then", [nn.Unfold(3, padding=1), nn.AvgPool2d(3), nn.MaxPool2d(2)], ids=str)
def test_maps_that_the_module_makes_contiguous(then, trains):
    module = MadeContiguous(then)
    module(torch.zeros(1, 3, 9, 9))
    module.stem.requires_grad_(trains)
    for target in (TARGET, "cpu,threads=1"):
        found, real = costmodel.estimate(module, "as_is", 3, 9, target=target), measure(module, 3, 9, target=target)
        if found.certainty.step_peak == NOT_MODELLED:
            assert target == TARGET and found.step_peak_bytes <= real.step_peak_bytes
        else:
            assert found.step_peak_bytes == real.step_peak_bytes
