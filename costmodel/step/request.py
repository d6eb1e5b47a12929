"""The request for an estimate, and the defaults of its arguments."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from ..errors import check_name
from ..sizes.size import Size
from ..strategies import StrategyText
from ..targets.target import Target
from .optimizer import Optimizer


class DType(NamedTuple):
    """The data type of a whole network."""

    name: str
    bits: int


DTYPES = {dtype.name: dtype for dtype in (DType("float32", 32), DType("bfloat16", 16), DType("float16", 16))}
#: Other names of data types: torch's and people's.
DTYPE_ALIASES = {"fp32": "float32", "float": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}


def find_dtype(name: object, of_network: str = "float32") -> DType:
    """The data type of this name or alias; None is the network's own. Raises CostmodelError for an unknown one."""
    name = of_network if name is None else name
    own = DTYPE_ALIASES.get(name, name) if isinstance(name, str) else name
    check_name("dtype", own, DTYPES)
    return DTYPES[str(own)]


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
        "accumulate": 1,
    }
)


class Request(NamedTuple):
    """A request for an estimate, checked and parsed.

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
