"""Networks as torch.nn.Modules: an object, or the name from which a library or people's own code makes one.

Only this folder turns a module into a Network. Code that needs more than the graph asks the Network: `module` is the
object itself, `retrace` traces it for other images, and `weights` reads arrays if there is no module.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import Any

from ...errors import CostmodelError
from ...graph.inputs import CHANNELS, Inputs, Resolution, images, resized
from ...graph.network import Network, Untraceable


def is_module(network: Any) -> bool:
    """Whether this is a torch.nn.Module; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(network, torch.nn.Module)


def from_object(module: Any, **options: Any) -> Network:
    """The network of a module, by default for images of the size that it names as its own. options: as in `_traced`."""
    return _traced(module, None, None, **options)


def ways() -> list[str]:
    return ["torchvision:NAME", "timm:NAME", "package.module:NAME"]


def ways_in_files() -> list[str]:
    return ["path/to/file.py:NAME"]


def is_in_file(network: Any) -> bool:
    """Whether this is a Python file, with or without :NAME."""
    return isinstance(network, str) and _IN_FILE.fullmatch(network) is not None


def is_name(network: Any) -> bool:
    """Whether this has the form SOURCE:NAME of a library's network or of one in a Python module."""
    return isinstance(network, str) and re.fullmatch(r"[A-Za-z_][\w.]*:[\w.-]+", network) is not None


_IN_FILE = re.compile(r"(.+\.py)(?::([^:/\\]*))?", re.DOTALL)


def from_name(name: str, classes: int | None, device: str = "cpu", **options: Any) -> Network:
    """The network of a module made by a library or by people's own code. options: as in `_traced`."""
    match = _IN_FILE.fullmatch(name)
    home, _, own = (match[1], "", match[2] or "") if match else name.partition(":")
    module, usual = _sources(name).build(home, own, classes, device)
    return _traced(module, usual, name, **options)


def outline(name: str) -> Network:
    """The network behind a library's name, made without weights: it can be priced but not trained."""
    return from_name(name, None, device="meta")


def names_of(source: str) -> list[str]:
    """Names of the networks in torchvision or timm. Raises CostmodelError if the library is missing."""
    return _sources(source).SOURCES[source].names()


def family_of(name: str) -> str:
    """The family of "timm:NAME" or "torchvision:NAME": the last part of its Python module's name."""
    source, _, name = name.partition(":")
    return _sources(source).SOURCES[source].home(name).rpartition(".")[2]


def _sources(network: Any) -> Any:
    """The Python module `sources`, which needs torch. Raises CostmodelError if torch is missing."""
    try:
        from . import sources
    except ImportError as error:
        raise CostmodelError(f"{network} is built by torch: pip install torch ({error})") from None
    return sources


def _traced(
    module: Any,
    usual: Resolution | None,
    name: str | None,
    blocks_are: str = "",
    allow_unknown: bool = False,
    resolution: Resolution | None = None,
    inputs: Inputs | None = None,
    loss: Any = None,
    targets: Any = None,
) -> Network:
    """The network of a module. usual: its own resolution, if that is known already."""
    from .given import Objective
    from .own_code import function
    from .sources import channels_of, resolution_of
    from .trace import trace

    loss, targets = (function(one) if isinstance(one, str) else one for one in (loss, targets))
    objective = None if loss is None else Objective(loss, targets)

    def traced(inputs: Inputs) -> Network:
        return trace(module, inputs, name, blocks_are, allow_unknown, objective=objective)

    if inputs is not None:
        return traced(resized(inputs, resolution))
    side, channels = resolution or usual or resolution_of(module), channels_of(module)
    try:
        return traced(images(side, channels))
    except Untraceable:
        if channels in (1, CHANNELS):
            raise
        with suppress(CostmodelError):  # the convolution made first may not be the one that sees the images
            return traced(images(side))
        raise
