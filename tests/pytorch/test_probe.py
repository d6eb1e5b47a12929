"""Probes: each call of a step's kernels run alone tells what a whole step allocates, also where no rule does."""

import json

import pytest
import torch
from commandline import CliRunner
from real import NETWORKS, seldom

import costmodel
from costmodel.cli import main
from costmodel.commands.probe import command
from costmodel.errors import CostmodelError
from costmodel.graph.checkpointing import reruns
from costmodel.pytorch import measure, realize
from costmodel.pytorch.one_call import Call
from costmodel.pytorch.probe import calls_of, document, probe
from costmodel.step.kernels import runs_kernels
from costmodel.step.scratch import scratch_of
from costmodel.targets import parse
from costmodel.targets.machine import NEON, UNKNOWN, here_isa
from costmodel.targets.probed import ProbedCpu
from costmodel.views.probe import probe_records, probe_table

STEP = (2, 64)
ANOTHER = "avx2" if here_isa() == NEON else NEON  # an instruction set that this machine has not
has_rules = pytest.mark.skipif(here_isa() == UNKNOWN, reason="the rules do not know this machine's kernels")


def here(more=""):
    return f"cpu,threads={torch.get_num_threads()}{more}"


def written(estimate, path):
    """The probe of an estimate's step, as a file."""
    path.write_text(json.dumps(document(estimate, probe(estimate))))
    return str(path)


CASES = [
    ("mobilenet_v3_small", "full", "torch", "float32", ""),
    ("mobilenet_v3_small", "full", "torch", "bfloat16", ""),
    ("mnasnet_b1", "blocks:3", "torch", "bfloat16", ",channels_last"),
    ("mobilenet_v2", "mobiletl:3", "lean", "float32", ""),
    *seldom(*(
        (name, strategy, convention, dtype, flat)
        for name in ("mobilenet_v2", "mobilenet_v3_small", "mnasnet_b1")
        for strategy, convention in (("full", "torch"), ("blocks:3", "torch"), ("mobiletl:3", "lean"))
        for dtype in ("float32", "bfloat16")
        for flat in ("", ",channels_last")
    )),
]  # fmt: skip


