"""Names for the nodes of an ONNX file: module paths, if the exporter noted them."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ...graph.graph import INPUT, Node
from ...graph.op import Result, two
from ...graph.paths import prefixes
from ...ops.conv import Conv2d
from ..block_paths import blocks_among
from ..draft import Draft, Names
from .drafts import Placed

#: A parameter's path in a module: "features.0.weight".
MODULE = re.compile(r"[A-Za-z_]\w*(\.\w+)+")


def cleaned(path: str) -> str:
    """A name from the file as a path: words joined by single dots."""
    return ".".join(filter(None, (re.sub(r"\W+", "_", word).strip("_") for word in re.split(r"[./]", path))))


def name_all(drafts: Sequence[Placed]) -> None:
    """Give each draft a unique name: a layer its module's path, other ops in a module a name below that path."""
    owners = {d.owner for d in drafts}
    homes = Counter(d.path for d in drafts if d.owner is None)
    above = {path for d in drafts for path in prefixes(d.path if d.owner is None else d.owner)[:-1]}
    order: dict[Draft | None, int] = {draft: i for i, draft in enumerate(drafts)}
    names = Names((INPUT, "loss"))
    for draft in drafts:
        kind, base = draft.op.kind, draft.path
        if draft.owner is not None and draft.op.result is not Result.RESIDENT:
            base = draft.owner
        elif draft.named and draft.op.result is not Result.RESIDENT:
            if homes[base] > 1 or base in above or base in owners or not base:
                base = f"{base}.{kind}".lstrip(".")
        elif not draft.named:  # it goes beside the latest of its inputs
            made = max(draft.inputs, key=lambda read: order.get(read, -1))
            scope = made.name.rpartition(".")[0] if made is not None else ""
            base = f"{scope}.{base or kind}".lstrip(".")
        draft.name = names.unique(base)


def place(node: Any) -> tuple[str, bool, dict[str, str]]:
    """A node's path as its exporter noted it, whether that is a module's path, and the classes of modules by path."""
    notes = {note.key: note.value for note in node.metadata_props}
    if "pkg.torch.onnx.name_scopes" in notes:  # torch's exporter: all enclosing modules, then the function
        # The second call of a module "fc" is noted as "fc@1".
        paths = [re.sub(r"@\d+", "", path) for path in ast.literal_eval(notes["pkg.torch.onnx.name_scopes"])[:-1]]
        classes = ast.literal_eval(notes.get("pkg.torch.onnx.class_hierarchy", "[]"))
        return cleaned(paths[-1] if paths else ""), True, dict(zip(paths, classes))
    if "/" not in node.name:
        return cleaned(node.name), False, {}
    path: list[str] = []
    for name in filter(None, node.name.split("/")[:-1]):
        # torch's older exporter writes a container's child as "conv.0" below "conv".
        if path and name.startswith(path[-1] + "."):
            path.pop()
        path.append(name)
    return cleaned(".".join(path)), True, {}


def blocks_of(nodes: Sequence[Node], classes: Mapping[str, str], blocks_are: str) -> list[str]:
    """Scopes of the blocks, found by their classes if the file has them, else by the layers in them.

    By layers, a block is an innermost numbered scope ("features.3", "features.3.1") that holds at least two
    convolutions, one of them with a kernel above 1x1 (squeeze-and-excite has none). In timm's networks every
    `blocks.I.J` is a block.
    """
    kernels: dict[str, list[tuple[int, int]]] = {}  # by scope: of the convolutions in it
    for node in nodes:
        own = [two(node.op.kernel)] if isinstance(node.op, Conv2d) else []
        for path in prefixes(node.name):
            kernels.setdefault(path, []).extend(own if path != node.name else [])
    paths = sorted(kernels)
    if blocks_are or classes:
        modules = [(path, classes.get(path, "").rpartition(".")[2]) for path in paths]
        return blocks_among(modules, classes.get("", "").startswith("timm."), blocks_are)
    found: dict[str, None] = {}
    for path in paths:
        inside = kernels[path]
        if path.rpartition(".")[2].isdigit() and len(inside) > 1 and max(inside) > (1, 1):
            for outer in prefixes(path):
                found.pop(outer, None)
            found[path] = None
    of_timm = [path for path in paths if re.fullmatch(r"blocks\.\d+\.\d+", path)]
    is_timm = of_timm and all(re.fullmatch(r"blocks\.\d+(\.\d+)?", path) for path in found)
    return of_timm if is_timm else list(found)
