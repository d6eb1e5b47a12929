"""The annotations hold: within the package, and for the scripts of its users."""

import subprocess
import sys
from pathlib import Path

from tools import tool

ROOT = Path(__file__).parent.parent
USE = '''
"""Each name of the public API in use; `--strict` tells of every one without a type, and of ignores without an error."""

from typing import Any

import numpy as np
from typing_extensions import assert_type

import costmodel
from costmodel.pytorch import Measurement, Watch, measure, realize, watch
from costmodel.testing import assert_fits

network = costmodel.load("mobilenet_v2", classes=10)
assert_type(network, costmodel.Network)
assert_type(network.name, str)
assert_type(network.channels, int)
assert_type(network.at(96), costmodel.Network)

cost = costmodel.estimate(network, strategy="blocks:3", batch=4, resolution=96, optimizer="adam", accumulate=2)
assert_type(cost, costmodel.Estimate)
assert_type(cost.network, str)
assert_type(cost.strategy, str)
assert_type(cost.convention, str)
assert_type(cost.parameters, int)
assert_type(cost.trainable_parameters, int)
assert_type(cost.trained_blocks, int)
assert_type(cost.left_bytes, int)
assert_type(cost.peak_at, dict[str, str])
assert_type(cost.at_peak, dict[str, int])
assert_type(cost.unknown_ops, tuple[str, ...])
assert_type(cost.to_dict(), dict[str, Any])
assert_type(cost.blocks, list[dict[str, Any]])
assert_type(cost.rows[0].needed, bool)
assert_type(cost.peak_event.why, str)
levels: np.ndarray[Any, Any] = cost.levels
peak: int = cost.peak_bytes  # over a grid an array: Any
saved: int = cost.memory_bytes["saved"]
total: int = cost.flops["total"]

answer = costmodel.fits(network, "256MiB", strategy="bias", batch=4, optimizer="adam")
assert_type(answer, costmodel.Fits)
assert_type(answer.missing_bytes, int)
assert_type(answer.estimate, costmodel.Estimate)
yes: bool = bool(answer)

table = costmodel.sweep(network, strategy="blocks:1..3", batch=[1, 2], optimizer="sgd")
assert_type(table, costmodel.Sweep)
assert_type(len(table), int)
column: np.ndarray[Any, Any] = table["peak"]
assert_type(table.to_dict(), dict[str, list[Any]])
assert_type(table.to_csv(), str | None)

best = costmodel.plan(network, 64_000_000, maximise={"blocks.0": 1.0}, max_flops=10**12)
assert_type(best.estimate, costmodel.Estimate)
assert_type(best.strategy, str)
assert_type(best.is_proven, bool)
assert_type(best.choices, list[tuple[str, str, bool]])
assert_type(best.to_dict(), dict[str, Any])

module = realize(network, best.strategy, convention="lean", memory_format="channels_last")
found = measure(module, batch=4, resolution=96, target="cpu,threads=1")
assert_type(found, Measurement)
assert_type(found.step_peak_bytes, int)
assert_type(found.tensor_peak_bytes, int | None)
assert_type(found.seconds, float)
assert_type(watch(module, cost, peak=False), Watch)

assert_type(assert_fits(network, "1GiB", "bias", batch=4, convention="lean"), costmodel.Estimate)

try:
    costmodel.estimate("no such network")
except costmodel.CostmodelError as error:
    assert_type(error, costmodel.CostmodelError)

costmodel.estimate(network, batch="8")  # type: ignore[arg-type]
costmodel.estimate(network, batches=8)  # type: ignore[call-arg]
costmodel.plan(network)  # type: ignore[call-arg]
costmodel.sweeps  # type: ignore[attr-defined]
cost.peak  # type: ignore[attr-defined]
cost.network = "another"  # type: ignore[misc]
'''


def errors(tmp_path, *arguments):
    """What mypy says, with the configuration of pyproject.toml; empty where it finds nothing."""
    command = [*tool("mypy"), "--python-executable", sys.executable, "--cache-dir", str(tmp_path), "--no-error-summary"]
    run = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True)
    return run.stdout + run.stderr if run.returncode else ""


def test_the_package_has_no_errors(tmp_path):
    assert errors(tmp_path) == ""


def test_a_users_script_has_none(tmp_path):
    script = tmp_path / "use.py"
    script.write_text(USE)
    assert errors(tmp_path, "--strict", "--follow-imports=silent", str(script)) == ""
