"""What an estimate of a module is held against, and what it says where it differs."""

import json

import pytest
import torch
from commandline import CliRunner
from real import seldom
from strange import CASES, Attention, Base, LargeBatch, PythonChance
from torch import nn

import costmodel
from costmodel import CostmodelError
from costmodel.cli import main
from costmodel.commands._networks import usual_of
from costmodel.frontends import load_or_dry
from costmodel.graph.network import Untraceable
from costmodel.pytorch import measure
from costmodel.step.certainty import CHECKED, DRY, NOT_MODELLED, RULE, Certainty
from costmodel.step.checking import dry_step, setting_of_request
from costmodel.step.dry_estimate import DryEstimate
from costmodel.step.parting import differences, where_they_part

SIZE = {"batch": 4, "resolution": 10}
TENSORS = {**SIZE, "target": "none"}


def test_an_estimate_that_equals_the_dry_step_is_checked():
    found = costmodel.estimate(Base(), "full", **TENSORS)
    assert found.certainty == Certainty(CHECKED, CHECKED, CHECKED, CHECKED) and found.notes == ()
    assert found.to_dict()["certainty"] == dict.fromkeys(("saved", "flops", "tensor_peak", "step_peak"), "checked")
    by_rule = costmodel.estimate(Base(), "full", check=False, **TENSORS)
    assert set(by_rule.certainty) == {RULE} and by_rule.saved_bytes == found.saved_bytes


class LargerThanEight(Base):
    """Does more on more than eight images; a graph has a single answer."""

    def middle(self, x):
        return x.sigmoid() * x if x.size(0) > 8 else x


@pytest.mark.parametrize("convention", ["torch", "lean"])
def test_a_module_is_held_against_its_graph_at_another_batch_too(convention):
    found = costmodel.estimate(LargerThanEight(), "full", 20, 10, convention, target="none")
    (note,) = found.notes
    assert note.startswith("The layer graph does not hold at every batch; at 5: saved bytes ")
    assert convention == "lean" or found.certainty.saved == CHECKED
    assert costmodel.estimate(LargerThanEight(), "full", 5, 10, target="none").certainty.saved == DRY
    for batch in (1, 5, 20):
        assert costmodel.estimate(Base(), "full", batch, 10, convention, target="none").notes == ()


def test_what_no_module_is_behind_is_by_rule():
    assert set(costmodel.estimate("mcunet_5fps").certainty) == {RULE}
    assert set(costmodel.estimate(Base(), "full", convention="lean", **TENSORS).certainty) == {RULE}


def test_on_cuda_the_step_of_a_module_on_the_cpu_tells_whether_its_graph_holds():
    found = costmodel.estimate(Base(), "full", target="cuda", **SIZE)
    assert found.certainty == Certainty(NOT_MODELLED, RULE, NOT_MODELLED, NOT_MODELLED)  # no GPU has confirmed it
    with pytest.raises(CostmodelError, match="target 'cuda' needs the graph; allowed: cpu, none"):
        costmodel.estimate(LargerThanEight(), "full", target="cuda", **SIZE)
    attention = costmodel.estimate(Base(Attention(8)), "full", target="cuda", **SIZE)
    assert attention.certainty == Certainty(NOT_MODELLED, RULE, NOT_MODELLED, NOT_MODELLED)
    assert attention.notes[-1].startswith("On CUDA other kernels run")


CERTAIN = sorted(CASES.keys() - {"Chance", "PythonChance", "OnContext", "view_written"})


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", [*CERTAIN[::3], *seldom(*CERTAIN[1::3], *CERTAIN[2::3])])
def test_no_estimate_that_says_checked_differs_from_a_real_step(name):
    torch.manual_seed(0)
    module = CASES[name]().train()
    found = costmodel.estimate(module, "as_is", **TENSORS)
    real = measure(module, 4, 10)
    assert found.certainty.saved in (CHECKED, DRY)
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)
    assert (found.flops["forward"], found.flops["backward"]) == (real.forward_flops, real.backward_flops)
    assert found.trainable_parameters == real.trainable_parameters and found.parameters == real.parameters
    assert any("dry step" in note for note in found.notes) == (found.certainty.saved == DRY)


def test_a_dry_answer_says_why_and_where():
    found = costmodel.estimate(LargeBatch(), "as_is", **SIZE)
    assert isinstance(found, DryEstimate) and found.certainty == Certainty(DRY, DRY, DRY, NOT_MODELLED)
    (note,) = found.notes
    assert note.startswith(
        "From a dry step: this module does what the layer graph does not describe (first in the network itself)"
    )
    assert found.trainable_parameters == 869 - 2 * 8 - 584  # the norm and the second convolution get no gradient
    document = found.to_dict()
    assert document["notes"] == [note] and document["memory_bytes"]["gradients"] == 4 * 269
    assert document["memory_bytes"]["buffers"] == 4 * 8 + 4 * 8 + 8
    assert sum(block["saved"] for block in document["blocks"]) == found.saved_bytes
    assert sum(block["forward_flops"] for block in document["blocks"]) == found.flops["forward"]
    assert sum(block["parameters"] for block in document["blocks"]) == found.parameters == 869
    json.dumps(document)
    resident = document["memory_bytes"]
    before = resident["parameters"] + resident["buffers"] + resident["input"] + 4 * 8  # and int64 targets
    assert found.peak_bytes == before + found.step_peak_bytes


