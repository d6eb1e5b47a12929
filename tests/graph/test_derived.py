"""What follows from a graph: how long call frames hold its values, and how its tensors lie in memory."""

from costmodel.graph.graph import INPUT, Graph, Node
from costmodel.graph.lifetimes import frame_ends
from costmodel.graph.memory_formats import layouts_of
from costmodel.graph.op import build
from costmodel.targets.memory_order import CHANNELS_LAST, contiguous


def test_a_value_that_was_handed_into_a_module_lives_until_the_module_returns():
    relu = build("relu", {})
    graph = Graph((Node("a", relu, (INPUT,)), Node("block.b", relu, ("a",)), Node("block.c", relu, ("block.b",)),
                   Node("d", relu, ("block.c",))))  # fmt: skip
    # The frame of `block` holds a until c has run; b goes after its reader; the result is the caller's.
    assert frame_ends(graph) == {2: [1, 2], 3: [3], 4: [4]}


def test_a_copy_is_contiguous_and_elementwise_ops_take_after_their_input():
    turn, act, copy = build("permute", {"axes": [0, 2, 3, 1]}), build("relu", {}), build("copy", {})
    graph = Graph((Node("turned", turn, (INPUT,)), Node("act", act, ("turned",)), Node("copy", copy, ("act",))))
    layouts = layouts_of(graph, (4, 4, 4, 4), frozenset(), False)
    assert layouts.values[0] == layouts.values[3] == contiguous(4)
    assert layouts.values[1].order == layouts.values[2].order == (0, 3, 1, 2)
    assert layouts.around(2, graph.reads[2])[0] == (layouts.values[2],)
    assert layouts.around(0, graph.reads[0]) == ((), None)
    last = layouts_of(graph, (4, 4, 4, 4), frozenset(), True)
    assert last.values[0] == CHANNELS_LAST and last.values[1].order == last.values[2].order == (0, 1, 2, 3)
    assert last.around(0, graph.reads[0]) == ((), None) and last.around(2, graph.reads[2])[0] == (last.values[2],)
