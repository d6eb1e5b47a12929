"""What would fit: each change is the least of its kind, and the step with it fits."""

import shlex

import pytest
from commandline import CliRunner
from real import seldom

import costmodel
from costmodel.cli import main
from costmodel.studies.fit import largest
from costmodel.studies.remedies import KINDS, remedies
from costmodel.views.remedies import remedy_notes

ASKED = dict(strategy="mobiletl:5", batch=8, resolution=None, convention="torch", optimizer="sgd",
             target="cpu,threads=1,isa=avx512", dtype="float32", accumulate=1)  # fmt: skip
NETWORK = costmodel.load("mcunet_5fps")


def found(budget, **more):
    return {remedy.kind: remedy for remedy in remedies(NETWORK, budget, **{**ASKED, **more})}


def test_each_change_fits_and_the_request_did_not():
    budget = 10_000_000
    assert costmodel.estimate(NETWORK, **ASKED).peak_bytes > budget
    by_kind = found(budget)
    assert {*by_kind} == {"batch", "micro-steps", "lean", "plan"}  # the peak is in the prefix: fewer blocks keep it
    for kind in KINDS.keys() & by_kind.keys():
        one = by_kind[kind]
        assert one.found.peak_bytes <= budget
        assert one.found.peak_bytes == costmodel.estimate(NETWORK, **{**ASKED, **one.changes}).peak_bytes
    rest = {name: value for name, value in ASKED.items() if name != "batch"}
    assert by_kind["batch"].changes == {"batch": largest(NETWORK, "batch", budget, **rest).value}
    micro = by_kind["micro-steps"].changes
    assert micro["batch"] * micro["accumulate"] == 8
    twice = {"batch": 2 * micro["batch"], "accumulate": micro["accumulate"] // 2}
    assert costmodel.estimate(NETWORK, **{**ASKED, **twice}).peak_bytes > budget  # fewer micro-steps do not fit
    assert by_kind["lean"].changes == {"convention": "lean", "strategy": "mobiletl:5,prefix_slices=8"}
    assert by_kind["plan"].changes == {"effective_batch": 8}  # in one step of 8 images no stock plan fits
    planned = {name: value for name, value in ASKED.items() if name not in ("strategy", "accumulate", "batch")}
    best = costmodel.plan(NETWORK, budget, effective_batch=8, **planned)
    assert by_kind["plan"].found.trainable_parameters == best.estimate.trainable_parameters
    assert best.micro_batches > 1 and best.estimate.peak_bytes <= budget


def test_fewer_blocks_and_checkpoints():
    tensors = {"target": "none", "batch": 2}
    most = costmodel.estimate(NETWORK, **{**ASKED, **tensors, "strategy": "blocks:9,checkpoint=blocks"}).peak_bytes
    by_kind = found(most, **tensors, strategy="blocks:9")
    assert by_kind["checkpoint"].changes == {"strategy": "blocks:9,checkpoint=blocks"}
    assert by_kind["blocks"].changes == {"strategy": "blocks:5"}
    assert costmodel.estimate(NETWORK, **{**ASKED, **tensors, "strategy": "blocks:6"}).peak_bytes > most
    again = found(most, **tensors, strategy="blocks:12,checkpoint=blocks")
    assert "checkpoint" not in again


def test_where_lean_modules_are_enough_nothing_else_is_given_up():
    by_kind = found(20_000_000, strategy="bias", batch=16, target="none")
    assert by_kind["lean"].changes == {"convention": "lean"}
    assert all("convention" not in by_kind[kind].changes for kind in ("batch", "micro-steps"))


def test_nothing_fits_a_budget_below_the_parameters():
    assert found(1_000_000) == {}
    assert remedy_notes([], "mcunet_5fps", 10**6, ASKED) == ["Neither one image, nor lean modules, nor any plan fits."]


def test_a_step_that_does_not_train_has_no_plan():
    assert "plan" not in found(6_000_000, strategy="inference") and "batch" in found(6_000_000, strategy="inference")


@pytest.mark.parametrize("command", ["report", *seldom("fit")])
def test_each_line_has_a_command_that_fits(command):
    asked = ["mcunet_5fps", "--strategy", "mobiletl:5", "--batch", "8", "--budget", "11MB", "--classes", "10"]
    here = ["--target", ASKED["target"]]
    result = CliRunner().invoke(main, [command, *asked, *here])
    assert result.exit_code == 1 and "What would fit:" in result.stdout
    commands = [shlex.split(line) for line in result.stdout.splitlines() if line.startswith("    costmodel")]
    assert len(commands) >= 3 and {words[1] for words in commands} == {"report", "plan"}
    for words in commands:
        assert words[words.index("--classes") + 1] == "10" and words[words.index("--budget") + 1] == "11MB"
        assert CliRunner().invoke(main, words[1:]).exit_code == 0
    for form in ("csv", "json"):
        assert "What would fit" not in CliRunner().invoke(main, [command, *asked, *here, "--format", form]).stdout
