"""The line of a device among the peaks of a table: what is left of it fits there, and what is right of it need not."""

import pytest
from commandline import CliRunner

import costmodel
from costmodel.cli import main
from costmodel.devices import find_device
from costmodel.studies.device_line import peak_that_fits
from costmodel.studies.where import bounds_of

STRATEGIES = ["last", "blocks:1", "blocks:12", "full"]


@pytest.mark.parametrize("name, some", [
    ("raspberry_pi_4b,memory=2GB", True), ("raspberry_pi_4b,memory=1GB", True), ("jetson_nano", True),
    ("stm32h743", False),
])  # fmt: skip
def test_what_is_left_of_the_line_fits(name, some):
    device = find_device(name)
    target = device.processor.target
    table = costmodel.sweep("mobilenet_v2", strategy=STRATEGIES, batch=16, convention=["torch", "lean"], target=target)
    columns = table.to_dict()
    line = peak_that_fits("mobilenet_v2", columns, table.fixed, device)
    fits = []
    for strategy, convention, peak in zip(columns["strategy"], columns["convention"], columns["peak_bytes"]):
        found = costmodel.estimate("mobilenet_v2", strategy, 16, convention=convention, target=target, device=device)
        fits.append(bounds_of(found, device).most <= device.usable_bytes)
        assert fits[-1] == (line is not None and peak <= line), (strategy, convention)
    assert any(fits) == some == (line is not None) and not all(fits)


def test_the_command_draws_it_or_says_that_nothing_fits(tmp_path):
    step = ["pareto", "mobilenet_v2", "--strategy", "last,blocks:1", "--batch", "16", "--figure"]
    path = str(tmp_path / "a.svg")
    drawn = CliRunner().invoke(main, [*step, path, "--device", "raspberry_pi_4b,memory=4GB"])
    assert drawn.exit_code == 0 and "room on" in (tmp_path / "a.svg").read_text()
    told = CliRunner().invoke(main, [*step, path, "--force", "--device", "raspberry_pi_4b,memory=1GB"])
    assert told.exit_code == 0 and "No step here surely fits raspberry_pi_4b,memory=1GiB" in told.stderr + told.stdout
    assert "room on" not in (tmp_path / "a.svg").read_text()
