"""A yes or no about a budget, with the numbers behind it."""

import pytest
from torch import nn

import costmodel
from costmodel import CostmodelError

REQUEST = {"strategy": "bias", "batch": 2, "resolution": 65}


def test_a_step_fits_its_own_peak_and_no_byte_less():
    peak = costmodel.estimate("mobilenet_v3_small", **REQUEST).peak_bytes
    enough = costmodel.fits("mobilenet_v3_small", peak, **REQUEST)
    assert enough and enough.fits and (enough.missing_bytes, enough.peak_bytes, enough.budget_bytes) == (0, peak, peak)
    short = costmodel.fits("mobilenet_v3_small", peak - 1, **REQUEST)
    assert not short and not short.fits and short.missing_bytes == 1
    assert short.estimate.peak_bytes == peak


def test_it_says_why():
    request = "mobilenet_v2, full, batch 8 of 3x224x224, torch"
    assert str(costmodel.fits("mobilenet_v2", "1GB")).startswith(f"fits: {request} peaks at 64")
    said = str(costmodel.fits("mobilenet_v2", 2**28))
    assert said.startswith(f"does not fit: {request} peaks at 64") and said.endswith("above the budget of 268.44 MB")


def test_a_module_is_asked_about_like_any_network():
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 4))
    network = costmodel.load(nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)))
    assert costmodel.fits(network, "1MiB", batch=2, resolution=8, strategy="as_is")
    assert not costmodel.fits(network.module, "1kB", "as_is", 2, resolution=8)
    with pytest.raises(CostmodelError, match="dry step .* fails"):
        costmodel.fits(module, "1MiB", resolution=4)


def test_a_budget_below_the_parameters_is_no_error():
    answer = costmodel.fits("mobilenet_v3_small", "1MB")
    assert not answer and answer.missing_bytes == answer.peak_bytes - 10**6


@pytest.mark.parametrize("budget", [0, -1, True, 1.5, None, "much", "64 apples"])
def test_what_is_no_budget(budget):
    with pytest.raises(CostmodelError, match="budget is .*; allowed: "):
        costmodel.fits("mobilenet_v3_small", budget)


def test_a_convention_without_a_peak_is_refused():
    with pytest.raises(CostmodelError, match="has no peak to hold against a budget"):
        costmodel.fits("mobilenet_v3_small", "1GB", convention="ideal")