def test_calls_are_counted_as_often_as_a_step_makes_them():
    """Once for each layer; twice in blocks that run again; in each slice of a frozen prefix that is cut."""
    plain = costmodel.estimate("mcunet_5fps", "full", *STEP)
    counted = sum(1 for node in plain.graph.nodes if runs_kernels(node.op) and node.op.runs_alone)
    assert sum(call.times[0] for call in calls_of(plain)) == counted
    layers = sum(1 for passes in plain.graph.demanded if passes)  # flattening and dropout run no kernels
    assert 0 < sum(call.times[1] for call in calls_of(plain)) <= layers
    again = costmodel.estimate("mcunet_5fps", "full,checkpoint=blocks", *STEP)
    rerun = {i for rerun in reruns(again.graph) for i in rerun.again}
    more = sum(1 for i in rerun if runs_kernels(again.graph.nodes[i].op) and again.graph.nodes[i].op.runs_alone)
    assert sum(call.times[0] for call in calls_of(again)) == counted + more > counted
    assert sum(call.times[1] for call in calls_of(again)) == sum(call.times[1] for call in calls_of(plain))
    sliced = costmodel.estimate("mcunet_5fps", "blocks:2,prefix_slices=4", 7, 64, convention="lean")
    graph = sliced.graph
    images = -(-7 // graph.prefix_slices)
    assert graph.prefix and images < 7
    slices, own = -(-7 // images), [runs_kernels(node.op) and node.op.runs_alone for node in graph.nodes]
    assert sum(call.times[0] for call in calls_of(sliced)) == (
        slices * sum(own[: graph.prefix]) + sum(own[graph.prefix :])
    )


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name, strategy, convention, dtype, flat", CASES)
def test_a_probed_step_is_exact(name, strategy, convention, dtype, flat, tmp_path):
    asked = dict(strategy=strategy, batch=2, resolution=64, convention=convention, dtype=dtype)
    path = written(costmodel.estimate(name, target=here(flat), **asked), tmp_path / "kernels.json")
    found = costmodel.estimate(name, target=path, **asked)
    real = measure(realize(name, strategy, convention=convention), *STEP, target=here(flat), dtype=dtype)
    assert found.step_peak_bytes == real.step_peak_bytes
    assert found.saved_bytes == real.saved_bytes


@has_rules
@pytest.mark.parametrize("name", [NETWORKS[1], *seldom(*(name for name in NETWORKS if name != NETWORKS[1]))])
@pytest.mark.parametrize("strategy, convention", [
    ("full", "torch"), ("bias", "lean"), *seldom(("blocks:3", "torch"), ("bias", "torch"), ("mobiletl:3", "lean"),
                                                 ("full", "lean")),
])  # fmt: skip
def test_what_is_probed_is_what_is_modelled(name, strategy, convention):
    """In float32 the rules and the probe say the same of every call."""
    found = costmodel.estimate(name, strategy, *STEP, convention, target=here())
    for one in probe(found):
        call = one.call
        rule = scratch_of(call.node.op, call.setting, call.y, *call.xs)
        assert not one.missed, (call.node.name, one.missed)
        assert one.forward == rule.forward, call.key
        assert one.backward == (rule.backward if call.setting.demanded else 0), call.key


@has_rules
def test_a_processor_without_rules_becomes_exact(tmp_path):
    """What was probed is exact without any rule; of a step with other calls, the estimate names them."""
    unknown = here(",isa=unknown")
    first = costmodel.estimate("mcunet_5fps", "full", *STEP, target=unknown)
    assert first.certainty.step_peak == "not_modelled"
    path = written(first, tmp_path / "kernels.json")
    probed, ruled = (costmodel.estimate("mcunet_5fps", "full", *STEP, target=to) for to in (path, here()))
    assert probed.step_peak_bytes == ruled.step_peak_bytes > first.step_peak_bytes
    assert probed.certainty.step_peak == "probed" and probed.notes == ()
    other = costmodel.estimate("mcunet_5fps", "full", 3, 64, target=path)
    assert other.certainty.step_peak == "not_modelled" and "is not modelled for first_conv.conv" in other.notes[-1]
    assert str(parse(path)).endswith(f"contiguous, probed in {path})") and parse(path).text == path


@pytest.mark.parametrize("name, target", seldom(
    ("torchvision:resnet50", "cpu,threads=2"), ("torchvision:resnet50", "cpu,threads=4,channels_last"),
    ("timm:convnext_atto", "cpu,threads=2,channels_last"), ("mobilenet_v2", "cpu,threads=4,channels_last"),
))  # fmt: skip
def test_what_has_no_rule_is_exact_by_a_probe(name, target, tmp_path):
    """oneDNN's choice of the weights' block for strided products, and for products on several threads."""
    network = costmodel.load(name)
    asked = dict(strategy="full", batch=2, resolution=97, check=False)
    path = written(costmodel.estimate(network, target=target, **asked), tmp_path / "kernels.json")
    found = costmodel.estimate(network, target=path, **asked)
    real = measure(realize(network, "full", check=False), 2, 97, target=target)
    assert (found.certainty.step_peak, found.step_peak_bytes) == ("probed", real.step_peak_bytes)


def test_a_table_has_a_line_for_each_call():
    assert command.name == "probe"
    found = costmodel.estimate("mcunet_5fps", "last", 1, 32, target=here())
    probes = list(probe(found))
    (table,), notes = probe_table(found, probes, None)
    assert len(table.rows) == len(probes) == len(probe_records(probes)) and notes[0].startswith(f"{len(probes)} calls")
    (_,), notes = probe_table(found, [one._replace(missed="torch lacks it") for one in probes], found)
    assert "Not probed, so priced by their rules: first_conv.conv (torch lacks it)" in notes[1]


def test_each_distinct_call_runs_once():
    found = costmodel.estimate("mcunet_5fps", "full", *STEP, target=here())
    calls = calls_of(found)
    assert len({call.key for call in calls}) == len(calls) < len(found.graph.nodes)
    assert all(isinstance(call, Call) and call.left is not None for call in calls)


def test_the_slices_of_a_prefix_are_probed_too():
    found = costmodel.estimate("mcunet_5fps", "last,prefix_slices=4", 8, 64, "lean", target=here())
    assert {call.y[0] for call in calls_of(found) if call.y} == {2, 8}


# -- the command, and files that are wrong -----------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("probe") / "kernels.json"
    told = run("probe", "mcunet_5fps", "--strategy", "last", "--batch", 2, "--resolution", 64, "-o", path)
    assert told.exit_code == 0, told.output
    assert (
        "each run alone (the median of some warm runs)" in told.stdout
        and f"With the file, --target {path}, the peak is " in told.stdout
    )
    return path


def test_the_command_writes_a_target(file):
    told = run("report", "mcunet_5fps", "--strategy", "last", "--batch", 2, "--resolution", 64, "--target", file)
    assert told.exit_code == 0 and f"probed in {file}" in told.stdout
    told = run("probe", "mcunet_5fps", "-o", file)
    assert told.exit_code == 2 and "exists; allowed: another name, or --force" in told.stderr
    told = run("sweep", "mcunet_5fps", "--strategy", "last", "--batch", 2, "--resolution", 64, "--target", file)
    assert told.exit_code == 0 and str(file) in told.stdout


def test_a_probe_as_json(file):
    told = run("probe", "mcunet_5fps", "--strategy", "last", "--batch", 1, "--resolution", 32, "--format", "json")
    calls = json.loads(told.stdout)["calls"]
    assert all(call["missed"] is None and call["forward_scratch_bytes"] >= 0 for call in calls)


def changed(**keys):
    def change(told):
        return json.dumps({**told, **keys})

    return change


WRONG = {
    "cut": (lambda told: json.dumps(told)[:-40], "is no probe's file, or not all of one"),
    "empty": (lambda told: "", "is no probe's file, or not all of one"),
    "a list": (lambda told: "[1]", "is no probe's file: format, costmodel, torch"),
    "of another torch": (changed(torch="1.0"), "was probed with torch 1.0, here is"),
    "of another costmodel": (changed(costmodel="0.0"), "was probed with costmodel 0.0, here is"),
    "of another format": (changed(format="costmodel probe 9"), "its format is 'costmodel probe 9'"),
    "without a target": (changed(target=None), "is no probe's file: target missing or of another kind"),
    "of nothing that runs": (
        changed(target="none"),
        "was probed on 'none'; allowed: cpu with all its options, or cuda",
    ),
    "of any processor": (changed(target="cpu"), "was probed on 'cpu'; allowed: cpu with all its options, or cuda"),
    "of a probe": (changed(target="kernels.json"), "kernels.json': unknown device"),
    "with cores of another processor": (changed(target="cpu,isa=avx2,threads=2,cores=2"), "cores=2 with isa=avx2"),
    "with too many threads": (changed(target="cpu,isa=avx2,threads=1000000000"), "allowed: threads=1 to threads=1024"),
    "with sizes above 64 bits": (changed(calls={"x": [10**30, 0, 0, 0]}), "for a call; allowed: two sizes in bytes"),
    "of another processor": (changed(target="cpu,isa=m68k,threads=1"), "found 'isa=m68k'; allowed: isa= one of"),
    "negative": (changed(calls={"x": [-1, 0, 0, 0]}), "found [-1, 0, 0, 0] for a call; allowed: two sizes in bytes"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_file_is_one_message(what, file, tmp_path):
    change, message = WRONG[what]
    path = tmp_path / "kernels.json"
    path.write_text(change(json.loads(file.read_text())))
    told = run("report", "mcunet_5fps", "--target", path)
    assert told.exit_code == 2 and message in told.stderr and "Traceback" not in told.output


@pytest.mark.parametrize("arguments, message", [
    (("probe", "mcunet_5fps", "-o", "a.yaml"), "output 'a.yaml'; allowed: a name that ends in .json"),
    (("probe", "mcunet_5fps", "--target", "none"), "counts and is nowhere to run; allowed: cpu, cuda"),
    (("probe", "mcunet_5fps", "--target", f"cpu,isa={ANOTHER}"), "allowed: isa="),
    (("report", "mcunet_5fps", "--target", "no.json"), "cannot read 'no.json': No such file"),
])  # fmt: skip
def test_a_wrong_request_is_one_message(arguments, message):
    told = run(*arguments)
    assert told.exit_code == 2 and message in told.stderr


def test_a_call_that_cannot_be_run_is_told(monkeypatch):
    found = costmodel.estimate("mcunet_5fps", "last", *STEP, target=here())
    monkeypatch.setattr("costmodel.pytorch.one_call.layer_of", lambda call, place: 1 / 0)
    missed = list(probe(found))
    assert {one.missed for one in missed} == {"ZeroDivisionError: division by zero"}
    assert not document(found, missed)["calls"]
    with pytest.raises(CostmodelError, match="nowhere to run; allowed: cpu, cuda"):
        next(probe(costmodel.estimate("mcunet_5fps", "last", *STEP, target="none")))
    assert isinstance(parse(here()), type(parse("cpu"))) and not isinstance(parse(here()), ProbedCpu)


def test_a_file_that_changes_is_read_again(tmp_path):
    asked = dict(batch=2, resolution=32, dtype="bfloat16")
    found = costmodel.estimate("mcunet_5fps", target=here(), **asked)
    told, path = document(found, probe(found)), tmp_path / "kernels.json"
    path.write_text(json.dumps({**told, "calls": {}}))
    assert costmodel.estimate("mcunet_5fps", target=str(path), **asked).certainty.step_peak == "not_modelled"
    path.write_text(json.dumps(told))
    assert costmodel.estimate("mcunet_5fps", target=str(path), **asked).certainty.step_peak == "probed"
