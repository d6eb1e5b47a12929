"""The peak of a whole step: predicted, and measured at the CPU's allocator.

Both the tensors alone and what kernels allocate inside must agree to the byte; where a kernel has no rule, what is said
must be the least.
"""

import pytest
import references
import torch
from real import rotated

from costmodel import estimate, load
from costmodel.errors import CostmodelError
from costmodel.pytorch import measure, realize
from costmodel.step.certainty import NOT_MODELLED

STRATEGIES = ("full", "norm+last", "bias", "last", "blocks:1", "blocks:3", "blocks:5", "inference")
TORCHVISION = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet_b1", "efficientnet_b0")
FAST = (2, 97)
SLOW = [(batch, resolution) for batch in (1, 2, 8) for resolution in (96, 97, 129, 224)]
SLOW.remove(FAST)


def check(network, module, strategy, batch, resolution):
    """Compare an estimate with a measured step of the module."""
    threads = torch.get_num_threads()
    measured = measure(module, batch, resolution, target=f"cpu,threads={threads}")
    predicted = estimate(network, strategy, batch, resolution, target=f"cpu,threads={threads}")
    alone = estimate(network, strategy, batch, resolution, target=f"none,threads={threads}")
    assert alone.step_peak_bytes == measured.tensor_peak_bytes
    assert predicted.left_bytes == alone.left_bytes == measured.left_bytes
    assert predicted.step_peak_bytes <= measured.step_peak_bytes
    assert predicted.step_peak_bytes == measured.step_peak_bytes or predicted.certainty.step_peak == NOT_MODELLED


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name, strategy", rotated(references.NAMES, lambda name: STRATEGIES, 1))
def test_peaks(name, strategy):
    network = load(name)
    check(network, realize(network, strategy), strategy, *FAST)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", references.NAMES)
@pytest.mark.parametrize("batch, resolution", SLOW)
def test_more_peaks(name, strategy, batch, resolution):
    network = load(name)
    try:
        estimate(network, strategy, batch, resolution)
    except CostmodelError as error:
        pytest.skip(str(error))  # batch statistics of one value
    check(network, realize(network, strategy), strategy, batch, resolution)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name, strategy", rotated(TORCHVISION, lambda name: STRATEGIES, 1))
def test_peaks_of_the_reference(name, strategy):
    """torchvision's own module, set up by flags and modes alone, has the same lifetimes."""
    check(name, references.configure(references.load_reference(name), strategy), strategy, *FAST)
