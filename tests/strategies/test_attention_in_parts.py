"""Attention whose mask trains is in parts after a strategy, with lifetimes as torch's own function has them."""

from costmodel.graph.graph import INPUT, Graph, Node
from costmodel.ops.attention import Attention
from costmodel.ops.parameter import Parameter
from costmodel.strategies import apply, in_parts_where_masks_train
from costmodel.strategies._attention import as_in


def graph_of(trains, copied=(), until="", checkpointed=()):
    heads = [Node(name, Parameter(name, (1, 2, 4, 3)), (INPUT,), until=until) for name in "qkv"]
    mask = Node("mask", Parameter("mask", (4, 4)), (INPUT,), frozenset({"mask"} if trains else ()), until=until)
    masked = Attention(masked=True, copied=copied, scale=0.25)
    attention = Node("block.attention", masked, ("q", "k", "v", "mask"), until=until and "end")
    end = Node("end", Attention(), ("block.attention",) * 3)
    return Graph((*heads, mask, attention, end), checkpointed=checkpointed)


def test_the_parts_of_attention_and_how_long_they_live():
    split = in_parts_where_masks_train(graph_of(True, (1, 2), until="mask"))
    own = "block.attention"
    made = [(node.name.removeprefix(own), node.op.kind, *node.inputs, node.until) for node in split.nodes[4:-1]]
    weights, end = f"{own}_matmul", own
    assert made == [
        ("_mul_number", "mul_number", "q", end),  # torch holds the scaled queries to the end
        ("_permute", "permute", "k", f"{own}_mul_number_2"),
        ("_mul_number_2", "mul_number", f"{own}_permute", weights),
        ("_copy", "copy", f"{own}_mul_number_2", weights),
        ("_matmul", "matmul", f"{own}_mul_number", f"{own}_copy", f"{own}_add"),
        ("_add", "add", weights, "mask", f"{own}_safe_softmax"),
        ("_safe_softmax", "safe_softmax", f"{own}_add", end),
        ("_copy_2", "copy", "v", end),
        ("", "matmul", f"{own}_safe_softmax", f"{own}_copy_2", "end"),
    ]
    assert split.nodes[4].op.number == 0.5  # its square is the scale


def test_attention_stays_whole_where_its_mask_does_not_train():
    for until in ("", "mask"):
        graph = graph_of(False, until=until)
        assert in_parts_where_masks_train(graph) is graph
    assert "block.attention_add" in {node.name for node in apply("full", graph).nodes}
    assert "block.attention_add" not in {node.name for node in apply("inference", graph).nodes}


def test_what_runs_again_begins_at_the_first_part_and_a_spec_gets_no_lifetimes():
    split = in_parts_where_masks_train(graph_of(True, checkpointed=("block.attention..end",)))
    assert split.checkpointed == ("block.attention_mul_number..end",)
    assert not split.is_traced


def test_a_graph_is_split_as_another_one():
    graph = graph_of(False)
    full = apply("full", graph)
    assert [node.name for node in as_in(full, graph).nodes] == [node.name for node in full.body]
    assert as_in(graph, graph).nodes == graph.nodes
