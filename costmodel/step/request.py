"""The request for an estimate, and the defaults of its arguments."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from ..sizes.dtype import DType
from ..sizes.size import Size
from ..strategies import StrategyText
from ..targets.target import Target
from .optimizer import Optimizer

#: Defaults of the arguments of public calls, by name. None: the network's own value.
DEFAULTS = MappingProxyType(
    {
        "strategy": "full",
        "batch": 8,
        "resolution": None,
        "convention": "torch",
        "optimizer": "sgd",
        "target": "cpu",
        "dtype": None,
        "amp": None,
        "accumulate": 1,
    }
)


class Request(NamedTuple):
    """A request for an estimate, checked and parsed.

    batch: images in a (micro-)step; resolution: their height and width; accumulate: micro-steps between updates.
    amp: the data type of torch.autocast around the forward pass and the loss.
    """

    strategy: StrategyText
    batch: Size
    resolution: Size
    convention: str
    optimizer: Optimizer
    target: Target
    dtype: DType
    accumulate: int
    amp: DType | None = None
