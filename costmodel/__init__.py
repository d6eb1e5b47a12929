"""costmodel: what training a neural network will cost, before it is trained."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

__all__ = ["CostmodelError", "Estimate", "Fits", "Network", "Sweep", "estimate", "fits", "load", "plan", "sweep"]


if TYPE_CHECKING:
    from .api import estimate
    from .errors import CostmodelError
    from .frontends import load
    from .graph.network import Network
    from .step.estimate import Estimate
    from .studies.fits import Fits, fits
    from .studies.grid.sweep import Sweep, sweep
    from .studies.plan.plan import plan
else:
    #: The module of each public name. It is imported when it is asked for, so that importing the package is no work.
    _HOMES = {
        "estimate": "api",
        "CostmodelError": "errors",
        "load": "frontends",
        "Network": "graph.network",
        "Estimate": "step.estimate",
        "Fits": "studies.fits",
        "fits": "studies.fits",
        "Sweep": "studies.grid.sweep",
        "sweep": "studies.grid.sweep",
        "plan": "studies.plan.plan",
    }

    def __getattr__(name: str) -> Any:
        if name == "pytorch":
            return import_module(f"{__name__}.pytorch")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
