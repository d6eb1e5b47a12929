"""A graph under autocast: which casts it has, how long they live, what they cost, and what is refused."""

import json
from dataclasses import replace

import pytest
from commandline import CliRunner

import costmodel
from costmodel import CostmodelError
from costmodel.cli import main
from costmodel.graph.op import Casts
from costmodel.sizes.dtype import DTYPES, find_amp
from costmodel.step.autocast import autocast
from costmodel.strategies import apply

AMP = DTYPES["bfloat16"]
ALONE = "none,threads=1"
SPEC = """
network: tiny
resolution: 8
classes: 5
nodes:
  - {name: conv, op: conv2d, out_channels: 4, kernel: 3, padding: 1, bias: true}
  - {name: norm, op: batch_norm}
  - {name: act, op: relu6}
  - {name: pool, op: mean}
  - {name: fc, op: linear, out_features: classes}
classifier: fc
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SPEC, encoding="utf-8")
    return costmodel.load(str(path))


def mixed(network, strategy="full"):
    return autocast(apply(strategy, network.graph), AMP)


def test_what_is_cast_and_in_which_order(tiny):
    """As torch's dispatcher shows it: bias, weight, input of a layer; the logits for the loss."""
    nodes = mixed(tiny).nodes
    casts = [node.name for node in nodes if node.op.kind == "cast"]
    assert casts == [
        "conv.bias.bfloat16", "conv.weight.bfloat16", "conv.x.bfloat16", "fc.bias.bfloat16", "fc.weight.bfloat16",
        "loss.x.float32",
    ]  # fmt: skip
    assert [node.name for node in nodes if node.bits == 16] == ["conv", "norm", "act", "pool", "fc"]
    assert {node.name for node in nodes if node.until} == {name for name in casts if ".x." not in name}


def test_casts_of_frozen_parameters_are_not_held(tiny):
    assert {node.name for node in mixed(tiny, "last").nodes if node.until} == {"fc.bias.bfloat16", "fc.weight.bfloat16"}
    assert not [node for node in mixed(tiny, "inference").nodes if node.until]


def test_saved_bytes_by_hand(tiny):
    saved = costmodel.estimate(tiny, "full", 2, amp="bfloat16", target=ALONE)
    n = 2 * 8 * 8
    expected = {
        "x of conv": 2 * 3 * n, "weight of conv": 2 * 4 * 3 * 9,
        "x of norm": 2 * 4 * n, "mean of norm": 4 * 4, "invstd of norm": 4 * 4,
        "x of act": 2 * 4 * n,
        "x of fc": 2 * 2 * 4, "weight of fc": 2 * 5 * 4,
        "log_probabilities of loss": 4 * 2 * 5, "targets of loss": 8 * 2, "total_weight of loss": 4,
    }  # fmt: skip
    assert {f"{row.tensor} of {row.node}": row.saved_bytes for row in saved.rows} == expected
    assert saved.saved_bytes == sum(expected.values())


def test_the_cached_casts_live_until_the_loss_is_there(tiny):
    priced = costmodel.estimate(tiny, "full", 2, amp="bfloat16", target=ALONE)
    after = priced.timeline.after_forward
    biases = 2 * (4 + 5)
    released = [event for event in priced.timeline.events[:after] if event.sign < 0]
    last = [priced.graph.nodes[event.node].name for event in released[-2:]]
    assert last == ["loss", "loss"]
    assert sum(int(priced.slot_sizes[event.slot]) for event in released if event.node == len(priced.graph) - 1
               and priced.slot_sizes[event.slot] in (8, 10)) == biases  # fmt: skip
    assert priced.levels[after - 1] == priced.saved_bytes - 16 + 4  # without the caller's targets, with the loss


@pytest.mark.parametrize("strategy", ["full", "bias", "blocks:3", "blocks:3,checkpoint=blocks", "last", "inference"])
def test_what_autocast_leaves_as_it_is(strategy):
    """Parameters, FLOPs, layers and blocks; blocks add up."""
    half, whole = (costmodel.estimate("mcunet_5fps", strategy, 2, amp=amp, target=ALONE) for amp in ("bfloat16", None))
    assert half.flops == whole.flops
    assert half.memory_bytes["parameters"] == whole.memory_bytes["parameters"]
    assert half.memory_bytes["gradients"] == whole.memory_bytes["gradients"]
    for key in ("name", "op", "output_shape", "parameters", "trainable_parameters", "forward_flops", "backward_flops"):
        assert [layer[key] for layer in half.layers] == [layer[key] for layer in whole.layers]
        assert [block.get(key) for block in half.blocks] == [block.get(key) for block in whole.blocks]
    assert list(half.graph.parameters) == list(whole.graph.parameters)  # the optimizer's order
    for parts in (half.blocks, half.layers):
        assert sum(part["saved"] for part in parts) == half.saved_bytes
        assert sum(part["parameters"] for part in parts) == half.parameters


def test_saved_weights_may_outweigh_smaller_maps():
    """Little is saved of a classifier alone: its input; under autocast the copy of its weight too."""
    half, whole = (costmodel.estimate("mcunet_5fps", "full", 2, amp=amp, target=ALONE) for amp in ("bfloat16", None))
    assert half.saved_bytes < whole.saved_bytes
    checkpointed = "blocks:3,checkpoint=blocks"
    half, whole = (costmodel.estimate("mcunet_5fps", checkpointed, 2, amp=amp) for amp in ("bfloat16", None))
    assert half.saved_bytes > whole.saved_bytes
    assert {row.tensor: row.saved_bytes for row in half.rows if row.node == "classifier.linear"}[
        "weight"
    ] == 2 * 160_000


