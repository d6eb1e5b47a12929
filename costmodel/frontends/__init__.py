"""What people name a network by, turned into a graph."""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import Any, List, Optional, Union

from ..errors import CostmodelError, unknown
from ..graph.network import Network


def load(
    network: Union[str, Network, Any], classes: Optional[int] = None, width: Optional[float] = None,
    blocks_are: str = "", allow_unknown: bool = False,
) -> Network:  # fmt: skip
    """The network of a shipped spec's name, of a path to a YAML file, of torchvision:NAME, timm:NAME or
    package.module:factory, or of a torch.nn.Module; a Network is returned as it is.

    classes, width: outputs of the classifier and width multiplier, the network's own by default. Of modules and
    ONNX files: blocks_are, the class or path pattern of the blocks; allow_unknown, unknown ops cost nothing.
    Raises CostmodelError.
    """
    tracing = {"blocks_are": blocks_are, "allow_unknown": allow_unknown}
    if isinstance(network, Network) or is_module(network):
        if classes is not None or width is not None:
            raise CostmodelError("classes and width belong to a spec; this network is already built")
        return network if isinstance(network, Network) else _traced(network, None, **tracing)
    if not isinstance(network, str):
        allowed = "a name, a path, a torch.nn.Module or a Network"
        raise CostmodelError(f"network is {type(network).__name__}; allowed: {allowed}")
    from ..sizes.size import is_int

    if classes is not None and (not is_int(classes) or classes < 1):
        raise CostmodelError(f"classes is {classes!r}; allowed: an integer >= 1")
    if width is not None and (isinstance(width, bool) or not isinstance(width, (int, float))):
        raise CostmodelError(f"width is {width!r}; allowed: a number > 0")
    from ..files.shipped import shipped_names, text_of

    if network in shipped_names("networks"):
        return _shipped(network, classes, width)
    if network.endswith(".onnx"):
        if classes is not None or width is not None:
            raise CostmodelError(f"classes and width belong to a spec; {network} is already built")
        from .onnxfiles.file import load as load_onnx

        return load_onnx(network, **tracing)
    if network.endswith((".yaml", ".yml")) or "/" in network:
        return _read(text_of(network), network, classes, width)
    if re.fullmatch(r"[A-Za-z_][\w.]*:[\w.-]+", network):
        if width is not None:
            raise CostmodelError(f"width belongs to a spec; {network} has none")
        return _traced(network, classes, **tracing)
    ways = ["a path to a .yaml or .onnx file", "torchvision:NAME", "timm:NAME", "package.module:factory"]
    raise unknown("network", network, [*shipped_names("networks"), *ways])


def names_of(source: str) -> List[str]:
    """Names of the networks that torchvision or timm makes. Raises CostmodelError where the library is missing."""
    return _sources(source).SOURCES[source].names()


def family_of(name: str) -> str:
    """The family of "timm:NAME" or "torchvision:NAME": the last part of the Python module that has it."""
    source, _, name = name.partition(":")
    return _sources(source).SOURCES[source].home(name).rpartition(".")[2]


def _sources(network: Any) -> Any:
    """costmodel.pytorch.sources, which needs torch."""
    try:
        from .modules import sources
    except ImportError as error:
        raise CostmodelError(f"{network} is built by torch: pip install 'costmodel[torch]' ({error})") from None
    return sources


def is_module(network: Any) -> bool:
    """Whether this is a torch.nn.Module; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(network, torch.nn.Module)


def outline(name: str) -> Network:
    """The network that a library's name stands for, made without weights: one that can be priced but not trained."""
    return _traced(name, None, "", False, device="meta")


def _traced(
    network: Any, classes: Optional[int], blocks_are: str, allow_unknown: bool, device: str = "cpu"
) -> Network:  # fmt: skip
    """The network of a module, or of a name that a library or a factory makes one of."""
    sources = _sources(network)
    from .modules.trace import trace

    if isinstance(network, str):
        (module, resolution), name = sources.build(network, classes, device), network
    else:
        module, resolution, name = network, sources.resolution_of(network), None
    channels = sources.channels_of(module)
    return trace(module, resolution, channels, name, blocks_are, allow_unknown)


@lru_cache(maxsize=64)
def _shipped(name: str, classes: Optional[int], width: Optional[float]) -> Network:
    from ..files.shipped import shipped_text

    return _read(shipped_text(f"networks/{name}.yaml"), f"{name}.yaml", classes, width)


def _read(text: str, source: str, classes: Optional[int], width: Optional[float]) -> Network:
    from ..files.document import parse
    from .spec.grammar import Spec

    return Spec(parse(text, source), classes, width).network()
