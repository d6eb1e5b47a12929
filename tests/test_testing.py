"""`costmodel.testing.assert_fits` and the pytest plugin."""

import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from torch import nn

import costmodel
from costmodel import CostmodelError, pytest_plugin
from costmodel.testing import assert_fits

ROOT = Path(__file__).parent.parent
TESTS = """
def test_fits(assert_fits):
    assert assert_fits("mobilenet_v2", "1GB", "last", batch=2, resolution=65, target="none").peak_bytes < 10**9

def test_does_not_fit(assert_fits):
    assert_fits("mobilenet_v2", "1MiB", batch=16, resolution=32, target="none")
"""


def small():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


@pytest.mark.parametrize("model", [small(), "mobilenet_v2"], ids=["module", "name"])
def test_a_budget_of_the_peak_fits_and_one_byte_less_does_not(model):
    asked = {"strategy": "full", "batch": 2, "resolution": 65, "target": "none", "optimizer": "adam"}
    peak = costmodel.estimate(model, **asked).peak_bytes
    assert assert_fits(model, peak, **asked).peak_bytes == peak
    assert assert_fits(model, str(peak), **asked).peak_bytes == peak
    with pytest.raises(AssertionError) as failed:
        assert_fits(model, peak - 1, **asked)
    verdict, where, made, keep = str(failed.value).splitlines()
    assert verdict.startswith("does not fit: ") and ", 1 B above the budget of " in verdict
    assert where.startswith("The peak of ") and made.startswith("It is made of ")
    largest = max(costmodel.estimate(model, **asked).blocks, key=lambda block: block["saved"])
    assert keep.startswith(f"{largest['name']} (")


def test_it_takes_what_a_network_depends_on():
    found = assert_fits("mobilenet_v2", "1GB", "last", 1, resolution=65, classes=7, width=0.5, convention="lean")
    network = costmodel.load("mobilenet_v2", classes=7, width=0.5)
    assert found.to_dict() == costmodel.estimate(network, "last", 1, 65, "lean").to_dict()
    model = small().requires_grad_(False)
    model[4].requires_grad_(True)
    assert assert_fits(model, "1GB", "as_is", resolution=32).trainable_parameters == 18


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("mobilenet_v2", "64 parsecs"), "budget is '64 parsecs'; allowed: "),
        (("mobilenet_v2", 0), "budget is "),
        (("mobilnet_v2", "1MB"), "unknown network 'mobilnet_v2'; did you mean 'mobilenet_v2'?"),
        (("mobilenet_v2", "1MB", "blks"), "unknown strategy 'blks'"),
    ],
)
def test_a_bad_request_is_no_failure(arguments, message):
    with pytest.raises(CostmodelError, match=message.replace("?", r"\?")):
        assert_fits(*arguments)


def test_what_has_no_peak_is_a_bad_request():
    with pytest.raises(CostmodelError, match="it has no peak to hold against a budget"):
        assert_fits("mobilenet_v2", "1GB", convention="ideal")


def test_the_plugin_is_the_entry_point_and_imports_nothing_of_the_package():
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert settings["options.entry_points"]["pytest11"].strip() == f"costmodel = {pytest_plugin.__name__}"
    code = (
        "import pytest, sys; before = {*sys.modules}; import costmodel.pytest_plugin; print(*{*sys.modules} - before)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert {*run.stdout.split()} == {"costmodel", "costmodel.version", "costmodel.pytest_plugin"}


def test_a_failure_shows_the_message_and_not_the_packages_code(tmp_path):
    (tmp_path / "test_mine.py").write_text(TESTS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "costmodel.pytest_plugin", "-p", "no:cacheprovider", "--color=no"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 1 and "1 failed, 1 passed" in run.stdout
    said = "does not fit: mobilenet_v2, full, batch 16 of 3x32x32, torch peaks at "
    assert f"E       AssertionError: {said}" in run.stdout
    assert "above the budget of 1.05 MB" in run.stdout and " most of the " in run.stdout
    assert "testing.py" not in run.stdout
