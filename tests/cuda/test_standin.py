"""What runs on a GPU, run to its end against a stand-in: measuring, validating, probing, pricing with the probe."""

import json

import pytest
import torch
from commandline import CliRunner
from standin import StandIn

import costmodel
from costmodel.cli import main
from costmodel.pytorch import measure, realize
from costmodel.pytorch.devices import DEVICES, Most
from costmodel.pytorch.devices.gpu import Gpu
from costmodel.pytorch.probe import document, probe
from costmodel.targets import parse
from costmodel.targets.probed import ProbedCuda

STEP = dict(batch=3, resolution=65)
FORMATS = ("cuda", "cuda,channels_last")


@pytest.fixture
def gpu(monkeypatch):
    """The stand-in, in place of a GPU."""
    found = StandIn()
    monkeypatch.setitem(DEVICES, "cuda", found)
    return found


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def written(found, path):
    path.write_text(json.dumps(document(found, probe(found))))
    return str(path)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("network, strategy, convention", [
    ("mcunet_5fps", "full", "torch"), ("mcunet_5fps", "blocks:3", "torch"),
    ("mcunet_5fps", "mobiletl:3,recompute=none", "lean"),
    ("proxyless_mobile", "bias", "torch"),
])  # fmt: skip
def test_a_probed_step_is_exact(network, strategy, convention, target, gpu, tmp_path):
    asked = dict(strategy=strategy, convention=convention, **STEP)
    bare = costmodel.estimate(network, target=target, **asked)
    path = written(bare, tmp_path / "kernels.json")
    found = costmodel.estimate(network, target=path, **asked)
    real = measure(realize(network, strategy, convention=convention), target=target, **STEP)
    assert found.step_peak_bytes == real.step_peak_bytes >= bare.step_peak_bytes
    assert (found.saved_bytes, found.left_bytes) == (real.saved_bytes, real.left_bytes)
    assert real.step_peak_bytes % 512 == 0 and real.tensor_peak_bytes is None and gpu.waited
    assert {*found.certainty._replace(flops="probed")} == {"probed"} and found.notes == ()
    assert isinstance(found.request.target, ProbedCuda) and str(found.request.target).endswith(f"probed in {path})")


def test_what_was_not_probed_is_named(gpu, tmp_path):
    path = written(costmodel.estimate("mcunet_5fps", "full", target="cuda", **STEP), tmp_path / "kernels.json")
    other = costmodel.estimate("mcunet_5fps", "full", 4, 65, target=path)
    assert other.certainty.step_peak == other.certainty.saved == "not_modelled"
    assert "is not modelled for first_conv.conv" in other.notes[-1]
    table = costmodel.sweep("mcunet_5fps", "full", batch=[3, 4], resolution=65, target=path)
    assert [*table.columns["step_peak_certainty"]] == ["probed", "not_modelled"] == [*table.columns["certainty"]]


def test_a_kernel_that_keeps_something_else_is_not_priced(gpu, tmp_path):
    """The stand-in's dropout keeps numbers where a GPU's keeps true or false, and the probe does not believe it."""
    found = costmodel.estimate("mobilenet_v2", "full", target="cuda", **STEP)
    probes = list(probe(found))
    missed = [one for one in probes if one.missed]
    assert [one.call.node.op.kind for one in missed] == ["dropout"]
    assert "are priced: another kernel runs" in missed[0].missed
    path = tmp_path / "kernels.json"
    path.write_text(json.dumps(document(found, probes)))
    priced = costmodel.estimate("mobilenet_v2", "full", target=str(path), **STEP)
    assert priced.certainty.step_peak == "not_modelled" and "(dropout)" in priced.notes[-1]


def test_the_commands_run_to_their_ends(gpu, tmp_path):
    path = tmp_path / "kernels.json"
    step = ("--strategy", "full", "--batch", 2, "--resolution", 64)
    told = run("probe", "mcunet_5fps", *step, "--target", "cuda", "-o", path)
    assert told.exit_code == 0, told.output
    file = json.loads(path.read_text())
    assert (file["target"], file["machine"]) == ("cuda", "a stand-in, sm_00")
    bound = json.loads(run("validate", "mcunet_5fps", *step, "--target", "cuda", "--format", "json").stdout)[0]
    exact = json.loads(run("validate", "mcunet_5fps", *step, "--target", path, "--format", "json").stdout)[0]
    assert bound["holds"] and exact["holds"]
    assert "the step's peak: measured, call by call" in run("report", "mcunet_5fps", *step, "--target", path).stdout
    assert bound["step_peak_bytes"]["predicted"] < bound["step_peak_bytes"]["measured"]
    assert exact["step_peak_bytes"]["predicted"] == exact["step_peak_bytes"]["measured"]


