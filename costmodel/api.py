"""The calls that people make: load a network, estimate a step."""

from __future__ import annotations

from typing import Any

from .errors import CostmodelError, check_name, unknown
from .frontends import load
from .graph.network import Network
from .sizes.size import is_int
from .step.estimate import Estimate
from .step.optimizer import find
from .step.request import DTYPES, Request
from .step.walk import analyze
from .strategies import STRATEGIES, StrategyText, read_text
from .targets import DEVICES, parse


def estimate(
    network: str | Network | Any,
    strategy: str = "full",
    batch: int = 8,
    resolution: int | None = None,
    convention: str = "torch",
    optimizer: str = "sgd",
    target: str = "cpu",
    dtype: str = "float32",
    accumulate: int = 1,
) -> Estimate:
    """What one training step will cost, from the layer graph alone.

    network: anything `load` takes. strategy: NAME[:K][,key=value...]. batch: images in a step. resolution: height and
    width of the images, the network's own by default. target: cpu[,threads=N][,isa=ISA][,channels_last], cuda or
    none[,threads=N]. dtype: of the whole network. accumulate: steps of `batch` images whose gradients are added up
    before an update; the last of them is priced. Raises CostmodelError for a bad request.
    """
    return analyze(*request(network, strategy, batch, resolution, convention, optimizer, target, dtype, accumulate))


def request(
    network: str | Network | Any,
    strategy: str | StrategyText = "full",
    batch: int = 8,
    resolution: int | None = None,
    convention: str = "torch",
    optimizer: str = "sgd",
    target: str = "cpu",
    dtype: str = "float32",
    accumulate: int = 1,
) -> tuple[Network, Request]:
    """What `estimate` is asked, checked and read: the network for this size of images, and the Request to be priced."""
    network = load(network)
    resolution = network.resolution if resolution is None else resolution
    for name, value in (("batch", batch), ("resolution", resolution), ("accumulate", accumulate)):
        if not is_int(value) or value < 1:
            raise CostmodelError(f"{name} is {value!r}; allowed: an integer from 1 to 2^63 - 1")
    check_name("dtype", dtype, DTYPES)
    if not isinstance(strategy, (str, StrategyText)):
        raise unknown("strategy", strategy, STRATEGIES)
    if not isinstance(target, str):
        raise unknown("target", target, DEVICES)
    return network.at(resolution, batch), Request(
        read_text(strategy), batch, resolution, convention, find(optimizer), parse(target), DTYPES[dtype], accumulate
    )
