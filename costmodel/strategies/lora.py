"""`lora:R[,fa=1]`: branches of rank R beside frozen pointwise convolutions and linear layers train, and the classifier.

LoRA (Hu et al., ICLR 2022): y = W x + B A x. Training A keeps all of x, as much as training W would: on feature maps,
which are large, LoRA saves nothing. LoRA-FA (Zhang et al., 2023, `fa=1`) freezes A, and keeps the R channels of A x
alone. B starts at 0. (peft scales B A x by a constant, which a weight
takes up.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ..errors import CostmodelError
from ..graph.graph import Graph, Node
from ..graph.op import Op, build
from ..ops.conv import Conv2d
from ..ops.linear import Linear
from ._edits import everything, freeze_statistics, in_classifier, nothing, train
from ._option_values import at_least, on
from ._registry import strategy

DOWN, UP, SUM = "_lora_down", "_lora_up", "_lora_sum"


def notes(graph: Graph) -> Sequence[str]:
    """Why branches of low rank save memory, or do not."""
    down = [node for node in graph.nodes if node.name.endswith(DOWN)]
    if any(node.trains for node in down):
        return (
            "LoRA's matrices A read all of a layer's input for their gradients: as much is kept as if the layer's own"
            " weight trained. fa=1 freezes them (LoRA-FA): then the few channels that they make are kept.",
        )
    return ("A is frozen (LoRA-FA): of a layer's input only the few channels that A makes of it are kept.",)


@strategy(
    "lora",
    "branches of rank R beside pointwise convolutions and linear layers, and the classifier, train; fa=1: half of each",
    options={"fa": on},
    code="R",
    of_classifiers=True,
    notes=notes,
    zeroed=lambda graph: [node.name for node in graph.nodes if node.name.endswith(UP)],
)
def lora(graph: Graph, code: str | None, fa: bool = False) -> Graph:
    """code: the rank. fa: the first half of each branch is frozen. Raises CostmodelError for a bad rank."""
    try:
        rank = at_least(1, "as in lora:8")(code or "")
    except ValueError as error:
        raise CostmodelError(f"found {'no rank' if code is None else f'rank {code!r}'}; allowed: {error}") from None
    graph = with_branches(graph, rank)
    in_head = in_classifier(graph)

    def trains(node: Node) -> frozenset[str]:
        trained = in_head(node) or node.name.endswith(UP) or node.name.endswith(DOWN) and not fa
        return everything(node) if trained else nothing(node)

    return freeze_statistics(train(graph, trains))


def with_branches(graph: Graph, rank: int) -> Graph:
    """The graph with a branch beside each pointwise convolution and linear layer outside the classifier."""
    calls, in_head = Counter(node.owner for node in graph.nodes), in_classifier(graph)
    nodes: list[Node] = []
    sums: dict[str, str] = {}
    for node in graph.nodes:
        nodes.append(replace(node, inputs=tuple(sums.get(name, name) for name in node.inputs)))
        halves = None if in_head(node) or calls[node.owner] > 1 or node.owner != node.name else branch_of(node.op, rank)
        if halves is None:
            continue
        name = node.name
        nodes.append(Node(f"{name}{DOWN}", halves[0], nodes[-1].inputs))
        nodes.append(Node(f"{name}{UP}", halves[1], (f"{name}{DOWN}",)))
        nodes.append(Node(f"{name}{SUM}", build("add", {}), (name, f"{name}{UP}")))
        sums[name] = f"{name}{SUM}"
    if not sums:
        raise CostmodelError(
            "found no pointwise convolution or linear layer below the classifier with weights and a call of its own;"
            " allowed: networks with some, beside which branches can train"
        )
    return replace(graph, nodes=tuple(nodes))


def branch_of(op: Op, rank: int) -> tuple[Op, Op] | None:
    """A and B of a layer's branch; None for a layer that gets none."""
    if type(op) is Conv2d and op.kernel == (1, 1) and op.groups == 1 and not op.standardise:
        down = Conv2d(op.in_channels, rank, 1, op.stride, op.padding)
        return down, Conv2d(rank, op.out_channels, 1)
    if type(op) is Linear and not op.strided:
        return Linear(op.in_features, rank, False), Linear(rank, op.out_features, False)
    return None
