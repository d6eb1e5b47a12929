"""Strategies: their names, what they train, and that more training never costs less."""

import re

import pytest
from real import BLOCKS, NETWORKS

import costmodel
from costmodel import strategies  # noqa: F401  (registers them)
from costmodel.errors import CostmodelError
from costmodel.graph.graph import Graph, Node
from costmodel.graph.op import build
from costmodel.strategies._apply import COMMON_OPTIONS, apply
from costmodel.strategies._registry import STRATEGIES, possible

NAMES = f"allowed: {', '.join(sorted(STRATEGIES))}"


def options(name):
    return f"allowed: {', '.join(sorted({**STRATEGIES[name].options, **COMMON_OPTIONS}))}"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", f"unknown strategy '' ({NAMES})"),
        ("ful", f"unknown strategy 'ful'; did you mean 'full'? ({NAMES})"),
        ("FULL", f"unknown strategy 'FULL' ({NAMES})"),
        (" full", f"unknown strategy ' full'; did you mean 'full'? ({NAMES})"),
        ("block:1", f"unknown strategy 'block'; did you mean 'blocks'? ({NAMES})"),
        ("full:1", "strategy 'full:1': full takes no number of blocks; allowed: full"),
        ("full:", "strategy 'full:': full takes no number of blocks; allowed: full"),
        ("blocks", "strategy 'blocks': no number of blocks; allowed: from 1 to 17, as in blocks:1"),
        ("blocks:", "strategy 'blocks:': '' blocks; allowed: from 1 to 17, as in blocks:1"),
        ("blocks:0", "strategy 'blocks:0': '0' blocks; allowed: from 1 to 17, as in blocks:1"),
        ("blocks:-1", "strategy 'blocks:-1': '-1' blocks; allowed: from 1 to 17, as in blocks:1"),
        ("blocks:18", "strategy 'blocks:18': '18' blocks; allowed: from 1 to 17, as in blocks:1"),
        ("blocks:1.5", "strategy 'blocks:1.5': '1.5' blocks; allowed: from 1 to 17, as in blocks:1"),
        ("blocks:\u0661", "strategy 'blocks:\u0661': '\u0661' blocks; allowed: from 1 to 17, as in blocks:1"),
        ("blocks:1:2", "strategy 'blocks:1:2': '1:2' blocks; allowed: from 1 to 17, as in blocks:1"),
        ("full,depth=2", f"strategy 'full,depth=2': unknown option of full 'depth' ({options('full')})"),
        ("blocks:2,", f"strategy 'blocks:2,': unknown option of blocks '' ({options('blocks')})"),
    ],
)
def test_bad_names(text, message):
    with pytest.raises(CostmodelError, match=f"^mobilenet_v2: {re.escape(message)}$"):
        costmodel.estimate("mobilenet_v2", text)


def test_a_number_too_long_to_be_one_is_refused():
    with pytest.raises(CostmodelError, match="blocks; allowed: from 1 to 17"):
        costmodel.estimate("mobilenet_v2", "blocks:" + "1" * 5000)


def test_a_network_without_blocks_or_classifier_says_so():
    graph = Graph((Node("conv", build("conv2d", {"in_channels": 3, "out_channels": 4, "kernel": 1}), ("input",)),))
    with pytest.raises(CostmodelError, match="^strategy 'blocks:1': the network has no blocks$"):
        apply("blocks:1", graph)
    for text in ("last", "bias", "norm+last"):
        with pytest.raises(
            CostmodelError, match=f"^strategy '{re.escape(text)}': the network has no classifier to train$"
        ):
            apply(text, graph)


def of(name, strategy):
    """The strategy's graph of a network, by node."""
    return {node.name: node for node in apply(strategy, costmodel.load(name).graph).nodes}


def trains(nodes):
    """The nodes with a parameter that trains, by the set of what trains."""
    found = {}
    for name, node in nodes.items():
        if node.trains:
            found.setdefault(node.trains, set()).add(name)
    return found


def statistics(nodes):
    return {name: node.op.statistics for name, node in nodes.items() if node.op.kind == "batch_norm"}


WEIGHT, BIAS, BOTH = frozenset({"weight"}), frozenset({"bias"}), frozenset({"weight", "bias"})


def kinds(nodes, kind):
    return {name for name, node in nodes.items() if node.op.kind == kind}


def test_full_trains_everything_on_batch_statistics():
    nodes = of("mobilenet_v2", "full")
    assert trains(nodes) == {WEIGHT: kinds(nodes, "conv2d"), BOTH: kinds(nodes, "batch_norm") | {"classifier.1"}}
    assert set(statistics(nodes).values()) == {"batch"}


