"""What the parts of an ONNX file are called: paths of modules, where its exporter wrote them down."""

from __future__ import annotations

import ast
import re
from collections import Counter
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ...graph.graph import INPUT, Node, within
from ...graph.op import Result
from ..families import blocks_among

#: A parameter's path in a module: "features.0.weight".
MODULE = re.compile(r"[A-Za-z_]\w*(\.\w+)+")


def cleaned(path: str) -> str:
    """A name of the file as a path: words joined by single dots."""
    return ".".join(filter(None, (re.sub(r"\W+", "_", part).strip("_") for part in re.split(r"[./]", path))))


def scopes(name: str) -> List[str]:
    """Every path that a name leads through, outermost first, itself last."""
    parts = name.split(".")
    return [".".join(parts[:k]) for k in range(1, len(parts) + 1)]


def names_of(drafts: Mapping[int, Any]) -> Dict[int, str]:
    """Unique names by number: the module's path for its layer, and below it for what else a module does."""
    owners = {d.owner for d in drafts.values()}
    homes = Counter(d.path for d in drafts.values() if d.owner is None)
    above = {s for d in drafts.values() for s in scopes(d.path if d.owner is None else d.owner)[:-1]}
    taken = {INPUT, "loss"}
    names: Dict[int, str] = {-1: INPUT}
    for i, draft in drafts.items():
        kind, base = draft.op.kind, draft.path
        if draft.owner is not None and draft.op.result is not Result.RESIDENT:
            base = draft.owner
        elif draft.named and draft.op.result is not Result.RESIDENT:
            if homes[base] > 1 or base in above or base in owners or not base:
                base = f"{base}.{kind}".lstrip(".")
        elif not draft.named:  # it stands where what it reads was made
            made = max(x.number for x in draft.reads)
            base = f"{names[made].rpartition('.')[0]}.{base or kind}".lstrip(".")
        name, number = base, 0
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        names[i] = name
    return names


def place(node: Any) -> Tuple[str, bool, Dict[str, str]]:
    """Where a node stands by what its exporter wrote, whether that is a module's path, and modules' classes by path."""
    notes = {note.key: note.value for note in node.metadata_props}
    if "pkg.torch.onnx.name_scopes" in notes:  # torch's exporter: every module on the way, then the function
        # A module's second call is "fc@1".
        paths = [re.sub(r"@\d+", "", path) for path in ast.literal_eval(notes["pkg.torch.onnx.name_scopes"])[:-1]]
        classes = ast.literal_eval(notes.get("pkg.torch.onnx.class_hierarchy", "[]"))
        return cleaned(paths[-1] if paths else ""), True, dict(zip(paths, classes))
    if "/" not in node.name:
        return cleaned(node.name), False, {}
    path: List[str] = []
    for segment in filter(None, node.name.split("/")[:-1]):
        # torch's older exporter writes a container's child as "conv.0" below "conv".
        if path and segment.startswith(path[-1] + "."):
            path.pop()
        path.append(segment)
    return cleaned(".".join(path)), True, {}


def blocks_of(nodes: Sequence[Node], classes: Mapping[str, str], blocks_are: str) -> List[str]:
    """Scopes of the blocks: by their classes where the file has them, else by what they hold.

    By what they hold: the innermost scopes with a number ("features.3", "features.3.1") that hold two convolutions or
    more, one of them with a kernel above 1x1, which squeeze-and-excite has not. In timm's `blocks.I.J` each counts.
    """
    paths = sorted({scope for node in nodes for scope in scopes(node.name)})
    if blocks_are or classes:
        parts = [(path, classes.get(path, "").rpartition(".")[2]) for path in paths]
        return blocks_among(parts, classes.get("", "").startswith("timm."), blocks_are)
    found = []
    for path in paths:
        kernels = [n.op.kernel for n in nodes if n.op.kind == "conv2d" and within(n.name, path) and n.name != path]
        if path.rpartition(".")[2].isdigit() and len(kernels) > 1 and max(kernels) > (1, 1):
            found = [outer for outer in found if not within(path, outer)] + [path]
    of_timm = [path for path in paths if re.fullmatch(r"blocks\.\d+\.\d+", path)]
    is_timm = of_timm and all(re.fullmatch(r"blocks\.\d+(\.\d+)?", path) for path in found)
    return of_timm if is_timm else found
