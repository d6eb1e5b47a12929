"""costmodel: what training a network will cost, before it is trained."""

from .api import estimate
from .errors import CostmodelError
from .estimates import Estimate
from .frontends import load
from .network import Network
from .sweeps import Sweep, sweep

__all__ = ["CostmodelError", "Estimate", "Network", "Sweep", "estimate", "load", "sweep"]
__version__ = "0.1.0"
