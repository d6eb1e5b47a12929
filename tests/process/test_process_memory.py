"""The memory of a process: its parts, what a budget is held against, and what is assumed where nothing is measured."""

import json
import platform
import shlex

import pytest
import torch
from commandline import CliRunner
from test_heap import compiles

import costmodel
from costmodel.cli import main
from costmodel.commands import fit, report, validate
from costmodel.errors import CostmodelError
from costmodel.pytorch import six_steps as child
from costmodel.pytorch.resident_set import most_by_rusage, most_so_far, resident_set
from costmodel.step.asked import Asked
from costmodel.step.process import environment as environments
from costmodel.step.process.environment import asked_of, environment, six_steps
from costmodel.step.process.glibc import heap_of_tensors, other_heap_here
from costmodel.step.process.memory import BACKWARD, PRIMITIVE, SPREAD, STATED_BYTES, Environment, process_memory
from costmodel.step.process.priced import Priced
from costmodel.step.process.primitives import primitives
from costmodel.step.process.steps import STEPS
from costmodel.studies.fit import largest
from costmodel.studies.needs import Process, held, peak, process_on
from costmodel.targets import parse
from costmodel.views.process import beside_note

TARGET = "cpu,threads=1,isa=avx512"
STEP = dict(batch=2, resolution=64, target=TARGET)
HERE = {frugal: Environment(10**8, frugal, "made up") for frugal in (False, True)}


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def here(monkeypatch):
    """This environment takes 100 MB, and no process is started to find that out."""
    for place in (fit, report, validate):
        monkeypatch.setattr(
            place, "needed", lambda process, *given: None if process is None else Process(HERE[process])
        )


