"""The memory of large sweeps does not grow with them. Each runs in its own interpreter, which prints its peak."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from real import seldom

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux how much memory there was")
CODE = """\
import json
from costmodel.studies.grid.resumable import write
from costmodel.studies.grid.sweep import SweepPlan
plan = SweepPlan("mobilenet_v2", {{"strategy": {strategies}, "batch": "1..{batches}", "resolution": "97..224",
                                  "target": "cpu,threads=1"}})
cells = {cells}
assert cells == plan.cells
highest = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]  # KiB
print(json.dumps([cells, 1024 * int(highest)]))
"""
CHUNKED = "sum(len(plan.columns(chunk)['peak_bytes']) for chunk in plan.chunks())"


def cells_and_memory(strategies, batches, cells=CHUNKED):
    code = CODE.format(strategies=strategies, batches=batches, cells=cells)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def does_not_grow(small, large):
    (few, before), (many, after) = small, large
    return many == 4 * few and after <= 1.25 * before and after <= 400 * 2**20


def test_memory_of_a_chunked_sweep_does_not_grow():
    assert does_not_grow(*(cells_and_memory(["full", "last"], batches) for batches in (1024, 4096)))


@pytest.mark.parametrize("suffix", seldom("csv", "parquet"))
def test_memory_of_a_written_sweep_does_not_grow(tmp_path, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    assert does_not_grow(
        *(
            cells_and_memory(
                strategies, 1024, f"sum(write(plan, {str(tmp_path / f'{len(strategies[1])}.{suffix}')!r}))"
            )
            for strategies in (["full", "last"], ["full", "blocks:1..7"])
        )
    )


@pytest.mark.slow
def test_memory_of_a_hundred_million_cells_stays_under_a_gigabyte():
    cells, memory = cells_and_memory(["full", "last", "norm+last", "blocks:1..17"], 40000)
    assert cells > 10**8 and memory <= 10**9
