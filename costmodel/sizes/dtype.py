"""Data types of a network: their names, and the bits of a number."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import check_name


class DType(NamedTuple):
    """The data type of a whole network."""

    name: str
    bits: int


DTYPES = {dtype.name: dtype for dtype in (DType("float32", 32), DType("bfloat16", 16), DType("float16", 16))}
#: Those of torch.autocast, and the name for none.
AMP, NO_AMP = ("bfloat16", "float16"), "none"
#: Other names of data types: torch's and people's.
DTYPE_ALIASES = {"fp32": "float32", "float": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}


def find_dtype(name: object, of_network: str = "float32") -> DType:
    """The data type of this name or alias; None is the network's own. Raises CostmodelError for an unknown one."""
    what = "data type of the network" if name is None else "dtype"
    name = of_network if name is None else name
    own = DTYPE_ALIASES.get(name, name) if isinstance(name, str) else name
    check_name(what, own, DTYPES)
    return DTYPES[str(own)]


def find_amp(name: object) -> DType | None:
    """The data type of torch.autocast of this name or alias; None for None and "none".

    Raises CostmodelError for an unknown one.
    """
    own = DTYPE_ALIASES.get(name, name) if isinstance(name, str) else name
    if own is None or own == NO_AMP:
        return None
    check_name("amp", own, (*AMP, NO_AMP))
    return DTYPES[str(own)]
