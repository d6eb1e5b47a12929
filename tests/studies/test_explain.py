"""Why a layer keeps what it keeps: it adds up to the report, is released as in the timeline, and is freed as told."""

import json
import shlex
from collections import Counter

import pytest
from commandline import CliRunner

import costmodel
from costmodel import CostmodelError
from costmodel.cli import main
from costmodel.step.events import SAVED
from costmodel.studies.explain import GIVEN, KEEPS, freed_by, kept_tensors, layers_named
from costmodel.views.explain import tensor_table
from costmodel.views.report import parts_table

BN = "features.2.conv.0.1"  # a norm of mobilenet_v2
ASKED = {"strategy": "full", "batch": 2, "convention": "torch", "target": "none"}


def run(*arguments):
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("convention", ["torch", "lean", "ideal"])
@pytest.mark.parametrize("strategy", ["full", "mobiletl:5", "blocks:3,checkpoint=blocks"])
def test_what_parts_keep_adds_up_to_the_report(strategy, convention):
    estimate = costmodel.estimate("mobilenet_v2", strategy, 2, convention=convention)
    for part in estimate.blocks:
        tensors = [one for one in kept_tensors(estimate, part["name"]) if one.role == KEEPS]
        assert sum(one.row.saved_bytes for one in tensors) == part["saved"]


@pytest.mark.parametrize("network, strategy, convention", [
    ("mobilenet_v2", "full", "torch"), ("mobilenet_v2", "mobiletl:5", "lean"), ("mobilenet_v3_small", "bias", "lean"),
    ("mobilenet_v2", "blocks:3,checkpoint=blocks", "torch"), ("efficientnet_b0", "full", "torch"),
])  # fmt: skip
def test_tensors_are_released_where_the_timeline_releases_them(network, strategy, convention):
    estimate = costmodel.estimate(network, strategy, batch=2, convention=convention, target="none")
    released: Counter = Counter()
    for event in estimate.timeline.events:
        if event.category == SAVED and event.sign < 0:
            released[event.phase, estimate.node_name(event)] += int(estimate.slot_sizes[event.slot])
    told: Counter = Counter()
    for one in kept_tensors(estimate, "*"):
        assert one.role == KEEPS and (one.released_after is None) == (one.made_by == GIVEN)
        if one.released_after is not None:
            told["backward", one.released_after] += one.row.saved_bytes
    assert told == released and len(told) > 8


def test_a_tensor_that_is_made_here_and_kept_by_the_next_layer():
    estimate = costmodel.estimate("mobilenet_v2", batch=2)
    roles = {(one.role, one.row.node, one.row.tensor): one for one in kept_tensors(estimate, BN)}
    assert set(roles) == {("keeps", BN, "x"), ("keeps", BN, "mean"), ("keeps", BN, "invstd"),
                          ("makes", "features.2.conv.0.2", "x")}  # fmt: skip
    assert roles["keeps", BN, "x"].made_by == "features.2.conv.0.0"
    lean = costmodel.estimate("mobilenet_v2", "mobiletl:1", batch=2, convention="lean")
    shared = {one.row.tensor: one.role for one in kept_tensors(lean, "features.17.conv.2")}
    assert shared["y"] == "reads"  # the activation before it keeps its output, which the convolution reads too


