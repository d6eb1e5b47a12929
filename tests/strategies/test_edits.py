"""What strategies are made of."""

import pytest

import costmodel
from costmodel import CostmodelError
from costmodel.strategies._edits import biases, everything, freeze_statistics, from_block, in_classifier, nothing, train
from costmodel.strategies._lighter import has_signed, lighter, squeeze_excite


@pytest.fixture(scope="module")
def graph():
    return costmodel.load("mobilenet_v3_small").graph


def test_which_parameters_train(graph):
    trained = train(graph, lambda node: biases(node) if node.op.is_norm else nothing(node))
    count = sum(node.op.channels for node in graph.nodes if node.op.is_norm)
    assert trained.count_parameters(trained=True) == count
    assert train(graph, everything).count_parameters(trained=True) == graph.count_parameters() == 2_542_856


def test_where_statistics_are_frozen(graph):
    last = from_block(graph, 1)
    frozen = freeze_statistics(graph, lambda node: not last(node))
    kinds = {last(node): node.op.statistics for node in frozen.nodes if node.op.is_norm}
    assert kinds == {False: "frozen", True: "batch"}


def test_the_classifier(graph):
    chosen = in_classifier(graph)
    assert {node.name for node in graph.nodes if chosen(node) and node.op.params()} == {"classifier.0", "classifier.3"}
    without = costmodel.load("mobilenet_v3_small").graph.__class__(graph.nodes)
    with pytest.raises(CostmodelError, match="no classifier to train"):
        in_classifier(without)


def test_gates_are_found_and_keep_their_gradient_exact(graph):
    gates = squeeze_excite(graph)
    assert len(gates) == 9 * 5 and {"features.1.block.1.avgpool", "features.1.block.1.scale_activation"} <= gates
    changed = lighter(graph, graph.blocks[-2:])
    signed = {node.name for node in changed.nodes if has_signed(node) and node.op.signed}
    assert signed and not signed & gates
    assert all(any(name.startswith(f"{block}.") for block in graph.blocks[-2:]) for name in signed)
    shifts = [node for node in changed.nodes if node.trains == {"bias"}]
    assert len(shifts) == 4 and all(node.op.statistics == "frozen" for node in shifts)
