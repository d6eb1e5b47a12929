"""Networks with code that torch.compile or TorchScript compiled."""

import pytest
import torch
from strange import Base, of
from torch import nn
from torch._dynamo.utils import counters

import costmodel
from costmodel import CostmodelError
from costmodel.frontends.modules.compiled import NOTE, as_written
from costmodel.pytorch import measure


def gated(x):
    return x * torch.sigmoid(x)


def test_a_function_of_torchscript_is_refused():
    scripted = torch.jit.script(gated)
    with pytest.raises(CostmodelError, match="calls gated, which TorchScript compiled.*PYTORCH_JIT=0"):
        costmodel.estimate(of(scripted)(), "as_is", 2, 10)
    assert scripted(torch.zeros(1)).item() == 0  # outside it runs as before


@pytest.mark.parametrize("inner", [nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU()), gated])
def test_what_torch_compiles_is_priced_as_it_was_written(inner):
    compiled, plain = Base(torch.compile(inner)), Base(inner)
    compiled.load_state_dict(plain.state_dict(), strict=False)
    counters.clear()
    found, other = (costmodel.estimate(one, "as_is", 3, 10) for one in (compiled, plain))
    assert found.saved_bytes == other.saved_bytes == measure(compiled, 3, 10).saved_bytes
    assert found.peak_bytes == other.peak_bytes and found.flops == other.flops
    assert NOTE in found.notes and NOTE not in other.notes
    assert found.certainty.saved == "checked"
    assert not counters["frames"]  # nothing was compiled, and nothing is skipped from now on


def test_a_compiled_network_is_the_one_that_it_was_made_from():
    found = costmodel.estimate(torch.compile(Base()), "full", 3, 10, "lean")
    other = costmodel.estimate(Base(), "full", 3, 10, "lean")
    assert found.network == other.network and found.rows == other.rows and found.notes == (NOTE,)


def test_a_network_compiled_in_place():
    module = Base()
    module.compile()
    assert costmodel.estimate(module, "as_is", 3, 10).notes == (NOTE,)


def test_only_what_is_switched_on_is_told():
    notes = []
    with as_written(notes):
        gated(torch.zeros(2))
    assert notes == []
