"""Why layers keep what they keep, and what would free it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..graph.inputs import shown_resolution
from ..sizes.size import show
from ..sizes.units import show_size
from ..step.estimate import Estimate
from ..studies.explain import KEEPS, MAKES, READS, Freed, KeptTensor, layers_named
from .report import readers_of, request_title
from .shell import command_line
from .table import Column, Lines, Table, hidden, records, words

#: What a layer has to do with a tensor, in words.
ROLES = {KEEPS: "keeps", READS: "reads, kept by {}", MAKES: "makes, kept by {}"}


def explanation(
    estimates: Sequence[Estimate],
    name: str,
    tensors: Sequence[KeptTensor],
    freed: Sequence[Freed],
    network: str,
    asked: Mapping[str, Any],
) -> Lines:
    """Tables of the kept tensors and of what would free them, and notes. network, asked: as people gave them."""
    return [tensor_table(estimates[0], name, tensors), freed_table(freed, network, asked)], notes(
        estimates, name, tensors, freed
    )


def tensor_table(first: Estimate, name: str, tensors: Sequence[KeptTensor]) -> Table:
    """A table with a row for each tensor under each convention."""
    again = any(one.row.remade for one in tensors)
    columns = [
        words("convention", "convention"),
        words("role", None),
        words("layer", None),
        words(None, f"{name} ..."),
        words("tensor", "tensor"),
        words("made_by", "made by"),
        Column("tensor_shape", "shape", lambda shape: show(shape) or "a number"),
        Column("tensor_bytes", "size", show_size),
        words("read_by", "kept for"),
        hidden("needed"),
        *([words("made_again", "and made again of it")] if again else [hidden("made_again")]),
        words("released_after", "released after"),
    ]
    rows = [
        [
            one.convention,
            one.role,
            one.row.node,
            ROLES[one.role].format(one.row.node),
            one.row.tensor,
            one.made_by,
            one.row.shape,
            one.row.saved_bytes,
            "; ".join(readers_of(one.row)),
            one.row.needed,
            ", ".join(one.row.remade),
            one.released_after,
        ]
        for one in tensors
    ]
    return Table(request_title(first), columns, rows, "tensors")


def freed_table(freed: Sequence[Freed], network: str, asked: Mapping[str, Any]) -> Table:
    """A table with a row for each change, and the command that shows it."""
    columns = [
        words("strategy", "what would free it"),
        words("convention", "convention"),
        Column("still_kept_bytes", "still kept", show_size),
        Column("trainable_parameters", "trained", lambda n: f"{n:,}"),
        Column("saved_bytes", "saved in all", show_size),
        Column("peak_bytes", "peak", show_size),
        words("command", "command"),
    ]
    rows = [
        [
            one.found.strategy,
            one.found.convention,
            one.still_bytes,
            one.found.trainable_parameters,
            one.found.saved_bytes,
            one.found.memory_bytes["peak"],
            command_line("report", network, {**asked, **one.changes}),
        ]
        for one in freed
    ]
    return Table("", columns, rows, "changes")


def notes(estimates: Sequence[Estimate], name: str, tensors: Sequence[KeptTensor], freed: Sequence[Freed]) -> list[str]:
    """Notes: how much the layers keep under each convention, and why, if they keep nothing; what is kept needlessly."""
    first = estimates[0]
    chosen = [i for i in layers_named(first.graph, name) if not first.graph.nodes[i].host]
    kept = {e.convention: 0 for e in estimates}
    for one in tensors:
        kept[one.convention] += one.row.saved_bytes if one.role == KEEPS else 0
    layers = f"{len(chosen)} layers" if len(chosen) > 1 else first.graph.nodes[chosen[0]].op.kind
    told = [f"{name} ({layers}) keeps " + ", ".join(f"{show_size(n)} under {c}" for c, n in kept.items()) + "."]
    if not any(first.graph.demanded[i] for i in chosen):
        told.append("No gradient is computed in it: nothing in it trains, and nothing before it.")
    elif not kept[first.convention]:
        told.append("What its gradients read is kept by other layers, or need not be kept.")
    elif not freed:
        told.append("No strategy and no convention that was tried keeps less.")
    more = sum(
        one.row.saved_bytes
        for one in tensors
        if (one.convention, one.role) == (first.convention, KEEPS) and not one.row.needed
    )
    if more:
        told.append(f"Of {show_size(more)} of it the demanded gradients need only a mask, a shape or nothing.")
    return told


def document(first: Estimate, name: str, tables: Sequence[Table]) -> dict[str, Any]:
    """The request, the layers, and the rows of both tables, for JSON."""
    return {
        "network": first.network,
        "strategy": first.strategy,
        "batch": first.batch,
        "resolution": shown_resolution(first.request.resolution),
        "convention": first.convention,
        "target": first.request.target.text,
        "explained": name,
        "layers": [
            node.name for node in map(first.graph.nodes.__getitem__, layers_named(first.graph, name)) if not node.host
        ],
        **{table.name: records(table) for table in tables},
    }
