"""The passes of a step, of a network that can be counted by hand."""

import pytest

import costmodel
from costmodel.devices import find_device
from costmodel.devices.pace import Pace
from costmodel.errors import CostmodelError
from costmodel.step.arithmetic import NodeWork, flops
from costmodel.step.passes import Pass
from costmodel.step.seconds import REACH, time_of
from costmodel.studies.where import Run

SPEC = """
network: tiny
resolution: 8
classes: 10
nodes:
  - {name: conv, op: conv2d, out_channels: 4, kernel: 3, padding: 1}
  - {name: norm, op: batch_norm}
  - {name: relu, op: relu}
  - {name: depth, op: conv2d, out_channels: 4, kernel: 5, padding: 2, groups: 4}
  - {name: pool, op: adaptive_avg_pool2d}
  - {name: flatten, op: flatten}
  - {name: fc, op: linear, out_features: classes}
classifier: fc
"""
#: Bytes of two images: of the input, of the maps of 4 channels, of pooled ones, of logits.
IMAGES, MAP, POOLED, LOGITS = 4 * 2 * 3 * 64, 4 * 2 * 4 * 64, 4 * 2 * 4, 4 * 2 * 10
#: Of parameters.
CONV, DEPTH, FC = 4 * 4 * 3 * 9, 4 * 4 * 25, 4 * (4 * 10 + 10)
LOSS = 4  # a number
CONV_MACS, DEPTH_MACS, FC_MACS = 2 * 64 * 4 * 27, 2 * 64 * 4 * 25, 2 * 4 * 10


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SPEC)
    return str(path)


def passes(network, strategy="full", **more):
    found = costmodel.estimate(network, strategy, batch=2, target="none", **more)
    names = [node.name for node in found.graph.nodes]
    return [(names[one.node] if one.node >= 0 else "", *one[1:5]) for one in found.passes]


def test_every_pass_of_a_step(tiny):
    found = [one for one in passes(tiny) if not one[0].startswith("loss")]
    assert found == [
        ("conv", "forward", "convolution", CONV_MACS, IMAGES + MAP + CONV),
        ("conv", "weight", "convolution", CONV_MACS, IMAGES + MAP + CONV),  # images want no gradient
        ("norm", "forward", "batch_norm", 0, 2 * MAP + 4 * 8),
        ("norm", "backward", "batch_norm", 0, 3 * MAP),
        ("relu", "forward", "activation", 0, 2 * MAP),
        ("relu", "backward", "activation", 0, 3 * MAP),
        ("depth", "forward", "wide_depthwise", DEPTH_MACS, 2 * MAP + DEPTH),
        ("depth", "input", "wide_depthwise", DEPTH_MACS, 2 * MAP + DEPTH),
        ("depth", "weight", "wide_depthwise", DEPTH_MACS, 2 * MAP + DEPTH),
        ("pool", "forward", "pool", 0, POOLED + MAP),
        ("pool", "backward", "pool", 0, 2 * POOLED + MAP),
        ("fc", "forward", "linear", FC_MACS, POOLED + LOGITS + FC),
        ("fc", "input", "linear", FC_MACS, POOLED + LOGITS + FC),
        ("fc", "weight", "linear", FC_MACS, POOLED + LOGITS + FC),
        ("", "update", "update", 0, 3 * (CONV + 4 * 8 + DEPTH + FC)),
    ]


def test_what_is_frozen_makes_no_pass_back(tiny):
    found = passes(tiny, "last")
    assert {one[0] for one in found if one[1] in ("input", "weight", "backward")} <= {"fc", "loss"}
    assert ("norm", "forward", "frozen_norm", 0, 2 * MAP + 4 * 8) in found
    assert found[-1] == ("", "update", "update", 0, 3 * FC)


def test_an_optimizer_reads_and_writes_its_state(tiny):
    trained = CONV + 4 * 8 + DEPTH + FC
    for optimizer, times in (("sgd", 3), ("momentum", 5), ("adam", 7)):
        assert passes(tiny, optimizer=optimizer)[-1][-1] == times * trained


def test_lean_layers_make_maps_again(tiny):
    found = passes(tiny, convention="lean")
    # The norm does the activation's work, which is a pass of its own; the depthwise convolution makes its input again.
    assert ("norm", "forward", "activation", 0, 2 * MAP) in found
    assert not [one for one in found if one[0] == "relu"]
    assert [one[:3] for one in found if one[1] == "again"] == [("depth", "again", "frozen_norm")]


@pytest.mark.parametrize("strategy", ["full", "bias", "last", "blocks:2", "mobiletl:2", "full,checkpoint=blocks"])
@pytest.mark.parametrize("convention", ["torch", "lean"])
def test_matrix_passes_hold_all_multiply_adds(strategy, convention):
    """An independent count: the estimate's FLOPs."""
    found = costmodel.estimate("mcunet_5fps", strategy, batch=2, convention=convention, target="none")
    assert 2 * sum(one.macs for one in found.passes) == found.flops["total"]