def test_weight_standardisation_runs_in_float32():
    graph = mixed(costmodel.load("proxyless_mobile_tinytl"))
    made = [node for node in graph.nodes if node.name.endswith(".standardised")]
    assert made and not [node for node in made if node.bits] and {node.op.kind for node in made} == {"div"}
    frozen = mixed(costmodel.load("proxyless_mobile_tinytl"), "last")
    first = next(node for node in frozen.nodes if node.op.kind == "conv2d")
    assert first.owner in {owner for owner, name, _ in frozen.idle if name == "weight"}


def test_an_op_without_casts_keeps_integers_apart():
    graph = mixed(costmodel.load("mobilenet_v3_small"))
    assert {node.op.casts for node in graph.nodes if node.op.kind == "mul"} == {Casts.NONE}
    assert all(bits in (0, 16, 32, 64) for bits in graph.bits)  # 64 of the loss's targets
    assert len(graph.hosts) == len(graph)
    assert [len(run) for run in graph.calls if graph.nodes[run[-1]].op.kind == "linear"] == [5, 5]


def test_a_span_that_runs_again_begins_with_its_casts(tiny):
    graph = replace(apply("full", tiny.graph), checkpointed=("conv..act",))
    assert autocast(graph, AMP).checkpointed == ("conv.weight..act",)


def test_a_sweep_is_its_cells_estimates():
    grid = costmodel.sweep("mcunet_5fps", "full,bias,blocks:3,checkpoint=blocks", [1, 2, 5], [64, 96],
                           amp=[None, "bf16", "float16"], target="cpu,threads=1,isa=avx512")  # fmt: skip
    assert set(grid.amp.tolist()) == {None, "bfloat16", "float16"} and len(grid) == 3 * 3 * 3 * 2
    for i in range(0, len(grid), 5):
        one = costmodel.estimate("mcunet_5fps", grid.strategy[i], int(grid.batch[i]), int(grid.resolution[i]),
                                 amp=grid.amp[i], target="cpu,threads=1,isa=avx512")  # fmt: skip
        assert (grid.saved_bytes[i], grid.step_peak_bytes[i]) == (one.saved_bytes, one.step_peak_bytes)
        assert grid.step_peak_certainty[i] == one.certainty.step_peak


@pytest.mark.parametrize("asked, message", [
    ({"dtype": "bfloat16"}, "amp bfloat16 with dtype bfloat16; allowed: float32"),
    ({"convention": "ideal"}, "amp bfloat16 with convention 'ideal'; allowed: torch, lean"),
    ({"convention": "tinytl"}, "amp bfloat16 with convention 'tinytl'; allowed: torch, lean"),
    ({"target": "cuda"}, "amp bfloat16 on target 'cuda'; allowed: cpu, none"),
    ({"amp": "float32"}, "unknown amp 'float32'"),
])  # fmt: skip
def test_what_is_refused(asked, message):
    for call in (costmodel.estimate, costmodel.sweep):
        with pytest.raises(CostmodelError, match=message):
            call("mcunet_5fps", **{"amp": "bfloat16", **asked})


def test_a_plan_is_refused():
    with pytest.raises(CostmodelError, match="a plan adds up the costs of parts, across which autocast holds casts"):
        costmodel.plan("mcunet_5fps", "64MB", amp="bf16")
    assert costmodel.plan("mcunet_5fps", "64MB", amp="none").estimate.request.amp is None


def test_names_of_data_types():
    assert find_amp("bf16") == find_amp("bfloat16") == AMP and find_amp("half").name == "float16"
    assert find_amp(None) is None and find_amp("none") is None


def run(*words):
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_the_command_line():
    document = json.loads(run("report", "mcunet_5fps", "--amp", "bf16", "--format", "json", "--target", ALONE))
    assert document == json.loads(json.dumps(costmodel.estimate("mcunet_5fps", amp="bf16", target=ALONE).to_dict()))
    assert document["amp"] == "bfloat16" and document["target"]["dtype"] == "float32"
    assert json.loads(run("report", "mcunet_5fps", "--format", "json"))["amp"] is None
    table = run("report", "mcunet_5fps", "--amp", "float16", "--target", ALONE)
    assert "sgd, float32 under autocast in float16" in table and "lean" not in table
    assert "bfloat16" not in run("explain", "mcunet_5fps", "blocks.3.mobile_inverted_conv.depth_conv.conv", "--target",
                                 ALONE)  # fmt: skip
    told = run("explain", "mcunet_5fps", "blocks.3.mobile_inverted_conv.depth_conv.conv", "--amp", "bf16", "--target",
               ALONE)  # fmt: skip
    assert "depth_conv.conv.weight.bfloat16" in told and "(conv2d) keeps" in told
    for words in (("compare", "mcunet_5fps"), ("fit", "mcunet_5fps", "--budget", "64MB", "--max", "batch")):
        assert run(*words, "--amp", "bf16", "--target", ALONE)
    header, *rows = run("sweep", "mcunet_5fps", "--amp", "none,bf16", "--format", "csv").split()
    assert "amp" in header.split(",") and len(rows) == 2