def test_every_change_frees_what_it_says():
    network = costmodel.load("mobilenet_v2")
    now = sum(one.row.saved_bytes for one in kept_tensors(costmodel.estimate(network, **ASKED), "features.16")
              if one.role == KEEPS)  # fmt: skip
    freed = {
        (one.found.strategy, one.found.convention): one for one in freed_by(network, "features.16", ASKED, ["lean"])
    }
    assert {("full", "lean"), ("full,checkpoint=blocks", "torch"), ("blocks:1", "torch")} <= freed.keys()
    for one in freed.values():
        again = costmodel.estimate(network, **{**ASKED, **one.changes})
        assert (again.saved_bytes, one.still_bytes < now) == (one.found.saved_bytes, True)
    assert freed["blocks:1", "torch"].still_bytes == 0  # the block is below those that train
    ran_again = costmodel.estimate(network, **{**ASKED, "strategy": "full,checkpoint=blocks"})
    inputs = [one for one in kept_tensors(ran_again, "features.16") if one.role == KEEPS]
    assert freed["full,checkpoint=blocks", "torch"].still_bytes == sum(one.row.saved_bytes for one in inputs)
    lean = costmodel.estimate(network, **{**ASKED, "convention": "lean"})
    block = next(block for block in lean.blocks if block["name"] == "features.16")
    assert freed["full", "lean"].still_bytes >= block["saved"]


def test_names():
    graph = costmodel.estimate("mobilenet_v2").graph
    names = [graph.nodes[i].name for i in layers_named(graph, "features.2.conv.0.*")]
    assert names == [f"features.2.conv.0.{i}" for i in range(3)]
    assert layers_named(graph, "head") == [*dict(graph.parts)["head"]]
    with pytest.raises(CostmodelError, match="no layer is called 'features.2x'; did you mean 'features.2'"):
        layers_named(graph, "features.2x")


def test_a_table_for_people_says_who_else_keeps_it():
    estimate = costmodel.estimate("mobilenet_v2", batch=2)
    table = tensor_table(estimate, BN, kept_tensors(estimate, BN))
    heads = [column.head for column in table.columns]
    assert table.rows[-1][heads.index(f"{BN} ...")] == "makes, kept by features.2.conv.0.2"
    assert table.rows[0][heads.index("kept for")] == f"the gradient of x and weight in {BN}"


def test_what_is_made_again_of_a_tensor_and_of_what():
    """At stride 2 the expansion's output is made again of the block's input, and the depthwise one's is kept."""
    one = costmodel.estimate("mobilenet_v2", "full,recompute=mixed", batch=2, convention="lean")
    by_layer = {layer["name"]: layer["made_again_of"] for layer in one.layers}
    expansion, depthwise = "features.4.conv.0.0", "features.4.conv.1.0"
    assert by_layer[expansion] == by_layer["features.4.conv.0.1"] == ["features.3.conv.2", "features.2.conv.2"]
    assert by_layer["features.4.conv.1.1"] == [depthwise] and by_layer[depthwise] == []
    table = tensor_table(one, depthwise, kept_tensors(one, depthwise))
    heads = [column.head for column in table.columns]
    kept = {row[heads.index("made by")]: row[heads.index("and made again of it")] for row in table.rows}
    assert kept[depthwise] == "features.4.conv.1.1"
    heads = [column.head for column in parts_table(one, True).columns]
    assert "result made again of" in heads


def test_the_command():
    document = json.loads(run("explain", "mobilenet_v2", BN, "--batch", "2", "--format", "json").stdout)
    assert document["layers"] == [BN] and {row["convention"] for row in document["tensors"]} == {
        "torch",
        "lean",
        "ideal",
    }
    (row,) = [
        row for row in document["tensors"] if (row["convention"], row["role"], row["tensor"]) == ("lean", "keeps", "x")
    ]
    assert (row["tensor_bytes"], row["released_after"], row["needed"]) == (2 * 96 * 112 * 112 * 4, BN, True)
    assert row["read_by"] == (
        f"the gradient of x and weight and bias in {BN}; the gradient of weight in features.2.conv.1.0"
    )
    for change in document["changes"]:
        _, *words = shlex.split(change["command"])
        report = json.loads(run(*words, "--format", "json").stdout)
        assert report["memory_bytes"]["saved"] == change["saved_bytes"]
    text = run("explain", "mobilenet_v2", "features.2", "--strategy", "last").stdout
    assert "keeps 0 B under torch" in text and "No gradient is computed in it" in text
    assert run("explain", "mobilenet_v2", "nothing").exit_code == 2
