"""Where a module's blocks and classifier are: torchvision's and timm's families, and what is like them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, List, Sequence

from ..errors import CostmodelError
from ..graph import Node

#: Classes of blocks, by name; the outermost counts.
BLOCKS = (
    "InvertedResidual", "_InvertedResidual", "MBConv", "FusedMBConv",  # torchvision's mobile networks
    "BasicBlock", "Bottleneck", "CNBlock", "EncoderBlock", "ConvNeXtBlock", "Block", "ResPostBlock",  # and others
    "MobileInvertedResidualBlock", "LinearBottleneck", "GhostBottleneck", "ResidualBlock", "PreActBottleneck",
)  # fmt: skip
ENDINGS = ("Block", "Bottleneck", "Residual")  # of classes that are taken for blocks where none of those is there


def block_paths(module: Any, blocks_are: str = "") -> List[str]:
    """Paths of a module's blocks.

    blocks_are: a class's name or a pattern of paths ("layers.*"). Without it: in timm's networks of mobile blocks every
    element of every stage of `blocks`, else the outermost modules of a known class, or of one whose name says so.
    Raises CostmodelError where blocks_are names none.
    """
    if blocks_are:
        found = outermost(module, lambda path, part: type(part).__name__ == blocks_are or fnmatchcase(path, blocks_are))
        if not found:
            classes = ", ".join(sorted({type(part).__name__ for part in module.modules()}))
            raise CostmodelError(f"no module is called {blocks_are!r}; allowed: a path pattern, or one of {classes}")
        return found
    stages = getattr(module, "blocks", None)
    if stages is not None and _is_timm(module) and len(stages):
        if all(type(stage).__name__ == "Sequential" for stage in stages):
            return [f"blocks.{i}.{j}" for i, stage in enumerate(stages) for j in range(len(stage))]
        return [f"blocks.{i}" for i in range(len(stages))]
    known = outermost(module, lambda path, part: type(part).__name__ in BLOCKS)
    return known or outermost(module, lambda path, part: type(part).__name__.endswith(ENDINGS))


def outermost(module: Any, chosen: Any) -> List[str]:
    """Paths of the modules for which chosen(path, module) holds, those inside another left out."""
    found: List[str] = []
    for path, part in module.named_modules():
        if path and not any(path.startswith(outer + ".") for outer in found[-1:]) and chosen(path, part):
            found.append(path)
    return found


def classifier_path(module: Any, nodes: Sequence[Node]) -> str:
    """Path of what the network itself calls its classifier, else of the last linear layer; "" where there is none."""
    own = {id(part): path for path, part in module.named_modules()}
    candidates = []
    if _is_timm(module) and hasattr(module, "get_classifier"):
        candidates.append(module.get_classifier())
    elif hasattr(module, "classifier"):
        candidates.append(module.classifier)
    for candidate in candidates:
        path = own.get(id(candidate), "")
        if path and any(True for _ in candidate.parameters()):
            return path
    return next((node.owner for node in reversed(nodes) if node.op.kind == "linear"), "") or ""


def _is_timm(module: Any) -> bool:
    return any(cls.__module__.startswith("timm.") for cls in type(module).__mro__)
