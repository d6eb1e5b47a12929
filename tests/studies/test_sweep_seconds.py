"""Seconds of a grid: every cell is what an estimate of it tells."""

import pytest

import costmodel
from costmodel.devices import find_device
from costmodel.devices.pace import Pace
from costmodel.devices.written import device_text

PACE = Pace(
    3e10, 5e9, 2e-5, 7e-5, 3e10, {"convolution": 1.5, "depthwise.weight": 9.0, "batch_norm": 0.5}, {"input": 1.25},
    mape=0.1, error="e", target="none,threads=1", framework="f", source="s",
)  # fmt: skip


@pytest.mark.parametrize("convention", ["torch", "lean"])
def test_every_cell_is_an_estimates(tmp_path, convention):
    path = tmp_path / "own.yaml"
    path.write_text(device_text("own", 2**30, 2**20, [PACE]))
    for device in (str(path), "raspberry_pi_4b"):
        axes = {
            "strategy": "full,mobiletl:3,last",
            "batch": "1..9",
            "resolution": "64,97,128",
            "convention": convention,
        }
        grid = costmodel.sweep("mobilenet_v2", device=device, **axes)
        for strategy, batch, side, seconds in zip(grid.strategy, grid.batch, grid.resolution, grid.step_seconds):
            one = costmodel.estimate("mobilenet_v2", strategy, int(batch), int(side), convention, device=device)
            assert seconds == pytest.approx(one.seconds, abs=2e-9)  # whole nanoseconds


def test_without_a_measurement_a_cell_has_no_seconds():
    assert costmodel.sweep("mcunet_5fps", batch="1..4", device="jetson_nano").step_seconds.mask.all()
    assert "step_seconds" not in costmodel.sweep("mcunet_5fps", batch="1..4").columns
    assert find_device("jetson_nano").processor.paces == ()
