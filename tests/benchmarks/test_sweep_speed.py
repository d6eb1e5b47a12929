"""How many configurations a second a sweep prices, and how the time grows with each axis."""

import json
import subprocess
import sys
from pathlib import Path
from time import process_time

import pytest

import costmodel

STRATEGIES = ["full", "last", "norm+last", "blocks:1..17"]
# In an interpreter of its own, so that nothing is remembered from an earlier test: reading the network counts too.
MILLION = """\
import json, time, costmodel
start = time.process_time()
sweep = costmodel.sweep("mobilenet_v2", strategy={strategies}, batch="1..512", resolution="97..224", target={target!r})
seconds = time.process_time() - start
assert len(sweep) == 20 * 128 * 512
print(json.dumps([len(sweep), seconds]))
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
    """What some code prints in a fresh interpreter."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.benchmark(group="1,310,720 configurations of MobileNetV2")
@pytest.mark.parametrize("target", ["cpu,threads=1", "cpu,threads=4,isa=avx512", "none"])
def test_a_million_configurations_take_at_most_a_second(benchmark, target):
    tries = []

    def once():
        tries.append(fresh(MILLION.format(strategies=STRATEGIES, target=target)))

    benchmark.pedantic(once, rounds=3)
    cells, seconds = min(tries, key=lambda found: found[1])  # of processor time: what a busy machine adds is left out
    benchmark.extra_info["configurations per second"] = round(cells / seconds)
    assert seconds <= 1


def seconds(**axes):
    """Processor time of the fastest of three sweeps."""
    network, times = costmodel.load("mobilenet_v2"), []
    for _ in range(3):
        start = process_time()
        costmodel.sweep(network, target="cpu,threads=1", **axes)
        times.append(process_time() - start)
    return min(times)


@pytest.mark.parametrize(
    "axis, few, many, most",
    [
        ("batch", "1..64", "1..1024", 8),  # 16 times the batches: only the columns grow
        ("resolution", "101..108", "97..224", 8),  # 16 times the resolutions
        ("strategy", ["blocks:17"], ["blocks:2..17"], 24),  # 16 times the strategies: linear, and some
    ],
)
def test_how_the_time_grows_with_each_axis(axis, few, many, most):
    usual = {"strategy": "full,blocks:1..3", "batch": "1..64", "resolution": "97..128"}
    assert seconds(**{**usual, axis: many}) <= most * seconds(**{**usual, axis: few})


linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux how much memory there was")


@linux
def test_memory_of_a_chunked_sweep_does_not_grow():
    (small, _, before), (large, _, after) = (
        fresh(CHUNKED.format(strategies=STRATEGIES[:2], batches=batches)) for batches in (4096, 16384)
    )
    assert large == 4 * small and after <= 1.25 * before and after <= 400 * 2**20


@linux
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_memory_of_a_written_sweep_does_not_grow(tmp_path, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    (small, before), (large, after) = (
        fresh(WRITTEN.format(strategies=strategies, batches=2048, path=str(tmp_path / f"{i}.{suffix}")))
        for i, strategies in enumerate((["full", "last"], ["full", "blocks:1..7"]))
    )
    assert large == 4 * small and after <= 1.25 * before and after <= 400 * 2**20


@linux
@pytest.mark.slow
def test_memory_of_a_hundred_million_cells_stays_under_a_gigabyte():
    cells, _, memory = fresh(CHUNKED.format(strategies=STRATEGIES, batches=40000))
    assert cells > 10**8 and memory <= 10**9
