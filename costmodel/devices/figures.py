"""Reads figures of a device's file: a value with its unit, and where it stands or what was assumed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..errors import CostmodelError
from ..files.document import Block
from ..sizes.units import parse_size
from .figure import Figure

_NUMBER = re.compile(r"\s*(?P<number>\d+(\.\d+)?|\.\d+)\s*(?P<unit>\S+)\s*", re.ASCII)


def in_units(factors: dict[str, float], what: str) -> Callable[[Any], float]:
    """Reader of a number with one of some units, as a number of the unit whose factor is 1."""
    allowed = f"a number > 0 and {' or '.join(factors)}, as in '7.5 {next(iter(factors))}'"

    def read(value: Any) -> float:
        match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
        if match is None or match["unit"] not in factors or not float(match["number"]):
            raise CostmodelError(f"{what} is {value!r}; allowed: {allowed}")
        return float(match["number"]) * factors[match["unit"]]

    return read


def size(value: Any) -> int:
    """Reader of a size, as in 350MB or 4GiB."""
    if not isinstance(value, str):
        raise CostmodelError(f"size is {value!r}; allowed: a text with a unit, as in 350MB or 4GiB")
    return parse_size(value, "size")


def sizes(value: Any) -> tuple[int, ...]:
    """Reader of ascending sizes."""
    found = tuple(map(size, value)) if isinstance(value, list) else ()
    if not found or list(found) != sorted(set(found)):
        raise CostmodelError(f"sizes are {value!r}; allowed: a list of sizes, ascending, as in [2GiB, 4GiB]")
    return found


_GIGA = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
arithmetic = in_units({f"{letter}{unit}/s": by for unit in ("FLOP", "OP") for letter, by in _GIGA.items()}, "rate")
bandwidth = in_units({f"{letter}B/s": by for letter, by in _GIGA.items()}, "bandwidth")
watts = in_units({"W": 1.0, "mW": 1e-3}, "power")
celsius = in_units({"C": 1.0}, "temperature")


def figure(block: Block, key: str, read: Callable[[Any], Any]) -> Figure | None:
    """The figure under a key of a file's mapping, None if it is not there. read: of its value.

    Raises CostmodelError, with file and line, for a value that `read` refuses, and unless one of `source` and
    `unsourced` says where it is from.
    """
    if key not in block:
        return None
    own = block[key]
    if not isinstance(own, Block):
        raise block.error(f"found {own!r}; allowed: value with source or unsourced", key)
    origins = [name for name in ("source", "unsourced") if isinstance(own.get(name), str) and own[name].strip()]
    unknown = own.keys() - {"value", "source", "unsourced"}
    if "value" not in own or len(origins) != 1 or unknown:
        allowed = "value, and one text: source (where it stands) or unsourced (what is assumed)"
        raise own.error(f"found {', '.join(own)}; allowed: {allowed}")
    try:
        return Figure(read(own["value"]), own.get("source", ""), own.get("unsourced", ""))
    except CostmodelError as error:
        raise own.error(error, "value") from None
