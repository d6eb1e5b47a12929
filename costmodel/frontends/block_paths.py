"""Finds the blocks and the classifier of torchvision's and timm's families, and of modules built like them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import CostmodelError
from ..graph.graph import Node
from ..graph.paths import matches
from .draft import head_of

#: Names of block classes. Where such blocks are nested, the outermost one counts.
BLOCKS = (
    "InvertedResidual", "_InvertedResidual", "MBConv", "FusedMBConv",  # torchvision's mobile networks
    "BasicBlock", "Bottleneck", "CNBlock", "EncoderBlock", "ConvNeXtBlock", "Block", "ResPostBlock",  # and others
    "MobileInvertedResidualBlock", "LinearBottleneck", "GhostBottleneck", "ResidualBlock", "PreActBottleneck",
)  # fmt: skip
#: Endings of class names that mark a block if a network has none of BLOCKS.
ENDINGS = ("Block", "Bottleneck", "Residual")


def block_paths(module: Any, blocks_are: str = "") -> list[str]:
    """Paths of a module's blocks.

    blocks_are: a class name or a path pattern ("layers.*"). Without it, the blocks of timm's mobile networks are the
    elements of the stages in `blocks`; elsewhere they are the outermost modules of a class in BLOCKS, or else of a
    class whose name has one of ENDINGS. Raises CostmodelError if blocks_are matches no module.
    """
    found = [(path, type(child).__name__) for path, child in module.named_modules() if path]
    return blocks_among(found, _is_timm(module), blocks_are)


def blocks_among(modules: Sequence[tuple[str, str]], timm: bool, blocks_are: str = "") -> list[str]:
    """Paths of the blocks among modules given as (path, class), parents before children; class "" means unknown."""
    if blocks_are:
        found = outermost(modules, lambda path, cls: cls == blocks_are or matches(path, blocks_are))
        if not found:
            classes = ", ".join(sorted({cls for _, cls in modules if cls}))
            allowed = f"a path pattern, or one of {classes}" if classes else "a path pattern, such as 'layers.*'"
            raise CostmodelError(f"no module is called {blocks_are!r}; allowed: {allowed}")
        return found
    stages = [(path, cls) for path, cls in modules if re.fullmatch(r"blocks\.\d+", path)]
    if timm and stages:
        if any(cls != "Sequential" for _, cls in stages):
            return [path for path, _ in stages]
        return [path for path, _ in modules if re.fullmatch(r"blocks\.\d+\.\d+", path)]
    known = outermost(modules, lambda path, cls: cls in BLOCKS)
    return known or outermost(modules, lambda path, cls: cls.endswith(ENDINGS))


def outermost(modules: Sequence[tuple[str, str]], chosen: Callable[[str, str], bool]) -> list[str]:
    """Paths of the modules for which chosen(path, class) holds, without those inside another one of them."""
    found: list[str] = []
    for path, cls in modules:
        if not any(path.startswith(outer + ".") for outer in found[-1:]) and chosen(path, cls):
            found.append(path)
    return found


def classifier_path(module: Any, nodes: Sequence[Node]) -> str:
    """Path of the module that the network calls its classifier, else of the layer that counts as one, else ""."""
    own = {id(child): path for path, child in module.named_modules()}
    candidates = []
    if _is_timm(module) and hasattr(module, "get_classifier"):
        candidates.append(module.get_classifier())
    else:
        try:
            candidates.append(module.classifier)
        except Exception:  # there is none; the module's own __getattr__ may raise anything
            pass
    for candidate in candidates:
        path = own.get(id(candidate), "")
        if path and any(True for _ in candidate.parameters()):
            return path
    last = head_of(nodes)
    return last.owner or "" if last else ""


def _is_timm(module: Any) -> bool:
    return any(cls.__module__.startswith("timm.") for cls in type(module).__mro__)
