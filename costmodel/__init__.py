"""costmodel: what training a network will cost, before it is trained."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .api import estimate
from .errors import CostmodelError
from .frontends import load
from .graph.network import Network
from .step.estimate import Estimate
from .version import __version__ as __version__

__all__ = ["CostmodelError", "Estimate", "Fits", "Network", "Sweep", "estimate", "fits", "load", "plan", "sweep"]


if TYPE_CHECKING:
    from .studies.fits import Fits, fits
    from .studies.grid.sweep import Sweep, sweep
    from .studies.plan.plan import plan
else:

    def __getattr__(name: str) -> Any:
        """Sweeps, plans, answers and the lean modules are imported when they are asked for."""
        if name in ("Sweep", "sweep"):
            from .studies.grid import sweep as sweeps

            return getattr(sweeps, name)
        if name in ("Fits", "fits"):
            from .studies import fits as answers

            return getattr(answers, name)
        if name == "plan":
            from .studies.plan.plan import plan

            return plan
        if name == "pytorch":
            return import_module(f"{__name__}.pytorch")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
