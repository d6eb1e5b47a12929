"""Largest values that fit: on every axis, the value found fits and the next one does not."""

import pytest

import costmodel
from costmodel.studies.fit import largest

MB = 10**6


@pytest.mark.one_in(5)
@pytest.mark.parametrize("target", ["none", "cpu,threads=2,isa=avx512", "cuda"])
@pytest.mark.parametrize("convention", ["torch", "lean"])
@pytest.mark.parametrize("strategy", ["full", "bias", "mobiletl:5", "last", "blocks:2,prefix_slices=4"])
@pytest.mark.parametrize("axis, budget", [("batch", 64 * MB), ("batch", 300 * MB), ("resolution", 200 * MB)])
def test_that_value_fits_and_the_next_does_not(axis, budget, strategy, convention, target):
    net = costmodel.load("mobilenet_v2")
    asked = {"convention": convention, "target": target}
    found = largest(net, axis, budget, strategy, **asked)
    if found.value is None:
        assert found.estimate.peak_bytes == costmodel.estimate(net, strategy, 1, **asked).peak_bytes > budget
        return
    peak = {value: costmodel.estimate(net, strategy, **{**asked, axis: value}).peak_bytes
            for value in (found.value, found.value + 1)}  # fmt: skip
    assert peak[found.value] == found.estimate.peak_bytes <= budget < peak[found.value + 1]


@pytest.mark.parametrize("convention", ["mobiletl", "tinytl"])
def test_a_papers_own_peak_has_no_timeline_and_is_searched_all_the_same(convention):
    net = costmodel.load("mobilenet_v2")
    found = largest(net, "batch", 1000 * MB, "full", convention=convention)
    peak, beyond = (
        costmodel.estimate(net, "full", found.value + more, convention=convention).peak_bytes for more in (0, 1)
    )
    assert peak <= 1000 * MB < beyond


def test_blocks_are_tried_up_to_all_of_them():
    net = costmodel.load("mobilenet_v2")
    found = largest(net, "blocks", 150 * MB, "mobiletl")
    peaks = [costmodel.estimate(net, f"mobiletl:{k}").peak_bytes for k in range(1, 18)]
    assert found.value == max(k for k, peak in enumerate(peaks, 1) if peak <= 150 * MB)
    assert largest(net, "blocks", 10**12, "blocks:1").value == 17


def test_nothing_fits():
    found = largest(costmodel.load("mobilenet_v2"), "batch", 20 * MB, "full")
    assert found.value is None and found.estimate.batch == 1 and found.estimate.peak_bytes > 20 * MB


@pytest.mark.parametrize(
    "axis, strategy, budget, message",
    [
        ("depth", "full", MB, "unknown axis 'depth' .allowed: batch, blocks, resolution."),
        ("blocks", "full", MB, "strategy 'full' has no number of blocks to maximise; allowed: blocks, mobiletl"),
    ],
)
def test_bad_requests(axis, strategy, budget, message):
    with pytest.raises(costmodel.CostmodelError, match=message):
        largest(costmodel.load("mobilenet_v2"), axis, budget, strategy)
