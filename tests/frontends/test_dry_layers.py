"""Layers that no graph describes, for which a dry step answers: it equals a real step."""

import pytest
import torch
from real import seldom
from strange import Base
from torch import nn
from torch.ao.quantization import FakeQuantize, FusedMovingAvgObsFakeQuantize
from torch.nn.utils.parametrizations import orthogonal, spectral_norm

import costmodel
from costmodel.frontends.modules.dry import asking
from costmodel.pytorch import measure


class Rows(Base):
    """A recurrent layer reads the places of a map one after the other, as a CRNN does."""

    def middle(self, x):
        y, _ = self.extra(x.flatten(2).transpose(1, 2))
        return y.transpose(1, 2)[..., None]


LAYERS = {
    "lstm": lambda: Rows(nn.LSTM(8, 8, batch_first=True)),
    "lstm of two layers and ways": lambda: Rows(nn.LSTM(8, 4, 2, batch_first=True, bidirectional=True, dropout=0.1)),
    "lstm over the batch": lambda: Rows(nn.LSTM(8, 8, bias=False)),
    "gru": lambda: Rows(nn.GRU(8, 8, batch_first=True)),
    "rnn": lambda: Rows(nn.RNN(8, 8, batch_first=True)),
    "spectral norm": lambda: Base(spectral_norm(nn.Conv2d(8, 8, 3))),
    "spectral norm of old": lambda: Base(torch.nn.utils.spectral_norm(nn.Conv2d(8, 8, 3))),
    "fake quantisation": lambda: Base(FakeQuantize()),
    "fused fake quantisation": lambda: Base(FusedMovingAvgObsFakeQuantize()),
}


#: In evaluation mode the peak is at a function that makes a number for a second one, and frees it when both are done:
#: what is allocated between the two counts in a dry step alone.
NUMBER_BETWEEN = {"fake quantisation": 4}


def figures(found, beside=0):
    return found.saved_bytes, found.flops["forward"], found.flops["backward"], found.step_peak_bytes - beside


def measured(real):
    return real.saved_bytes, real.forward_flops, real.backward_flops, real.tensor_peak_bytes


@pytest.mark.one_in(4)
@pytest.mark.parametrize("batch, resolution", [(2, 10), *seldom((1, 13), (3, 11))])
@pytest.mark.parametrize("name", LAYERS)
def test_a_dry_step_of_the_layer_equals_a_real_step(name, batch, resolution):
    module = LAYERS[name]()
    for strategy in ("full", "as_is")[: 1 + (batch > 2)]:  # its own flags say the same
        found = costmodel.estimate(module, strategy, batch, resolution, target="none,threads=1")
        assert found.certainty.saved == "dry"
        assert figures(found) == measured(measure(module, batch, resolution, target="cpu,threads=1"))
    found = costmodel.estimate(module, "inference", batch, resolution, target="none,threads=1")
    frozen = module.eval().requires_grad_(False)
    beside = NUMBER_BETWEEN.get(name, 0)
    assert figures(found, beside) == measured(measure(frozen, batch, resolution, target="cpu,threads=1"))


@pytest.mark.filterwarnings("ignore:TF32")
def test_the_multiply_adds_of_a_recurrent_layer_are_those_of_its_products():
    """Of each of 2 * 3 states: 4 * 32 for the input, 8 * 32 for the state before; without oneDNN they are products."""
    module = nn.Sequential(nn.Flatten(2), nn.LSTM(4, 8), Last(), nn.Linear(8, 5))
    found = costmodel.estimate(module, "as_is", 2, 2)
    with torch.backends.mkldnn.flags(enabled=False):
        products = measure(module, 2, 2)
    assert found.flops["forward"] == 2 * 6 * 32 * (4 + 8) + 2 * 2 * 8 * 5 == products.forward_flops


class Last(nn.Module):
    """The state of a recurrent layer after all channels."""

    def forward(self, output):
        return output[0][:, -1]


def test_the_kernels_of_recurrent_layers_are_asked_once():
    estimates = [costmodel.estimate(LAYERS["lstm"](), "as_is", 2, 9).saved_bytes for _ in range(2)]
    known = len(asking._RESULTS)
    assert estimates[0] == estimates[1] and known
    costmodel.estimate(LAYERS["lstm"](), "as_is", 2, 9)
    assert len(asking._RESULTS) == known


def test_an_orthogonal_weight_is_answered_too():
    assert costmodel.estimate(Base(orthogonal(nn.Conv2d(8, 8, 1))), "as_is", 2, 10).certainty.saved == "dry"


class Tokens(nn.Module):
    """Linear layers on rows with gaps, which multiply and then add the bias in place."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Linear(8, 48), nn.Linear(48, 8)

    def forward(self, x):
        y = self.narrow(self.wide(x.flatten(2).transpose(1, 2)))
        return y.transpose(1, 2)[..., None]


def test_the_bias_of_rows_with_gaps_is_added_in_place():
    """Between the wide layer's product and its sum nothing is made: the map, 200 * 48 numbers, and 200 * 8 at last."""
    module = Base(Tokens()).eval().requires_grad_(False)
    found = costmodel.estimate(module, "inference", 2, 10, target="none,threads=1")
    assert found.certainty.tensor_peak == "checked"
    assert found.step_peak_bytes == measure(module, 2, 10).tensor_peak_bytes == 4 * 200 * (8 + 48 + 8)


def product(x, weight):
    return x @ weight


def total(x, bias):
    return x + bias


class ByHand(Tokens):
    """The same products, whose biases are added by code of its own: the sums are new maps."""

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        x = total(product(x, self.wide.weight.t()), self.wide.bias)
        return total(product(x, self.narrow.weight.t()), self.narrow.bias).transpose(1, 2)[..., None]


def test_a_sum_that_code_makes_itself_is_a_new_map():
    """The map, and 200 * 48 numbers twice."""
    module = Base(ByHand()).eval().requires_grad_(False)
    found = costmodel.estimate(module, "inference", 2, 10, target="none,threads=1")
    assert found.step_peak_bytes == measure(module, 2, 10).tensor_peak_bytes == 4 * 200 * (8 + 2 * 48)
