"""The axes of a grid: reads the values that people write for them, and checks them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ...errors import CostmodelError, unknown
from ...graph.inputs import Sides, read_resolution
from ...sizes.dtype import find_amp, find_dtype
from ...sizes.size import as_int, is_int
from ...step import optimizer
from ...step.request import DEFAULTS
from ...strategies import read_text, split_list

#: Every axis, the outermost first: a grid's cells are in the order of nested loops, with the batch innermost.
AXES = ("convention", "target", "dtype", "amp", "optimizer", "accumulate", "width", "classes", "strategy",
        "resolution", "batch")  # fmt: skip
#: Defaults of the axes, as in an estimate; None means the network's own value (width, classes, resolution).
USUAL = {name: DEFAULTS.get(name) for name in AXES}
INTEGERS = ("accumulate", "classes", "resolution", "batch")
#: The type of each axis' values.
AXIS_TYPES = {name: int if name in INTEGERS else float if name == "width" else str for name in AXES}
LONGEST = 2**20  # most values of one axis
MOST_K = 10_000  # blocks, of the largest network

RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})(?::(\d{1,18}))?")


def spelled_out(name: str, given: Any) -> tuple[Any, ...]:
    """The values of an axis, without duplicates.

    given: one value, a list, or for integers a text such as 1..64:8,128; a strategy may have a range of K, as in
    blocks:1..17. Raises CostmodelError for no value, a value of the wrong type, or a range that runs backwards.
    """
    if name not in AXES:
        raise unknown("axis", name, AXES)
    one = given is None or isinstance(given, (str, int, float, Sides)) or not isinstance(given, Iterable)
    values = [given] if one else list(given)
    own = {"dtype": _dtypes, "optimizer": _optimizers, "amp": _amps}
    read = {"strategy": _strategies, "width": _widths, **own}.get(name, _integers if name in INTEGERS else _names)
    found = tuple(dict.fromkeys(value for item in values for value in read(name, item)))
    if not found:
        raise CostmodelError(f"{name} has no values; allowed: one or more")
    if len(found) > LONGEST:
        raise CostmodelError(f"{name} has {len(found)} values; allowed: at most {LONGEST}")
    return found


def _integers(name: str, item: Any) -> Sequence[Any]:
    if item is None and name in ("resolution", "classes"):
        return [None]  # the network's own
    if isinstance(item, str):
        found: list[Any] = []
        for part in item.split(","):
            match = RANGE.fullmatch(part.strip())
            if match:
                found += _range(f"{name} {part.strip()!r}", match)
                if len(found) > LONGEST:
                    raise CostmodelError(f"{name} has {len(found)} values; allowed: at most {LONGEST}")
            elif re.fullmatch(r"\d{1,19}", part.strip()):
                found.append(int(part))
            elif name == "resolution" and "x" in part:
                found.append(read_resolution(part))
            else:
                sides = ", HEIGHTxWIDTH" if name == "resolution" else ""
                raise CostmodelError(
                    f"{name} is {item!r}; allowed: integers, a..b or a..b:step{sides}, joined by commas"
                )
        item = found
    values = [item] if not isinstance(item, list) else item
    plain = [as_int(value) for value in values]
    for value in plain:
        if not isinstance(value, Sides) and (not is_int(value) or value < 1):
            raise CostmodelError(f"{name} is {value!r}; allowed: an integer from 1 to 2^63 - 1")
    return plain


def _range(what: str, match: re.Match[str]) -> range:
    first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
    if first > last:
        raise CostmodelError(f"{what} runs backwards; allowed: a..b with a <= b")
    if step < 1:
        raise CostmodelError(f"{what} has the step {step}; allowed: >= 1")
    if (last - first) // step >= LONGEST:
        raise CostmodelError(f"{what} has {(last - first) // step + 1} values; allowed: at most {LONGEST}")
    return range(first, last + 1, step)


def _strategies(name: str, item: Any) -> Sequence[str]:
    if not isinstance(item, str):
        raise CostmodelError(f"{name} is {item!r}; allowed: a text such as full or blocks:1..5")
    found: list[str] = []
    for text in split_list(item):
        one = read_text(text)
        match = RANGE.fullmatch(one.argument or "")
        if match and int(match[2]) > MOST_K:
            raise CostmodelError(f"{name} {text!r}; allowed: at most {MOST_K:,} blocks")
        numbers = _range(f"{name} {text!r}", match) if match else ()
        found += [str(one.with_argument(k)) for k in numbers] if match else [text]
    return found


def _widths(name: str, item: Any) -> Sequence[Any]:
    if isinstance(item, str):
        try:
            return [float(part) for part in item.split(",")]
        except ValueError:
            raise CostmodelError(f"{name} is {item!r}; allowed: numbers > 0, joined by commas") from None
    return [item]  # load checks it


def _dtypes(name: str, item: Any) -> Sequence[Any]:
    return [None] if item is None else _names(name, item)  # the network's own


def _optimizers(name: str, item: Any) -> Sequence[str]:
    return optimizer.split_list(item) if isinstance(item, str) else _names(name, item)


def _amps(name: str, item: Any) -> Sequence[Any]:
    found = [None] if item is None else [find_amp(one) for one in _names(name, item)]
    return [one.name if one else None for one in found]


def _names(name: str, item: Any) -> Sequence[str]:
    if not isinstance(item, str):
        raise CostmodelError(f"{name} is {item!r}; allowed: a name")
    # A comma does not separate targets, since it joins a target's options.
    names = [item] if name == "target" else item.split(",")
    return [find_dtype(one).name for one in names] if name == "dtype" else names


def shard_of(text: str) -> tuple[int, int]:
    """(i, n) from the text i/n: the i-th of n parts. Raises CostmodelError unless i is from 1 to n."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise CostmodelError(f"shard is {text!r}; allowed: i/n with i from 1 to n, as in 1/8")
    return int(match[1]), int(match[2])
