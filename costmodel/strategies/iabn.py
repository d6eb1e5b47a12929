"""`iabn`: batch norms and the activations after them become in-place activated (Rota Bulo et al., CVPR 2018).

Every activation after a batch norm becomes a leaky ReLU, which can be undone: norm and activation keep their output,
which the next layer keeps anyway, and overwrite the norm's input. The network computes something else than before: it
is to be trained so from the start. Alone, everything trains.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import CostmodelError
from ..graph.graph import Graph
from ..graph.op import Op, Result
from ..ops.activation import Activation
from ..ops.conv import Conv2d
from ..ops.forms.inplace_norm import SLOPE, InplaceActivatedNorm
from ..ops.lean import as_op
from ..ops.norm import BatchNorm
from ..ops.remade import PassedActivation
from ._registry import modifier
from .full import full


@modifier(
    "iabn",
    "norms and activations, as leaky ReLUs, keep their output and overwrite their input; alone, everything trains",
    alone=full,
)
def iabn(graph: Graph) -> Graph:
    readers: dict[int, list[int]] = {}
    for i, reads in enumerate(graph.reads):
        for v in reads:
            readers.setdefault(v, []).append(i)
    ops: dict[int, Op] = {}
    for i, node in enumerate(graph.nodes):
        if type(node.op) is BatchNorm and node.op.is_plain:
            after = readers.get(i + 1, [])
            activation = after[0] if len(after) == 1 and becomes_leaky(graph.nodes[after[0]].op) else None
            last = i if activation is None else activation
            if any(graph.nodes[n].op.result is Result.INPLACE for n in readers.get(last + 1, ())):
                continue  # somebody overwrites what it would keep
            v = graph.reads[i][0]
            alone = bool(v) and isinstance(graph.nodes[v - 1].op, Conv2d) and len(readers[v]) == 1
            slope = 1.0 if activation is None else SLOPE
            ops[i] = as_op(InplaceActivatedNorm, node.op, slope=slope, inplace=alone)
            if activation is not None:
                ops[activation] = PassedActivation("leaky_relu")
    if not ops:
        raise CostmodelError(
            "no batch norm of images may keep its output; allowed: networks with some, and iabn before other forms"
        )
    return replace(graph, nodes=tuple(replace(node, op=ops.get(i, node.op)) for i, node in enumerate(graph.nodes)))


def becomes_leaky(op: Op) -> bool:
    """Whether an op is an activation without parameters of its own, as a PReLU has one."""
    return isinstance(op, Activation) and not op.params()