def test_last_trains_the_classifier_on_frozen_statistics():
    nodes = of("mobilenet_v2", "last")
    assert trains(nodes) == {BOTH: {"classifier.1"}}
    assert set(statistics(nodes).values()) == {"frozen"}
    # Both linear layers of MobileNetV3 are what it calls its classifier.
    assert trains(of("mobilenet_v3_small", "last")) == {BOTH: {"classifier.0", "classifier.3"}}


def test_norm_last_trains_scales_shifts_and_classifier_on_batch_statistics():
    nodes = of("mobilenet_v2", "norm+last")
    assert trains(nodes) == {BOTH: kinds(nodes, "batch_norm") | {"classifier.1"}}
    assert set(statistics(nodes).values()) == {"batch"}


def test_bias_trains_every_bias_and_the_classifier_on_frozen_statistics():
    nodes = of("mobilenet_v3_small", "bias")
    with_bias = {name for name in kinds(nodes, "conv2d") if "bias" in nodes[name].op.params()}
    assert len(with_bias) == 18  # two of each of 9 squeeze-and-excites
    assert trains(nodes) == {BIAS: kinds(nodes, "batch_norm") | with_bias, BOTH: {"classifier.0", "classifier.3"}}
    assert set(statistics(nodes).values()) == {"frozen"}


def test_blocks_train_the_last_ones_and_all_after_them():
    nodes = of("mobilenet_v2", "blocks:2")
    trained = ("features.16.", "features.17.", "features.18.", "classifier.")
    with_parameters = {name for name, node in nodes.items() if node.op.params()}
    assert {name for name, node in nodes.items() if node.trains} == {
        name for name in with_parameters if name.startswith(trained)
    }
    assert all(node.trains == frozenset(node.op.params()) for node in nodes.values() if node.trains)
    assert statistics(nodes) == {
        name: "batch" if name.startswith(trained) else "frozen" for name in kinds(nodes, "batch_norm")
    }


def test_one_of_seventeen_blocks_is_not_confused_with_the_tenth():
    # "features.1" is no prefix of "features.10" as a path.
    nodes = of("mobilenet_v2", "blocks:17")
    frozen = {name for name, node in nodes.items() if node.op.params() and not node.trains}
    assert frozen == {"features.0.0", "features.0.1"}


def test_inference_trains_nothing_and_has_no_loss():
    nodes = of("efficientnet_b0", "inference")
    assert trains(nodes) == {}
    assert "loss" not in nodes
    assert set(statistics(nodes).values()) == {"frozen"}
    assert {nodes[n].op.active for n in kinds(nodes, "dropout") | kinds(nodes, "stochastic_depth")} == {False}


@pytest.mark.parametrize("strategy", ["full", "last", "norm+last", "bias", "blocks:1"])
def test_dropout_and_stochastic_depth_stay_as_in_training(strategy):
    nodes = of("efficientnet_b0", strategy)
    assert {nodes[n].op.active for n in kinds(nodes, "dropout") | kinds(nodes, "stochastic_depth")} == {True}


def test_a_strategy_leaves_the_network_as_it_was():
    network = costmodel.load("mobilenet_v2")
    before = str(network)
    for one in possible(network.graph):
        costmodel.estimate(network, f"{one.name}:1" if one.takes_blocks else one.name)
    assert str(network) == before


# -- training more never saves less ------------------------------------------------------------------------


def saved(name, strategy, convention):
    return costmodel.estimate(name, strategy, 2, 64, convention).saved_bytes


@pytest.mark.one_in(3)
@pytest.mark.parametrize("convention", ["torch", "ideal"])
@pytest.mark.parametrize("name", NETWORKS)
def test_training_more_never_saves_less(name, convention):
    by_blocks = [saved(name, f"blocks:{k}", convention) for k in range(1, BLOCKS[name] + 1)]
    chain = [saved(name, "inference", convention), saved(name, "last", convention), *by_blocks]
    chain.append(saved(name, "full", convention))
    assert chain == sorted(chain)
    last, bias, norm_last, full = (saved(name, s, convention) for s in ("last", "bias", "norm+last", "full"))
    assert last <= bias <= norm_last <= full


@pytest.mark.parametrize("name", NETWORKS)
def test_each_block_more_trains_its_own_parameters(name):
    graph = costmodel.load(name).graph
    totals = [costmodel.estimate(name, f"blocks:{k}").trainable_parameters for k in range(1, len(graph.blocks) + 1)]
    full = costmodel.estimate(name, "full")
    of_block = {part["name"]: part["parameters"] for part in full.blocks}
    steps = [later - earlier for earlier, later in zip(totals, totals[1:])]
    assert steps == [of_block[scope] for scope in reversed(graph.blocks[:-1])]
    assert totals[-1] == full.parameters - of_block["stem"]
