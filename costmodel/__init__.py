"""costmodel: what training a network will cost, before it is trained."""

from typing import Any

from .api import estimate
from .errors import CostmodelError
from .estimates import Estimate
from .frontends import load
from .network import Network
from .version import __version__

__all__ = ["CostmodelError", "Estimate", "Network", "Sweep", "estimate", "load", "plan", "sweep"]


def __getattr__(name: str) -> Any:
    """Sweeps and plans are imported when they are asked for."""
    if name in ("Sweep", "sweep"):
        from . import sweeps

        return getattr(sweeps, name)
    if name == "plan":
        from .plans import plan

        return plan
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