@pytest.mark.parametrize("frugal", [False, True])
def test_the_parts_of_a_process(frugal):
    step = costmodel.estimate("mcunet_5fps", "full", **STEP)
    found = process_memory(step, HERE[frugal])
    forward, backward = primitives(step)
    assert found.beside_the_heap == 10**8 + step.resident_bytes + PRIMITIVE * (forward + backward) + BACKWARD
    assert found.expected == found.beside_the_heap + found.heap
    assert found.lowest < found.expected < found.highest
    if frugal:  # what was in use at most, and holes of up to a 64th
        assert found.heap == step.step_peak_bytes + step.step_peak_bytes // 128
        assert found.most == step.step_peak_bytes + 2 * (step.step_peak_bytes // 128) + SPREAD
    else:
        tensors = heap_of_tensors(step)
        assert tensors >= step.step_peak_bytes and found.heap == int(1.4 * tensors)


def test_convolutions_are_counted_once_for_each_call():
    """A step that trains nothing below the classifier has no backward convolutions; equal layers are one primitive."""
    last, full = (costmodel.estimate("mobilenet_v2", strategy, **STEP) for strategy in ("last", "full"))
    assert primitives(last) == (30, 0)  # of 52, in blocks of which many are alike
    assert primitives(full) == (30, 2 * 30 - 1)  # the first one's input needs no gradient


@pytest.mark.parametrize("asked, message", [
    (dict(target="cuda"), "a process on a GPU"), (dict(convention="ideal"), "convention ideal has no process"),
])  # fmt: skip
def test_where_there_is_no_process(asked, message):
    step = costmodel.estimate("mcunet_5fps", "full", **{**STEP, **asked})
    assert beside_note(step) == []
    with pytest.raises(CostmodelError, match=message):
        process_memory(step, HERE[False])


def test_what_is_assumed_is_said(monkeypatch):
    monkeypatch.setattr(environments, "installed_torch", lambda: None)
    environment.cache_clear()
    found = environment(False, 3)
    assert found.nbytes == STATED_BYTES[False] and found.source.startswith("assumed as on x86-64 Linux")
    assert "torch is not installed" in found.source
    environment.cache_clear()
    monkeypatch.undo()
    monkeypatch.setattr(environments, "six_steps", lambda **asked: {"most": 7 * 10**8, "known": 5 * 10**8})
    assert environment(True, 3) == Environment(2 * 10**8, True, "measured here by a short run")
    step = costmodel.estimate("mcunet_5fps", "full", **STEP)
    assert step.process_bytes == process_memory(step, environment(False, 1)).expected
    environment.cache_clear()


def test_another_machine_is_not_measured_here(monkeypatch):
    monkeypatch.setattr("costmodel.targets.machine.here_isa", lambda: "avx2")
    found = process_on(parse("cpu,isa=neon,threads=4"), True).environment
    assert (
        found.nbytes == STATED_BYTES[True] and "the target, cpu,threads=4,isa=neon, is another machine" in found.source
    )


def test_the_largest_batch_whose_process_fits():
    network, need = costmodel.load("mcunet_5fps"), Process(HERE[True])
    found = largest(network, "batch", 200 * 10**6, "full", need, target=TARGET)
    beyond = costmodel.estimate(network, "full", found.value + 1, target=TARGET)
    assert need(found.estimate) <= 200 * 10**6 < need(beyond)
    assert largest(network, "batch", 200 * 10**6, "full", target=TARGET).value > found.value
    assert peak(found.estimate) == found.estimate.peak_bytes


@pytest.mark.slow
def test_a_budget_means_the_process(here):
    step = ("mcunet_5fps", "--batch", 2, "--resolution", 64, "--target", TARGET)
    for command in ("report", "fit"):
        assert run(command, *step, "--budget", "64MB").exit_code == 0
        told = run(command, *step, "--budget", "64MB", "--process")
        words = {"report": "lean: does not fit", "fit": "no: the process of"}[command]
        assert told.exit_code == 1 and words in told.stdout
        told = run(command, *step, "--budget", "200MB", "--process", "--format", "json")
        document = json.loads(told.stdout)
        assert document["fits"] and document["process_bytes"] > 10**8 and not document["process"]["frugal"]
        told = run(command, *step, "--budget", "200MB", "--frugal")
        assert told.exit_code == 0 and "started by python -m costmodel.frugal" in told.stdout
    assert "is not in it" in run("report", *step).stdout
    assert "At least this" not in run("report", *step, "--process").stdout
    assert "At least this, since" in run("report", *step[:-1], "cpu,isa=unknown,threads=1", "--process").stdout
    told = run("report", *step, "--process")
    assert "resident set, expected" in told.stdout and "Python and torch: made up." in told.stdout


def test_processes_are_held_against_what_was_expected(here, monkeypatch):
    step = ("mcunet_5fps", "--strategy", "last,full", "--batch", 2, "--resolution", 64, "--target", TARGET)
    expected = [
        process_memory(costmodel.estimate("mcunet_5fps", one, **STEP), HERE[True]).expected for one in ("last", "full")
    ]
    given = iter([expected[0], expected[1] + 10**8] * 2)
    asked = []
    monkeypatch.setattr(environments, "six_steps", lambda **of: asked.append(of) or {"most": next(given)})
    told = run("validate", *step, "--frugal", "--format", "json")
    assert told.exit_code == 1, told.output
    assert [row["holds"] for row in json.loads(told.stdout)] == [True, False]
    assert [(one["network"], one["strategy"], one["frugal"]) for one in asked] == [
        ("mcunet_5fps", "last", True), ("mcunet_5fps", "full", True),
    ]  # fmt: skip
    assert "measured" in run("validate", *step, "--frugal").stdout
    told = run("validate", *step, "--process", "--accumulate", 2)
    assert told.exit_code == 2 and "allowed: without --amp and --accumulate" in told.stderr


def test_a_process_that_fails_is_one_message():
    with pytest.raises(CostmodelError, match="a process of six steps of nonesuch ends in: .*unknown network"):
        six_steps(network="nonesuch")


#: The bounds are measured there, in docs/process.md.
measured_here = pytest.mark.skipif(
    platform.machine() != "x86_64" or bool(other_heap_here()) or not torch.__version__.startswith("2.13."),
    reason="the bounds are for x86-64, glibc 2.26 to 2.37 and torch 2.13",
)
needs_compiler = pytest.mark.skipif(not compiles(), reason="no C compiler, or no Linux")


@measured_here
@pytest.mark.slow
@pytest.mark.parametrize("strategy, convention", [("full", "torch"), ("bias", "lean"), ("last", "torch")])
@pytest.mark.parametrize("frugal", [False, pytest.param(True, marks=needs_compiler)])
def test_a_real_process(strategy, convention, frugal):
    """It takes what was expected of it: within the bounds that are told."""
    step = costmodel.estimate("mobilenet_v3_small", strategy, 8, convention=convention, target="cpu,threads=2")
    found = six_steps(**asked_of(step, "mobilenet_v3_small", frugal, {}))
    expected = process_on(step.request.target, frugal).memory(step)
    assert expected.lowest <= found["most"] <= expected.highest
    assert len(found["seconds"]) == 6 and found["stages"]["imports"][0] < found["most"]


@pytest.mark.parametrize("found, other", [
    (("glibc", "2.26"), ""), (("glibc", "2.37"), ""), (("glibc", "2.37.9000"), ""), (("glibc", "2.25"), "glibc 2.25"),
    (("glibc", "2.38"), "glibc 2.38"), (("musl", "1.2"), "musl 1.2"), (("", ""), "not glibc"),
])  # fmt: skip
def test_another_heap_than_the_simulated_one_is_told(found, other, here, monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda *of: found)
    assert other_heap_here() == other
    step = ("report", "mcunet_5fps", "--batch", 2, "--resolution", 64, "--target", TARGET)
    said = "this system's C library"
    told = run(*step, "--process").stdout
    assert f"{said} ({other})" in told if other else said not in told
    assert said not in run(*step, "--frugal").stdout


def test_what_is_held_against_a_budget():
    """The peak, or the process; of a convention without one, and a process, nothing: never a peak in its place."""
    around = Process(HERE[True])
    step, papers = (costmodel.estimate("mcunet_5fps", "full", convention=c, **STEP) for c in ("torch", "tinytl"))
    assert (held(step, None), held(step, around)) == (step.memory_bytes["peak"], around.memory(step).highest)
    assert (held(papers, None), held(papers, around)) == (papers.memory_bytes["peak"], None)


def test_the_system_counts_this_process():
    pytest.importorskip("resource")
    now, most = resident_set()
    assert 0 < now <= most <= most_so_far() and most_by_rusage() > 0
    assert child.STEPS == STEPS == 6 and issubclass(costmodel.Estimate, Asked)


def test_an_estimate_is_all_that_a_process_asks_for():
    step = costmodel.estimate("mcunet_5fps", "full", **STEP)
    asked = [name for name, value in vars(Priced).items() if isinstance(value, property)]
    assert len(asked) == 10 and all(hasattr(step, name) for name in asked)


@pytest.mark.parametrize("option", ["--frugal", pytest.param("--process", marks=pytest.mark.slow)])
def test_what_would_fit_around_a_process(here, option):
    """Changes are held against the process, and so are the commands that show them."""
    words = ["mcunet_5fps", "--strategy", "blocks:5", "--batch", "64", option, "--target", TARGET]
    around = Process(HERE[option == "--frugal"])
    most, least = (around(costmodel.estimate("mcunet_5fps", "blocks:5", batch=n, target=TARGET)) for n in (64, 1))
    assert least < most
    result = run("report", *words, "--budget", f"{(least + most) // 2}B")
    assert result.exit_code == 1 and "What would fit:" in result.stdout
    commands = [shlex.split(line) for line in result.stdout.splitlines() if line.startswith("    costmodel")]
    assert {words[1] for words in commands} == {"report", "plan"}
    for words in commands:
        assert (option in words) == (words[1] == "report")
        assert run(*words[1:]).exit_code == 0
