"""How fast an estimate is, beside plain Python, a real step and torch's own estimate of one."""

from itertools import count

import pytest
import torch
from deep import deep
from pace import fastest, plain_python
from torch.nn.functional import cross_entropy

import costmodel
from costmodel.pytorch import realize

STEP = "one step of MobileNetV2, batch 8"


def estimates(network, ask=lambda estimate: estimate.saved_bytes, **options):
    """A call that estimates at another resolution each time, so that no result comes from an earlier call."""
    resolutions = count(64)
    return lambda: ask(costmodel.estimate(network, resolution=next(resolutions), **options))


@pytest.mark.benchmark(group=STEP)
def test_an_estimate_beside_plain_python(benchmark):
    call = estimates(costmodel.load("mobilenet_v2"))
    benchmark.pedantic(call, rounds=200, warmup_rounds=20)
    estimate, python = fastest(call, plain_python)
    benchmark.extra_info["of plain_python"] = estimate / python
    assert estimate <= 0.75 * python  # seen: 0.23, which is 0.8 ms (2 ms were asked for)


@pytest.mark.benchmark(group=STEP)
def test_an_estimate_with_everything_asked(benchmark):
    call = estimates(costmodel.load("mobilenet_v2"), lambda estimate: estimate.to_dict())
    benchmark.pedantic(call, rounds=50, warmup_rounds=5)


def test_a_peak_beside_what_is_saved():
    network = costmodel.load("mobilenet_v2")
    peak, saved = fastest(estimates(network, lambda estimate: estimate.step_peak_bytes), estimates(network))
    assert peak <= 4 * saved  # seen: 2.2


def test_time_grows_linearly_with_the_blocks(spec_file):
    small, large = (costmodel.load(deep(spec_file, repeat)) for repeat in (20, 200))
    few, many = fastest(estimates(small), estimates(large))
    # Ten times the blocks. Linear with a constant part is less than 10, quadratic would be near 100.
    assert many <= 20 * few


def test_reading_a_spec_grows_linearly_with_the_blocks(spec_file):
    # Reading needs more blocks than estimating before a quadratic part shows: here 1000 blocks against 100.
    small, large = (deep(spec_file, repeat) for repeat in (100, 1000))
    few, many = fastest(lambda: costmodel.load(small), lambda: costmodel.load(large), rounds=3)
    assert many <= 20 * few


def step(module, images, targets):
    cross_entropy(module(images), targets).backward()
    module.zero_grad(set_to_none=True)


@pytest.mark.benchmark(group=STEP)
def test_a_real_step_beside_it(benchmark):
    module = realize("mobilenet_v2", "full")
    images, targets = torch.randn(8, 3, 224, 224), torch.zeros(8, dtype=torch.int64)
    benchmark.pedantic(step, args=(module, images, targets), rounds=2, warmup_rounds=1)


@pytest.mark.benchmark(group=STEP)
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
