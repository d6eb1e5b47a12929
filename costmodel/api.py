"""The calls that people make: load a network, estimate a step."""

from __future__ import annotations

from typing import Any, Optional, Union

from .analyze import analyze
from .errors import CostmodelError
from .estimates import Estimate
from .frontends import load
from .network import Network
from .op import is_int


def estimate(
    network: Union[str, Network, Any],
    strategy: str = "full",
    batch: int = 8,
    resolution: Optional[int] = None,
    convention: str = "torch",
    optimizer: str = "sgd",
) -> Estimate:
    """What one training step will cost, from the layer graph alone.

    network: anything `load` takes. strategy: NAME[:K][,key=value...]. batch: images in a step. resolution: height and
    width of the images, the network's own by default. Raises CostmodelError for a bad request.
    """
    network = load(network)
    resolution = network.resolution if resolution is None else resolution
    for name, value in (("batch", batch), ("resolution", resolution)):
        if not is_int(value) or value < 1:
            raise CostmodelError(f"{name} is {value!r}; allowed: an integer >= 1")
    return analyze(network, strategy, batch, resolution, convention, optimizer)
