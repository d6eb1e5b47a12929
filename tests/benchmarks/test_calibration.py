"""How far a calibration's predictions are off on 45 steps of nine networks that it never ran.

Shares are recorded as properties of the test (`--junit-xml`) and printed (`-s`): on a machine with other work they say
little. Processor time of the thread on one thread, the wall clock on more.
"""

from statistics import median

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import costmodel
from costmodel.frontends.modules.imports import imported
from costmodel.pytorch import realize
from costmodel.pytorch.calibration.calibrate import calibrate
from costmodel.pytorch.calibration.clock import clock_for
from costmodel.step.seconds import REACH

NETWORKS = (
    "mobilenet_v2", "mobilenet_v3_small", "mnasnet_b1", "efficientnet_lite0", "mcunet_5fps", "torchvision:resnet18",
    "torchvision:efficientnet_b0", "timm:mobilenetv4_conv_small", "timm:mixnet_s",
)  # fmt: skip
STRATEGIES = (("full", "torch"), ("bias", "torch"), ("blocks:3", "torch"), ("last", "torch"), ("mobiletl:3", "lean"))
BATCH, SIDE, RUNS = 4, 128, 9
#: Steps of a network that are so far apart have an order.
APART = 1.15


def measured(module, clock):
    """The median of some steps, after three."""
    images, targets = torch.randn(BATCH, 3, SIDE, SIDE), torch.zeros(BATCH, dtype=torch.int64)
    optimizer = torch.optim.SGD([one for one in module.parameters() if one.requires_grad], lr=1e-3)
    found = []
    for _ in range(3 + RUNS):
        start = clock.now()
        cross_entropy(module(images), targets).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        found.append(clock.now() - start)
    return median(found[3:])


def ranks(values):
    return np.argsort(np.argsort(values))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_a_calibration_beside_45_steps(threads, record_property):
    for library in ("torchvision", "timm"):
        imported(library)
    found, clock = calibrate(f"cpu,threads={threads}"), clock_for(threads)
    told, seconds, names = [], [], []
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for name in NETWORKS:
            network = costmodel.load(name)
            for strategy, convention in STRATEGIES:
                passes = costmodel.estimate(network, strategy, BATCH, SIDE, convention, target="none").passes
                told.append(sum(map(found.pace.seconds_of, passes)))
                seconds.append(measured(realize(network, strategy, convention), clock))
                names.append(name)
                print(f"{name} {strategy}: {1e3 * seconds[-1]:.1f} ms, told {told[-1] / seconds[-1] - 1:+.0%}")
    finally:
        torch.set_num_threads(before)
    told, seconds = np.array(told), np.array(seconds)
    reach = 1 + REACH * found.pace.mape
    pairs = [
        (told[i] > told[j]) == (seconds[i] > seconds[j])
        for i in range(len(names))
        for j in range(i)
        if names[i] == names[j] and max(seconds[i], seconds[j]) > APART * min(seconds[i], seconds[j])
    ]
    shares = {
        "mape": np.mean(np.abs(told / seconds - 1)),
        "worst": np.max(np.abs(told / seconds - 1)),
        "rank_correlation": np.corrcoef(ranks(told), ranks(seconds))[0, 1],
        "in_order": np.mean(pairs),
        "pairs": len(pairs),
        "within_interval": np.mean(np.abs(np.log(told / seconds)) <= np.log(reach)),
        "own_error": found.pace.mape,
        "noise": found.noise,
    }
    for key, value in shares.items():
        record_property(key, float(value))
    print(f"{threads} threads: " + ", ".join(f"{key} {value:.3f}" for key, value in shares.items()))
