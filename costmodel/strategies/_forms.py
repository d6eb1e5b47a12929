"""Puts layers whose weight trains into a form."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ..errors import CostmodelError
from ..graph.graph import Graph, Node
from ..graph.op import Op
from ..ops.activation import GELU, Hardswish, SiLU
from ..ops.conv import Conv2d
from ..ops.forms._formed import Formed
from ..ops.forms.patches import PatchedConv2d
from ..ops.forms.pruned import PrunedConv2d, PrunedLinear
from ..ops.forms.quantised import QuantisedActivation, QuantisedBatchNorm, QuantisedConv2d, QuantisedLinear
from ..ops.layers_in_order import MULTIPLY
from ..ops.lean import as_op
from ..ops.linear import Linear
from ..ops.norm import BatchNorm
from ._branches import geometry

#: Stock op -> the op of the form.
Forms = Mapping[type[Op], type[Op]]
FILTERED: Forms = {Conv2d: PatchedConv2d}
PRUNED: Forms = {Conv2d: PrunedConv2d, Linear: PrunedLinear}
ROUNDED: Forms = {Conv2d: QuantisedConv2d, Linear: QuantisedLinear}


def in_form(graph: Graph, forms: Forms, names: Collection[str] | None = None, **how: Any) -> Graph:
    """The graph in which the layers whose weight trains keep their input in a form. names: of these nodes alone.

    how: the form's own fields. Raises CostmodelError for a layer that has no such form, and if none trains.
    """
    changed = []

    def change(node: Node) -> Node:
        trains = isinstance(node.op, MULTIPLY) and "weight" in node.trains
        if not trains or names is not None and node.name not in names:
            return node
        changed.append(node.name)
        return replace(node, op=formed(node, forms, how))

    found = graph.map(change)
    if not changed:
        raise CostmodelError("no weight trains that could be kept in a form; allowed: strategies that train weights")
    return found


def names_of_maps(graph: Graph) -> frozenset[str]:
    """Names of the nodes whose output has pixels: a convolution of pooled values has one pixel, and no patches."""
    return frozenset(name for name, known in geometry(graph).items() if all(known.stride))


def formed(node: Node, forms: Forms, how: Mapping[str, Any]) -> Any:
    """The op of a node in its form. Raises CostmodelError if it has none."""
    op = node.op
    if isinstance(op, Formed):
        raise CostmodelError(f"{node.name} is in a form already ({op.in_words}); allowed: one form for each layer")
    form = forms.get(type(op))
    if form is None:
        allowed = ", ".join(cls.kind for cls in forms)
        raise CostmodelError(f"{node.name} ({op.kind}) has no such form; allowed: {allowed}")
    try:
        return as_op(form, op, **how)
    except CostmodelError as error:
        raise CostmodelError(f"{node.name}: {error}") from None


def rounded(node: Node, bits: int) -> Node:
    """A node that keeps its input rounded to some bits, if it is a norm or an activation that can."""
    op = node.op
    if type(op) is BatchNorm and op.is_plain:
        return replace(node, op=as_op(QuantisedBatchNorm, op, quantised_bits=bits))
    if isinstance(op, (Hardswish, SiLU, GELU)) and not op.signed:
        return replace(node, op=QuantisedActivation(bits, op.kind, getattr(op, "approximate", "none")))
    return node