@pytest.mark.parametrize("convention", ["lean", "ideal", "tinytl"])
def test_other_conventions_are_refused_with_the_reason(convention):
    with pytest.raises(CostmodelError, match=f"does not describe .*convention '{convention}' needs the graph"):
        costmodel.estimate(LargeBatch(), "full", convention=convention, **SIZE)


def test_grids_plans_and_the_largest_that_fits_are_refused_with_the_reason():
    for call in (
        lambda: costmodel.sweep(LargeBatch(), batch="1,2", resolution=10),
        lambda: costmodel.plan(LargeBatch(), 10**9, batch=2, resolution=10),
    ):
        with pytest.raises(CostmodelError, match="does not describe .* needs the graph"):
            call()
    assert len(costmodel.sweep(LargeBatch(), batch="1,2", resolution=10, check=False)) == 2
    assert len(costmodel.sweep(Base(), batch="1,2", resolution=10)) == 2


def test_grids_and_plans_of_what_depends_on_chance_are_refused():
    for call in (
        lambda: costmodel.sweep(PythonChance(), batch="1,2", resolution=10),
        lambda: costmodel.plan(PythonChance(), 10**9, batch=2, resolution=10),
    ):
        with pytest.raises(CostmodelError, match="depends on chance.* needs the graph"):
            call()


class Untraced(Base):
    """Has a function that the package does not know."""

    def middle(self, x):
        return torch.erfinv(x.sigmoid())


def test_a_module_without_a_layer_graph_is_answered_by_a_dry_step():
    with pytest.raises(Untraceable, match="unknown op 'erfinv'"):
        costmodel.load(Untraced())
    network = load_or_dry(Untraced())
    assert usual_of(network) == ("full", "as_is", "inference")
    for strategy in usual_of(network):
        found = costmodel.estimate(network, strategy, **TENSORS)
        module = Untraced().train(strategy != "inference").requires_grad_(strategy != "inference")
        real = measure(module, 4, 10)
        assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)
        assert found.parameters == real.parameters and "without a layer graph" in found.notes[0]
    for refused in (
        {"strategy": "bias"},
        {"strategy": "full", "convention": "lean"},
        {"strategy": "full", "check": False},
    ):
        with pytest.raises(CostmodelError, match="unknown op 'erfinv'.*; allowed: .*a dry step answers"):
            costmodel.estimate(Untraced(), **refused, **TENSORS)


def test_a_module_that_neither_traces_nor_runs_is_refused_with_both_reasons():
    class Broken(Base):
        def middle(self, x):
            return x @ x[:, :, :3]

    with pytest.raises(CostmodelError, match="Broken: .*a dry step .* fails: .*strange|test_checking"):
        costmodel.estimate(Broken(), **TENSORS)


def test_the_resolution_asked_for_is_the_one_that_is_run():
    module = Base(nn.LayerNorm([8, 10, 10]))  # runs on 10x10 images alone
    assert costmodel.estimate(module, **TENSORS).certainty.saved == CHECKED
    with pytest.raises(CostmodelError):
        costmodel.estimate(module, batch=2)


def test_the_data_type_is_the_modules_own():
    half = Base().bfloat16()
    found = costmodel.estimate(half, **TENSORS)
    assert found.request.dtype.name == "bfloat16" and found.certainty.saved == CHECKED
    assert found.saved_bytes == measure(half, 4, 10).saved_bytes
    assert costmodel.estimate(half, dtype="float32", **TENSORS).saved_bytes == measure(Base(), 4, 10).saved_bytes
    assert costmodel.sweep(half, resolution=10).fixed["dtype"] == "bfloat16"


class Mixed(nn.Module):
    """A convolution in one data type, and a classifier in another."""

    def __init__(self, first, second):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 16, 3).to(first), nn.Linear(16, 10).to(second)

    def forward(self, x):
        return self.fc(self.conv(x.to(self.conv.weight.dtype)).relu().mean((2, 3)).to(self.fc.weight.dtype))


