"""Attention that torch runs by one kernel in evaluation: its parts are priced and measured, and that is said."""

import pytest
import torch
from torch import nn

import costmodel
from costmodel.frontends.modules.fused import by_parts, is_fused
from costmodel.pytorch import measure
from costmodel.pytorch.validate import validate


class Tokens(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.conv, self.layer, self.fc = nn.Conv2d(3, 8, 3), layer, nn.Linear(8, 5)

    def forward(self, x):
        y = self.conv(x).flatten(2).transpose(1, 2)
        y = (
            self.layer(y, y, y, need_weights=False)[0]
            if isinstance(self.layer, nn.MultiheadAttention)
            else self.layer(y)
        )
        return self.fc(y.mean(1))


LAYERS = {
    "attention": lambda: nn.MultiheadAttention(8, 2, batch_first=True),
    "encoder": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", LAYERS)
def test_inference_is_that_of_the_parts_and_says_so(name):
    module = Tokens(LAYERS[name]())
    found = costmodel.estimate(module, "inference", 2, inputs=(3, 8, 8))
    assert found.certainty.step_peak == "not_modelled"
    assert [note for note in found.notes if note.startswith("In evaluation torch runs layer by one fused kernel")]
    assert all(check.holds for check in validate(costmodel.load(module, inputs=(3, 8, 8)), "inference", 2, None))
    whole = costmodel.estimate(module, "full", 2, inputs=(3, 8, 8))
    assert not [note for note in whole.notes if "fused" in note]


def test_a_frozen_layer_that_evaluates_is_fused_too():
    module = Tokens(LAYERS["attention"]())
    module.layer.eval().requires_grad_(False)
    module.conv.requires_grad_(False)
    found, real = costmodel.estimate(module, "as_is", 2, inputs=(3, 8, 8)), measure(module, 2, inputs=(3, 8, 8))
    assert [note for note in found.notes if "layer by one fused kernel" in note]
    assert (found.saved_bytes, found.flops["forward"]) == (real.saved_bytes, real.forward_flops)


@pytest.mark.parametrize("change, fused", [
    (lambda layer: layer, True),
    (lambda layer: layer.train(), False),
    (lambda layer: layer.requires_grad_(True), False),
    (lambda layer: nn.MultiheadAttention(6, 3, batch_first=True).eval().requires_grad_(False), False),
    (lambda layer: nn.MultiheadAttention(8, 2).eval().requires_grad_(False), False),
    (lambda layer: nn.Linear(8, 8).eval().requires_grad_(False), False),
])  # fmt: skip
def test_what_torch_fuses(change, fused):
    layer = change(LAYERS["attention"]().eval().requires_grad_(False))
    x, other = torch.rand(2, 3, 8), torch.rand(2, 3, 8)
    assert is_fused(layer, (x, x, x)) == fused and not is_fused(layer, (x, other, other))
    with by_parts():
        assert not is_fused(layer, (x, x, x))
    assert is_fused(layer, (x, x, x)) == fused
