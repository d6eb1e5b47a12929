"""What people name a network by, turned into a graph."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Optional, Union

from ..errors import CostmodelError, unknown
from ..network import Network


def load(network: Union[str, Network, Any], classes: Optional[int] = None, width: Optional[float] = None) -> Network:
    """The network of a shipped spec's name or of a path to a YAML file; a Network is returned as it is.

    classes, width: outputs of the classifier and width multiplier, the spec's own by default. Raises CostmodelError.
    """
    if isinstance(network, Network):
        if classes is not None or width is not None:
            raise CostmodelError("classes and width belong to a spec; this network is already built")
        return network
    if not isinstance(network, str):
        raise CostmodelError(f"network is {type(network).__name__}; allowed: a name, a path, or a Network")
    from ..op import is_int

    if classes is not None and (not is_int(classes) or classes < 1):
        raise CostmodelError(f"classes is {classes!r}; allowed: an integer >= 1")
    if width is not None and (isinstance(width, bool) or not isinstance(width, (int, float))):
        raise CostmodelError(f"width is {width!r}; allowed: a number > 0")
    from .files import shipped_names, text_of

    if network in shipped_names("networks"):
        return _shipped(network, classes, width)
    if network.endswith((".yaml", ".yml")) or "/" in network:
        return _read(text_of(network), network, classes, width)
    raise unknown("network", network, [*shipped_names("networks"), "a path to a .yaml file"])


@lru_cache(maxsize=64)
def _shipped(name: str, classes: Optional[int], width: Optional[float]) -> Network:
    from .files import shipped_text

    return _read(shipped_text(f"networks/{name}.yaml"), f"{name}.yaml", classes, width)


def _read(text: str, source: str, classes: Optional[int], width: Optional[float]) -> Network:
    from .document import parse
    from .spec import Spec

    return Spec(parse(text, source), classes, width).network()
