"""How fast an estimate is, beside a real step and torch's own estimate of one."""

from itertools import count
from time import perf_counter

import pytest
import torch
from torch.nn.functional import cross_entropy

import costmodel
from costmodel.pytorch import realize

SPEC = """\
network: deep
resolution: 32
classes: 10
stem:
  - {{conv: 16, kernel: 3, stride: 2, at: [stem.conv, stem.norm, stem.act]}}
stages:
  - {{expand: 6, out: 16, repeat: {repeat}}}
tail:
  - {{op: mean, at: mean}}
  - {{op: linear, out_features: classes, at: classifier}}
"""


def estimates(network, **options):
    """A call that estimates at another resolution each time, so that no result is one of an earlier call."""
    resolutions = count(64)
    return lambda: costmodel.estimate(network, resolution=next(resolutions), **options).saved_bytes


@pytest.mark.benchmark(group="one step of MobileNetV2, batch 8")
def test_one_estimate_takes_at_most_two_milliseconds(benchmark):
    call = estimates(costmodel.load("mobilenet_v2"))
    benchmark.pedantic(call, rounds=200, warmup_rounds=20)
    assert benchmark.stats.stats.median <= 0.002


@pytest.mark.benchmark(group="one step of MobileNetV2, batch 8")
def test_an_estimate_with_everything_asked(benchmark):
    resolutions = count(64)
    network = costmodel.load("mobilenet_v2")
    benchmark.pedantic(
        lambda: costmodel.estimate(network, resolution=next(resolutions)).to_dict(), rounds=50, warmup_rounds=5
    )


def fastest(call, rounds=30):
    """Seconds of the fastest of some calls: what a busy machine adds is left out."""
    times = []
    for _ in range(rounds):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return min(times)


def test_a_peak_costs_at_most_a_millisecond_more():
    network = costmodel.load("mobilenet_v2")
    resolutions = count(64)
    with_peak = fastest(lambda: costmodel.estimate(network, resolution=next(resolutions)).step_peak_bytes)
    without = fastest(lambda: costmodel.estimate(network, resolution=next(resolutions), convention="ideal").saved_bytes)
    assert with_peak - without <= 0.001


def test_time_grows_linearly_with_the_blocks(spec_file):
    small, large = (
        costmodel.load(spec_file(SPEC.format(repeat=repeat), f"deep{repeat}.yaml")) for repeat in (20, 200)
    )
    assert len(large.graph) > 9 * len(small.graph)
    # Ten times the blocks. Linear with a constant part is less than 10, quadratic would be near 100.
    assert 5 <= fastest(estimates(large)) / fastest(estimates(small)) <= 15


def test_reading_a_spec_grows_linearly_with_the_blocks(spec_file):
    # Reading needs more blocks than estimating before a quadratic part shows: they are 1000, ten times 100.
    small, large = (spec_file(SPEC.format(repeat=repeat), f"deep{repeat}.yaml") for repeat in (100, 1000))
    assert fastest(lambda: costmodel.load(large), 3) / fastest(lambda: costmodel.load(small), 3) <= 15


def step(module, images, targets):
    cross_entropy(module(images), targets).backward()
    module.zero_grad(set_to_none=True)


@pytest.mark.benchmark(group="one step of MobileNetV2, batch 8")
def test_a_real_step_beside_it(benchmark):
    module = realize("mobilenet_v2", "full")
    images, targets = torch.randn(8, 3, 224, 224), torch.zeros(8, dtype=torch.int64)
    benchmark.pedantic(step, args=(module, images, targets), rounds=2, warmup_rounds=1)


@pytest.mark.benchmark(group="one step of MobileNetV2, batch 8")
def test_mem_tracker_beside_it(benchmark):
    tracker = pytest.importorskip("torch.distributed._tools.mem_tracker", reason="torch without torch.distributed")
    from torch._subclasses.fake_tensor import FakeTensorMode

    def track():
        with FakeTensorMode():
            module = realize("mobilenet_v2", "full")
            images, targets = torch.randn(8, 3, 224, 224), torch.zeros(8, dtype=torch.int64)
            memory = tracker.MemTracker()
            memory.track_external(module)
            with memory:
                step(module, images, targets)

    try:
        track()
    except Exception as error:
        pytest.skip(f"MemTracker does not run here: {type(error).__name__}: {error}")
    benchmark.pedantic(track, rounds=1)
