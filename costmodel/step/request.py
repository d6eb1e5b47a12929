"""What is asked of an estimate, and what is asked where nothing is said."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from ..sizes.size import Size
from ..strategies import StrategyText
from ..targets.target import Target
from .optimizer import Optimizer


class DType(NamedTuple):
    """The data type of a network held wholly in it."""

    name: str
    bits: int


DTYPES = {dtype.name: dtype for dtype in (DType("float32", 32), DType("bfloat16", 16), DType("float16", 16))}

#: What is asked where nothing is said, by the arguments' names in public calls. None: the network's own.
DEFAULTS = MappingProxyType(
    {
        "strategy": "full",
        "batch": 8,
        "resolution": None,
        "convention": "torch",
        "optimizer": "sgd",
        "target": "cpu",
        "dtype": "float32",
        "accumulate": 1,
    }
)


class Request(NamedTuple):
    """What is asked of an estimate.

    batch: images in a (micro-)step; resolution: their height and width; accumulate: micro-steps between updates.
    """

    strategy: StrategyText
    batch: Size
    resolution: Size
    convention: str
    optimizer: Optimizer
    target: Target
    dtype: DType
    accumulate: int