def test_without_a_probe_nothing_is_said_to_hold():
    """No GPU has confirmed a number, so none of memory is by rule; arithmetic is the same everywhere."""
    for convention in ("torch", "lean"):
        found = costmodel.estimate("mobilenet_v2", "full", target="cuda", convention=convention, **STEP)
        assert [*found.certainty] == ["not_modelled", "rule", "not_modelled", "not_modelled"]
        assert "no GPU has confirmed" in found.notes[-1] and "costmodel probe" in found.notes[-1]
    assert (
        costmodel.estimate("mobilenet_v2", "full", target="cuda", convention="ideal", **STEP).certainty.saved == "rule"
    )


def test_dropout_keeps_true_or_false():
    """aten/src/ATen/native/cuda/Dropout.cu: a byte for each of 3 * 1280 elements; on the CPU a number of 4 bytes."""
    cpu, gpu = (costmodel.estimate("mobilenet_v2", "full", target=to, **STEP) for to in ("none", "cuda"))
    assert cpu.saved_bytes - gpu.saved_bytes == 3 * 1280 * (4 - 1)


def test_a_history_is_read_as_torch_writes_it(monkeypatch):
    """Of a real GPU's history the allocations and the requests to free count, in whole blocks."""
    entries = [
        {"action": "segment_alloc", "addr": 0, "size": 2**21},
        {"action": "alloc", "addr": 0, "size": 4},
        {"action": "alloc", "addr": 512, "size": 513},
        {"action": "free_requested", "addr": 0, "size": 4},
        {"action": "free_completed", "addr": 0, "size": 4},
    ]
    told = []
    memory = torch.cuda.memory
    monkeypatch.setattr(memory, "_record_memory_history", lambda enabled, **options: told.append(enabled))
    monkeypatch.setattr(memory, "_snapshot", lambda: {"device_traces": [[], entries]})
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: told.append("wait"))
    assert Gpu().recorded(lambda: "done") == ("done", [(0, 512), (512, 1024), (0, -512)])
    assert told == ["wait", "all", "wait", None]
    levels = Gpu().levels(lambda: None)
    assert (levels.peak, levels.left, levels.tensor_peak) == (1536, 1024, None)


def test_what_a_process_takes_is_told_apart(gpu, monkeypatch):
    """What tensors had at most and what the allocator took for them, held against the simulated allocator."""
    step = ("--strategy", "full", "--batch", 2, "--resolution", 64, "--target", "cuda", "--format", "json")
    predicted = json.loads(run("report", "mcunet_5fps", *step).stdout)["gpu_memory_bytes"]
    assert predicted["reserved"] > predicted["allocated"] > predicted["workspaces"] == 2 * 8_519_680
    for allocated, status in ((predicted["allocated"], 0), (predicted["allocated"] - 1, 1)):
        gpu.told = Most(allocated, predicted["reserved"])
        told = run("validate", "mcunet_5fps", *step)
        assert told.exit_code == status
        assert json.loads(told.stdout)[0]["allocated_bytes"] == {
            "predicted": predicted["allocated"], "measured": allocated
        }  # fmt: skip
    told = run("validate", "mcunet_5fps", *step[:-2], "--summary")
    assert told.exit_code == 1 and "mcunet_5fps" in told.stdout
    for name, value in (("memory_allocated", 3), ("memory_reserved", 5)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
        monkeypatch.setattr(torch.cuda, f"max_{name}", lambda value=value: 10 * value)
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    real = Gpu()
    real.start_over()
    assert real.most() == Most(27, 45)


def test_a_gpu_is_named_with_what_its_kernels_depend_on(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 7))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Orin")
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 90100)
    assert Gpu().name == "Orin, sm_87, CUDA 12.6, cuDNN 90100"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_without_a_gpu_one_message_says_so():
    told = run("probe", "mcunet_5fps", "--target", "cuda")
    assert told.exit_code == 2 and "torch finds no GPU here" in told.stderr
    assert parse("cuda").text == "cuda" and DEVICES["cuda"].kind == "cuda"
