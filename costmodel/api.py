"""The public calls: load a network, estimate a step."""

from __future__ import annotations

from typing import Any

from .errors import CostmodelError, unknown
from .frontends import load
from .graph.network import Network
from .sizes.size import as_int, is_int
from .step.estimate import Estimate
from .step.optimizer import find
from .step.request import Request, find_dtype
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
    """The cost of one training step, from the layer graph alone: nothing is run.

    network: anything `load` takes. strategy: NAME[:K][,key=value...]. batch: images in a step. resolution: height and
    width of the images, by default the network's own. target: cpu[,threads=N][,isa=ISA][,channels_last],
    cuda[,channels_last] or none[,threads=N]. dtype: of the whole network, float32, bfloat16
    or float16. accumulate: number of micro-steps of `batch` images whose gradients are added up before an update; the
    last one is priced. Raises CostmodelError for a bad request.
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
    """The arguments of `estimate`, checked and parsed: the network at this image size, and the Request to price."""
    network = load(network)
    resolution = network.resolution if resolution is None else resolution
    batch, resolution, accumulate = as_int(batch), as_int(resolution), as_int(accumulate)
    for name, value in (("batch", batch), ("resolution", resolution), ("accumulate", accumulate)):
        if not is_int(value) or value < 1:
            raise CostmodelError(f"{name} is {value!r}; allowed: an integer from 1 to 2^63 - 1")
    if not isinstance(strategy, (str, StrategyText)):
        raise unknown("strategy", strategy, STRATEGIES)
    if not isinstance(target, str):
        raise unknown("target", target, DEVICES)
    numbers = find_dtype(dtype)
    return network.at(resolution, batch), Request(
        read_text(strategy), batch, resolution, convention, find(optimizer), parse(target), numbers, accumulate
    )
