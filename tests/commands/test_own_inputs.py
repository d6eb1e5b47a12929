"""The command line for networks as people write them: inputs, losses and targets of their own."""

import csv
import io
import json
import shutil

import owncode
import pytest
from commandline import CliRunner

import costmodel
from costmodel.cli import main
from costmodel.files.table import read_table


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def net(tmp_path, monkeypatch):
    shutil.copy(owncode.__file__, tmp_path / "net.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path


HEADS = ("net.py:grey", "--input", "1x40x96", "--loss", "net.py:loss", "--targets", "net.py:targets")


def test_a_report_of_two_heads_on_a_spectrogram(net):
    result = run("report", *HEADS, "--batch", "3", "--format", "json", "--target", "none")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["inputs"], found["loss"], found["certainty"]["saved"]) == ([[1, 40, 96]], "loss", "checked")
    assert found["memory_bytes"]["input"] == 3 * 40 * 96 * 4
    assert "batch 3 of 1x40x96" in run("report", *HEADS, "--batch", "3", "--target", "none").stdout
    assert run("validate", *HEADS, "--strategy", "full,last", "--batch", "2").exit_code == 0
    assert run("fit", *HEADS, "--budget", "1MB", "--max", "batch", "--target", "none").exit_code == 0


def test_inputs_by_position_and_keyword(net):
    given = ("net.py:Words", "--input", "7:int64", "--input", "mask=7", "--batch", "2", "--target", "none")
    result = run("report", *given, "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["memory_bytes"]["input"] == 2 * 7 * (8 + 4)


def test_sides_and_losses_in_a_sweep_and_a_spec(net):
    maps = ("net.py:Maps", "--loss", "cross_entropy,label_smoothing=0.1")
    asked = ("--resolution", "16,20x14", "--batch", "2,3", "--target", "none")
    rows = list(csv.DictReader(io.StringIO(run("sweep", *maps, *asked, "--format", "csv").stdout)))
    assert [row["resolution"] for row in rows] == ["16", "16", "20x14", "20x14"]
    one = costmodel.estimate(
        "net.py:Maps", "full", 3, (20, 14), loss="cross_entropy,label_smoothing=0.1", target="none"
    )
    assert int(rows[3]["step_peak_bytes"]) == one.step_peak_bytes
    for name in ("grid.csv", "grid.parquet"):
        assert run("sweep", *maps, *asked, "-o", name).exit_code == 0
        assert list(map(str, read_table(name)["resolution"])) == ["16", "16", "20x14", "20x14"]
    assert run("export", *maps, "--resolution", "20x14", "-o", "maps.yaml").exit_code == 0
    again = costmodel.load("maps.yaml")
    assert again.inputs[0].shape == (3, 20, 14)
    same = costmodel.estimate(again, "full", 3, loss=maps[2], target="none")
    assert same.step_peak_bytes == one.step_peak_bytes


def test_a_check_in_pyproject(net):
    (net / "pyproject.toml").write_text(
        '[[tool.costmodel.check]]\nnetwork = "net.py:grey"\nbudget = "1MB"\ninputs = ["1x40x96"]\nbatch = 2\n'
        'loss = "net.py:loss"\ntargets = "net.py:targets"\ntarget = "none"\n'
        '[[tool.costmodel.check]]\nnetwork = "net.py:Maps"\nbudget = "1MB"\nresolution = "20x14"\nbatch = 2\n'
        'loss = "mse"\ntarget = "none"\n'
    )
    result = run("check")
    assert result.exit_code == 0, (result.stdout, result.stderr)


#: A bad command line, and what the one message says.
BAD = {
    "no size": (("report", "net.py:Heads", "--input", "3x"), "input is '3x'; allowed: a size of one example"),
    "fractions": (
        ("report", "net.py:Heads", "--input", "3x8:float16"),
        "allowed: 3x8, since fractions have the network's",
    ),
    "no such type": (("report", "net.py:Heads", "--input", "3:int"), "input is '3:int'; allowed: "),
    "no resolution": (("report", "net.py:Maps", "--resolution", "20x"), "resolution is 20x; allowed: an integer"),
    "no such loss": (("report", "mcunet_5fps", "--loss", "bcee"), "unknown loss 'bcee'; did you mean 'bce'"),
    "no such function": (("report", "net.py:Maps", "--loss", "net.py:los"), "net.py has no 'los'; did you mean 'loss'"),
    "no function": (("report", "net.py:Maps", "--loss", "net.py:number"), "number is a int; allowed: a function"),
    "of a spec": (
        ("report", "mcunet_5fps", "--input", "3x8x8"),
        "inputs: found for a spec, an ONNX file or a Network; allowed: for a module",
    ),
    "targets alone": (("report", "net.py:Maps", "--targets", "net.py:targets"), "targets are for a loss of one's own"),
    "another head": (("report", "net.py:Maps", *HEADS[3:], "--resolution", "8"), "the loss loss ends in net.py, line"),
    "grey": (("report", "net.py:Maps", "--input", "1x8x8"), "the network on 1x8x8 ends in"),
    "amp of ideal": (("report", "mcunet_5fps", "--amp", "bf16", "--convention", "ideal"), "allowed: torch, lean"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_command_lines_are_one_message(net, name):
    line, said = BAD[name]
    result = run(*line)
    assert result.exit_code == 2 and said in result.stderr and result.stderr.count("\n") == 1, result.stderr
