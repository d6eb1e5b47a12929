"""A calibration: its arithmetic, and that a whole one ends with a file that can be read."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from commandline import CliRunner

from costmodel import estimate
from costmodel.cli import main
from costmodel.devices import find_device
from costmodel.devices.file import device_of
from costmodel.devices.kinds import KINDS
from costmodel.devices.pace import Pace
from costmodel.devices.written import device_text
from costmodel.errors import CostmodelError
from costmodel.pytorch.calibration.calibrate import Calibration, calibrate, fitted
from costmodel.pytorch.calibration.cases import cases
from costmodel.pytorch.calibration.clock import Rates, clock_for, noise, rates, seconds_of
from costmodel.pytorch.calibration.machine import MEMINFO, machine
from costmodel.pytorch.calibration.single import Single, Timed, factors_of, passes_of_layer
from costmodel.pytorch.calibration.steps import Step, beside_factors, columns
from costmodel.step.passes import Pass
from costmodel.targets.machine import here_isa
from costmodel.views.calibrate import calibration_record, calibration_tables, doubts


def test_the_layers_are_of_every_kind_of_kernels():
    found = {kind for op, _ in cases() for kind in op.timed_as}
    assert set(KINDS) - found == {"elementwise", "update"}  # as an activation; of no layer
    assert len(cases()) >= 90
    for op, xs in cases():
        op.shape(*xs)


def test_each_pass_of_a_layer_is_timed_alone():
    clock = clock_for(1)
    for op, xs in [cases()[0], *(case for case in cases() if case[0].kind in ("relu", "mul"))][:3]:
        timed = passes_of_layer(op, xs, clock)
        names = [one.one.name for one in timed]
        assert names == (["forward", "input", "weight"] if op.params() else ["forward", "backward"])
        assert all(one.seconds > 0 for one in timed)


def test_a_factor_is_the_median_beside_the_best_rates():
    timed = [Timed(Pass(0, "forward", "sum", 0, 100), seconds) for seconds in (3.5, 2.5, 40.5)]
    found = factors_of(Single(timed, [], 0.5), Rates(1.0, 50.0))
    assert found == {"sum.forward": 1.5}  # 3 s less than none: (3.5 - .5) / (100 / 50)


def test_overheads_are_found_again():
    rng = np.random.default_rng(0)
    table = rng.uniform(1, 2, (12, 4)) * [1.0, 100, 1e6, 10]
    beside = np.array([2e-3, 3e-7, 1e-2])
    assert beside_factors(table, table[:, 0] + table[:, 1:] @ beside) == pytest.approx(beside)
    without = np.array([2e-3, 0.0, 0.0])
    assert beside_factors(table, table[:, 0] + table[:, 1:] @ without) == pytest.approx(without, abs=1e-12)
    assert (beside_factors(table, table[:, 0] / 2) == 0).all()  # never below 0


def test_the_error_is_that_of_the_worst_network_left_out():
    base = Pace(1.0, 1.0)
    ones = [Pass(0, "forward", "sum", 0, nbytes) for nbytes in (1.0, 2.0, 4.0)]
    steps = [Step(name, "full", [one], one.nbytes * off) for name, off in (("a", 1.0), ("b", 1.5)) for one in ones]
    assert columns(steps, base)[:, 0].tolist() == [1.0, 2.0, 4.0] * 2
    found = fitted(base, steps)
    # Without "a", all takes half as long again, so a is told 50 % too long; without "b", b is told a third too short.
    assert found.mape == pytest.approx(0.5)


def test_noise_is_how_far_reference_kernels_are_from_their_fastest():
    assert noise([Rates(100.0, 1.0), Rates(80.0, 1.0), Rates(50.0, 1.0)]) == pytest.approx(0.25)
    one = rates(clock_for(1))
    assert one.arithmetic > 0 and one.bandwidth > 0
    assert seconds_of(lambda: torch.ones(10), clock_for(1)) > 0
    quiet, busy = (Calibration(Pace(1.0, 1.0, mape=0.1), share, None, []) for share in (0.01, 0.2))
    assert doubts([quiet]) == [] and "do not trust" in doubts([busy])[0]


def test_a_file_says_what_was_measured():
    pace = Pace(
        1.234e10, 5.6e9, 1e-5, 5e-5, 3e10, {"convolution.forward": 1.5}, mape=0.08, error="of steps",
        target="none,threads=1", framework="torch 2", source="costmodel calibrate",
    )  # fmt: skip
    other = replace(pace, target="none,threads=2", bandwidth=6e9)
    device = device_of(device_text("a board", 2**30, 2**28, [pace, other]), "here.yaml", "here")
    assert device.title == "a board" and device.usable_bytes == 2**30 - 2**28
    assert device.processor.paces == (pace, other)
    assert device.processor.pace_of("float32", other.target) == other
    assert device.processor.pace_of("float32", "none,threads=3").mape is None
    if MEMINFO.exists():
        assert machine().memory_bytes > machine().system_bytes > 0


@pytest.mark.parametrize("target", ["cuda", "none"])
def test_it_is_for_this_machines_processor(target):
    with pytest.raises(CostmodelError, match="allowed for a calibration: cpu"):
        calibrate(target)


@pytest.mark.slow
def test_a_whole_calibration(tmp_path):
    path = tmp_path / "here.yaml"
    result = CliRunner().invoke(main, ["calibrate", "--target", "cpu,threads=1", "-o", str(path)])
    assert result.exit_code == 0, result.stderr
    assert "mobilenet_v3_large" in result.stdout and "off by" in result.stdout
    device = find_device(str(path))
    (pace,) = device.processor.paces
    assert pace.is_calibrated and pace.mape < 1
    assert estimate("mobilenet_v2", device=str(path)).seconds > 0
    again = CliRunner().invoke(main, ["calibrate", "--target", "cpu,threads=1", "-o", str(path)])
    assert again.exit_code == 2 and "exists" in again.stderr  # and nothing was measured in vain
    found = Calibration(pace, 0.0, None, [])
    assert calibration_record(found, None)["error_share"] == pace.mape
    assert calibration_tables([found], str(path))[1][-1].startswith("--device")


def test_another_machines_instructions_are_refused():
    other = "neon" if here_isa() != "neon" else "avx2"
    with pytest.raises(CostmodelError, match="this machine's"):
        calibrate(f"cpu,isa={other},threads=1")
