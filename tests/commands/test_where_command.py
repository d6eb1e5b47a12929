"""`costmodel where`, `list devices`, and --device in other commands."""

import json

import pytest
from commandline import CliRunner

from costmodel import estimate
from costmodel.cli import COMMANDS, main
from costmodel.commands import calibrate, where
from costmodel.devices import device_names, find_device
from costmodel.devices.kinds import KINDS
from costmodel.frontends import load
from costmodel.step.process.memory import Environment
from costmodel.studies.needs import process_on
from costmodel.studies.plan.plan import plan
from costmodel.studies.plan.within import lower_peak
from costmodel.studies.where import Run
from costmodel.studies.where import where as places
from costmodel.targets import parse
from costmodel.targets.machine import here_isa
from costmodel.views.device import IN_WORDS
from costmodel.views.where import where_table


def run(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_its_names():
    assert {where.command.name, calibrate.command.name} <= set(COMMANDS)
    assert IN_WORDS.keys() == KINDS.keys()


def test_notes_tell_what_answers_rest_on():
    devices = [find_device(name) for name in ("stm32f746", "phone_ios", "raspberry_pi_4b")]
    tables, notes = where_table(list(places(load("mcunet_5fps"), devices, ["full"], find_batch=False)), Run())
    assert [row[0] for row in tables[0].rows] == [device.text for device in devices]
    told = " ".join(notes)
    assert "limited by memory" in told and "calibrate first" in told and "torch 1.13.1" in told


def test_it_has_a_row_for_each_device_and_strategy():
    devices = "raspberry_pi_4b,memory=2GB,stm32f746"
    result = run("where", "mcunet_5fps", "--devices", devices, "--strategy", "full,last", "--format", "json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)
    assert [(row["device"], row["strategy"]) for row in rows] == [
        ("raspberry_pi_4b,memory=2GiB", "full"), ("raspberry_pi_4b,memory=2GiB", "last"),
        ("stm32f746", "full"), ("stm32f746", "last"),
    ]  # fmt: skip
    assert rows[0]["surely_fits"] == "yes" and rows[2]["surely_fits"] == "no"
    assert rows[0]["step_seconds"] > rows[1]["step_seconds"] > 0 and rows[2]["step_seconds"] is None
    assert rows[2]["limited_by"] == "memory" and rows[2]["epoch_seconds"] is None


def test_it_exits_with_1_where_nothing_surely_fits():
    assert run("where", "mobilenet_v2", "--devices", "stm32f746").exit_code == 1


def test_epochs_and_a_battery():
    asked = ("where", "mcunet_5fps", "--devices", "raspberry_pi_4b", "--images", "80", "--format", "json")
    (one,) = json.loads(run(*asked).stdout)
    (three,) = json.loads(run(*asked, "--epochs", "3", "--battery", "18.5Wh").stdout)
    assert one["epoch_seconds"] == 10 * one["step_seconds"] == one["run_seconds"]
    assert three["run_seconds"] == 3 * one["run_seconds"]
    assert three["battery_share"] == pytest.approx(three["run_joules"] / (18.5 * 3600))


def test_all_devices_are_listed():
    rows = json.loads(run("list", "devices", "--format", "json").stdout)
    assert [row["device"] for row in rows] == list(device_names())


def test_a_device_gives_the_budget_and_the_process():
    small = run("fit", "mobilenet_v2", "--device", "raspberry_pi_4b,memory=1GB", "--format", "json")
    document = json.loads(small.stdout)
    device = find_device("raspberry_pi_4b,memory=1GB")
    assert small.exit_code == 1 and document["budget_bytes"] == device.usable_bytes
    assert document["process_bytes"] > document["memory_bytes"]["peak"]
    assert document["device"] == device.text and document["seconds"]["step"] > 0
    own = run("fit", "mobilenet_v2", "--device", "raspberry_pi_4b,memory=1GB", "--budget", "3GB", "--format", "json")
    assert own.exit_code == 0 and json.loads(own.stdout)["budget_bytes"] == 3 * 10**9


def test_a_report_tells_where_the_time_goes():
    result = run("report", "mobilenet_v2", "--batch", "1", "--device", "raspberry_pi_5")
    assert result.exit_code == 0
    assert "where the time goes" in result.stdout and "batch norms" in result.stdout
    bound = run("report", "mobilenet_v2", "--batch", "1", "--device", "jetson_orin_nano")
    assert "at least" in bound.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("where", "mcunet_5fps", "--devices", "raspberry_pi_4c"), "did you mean 'raspberry_pi_4b'"),
        (("where", "mcunet_5fps", "--devices", ""), "unknown device"),
        (("where", "mcunet_5fps", "--battery", "5kWh"), "allowed: mAh"),
        (("where", "mcunet_5fps", "--images", "0"), "--images"),
        (("fit", "mcunet_5fps"), "no budget; allowed: --budget SIZE, or --device NAME"),
        (("plan", "mcunet_5fps"), "no budget; allowed: --budget SIZE, or --device NAME"),
        (("report", "mcunet_5fps", "--device", "stm32f746,memory=1MB"), "allowed: 320KiB"),
        (
            ("pareto", "mcunet_5fps", "--minimise", "step_seconds", "--minimise", "peak_bytes"),
            "not known without a device",
        ),
        (
            (
                "pareto",
                "mcunet_5fps",
                "--minimise",
                "step_seconds",
                "--minimise",
                "peak_bytes",
                "--device",
                "jetson_nano",
            ),
            "not known on this device",
        ),
        (("calibrate", "--target", "cuda"), "allowed for a calibration: cpu"),
        (("calibrate", "-o", "here.json"), "a name that ends in .yaml"),
        (("calibrate", "--target", "cpu,threads=1", "--target", "cpu,threads=1"), "is given twice"),
    ],
)
def test_bad_requests(arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2 and said in result.stderr and "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_plan_for_a_device_is_one_whose_process_fits():
    asked = (
        "plan",
        "mobilenet_v2",
        "--device",
        "raspberry_pi_4b,memory=1GB",
        "--convention",
        "lean",
        "--format",
        "json",
    )
    result = run(*asked, "--batch", "4")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    device = find_device("raspberry_pi_4b,memory=1GB")
    need = process_on(parse(device.processor.target), False)
    assert need(plan("mobilenet_v2", document["budget_bytes"], batch=4, convention="lean", device=device).estimate) <= (
        device.usable_bytes
    )
    full = estimate("mobilenet_v2", batch=4, device=device)
    assert lower_peak(full, lambda found: 500, 300) == full.peak_bytes - 100
    assert run(*asked, "--budget", "100MB").exit_code == 1  # for the process, too


def test_answers_about_a_device_agree():
    """`fit`, `compare` and `where` hold the same against the same memory."""
    for device, batch in (("raspberry_pi_4b,memory=1GB", "12"), ("jetson_nano", "110"), ("jetson_nano", "8")):
        asked = ("mobilenet_v3_small", "--batch", batch, "--format", "json")
        (row,) = json.loads(run("where", *asked, "--devices", device).stdout)
        fitted = run("fit", *asked, "--device", device)
        (compared,) = json.loads(run("compare", *asked, "--device", device, "--strategy", "full").stdout)
        fits = row["surely_fits"] == "yes"
        assert fits == (fitted.exit_code == 0) == compared["fits"] == json.loads(fitted.stdout)["fits"]
        assert row["headroom_bytes"] == json.loads(fitted.stdout)["headroom_bytes"]


OWN_MACHINE = """
title: This machine
kind: board
memory: {value: [4GB], unsourced: test}
system: {value: 1GB, unsourced: test}
processors:
  cpu:
    target: "cpu,isa=%s,threads=1"
    bandwidth: {value: 10 GB/s, unsourced: test}
    peak: {float32: {value: 10 GFLOP/s, unsourced: test}}
"""
OWN_MODULE = """
from torch import nn

def small():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
"""


def test_what_a_module_of_ones_own_imports_is_held_here_too(tmp_path, monkeypatch):
    """`fit` and `where` hold the same process; `where --frugal` holds that of costmodel.frugal."""

    def environment(frugal, threads, network="", given=()):
        return Environment(10**8 * (1 + 2 * (not frugal) + 4 * bool(network)), frugal, "test", bool(network))

    monkeypatch.setattr("costmodel.studies.needs.environment", environment)
    device, module = tmp_path / "here.yaml", tmp_path / "own.py"
    device.write_text(OWN_MACHINE % here_isa())
    module.write_text(OWN_MODULE)
    took = {}
    for network in ("mcunet_5fps", f"{module}:small"):
        asked = (network, "--batch", "1", "--resolution", "64", "--format", "json")
        for frugal in ((), ("--frugal",)):
            (row,) = json.loads(run("where", *asked, "--devices", str(device), *frugal).stdout)
            fitted = json.loads(run("fit", *asked, "--device", str(device), *frugal).stdout)
            assert row["headroom_bytes"] == fitted["headroom_bytes"]
            took[network, bool(frugal)] = row["most_bytes"]
    for network in ("mcunet_5fps", f"{module}:small"):
        assert took[network, False] - took[network, True] > 10**8
    assert took[f"{module}:small", False] > 7 * 10**8 > 4 * 10**8 > took["mcunet_5fps", False]


@pytest.mark.slow
def test_commands_that_would_fit_do(tmp_path):
    result = run("report", "mobilenet_v2", "--device", "raspberry_pi_4b,memory=1GB", "--batch", "8")
    assert result.exit_code == 1
    commands = [line.split()[1:] for line in result.stdout.splitlines() if line.startswith("    costmodel ")]
    assert len(commands) >= 3
    for command in commands:
        assert run(*command).exit_code == 0, command


def test_a_phone_is_calibrated_first():
    assert "no phone" in run("fit", "mcunet_5fps", "--device", "phone_ios").stderr
    told = run("report", "mcunet_5fps", "--device", "phone_android").stdout
    assert "calibrate yours first" in told and "Into" not in told
    assert estimate("mcunet_5fps", device="phone_android").seconds is None


def test_a_microcontroller_has_no_python():
    told = run("report", "mcunet_5fps", "--device", "stm32h743").stdout
    assert "Python" not in told and "the peak of the tensors is held" in told


def test_a_grids_figure_draws_only_what_its_peaks_can_be_held_against(tmp_path):
    """Peaks are of tensors: a board's memory is for a process, and is no line among them."""
    for device, is_drawn in (("raspberry_pi_4b,memory=1GB", False), ("portenta_h7", True)):
        file = tmp_path / f"{device[:4]}.svg"
        result = run("sweep", "mcunet_5fps", "--batch", "1..4", "--device", device, "--figure", str(file))
        assert result.exit_code == 0, result.stderr
        assert ("budget" in file.read_text()) == is_drawn
