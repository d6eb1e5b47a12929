"""Writes a network as a spec: a YAML file with a list of `nodes:`, which reads back as the same network."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from ...files.document import write
from ...graph.graph import Node
from ...graph.inputs import images
from ...graph.network import DTYPE, Network
from ...ops.linear import Linear
from ...sizes.size import is_int
from . import idle


def to_yaml(network: Network) -> str:
    """The spec of a network, as YAML text.

    Shapes are formulas, except for padding that a module's Python code computed: it stays as traced. The module's own
    training and evaluation modes (`as_is`) are left out; its requires_grad flags are kept.
    """
    graph = network.graph
    last = graph.nodes[-1]
    classes = last.op.out_features if isinstance(last.op, Linear) else 1
    head = {
        "network": network.name,
        **_inputs(network),
        "classes": classes,
        "classifier": graph.classifier,
        "blocks": list(graph.blocks),
        "containers": sorted(graph.containers),
    }
    beside = {
        "reference": network.reference,
        "dtype": network.dtype if network.dtype != DTYPE else "",
        "checkpointed": list(graph.checkpointed),
        "stateful": sorted(graph.stateful),
        "outputs": list(graph.outputs),
        "loss": graph.loss,
    }
    lines = [write(head | {key: value for key, value in beside.items() if value})]
    if graph.idle:
        lines += ["idle:", *(idle.row_of(*one) for one in graph.idle)]
    if graph.idle_buffers:
        lines += ["idle_buffers:", *(idle.row_of(*one[:2], *one[2]) for one in graph.idle_buffers)]
    lines += ["nodes:"]
    for node in graph.nodes:
        row = row_of(node)
        if node is last and node.op.kind == "linear":
            row["out_features"] = "classes"
        lines.append("- " + write(row, flow=True))
    return "\n".join(lines) + "\n"


def _inputs(network: Network) -> dict[str, Any]:
    """The keys that say what the network takes."""
    if network.inputs == images(network.resolution or 1, network.inputs[0].shape[0]) and is_int(network.resolution):
        return {"resolution": network.resolution, "channels": network.inputs[0].shape[0]}
    return {"inputs": [str(one) for one in network.inputs]}


def row_of(node: Node) -> dict[str, Any]:
    """A node as a mapping with the spec's keys; fields at their defaults are left out."""
    row: dict[str, Any] = {"name": node.name, "op": node.op.kind, "inputs": list(node.inputs)}
    for field in fields(node.op):
        value = getattr(node.op, field.name)
        if field.default is MISSING or value != field.default:
            row[field.name] = list(value) if isinstance(value, tuple) else value
    if node.owner != node.name:
        row["owner"] = node.owner
    if node.trains:
        row["trains"] = sorted(node.trains)
    if node.until:
        row["until"] = node.until
    if not node.records and node.op.differentiable:
        row["records"] = False
    return row