@pytest.mark.parametrize("strategy", ["full", "last", "norm+last", "bias", "blocks:2", "mobiletl:2", "inference"])
def test_seconds_add_up(strategy):
    found = costmodel.estimate("mobilenet_v3_small", strategy, device="raspberry_pi_4b")
    time = found.time
    assert sum(time.by_kind().values()) == pytest.approx(time.least, rel=1e-12)
    update = sum(seconds for one, seconds in zip(time.passes, time.pass_seconds) if one.node < 0)
    parts = [time.of_nodes(run) for _, run in found.graph.parts]
    assert sum(parts) + update == pytest.approx(time.least, rel=1e-12)
    assert found.seconds == time.step == time.least
    for parts in (found.blocks, found.layers):
        assert sum(part["step_seconds"] for part in parts) + update == pytest.approx(time.least, rel=1e-12)
    assert "step_seconds" not in costmodel.estimate("mobilenet_v3_small", strategy).blocks[0]


def test_an_interval_and_its_energy():
    device = find_device("raspberry_pi_4b")
    pace = Pace(1.0, 10.0, mape=0.1, framework="f", error="e", source="s")
    time = time_of([Pass(0, "forward", "sum", 0, 40)], device, pace)
    assert (time.step, time.low, time.high) == (4.0, 4 / (1 + REACH / 10), 4 * (1 + REACH / 10))
    joules = time.joules
    assert (joules["step"], joules["low"]) == (4 * 7.2, time.low * 7.2 * 0.7)
    assert time.bound_by() == "bandwidth"
    assert time.to_dict()["source"] == "Raspberry Pi 4 Model B, f: s; mean error 10 %, e"


def test_without_a_measurement_seconds_are_a_bound():
    found = costmodel.estimate("mobilenet_v2", device="raspberry_pi_3b_plus")
    time = found.time
    assert found.seconds is None and time.high is None and time.joules is None
    assert time.low == sum(
        max(2 * one.macs / 44.8e9, one.nbytes / 4e9) for one in found.passes
    )  # the datasheet's rates
    assert found.to_dict()["seconds"]["step"] is None


def test_constants_hold_for_their_data_type_and_memory_format_alone():
    at = {"device": "raspberry_pi_4b"}
    assert costmodel.estimate("mobilenet_v2", **at).seconds is not None
    assert costmodel.estimate("mobilenet_v2", dtype="bfloat16", **at).time is None
    assert costmodel.estimate("mobilenet_v2", amp="bfloat16", **at).time is None
    other = costmodel.estimate("mobilenet_v2", target="cpu,isa=neon,threads=4,cores=4,channels_last", **at)
    assert other.seconds is None and other.time is not None


def test_a_target_overrides_a_device_and_a_device_the_environment(monkeypatch):
    monkeypatch.setenv("COSTMODEL_TARGET", "none")
    neon = "cpu,threads=4,isa=neon,cores=4"
    assert costmodel.estimate("mcunet_5fps", device="raspberry_pi_4b").request.target.text == neon
    assert costmodel.estimate("mcunet_5fps", device="raspberry_pi_4b", target="cuda").request.target.device == "cuda"
    monkeypatch.setenv("COSTMODEL_DEVICE", "raspberry_pi_4b")
    assert costmodel.estimate("mcunet_5fps").request.target.text == neon
    monkeypatch.delenv("COSTMODEL_DEVICE")
    assert costmodel.estimate("mcunet_5fps").request.device is None


def test_flops_of_nodes_add_up():
    found = flops((NodeWork(1, 2, 3, 4, 5, 6, 7), NodeWork(10, 0, 0, 0, 0, 0)))
    assert found["forward"] == 22 and found["backward"] == 18 and found["total"] == 40
    assert found["elementwise_recomputed"] == 7 and flops(())["total"] == 0


def test_micro_steps_add_gradients_and_update_once():
    one, several = (costmodel.estimate("mcunet_5fps", device="raspberry_pi_4b", accumulate=n).time for n in (1, 4))
    added = [step for step in several.passes if step.node < 0 and step.name == "backward"]
    assert [step.nbytes for step in added] == [several.passes[-1].nbytes]  # both read and write three tensors
    assert several.update == pytest.approx(one.update)
    run = Run(images=8 * 10)
    found = costmodel.estimate("mcunet_5fps", device="raspberry_pi_4b", accumulate=4)
    # Ten micro-steps of 8 images are three updates.
    seconds = run.epoch_share(found) * found.seconds
    assert seconds == pytest.approx(10 * (found.seconds - found.time.update) + 3 * found.time.update)


def test_cores_do_not_change_the_constants():
    at = {"device": "raspberry_pi_4b"}
    assert costmodel.estimate("mcunet_5fps", target="cpu,isa=neon,threads=4", **at).seconds is not None
    assert costmodel.estimate("mcunet_5fps", target="cpu,isa=neon,threads=2", **at).seconds is None


@pytest.mark.parametrize("device", [5, b"x", ["raspberry_pi_4b"], "", "/tmp"])
def test_a_device_of_a_wrong_kind(device):
    for call in (costmodel.estimate, costmodel.sweep):
        with pytest.raises(CostmodelError, match="device"):
            call("mcunet_5fps", device=device)


def test_a_paper_convention_has_no_seconds():
    assert costmodel.estimate("mcunet_5fps", convention="ideal", device="raspberry_pi_4b").seconds is None


def test_a_device_and_its_time_are_told_shortly():
    found = costmodel.estimate("mcunet_5fps", device="raspberry_pi_4b")
    assert repr(found.request.device) == "<Device raspberry_pi_4b,memory=8GiB>"
    assert repr(found.time).startswith("<StepTime on raspberry_pi_4b,memory=8GiB: ") and len(repr(found.time)) < 100
    assert hash(found.request.device) == hash(find_device("raspberry_pi_4b"))