@pytest.mark.parametrize("strategy, states", [("full", 2), ("inference", 0)])
@pytest.mark.parametrize("first, second", [(torch.bfloat16, torch.float32), (torch.float32, torch.float64)])
def test_parameters_of_several_data_types_count_as_they_are(first, second, strategy, states):
    module = Mixed(first, second)
    bytes_of = 448 * first.itemsize + 170 * second.itemsize  # 16 x 3 x 3 x 3 + 16, and 16 x 10 + 10 numbers
    found = costmodel.estimate(module, strategy, 4, 10, target="none", optimizer="adam")
    memory, counts = found.memory_bytes, 4 * 4 * (states > 0)  # Adam counts the steps of each of the four
    assert memory["parameters"] == sum(one.nbytes for one in module.parameters()) == bytes_of
    assert memory["gradients"] == bytes_of * (states > 0) and memory["optimizer"] == states * bytes_of + counts
    given = 4 * 3 * 10 * 10 * first.itemsize + 4 * 8 * (states > 0)  # images, and with a loss the targets
    assert memory["peak"] == bytes_of + memory["optimizer"] + given + memory["step_peak"]
    assert found.parameters == 618 and found.certainty.saved == DRY


def test_a_parameter_of_another_data_type_is_never_checked():
    module = Base()
    module.fc.beside = nn.Parameter(torch.zeros(5, dtype=torch.float64))  # which no op reads
    found = costmodel.estimate(module, "full", **TENSORS)
    assert found.certainty.saved == DRY and "parameters" in found.notes[0]
    assert found.memory_bytes["parameters"] == sum(one.nbytes for one in module.parameters())


def test_what_a_strategy_sets_in_a_module():
    network = costmodel.load(Base(), resolution=10)

    def setting(strategy, **more):
        return setting_of_request(network, costmodel.estimate(network, strategy, check=False, **TENSORS).request)

    every = frozenset(dict(Base().named_parameters()))
    assert setting("full").trains == every and setting("full").evaluates == frozenset()
    assert setting("last").trains == {"fc.weight", "fc.bias"} and setting("last").evaluates == {"norm"}
    assert setting("bias").trains == {p for p in every if p.endswith("bias")} | {"fc.weight"}
    assert setting("as_is").trains is None and not setting("inference").has_loss
    own = costmodel.load("timm:mobilenetv3_small_050")
    again = costmodel.estimate(own, "blocks:2,checkpoint=blocks", 2, 32, check=False).request
    assert setting_of_request(own, again) is None  # more than flags and modes


def test_where_a_graph_and_a_dry_step_part():
    network = costmodel.load(LargeBatch(), resolution=10)
    tensors = costmodel.estimate(network, "as_is", check=False, **TENSORS)
    dry = dry_step(network, tensors.request)
    assert where_they_part(tensors, dry) == "the network itself"
    assert any("get a gradient in one alone" in said for said in differences(tensors, dry))
    fine = costmodel.load(Base(), resolution=10)
    tensors = costmodel.estimate(fine, "as_is", check=False, **TENSORS)
    assert differences(tensors, dry_step(fine, tensors.request)) == []


# -- the command line ----------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text("import torch\nfrom strange import Base, HalfBatch\nnet, same = HalfBatch(), Base()\n")
    return path


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_report_says_how_certain_it_is(file):
    told = run("report", f"{file}:same", "--resolution", 10, "--target", "none")
    assert "checked against a dry step of the module" in told.stdout
    told = run("report", f"{file}:same", "--resolution", 10, "--target", "none", "--no-check")
    assert "by rule" in told.stdout and "checked" not in told.stdout
    told = run("report", f"{file}:net", "--resolution", 10, "--strategy", "as_is")
    assert told.exit_code == 0 and "From a dry step" in told.stdout and "at least this" in told.stdout
    assert "lean" not in told.stdout
    told = run("report", f"{file}:net", "--resolution", 10, "--strategy", "as_is", "--format", "csv")
    assert told.exit_code == 0 and told.stderr.startswith("Note: From a dry step")
    assert "certain" not in run("report", "mcunet_5fps", "--strategy", "last").stdout


def test_commands_that_need_the_graph_say_so(file):
    for command in (["sweep"], ["pareto", "--strategy", "full,last"], ["plan", "--budget", "1GB"],
                    ["fit", "--budget", "1GB", "--max", "batch"]):  # fmt: skip
        told = run(command[0], f"{file}:net", *command[1:], "--resolution", 10)
        assert told.exit_code == 2 and told.stdout == "" and "does not describe" in told.stderr
    assert run("sweep", f"{file}:net", "--resolution", 10, "--no-check").exit_code == 0


def test_validate_runs_the_users_own_module(file):
    told = run(
        "validate", f"{file}:net", "--strategy", "full", "--strategy", "as_is", "--resolution", 10, "--format", "json"
    )
    assert told.exit_code == 0
    full, as_is = json.loads(told.stdout)
    assert full["saved_bytes"]["measured"] == full["saved_bytes"]["predicted"] == as_is["saved_bytes"]["measured"]
    told = run("validate", f"{file}:same", "--strategy", "bias", "--resolution", 10, "--format", "json")
    (row,) = json.loads(told.stdout)
    assert row["realised_saved_bytes"]["measured"] == row["saved_bytes"]["measured"]
