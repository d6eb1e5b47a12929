"""costmodel: what training a network will cost, before it is trained."""

from typing import Any

from .api import estimate
from .errors import CostmodelError
from .estimates import Estimate
from .frontends import load
from .network import Network

__all__ = ["CostmodelError", "Estimate", "Network", "Sweep", "estimate", "load", "sweep"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Sweeps are imported when they are asked for: a report starts sooner without them."""
    if name in ("Sweep", "sweep"):
        from . import sweeps

        return getattr(sweeps, name)
    raise AttributeError(f"module 'costmodel' has no attribute {name!r}")
