"""Networks as tutorials write them are in the layer graph: what is predicted is what a real step does."""

import pytest
from modules import configure
from real import seldom
from tutorials import NETWORKS

import costmodel
from costmodel.pytorch import measure
from costmodel.step.certainty import CHECKED, DRY, NOT_MODELLED

#: Their own code asks for the mode, and the graph is that of training: a dry step answers.
BY_MODE = {("dropped blocks", "inference")}


def measured(module, strategy, batch, resolution):
    if strategy == "inference":
        module.eval().requires_grad_(False)
    else:
        configure(module, strategy, costmodel.load(module, resolution=resolution).graph)
    return measure(module, batch, resolution, target="cpu,threads=1")


@pytest.mark.one_in(4)
@pytest.mark.parametrize("batch, resolution", [(3, 18), *seldom((2, 16), (1, 22))])
@pytest.mark.parametrize("strategy", ["full", *seldom("last", "inference")])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_a_tutorial(name, strategy, batch, resolution):
    module = NETWORKS[name]()
    network = costmodel.load(module, resolution=resolution)
    found, alone = (
        costmodel.estimate(network, strategy, batch, resolution, target=f"{target},threads=1")
        for target in ("cpu", "none")
    )
    certain = DRY if (name, strategy) in BY_MODE else CHECKED
    assert found.certainty.saved == alone.certainty.tensor_peak == certain, found.notes
    real = measured(module, strategy, batch, resolution)
    mine = (found.saved_bytes, found.flops["forward"], found.flops["backward"], alone.step_peak_bytes)
    assert mine == (real.saved_bytes, real.forward_flops, real.backward_flops, real.tensor_peak_bytes)
    if found.certainty.step_peak == NOT_MODELLED:
        assert found.step_peak_bytes <= real.step_peak_bytes
    else:
        assert found.step_peak_bytes == real.step_peak_bytes
